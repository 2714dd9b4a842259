"""Copies run folders into a trackio project: python trackio_import.py FOLDER PROJECT, with TRACKIO_DIR for its place."""

import json
import sys
from pathlib import Path

from trackio.sqlite_storage import SQLiteStorage

folder, project = Path(sys.argv[1]), sys.argv[2]
for run in sorted(path.parent for path in folder.glob("*/metrics.jsonl")):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row.pop("step") for row in rows]
    SQLiteStorage.bulk_log(project, run.name, rows, steps=steps, config={"name": run.name})
