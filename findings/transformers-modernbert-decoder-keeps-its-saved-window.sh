#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-30.
#
# A guess: `local_attention` in the config.json of a ModernBERT decoder is the window of its local layers, so that another value
# there is another window, as it is in a config that is made with this value.
# What happens: a saved config.json has `sliding_window`, too, half of `local_attention`, which the model reads; on loading it wins.
# A folder whose `local_attention` is edited from 16 to 4 loads without a word, says 4 and computes with the old window of 8: the
# logits are the same to the bit. Only with `sliding_window` edited as well do they become those of a model made with 4.
# Output seen: "saved 16 8; edited 4 8; made 4 2" and "edited: same logits as before; both edited: other logits, those of the made one".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/seen.py" <<'PY'
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, ModernBertDecoderConfig, ModernBertDecoderForCausalLM

folder = Path(sys.argv[1])
COMMON = dict(
    vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, global_attn_every_n_layers=2,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
)
torch.manual_seed(0)
ModernBertDecoderForCausalLM(ModernBertDecoderConfig(local_attention=16, **COMMON)).save_pretrained(folder)
tokens = torch.randint(3, 32, (1, 40))


def seen(**fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return model.config.local_attention, model.config.sliding_window, model(tokens).logits


saved, edited, both = seen(), seen(local_attention=4), seen(sliding_window=2)
made = ModernBertDecoderForCausalLM(ModernBertDecoderConfig(local_attention=4, **COMMON)).eval()
made.load_state_dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())
with torch.no_grad():
    wanted = made(tokens).logits
print(f"saved {saved[0]} {saved[1]}; edited {edited[0]} {edited[1]}; made 4 {made.config.sliding_window}")
same = lambda a, b: "same" if torch.equal(a, b) else "other"  # noqa: E731
theirs = "those of the made one" if torch.equal(both[2], wanted) else "not those of the made one"
print(f"edited: {same(edited[2], saved[2])} logits as before; both edited: {same(both[2], saved[2])} logits, {theirs}")
good = (edited[0], edited[1], made.config.sliding_window) == (4, 8, 2)
sys.exit(0 if good and torch.equal(edited[2], saved[2]) and torch.equal(both[2], wanted) and not torch.equal(both[2], saved[2]) else 1)
PY
"$work/venv/bin/python" "$work/seen.py" "$work/model" 2> "$work/warnings" || { status=$?; tail -n 3 "$work/warnings"; exit $status; }
