#!/usr/bin/env bash
# mlx-lm 0.32.2 with mlx 0.32.4 (PyPI, the Linux build on a CPU), seen 2026-11-29.
#
# A guess: `key_multiplier` of a Falcon-H1 folder scales the keys of attention, as Transformers computes it (0.390625 by default in mlx-lm).
# What happens: mlx-lm folds multipliers into weights by their names, and looks for one that ends in `key_proj.weight`, where the folder and
# its own model say `k_proj.weight`. So the field changes nothing: logits are the same numbers for 0.25 and 1, while another multiplier,
# `attention_out_multiplier`, does change them. No warning. A model whose keys are scaled attends by other scores there.
# Output seen: "key_multiplier 1 against 0.25: logits differ by 0.0; attention_out_multiplier: by" and a number above 0.001.
# Exits 0 as long as that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check 'mlx[cpu]==0.32.4' mlx-lm==0.32.2
cat > "$work/keys.py" <<'PY'
import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.falcon_h1 import Model, ModelArgs
from mlx_lm.utils import load_model

base = {
    "model_type": "falcon_h1", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 64, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8,
    "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 1, "mamba_chunk_size": 16,
    "tie_word_embeddings": False, "max_position_embeddings": 64, "attention_in_multiplier": 1.0, "attention_out_multiplier": 1.0,
    "embedding_multiplier": 1.0, "lm_head_multiplier": 1.0, "mlp_multipliers": [1.0, 1.0], "ssm_in_multiplier": 1.0,
    "ssm_out_multiplier": 1.0, "ssm_multipliers": [1.0] * 5, "key_multiplier": 1.0,
}
mx.random.seed(0)
model = Model(ModelArgs.from_dict(base))
# Names and shapes as Transformers stores them: `self_attn.k_proj.weight`, the convolution as [channels, 1, taps].
weights = {
    name: mx.random.normal(value.shape) * 0.3 if "norm" not in name else mx.ones(value.shape)
    for name, value in tree_flatten(model.parameters())
}
stored = {name: value.transpose(0, 2, 1) if "conv1d.weight" in name else value for name, value in weights.items()}
folder = Path(sys.argv[1])
tokens = mx.array([[5, 9, 2, 7, 1, 30, 12, 44]])


def logits(**changes):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**base, **changes}))
    mx.save_safetensors(str(folder / "model.safetensors"), stored, metadata={"format": "pt"})
    loaded, _ = load_model(folder)
    return loaded(tokens).astype(mx.float32)


plain = logits()
keys = mx.abs(logits(key_multiplier=0.25) - plain).max().item()
out = mx.abs(logits(attention_out_multiplier=0.25) - plain).max().item()
print(f"key_multiplier 1 against 0.25: logits differ by {keys}; attention_out_multiplier: by {out:.3f}")
sys.exit(0 if keys == 0 and out > 1e-3 else 1)
PY
"$work/venv/bin/python" "$work/keys.py" "$work/model"
