/**
 * The sources (names, messages, comments) and the documentation are spelled the American way; on pages, names in backticks and words in
 * quotation marks are left alone.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const STEMS =
  '(?:normal|optim|token|initial|minim|maxim|summar|serial|recogn|organ|material|standard|regular|penal|factor|random|parallel|vector|' +
  'quant|synchron|general|final|local|memor|categor)is(?:e(?!m)|ing|ation)|colour|favour|behaviour|neighbour|artefact|licence|labelled|' +
  'cancelled|modelled|centred';
const BRITISH = new RegExp(`\\b\\w*(?:${STEMS}|analys(?:ed?|ing)\\b|centre\\b)\\w*`, 'gi');

const words = (prose: string): string[] =>
  prose.replace(/```[\s\S]*?```|`[^`\n]*`|https?:\/\/\S+|\([^)\s]*\.md[^)]*\)|"[^"\n]*"/g, ' ').match(BRITISH) ?? [];

/** Also inside of names, such as `analyseScaling` and `normalised_accuracy`, and in strings. */
const names = (text: string): string[] => [
  ...(text.match(new RegExp(`\\w*(?:${STEMS})\\w*`, 'gi')) ?? []),
  ...(text.match(/[Aa]nalys(?:ed?|ing|er)(?![a-z])\w*/g) ?? []),
];

/** The one place that reads old names of fields, with its test, and what Slurm calls a state of its jobs. */
const FORMER =
  /^src\/(?:(?:run\/stored|lab\/analyses\/findings\.test)\.ts: normalised(?:Visible)?|study\/executors\/slurm(?:-commands|\.test)\.ts: CANCELLED)$/;

const comments = (text: string): string =>
  [...text.matchAll(/\/\*[\s\S]*?\*\/|^\s*\/\/ .*$/gm)].map(([comment]) => comment).join('\n');

function filesOf(folder: string, ending: string): string[] {
  const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith(ending)).map((name) => `${folder}/${name}`);
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

describe('spelling', () => {
  it('of comments is American', () => {
    const found = filesOf('src', '.ts').flatMap((path) =>
      words(comments(read(path))).map((word) => `${path}: ${word}`),
    );
    expect(found).toEqual([]);
  });

  it('of names and messages is American, but for the former names of stored fields and words of others', () => {
    const found = filesOf('src', '.ts').flatMap((path) => names(read(path)).map((word) => `${path}: ${word}`));
    expect(found.filter((word) => !FORMER.test(word))).toEqual([]);
  });

  it('of the documentation is American', () => {
    const pages = ['README.md', 'CONTRIBUTING.md', ...filesOf('docs', '.md')];
    expect(pages.flatMap((path) => words(read(path)).map((word) => `${path}: ${word}`))).toEqual([]);
  });

  it('is found where it is not', () => {
    expect(words('A normalised colour, `normalised`, "behaviour", an optimiser and two neighbours.')).toEqual([
      'normalised',
      'colour',
      'optimiser',
      'neighbours',
    ]);
    expect(names('analyses(analyseScaling, summariseAll, normalised_accuracy, tokenise, promises)')).toEqual([
      'summariseAll',
      'normalised_accuracy',
      'tokenise',
      'analyseScaling',
    ]);
  });
});
