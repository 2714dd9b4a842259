#!/usr/bin/env bash
# onnxruntime 1.32.0 on a CPU, seen 2026-12-01 with Python 3.11 (onnx 1.22.0, numpy 2.4.6).
#
# onnxruntime plans which tensors take the memory of others that are used no more (`SessionOptions.enable_mem_reuse`, on by
# default). One would expect that to save memory. In graphs of training it costs some: memory goes to a later tensor of the same
# shape, however much later it comes, and is held until then. A forward pass that makes scores of one size after another, and a
# backward pass that makes them anew, hold all sizes between the two. Here eight sizes of 4 to 32 MB, each dead before the next
# is made: 147 MB where the same graph takes 35 MB with `enable_mem_reuse` off, as the arena reuses memory by itself. The session
# options of onnxruntime-node have no such switch; tensors of the backward pass with another shape (an axis of length 1 more) are
# left alone.
#
# Exits 0 as long as this is so, 1 if it has changed, 2 if it could not be tried.
set -u
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 2
python3 -m pip install -q --target python onnxruntime==1.32.0 onnx==1.22.0 numpy==2.4.6 >/dev/null 2>&1 || exit 2
cat >try.py <<'PY'
import json

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ROWS, WIDTH, STAGES = 1000, 8, 8


def model(apart):
    """Stages of a product, a softmax and a product back, then the same from the last to the first; `apart`: with an axis more."""
    nodes, weights, x = [], [], "x"
    for turn, (i, again) in enumerate([(i, False) for i in range(STAGES)] + [(i, True) for i in reversed(range(STAGES))]):
        columns = ROWS * (i + 1)
        if not again:
            for name, shape in ((f"a{i}", (WIDTH, columns)), (f"b{i}", (columns, WIDTH))):
                weights.append(numpy_helper.from_array(np.full(shape, 0.01, np.float32), name))
        if again and apart:
            nodes.append(helper.make_node("Unsqueeze", [x, "axis"], [f"u{turn}"]))
            x = f"u{turn}"
        nodes += [
            helper.make_node("MatMul", [x, f"a{i}"], [f"s{turn}"]),
            helper.make_node("Softmax", [f"s{turn}"], [f"p{turn}"], axis=-1),
            helper.make_node("MatMul", [f"p{turn}", f"b{i}"], [f"o{turn}"]),
        ]
        x = f"o{turn}"
        if again and apart:
            nodes.append(helper.make_node("Squeeze", [x, "axis"], [f"q{turn}"]))
            x = f"q{turn}"
    weights.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, WIDTH])
    graph = helper.make_graph(nodes, "stages", [value("x")], [value(x)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def peak(reuse, apart):
    """The most megabytes that tensors take at once, by onnxruntime's own profile of the second run."""
    options = ort.SessionOptions()
    options.enable_mem_reuse = reuse
    options.enable_mem_pattern = False
    options.enable_profiling = True
    options.log_severity_level = 3
    session = ort.InferenceSession(model(apart).SerializeToString(), options, providers=["CPUExecutionProvider"])
    for _ in range(2):
        session.run(None, {"x": np.ones((ROWS, WIDTH), np.float32)})
    events = json.load(open(session.end_profiling()))
    kernels = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    return max(int(kernel["mem_bytes_requested_in_use"]) for kernel in kernels[len(kernels) // 2 :]) / 1e6


on, off, apart = peak(True, False), peak(False, False), peak(True, True)
print(f"memory reused: {on:.0f} MB; not reused: {off:.0f} MB; reused, with other shapes in the second half: {apart:.0f} MB")
raise SystemExit(0 if on > 2 * off and apart < 1.2 * off else 1)
PY
PYTHONPATH=python python3 try.py
