#!/usr/bin/env bash
# oniguruma-to-es 4.3.6, seen 2026-11-29 on Node 20: a case-insensitive group widens the rest of the pattern.
#
# GPT-4-like tokenizers cut words by patterns such as (?i:'s|'t)|\p{L}+, in which only the contractions ignore case. One would
# expect the translation to keep that scope. Where the engine has no scoped flags, the whole RegExp gets the flag i instead,
# and under the flags i and v, \p{L} also matches U+0345 (a combining mark that folds to the letter iota). Oniguruma's \p{L}
# does not, so the cut, and with it the token ids, can differ.
#
# Exits 0 as long as this is so, 1 if it has changed, 2 if it could not be tried.
set -u
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 2
npm init -y >/dev/null 2>&1
npm install --no-audit --no-fund oniguruma-to-es@4.3.6 >/dev/null 2>&1 || exit 2
cat >try.mjs <<'JS'
import { toRegExpDetails } from 'oniguruma-to-es';
const seen = (source, options) => {
  const { pattern, flags } = toRegExpDetails(source, options);
  return { flags, matchesU0345: new RegExp(`^(?:${pattern})$`, flags).test('\u0345') };
};
const target = { target: 'ES2024' };
const scoped = seen(String.raw`(?i:'s)|\p{L}`, target);
const plain = seen(String.raw`'s|\p{L}`, target);
console.log(JSON.stringify({ scoped, plain }));
process.exit(scoped.matchesU0345 && !plain.matchesU0345 ? 0 : 1);
JS
node try.mjs
