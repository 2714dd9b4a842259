"""The benchmark model in PyTorch: torch.compile, flex_attention for windows, fused AdamW, bf16 autocast on float32 weights.
Where the folder has segments.i32, rows hold several documents: flex_attention hides other documents in every layer, and each
step makes its block masks anew, one for each window. Gated DeltaNet is flash-linear-attention's: its kernels for the convolution,
the delta rule and the gated norm.

usage: python3 torch_gpu.py DIR [--losses N] [--label TEXT] [--mode max-autotune] [--unguarded]
DIR as written by bench/gpu/longsight.mjs prepare. --unguarded runs gated backward kernels that flash-linear-attention refuses with
Triton before 3.7.1 on Hopper, where their results are wrong: for their times only.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--losses", type=int, default=0)
parser.add_argument("--label", default="torch.compile + flex_attention")
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--device", default="cuda")
parser.add_argument("--mode", default="default")
parser.add_argument("--unguarded", action="store_true")
args = parser.parse_args()

cfg = json.loads((args.folder / "config.json").read_text())
B, T, D, H, G, hd = (cfg[k] for k in ("batchSize", "seqLen", "hiddenSize", "numHeads", "numKvHeads", "headDim"))
eps, opt = cfg["rmsNormEps"], cfg["optimizer"]
dev = args.device
torch.set_float32_matmul_precision("high")

weights = load_file(args.folder / "weights.safetensors")
tokens = np.fromfile(args.folder / "tokens.i32", dtype=np.int32)
data = tokens[: len(tokens) // (B * (T + 1)) * B * (T + 1)].reshape(-1, B, T + 1).astype(np.int64)

packed = args.folder / "segments.i32"
documents = np.fromfile(packed, dtype=np.int32).reshape(-1, B, T) if packed.exists() else None

if any(x["mixer"] == "gdn" for x in cfg["layers"]):
    from fla.modules.causal_conv1d import causal_conv1d as fla_conv
    from fla.modules.norm.fused_norm_gate import rms_norm_gated as fla_gated_norm
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule as fla_delta_rule

    if args.unguarded:
        import fla.ops.common.chunk_o as chunk_o

        chunk_o.TRITON_ABOVE_3_7_1 = True

angles = np.outer(np.arange(T), cfg["ropeTheta"] ** (-2 * np.arange(hd // 2) / hd))
COS, SIN = (torch.tensor(f(angles)[None, None], dtype=torch.float32, device=dev) for f in (np.cos, np.sin))


def mask_of(window):
    visible = lambda b, h, q, k: (q >= k) & (q - k < window)  # noqa: E731
    return create_block_mask(visible, None, None, T, T, device=dev, _compile=T > 8192)


make_block_mask = torch.compile(create_block_mask)


def packed_mask(window, ids):
    visible = lambda b, h, q, k: (q >= k) & (q - k < window) & (ids[b, q] == ids[b, k])  # noqa: E731
    return make_block_mask(visible, B, None, T, T, device=dev)


reach = lambda group: min(group["window"] or T, T)  # noqa: E731
REACHES = sorted({reach(g) for x in cfg["layers"] for g in x.get("groups", ())})
MASKS = {} if documents is not None else {w: mask_of(w) for w in REACHES if w < T}


def rotate(x):
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * COS - b * SIN, b * COS + a * SIN], -1).to(x.dtype)


def vectors(prefix, *names):
    return (nn.Parameter(weights[prefix + name].to(dev)) for name in names)


def matrices(prefix, *names):
    """nn.functional.linear takes [out, in]."""
    return (nn.Parameter(weights[prefix + name].T.contiguous().to(dev)) for name in names)


class Attention(nn.Module):
    def __init__(self, i, plan):
        super().__init__()
        (group,) = plan["groups"]
        self.wqkv, self.wo = matrices(f"layers.{i}.attn.", "wqkv", "wo")
        self.rope, self.window = group["rope"], reach(group)

    def forward(self, x, masks):
        q, k, v = (t.view(B, T, -1, hd).transpose(1, 2) for t in F.linear(x, self.wqkv).split([H * hd, G * hd, G * hd], -1))
        if self.rope:
            q, k = rotate(q), rotate(k)
        if self.window not in masks:
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=G != H)
        else:
            o = flex_attention(q, k, v, block_mask=masks[self.window], enable_gqa=G != H)
        return F.linear(o.transpose(1, 2).reshape(B, T, H * hd), self.wo)


class GatedDeltaNet(nn.Module):
    def __init__(self, i, plan):
        super().__init__()
        at = f"layers.{i}.gdn."
        self.wqkv, self.wab, self.wgate, self.wo = matrices(at, "wqkv", "wab", "wgate", "wo")
        self.conv, self.dtbias, self.alog, self.norm = vectors(at, "conv.weight", "dtbias", "alog", "norm.weight")
        if packed.exists():
            raise SystemExit("documents in a row are not written for Gated DeltaNet")

    def forward(self, x, masks):
        heads, key, value = (cfg["gdn"][name] for name in ("numHeads", "keyDim", "valueDim"))
        mixed = fla_conv(F.linear(x, self.wqkv), self.conv, activation="silu")[0]
        q, k, v = (t.view(B, T, heads, -1) for t in mixed.split([heads * key, heads * key, heads * value], -1))
        rate, write = F.linear(x, self.wab).float().chunk(2, -1)
        decay = -self.alog.exp() * F.softplus(rate + self.dtbias)
        o = fla_delta_rule(q, k, v, decay, write.sigmoid(), use_qk_l2norm_in_kernel=True)[0]
        gate = F.linear(x, self.wgate).view(B, T, heads, value)
        o = fla_gated_norm(o, gate, self.norm, None, activation="swish", eps=cfg["gdn"]["normEps"])
        return F.linear(o.reshape(B, T, heads * value), self.wo)


class Layer(nn.Module):
    def __init__(self, i, plan):
        super().__init__()
        self.mixer = (Attention if plan["mixer"] == "attention" else GatedDeltaNet)(i, plan)
        self.norm1, self.norm2 = vectors(f"layers.{i}.", "norm1.weight", "norm2.weight")
        self.wgateup, self.wdown = matrices(f"layers.{i}.mlp.", "wgateup", "wdown")

    def forward(self, x, masks):
        x = x + self.mixer(F.rms_norm(x, (D,), self.norm1, eps), masks)
        gate, up = F.linear(F.rms_norm(x, (D,), self.norm2, eps), self.wgateup).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.wdown)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Parameter(weights["embed.weight"].to(dev))
        self.layers = nn.ModuleList(Layer(i, x) for i, x in enumerate(cfg["layers"]))
        self.norm = nn.Parameter(weights["norm.weight"].to(dev))
        self.head = self.embed if cfg["tieEmbeddings"] else nn.Parameter(weights["head.weight"].T.contiguous().to(dev))

    def forward(self, batch, masks):
        x = F.embedding(batch[:, :-1], self.embed).bfloat16()
        for layer in self.layers:
            x = layer(x, masks)
        logits = F.linear(F.rms_norm(x, (D,), self.norm, eps), self.head)
        return F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


model = Model()
decayed = [p for p in model.parameters() if p.ndim >= 2]
plain = [p for p in model.parameters() if p.ndim < 2]
optimizer = torch.optim.AdamW(
    [{"params": decayed, "weight_decay": opt["weightDecay"]}, {"params": plain, "weight_decay": 0.0}],
    **{"lr": opt["lr"], "betas": (opt["beta1"], opt["beta2"]), "eps": opt["eps"], "fused": dev == "cuda"},
)
compiled = torch.compile(model, mode=args.mode)
count = 0


def masks_of(ids):
    ids = torch.from_numpy(ids).to(dev, non_blocking=True)
    return {w: packed_mask(w, ids) for w in REACHES}


def go():
    global count
    batch = torch.from_numpy(data[count % len(data)]).to(dev, non_blocking=True)
    masks = MASKS if documents is None else masks_of(documents[count % len(documents)])
    count += 1
    with torch.autocast(dev, torch.bfloat16):
        loss = compiled(batch, masks)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), opt["clipNorm"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


sync = torch.cuda.synchronize if dev == "cuda" else (lambda: None)
begin = time.perf_counter()
losses = [go()]
sync()
compile_seconds = time.perf_counter() - begin
for _ in range(args.losses - 1):
    losses.append(go())
losses = [float(x) for x in losses]
for _ in range(3):
    go()
sync()
times = []
for _ in range(args.rounds):
    begin = time.perf_counter()
    for _ in range(args.steps):
        last = go()
    sync()
    times.append((time.perf_counter() - begin) / args.steps)
mask_ms = None
if documents is not None:
    begin = time.perf_counter()
    for i in range(10):
        masks_of(documents[i % len(documents)])
    sync()
    mask_ms = round((time.perf_counter() - begin) * 100, 3)
rate = B * T / min(times)
print(
    json.dumps(
        {
            "system": args.label,
            "case": args.folder.name,
            "tokensPerSecond": round(rate),
            "msPerStep": round(min(times) * 1e3, 3),
            "allMs": [round(t * 1e3, 3) for t in times],
            "mfu": round(rate * cfg["flopsPerToken"] / cfg["peak"], 4),
            "compileSeconds": round(compile_seconds, 2),
            **({} if mask_ms is None else {"maskMs": mask_ms}),
            "peakBytes": torch.cuda.max_memory_allocated() if dev == "cuda" else None,
            "loss": float(last),
            "device": torch.cuda.get_device_name() if dev == "cuda" else "cpu",
            "version": torch.__version__,
            **({"losses": losses} if args.losses else {}),
        }
    ),
    flush=True,
)
