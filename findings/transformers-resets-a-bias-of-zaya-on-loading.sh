#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-29.
#
# A guess: a model that `save_pretrained` wrote is the same model when `from_pretrained` has read it.
# What happens: ZAYA's router keeps a bias for each of its choices (`balancing_biases`, stored with the weights). On reading, the last of them, that of
# the choice of no expert, is -1 whatever the file holds; the others are as stored. Logits differ. Whoever trains that bias loses it.
# Output seen: "saved [0.1, 0.2, 0.3, 0.4, 0.5] loaded [0.1, 0.2, 0.3, 0.4, -1.0]", "logits of both, largest difference: 0.003".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys
import tempfile

import torch
from transformers import ZayaConfig, ZayaForCausalLM

config = ZayaConfig(
    vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    moe_intermediate_size=16, num_experts=4, router_hidden_size=8, eos_token_id=1,
)
torch.manual_seed(0)
model = ZayaForCausalLM(config).eval()
for layer in model.model.layers:
    layer.mlp.gate.balancing_biases.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    loaded = ZayaForCausalLM.from_pretrained(folder).eval()
was, now = (m.model.layers[0].mlp.gate.balancing_biases.tolist() for m in (model, loaded))
print("saved", [round(x, 2) for x in was], "loaded", [round(x, 2) for x in now])
tokens = torch.arange(24)[None] * 5 % 64
with torch.no_grad():
    apart = (model(tokens).logits - loaded(tokens).logits).abs().max().item()
print(f"logits of both, largest difference: {apart:.3f}")
same = all(abs(a - b) < 1e-6 for a, b in zip(was[:-1], now[:-1]))
sys.exit(0 if same and abs(was[-1] - 0.5) < 1e-6 and now[-1] == -1.0 and apart > 1e-3 else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
