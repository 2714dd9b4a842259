#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-30.
#
# A guess: token by token on its cache, a model with a sliding window gives the logits of one pass over the text, whatever the window.
# What happens: windows of 2 and 3 do. With `sliding_window=1` (each token sees itself) the cache keeps every key instead of none, and all
# of them are seen: decoding gives other logits than the pass without a cache.
# Output seen: "window 1: logits differ by 6.7e-01, keys kept 12", "window 2: logits differ by 1.7e-07, keys kept 1".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

import torch
from transformers import MistralConfig, MistralForCausalLM


def compare(window):
    torch.manual_seed(0)
    sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    config = MistralConfig(**sizes, num_key_value_heads=2, head_dim=8, sliding_window=window, attn_implementation="eager")
    model = MistralForCausalLM(config).eval()
    for weight in model.parameters():
        weight.data = torch.randn_like(weight) * 0.3
    tokens = torch.arange(3, 15)[None]
    with torch.no_grad():
        whole = model(tokens, use_cache=False).logits[0, -1]
        step = model(tokens[:, :6], use_cache=True)
        for i in range(6, 12):
            step = model(tokens[:, i : i + 1], past_key_values=step.past_key_values, use_cache=True)
    difference = (whole - step.logits[0, -1]).abs().max().item()
    kept = step.past_key_values.layers[0].keys.shape[2]
    print(f"window {window}: logits differ by {difference:.1e}, keys kept {kept}")
    return difference, kept


one, two = compare(1), compare(2)
sys.exit(0 if one[0] > 0.1 and one[1] == 12 and two[0] < 1e-5 and two[1] == 1 else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
