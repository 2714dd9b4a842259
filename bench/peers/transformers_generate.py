#!/usr/bin/env python3
"""Transformers peer of the generation benchmark (`node bench/generate.mjs`).

`generate`, greedy, with its default cache, on a Llama (design "full") or a SmolLM3 (design "swa:W full:nope") of the
study's smallest size with random weights.  The last line of stdout is one JSON object.
"""
import argparse, json, os, time

ap = argparse.ArgumentParser()
ap.add_argument("--design", required=True)
ap.add_argument("--batch", type=int, default=1)
ap.add_argument("--prompt", type=int, default=1024)
ap.add_argument("--new", type=int, default=128)
ap.add_argument("--vocab", type=int, default=8192)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--reads", type=int, default=5)
a = ap.parse_args()
os.environ.setdefault("OMP_NUM_THREADS", str(a.threads))

import torch, transformers

transformers.logging.set_verbosity_error()
torch.set_num_threads(a.threads)
torch.manual_seed(0)
layers = 10
shape = dict(vocab_size=a.vocab, hidden_size=384, intermediate_size=960, num_hidden_layers=layers,
             num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=a.prompt + a.new,
             tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=0)
if a.design == "full":
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(head_dim=64, **shape))
else:
    window = int(a.design.split(":")[1].split()[0])
    kinds = ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(layers)]
    model = transformers.SmolLM3ForCausalLM(transformers.SmolLM3Config(
        use_sliding_window=True, sliding_window=window, layer_types=kinds,
        no_rope_layers=[1 - i % 2 for i in range(layers)], **shape))
model.eval()
embedding = sum(p.numel() for n, p in model.named_parameters() if "embed_tokens" in n or "lm_head" in n)
ids = torch.tensor([[(i * 7919 + b * 104729) % a.vocab for i in range(a.prompt)] for b in range(a.batch)])


def run(new):
    start, used = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
                       do_sample=False, use_cache=True)
    return time.perf_counter() - start, time.process_time() - used


run(8)
reads = [run(1) for _ in range(a.reads)]
read, whole = min(wall for wall, _ in reads), run(a.new)[0]
print(json.dumps({
    "parameters": sum(p.numel() for p in model.parameters()) - embedding,
    "readPerSecond": a.prompt * a.batch / read,
    "cpuPerToken": 1e6 * min(cpu for _, cpu in reads) / (a.prompt * a.batch),
    "newPerSecond": (a.new - 1) * a.batch / (whole - read),
    "library": f"transformers {transformers.__version__}, torch {torch.__version__}",
}))
