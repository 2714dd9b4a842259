"""Writes test/data/log-export/events.bin, an event file of TensorBoard's own writer, with what tests write into another.

    python scripts/make-tensorboard-reference.py        (pip install tensorboard)
"""

import os

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "test", "data", "log-export", "events.bin")
STARTED = 1767323045.0  # 2026-01-02T03:04:05Z

os.makedirs(os.path.dirname(OUT), exist_ok=True)
with open(OUT, "wb") as file:
    writer = RecordWriter(file)
    writer.write(Event(wall_time=STARTED, file_version="brain.Event:2").SerializeToString())
    for step, tokens, time, values in [
        (1, 100, 0.5, [("train/loss", 2.25), ("eval/über", -1e-3)]),
        (300, 3_000_000_000, 12.75, [("train/loss", float("nan"))]),
        (2**40, 2**50, 1e6, [("train/loss", 0.0), ("x" * 200, 1e30)]),
    ]:
        summary = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in [("tokens", tokens), *values]])
        writer.write(Event(wall_time=STARTED + time, step=step, summary=summary).SerializeToString())
    writer.flush()
