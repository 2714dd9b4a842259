#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-30.
#
# A guess: a layer that `layer_types` of an Inkling text model calls `full_attention`, the name that most families of
# Transformers have for it, attends to every earlier token.
# What happens: the model gives the causal mask to layers called `hybrid` alone; the configuration takes `full_attention`
# without a word, and such a layer gets the mask of the window, with the heads of a full layer. With windows of 8 tokens and
# two layers, the first of 64 tokens moves the last logits where both layers are `hybrid`, and by nothing where both are
# `full_attention`.
# Output seen: "hybrid 0.00042274408042430878", "hybrid_sliding 0.0", "full_attention 0.0".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

import torch
from transformers import InklingTextConfig
from transformers.models.inkling.modeling_inkling import InklingForCausalLM

ids = torch.randint(3, 60, (1, 64), generator=torch.Generator().manual_seed(1))
other = ids.clone()
other[0, 0] = 61


def moved(kind):
    torch.manual_seed(0)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, head_dim=16)
    config = InklingTextConfig(
        vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2, sliding_window_size=8, rel_extent=8,
        layer_types=[kind] * 2, mlp_layer_types=["dense"] * 2, pad_token_id=0, **heads, **{f"swa_{k}": v for k, v in heads.items()},
    )
    model = InklingForCausalLM(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        return (model(ids).logits[0, -1] - model(other).logits[0, -1]).abs().max().item()


seen = {kind: moved(kind) for kind in ("hybrid", "hybrid_sliding", "full_attention")}
for kind, distance in seen.items():
    print(kind, distance)
sys.exit(0 if seen["hybrid"] > 1e-5 and seen["hybrid_sliding"] == 0 and seen["full_attention"] == 0 else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
