#!/usr/bin/env python3
"""Writes test/data/muon.json: steps of torch.optim.Muon on small matrices, in float64 and in its own bfloat16.

    python scripts/make-muon-reference.py        (torch 2.9 or newer)

torch.optim.Muon rounds to bfloat16 before its Newton-Schulz iteration. For numbers that a test can hold tightly, the same
code runs a second time with that one rounding left out, everything in float64. Matrices are stored [in, out], as Longsight
has them; PyTorch gets the transposes, [out, in].
"""
import json
from pathlib import Path

import torch

SHAPES = {"square": [6, 6], "wide": [4, 10], "tall": [12, 5], "thin": [7, 1]}
STEPS = 4
CASES = [
    {"scale": "match-rms", "nesterov": True, "momentum": 0.95, "weightDecay": 0.1, "lr": 0.01},
    {"scale": "spectral", "nesterov": True, "momentum": 0.95, "weightDecay": 0.0, "lr": 0.02},
    {"scale": "spectral", "nesterov": False, "momentum": 0.8, "weightDecay": 0.5, "lr": 0.05},
]
ADJUST = {"match-rms": "match_rms_adamw", "spectral": "original"}


def run(case, start, gradients):
    parameters = {name: torch.nn.Parameter(value.T.contiguous().clone()) for name, value in start.items()}
    optimizer = torch.optim.Muon(
        parameters.values(),
        lr=case["lr"],
        weight_decay=case["weightDecay"],
        momentum=case["momentum"],
        nesterov=case["nesterov"],
        adjust_lr_fn=ADJUST[case["scale"]],
    )
    for gradient in gradients:
        for name, parameter in parameters.items():
            parameter.grad = gradient[name].T.contiguous().clone()
        optimizer.step()
    return {name: parameter.detach().T.contiguous().flatten().tolist() for name, parameter in parameters.items()}


def main():
    generator = torch.Generator().manual_seed(7)
    draw = lambda: {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in SHAPES.items()}
    start, gradients = draw(), [draw() for _ in range(STEPS)]
    rounding = torch.bfloat16
    results = []
    for case in CASES:
        rounded = run(case, start, gradients)
        torch.bfloat16 = torch.float64
        exact = run(case, start, gradients)
        torch.bfloat16 = rounding
        results.append({**case, "float64": exact, "bfloat16": rounded})
    flat = lambda tensors: {n: t.flatten().tolist() for n, t in tensors.items()}
    out = {
        "torch": torch.__version__,
        "shapes": SHAPES,
        "start": flat(start),
        "gradients": [flat(g) for g in gradients],
        "cases": results,
    }
    path = Path(__file__).resolve().parent.parent / "test" / "data" / "muon.json"
    path.write_text(json.dumps(out) + "\n")


main()
