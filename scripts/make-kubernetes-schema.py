"""Writes test/data/kubernetes-job.json: what Kubernetes 1.33 takes as a Job of batch/v1, every type that one may hold with its fields
(strict: no others), without descriptions and without the status, which the cluster writes. The schemas are those of Kubernetes (Apache-2.0)
as the package kubernetes-validate has them.

    pip install kubernetes-validate==1.37.0
    python scripts/make-kubernetes-schema.py >test/data/kubernetes-job.json
"""

import json
import pathlib

import kubernetes_validate

ROOT = 'io.k8s.api.batch.v1.Job'
folder = pathlib.Path(kubernetes_validate.__file__).parent / 'kubernetes-json-schema' / 'v1.33.0-local-strict'
definitions = json.loads((folder / '_definitions.json').read_text())
definitions = definitions.get('$defs') or definitions['definitions']


def plain(schema):
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if '$ref' in schema:
        return {'$ref': schema['$ref'].split('/')[-1]}
    return {key: plain(part) for key, part in schema.items() if not (key == 'description' and isinstance(part, str)) and not key.startswith('x-')}


def references(schema):
    if isinstance(schema, dict):
        return [schema['$ref']] if '$ref' in schema else [name for part in schema.values() for name in references(part)]
    return [name for part in schema for name in references(part)] if isinstance(schema, list) else []


found, open_ = {}, [ROOT]
while open_:
    name = open_.pop()
    if name in found:
        continue
    found[name] = plain(definitions[name])
    if name == ROOT:
        del found[name]['properties']['status']
    open_ += references(found[name])
lines = [f'  {json.dumps(name)}: {json.dumps(found[name])}' for name in sorted(found)]
print('{\n' + ',\n'.join(lines) + '\n}')
