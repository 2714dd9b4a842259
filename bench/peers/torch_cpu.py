#!/usr/bin/env python3
"""PyTorch peer of the CPU train-step benchmark (`npm run bench`).

Decoder-only transformer (pre-norm RMSNorm, rotary half-split, SwiGLU, untied head), hybrid
attention given by --layers (default three swa:64 layers, then one full layer; also the mixers of torch_recurrent.py), AdamW with
global-norm clipping.  One step = forward + backward + clip + update.  With --start, parameters and tokens are those of a
safetensors file that Longsight wrote, so that both programs should see the same losses.
The last line of stdout is one JSON object.
"""
import argparse, json, os, resource, time

ap = argparse.ArgumentParser()
ap.add_argument("--mode", choices=["eager", "compile"], default="compile")
ap.add_argument("--swa", choices=["mask", "blocked"], default="mask",
                help="window by a boolean mask over T x T, or by blocks of queries that meet two blocks of keys")
ap.add_argument("--batch", type=int, default=8)
ap.add_argument("--seq", type=int, default=512)
ap.add_argument("--steps", type=int, default=10)
ap.add_argument("--warmup", type=int, default=3)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--dim", type=int, default=256)
ap.add_argument("--heads", type=int, default=4)
ap.add_argument("--hidden", type=int, default=688)
ap.add_argument("--vocab", type=int, default=512)
ap.add_argument("--layers", default="swa:64,swa:64,swa:64,full")
ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--start", help="safetensors file with parameters, tokens and targets")
a = ap.parse_args()
os.environ.setdefault("OMP_NUM_THREADS", str(a.threads))
os.environ.setdefault("MKL_NUM_THREADS", str(a.threads))

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch_recurrent import RECURRENT, RMSNorm

torch.set_num_threads(a.threads)
torch.manual_seed(a.seed)
D, H, HID, V, T, B = a.dim, a.heads, a.hidden, a.vocab, a.seq, a.batch
HD = D // H


def rope_tables(t, hd, base=10000.0):
    inv = 1.0 / base ** (torch.arange(0, hd, 2).float() / hd)
    ang = torch.arange(t).float()[:, None] * inv[None, :]
    return ang.cos(), ang.sin()


def rope(x, cos, sin):  # x: B H T hd, half-split
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.out = nn.Linear(D, D, bias=False)
        self.window = int(kind.split(":")[1]) if kind.startswith("swa") else 0
        if self.window:
            w = self.window
            if a.swa == "mask":
                i = torch.arange(T)
                d = i[:, None] - i[None, :]
                self.register_buffer("mask", (d >= 0) & (d < w), persistent=False)
            else:
                # block = window: query block n sees key blocks n-1 and n
                i = torch.arange(w)[:, None]
                j = torch.arange(2 * w)[None, :] - w
                band = (i - j >= 0) & (i - j < w)
                nb = T // w
                m = band[None].expand(nb, w, 2 * w).clone()
                m[0, :, :w] = False
                self.register_buffer("mask", m[None], persistent=False)

    def load(self, get):
        self.qkv.weight.copy_(get("wqkv").T)
        self.out.weight.copy_(get("wo").T)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, H, HD).permute(2, 0, 3, 1, 4)
        q, k = rope(q, cos, sin), rope(k, cos, sin)
        if not self.window:
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif a.swa == "mask":
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        else:
            w = self.window
            nb = t // w
            q = q.reshape(b, H, nb, w, HD)
            k = F.pad(k, (0, 0, w, 0)).unfold(2, 2 * w, w).transpose(-1, -2)
            v = F.pad(v, (0, 0, w, 0)).unfold(2, 2 * w, w).transpose(-1, -2)
            # a batched 4-D call: (B*H) x nb x w x HD
            q = q.reshape(b * H, nb, w, HD)
            k = k.reshape(b * H, nb, 2 * w, HD)
            v = v.reshape(b * H, nb, 2 * w, HD)
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
            o = o.reshape(b, H, t, HD)
        return self.out(o.transpose(1, 2).reshape(b, t, D))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up = nn.Linear(D, 2 * HID, bias=False)
        self.down = nn.Linear(HID, D, bias=False)

    def load(self, get):
        self.gate_up.weight.copy_(get("wgateup").T)
        self.down.weight.copy_(get("wdown").T)

    def forward(self, x):
        g, u = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(g) * u)


class Block(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.recurrent = kind if kind in RECURRENT else None
        self.attn = RECURRENT[kind](D, H) if self.recurrent else Attention(kind)
        self.n1, self.n2, self.mlp = RMSNorm(D), RMSNorm(D), MLP()

    def load(self, get):
        self.n1.weight.copy_(get("norm1.weight"))
        self.n2.weight.copy_(get("norm2.weight"))
        self.attn.load(lambda name: get(f"{self.recurrent or 'attn'}.{name}"))
        self.mlp.load(lambda name: get(f"mlp.{name}"))

    def forward(self, x, cos, sin):
        x = x + (self.attn(self.n1(x)) if self.recurrent else self.attn(self.n1(x), cos, sin))
        return x + self.mlp(self.n2(x))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(V, D)
        self.blocks = nn.ModuleList(Block(k) for k in a.layers.split(","))
        self.norm = RMSNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        cos, sin = rope_tables(T, HD)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    @torch.no_grad()
    def load(self, tensors):
        self.emb.weight.copy_(tensors["embed.weight"])
        for i, block in enumerate(self.blocks):
            block.load(lambda name: tensors[f"layers.{i}.{name}"])
        self.norm.weight.copy_(tensors["norm.weight"])
        self.head.weight.copy_(tensors["head.weight"].T)

    def forward(self, ids, targets):
        x = self.emb(ids)
        for blk in self.blocks:
            x = blk(x, self.cos, self.sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, V), targets.view(-1))


def read_safetensors(path):
    """Tensors of a file in the format of Longsight's checkpoints (float32 and int32)."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = bytearray(f.read())
    kinds = {"F32": torch.float32, "I32": torch.int32}
    entries = ((name, e, *e["data_offsets"]) for name, e in header.items() if name != "__metadata__")
    return {
        name: torch.frombuffer(data, dtype=kinds[e["dtype"]], count=(end - begin) // 4, offset=begin).view(e["shape"])
        for name, e, begin, end in entries
    }


model = Model()
start = read_safetensors(a.start) if a.start else None
if start:
    model.load(start)
# Weight decay on matrices; kernels of convolutions have three axes.
decay = [p for p in model.parameters() if p.dim() == 2]
rest = [p for p in model.parameters() if p.dim() != 2]
groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
opt = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
params = list(model.parameters())


def loss_fn(ids, tg):
    return model(ids, tg)


def update():
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    opt.step()


# Compiling the update too is slower than the fused AdamW kernel (457 ms against 431 ms a step when tried).
if a.mode == "compile":
    loss_fn = torch.compile(loss_fn, dynamic=False)


def step(ids, tg):
    opt.zero_grad(set_to_none=True)
    loss = loss_fn(ids, tg)
    loss.backward()
    update()
    return loss


g = torch.Generator().manual_seed(a.seed)
data = torch.randint(0, V, (B, T + 1), generator=g)
ids, tg = data[:, :-1].contiguous(), data[:, 1:].contiguous()
if start:
    ids, tg = start["tokens"].long(), start["targets"].long()
losses, times = [], []
t0 = time.perf_counter()
for i in range(a.warmup):
    losses.append(step(ids, tg).item())
warm = time.perf_counter() - t0
for i in range(a.steps):
    t = time.perf_counter()
    losses.append(step(ids, tg).item())
    times.append(time.perf_counter() - t)
out = dict(
    peer=f"torch {a.mode}" + (f" {a.swa}" if "swa" in a.layers else ""), layers=a.layers, library=f"torch {torch.__version__}", batch=B, seq=T, threads=a.threads,
    parameters=sum(p.numel() for p in params), stepMs=[round(t * 1e3, 2) for t in times],
    peakRssMb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), warmUpMs=round(warm * 1e3),
    firstLoss=losses[0], lastLoss=losses[-1],
)
print(json.dumps(out))
