"""Checks and times the programs of bench/gpu/recurrences.mjs on a GPU through the CUDA PJRT plugin that comes with JAX.

usage: python bench/gpu/recurrences.py FOLDER [--stages check,time,profile] [--forms kernels,xla] [--mixers lightning,...]
       [--tokens 2048,8192,32768]

Checks compare with the recurrence token by token in float32 (jax.lax.scan and its derivative) on the same bf16 inputs; times
are the best of three rounds of runs that are queued one behind the other; profiles are microseconds on the device by kernel, at
2 x 8,192 tokens.
"""

import argparse
import collections
import glob
import json
import math
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.interpreters import mlir
from jaxlib import _jax, xla_client
from jaxlib.mlir import ir

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--stages", default="check,time")
parser.add_argument("--forms", default="kernels,xla")
parser.add_argument("--mixers", default="lightning,gla,mamba2,gdn,kda,rwkv7,mamba,conv")
parser.add_argument("--tokens", default="2048,8192,32768")
flags = parser.parse_args()
FOLDER = flags.folder
DTYPES = {"bf16": jnp.bfloat16, "f32": jnp.float32, "i32": jnp.int32}
device = jax.devices()[0]
context = mlir.make_ir_context()


def compiled(case):
    with context:
        module = ir.Module.parse(open(f"{FOLDER}/{case['id']}.mlir").read())
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[0]]))
    return device.client.compile_and_load(module, _jax.DeviceList((device,)), options)


def execute(program, arrays):
    return [x[0] for x in program.execute_sharded(arrays).disassemble_into_single_device_arrays()]


def draw(case):
    """Random inputs: unit keys, gates as after initialization, everything in the dtype of the program."""
    arrays = []
    for i, port in enumerate(case["inputs"]):
        key, shape, name = jax.random.key(i), tuple(port["shape"]), port["name"]
        x = jax.random.normal(key, shape, jnp.float32)
        if name in ("k", "read"):
            x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        if name == "g" and case["mixer"].startswith("rwkv7"):
            x = -math.exp(-0.5) * jax.nn.sigmoid(x - 3)  # bounded, as its layer has them
        elif name == "g":
            x = -jnp.exp(x - 3)
        if name == "beta":
            x = jax.nn.sigmoid(x)
        if name in ("step", "rates"):
            x = jnp.exp(x - 4) if name == "step" else -jnp.exp(x)
        if name == "erase":
            x = arrays[-1] * jax.nn.sigmoid(x)
        arrays.append(x.astype(DTYPES[port["dtype"]]))
    return arrays


def recurrence(delta, q, k, v, g, beta=None, read=None, erase=None):
    """[B,T,heads,*] in float32 -> [B,T,H,V]; the delta rule removes by its keys, or by `read` and `erase`."""
    if g.ndim == 1:
        g = jnp.broadcast_to(g, (*v.shape[:2], g.shape[0]))
    heads = g.shape[2]
    q, k, v = (jnp.repeat(x, heads // x.shape[2], 2) for x in (q, k, v))
    a = jnp.exp(g if g.ndim == 4 else g[..., None])
    beta = jnp.ones(g.shape[:3]) if beta is None else beta
    own = read is not None
    read, erase = (read, erase) if own else (k, k)

    def step(s, x):
        qt, kt, vt, at, bt, rt, et = x
        s = s * at[..., None]
        found = jnp.einsum("bhk,bhkv->bhv", rt, s)
        wrong = vt - found if delta and not own else vt
        s = s + jnp.einsum("bhk,bhv->bhkv", kt, wrong * bt[..., None])
        if own:
            s = s - jnp.einsum("bhk,bhv->bhkv", et, found * bt[..., None])
        return s, jnp.einsum("bhk,bhkv->bhv", qt, s)

    start = jnp.zeros((q.shape[0], heads, q.shape[3], v.shape[3]))
    _, out = jax.lax.scan(step, start, tuple(jnp.moveaxis(x, 1, 0) for x in (q, k, v, a, beta, read, erase)))
    return jnp.moveaxis(out, 0, 1) * q.shape[3] ** -0.5


def selective_scan(u, write, read, step, rates):
    """u, step [B,T,I], write, read [B,T,N], rates [I,N] in float32 -> [B,T,I]."""

    def token(s, x):
        ut, bt, ct, dt = x
        s = s * jnp.exp(dt[..., None] * rates) + (dt * ut)[..., None] * bt[:, None]
        return s, jnp.einsum("bn,bin->bi", ct, s)

    start = jnp.zeros((u.shape[0], *rates.shape))
    _, out = jax.lax.scan(token, start, tuple(jnp.moveaxis(x, 1, 0) for x in (u, write, read, step)))
    return jnp.moveaxis(out, 0, 1)


def convolution(x, weight):
    """x [B,T,C], weight [C,W] -> [B,T,C]; the last tap meets the token itself."""
    tokens, taps = x.shape[1], weight.shape[1]
    padded = jnp.pad(x, ((0, 0), (taps - 1, 0), (0, 0)))
    return sum(padded[:, m : m + tokens] * weight[:, m] for m in range(taps))


FORMS = {"mamba": selective_scan, "conv": convolution}


def check(case):
    arrays = draw(case)
    names = [p["name"] for p in case["inputs"]]
    given = {n: x.astype(jnp.float32) for n, x in zip(names, arrays)}
    d = given.pop("do")
    with jax.default_matmul_precision("highest"):
        form = FORMS.get(case["mixer"], lambda **given: recurrence("beta" in given, **given))
        out, pull = jax.vjp(lambda given: form(**given), given)
        (grads,) = pull(d)
    expected = {"out": out, **{f"d{n}": x for n, x in grads.items()}}
    actual = dict(zip([p["name"] for p in case["outputs"]], execute(compiled(case), arrays)))
    errors = {}
    for name, x in actual.items():
        x, y = np.asarray(x, np.float64), np.asarray(expected[name], np.float64)
        errors[name] = float(np.linalg.norm(x - y) / np.linalg.norm(y))
    return {"check": case["id"], "relativeErrors": {n: float(f"{e:.2e}") for n, e in errors.items()}}


def best(run, count):
    for _ in range(3):
        result = run()
    jax.block_until_ready(result)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(count):
            result = run()
        jax.block_until_ready(result)
        times.append((time.perf_counter() - begin) / count)
    return min(times) * 1e3


def timed(case):
    begin = time.perf_counter()
    program, arrays = compiled(case), draw(case)
    compile_s = time.perf_counter() - begin
    ms = best(lambda: execute(program, arrays), 20)
    about = {k: case[k] for k in ("mixer", "form", "batch", "tokens")}
    return {**about, "ms": round(ms, 4), "compileS": round(compile_s, 1)}


def profiled(case, runs=5):
    program, arrays = compiled(case), draw(case)
    jax.block_until_ready(execute(program, arrays))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(runs):
                result = execute(program, arrays)
            jax.block_until_ready(result)
        (trace,) = glob.glob(folder + "/**/*.xplane.pb", recursive=True)
        data = jax.profiler.ProfileData.from_file(trace)
    us = collections.Counter()
    for plane in data.planes:
        for line in plane.lines if "GPU" in plane.name else ():
            if line.name.startswith("Stream"):
                for event in line.events:
                    us[event.name[:40]] += event.duration_ns / 1e3 / runs
    return {"profile": case["id"], "us": {name: round(t, 1) for name, t in us.most_common(16)}}


print(json.dumps({"device": device.device_kind, "jax": jax.__version__}), flush=True)
RUN = {"check": check, "time": timed, "profile": profiled}
forms, mixers = flags.forms.split(","), flags.mixers.split(",")
cases = json.load(open(f"{FOLDER}/cases.json"))
tokens = [int(n) for n in flags.tokens.split(",")]


def is_wanted(case):
    of_mixer = case["mixer"].split()[0] in mixers and case["form"] in forms
    return of_mixer and case.get("tokens", tokens[0]) in tokens


cases = [c for c in cases if is_wanted(c)]
for name in flags.stages.split(","):
    for case in cases:
        if case["kind"] != ("check" if name == "check" else "time"):
            continue
        if name == "profile" and (case["tokens"] != 8192 or "forward" in case["mixer"]):
            continue
        try:
            print(json.dumps(RUN[name](case)), flush=True)
        except Exception as error:  # one program's failure must not cost the others' figures
            print(json.dumps({"failed": case["id"], "error": str(error)[:400]}), flush=True)
