"""Copies run folders into an Aim repository: python aim_import.py FOLDER REPO."""

import json
import sys
from pathlib import Path

from aim import Repo, Run

folder, repo = Path(sys.argv[1]), sys.argv[2]
Repo.from_path(repo, init=True)
for source in sorted(path.parent for path in folder.glob("*/metrics.jsonl")):
    run = Run(repo=repo, system_tracking_interval=None, capture_terminal_logs=False)
    run.name = source.name
    for line in (source / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step = row.pop("step")
        for name, value in row.items():
            run.track(value, name=name, step=step)
    run.close()
