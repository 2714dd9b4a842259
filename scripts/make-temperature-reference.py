# Numbers of attention with temperatures and partial rotary positions, by PyTorch: test/data/attention-temperature.json.
# usage: python scripts/make-temperature-reference.py
import json, math, pathlib
import torch

torch.set_default_dtype(torch.float64)
HIDDEN, HEADS, DIM, T, VOCAB = 8, 4, 8, 11, 7
CASES = {
    "full:temp=log": [dict(heads=4, window=None, share=1, theta=10000, temp="log")],
    "full:nope:temp=learned": [dict(heads=4, window=None, share=0, theta=10000, temp="learned")],
    "swa:4:nope:temp=learned": [dict(heads=4, window=4, share=0, theta=10000, temp="learned")],
    "chunk:4:temp=learned": [dict(heads=4, window=4, chunk=4, share=1, theta=10000, temp="learned")],
    "full:rope=0.25:theta=500": [dict(heads=4, window=None, share=0.25, theta=500, temp=None)],
    "swa:4:rope=0.5:temp=learned@2/full:nope:temp=log@1/full:theta=100:temp=learned@1": [
        dict(heads=2, window=4, share=0.5, theta=10000, temp="learned"),
        dict(heads=1, window=None, share=0, theta=10000, temp="log"),
        dict(heads=1, window=None, share=1, theta=100, temp="learned"),
    ],
}


def norm(x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def turn(x, share, theta):
    # Half-split: the first pairs of each half turn.
    pairs = int(share * DIM) // 2
    if pairs == 0:
        return x
    angle = torch.arange(T)[:, None] * theta ** (-2 * torch.arange(pairs) / (2 * pairs))
    a, b = x[..., : DIM // 2], x[..., DIM // 2 :]
    cos, sin = torch.ones(T, DIM // 2), torch.zeros(T, DIM // 2)
    cos[:, :pairs], sin[:, :pairs] = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attention(x, p, groups):
    q, k, v = (y.view(T, HEADS, DIM).transpose(0, 1) for y in (x @ p["wqkv"]).split(HEADS * DIM, -1))
    first = learned = 0
    outs = []
    for g in groups:
        own = slice(first, first + g["heads"])
        first += g["heads"]
        qs, ks = turn(q[own], g["share"], g["theta"]), turn(k[own], g["share"], g["theta"])
        i, j = torch.arange(T)[:, None], torch.arange(T)[None]
        seen = (j <= i) & (j > i - (g["window"] or T))
        if "chunk" in g:
            seen &= i // g["chunk"] == j // g["chunk"]
        scores = qs @ ks.transpose(-1, -2) / math.sqrt(DIM)
        logs = seen.sum(-1).log()[None, :, None]
        if g["temp"] == "log":
            scores = scores * 0.168 * logs
        if g["temp"] == "learned":
            scores = scores * p["temperature"][learned : learned + g["heads"], None, None] * logs
            learned += g["heads"]
        outs.append(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v[own])
    return torch.cat(outs).transpose(0, 1).reshape(T, HEADS * DIM) @ p["wo"]


def main():
    torch.manual_seed(0)
    flat = lambda t: [round(float(v), 9) for v in t.detach().reshape(-1)]
    rounded = lambda t: (t * 1e4).round() / 1e4
    common = dict(
        embed=rounded(torch.randn(VOCAB, HIDDEN)),
        wqkv=rounded(torch.randn(HIDDEN, 3 * HEADS * DIM) / 2),
        wo=rounded(torch.randn(HEADS * DIM, HIDDEN) / 4),
    )
    cases = []
    for pattern, groups in CASES.items():
        learned = sum(g["heads"] for g in groups if g["temp"] == "learned")
        p = {name: tensor.clone().requires_grad_() for name, tensor in common.items()}
        if learned:
            p["temperature"] = rounded(torch.rand(learned) + 0.2).requires_grad_()
        tokens = torch.randint(VOCAB, (T,))
        x = p["embed"][tokens]
        out = norm(x + attention(norm(x), p, groups)) @ p["embed"].T
        loss = torch.nn.functional.cross_entropy(out[:-1], tokens[1:])
        loss.backward()
        cases.append(
            dict(
                pattern=pattern,
                tokens=tokens.tolist(),
                temperature=flat(p["temperature"]) if learned else [],
                logits=flat(out),
                loss=loss.item(),
                gradients={n: flat(t.grad) for n, t in p.items() if n != "embed"},
            )
        )
    path = pathlib.Path(__file__).parent.parent / "test/data/attention-temperature.json"
    path.write_text(json.dumps(
            dict(
                torch=torch.__version__,
                model=dict(hiddenSize=HIDDEN, numHeads=HEADS, headDim=DIM, vocabSize=VOCAB),
                parameters={name: flat(tensor) for name, tensor in common.items()},
                cases=cases,
            )
        ) + "\n")


main()
