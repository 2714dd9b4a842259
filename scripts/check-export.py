"""Checks a folder made by `longsight export` with Transformers: writes what that library computes on it, and traces retrieval heads.

    pip install torch transformers safetensors
    longsight export RUN OUT
    python scripts/check-export.py OUT [PROMPTS.jsonl]     # no code of ours in Python, no remote code
    longsight parity OUT                                   # the same logits?
    longsight heads OUT --definition published --prompts PROMPTS.jsonl   # the same heads?

Heads are scored as thunlp/rethinking-hybrid-attention `src/tracing/find_retrieval_heads.py` does: eager attention of the token before
the last one, summed over every place where the answer is spelled, mean over prompts.
"""
import json
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, *prompts = sys.argv[1:]
model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                   output_loading_info=True)
model.eval()
problems = {k: v for k, v in info.items() if v}
print(type(model).__name__, "loading:", problems or "every tensor, no other")

ids = torch.randint(0, model.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(1))
maps = {"output_attentions": True} if model.config.model_type != "mamba2" else {}
out = model(input_ids=ids, labels=ids, output_hidden_states=True, use_cache=False, **maps)
out.loss.backward()
expected = {"input_ids": ids, "logits": out.logits, "loss": out.loss.reshape(1)}
expected |= {f"hidden.{n}": h for n, h in enumerate(out.hidden_states)}
attentions = [a for a in (out.get("attentions") or ()) if a is not None and a.dim() == 4]
expected |= {f"attn.{n}": a[:1] for n, a in enumerate(attentions)}
expected |= {f"gradnorm.{n}": p.grad.norm().reshape(1) for n, p in model.named_parameters() if p.grad is not None}
save_file({k: v.detach().contiguous().clone() for k, v in expected.items()}, f"{folder}/expected.safetensors")
print("wrote", f"{folder}/expected.safetensors")


def spans(ids, needle):
    return {i + j for i in range(len(ids) - len(needle) + 1) if ids[i:i + len(needle)] == needle for j in range(len(needle))}


if prompts:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores, used = None, 0
    for line in open(prompts[0]):
        row = json.loads(line)
        tokens = tokenizer(row["input"])["input_ids"]
        spelled = [s for n in row["outputs"] for s in (n, f" {n}", f"{n}.", f" {n}.", f": {n}", f": {n}.")]
        places = set().union(*(spans(tokens, tokenizer(s, add_special_tokens=False)["input_ids"]) for s in spelled))
        if not places:
            continue
        with torch.no_grad():
            maps = model(torch.tensor([tokens]), output_attentions=True, use_cache=False).attentions
        mass = torch.stack([a[0, :, len(tokens) - 2, sorted(places)].sum(-1) for a in maps])
        scores, used = mass if scores is None else scores + mass, used + 1
    scores /= used
    best = scores.flatten().argsort(descending=True)[:8].tolist()
    print(f"{used} prompts; heads by attention mass on the answer:")
    for i in best:
        layer, head = divmod(i, scores.shape[1])
        print(f"  {layer}:{head}  {scores[layer, head]:.6f}")
