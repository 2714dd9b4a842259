"""Recurrent mixers of the CPU benchmark in plain PyTorch, chunkwise, in the forms that Longsight has.

A mixer is made by `RECURRENT[kind](D, H)` and maps B T D to B T D; `load(get)` fills it from Longsight's parameters, where
`get(name)` gives one as Longsight has it (matrices as [in, out]).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

CHUNK = 64
BLOCK = 16  # tokens of a chunk that meet one by one where decays are per channel


class RMSNorm(nn.Module):
    def __init__(self, d, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def chunks(x):  # B T H d -> B H N C d
    b, t, h = x.shape[:3]
    return x.reshape(b, t // CHUNK, CHUNK, h, -1).permute(0, 3, 1, 2, 4)


def tokens(x):  # B H N C d -> B T (H d)
    b, h, n, c, d = x.shape
    return x.permute(0, 2, 3, 1, 4).reshape(b, n * c, h * d)


def decays(g):  # log decay B T H -> within a chunk (C C), from its start, to its end (C 1), over all of it
    cum = chunks(g[..., None]).cumsum(3)
    past = torch.ones(CHUNK, CHUNK, dtype=torch.bool).tril()
    within = (cum - cum.transpose(-1, -2)).masked_fill(~past, float("-inf")).exp()
    end = cum[:, :, :, -1:]
    return within, cum.exp(), (end - cum).exp(), end.exp()


def linear_recurrence(q, k, v, g, scale):
    """Chunkwise linear attention with decay: products over all chunks, a loop over the states."""
    q, k, v = chunks(q), chunks(k), chunks(v)
    within, enter, leave, keep = decays(g)
    added = k.transpose(-1, -2) @ (v * leave)
    state, before = torch.zeros_like(added[:, :, 0]), []
    for i in range(added.shape[2]):
        before.append(state)
        state = state * keep[:, :, i] + added[:, :, i]
    out = ((q @ k.transpose(-1, -2)) * within) @ v + (q @ torch.stack(before, 2)) * enter
    return tokens(out * scale)


def write_and_read(q, v, beta, lower, scores, enter, keep, k_enter, k_leave, scale):
    """The delta rule from what meets inside a chunk: a triangular solve for each chunk, a loop over the states."""
    right = torch.cat((v * beta, k_enter * beta), -1)
    solved = torch.linalg.solve_triangular(lower, right, upper=False, unitriangular=True)
    u, w = solved.split((v.shape[-1], k_enter.shape[-1]), -1)
    kept = k_leave.transpose(-1, -2)
    state, written, before = torch.zeros_like(kept[:, :, 0] @ u[:, :, 0]), [], []
    for i in range(u.shape[2]):
        before.append(state)
        written.append(u[:, :, i] - w[:, :, i] @ state)
        state = state * keep[:, :, i] + kept[:, :, i] @ written[-1]
    out = scores @ torch.stack(written, 2) + (q * enter) @ torch.stack(before, 2)
    return tokens(out * scale)


def delta_rule(q, k, v, g, beta, scale):
    """Chunkwise gated delta rule, a decay per head: g B T H."""
    q, k, v, beta = chunks(q), chunks(k), chunks(v), chunks(beta[..., None])
    within, enter, leave, keep = decays(g)
    lower = ((k * beta) @ k.transpose(-1, -2) * within).tril(-1)
    scores = (q @ k.transpose(-1, -2)) * within
    return write_and_read(q, v, beta, lower, scores, enter, keep, k * enter, k * leave, scale)


def meetings(x, k, cum):
    """sum_d x_r k_s exp(cum_r - cum_s) for s <= r, B H N C C: no exponent above zero.

    A block of queries meets the keys before it across its first token; inside a block differences are taken one by one.
    """
    past = torch.ones(BLOCK, BLOCK, dtype=torch.bool).tril()[..., None]
    rows = []
    for i in range(0, CHUNK, BLOCK):
        own = slice(i, i + BLOCK)
        c, xi, ki = cum[..., own, :], x[..., own, :], k[..., own, :]
        between = (c.unsqueeze(-2) - c.unsqueeze(-3)).masked_fill(~past, float("-inf")).exp()
        inside = (xi.unsqueeze(-2) * ki.unsqueeze(-3) * between).sum(-1)
        parts = [inside, torch.zeros(*inside.shape[:-1], CHUNK - i - BLOCK)]
        if i > 0:
            first = cum[..., i - 1 : i, :]
            earlier = k[..., :i, :] * (first - cum[..., :i, :]).exp()
            parts.insert(0, (xi * (c - first).exp()) @ earlier.transpose(-1, -2))
        rows.append(torch.cat(parts, -1))
    return torch.cat(rows, -2)


def channel_delta_rule(q, k, v, g, beta, scale):
    """Chunkwise delta rule, a decay per head and key channel (Kimi Delta Attention): g B T H K."""
    q, k, v, beta, cum = chunks(q), chunks(k), chunks(v), chunks(beta[..., None]), chunks(g).cumsum(3)
    end = cum[:, :, :, -1:]
    lower, scores = meetings(k * beta, k, cum).tril(-1), meetings(q, k, cum)
    enter, leave, keep = cum.exp(), (end - cum).exp(), end.exp().transpose(-1, -2)
    return write_and_read(q, v, beta, lower, scores, enter, keep, k * enter, k * leave, scale)


class Conv(nn.Conv1d):
    """Causal depthwise convolution of width 4 over B T C, then SiLU."""

    def __init__(self, channels, bias):
        super().__init__(channels, channels, 4, groups=channels, padding=3, bias=bias)

    def forward(self, x):
        return F.silu(super().forward(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))


def unit(x):
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def rates(n):  # step bias and logarithm of the decay rate
    return nn.Parameter(torch.full((n,), -4.6)), nn.Parameter(torch.ones(n))


class Lightning(nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.D, self.H = D, H
        self.qkvg, self.norm, self.out = nn.Linear(D, 4 * D, bias=False), RMSNorm(D), nn.Linear(D, D, bias=False)
        self.register_buffer("slopes", 2.0 ** (-8 * torch.arange(1, H + 1) / H), persistent=False)

    def load(self, get):
        self.qkvg.weight.copy_(torch.cat((get("wqkv"), get("wgate")), 1).T)
        self.norm.weight.copy_(get("norm.weight"))
        self.out.weight.copy_(get("wo").T)

    def forward(self, x):
        q, k, v, gate = self.qkvg(x).split(self.D, -1)
        q, k, v = (y.reshape(*x.shape[:2], self.H, -1) for y in (q, k, v))
        g = -self.slopes.expand(*x.shape[:2], self.H)
        out = linear_recurrence(q, k, v, g, q.shape[-1] ** -0.5)
        return self.out(self.norm(out) * torch.sigmoid(gate))


class SimpleGLA(nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.D, self.H = D, H
        self.proj, self.decay = nn.Linear(D, 4 * D, bias=False), nn.Linear(D, H)
        self.conv, self.norm, self.out = Conv(3 * D, False), RMSNorm(D // H), nn.Linear(D, D, bias=False)

    def load(self, get):
        self.proj.weight.copy_(torch.cat((get("wqkv"), get("wgate")), 1).T)
        self.decay.weight.copy_(get("wdecay").T)
        self.decay.bias.copy_(get("decay.bias"))
        self.conv.weight.copy_(get("conv.weight")[:, None])
        self.norm.weight.copy_(get("norm.weight"))
        self.out.weight.copy_(get("wo").T)

    def forward(self, x):
        qkv, gate = self.proj(x).split((3 * self.D, self.D), -1)
        q, k, v = (y.reshape(*x.shape[:2], self.H, -1) for y in self.conv(qkv).split(self.D, -1))
        out = linear_recurrence(q, k, v, F.logsigmoid(self.decay(x)) / 16, q.shape[-1] ** -0.5)
        return self.out(self.norm(out.view(v.shape)).flatten(2) * F.silu(gate))


class Mamba2(nn.Module):
    def __init__(self, D, H, state=128, width=64):
        super().__init__()
        self.inner, self.state, self.width = 2 * D, state, width
        self.heads = self.inner // width
        self.proj = nn.Linear(D, 2 * self.inner + 2 * state + self.heads, bias=False)
        self.conv = Conv(self.inner + 2 * state, True)
        self.dt_bias, self.a_log = rates(self.heads)
        self.skip, self.norm = nn.Parameter(torch.ones(self.heads)), RMSNorm(self.inner)
        self.out = nn.Linear(self.inner, D, bias=False)

    def load(self, get):
        self.proj.weight.copy_(get("win").T)
        self.conv.weight.copy_(get("conv.weight")[:, None])
        self.conv.bias.copy_(get("conv.bias"))
        self.dt_bias.copy_(get("dtbias"))
        self.a_log.copy_(get("alog"))
        self.skip.copy_(get("skip"))
        self.norm.weight.copy_(get("norm.weight"))
        self.out.weight.copy_(get("wout").T)

    def forward(self, x):
        b, t, _ = x.shape
        z, xbc, dt = self.proj(x).split((self.inner, self.inner + 2 * self.state, self.heads), -1)
        v, k, q = self.conv(xbc).split((self.inner, self.state, self.state), -1)
        dt = F.softplus(dt + self.dt_bias)
        v = v.reshape(b, t, self.heads, self.width)
        y = linear_recurrence(q[:, :, None], k[:, :, None], v * dt[..., None], -dt * self.a_log.exp(), 1.0)
        y = y + (v * self.skip[:, None]).reshape(b, t, -1)
        return self.out(self.norm(y * F.silu(z)))


class GatedDeltaNet(nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.H, self.k, self.v = H, 3 * D // 4 // H, 3 * D // 2 // H
        self.sizes = (H * self.k, H * self.k, H * self.v)
        self.proj = nn.Linear(D, sum(self.sizes) + H * self.v + 2 * H, bias=False)
        self.conv = Conv(sum(self.sizes), False)
        self.dt_bias, self.a_log = rates(H)
        self.norm, self.out = RMSNorm(self.v), nn.Linear(H * self.v, D, bias=False)

    def load(self, get):
        self.proj.weight.copy_(torch.cat((get("wqkv"), get("wgate"), get("wab")), 1).T)
        self.conv.weight.copy_(get("conv.weight")[:, None])
        self.dt_bias.copy_(get("dtbias"))
        self.a_log.copy_(get("alog"))
        self.norm.weight.copy_(get("norm.weight"))
        self.out.weight.copy_(get("wo").T)

    def forward(self, x):
        qkv, gate, a, beta = self.proj(x).split((sum(self.sizes), self.H * self.v, self.H, self.H), -1)
        q, k, v = (y.reshape(*x.shape[:2], self.H, -1) for y in self.conv(qkv).split(self.sizes, -1))
        g = -self.a_log.exp() * F.softplus(a + self.dt_bias)
        o = delta_rule(unit(q), unit(k), v, g, torch.sigmoid(beta), self.k**-0.5)
        return self.out(self.norm(o.view(v.shape)).flatten(2) * F.silu(gate))


class KimiDelta(nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.D, self.H, self.rank = D, H, D // H
        self.proj = nn.Linear(D, 3 * D + 2 * self.rank + H, bias=False)
        self.conv = Conv(3 * D, False)
        self.decay, self.gate = nn.Linear(self.rank, D, bias=False), nn.Linear(self.rank, D, bias=False)
        self.dt_bias, self.a_log = rates(D)[0], rates(H)[1]
        self.norm, self.out = RMSNorm(D // H), nn.Linear(D, D, bias=False)

    def load(self, get):
        self.proj.weight.copy_(torch.cat([get(n) for n in ("wqkv", "wdecaydown", "wgatedown", "wbeta")], 1).T)
        self.conv.weight.copy_(get("conv.weight")[:, None])
        self.decay.weight.copy_(get("wdecayup").T)
        self.gate.weight.copy_(get("wgateup").T)
        self.dt_bias.copy_(get("dtbias"))
        self.a_log.copy_(get("alog"))
        self.norm.weight.copy_(get("norm.weight"))
        self.out.weight.copy_(get("wo").T)

    def forward(self, x):
        qkv, decay, gate, beta = self.proj(x).split((3 * self.D, self.rank, self.rank, self.H), -1)
        q, k, v = (y.reshape(*x.shape[:2], self.H, -1) for y in self.conv(qkv).split(self.D, -1))
        g = -self.a_log.exp()[:, None] * F.softplus(self.decay(decay) + self.dt_bias).view(q.shape)
        o = channel_delta_rule(unit(q), unit(k), v, g, torch.sigmoid(beta), q.shape[-1] ** -0.5)
        return self.out(self.norm(o.view(v.shape)).flatten(2) * torch.sigmoid(self.gate(gate)))


RECURRENT = {"lightning": Lightning, "gla": SimpleGLA, "mamba2": Mamba2, "gdn": GatedDeltaNet, "kda": KimiDelta}
