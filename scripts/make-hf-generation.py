"""What Transformers generates greedily with the models of test/data/hf, past their windows, with and without a cache.

    pip install torch transformers safetensors
    python scripts/make-hf-generation.py test/data/hf test/data/hf-generation.json [NAME ...]

Per folder: `prompt` (8 ids), `tokens` (the 20 that follow without a cache) and `cached` (the same with one; null where Transformers has none for
the model, or raises). With names, only these are made anew. Float32, eager attention. Models whose config.json asks for what Transformers does not compute are left out.
"""
import json
import logging
import os
import sys
import warnings

import torch
import transformers as tf
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
tf.logging.set_verbosity(logging.CRITICAL)
LEFT_OUT = {"mamba2-whole-norm"}  # norm_groups is a field of Longsight's own
# Classes that raise on their own output (5.24: no image_outputs): the text model that they run.
PARTS = {"llama4-images": "language_model"}
PROMPT, NEW = 8, 20


def classes(folder):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    name = config["architectures"][0]
    return getattr(tf, name if name.endswith(("LM", "Generation")) else name.replace("Model", "ForCausalLM"))


def uncached(model, prompt):
    tokens = prompt.clone()
    with torch.no_grad():
        for _ in range(NEW):
            logits = model(input_ids=tokens, use_cache=False).logits[:, -1]
            tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)
    return tokens[0, PROMPT:].tolist()


def cached(model, prompt):
    try:
        out = model.generate(prompt, do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW, use_cache=True, eos_token_id=None, pad_token_id=0)
        return out[0, PROMPT:].tolist()
    except Exception:
        return None


if __name__ == "__main__":
    root, out, *names = sys.argv[1:]
    torch.set_num_threads(1)
    found = json.load(open(out)) if names else {}
    for name in sorted(names or os.listdir(root)):
        if name in LEFT_OUT:
            continue
        folder = os.path.join(root, name)
        model = classes(folder).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        model = getattr(model, PARTS[name]) if name in PARTS else model
        prompt = load_file(os.path.join(folder, "expected.safetensors"))["input_ids"][:1, :PROMPT].long()
        found[name] = dict(prompt=prompt[0].tolist(), tokens=uncached(model, prompt), cached=cached(model, prompt))
        if found[name]["cached"] != found[name]["tokens"]:
            print(name, "with a cache:", found[name]["cached"], "without:", found[name]["tokens"])
    with open(out, "w") as f:
        f.write("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(found.items())) + "\n}\n")
