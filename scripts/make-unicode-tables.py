"""Writes src/checkpoint/bpe/unicode-tables.ts: the characters that the Rust library `tokenizers` knows otherwise than Node,
since its crates carry tables of other Unicode versions. Found by asking the library about every code point.

usage: python scripts/make-unicode-tables.py      (needs: pip install tokenizers==0.23.3 unicodedata2)
"""
from pathlib import Path
import unicodedata2 as u
from tokenizers import Regex, __version__, normalizers as N, pre_tokenizers as P

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
TEXT = "".join(map(chr, POINTS))


def removed(pre_tokenizer):
    left = set()
    for piece, _ in pre_tokenizer.pre_tokenize_str(TEXT):
        left.update(map(ord, piece))
    return set(POINTS) - left


def dropped(normalizer):
    return {c for c in POINTS if normalizer.normalize_str(chr(c)) == ""}


def escape(c):
    return f"\\u{c:04x}" if c < 0x10000 else f"\\u{{{c:x}}}"


def pattern_class(points):
    ranges = []
    for c in sorted(points):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    return "".join(escape(a) if a == b else f"{escape(a)}-{escape(b)}" for a, b in ranges)


def known_to_normal_forms():
    """Characters beyond the crate's tables: no decomposition, and no place among combining marks."""
    nfkd, nfd = N.NFKD(), N.NFD()
    found = set()
    for c in POINTS:
        ch = chr(c)
        if u.normalize("NFKD", ch) != ch and nfkd.normalize_str(ch) == ch:
            found.add(c)
        if u.combining(ch) and nfd.normalize_str("a" + ch + "\u0323") == "a" + ch + "\u0323":
            # Classes up to 220 keep that order, those from 240 on the next one; a known mark is moved by one of them.
            if nfd.normalize_str("a\u0345" + ch) == "a\u0345" + ch:
                found.add(c)
    return found



bert = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
tables = {
    "UNASSIGNED": ("Not assigned in the pattern engines' Unicode 16.", removed(P.Split(Regex(r"\p{Cn}"), "removed"))),
    "PUNCTUATION": ("What `Punctuation` and `BertPreTokenizer` cut at.", removed(P.Punctuation("removed"))),
    "ACCENTS": ("What `StripAccents` removes.", dropped(N.StripAccents())),
    "BERT_ACCENTS": ("What `BertNormalizer` removes as accents.", dropped(N.BertNormalizer(**{**bert, "strip_accents": True}))),
    "BERT_CONTROLS": ("What `BertNormalizer` removes as controls.", dropped(N.BertNormalizer(**{**bert, "clean_text": True}))),
    "NEWER_THAN_NORMAL_FORMS": (
        "Characters that decompose or combine in newer Unicode, but not in the tables of the normal forms.",
        known_to_normal_forms(),
    ),
}
lines = [
    f"/** Written by scripts/make-unicode-tables.py from tokenizers {__version__} (unicodedata2's Unicode {u.unidata_version}). Insides of pattern classes. */",
    "",
]
for name, (text, points) in tables.items():
    print(name, len(points))
    lines += [f"/** {text} */", "// prettier-ignore", f"export const {name} =", f"  '{pattern_class(points)}';".replace("\\", "\\\\"), ""]
path = Path(__file__).resolve().parent.parent / "src/checkpoint/bpe/unicode-tables.ts"
path.write_text("\n".join(lines), encoding="utf-8")
