"""Writes test/data/tokenizer/grid.json: small tokenizers with nearly every feature of `tokenizer.json`, and the ids and texts that
the Rust library gives. Models are stored once and named by the cases; `ids[i]` are those of `texts[i]`.

usage: python scripts/make-tokenizer-grid.py      (needs: pip install tokenizers==0.23.3)
"""
import itertools, json, random
from pathlib import Path
from tokenizers import Tokenizer, __version__, models, normalizers, pre_tokenizers, trainers

OUT = Path(__file__).resolve().parent.parent / "test/data/tokenizer/grid.json"
TEXTS = [
    "", " ", "\n", "  \n\n  ", "a", "Hello, world!", "  leading and trailing  ", "the  man\t\tand the\n\n\nsea \n", "8.9 \n\n  next\n",
    "naïve café 日本語 x", "cafe\u0301 A\u030a \u1e9b\u0323", "I'll DON'T they'RE 's 'quoted' 'ſ 'ᏚK", "12345 3.14 ½ ² ٣٤ Ⅷ",
    "a\u0085b\u2028c\ufeffd\u00a0e\u3000f\u200bg\u200dh", "🙂👩‍👩‍👧 ok", "snake_case camelCase XMLHttp_2", "<s>ab<|im_start|>user<|im_end|>\n<mask> ",
    "the<mask>sea <mask> the", "  <mask>\n", "xmask maskx mask-mask", "MASK Mask mask", "x<pad><pad>y <s> </s>", "ab<ab ab<|ab", "ΣΑΣ ΟΔΟΣ İstanbul ẞß",
    "a-b--c_d…e—f «g» “h” $5+3=8 <>|~^`", "漢字かなカナー한국어 x", "Привет, мир! שלום مرحبا नमस्ते", "a\x00b\x07c\x1fd\x7fe\u009ff\ufffdg",
    "\u0897a \u1abfx \U000105c9 \u32ff ﬁ ㍿ Ａ １", "ꟁ\U0001fa8aʕ\ua7ceAʕb\u088f", "▁under▁ score ▁", "aaa aa aaaa bbb", "e\u0301\u0323 \u0345\u0301", "__proto__ constructor",
]
TRAIN = TEXTS + ["the man and the sea and the ship", "hello world hello", "a  b   c\n\nd\n\n\ne ", "mask masks", "user users line lines"] * 3
SPECIALS = ["<unk>", "<s>", "</s>", "<pad>"]
HELD_BACK = set("🙂ẞ한ﬁ")


def model_json(tokenizer):
    return json.loads(tokenizer.to_str())["model"]


def trained(pre, size, alphabet=(), byte_tokens=False, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    if pre:
        tokenizer.pre_tokenizer = pre
    names = SPECIALS + ([f"<0x{b:02X}>" for b in range(256)] if byte_tokens else [])
    texts = ["".join(c for c in t if c not in HELD_BACK) for t in TRAIN]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=names, show_progress=False, initial_alphabet=list(alphabet),
        **{k: v for k, v in options.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")},
    )
    tokenizer.train_from_iterator([t.replace(" ", "▁") for t in texts] + texts, trainer)
    return model_json(tokenizer)


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
characters = trained(None, 560, unk_token="<unk>")
words = sorted({w for t in TRAIN for w, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(t)})
pieces = sorted({w[i:j] for w in words for i in range(len(w)) for j in range(i + 1, min(len(w), i + 4) + 1) if (i + j) % 2})
pieces = [p for p in pieces if not HELD_BACK & set(p)]
rng = random.Random(5)
spaced = ["▁", "▁the", "▁a", "▁man", "▁sea"]
MODELS = {
    "bytes": trained(BYTES, 420, pre_tokenizers.ByteLevel.alphabet()),
    "characters": characters,
    "fused": {**characters, "fuse_unk": True},
    "no-unknown": {**characters, "unk_token": None},
    "whole": {**characters, "ignore_merges": True, "vocab": {**characters["vocab"], "the man": 560, "hello": 561, "▁the▁man▁": 562}},
    "fallback": trained(None, 800, byte_tokens=True, unk_token="<unk>", byte_fallback=True, fuse_unk=True),
    "few-bytes": {**characters, "byte_fallback": True, "vocab": {**characters["vocab"], "<0xF0>": 560, "<0x9F>": 561, "<0x99>": 562, "<0x82>": 563}},
    "prefix": trained(pre_tokenizers.WhitespaceSplit(), 420, unk_token="<unk>", continuing_subword_prefix="##"),
    "suffix": trained(pre_tokenizers.WhitespaceSplit(), 420, unk_token="<unk>", end_of_word_suffix="</w>"),
    "wordpiece": {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 12,
                  "vocab": {t: i for i, t in enumerate(SPECIALS + pieces[::2] + ["##" + p for p in pieces[::3]])}},
    "wordlevel": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {t: i for i, t in enumerate(SPECIALS + words[::2])}},
    "unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                "vocab": [[t, 0.0] for t in SPECIALS] + [[p, -round(rng.uniform(1, 9), 3)] for p in pieces[::2] + spaced]},
}
MODELS["unigram-fallback"] = {**MODELS["unigram"], "byte_fallback": True,
                              "vocab": MODELS["unigram"]["vocab"] + [[f"<0x{b:02X}>", -20.0] for b in range(256)]}

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "cl100k": CL100K, "o200k": O200K, "llama3": LLAMA3,
    "r50k": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "deepseek": "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    "kana": "[一-龥぀-ゟ゠-ヿ]+", "digits": r"\d{1,3}(?=(?:\d{3})*\b)", "inside": r"a\B", "bounded-class": r"\b[^\w\s]", "three": r"\p{N}{1,3}", "han": r"\p{Han}+", "words": r"\w+", "not-words": r"\W",
    "word-class": r"[\w']+", "atomic": r"(?>a+)a|b", "lazy": r"a+?", "empty": r"x*", "start": r"^", "end": r"$", "very-end": r"\z|\A", "behind": r"(?<=a)a|(?<!a)b",
    "alternatives": r"the|the man|\s(?=s)", "posix": r"[[:alpha:]]+", "intersection": r"[\p{L}&&[^a-e]]+", "clip": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "hex": r"\h+", "newline": r"\R", "not-newline": r"\N+", "dot": r".{2}", "multi": r"(?m:a.b)", "bounded": r"a{,2}", "chained": r"\p{N}{1,2}+", "unicode": r"[\x{3040}-\x{30ff}é]", "named": r"(?<x>\p{Lu})\p{Ll}*",
}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def metaspace(scheme="always", splits=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits}


def pres(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def norms(*steps):
    return {"type": "Sequence", "normalizers": list(steps)}


def decs(*steps):
    return {"type": "Sequence", "decoders": list(steps)}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def bert(clean=True, chinese=True, accents=None, lower=True):
    return {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents, "lowercase": lower}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
NORMALIZERS = {
    "none": None, **{k: {"type": k} for k in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel")},
    "strip": {"type": "Strip", "strip_left": True, "strip_right": True}, "strip-left": {"type": "Strip", "strip_left": True, "strip_right": False},
    "replace": replace(" ", "▁"), "replace-pattern": replace(r"\s+|a", " ", "Regex"), "remove": replace("a", ""), "possessive": replace(r"\s++$", "", "Regex"),
    "prepend": {"type": "Prepend", "prepend": "▁"}, "bert": bert(), "bert-cased": bert(lower=False), "bert-accents": bert(clean=False, chinese=False, accents=True, lower=False),
    "llama2": norms({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")), "albert": norms(replace("``", '"'), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}),
}
PRE_TOKENIZERS = {
    "none": None, **{k: {"type": k} for k in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")},
    **{f"byte-level-{p}-{r}": byte_level(p, r) for p in (False, True) for r in (False, True)},
    **{f"metaspace-{s}-{b}": metaspace(s, b) for s in ("always", "first", "never") for b in (True, False)},
    **{f"punctuation-{b}": {"type": "Punctuation", "behavior": b} for b in BEHAVIORS},
    "digits": {"type": "Digits", "individual_digits": False}, "single-digits": {"type": "Digits", "individual_digits": True},
    "delimiter": {"type": "CharDelimiterSplit", "delimiter": "-"}, "fixed": {"type": "FixedLength", "length": 3},
    "scripts": {"type": "UnicodeScripts"},
    **{f"split-{n}-{b}-{i}": split(p, b, i) for n, p in {"space": r"\s+", "empty": r"a*", "letters": r"\p{L}+"}.items() for b in BEHAVIORS for i in (False, True)},
    **{f"text-{b}": split("a", b, kind="String") for b in BEHAVIORS}, "text-special": split("...", kind="String"),
    **{n: split(p) for n, p in PATTERNS.items()},
    "sequence": pres({"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}, metaspace("first")),
    "twice-bytes": pres({"type": "Digits", "individual_digits": True}, byte_level(True)), "bytes-first": pres(byte_level(), split("Ġ", "Removed", kind="String")),
}
cases, refused_by_library = [], []


def numbered(model, added):
    """The ids that the library gives: of the vocabulary, or the next free one."""
    vocab = MODELS[model]["vocab"]
    ids = vocab if isinstance(vocab, dict) else {t: i for i, (t, _) in enumerate(vocab)}
    result, following = [], len(ids)
    for t in added:
        result.append({**t, "id": ids.get(t["content"], following)})
        following += t["content"] not in ids
    return result


def record(name, model, normalizer=None, pre=None, added=None, decoder=None, post=None, decode=None, special=False):
    file = {"added_tokens": numbered(model, SPECIAL_TOKENS(model) if added is None else added), "normalizer": normalizer, "pre_tokenizer": pre,
            "post_processor": post, "decoder": decoder}
    content = {"version": "1.0", "truncation": None, "padding": None, **file, "model": MODELS[model]}
    try:
        tokenizer = Tokenizer.from_str(json.dumps(content))
        case = {"name": name, "model": model, **{k: v for k, v in file.items() if v is not None}}
        if decode is None:
            case["ids"] = [tokenizer.encode(t, add_special_tokens=special).ids for t in TEXTS]
            case["special"] = special or None
        else:
            case["decode"] = [[ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids, skip_special_tokens=True)] for ids in decode]
        cases.append({k: v for k, v in case.items() if v is not None})
    except BaseException as error:  # panics too
        refused_by_library.append((name, str(error)[:90]))


def token(i, content, special=True, **flags):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special, **flags}


def SPECIAL_TOKENS(model):
    return [token(i, t) for i, t in enumerate(SPECIALS)]


for (n, norm), (p, pre) in itertools.product(NORMALIZERS.items(), PRE_TOKENIZERS.items()):
    if norm is None or p in ("none", "Whitespace", "byte-level-False-True", "metaspace-first-True"):
        record(f"normalizer {n}, pre-tokenizer {p}", "characters" if "yte" not in p else "bytes", norm, pre)
for n, p in PATTERNS.items():
    record(f"pattern {n} on bytes", "bytes", None, pres(split(p), byte_level(False, False)))
for b, i in itertools.product(BEHAVIORS, (False, True)):
    record(f"split {b} {i} on bytes", "bytes", None, pres(split(r"\n+| ", b, i), byte_level(False, False)))

size = {m: len(MODELS[m]["vocab"]) for m in MODELS}
for single, left, right, normalized, special in itertools.product((False, True), repeat=5):
    flags = dict(single_word=single, lstrip=left, rstrip=right, normalized=normalized)
    for n in ("none", "Lowercase", "prepend"):
        for model, pre in (("bytes", byte_level()), ("characters", metaspace("first"))):
            if n != "none" and model == "bytes" and single:
                continue
            at = size[model]
            added = [*SPECIAL_TOKENS(model), token(at, "<mask>", special, **flags), token(at + 1, "mask", special, **flags), token(at + 2, "<|im_start|>"), token(at + 3, "ab<", False)]
            record(f"added tokens {'special ' if special else ''}{[k for k, v in flags.items() if v]}, normalizer {n}, {model}", model, NORMALIZERS[n], pre, added)
at = size["bytes"]
overlapping = [token(at, "a"), token(at + 1, "ab"), token(at + 2, "  ", False), token(at + 3, "Mask", False), token(at + 4, "MASK", False), token(at + 5, "é", False, normalized=True)]
for n in ("none", "Lowercase", "NFD", "bert"):
    record(f"overlapping added tokens, normalizer {n}", "bytes", NORMALIZERS[n], byte_level(), overlapping)

for m in MODELS:
    for p in ("none", "WhitespaceSplit", "metaspace-always-True", "byte-level-False-False"):
        record(f"model {m}, pre-tokenizer {p}", m, None, PRE_TOKENIZERS[p])

llama_decoder = decs(replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})
DECODERS = {
    "none": None, "byte-level": byte_level(), "metaspace": metaspace(), "metaspace-never": metaspace("never"), "byte-fallback": {"type": "ByteFallback"}, "fuse": {"type": "Fuse"},
    "strip": {"type": "Strip", "content": "a", "start": 1, "stop": 0}, "strip-two": decs({"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 0}),
    "replace": replace("▁", " "), "replace-pattern": replace(r"\s+|a", "_", "Regex"), "llama": llama_decoder, "gemma": decs(replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}),
    "wordpiece": {"type": "WordPiece", "prefix": "##", "cleanup": True}, "wordpiece-plain": {"type": "WordPiece", "prefix": "##", "cleanup": False},
    "bpe": {"type": "BPEDecoder", "suffix": "</w>"}, "ctc": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "▁", "cleanup": True},
    "ctc-plain": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "▁", "cleanup": False},
}
for (d, decoder), m in itertools.product(DECODERS.items(), ("bytes", "fallback", "wordpiece", "suffix")):
    rng = random.Random(d + m)
    sequences = [[], [0], [1, 2], [99999], [3, 3, 4, 4]] + [[rng.randrange(size[m] + 2) for _ in range(rng.randint(1, 12))] for _ in range(12)]
    probe = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": SPECIAL_TOKENS(m), "model": MODELS[m]}))
    sequences += [probe.encode(t.replace(" ", "▁")).ids for t in TEXTS[5:17:2]]
    added = [*SPECIAL_TOKENS(m), token(size[m], "<|x|>"), token(size[m] + 1, " é ▁y", False)]
    record(f"decoder {d}, model {m}", m, None, None, added, decoder, decode=sequences)

template = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "end", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, "end": {"id": "end", "ids": [2, 3], "tokens": ["</s>", "<pad>"]}},
}
for n, post in {
    "template": template, "byte-level": byte_level(), "bert": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
    "roberta": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": True},
    "sequence": {"type": "Sequence", "processors": [byte_level(), template]},
    "two": {"type": "Sequence", "processors": [template, {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<pad>", 3]}]},
}.items():
    for special in (False, True):
        record(f"post-processor {n}, special {special}", "bytes", None, byte_level(), None, None, post, special=special)

FAMILIES = {
    "gpt2": ("bytes", None, byte_level(), byte_level()), "roberta": ("bytes", None, byte_level(True), byte_level()),
    "qwen": ("bytes", {"type": "NFC"}, pres(split(LLAMA3.replace("{1,3}", "")), byte_level(False, False)), byte_level()),
    "cl100k": ("bytes", None, pres(split(CL100K), byte_level(False, False)), byte_level()),
    "llama2": ("fallback", NORMALIZERS["llama2"], None, llama_decoder), "mistral": ("fallback", None, metaspace("first", False), llama_decoder),
    "gemma": ("fallback", replace(" ", "▁"), split(" ", "MergedWithPrevious", kind="String"), DECODERS["gemma"]),
    "bert": ("wordpiece", bert(), {"type": "BertPreTokenizer"}, DECODERS["wordpiece"]), "t5": ("unigram", None, metaspace(), metaspace()),
    "clip": ("suffix", norms({"type": "NFC"}, replace(r"\s+", " ", "Regex"), {"type": "Lowercase"}), pres(split(PATTERNS["clip"], "Removed", True)), DECODERS["bpe"]),
    "words": ("wordlevel", {"type": "Lowercase"}, {"type": "Whitespace"}, None), "unigram-bytes": ("unigram-fallback", None, metaspace(), decs({"type": "ByteFallback"}, metaspace())),
}
for n, (m, norm, pre, decoder) in FAMILIES.items():
    record(f"family {n}", m, norm, pre, None, decoder)
    tokenizer = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": SPECIAL_TOKENS(m), "normalizer": norm, "pre_tokenizer": pre, "model": MODELS[m]}))
    record(f"family {n}, decoding", m, norm, pre, None, decoder, decode=[tokenizer.encode(t).ids for t in TEXTS])

OUT.write_text(
    json.dumps({"tokenizers": __version__, "texts": TEXTS, "models": MODELS}, ensure_ascii=True, separators=(",", ":"))[:-1]
    + ',"cases":[\n' + ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases) + "\n]}\n",
    encoding="utf-8",
)
print(len(cases), "cases", OUT.stat().st_size, "bytes")
print("refused by the library:", *refused_by_library, sep="\n  ")
