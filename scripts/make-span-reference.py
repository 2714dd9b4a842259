"""Writes test/data/tokenizer/spans.json: small tokenizers of several kinds, and the ids and character offsets that the Rust
library gives texts.   python scripts/make-span-reference.py   (tokenizers 0.23)"""
import json
import pathlib

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

CORPUS = ["the quick brown fox jumps over the lazy dog", "def f(x):\n    return x", "it's a naïve café", "one two  three"] * 4
TEXTS = [
    "the quick brown fox", "  two spaces first", "def f(x):\n    return x\n        y\n", "tab\there\t\tand there", "",
    "emoji \U0001F600 and \U0001F468\u200D\U0001F469 end", "naïve cafe\u0301 日本語", "<|user|>hello<|user|> hi  <|user|>  x", "a ▁ b", "   ",
    "<｜User｜>fox<｜User｜> dog", "tail  ", " one space first", "\n fox", " ",
    "fox\u3000\u00a0<left>\u2003 dog <right>" + "\u3000" * 50 + "\u00a0\tfox<left>",
]
ADDED = [("<s>", True), ("<|user|>", True), ("<｜User｜>", False), ("  ", False), ("    ", False), ("\t", False), ("\n\n", False)]


def bytelevel(normalizer=None):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return json.loads(t.to_str())


def fallback(normalizer, pre):
    t = Tokenizer(models.BPE())
    t.normalizer, t.pre_tokenizer = normalizer, pre if pre else pre_tokenizers.Split(" ", "merged_with_previous")
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=70, show_progress=False))
    j = json.loads(t.to_str())
    names = ["<unk>"] + [f"<0x{b:02X}>" for b in range(256)]
    own = [k for k, _ in sorted(j["model"]["vocab"].items(), key=lambda kv: kv[1])]
    j["model"].update(vocab={k: i for i, k in enumerate(names + own)}, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    if pre is None:
        j["pre_tokenizer"] = None
    return j


def with_added(j, added):
    at = len(j["model"]["vocab"])
    flags = dict(single_word=False, lstrip=False, rstrip=False)
    j["added_tokens"] = [dict(id=at + i, content=c, **flags, normalized=not s, special=s) for i, (c, s) in enumerate(added)]
    return j


def stripping(j):
    j["added_tokens"][0]["lstrip"] = j["added_tokens"][1]["rstrip"] = True
    return j


N = normalizers
TRIM = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
ROBERTA = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": False}
llama2 = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
kinds = {
    "byte-level": with_added(bytelevel(), ADDED[:1]),
    "byte-level, added runs": with_added(bytelevel(), ADDED),
    "byte-level, NFC": with_added(bytelevel(N.NFC()), ADDED[:1]),
    "byte-level, trimmed offsets": with_added(bytelevel(), ADDED) | {"post_processor": TRIM},
    "byte-level, trimmed by RobertaProcessing": with_added(bytelevel(), ADDED) | {"post_processor": ROBERTA},
    "byte-level, added tokens that take spaces": stripping(with_added(bytelevel(), [("<left>", False), ("<right>", False)])),
    "Prepend and Replace": with_added(fallback(llama2, None), ADDED[:2]),
    "Metaspace": with_added(fallback(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)), ADDED[:2]),
    "Replace": with_added(fallback(N.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")), ADDED[:3]),
}
out = []
for name, j in kinds.items():
    t = Tokenizer.from_str(json.dumps(j))
    encoded = [(text, t.encode(text, add_special_tokens=False)) for text in TEXTS]
    out.append(dict(name=name, tokenizer=j, texts=[dict(text=text, ids=e.ids, offsets=e.offsets) for text, e in encoded]))
path = pathlib.Path(__file__).parent.parent / "test/data/tokenizer/spans.json"
path.write_text(json.dumps(out, separators=(",", ":"), ensure_ascii=True) + "\n")
print(path.stat().st_size)
