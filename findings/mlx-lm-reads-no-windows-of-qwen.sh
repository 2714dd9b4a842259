#!/usr/bin/env bash
# mlx-lm 0.32.2 with mlx 0.32.4 (PyPI, the Linux build on a CPU), seen 2026-11-29.
#
# A guess: a `config.json` of qwen2 or qwen3 that says `layer_types: ["sliding_attention", ...]` and `sliding_window: 4` is read with
# windows of 4 keys, as Transformers reads it, or refused.
# What happens: mlx-lm loads it without a word and gives every layer full attention. Two layers of windows of 4 keys let the last of 16
# tokens see back to the tenth; in mlx-lm its logits change with the first token, and are the same numbers as those of a folder without
# any window. A tool that writes such folders cannot rely on the fields being read: their long-range behavior differs from what was trained.
# Output seen, for qwen2 and qwen3: "the first token changes the last logits by 0.1 to 0.4; with and without windows they differ by 0.0".
# Exits 0 as long as that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check 'mlx[cpu]==0.32.4' mlx-lm==0.32.2
cat > "$work/windows.py" <<'PY'
import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

base = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "vocab_size": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "max_position_embeddings": 64,
}
windows = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0, "layer_types": ["sliding_attention"] * 2}


def logits(folder, tokens):
    model, _ = load_model(folder)
    return model(mx.array([tokens]))[0, -1]


def folder_of(kind, config, weights):
    folder = Path(sys.argv[1]) / f"{kind}-{len(config)}"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **config}))
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


ok = True
for kind in ("qwen2", "qwen3"):
    module = __import__(f"mlx_lm.models.{kind}", fromlist=["Model"])
    mx.random.seed(1)
    model = module.Model(module.ModelArgs.from_dict({"model_type": kind, **base}))
    weights = {name: mx.random.normal(value.shape) * 0.3 for name, value in tree_flatten(model.parameters())}
    tokens = [(7 * i) % 64 for i in range(16)]
    plain, windowed = folder_of(kind, base, weights), folder_of(kind, {**base, **windows}, weights)
    reach = float(mx.abs(logits(windowed, tokens) - logits(windowed, [63] + tokens[1:])).max())
    apart = float(mx.abs(logits(windowed, tokens) - logits(plain, tokens)).max())
    print(f"{kind}: the first token changes the last logits by {reach:.3f}; with and without windows they differ by {apart}")
    ok = ok and reach > 1e-3 and apart == 0.0
sys.exit(0 if ok else 1)
PY
"$work/venv/bin/python" "$work/windows.py" "$work"
