#!/usr/bin/env bash
# @huggingface/jinja 0.5.11 beside Jinja2 3.1.6, seen 2026-11-29 on Node 20 and Python 3.11.
#
# Chat templates are written for Python's Jinja (Transformers renders them with it); @huggingface/jinja is the package that renders
# them in JavaScript. One would expect both to print a value alike. They do not: a truth value is True for one and true for the
# other, None is printed by one and left out by the other, and a list is a Python list for one and JSON for the other. A template
# that prints such a value gives a model another prompt, without a word. The test `ne`, which filters such as selectattr take in
# Jinja2, is unknown to the package; that it says.
#
# Exits 0 as long as this is so, 1 if it has changed, 2 if it could not be tried.
set -u
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 2
npm init -y >/dev/null 2>&1
npm install --no-audit --no-fund @huggingface/jinja@0.5.11 >/dev/null 2>&1 || exit 2
python3 -m pip install -q --target python jinja2==3.1.6 >/dev/null 2>&1 || exit 2
cat >try.mjs <<'JS'
import { Template } from '@huggingface/jinja';
console.log(new Template("{{ 1 == 1 }}|{{ none }}|{{ ['a'] }}").render({}));
try {
  new Template("{{ rows | selectattr('role', 'ne', 'system') | list | length }}").render({ rows: [{ role: 'user' }] });
} catch (error) {
  console.log(error.message);
}
JS
cat >try.py <<'PY'
import jinja2

print(jinja2.Template("{{ 1 == 1 }}|{{ none }}|{{ ['a'] }}").render())
print(jinja2.Template("{{ rows | selectattr('role', 'ne', 'system') | list | length }}").render(rows=[{"role": "user"}]))
PY
javascript=$(node try.mjs) || exit 2
python=$(PYTHONPATH=python python3 try.py) || exit 2
printf '@huggingface/jinja:\n%s\nJinja2:\n%s\n' "$javascript" "$python"
[ "$javascript" = $'true||["a"]\nUnknown test: ne' ] && [ "$python" = $'True|None|[\'a\']\n1' ]
