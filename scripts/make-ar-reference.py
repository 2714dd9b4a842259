#!/usr/bin/env python3
"""Associative recall on texts by Transformers, for test/unit/eval/associative-recall.test.ts.

    python scripts/make-ar-reference.py test/data/retrieval-heads test/data/ar

Writes FOLDER2/texts.jsonl (made-up programs in which names come back) and FOLDER2/expected.json: losses in float64 and
top-1 hits of tokens whose bigram occurred before in the same window of the same text, at most 4 times in the other
texts, by distance, at the onset of a repeated passage and inside of one. Written from the definition alone.
"""
import json, random, sys
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

WINDOW, MAX_COUNT, ENDS = 128, 4, [16, 64, 128]
FAR_FROM = 97  # the farthest quarter of 128

model_folder, folder = sys.argv[1:3]
tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{model_folder}/tokenizer.json")
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float64, attn_implementation="eager").eval()


def program(seed):
    rng = random.Random(seed)
    names = ["".join(rng.choice("abcdeghilmnoprstu") for _ in range(rng.randint(4, 9))) for _ in range(6)]
    lines = []
    for _ in range(28):
        a, b, c = (rng.choice(names) for _ in range(3))
        lines.append(rng.choice([f"{a} = {b}({c});", f"if ({a}) return {b};", f"{a}->{b} += {rng.randint(0, 99)};"]))
    return "\n".join(lines) + "\n"


texts = [program(seed) for seed in range(6)]
with open(f"{folder}/texts.jsonl", "w") as out:
    for text in texts:
        out.write(json.dumps({"prompt": text}) + "\n")

documents = [tokenizer.encode(text) for text in texts]
occurrences = [{} for _ in documents]
for counts, tokens in zip(occurrences, documents):
    for pair in zip(tokens, tokens[1:]):
        counts[pair] = counts.get(pair, 0) + 1

groups = {}  # (name, onset or inside) -> [targets, sum of losses, hits]


def add(name, loss, hit):
    entry = groups.setdefault(name, [0, 0.0, 0])
    entry[0] += 1
    entry[1] += loss
    entry[2] += hit


for number, tokens in enumerate(documents):
    for start in range(0, len(tokens) - WINDOW, WINDOW):
        window = tokens[start : start + WINDOW + 1]
        with torch.inference_mode():
            rows = torch.log_softmax(model(torch.tensor([window[:-1]])).logits[0].double(), -1)
        for i in range(1, WINDOW + 1):
            loss = -rows[i - 1, window[i]].item()
            hit = int(rows[i - 1].argmax().item() == window[i])
            add("all", loss, hit)
            pair = (window[i - 1], window[i])
            earlier = [j for j in range(1, i) if (window[j - 1], window[j]) == pair]
            if not earlier:
                add("fresh", loss, hit)
                continue
            others = sum(counts.get(pair, 0) for n, counts in enumerate(occurrences) if n != number)
            if others > MAX_COUNT:
                continue
            j = earlier[-1]
            kind = "inside" if j >= 2 and window[j - 2] == window[i - 2] else "onset"
            end = next(end for end in ENDS if i - j <= end)
            add(f"{end} {kind}", loss, hit)
            if i - j >= FAR_FROM:
                add(f"far {kind}", loss, hit)

expected = {name: {"targets": n, "loss": total / n, "hits": hits} for name, (n, total, hits) in sorted(groups.items())}
with open(f"{folder}/expected.json", "w") as out:
    json.dump(expected, out, indent=1)
    out.write("\n")
