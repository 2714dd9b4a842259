#!/usr/bin/env bash
# Transformers 5.24.0 with PyTorch 2.15.0 (PyPI), seen 2026-11-29.
#
# A guess: `Llama4ForConditionalGeneration` computes the logits of a text without images, as other classes with images do.
# What happens: its forward pass reads `image_outputs` of what its text model returned, which has no such field, and raises an
# AttributeError on any input. With `return_dict=False`, or through its `language_model`, it runs. Whoever compares with the class must ask
# the text model within.
# Output seen: "the class: 'MoeCausalLMOutputWithPast' object has no attribute 'image_outputs'", "its language_model: logits (1, 4, 64)".
# Exits 0 as long as that is so. Downloads about 3 GB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0 transformers==5.24.0 numpy
cat > "$work/images.py" <<'PY'
import sys

import torch
from transformers import Llama4Config, Llama4ForConditionalGeneration

text = dict(vocab_size=64, hidden_size=32, intermediate_size=32, intermediate_size_mlp=32, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, moe_layers=[], pad_token_id=0)
vision = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=4, patch_size=2,
              vision_output_dim=8, projector_input_dim=8, projector_output_dim=8, pixel_shuffle_ratio=0.5)
model = Llama4ForConditionalGeneration(Llama4Config(text_config=text, vision_config=vision)).eval()
tokens = torch.tensor([[5, 9, 2, 7]])
raised = False
with torch.no_grad():
    try:
        model(input_ids=tokens)
    except AttributeError as error:
        raised = "image_outputs" in str(error)
        print("the class:", error)
    logits = model.language_model(input_ids=tokens).logits
print("its language_model: logits", tuple(logits.shape))
sys.exit(0 if raised and logits.shape == (1, 4, 64) else 1)
PY
"$work/venv/bin/python" "$work/images.py" 2> "$work/warnings" || { status=$?; tail -3 "$work/warnings"; exit $status; }
