#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI; the plain implementations, without mamba_ssm), seen 2026-11-29.
#
# A guess: a model of Mamba-2 layers whose config bounds the time steps (`time_step_limit`) gives the same next token with a cache as
# without one, up to rounding.
# What happens: reading a text clamps the time steps to the limits, the step that decodes one token with the cache does not. The logits of a tiny
# Falcon-H1 with limits (0.01, 0.5) differ by half of their size; with the default limits (0, inf) they agree to 1e-5. Greedy `generate`
# then depends on `use_cache`. Whoever compares another implementation with Transformers must decode without the cache.
# Output seen: "limits (0.01, 0.5): with the cache 2.287 from without, of 4.540", "limits (0.0, inf): with the cache 0.000 from without, of 3.910".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/limits.py" <<'PY'
import sys

import torch
from transformers import FalconH1Config, FalconH1ForCausalLM

sizes = dict(
    vocab_size=64, hidden_size=32, num_hidden_layers=2, intermediate_size=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_ssm=32,
    mamba_d_state=8, mamba_n_groups=1, mamba_chunk_size=8, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
)
seen = {}
for limits in ((0.01, 0.5), (0.0, float("inf"))):
    torch.manual_seed(0)
    model = FalconH1ForCausalLM(FalconH1Config(**sizes, time_step_limit=limits)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        tokens = torch.arange(12)[None] * 5 % 64
        whole = model(tokens).logits[0, -1]
        cache = model(tokens[:, :-1], use_cache=True).past_key_values
        step = model(tokens[:, -1:], past_key_values=cache, use_cache=True).logits[0, -1]
    apart, size = (whole - step).abs().max().item(), whole.abs().max().item()
    print(f"limits {limits}: with the cache {apart:.3f} from without, of {size:.3f}")
    seen[limits] = apart / size
sys.exit(0 if seen[(0.01, 0.5)] > 0.05 and seen[(0.0, float("inf"))] < 1e-4 else 1)
PY
"$work/venv/bin/python" "$work/limits.py" 2> "$work/warnings" || { status=$?; tail -3 "$work/warnings"; exit $status; }
