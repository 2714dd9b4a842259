#!/usr/bin/env python3
"""Writes test/data/mixers/rwkv7.safetensors: two layers of RWKV-7, their outputs, their gradients, and how vectors start.

    pip install torch safetensors einops triton flash-linear-attention==0.6.0 rwkv==0.8.32
    python scripts/make-rwkv7-reference.py        (a CPU does; triton is imported, but none of its kernels run)

Three implementations compute the layers: the module of flash-linear-attention, with its own plain functions in place of
its kernels; that of the model's authors (PyPI's rwkv), where heads have values as wide as keys; and the one below, token by
token in float64, whose outputs and gradients by PyTorch are what is stored. The script stops where they differ.
"""
import os
import warnings
from pathlib import Path

os.environ["RWKV_V7_ON"] = "1"
warnings.filterwarnings("ignore")

import torch
from fla.layers import rwkv7 as fla
from fla.modules.token_shift import token_shift_ref
from fla.ops.generalized_delta_rule.dplr.naive import dplr_recurrence
from fla.ops.rwkv7.fused_addcmul import torch_addcmul_rwkv7
from fla.ops.rwkv7.fused_k_update import k_update_ref
from fla.ops.rwkv7.gate_output_correction import gate_output_correction_ref
from rwkv.model import RWKV_x070_TMix_seq
from safetensors.torch import save_file

B, T, D, H, K = 2, 13, 8, 2, 4
LAYERS = 3
EPS = 64e-5  # fixed in the authors' code


def recurrence(r, w, k, v, a, b, scale, **_):
    """flash-linear-attention's recurrence in plain PyTorch, which scales queries by itself."""
    q, w, k, v, a, b = (x.transpose(1, 2) for x in (r, w, k, v, a, b))
    out, state = dplr_recurrence(q * scale * K**0.5, k, v, a, b, w)
    return out.transpose(1, 2), state


fla.token_shift = lambda x, cu_seqlens, **_: (token_shift_ref(x, cu_seqlens), None)
fla.fused_addcmul_rwkv7 = torch_addcmul_rwkv7
fla.fused_k_rwkv7 = k_update_ref
fla.chunk_rwkv7 = recurrence
fla.gate_output_correction = gate_output_correction_ref


def module(index, value_dim):
    """Layer `index`; with values of another width it starts with plain vectors, since the module's own do not fit them."""
    ranks = dict(decay_low_rank_dim=3, gate_low_rank_dim=5, a_low_rank_dim=2, v_low_rank_dim=3)
    widths = dict(hidden_size=D, head_dim=K, value_dim=value_dim, norm_eps=EPS / K)
    own = fla.RWKV7Attention(
        layer_idx=index if value_dim == D else None, num_hidden_layers=LAYERS, **widths, **ranks
    ).train()
    own.layer_idx = index
    if index == 0 and value_dim != D:
        del own.v_lora
    return own


def shift(x):
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


def layer(p, x, first):
    """One layer by the equations of arXiv 2503.14456, token by token; p holds the module's tensors by their names."""
    low = lambda name, z, act: act(z @ p[f"{name}_lora.lora.0.weight"].T) @ p[f"{name}_lora.lora.2.weight"].T
    bias = lambda name: p[f"{name}_lora.lora.2.bias"]
    mix = lambda name: x + (shift(x) - x) * p[f"x_{name}"]
    heads = lambda z: z.unflatten(-1, (H, -1))
    same = lambda z: z
    r, k, v = (mix(n) @ p[f"{n}_proj.weight"].T for n in "rkv")
    w = torch.exp(-(torch.tensor(-0.5, dtype=x.dtype).exp()) * torch.sigmoid(bias("w") + low("w", mix("w"), torch.tanh)))
    if first is not None:
        v = v + (first - v) * torch.sigmoid(bias("v") + low("v", mix("v"), same))
    a = torch.sigmoid(bias("a") + low("a", mix("a"), same))
    g = low("g", mix("g"), torch.sigmoid)
    removal = heads(k * p["k_k"])
    removal = removal / removal.norm(dim=-1, keepdim=True)
    k = heads(k * (1 + (a - 1) * p["k_a"]))
    r, w, a, values = heads(r), heads(w), heads(a), heads(v)
    state = torch.zeros(B, H, values.shape[-1], K, dtype=x.dtype)
    outs = []
    for t in range(x.shape[1]):
        read = (state * removal[:, t, :, None]).sum(-1, keepdim=True)
        state = state * w[:, t, :, None] - read * (a * removal)[:, t, :, None]
        state = state + values[:, t, :, :, None] * k[:, t, :, None]
        outs.append((state * r[:, t, :, None]).sum(-1))
    o = torch.stack(outs, 1)
    o = (o - o.mean(-1, keepdim=True)) / (o.var(-1, unbiased=False, keepdim=True) + EPS).sqrt()
    o = o.flatten(2) * p["g_norm.weight"] + p["g_norm.bias"]
    bonus = (r * k * p["r_k"]).sum(-1, keepdim=True) * values
    return ((o + bonus.flatten(2)) * g) @ p["o_proj.weight"].T, (v if first is None else first)


def authors(p, index, x, first):
    """The layer of PyPI's rwkv, one sequence after another."""
    up = lambda n: (p[f"{n}_lora.lora.0.weight"].T, p[f"{n}_lora.lora.2.weight"].T)
    of = lambda n: p[f"{n}_lora.lora.2.bias"]
    outs = []
    for i in range(B):
        values = (of("v"), *up("v")) if index else (None, None, None)
        out, *_ = RWKV_x070_TMix_seq(
            index, H, K, x[i], torch.zeros(D), None if first is None else first[i], torch.zeros(H, K, K),
            *(p[f"x_{n}"].flatten() for n in "rwkvag"), of("w"), *up("w"), of("a"), *up("a"), *values, *up("g"),
            p["k_k"], p["k_a"], p["r_k"].flatten(), *(p[f"{n}_proj.weight"].T for n in "rkvo"),
            p["g_norm.weight"], p["g_norm.bias"],
        )
        outs.append(out)
    return torch.stack(outs)


def near(name, got, want):
    error = (got - want).abs().max().item() / max(1.0, want.abs().max().item())
    print(f"{name}: {error:.1e}")
    assert error < 1e-5, name


def starts():
    """How the vectors of layers 0 and 1 start."""
    return {
        f"init.{index}.{name}": value.clone()
        for index in (0, 1)
        for name, value in module(index, D).state_dict().items()
        if value.ndim == 1 or name.startswith("x_") or name == "r_k"
    }


def run(value_dim):
    """Both layers: tensors to store, from the float64 of `layer`, which the others confirm."""
    torch.manual_seed(7)
    tensors = {}
    first = theirs = None
    loss = 0
    leaves = {}
    for index in (0, 1):
        own = module(index, value_dim)
        with torch.no_grad():
            for value in own.parameters():
                value.copy_(value + torch.randn(value.shape) * (0.5 if value.ndim == 2 else 0.3))
        x = torch.randn(B, T, D)
        p = {n: v.detach().double().requires_grad_() for n, v in own.state_dict().items()}
        wide = x.double().requires_grad_()
        out, first = layer(p, wide, first)
        with torch.no_grad():
            got, _, _, handed = own(x, v_first=theirs)
            if value_dim == D:
                near(f"rwkv, layer {index}", authors(own.state_dict(), index, x, theirs), out)
            theirs = handed
        near(f"flash-linear-attention, layer {index}", got, out)
        weights = torch.randn(out.shape)
        loss = loss + (out * weights).sum()
        leaves |= {f"{index}.x": wide} | {f"{index}.{n}": v for n, v in p.items()}
        tensors |= {f"{index}.x": x, f"{index}.out": out, f"{index}.weights": weights}
        tensors |= {f"{index}.{n}": v for n, v in own.state_dict().items()}
    for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
        tensors[f"grad.{name}"] = gradient
    return {name: value.detach().float().contiguous() for name, value in tensors.items()}


def main():
    run(D)
    out = Path(__file__).parent.parent / "test/data/mixers/rwkv7.safetensors"
    save_file(run(12) | starts(), out)
    print(out.stat().st_size, "bytes")


main()
