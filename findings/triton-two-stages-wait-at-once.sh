#!/usr/bin/env bash
# Triton 3.9.0 (PyPI), target sm_90, seen 2026-11-29; no GPU needed, kernels are only compiled.
#
# A guess: `num_stages=2` is double buffering. While a turn of the loop multiplies block i, block i + 1 is being loaded, so that the load
# has a whole turn to arrive.
# What happens: in a loop of loads and one `tl.dot` with accumulation, the turn of two stages begins with `async_wait {num = 0}`, then
# multiplies and waits for the product, and only then asks for the next blocks: the load has nothing to hide behind and every turn waits for
# all of memory's latency. With three stages the wait is `num = 2` (the two operands' newest loads may be under way): the first
# number of stages at which loads and products of one loop overlap. Our attention kernel's backward pass gained 13 % by 2 -> 3 stages on an H200.
# Output seen: "stages 2: waits for all but 0", "stages 3: waits for all but 2", "stages 4: waits for all but 4", each with the loads asked for
# after the product.
# Exits 0 as long as that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check triton==3.9.0
cat > "$work/stages.py" <<'PY'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def product(a, b, c, n, SIZE: tl.constexpr):
    rows = tl.arange(0, SIZE)
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for start in range(0, n, SIZE):
        x = tl.load(a + rows[:, None] * 4096 + (start + rows)[None, :])
        y = tl.load(b + (start + rows)[:, None] * 4096 + rows[None, :])
        total = tl.dot(x, y, total)
    tl.store(c + rows[:, None] * SIZE + rows[None, :], total)


aligned = {(i,): [["tt.divisibility", 16]] for i in range(3)}
seen = {}
for stages in (2, 3, 4):
    source = ASTSource(product, {"a": "*bf16", "b": "*bf16", "c": "*fp32", "n": "i32"}, {"SIZE": 64}, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "num_stages": stages})
    text = made.asm["ttgir"]
    loop = text[text.index("scf.for"):]
    loop = loop[: loop.index("scf.yield")]
    waits = [int(n) for n in re.findall(r"async_wait[^{]*\{num = (\d+)", loop)]
    after = loop.index("async_copy_global_to_local") > loop.index("warp_group_dot ")
    seen[stages] = (waits, after)
    print(f"stages {stages}: waits for all but {', '.join(map(str, waits))}; loads asked for {'after' if after else 'before'} the product")
print("triton", triton.__version__)
sys.exit(0 if seen == {2: ([0], True), 3: ([2], True), 4: ([4], True)} else 1)
PY
TRITON_CACHE_DIR="$work/cache" TRITON_DEFAULT_FP_FUSION=1 "$work/venv/bin/python" "$work/stages.py"
