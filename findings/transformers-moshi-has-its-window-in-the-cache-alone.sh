#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-29.
#
# A guess: whether a model has a sliding window does not depend on the use of a cache; with a `sliding_window` of 5, Moshi's text decoder does not see
# the first of twelve tokens.
# What happens: a pass over the whole text attends to all of it (the first token moves the last logits), while the cache keeps the window alone, so
# that the last logits with a cache are others (as far apart as the first token moves them). With a window longer than the text both agree. Greedy
# `generate` then depends on `use_cache`.
# Output seen: "sliding_window 5: with the cache 5.799 from without; the first token moves the last logits by 5.703",
# "sliding_window 64: with the cache 0.000 from without; the first token moves the last logits by 5.703".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

import torch
from transformers import MoshiConfig, MoshiForCausalLM

seen = {}
for window in (5, 64):
    torch.manual_seed(0)
    config = MoshiConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8, ffn_dim=64,
        sliding_window=window, max_position_embeddings=128,
    )
    model = MoshiForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        tokens = torch.arange(12)[None] * 5 % 64
        whole = model(tokens).logits[0, -1]
        shorter = model(torch.cat([(tokens[:, :1] + 1) % 64, tokens[:, 1:]], 1)).logits[0, -1]
        cache = model(tokens[:, :-1], use_cache=True).past_key_values
        step = model(tokens[:, -1:], past_key_values=cache, use_cache=True).logits[0, -1]
    apart, sees = (whole - step).abs().max().item(), (whole - shorter).abs().max().item()
    print(f"sliding_window {window}: with the cache {apart:.3f} from without; the first token moves the last logits by {sees:.3f}")
    seen[window] = (apart, sees)
sys.exit(0 if seen[5][0] > 0.05 and seen[5][1] > 1e-3 and seen[64][0] < 1e-3 else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
