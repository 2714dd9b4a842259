#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-30.
#
# A guess: `norm_topk_prob`, a field of both configurations, decides in DeepSeek-V2 as in DeepSeek-V3 whether the weights of the chosen
# experts are divided by their sum.
# What happens: `DeepseekV3ForCausalLM` gives other logits with `true` than with `false`; `DeepseekV2ForCausalLM` takes the field, writes it
# back, and gives the same logits to the last bit: it never divides.
# Output seen: "DeepseekV2ForCausalLM 0.0", "DeepseekV3ForCausalLM 0.041".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

import torch
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM

SIZES = dict(
    vocab_size=32, hidden_size=16, intermediate_size=24, moe_intermediate_size=8, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1,
    n_shared_experts=1, first_k_dense_replace=1, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4,
    qk_nope_head_dim=4, v_head_dim=4, head_dim=4, max_position_embeddings=32, routed_scaling_factor=1.0,
)


def logits(config_class, model_class, normalize):
    torch.manual_seed(0)
    model = model_class(config_class(**SIZES, norm_topk_prob=normalize)).eval()
    assert model.config.to_dict()["norm_topk_prob"] is normalize
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
        return model(torch.arange(8)[None]).logits


def differs(config_class, model_class):
    difference = (logits(config_class, model_class, True) - logits(config_class, model_class, False)).abs().max().item()
    print(model_class.__name__, round(difference, 3))
    return difference


second = differs(DeepseekV2Config, DeepseekV2ForCausalLM)
third = differs(DeepseekV3Config, DeepseekV3ForCausalLM)
sys.exit(0 if second == 0 and third > 0.001 else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
