"""Writes test/data/parquet: one table in two row groups under several compressions, by pyarrow.

usage: python scripts/make-parquet-reference.py      (needs: pip install pyarrow)
"""
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq

out = Path(__file__).resolve().parent.parent / "test/data/parquet"
out.mkdir(parents=True, exist_ok=True)
texts = [f"document {i} " + "the whale é 東京 🙂 " * (i % 5) for i in range(40)]
texts[7], texts[8] = None, ""
table = pa.table({
    "id": list(range(40)),
    "meta": [{"source": "x", "tags": ["a", "b"]}] * 40,
    "content": pa.array(texts, pa.string()),
})
for codec in ["none", "snappy", "gzip", "zstd"]:
    pq.write_table(table, out / f"{codec}.parquet", compression=codec, row_group_size=25)
