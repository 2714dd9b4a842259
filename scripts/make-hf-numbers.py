"""Lists the fields of configurations that the installed Transformers takes only as floats, or only as integers.

    python scripts/make-hf-numbers.py

Configurations check the types of their fields: 7 for a field of type float is refused, and so is 7.5 for one of type int. Writes
test/data/hf-numbers.json, for every `model_type`: {"float": [field, ...], "int": [field, ...]}, lists of such numbers included.
"""

import dataclasses
import json
import re
from pathlib import Path

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

OUT = Path(__file__).parent.parent / "test/data/hf-numbers.json"


def numbers(config_class):
    fields = {"float": [], "int": []}
    for field in dataclasses.fields(config_class):
        words = set(re.findall(r"\w+", str(field.type)))
        kinds = words & {"float", "int"}
        if len(kinds) == 1 and not words & {"dict", "Any", "RopeParameters"}:
            fields[kinds.pop()].append(field.name)
    return {kind: sorted(names) for kind, names in fields.items()}


types = {}
for model_type in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
    config_class = getattr(transformers, CONFIG_MAPPING_NAMES[model_type], None)
    if config_class is not None:
        types[model_type] = numbers(config_class)
lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in types.items())
OUT.write_text(f'{{\n  "transformers": {json.dumps(transformers.__version__)},\n  "types": {{\n{lines}\n}}}}\n')
print(f"{len(types)} types written to {OUT}")
