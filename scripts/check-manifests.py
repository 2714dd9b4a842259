"""Checks what `longsight study FILE --executor manifest` has written against the published schemas: the Job against those of Kubernetes
(kubernetes-validate, strict: no field that the schema lacks), the task by SkyPilot's own reader.

    pip install kubernetes-validate skypilot
    python scripts/check-manifests.py STUDY/manifest
"""

import pathlib
import sys

import kubernetes_validate
import yaml
from sky import task

folder = pathlib.Path(sys.argv[1])
job = yaml.safe_load((folder / 'job.yaml').read_text())
for version in ('1.33', '1.37'):
    kubernetes_validate.validate(job, version, strict=True)
    print(f'job.yaml: valid for Kubernetes {version}')
print(f'sky.yaml: {task.Task.from_yaml(str(folder / "sky.yaml"))}')
