"""Prompts and decoding of the models of bench/gpu/prompts.mjs in Transformers: bf16 and float32, attention by sdpa and, where its
package is there, flash_attention_2. Without Transformers a model written here takes its place (`system` says so): prompts by sdpa and
a compiled flex_attention for windows, decoding by sdpa on caches of fixed size. One JSON line a measurement on standard output.

usage: python3 prompts_gpu.py FOLDER [--prompts 16x4096,1x65536] [--decode 1x4096,16x4096] [--new 64] [--device cuda] [--seconds 70]
FOLDER as written by `prompts.mjs prepare`. No measurement begins after --seconds; a line says which are left out.
"""

import argparse
import importlib.util
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--prompts", default="16x4096,1x65536")
parser.add_argument("--decode", default="1x4096,16x4096")
parser.add_argument("--new", type=int, default=64)
parser.add_argument("--device", default="cuda")
parser.add_argument("--seconds", type=float, default=70)
parser.add_argument("--handwritten", action="store_true", help="the model written here, whether Transformers is there or not")
args = parser.parse_args()
started = time.perf_counter()
config = json.loads((args.folder / "config.json").read_text())
case, cuda = args.folder.name, args.device == "cuda"
sizes = lambda text: [tuple(map(int, part.split("x"))) for part in text.split(",") if part]  # noqa: E731

try:
    if args.handwritten:
        raise ImportError("not asked for")
    import transformers

    transformers.logging.set_verbosity_error()
    library = f"transformers {transformers.__version__}, torch {torch.__version__}"
except Exception as why:  # noqa: BLE001
    transformers, library = None, f"written by hand ({why}), torch {torch.__version__}"


def emit(**line):
    print(json.dumps({"system": "transformers" if transformers else "torch by hand", "case": case, **line}), flush=True)


def seconds_of(run, count):
    found = []
    for _ in range(count):
        if cuda:
            torch.cuda.synchronize()
        before = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - before)
    return found


def ids_of(batch, length):
    rows = torch.arange(batch)[:, None] * 104729 + torch.arange(length)[None] * 7919
    return (rows % config["vocab_size"]).to(args.device)


class ByTransformers:
    def __init__(self, dtype, attention):
        load = transformers.AutoModelForCausalLM.from_pretrained
        self.model = load(args.folder, dtype=dtype, attn_implementation=attention).to(args.device).eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.pad_token_id = 0

    def read(self, ids):
        return self.model(ids, use_cache=True, logits_to_keep=1).logits[:, -1]

    def generate(self, ids, new):
        mask = torch.ones_like(ids)
        self.model.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False)


class ByHand:
    """Llama-like models with grouped queries, windows, layers without positions and normed heads."""

    def __init__(self, dtype, _attention):
        from safetensors.torch import load_file

        given = load_file(args.folder / "model.safetensors")
        self.w = {name: t.to(args.device, dtype) for name, t in given.items()}
        self.H, self.G = config["num_attention_heads"], config["num_key_value_heads"]
        self.D = config.get("head_dim") or config["hidden_size"] // self.H
        self.layers, self.eps = config["num_hidden_layers"], config["rms_norm_eps"]
        kinds = config.get("layer_types") or ["full_attention"] * self.layers
        self.windows = [config["sliding_window"] if kind == "sliding_attention" else None for kind in kinds]
        self.turns = config.get("no_rope_layers") or [1] * self.layers
        parameters = config.get("rope_parameters") or {}
        self.base = parameters.get("rope_theta") or config.get("rope_theta") or 10000.0
        self.cache, self.compiled = None, None

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, x, name):
        return F.rms_norm(x, (x.shape[-1],), self.w[name + ".weight"], self.eps)

    def rotate(self, x, cos, sin):
        a, b = x.float().chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

    def windowed(self, q, k, v, window):
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        T = q.shape[2]
        if self.compiled is None or self.compiled[0] != T:
            visible = lambda b, h, i, j: (i >= j) & (i - j < window)  # noqa: E731
            self.compiled = T, create_block_mask(visible, None, None, T, T, device=args.device, _compile=cuda)
        run = torch.compile(flex_attention) if cuda else flex_attention
        return run(q, k, v, block_mask=self.compiled[1], enable_gqa=True)

    def forward(self, ids, start):
        B, n = ids.shape
        at = torch.arange(start, start + n, device=args.device)[:, None]
        angles = at * self.base ** (-2 * torch.arange(self.D // 2, device=args.device) / self.D)
        cos, sin = angles.cos(), angles.sin()
        x = F.embedding(ids, self.w["model.embed_tokens.weight"])
        for i in range(self.layers):
            p = f"model.layers.{i}."
            h = self.norm(x, p + "input_layernorm")
            heads = lambda name: self.linear(h, p + f"self_attn.{name}_proj").view(B, n, -1, self.D)  # noqa: B023, E731
            q, k, v = heads("q"), heads("k"), heads("v").transpose(1, 2)
            if p + "self_attn.q_norm.weight" in self.w:
                q, k = self.norm(q, p + "self_attn.q_norm"), self.norm(k, p + "self_attn.k_norm")
            q, k = q.transpose(1, 2), k.transpose(1, 2)
            if self.turns[i]:
                q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
            keys, values = self.cache[i]
            keys[:, :, start : start + n], values[:, :, start : start + n] = k, v
            window = self.windows[i]
            if n == 1:
                low = 0 if window is None else max(0, start - window + 1)
                o = F.scaled_dot_product_attention(q, keys[:, :, low : start + 1], values[:, :, low : start + 1], enable_gqa=True)
            elif window is None or window >= n:
                o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            else:
                o = self.windowed(q, k, v, window)
            x = x + self.linear(o.transpose(1, 2).reshape(B, n, -1), p + "self_attn.o_proj")
            h = self.norm(x, p + "post_attention_layernorm")
            x = x + self.linear(F.silu(self.linear(h, p + "mlp.gate_proj")) * self.linear(h, p + "mlp.up_proj"), p + "mlp.down_proj")
        head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])
        return F.linear(self.norm(x[:, -1], "model.norm"), head)

    def room(self, batch, length):
        shape, dtype = (batch, self.G, length, self.D), self.w["model.norm.weight"].dtype
        if self.cache is None or self.cache[0][0].shape != shape:
            empty = lambda: torch.zeros(shape, dtype=dtype, device=args.device)  # noqa: E731
            self.cache = [(empty(), empty()) for _ in range(self.layers)]

    def read(self, ids):
        self.room(ids.shape[0], ids.shape[1] + args.new + 1)
        return self.forward(ids, 0)

    def generate(self, ids, new):
        logits = self.read(ids)
        for i in range(new - 1):
            logits = self.forward(logits.argmax(-1)[:, None], ids.shape[1] + i)


def measured(part, batch, length, what):
    """A measurement under the time limit; what goes wrong is a line too."""
    if time.perf_counter() - started > args.seconds:
        emit(part=part, batch=batch, tokens=length, left=f"out: {args.seconds} s were over", **what)
        return
    try:
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            (prompts if part == "prompts" else decode)(batch, length, what)
    except Exception as error:  # noqa: BLE001
        emit(part=part, batch=batch, tokens=length, error=str(error)[:400], **what)
        if cuda:
            torch.cuda.empty_cache()


def facts(what):
    peak = torch.cuda.max_memory_allocated() if cuda else None
    return {**what, "library": library, "peakBytes": peak}


def prompts(batch, length, what):
    ids = ids_of(batch, length)
    model.read(ids)
    found = seconds_of(lambda: model.read(ids), 4)
    rate = round(batch * length / min(found))
    emit(part="prompts", batch=batch, tokens=length, promptTokensPerSecond=rate, allMs=[round(1000 * s, 3) for s in found], **facts(what))


def decode(batch, length, what):
    ids = ids_of(batch, length)
    model.generate(ids, 4)
    read = min(seconds_of(lambda: model.generate(ids, 1), 2))
    whole = min(seconds_of(lambda: model.generate(ids, args.new + 1), 2))
    rate = round(batch * args.new / (whole - read))
    per = round(1000 * (whole - read) / args.new, 3)
    emit(part="decode", batch=batch, tokens=length, newTokensPerSecond=rate, msPerToken=per, **facts(what))


flash = importlib.util.find_spec("flash_attn") is not None and cuda and transformers is not None
kinds = [("bf16", torch.bfloat16, "sdpa"), *([("bf16", torch.bfloat16, "flash_attention_2")] if flash else []), ("f32", torch.float32, "sdpa")]
for precision, dtype, attention in kinds:
    what = {"precision": precision, "attention": attention if transformers else "sdpa, flex_attention"}
    try:
        model = (ByTransformers if transformers else ByHand)(dtype, attention)
    except Exception as error:  # noqa: BLE001
        emit(error=f"not loaded: {str(error)[:400]}", **what)
        continue
    for batch, length in sizes(args.prompts) if precision == "bf16" else []:
        measured("prompts", batch, length, what)
    for batch, length in sizes(args.decode):
        measured("decode", batch, length, what)
    del model
    if cuda:
        torch.cuda.empty_cache()
