"""Writes test/data/tokenizer/variants: byte-level BPE tokenizers of several kinds and the ids that the Rust library gives.

usage: python scripts/make-tokenizer-reference.py      (needs: pip install tokenizers)
"""
import json, random
from pathlib import Path
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

root = Path(__file__).resolve().parent.parent
out = root / "test/data/tokenizer/variants"
out.mkdir(parents=True, exist_ok=True)
TEXT = (root / "presets/corpora/moby-dick.txt").read_text(encoding="utf-8")
TRAINING = TEXT[:150_000]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
VARIANTS = {
    "gpt2": (GPT2, None, False),
    "llama3": (split(LLAMA3), None, True),
    "qwen2": (split(QWEN2), normalizers.NFC(), False),
    "o200k": (split(O200K), None, False),
    "digits": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]), None, False),
}
STRINGS = [
    "", " ", "\n", "   ", "\t\t x", "a  b", "a \n b", "x\n\n\ny", " leading and trailing  ", "ends in spaces   \n",
    "I'll say it's 'tis we've DON'T they'RE 's 'quoted'", "12345 3.14159 1,000,000 ½ ²", "naïve café e\u0301 Å",
    "東京は日本の首都です。人口は約1400万人。", "Привет, мир! Καλημέρα", "שלום עולם مرحبا", "नमस्ते दुनिया", "🙂👩‍👩‍👧‍👦 🇫🇷!",
    "def f(x):\n\treturn x**2  # ok\r\n\r\n", "a\u0085b\u2028c\ufeffd\u00a0e\u3000f", "<|endoftext|>after<|endoftext|><|endo", "!!!\n/path//to\n/x",
    "snake_case camelCase HTMLParser x'Y", "a" * 300, "ab" * 100 + "\u0301" * 20, "\U0001D54F\U0001F600\U000E0001", "tail \u00b7\u2019s",
]
rng = random.Random(1)
POOL = list("  \n\t'sdtl1a2bZé—…東🙂/.\r") + ["'ll", "the", " of", "\n\n"]
STRINGS += ["".join(rng.choice(POOL) for _ in range(rng.randint(5, 60))) for _ in range(40)]
STRINGS.append(TEXT[300_000:302_000])

expected = {"strings": STRINGS, "ids": {}}
for name, (pre, norm, ignore_merges) in VARIANTS.items():
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
    if norm:
        tokenizer.normalizer = norm
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([TRAINING], trainer)
    folder = out / name
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    expected["ids"][name] = [tokenizer.encode(s, add_special_tokens=False).ids for s in STRINGS]
(out / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
