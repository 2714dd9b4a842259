#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-30.
#
# A guess: `tie_word_embeddings: false` in a Zamba or Zamba2 model says that the output matrix is not the embedding, and the
# transformer block that its hybrid layers share stays one block, as that is the design of these models.
# What happens: the shared blocks are tied by the same switch. With it off every hybrid layer has a block of its own, which
# is trained and stored by itself: three hybrid layers, three blocks.
# Output seen: "zamba tied 1 block, 19424 parameters; untied 3 blocks, 28736 parameters" and
# "zamba2 tied 1 block, 18368 parameters; untied 3 blocks, 28256 parameters".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import sys

from transformers import Zamba2Config, Zamba2ForCausalLM, ZambaConfig, ZambaForCausalLM

KINDS = ["mamba", "hybrid"] * 3
COMMON = dict(
    vocab_size=32, hidden_size=16, num_hidden_layers=6, layers_block_type=KINDS, num_attention_heads=2, num_key_value_heads=2,
    intermediate_size=16, mamba_d_state=4, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)


def zamba(tied):
    config = ZambaConfig(
        attn_layer_period=2, attn_layer_offset=1, mamba_dt_rank=2, n_mamba_heads=2, tie_word_embeddings=tied, **COMMON
    )
    return ZambaForCausalLM(config), "shared_transf"


def zamba2(tied):
    config = Zamba2Config(
        num_mem_blocks=1, mamba_headdim=4, n_mamba_heads=8, mamba_ngroups=1, use_mem_rope=False, adapter_rank=2,
        tie_word_embeddings=tied, **COMMON,
    )
    return Zamba2ForCausalLM(config), "shared_transformer"


def seen(make, tied):
    model, name = make(tied)
    blocks = [getattr(layer, name) for layer in model.model.layers if hasattr(layer, name)]
    return len({id(block.self_attn.q_proj.weight) for block in blocks}), sum(p.numel() for p in model.parameters())


same = True
for make in (zamba, zamba2):
    (tied, few), (untied, many) = seen(make, True), seen(make, False)
    print(f"{make.__name__} tied {tied} block, {few} parameters; untied {untied} blocks, {many} parameters")
    same &= (tied, untied) == (1, 3)
sys.exit(0 if same else 1)
PY
"$work/venv/bin/python" "$work/seen.py" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
