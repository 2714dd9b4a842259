#!/usr/bin/env python3
"""Log-likelihoods of multiple choices by Transformers, for test/unit/eval/choice.test.ts.

    python scripts/make-choice-reference.py test/data/retrieval-heads test/data/choice

Reads FOLDER2/questions.jsonl and writes FOLDER2/expected.json: for every question the sum of log-probabilities of each
choice's tokens in float64. Context and choice are encoded together, as in EleutherAI/lm-evaluation-harness.
"""
import json, sys
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

model_folder, folder = sys.argv[1:3]
tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{model_folder}/tokenizer.json")
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float64, attn_implementation="eager").eval()
encode = lambda text: tokenizer.encode(text)


def log_likelihood(context, choice):
    bare = context.rstrip()
    gap = context[len(bare):] or " "
    before, whole = encode(bare), encode(bare + gap + choice)
    with torch.inference_mode():
        rows = torch.log_softmax(model(torch.tensor([whole])).logits[0].double(), -1)
    return sum(rows[i - 1, whole[i]].item() for i in range(len(before), len(whole)))


results = []
for line in open(f"{folder}/questions.jsonl", encoding="utf8"):
    row = json.loads(line)
    context = row.get("context") or row.get("question") or row.get("ctx")
    choices = row.get("choices") or row.get("endings")
    choices = choices["text"] if isinstance(choices, dict) else choices
    results.append([log_likelihood(context, choice) for choice in choices])
with open(f"{folder}/expected.json", "w") as out:
    json.dump(results, out, indent=1)
    out.write("\n")
