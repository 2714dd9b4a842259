// npm install --no-save friendly-words && node scripts/make-word-list.mjs
//
// Writes presets/words/english.json: adjectives and nouns of the npm package friendly-words (Glitch, MIT), for needles and word
// lists of the RULER tasks. The package itself is no dependency, as it brings a web server along.
import { createRequire } from 'node:module';
import { mkdirSync, writeFileSync } from 'node:fs';

const require = createRequire(import.meta.url);
const { predicates, objects } = require(process.argv[2] ?? 'friendly-words');
const { version, license, author } = require(`${process.argv[2] ?? 'friendly-words'}/package.json`);
const list = (words) => [...new Set(words)].filter((word) => /^[a-z]+$/.test(word)).sort();
const words = {
  source: `friendly-words ${version}, ${author}`,
  license,
  adjectives: list(predicates),
  nouns: list(objects),
};
mkdirSync('presets/words', { recursive: true });
writeFileSync('presets/words/english.json', `${JSON.stringify(words)}\n`);
