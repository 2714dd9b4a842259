#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-29.
#
# A guess: `rope_scaling`, the older name of `rope_parameters`, scales positions in every class of the Cohere 2 line, or is refused.
# What happens: `Cohere2Config` makes YaRN of it; `Cohere2MoeConfig` drops it without a word and keeps plain rotary positions.
# Output seen: "Cohere2Config {'rope_type': 'yarn', 'factor': 4.0, ...}", "Cohere2MoeConfig {'rope_type': 'default', 'rope_theta': 500.0}".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

from transformers import Cohere2Config, Cohere2MoeConfig

scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}
dense = Cohere2Config(rope_theta=500.0, rope_scaling=dict(scaling)).rope_parameters
experts = Cohere2MoeConfig(rope_theta=500.0, rope_scaling=dict(scaling)).rope_parameters
print("Cohere2Config", dense)
print("Cohere2MoeConfig", experts)
sys.exit(0 if dense["rope_type"] == "yarn" and experts["rope_type"] == "default" else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
