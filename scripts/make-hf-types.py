"""Lists the causal language models of the installed Transformers that have hybrid attention, into test/data/hf-types.json.

    python scripts/make-hf-types.py

A type is every key of the mapping of AutoModelForCausalLM. Its code is its class and whatever classes and functions of the same modeling file
that class uses, directly or through others; classes of audio and images are left out, and so are comments, doc strings and messages.
A type is listed if its code has any of these:

window       a name with sliding_window, chunked_causal_mask, window_size or local_attention (attention to near tokens, by windows or chunks)
linear       a name with delta_rule, delta_net, lightning, kda, mlstm or RwkvLinearAttention
state space  a class with Mamba or Rglru in its name, or a name with ssm_state
convolution  a name with causal_conv1d or short_conv, or an nn.Conv1d with groups (along the text)
nope         rotary positions applied under a condition (but ALiBi and empty sequences), or a name with no_rope or nope_layer
sink         a name with the word sink or sinks

A type that has only a field of a window in its configuration, which no code reads, is not listed.
"""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

OUT = Path(__file__).parent.parent / "test/data/hf-types.json"

NAMES = {
    "window": r"sliding_window|chunked_causal_mask|window_size|local_(self_)?attention|localselfattention",
    "linear": r"delta_?rule|delta_?net|lightning|(^|_)kda(_|$)|mlstm|rwkvlinearattention",
    "state space": r"mamba|rglru|ssm_state",
    "convolution": r"causal_conv1d|short_?conv",
    "nope": r"no_rope|nope_layer",
    "sink": r"(^|_)sinks?(_|$)",
}
OTHER_SENSES = re.compile(r"Audio|Vision|Image|Encoder|Speech", re.IGNORECASE)


def names_of(tree):
    """Every identifier in a piece of code, and every short string that could be a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, (ast.keyword, ast.arg)) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"\w+", node.value):
            yield node.value


def code_of(class_name, module):
    """The definitions of a modeling file that a class uses, directly or through others."""
    tree = ast.parse(inspect.getsource(module))
    top = list(tree.body)
    for node in top:
        if isinstance(node, (ast.If, ast.Try)):
            top.extend(node.body + node.orelse)
    known = {n.name: n for n in top if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    tables = {t.id: n for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    todo, seen = [class_name], {}
    while todo:
        name = todo.pop()
        node = known.get(name) or tables.get(name)
        if name in seen or node is None or OTHER_SENSES.search(name):
            continue
        seen[name] = node
        todo.extend(n for n in names_of(node) if n in known or n in tables)
    return seen


def applies_rotary(parts):
    calls = (c for part in parts for c in ast.walk(part) if isinstance(c, ast.Call))
    return any(re.search(r"apply_rotary|self\.rotary_fn", ast.unparse(c.func)) for c in calls)


def rotary_under_condition(tree):
    conditions = (n for n in ast.walk(tree) if isinstance(n, ast.If))
    conditions = (n for n in conditions if not re.search(r"alibi|> 0", ast.unparse(n.test)))
    return any(applies_rotary(n.body) and not applies_rotary(n.orelse) for n in conditions)


def grouped_convolution(tree):
    calls = (c for c in ast.walk(tree) if isinstance(c, ast.Call))
    return any(ast.unparse(c.func) == "nn.Conv1d" and any(k.arg == "groups" for k in c.keywords) for c in calls)


def features(class_name, module):
    code = code_of(class_name, module)
    names = {n for node in code.values() for n in names_of(node)}
    found = {f for f, pattern in NAMES.items() if any(re.search(pattern, n, re.IGNORECASE) for n in names)}
    attention = [n for name, n in code.items() if isinstance(n, ast.ClassDef) and "Model" not in name]
    if any(rotary_under_condition(n) for n in attention):
        found.add("nope")
    if any(grouped_convolution(n) for n in code.values()):
        found.add("convolution")
    return [f for f in NAMES if f in found]


def main():
    types = []
    for model_type, class_name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()):
        assert model_type in CONFIG_MAPPING_NAMES, model_type
        module = importlib.import_module(getattr(transformers, class_name).__module__)
        found = features(class_name, module)
        if found:
            types.append({"type": model_type, "class": class_name, "features": found})
    record = {"transformers": transformers.__version__, "types": types}
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{len(types)} of {len(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)} types have hybrid attention")


if __name__ == "__main__":
    main()
