"""Reads what `longsight log export` wrote with the tools that it is for, and compares it with metrics.jsonl.

    longsight log export RUN --to tensorboard --out DIR/tensorboard   (and csv, parquet)
    python scripts/check-log-export.py RUN DIR        (pip install tensorboard pyarrow)
"""

import json
import math
import os
import sys

import pyarrow.csv
import pyarrow.parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run, out = sys.argv[1:]
name = os.path.basename(os.path.abspath(run))
with open(os.path.join(run, "metrics.jsonl")) as file:
    lines = [json.loads(line) for line in file if line.endswith("\n")]
PLACE = ("step", "tokens", "time")
rows = [(line["step"], line["tokens"], line["time"], k, v) for line in lines for k, v in line.items() if k not in PLACE]

events = EventAccumulator(os.path.join(out, "tensorboard", name), size_guidance={"scalars": 0})
events.Reload()
for tag in {row[3] for row in rows}:
    wanted = [(step, math.nan if v is None else v) for step, _, _, k, v in rows if k == tag]
    seen = [(e.step, e.value) for e in events.Scalars(tag)]
    assert [s for s, _ in seen] == [s for s, _ in wanted], tag
    for (_, a), (_, b) in zip(seen, wanted):
        assert (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 1e-6 * abs(b), (tag, a, b)
assert [e.value for e in events.Scalars("tokens")] and set(events.Tags()["scalars"]) == {row[3] for row in rows} | {"tokens"}

for table in (
    pyarrow.parquet.read_table(os.path.join(out, "parquet", f"{name}.parquet")),
    pyarrow.csv.read_csv(os.path.join(out, "csv", f"{name}.csv")),
):
    columns = table.to_pydict()
    assert list(columns) == ["run", *PLACE, "metric", "value"]
    assert set(columns["run"]) == {name}
    assert list(zip(*(columns[k] for k in (*PLACE, "metric", "value")))) == rows
print(f"{len(rows)} values of {len({row[3] for row in rows})} metrics: TensorBoard, Parquet and CSV agree with metrics.jsonl")
