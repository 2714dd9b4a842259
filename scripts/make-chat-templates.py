"""Records what Transformers makes of conversations by chat templates: test/data/chat/expected.json.

usage: python scripts/make-chat-templates.py        (Transformers 5.24, jinja2 3.1)
The templates are written for this test, in the manner of released ones; the tokenizer is test/data/tokenizer.
"""
import json
import shutil
import tempfile
from pathlib import Path

import jinja2
import transformers
from transformers import AutoTokenizer

root = Path(__file__).resolve().parent.parent / "test" / "data"

TEMPLATES = {
    # Markers of turns; a system turn of its own if none is given.
    "turns": """{%- if messages[0].role != 'system' %}
    {{- '<|turn|>system\\nBe brief.<|over|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|turn|>' + message.role + '\\n' + message.content + '<|over|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|turn|>assistant\\n' }}
{%- endif %}
""",
    # Special tokens, roles that alternate, a system text put in front of the first question.
    "alternating": """{{ bos_token }}
{% set found = namespace(system='') %}
{% for message in messages if message['role'] == 'system' %}
    {% set found.system = message['content'] | trim + '\\n\\n' %}
{% endfor %}
{% set rest = messages | rejectattr('role', 'equalto', 'system') | list %}
{% for message in rest %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Roles must alternate: user, assistant, user, ...') }}
    {% endif %}
    {% if message['role'] == 'user' %}
[Q] {{ (found.system if loop.first else '') + message['content'] }} [/Q]
    {% else %}
        {{ ' ' + message['content'] | trim }}{{ eos_token }}
    {% endif %}
{% endfor %}""",
    # Filters, slices, tests, macros, JSON, variables of the caller.
    "filters": """{%- macro heading(role, n) -%}
### {{ role | title }} {{ n }}
{% endmacro -%}
{%- for m in messages -%}
{{ heading(m.role, loop.index) }}
{%- if m.content is string -%}{{ m.content | replace('\\t', ' ') }}
{%- else -%}{{ m.content | map(attribute='text') | join(' ') }}
{%- endif %}
{{ {'role': m.role, 'length': m.content | length, 'tags': ['<a>', 'é']} | tojson }}
{{ messages[-1]['content'][:5] | upper }}|{{ m.name | default('nobody') }}|{{ 'x' in m.content }}|{{ loop.last }}
{% endfor -%}
{% if add_generation_prompt %}{{ '### Assistant' if not (thinking is defined and thinking) else '### Thought' }}
{% endif %}""",
    # Loop controls, spans of generation.
    "controls": """{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}
{% if loop.index > 3 %}{% break %}{% endif %}
<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}</{{ m.role }}>
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}""",
}

CONVERSATIONS = {
    "one": [{"role": "user", "content": "What is a window?"}],
    "system": [{"role": "system", "content": "  You count. "}, {"role": "user", "content": "1, 2"}],
    "several": [
        {"role": "user", "content": "What\tis x?\n  Say it."},
        {"role": "assistant", "content": " A letter. "},
        {"role": "user", "content": "Größe <b>&amp;</b>?"},
    ],
    "wrong order": [{"role": "assistant", "content": "Hello"}],
    "tools": [
        {"role": "user", "content": "x"},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "It is 42."},
        {"role": "user", "content": "Why?"},
    ],
}


def main():
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(root / "tokenizer" / name, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for template, source in TEMPLATES.items():
            for conversation, messages in CONVERSATIONS.items():
                for prompt in (True, False):
                    case = {"template": template, "conversation": conversation, "prompt": prompt}
                    try:
                        options = {"chat_template": source, "add_generation_prompt": prompt}
                        case["text"] = tokenizer.apply_chat_template(messages, tokenize=False, **options)
                        case["ids"] = list(tokenizer.apply_chat_template(messages, return_dict=False, **options))
                    except jinja2.exceptions.TemplateError as error:
                        case["error"] = str(error)
                    cases.append(case)
    made = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    found = {"made": made, "templates": TEMPLATES, "conversations": CONVERSATIONS, "cases": cases}
    path = root / "chat" / "expected.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases in {path}")


main()
