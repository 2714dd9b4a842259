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

# Texts that begin with U+FEFF, nulls, and bytes that are no UTF-8 (which pyarrow itself does not check), in every way that
# Parquet stores texts: plain, by dictionary, by delta; as string, large string, and bytes without a type.
values = ["\ufeffmark".encode(), None, "é\ufeff".encode(), b"abcd\xff\xfe", b"", b"\xe2\x82"]


def strings(rows, kind):
    return pa.array(rows, pa.large_binary() if kind == pa.large_string() else pa.binary()).view(kind)


for name, kind, options in [
    ("plain", pa.string(), dict(use_dictionary=False)),
    ("dictionary", pa.string(), dict(use_dictionary=True)),
    ("delta", pa.string(), dict(use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})),
    ("large", pa.large_string(), dict(use_dictionary=True)),
    ("bytes", pa.binary(), dict(use_dictionary=True)),
]:
    for which, rows in [("valid", values[:3]), ("invalid", values)]:
        array = pa.array(rows, pa.binary()) if kind == pa.binary() else strings(rows, kind)
        pq.write_table(pa.table({"text": array}), out / f"{name}-{which}.parquet", row_group_size=2, **options)
pq.write_table(
    pa.table({"text": pa.array([["a", "b"], None]), "meta": pa.array([{"text": "x"}, None]), "number": [1, 2]}),
    out / "nested.parquet",
)
