"""Forward and backward of flash-linear-attention's Triton kernels on the sizes of bench/gpu/recurrences.mjs.

usage: python bench/peers/fla_gpu.py [--mixers gla,gdn] [--tuned FOLDER [--slice I/N]] [--unguarded]     needs torch, triton, fla-core

Times are the best of three rounds of runs queued one behind the other. Compiling every configuration of every kernel takes long:
--slice I/N compiles every Nth one from the Ith on into Triton's cache, notes them in FOLDER, and times nothing. Several such
processes run side by side; then a run without --slice chooses the fastest among the configurations noted, and says how many those were.
--unguarded runs gated backward kernels that the package refuses with Triton before 3.7.1 on Hopper, where their results are wrong:
for their times only.
"""

import argparse
import hashlib
import json
import math
import os
import time
import zlib

import torch
import triton
from triton.runtime.autotuner import Autotuner

parser = argparse.ArgumentParser()
parser.add_argument("--mixers", default="lightning,gla,mamba2,gdn,kda,rwkv7,mamba,conv")
parser.add_argument("--tuned", default=None)
parser.add_argument("--slice", default=None)
parser.add_argument("--unguarded", action="store_true")
flags = parser.parse_args()

MIXER = ""
tried = {}  # mixer -> [configurations that kernels chose among, configurations there are]
all_configs = Autotuner.prune_configs


def note(kernel, config):
    text = f"{MIXER} {kernel} {config}"
    return os.path.join(flags.tuned, hashlib.sha256(text.encode()).hexdigest()[:24])


def compile_share(tuner, *args, **kwargs):
    """In place of tuning: launches a share of the configurations once each and notes those that work."""
    name = tuner.base_fn.__name__
    tuner.nargs = dict(zip(tuner.arg_names, args))
    configs = all_configs(tuner, kwargs)
    first, step = map(int, flags.slice.split("/"))
    # Kernels start at different slices, so that those with few configurations do not all fall on the first ones.
    share = configs[(first + zlib.crc32(name.encode())) % step :: step]
    worked = False
    for config in [*share, *configs]:
        if worked and config not in share:
            break
        try:
            tuner.fn.run(*args, **kwargs, **config.all_kwargs())
        except Exception:  # too much shared memory, or a configuration that the compiler refuses
            continue
        worked = True
        open(note(name, config), "w").close()
    tuner.nargs = None


def noted(tuner, kwargs):
    configs, name = all_configs(tuner, kwargs), tuner.base_fn.__name__
    known = [c for c in configs if os.path.exists(note(name, c))] or configs[:1]
    counts = tried.setdefault(MIXER, [0, 0])
    counts[0], counts[1] = counts[0] + len(known), counts[1] + len(configs)
    return known


def measure(tuner):
    return lambda call, quantiles=None: triton.testing.do_bench(call, warmup=5, rep=20, quantiles=quantiles)


if flags.tuned:
    os.makedirs(flags.tuned, exist_ok=True)
    os.environ["FLA_CACHE_RESULTS"] = "0"
    if flags.slice:
        Autotuner.run = compile_share
    else:
        Autotuner.prune_configs = noted
        Autotuner.do_bench = property(measure)

from fla.modules.causal_conv1d import causal_conv1d  # noqa: E402
from fla.ops.gated_delta_rule import chunk_gated_delta_rule  # noqa: E402
from fla.ops.kda import chunk_kda  # noqa: E402
from fla.ops.rwkv7 import chunk_rwkv7  # noqa: E402
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
    "rwkv7": (8, 64, 64),
}
# Channels, and states of a channel or taps.
CHANNELS = {"mamba": (1024, 16), "conv": (1024, 4)}
LENGTHS = [(8, 2048)] if flags.slice else [(8, 2048), (2, 8192), (1, 32768)]


def normal(*shape):
    return torch.randn(*shape, device="cuda")


def leaf(x, dtype=torch.bfloat16):
    return x.to(dtype).requires_grad_()


def by_channels(name, batch, tokens):
    """The convolution's kernel; the selective scan token by token, as the layer has it where mamba_ssm is not installed."""
    width, count = CHANNELS[name]
    torch.manual_seed(1)
    x, do = leaf(normal(batch, tokens, width)), normal(batch, tokens, width).to(torch.bfloat16)
    if name == "conv":
        weight = leaf(normal(width, count))
        forward, used = (lambda: causal_conv1d(x, weight)[0]), [x, weight]
        return forward, lambda: torch.autograd.grad(forward(), used, do)
    write, read = leaf(normal(batch, tokens, count)), leaf(normal(batch, tokens, count))
    step = leaf(torch.exp(normal(batch, tokens, width) - 4), torch.float32)
    rates = leaf(-torch.exp(normal(width, count)), torch.float32)

    def forward():
        decay = torch.exp(step[..., None] * rates)
        written = (step * x.float())[..., None] * write.float()[:, :, None]
        state, out = torch.zeros_like(written[:, 0]), []
        for t in range(tokens):
            state = decay[:, t] * state + written[:, t]
            out.append(torch.matmul(state.to(x.dtype), read[:, t, :, None])[..., 0])
        return torch.stack(out, 1)

    used = [x, write, read, step, rates]
    return forward, lambda: torch.autograd.grad(forward(), used, do)


def case(name, batch, tokens):
    if name in CHANNELS:
        return by_channels(name, batch, tokens)
    heads, k_width, v_width = MIXERS[name]
    torch.manual_seed(1)
    shared = name == "mamba2"
    q = leaf(normal(batch, tokens, 1 if shared else heads, k_width))
    k = leaf(torch.nn.functional.normalize(normal(batch, tokens, 1 if shared else heads, k_width), dim=-1))
    v = leaf(normal(batch, tokens, heads, v_width))
    g = leaf(-torch.exp(normal(batch, tokens, heads, *([k_width] if name == "kda" else [])) - 3), torch.float32)
    beta = leaf(torch.sigmoid(normal(batch, tokens, heads)), torch.float32)
    do = normal(batch, tokens, heads, v_width).to(torch.bfloat16)
    slopes = torch.exp2(-8 * torch.arange(1, heads + 1, device="cuda") / heads)
    scale = k_width**-0.5
    if name == "rwkv7":
        removal = torch.nn.functional.normalize(normal(batch, tokens, heads, k_width), dim=-1)
        read, erase = leaf(-removal), leaf(removal * torch.sigmoid(normal(batch, tokens, heads, k_width)))
        # Log decays as its layer has them: bounded below and in bf16.
        g = leaf(-math.exp(-0.5) * torch.sigmoid(normal(batch, tokens, heads, k_width) - 3))

    def forward(keep=False):
        if name == "lightning":
            return chunk_simple_gla(q, k, v, g_gamma=-slopes, scale=scale)[0]
        if name in ("gla", "mamba2"):
            return chunk_simple_gla(q.expand(-1, -1, heads, -1), k.expand(-1, -1, heads, -1), v, g=g, scale=scale)[0]
        if name == "gdn":
            return chunk_gated_delta_rule(q, k, v, g, beta, scale=scale)[0]
        if name == "kda":
            return chunk_kda(q, k, v, g, beta, scale=scale)[0]
        bounded = dict(safe_gate=True, lower_bound=-math.exp(-0.5), chunk_size=64, disable_recompute=keep)
        return chunk_rwkv7(r=q, w=g, k=k, v=v, a=read, b=erase, scale=scale, **bounded)[0]

    used = [q, k, v] + ([] if name == "lightning" else [g]) + ([beta] if name in ("gdn", "kda") else [])
    used += [read, erase] if name == "rwkv7" else []

    def both(keep=False):
        return torch.autograd.grad(forward(keep), used, do)

    return forward, both


def best(run, count):
    for _ in range(min(3, count)):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(3 if count > 1 else 1):
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
    MIXER = name
    runs = 1 if name == "mamba" else 20  # its loop over tokens takes seconds
    for batch, tokens in LENGTHS[: 2 if name == "mamba" else 3]:
        try:
            begin = time.perf_counter()
            forward, both = case(name, batch, tokens)
            both()
            torch.cuda.synchronize()
            first_s = time.perf_counter() - begin
            if flags.slice:
                continue
            line = {"mixer": name, "form": "fla", "batch": batch, "tokens": tokens, "ms": round(best(both, runs), 4)}
            line |= {"configurations": "{} of {}".format(*tried[name])} if name in tried else {}
            if tokens == 8192:
                line["forwardMs"] = round(best(forward, runs), 4)
            line["firstS"] = round(first_s, 1)
            if name == "mamba":
                print(json.dumps(line), flush=True)
                continue
            try:
                line["graphMs"] = round(best(on_graph(both), 20), 4)
            except Exception as error:
                line["graphError"] = str(error)[:120]
            if name == "rwkv7":  # and with what the forward pass made kept for the backward pass, not made again
                line["keptMs"] = round(best(lambda: both(True), 20), 4)
                line["keptGraphMs"] = round(best(on_graph(lambda: both(True)), 20), 4)
            print(json.dumps(line), flush=True)
        except Exception as error:
            print(json.dumps({"failed": name, "tokens": tokens, "error": str(error)[:400]}), flush=True)
