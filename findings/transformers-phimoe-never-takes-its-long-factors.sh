#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-30.
#
# A guess: where a text is longer than `original_max_position_embeddings`, positions of type `longrope` are scaled by `long_factor`, in Phi-3.5-MoE
# as in Phi-3.
# What happens: on 24 tokens with an original length of 16, `Phi3ForCausalLM` gives other logits with other long factors and the same ones with other
# short factors; `PhimoeForCausalLM` the other way round. Its layer of positions asks for the frequencies without saying how long the text is, and gets
# those of short texts.
# Output seen: "Phi3ForCausalLM long_factor 0.103, short_factor 0.000", "PhimoeForCausalLM long_factor 0.000, short_factor 0.094".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

import torch
from transformers import Phi3Config, Phi3ForCausalLM, PhimoeConfig, PhimoeForCausalLM

SIZES = dict(
    vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0,
)
ROPE = dict(
    rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=16,
    short_factor=[1.0] * 4, long_factor=[2.0] * 4,
)


def logits(config_class, model_class, more, rope):
    torch.manual_seed(0)
    model = model_class(config_class(**SIZES, **more, rope_parameters=rope)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
        return model(torch.arange(24)[None], use_cache=False).logits


def differs(config_class, model_class, more, mscale):
    found = []
    for name in ("long_factor", "short_factor"):
        one, other = [logits(config_class, model_class, more, {**ROPE, **mscale, name: [v] * 4}) for v in (1.0, 8.0)]
        found.append((one - other).abs().max().item())
    print(f"{model_class.__name__} long_factor {found[0]:.3f}, short_factor {found[1]:.3f}")
    return found


dense = differs(Phi3Config, Phi3ForCausalLM, dict(original_max_position_embeddings=16), {})
experts = differs(
    PhimoeConfig, PhimoeForCausalLM, dict(num_local_experts=2, num_experts_per_tok=2), dict(short_mscale=1.0, long_mscale=1.0)
)
sys.exit(0 if dense[0] > 0.01 and dense[1] == 0 and experts[0] == 0 and experts[1] > 0.01 else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
