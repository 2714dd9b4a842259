"""Copies run folders into an Aim repository: python aim_import.py FOLDER REPO [SECONDS BYTES].

No further run is taken in after so many seconds or bytes. Prints how many were."""

import json
import sys
import time
from pathlib import Path

from aim import Repo, Run

folder, repo = Path(sys.argv[1]), sys.argv[2]
seconds, limit = (float(text) for text in (sys.argv[3:5] or ("inf", "inf")))
taken, since = 0, time.monotonic()
Repo.from_path(repo, init=True)
for source in sorted((path.parent for path in folder.glob("*/metrics.jsonl")), key=lambda path: path.stat().st_mtime):
    if time.monotonic() - since > seconds or sum(file.stat().st_size for file in Path(repo).rglob("*")) > limit:
        break
    run = Run(repo=repo, system_tracking_interval=None, capture_terminal_logs=False)
    run.name = source.name
    for line in (source / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step = row.pop("step")
        for name, value in row.items():
            run.track(value, name=name, step=step)
    run.close()
    taken += 1
print(taken)
