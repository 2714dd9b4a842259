"""Checks exported folders with mlx-lm, which reads the same folders with code of its own: equal logits, or a refusal, never other ones.

    python -m venv mlx && mlx/bin/pip install "mlx[cpu]" mlx-lm
    npm run build && mlx/bin/python scripts/check-mlx.py [FOLDER...]

Each FOLDER (default: every model of test/data/hf) holds a model and `expected.safetensors`, what Transformers computes with it
(scripts/make-hf-models.py). It is exported again with `longsight export`, and mlx-lm's logits for the export are compared with
Transformers': the largest difference over the largest logit. A line each; exit code 1 if one is past 1e-3 for a reason that is not
listed here, of mlx-lm's own.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.utils import load_model

TOLERANCE = 1e-3
root = Path(__file__).resolve().parent.parent
folders = [Path(f) for f in sys.argv[1:]] or sorted((root / "test/data/hf").iterdir())
mx.set_default_device(mx.cpu)


def own_reason(config):
    """What mlx-lm 0.32.2 computes otherwise than Transformers whoever wrote the folder; None if nothing is known."""
    kind, act = config["model_type"], config.get("hidden_act", "silu")
    windows = config.get("sliding_window") and ("sliding_attention" in (config.get("layer_types") or []) or kind == "starcoder2")
    if kind in ("llama", "deepseek_v3") and act != "silu":
        return f"its class computes silu, not {act}"
    if kind in ("qwen2", "qwen3", "starcoder2", "qwen2_moe") and windows or kind == "mixtral" and config.get("sliding_window"):
        return "its class leaves windows out"
    if "attention_factor" in (config.get("rope_scaling") or {}):
        return "it leaves attention_factor out"
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "proportional" and scaling["partial_rotary_factor"] * config["head_dim"] % 2 != 0:
        return "it turns a pair of channels where half a pair is left, which Transformers rounds down"
    if kind == "falcon_h1" and (config.get("key_multiplier"), config.get("attention_in_multiplier")) != (1, 1):
        return "its class leaves key_multiplier out, and attention_in_multiplier on values"
    if config.get("mamba_n_groups", 1) > 1:
        return "it normalizes over the whole width, not over groups"
    return None


def outcome(folder, out):
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    done = subprocess.run(["node", str(root / "dist/cli/main.js"), "export", str(folder), str(out)], capture_output=True, text=True)
    if done.returncode != 0:
        return kind, "no export", done.stderr.strip()
    config = json.loads((out / "config.json").read_text())
    kind = config["model_type"]
    expected = mx.load(str(folder / "expected.safetensors"))
    try:
        model, _ = load_model(out)
        logits = np.array(model(expected["input_ids"]).astype(mx.float32))
    except Exception as error:  # whatever another library says of a folder that it does not take
        return kind, "refused", f"{type(error).__name__}: {error}".splitlines()[0]
    theirs = np.array(expected["logits"])
    error = float(np.abs(logits - theirs).max() / np.abs(theirs).max())
    why = None if error <= TOLERANCE else own_reason(config)
    return kind, "read" if why is None else "otherwise", error if why is None else f"{error:.1e}: {why}"


failed = False
for folder in folders:
    with tempfile.TemporaryDirectory() as made:
        kind, how, what = outcome(folder, Path(made) / "out")
    wrong = how == "read" and not what <= TOLERANCE
    failed |= wrong
    print(f"{folder.name:28} {kind:18} {how:10} {what if isinstance(what, str) else f'{what:.1e}'}{' WRONG' if wrong else ''}", flush=True)
sys.exit(failed)
