#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-12-01.
#
# A guess: the decays of MiniMax's lightning attention follow from the numbers of head and layer, nothing trains them, and so a folder
# that was saved in bfloat16 and is loaded with dtype=float32 has them as a model has that is made in float32.
# What happens: they are buffers that are saved with the weights. In the file they are bfloat16, and they stay what bfloat16 made of
# them after loading in float32: the tables of decays are off by up to 0.002. The rate that they come from is off by 3e-6 only, and a
# token that is decoded with a cache takes its decay from the rate: the same model forgets otherwise while it reads a prompt than while
# it writes.
# Output seen: "in the file: diagonal_decay key_decay query_decay slope_rate, all torch.bfloat16" and "loaded in torch.float32: tables
# off by 0.00195, rate off by 2.5e-06".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

import torch
from safetensors.torch import load_file
from transformers import MiniMaxConfig, MiniMaxForCausalLM

folder = sys.argv[1]
config = MiniMaxConfig(
    vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    num_local_experts=2, num_experts_per_tok=1, layer_types=["linear_attention", "full_attention"],
    pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
MiniMaxForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
stored = {name.split(".")[-1]: value.dtype for name, value in load_file(f"{folder}/model.safetensors").items()}
decays = {name: dtype for name, dtype in stored.items() if name.endswith("_decay") or name == "slope_rate"}
(dtype,) = set(decays.values())
print(f"in the file: {' '.join(sorted(decays))}, all {dtype}")

loaded = MiniMaxForCausalLM.from_pretrained(folder, dtype=torch.float32).model.layers[0].self_attn
made = MiniMaxForCausalLM(config).model.layers[0].self_attn
off = lambda name: (getattr(loaded, name) - getattr(made, name)).abs().max().item()  # noqa: E731
tables = max(off(name) for name in decays if name != "slope_rate")
print(f"loaded in {loaded.query_decay.dtype}: tables off by {tables:.5f}, rate off by {off('slope_rate'):.1e}")
good = len(decays) == 4 and dtype == torch.bfloat16 and loaded.query_decay.dtype == torch.float32
sys.exit(0 if good and 1e-3 < tables < 4e-3 and off("slope_rate") < 1e-5 else 1)
PY
"$work/venv/bin/python" "$work/seen.py" "$work/model" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
