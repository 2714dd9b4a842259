"""Forward and backward of flash-linear-attention's Triton kernels on the sizes of bench/gpu/recurrences.mjs.

usage: python bench/peers/fla_gpu.py [--mixers gla,gdn] [--slice I/N] [--unguarded]     needs torch, triton and the fla-core package

Times are the best of three rounds of runs queued one behind the other. --slice I/N takes every Nth configuration of each kernel
from the Ith on and times nothing: several such processes fill Triton's cache side by side, and a run without it tunes from there.
--unguarded runs gated backward kernels that the package refuses with Triton before 3.7.1 on Hopper, where their results are wrong:
for their times only.
"""

import argparse
import json
import time

import torch
import triton

parser = argparse.ArgumentParser()
parser.add_argument("--mixers", default="lightning,gla,mamba2,gdn,kda")
parser.add_argument("--slice", default=None)
parser.add_argument("--unguarded", action="store_true")
flags = parser.parse_args()

if flags.slice:
    first, step = map(int, flags.slice.split("/"))
    original = triton.autotune

    def thinned(configs, *args, **kwargs):
        return original(configs[first::step] or [configs[first % len(configs)]], *args, **kwargs)

    triton.autotune = thinned
    import fla.ops.utils.cache as cache

    cached = cache.fla_cache_autotune
    cache.fla_cache_autotune = lambda configs, *a, **k: cached(
        configs[first::step] or [configs[first % len(configs)]], *a, **k
    )

from fla.ops.gated_delta_rule import chunk_gated_delta_rule  # noqa: E402
from fla.ops.kda import chunk_kda  # noqa: E402
from fla.ops.simple_gla import chunk_simple_gla  # noqa: E402

if flags.unguarded:
    import fla.ops.common.chunk_o as chunk_o

    chunk_o.TRITON_ABOVE_3_7_1 = True

# Heads, key width, value width. Mamba-2's shared keys and queries are repeated for every head: the kernels know no groups.
MIXERS = {
    "lightning": (16, 64, 64),
    "gla": (16, 64, 64),
    "mamba2": (16, 128, 64),
    "gdn": (8, 64, 128),
    "kda": (8, 64, 64),
}
LENGTHS = [(2, 8192)] if flags.slice else [(8, 2048), (2, 8192), (1, 32768)]


def case(name, batch, tokens):
    heads, k_width, v_width = MIXERS[name]
    torch.manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, device="cuda")

    def leaf(x, dtype=torch.bfloat16):
        return x.to(dtype).requires_grad_()

    shared = name == "mamba2"
    q = leaf(normal(batch, tokens, 1 if shared else heads, k_width))
    k = leaf(torch.nn.functional.normalize(normal(batch, tokens, 1 if shared else heads, k_width), dim=-1))
    v = leaf(normal(batch, tokens, heads, v_width))
    g = leaf(-torch.exp(normal(batch, tokens, heads, *([k_width] if name == "kda" else [])) - 3), torch.float32)
    beta = leaf(torch.sigmoid(normal(batch, tokens, heads)), torch.float32)
    do = normal(batch, tokens, heads, v_width).to(torch.bfloat16)
    slopes = torch.exp2(-8 * torch.arange(1, heads + 1, device="cuda") / heads)
    scale = k_width**-0.5

    def forward():
        if name == "lightning":
            return chunk_simple_gla(q, k, v, g_gamma=-slopes, scale=scale)[0]
        if name in ("gla", "mamba2"):
            return chunk_simple_gla(q.expand(-1, -1, heads, -1), k.expand(-1, -1, heads, -1), v, g=g, scale=scale)[0]
        if name == "gdn":
            return chunk_gated_delta_rule(q, k, v, g, beta, scale=scale)[0]
        return chunk_kda(q, k, v, g, beta, scale=scale)[0]

    used = [q, k, v] + ([] if name == "lightning" else [g]) + ([beta] if name in ("gdn", "kda") else [])

    def both():
        return torch.autograd.grad(forward(), used, do)

    return forward, both


def best(run, count):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(count):
            run()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / count)
    return min(times) * 1e3


def on_graph(run):
    """The same kernels replayed as a CUDA graph, without the cost of their launches from Python."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__, "triton": triton.__version__}), flush=True)
for name in flags.mixers.split(","):
    for batch, tokens in LENGTHS:
        try:
            begin = time.perf_counter()
            forward, both = case(name, batch, tokens)
            both()
            torch.cuda.synchronize()
            first_s = time.perf_counter() - begin
            if flags.slice:
                continue
            line = {"mixer": name, "form": "fla", "batch": batch, "tokens": tokens, "ms": round(best(both, 20), 4)}
            if tokens == 8192:
                line["forwardMs"] = round(best(forward, 20), 4)
            line["firstS"] = round(first_s, 1)
            try:
                line["graphMs"] = round(best(on_graph(both), 20), 4)
            except Exception as error:
                line["graphError"] = str(error)[:120]
            print(json.dumps(line), flush=True)
        except Exception as error:
            print(json.dumps({"failed": name, "tokens": tokens, "error": str(error)[:400]}), flush=True)
