"""cuDNN's attention on packed documents (its ragged layout, through JAX), forward and backward, beside rows of one document; one
JSON line for each bound on the documents in a row.

usage: python3 cudnn_packed.py DIR [--bounds 1 2 8 32]      DIR as written by bench/gpu/longsight.mjs prepare for a packed case
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.cudnn.fused_attention_stablehlo import MaskType, dot_product_attention

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--bounds", type=int, nargs="+", default=[1, 2, 8, 32])
parser.add_argument("--runs", type=int, default=30)
args = parser.parse_args()

cfg = json.loads((args.folder / "config.json").read_text())
B, T, H, G, D = (cfg[k] for k in ("batchSize", "seqLen", "numHeads", "numKvHeads", "headDim"))
ids = np.fromfile(args.folder / "segments.i32", dtype=np.int32)[: B * T].reshape(B, T)
keys = jax.random.split(jax.random.key(0), 4)
q, d = (jax.random.normal(k, (B, T, H, D), jnp.bfloat16) for k in keys[:2])
k, v = (jax.random.normal(k, (B, T, G, D), jnp.bfloat16) for k in keys[2:])


def bounds_of(most):
    """Lengths [B,M] and first tokens [B,M+1] of the documents, -1 where a row has fewer."""
    lengths, offsets = np.full((B, most), -1, np.int32), np.full((B, most + 1), -1, np.int32)
    for row in range(B):
        starts = np.flatnonzero(np.diff(ids[row], prepend=ids[row, 0] - 1))
        ends = np.append(starts[1:], T)
        lengths[row, : len(starts)] = ends - starts
        offsets[row, : len(starts)] = starts
    return jnp.asarray(lengths), jnp.asarray(offsets)


def attend(q, k, v, documents):
    if documents is None:
        return dot_product_attention(q, k, v, scale=D**-0.5, mask_type=MaskType.CAUSAL)
    lengths, offsets = documents
    extra = {"q_seqlen": lengths, "kv_seqlen": lengths, "q_offsets": offsets, "kv_offsets": offsets}
    return dot_product_attention(q, k, v, scale=D**-0.5, mask_type=MaskType.PADDING_CAUSAL, **extra)


def plain(q, k, v, documents):
    """The first row's first head in float32."""
    near = np.tril(np.ones((T, T), bool)) & (ids[0][:, None] == ids[0][None, :] if documents is not None else True)
    s = q[0, :, 0].astype(jnp.float32) @ k[0, :, 0].astype(jnp.float32).T * D**-0.5
    return jax.nn.softmax(jnp.where(near, s, -1e30), -1) @ v[0, :, 0].astype(jnp.float32)


@jax.jit
def forward(q, k, v, documents):
    return attend(q, k, v, documents)


@jax.jit
def both(q, k, v, d, documents):
    out, back = jax.vjp(partial(attend, documents=documents), q, k, v)
    return out, *back(d)


def ms(f, *xs):
    jax.block_until_ready(f(*xs))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(args.runs):
            last = f(*xs)
        jax.block_until_ready(last)
        times.append((time.perf_counter() - begin) / args.runs * 1e3)
    return round(min(times), 3)


for most in args.bounds:
    line = {"system": "cuDNN through JAX", "documentsAtMost": most, "tokens": B * T}
    try:
        documents = None if most == 1 else bounds_of(most)
        got = forward(q, k, v, documents)[0, :, 0].astype(jnp.float32)
        want = plain(q, k, v, documents)
        line["error"] = float(jnp.linalg.norm(got - want) / jnp.linalg.norm(want))
        line |= {"forwardMs": ms(forward, q, k, v, documents), "bothMs": ms(both, q, k, v, d, documents)}
    except Exception as error:  # what cuDNN or JAX refuse is the finding
        line["refused"] = str(error)[:300]
    print(json.dumps(line), flush=True)
