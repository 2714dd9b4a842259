/** Comments and documentation are spelled the American way; names in backticks and words in quotation marks are left alone. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const BRITISH =
  /\b\w*(?:(?:normal|optim|token|initial|minim|maxim|summar|serial|recogn|organ|material)is(?:e|ing|ation)|colour|favour|behaviour|neighbour|artefact|licence|labelled|cancelled|modelled|analys(?:ed?|ing)\b|centred|centre\b)\w*/gi;

const words = (prose: string): string[] =>
  prose.replace(/```[\s\S]*?```|`[^`\n]*`|https?:\/\/\S+|\([^)\s]*\.md[^)]*\)|"[^"\n]*"/g, ' ').match(BRITISH) ?? [];

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
  });
});
