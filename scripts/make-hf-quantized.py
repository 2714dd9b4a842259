"""Makes tiny models whose weights are stored quantized, with what Transformers computes from them on a CPU in float32.

    pip install torch transformers safetensors accelerate
    python scripts/make-hf-quantized.py OUT

OUT/fp8 has FP8 weights with scales by blocks of 16 x 16 (`weight_scale_inv`), the rest in bfloat16; OUT/fp8-tensor one scale for each
weight; OUT/fp8-powers scales that are powers of 2, stored as bytes. Each gets expected.safetensors as scripts/make-hf-models.py writes it,
from the model that Transformers dequantizes. OUT/mxfp4.safetensors holds blocks and scales of MXFP4 as gpt-oss stores its experts, and the
float32 tensor that Transformers makes of them.
"""
import importlib.util
import json
import os
import sys

import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

spec = importlib.util.spec_from_file_location("models", os.path.join(os.path.dirname(__file__), "make-hf-models.py"))
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)

LARGEST = 448.0


def quantized(weight, block, powers):
    """FP8 and the scales of its blocks."""
    rows, columns = weight.shape
    m, n = block or (rows, columns)
    parts = weight.reshape(rows // m, m, columns // n, n)
    scales = parts.abs().amax(dim=(1, 3)) / LARGEST
    exponents = scales.log2().ceil()
    if powers:
        scales = exponents.exp2()
    values = (parts / scales[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
    if powers:
        scales = (exponents + 127).to(torch.uint8)
    return values, scales.reshape(()) if block is None else scales


def make_fp8(folder, block, powers=False):
    fields = dict(models.SMALL, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False)
    model = tf.Qwen3ForCausalLM(tf.Qwen3Config(**fields)).eval()
    models.randomize(model, torch.Generator().manual_seed(3))
    model.to(torch.bfloat16).save_pretrained(folder)
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path)
    for name in [n for n in tensors if n.endswith("proj.weight")]:
        tensors[name], tensors[f"{name}_scale_inv"] = quantized(tensors[name].float(), block, powers)
    save_file(tensors, path, {"format": "pt"})
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    config["quantization_config"] = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8",
                                         weight_block_size=list(block) if block else None,
                                         **(dict(scale_fmt="ue8m0") if powers else {}))
    json.dump(config, open(path, "w"), indent=2)
    loaded = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    loaded.config.quantization_config = None
    ids = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(1))
    results = models.expect(loaded, ids)
    save_file({k: v.detach().contiguous().clone() for k, v in results.items()}, os.path.join(folder, "expected.safetensors"))
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)


def make_mxfp4(path):
    generator = torch.Generator().manual_seed(5)
    blocks = torch.randint(0, 256, (3, 6, 2, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(115, 135, (3, 6, 2), generator=generator, dtype=torch.uint8)
    save_file({"gate_up_proj_blocks": blocks, "gate_up_proj_scales": scales,
               "expected": convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)}, path)


if __name__ == "__main__":
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    make_fp8(os.path.join(out, "fp8"), (16, 16))
    make_fp8(os.path.join(out, "fp8-tensor"), None)
    make_fp8(os.path.join(out, "fp8-powers"), (16, 16), powers=True)
    make_mxfp4(os.path.join(out, "mxfp4.safetensors"))
