"""Copies run folders into a trackio project: python trackio_import.py FOLDER PROJECT [SECONDS BYTES], with TRACKIO_DIR for its place.

No further run is taken in after so many seconds or bytes. Prints how many were."""

import json
import os
import sys
import time
from pathlib import Path

from trackio.sqlite_storage import SQLiteStorage

folder, project = Path(sys.argv[1]), sys.argv[2]
seconds, limit = (float(text) for text in (sys.argv[3:5] or ("inf", "inf")))
taken, place, since = 0, Path(os.environ["TRACKIO_DIR"]), time.monotonic()
for run in sorted((path.parent for path in folder.glob("*/metrics.jsonl")), key=lambda path: path.stat().st_mtime):
    if time.monotonic() - since > seconds or sum(file.stat().st_size for file in place.rglob("*")) > limit:
        break
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row.pop("step") for row in rows]
    SQLiteStorage.bulk_log(project, run.name, rows, steps=steps, config={"name": run.name})
    taken += 1
print(taken)
