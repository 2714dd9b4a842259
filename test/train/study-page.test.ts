/** scripts/study-page.mjs: a page's figures and numbers from the records of studies. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { FAKE_DESIGNS, writeFakeStudy } from '../support/fake-study.js';
import { temporaryFolder } from './support.js';

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'study-page.mjs');

/** What `analyze --only length` keeps of a run that was trained on 128 tokens. */
function writeLengths(run: string, i: number): void {
  const mean = (targets: number, loss: number, accuracy: number) => ({ targets, loss, accuracy });
  const lengths = [128, 256].map((length) => ({
    ...{ length, rows: length === 256 ? 'packed' : 'documents', documents: 9, sequences: 4 },
    variants: [
      {
        ...{ name: 'as trained', all: mean(length, 1 + i / 10, 0.5), needle: null },
        positions: [
          { from: 1, to: 128, all: mean(128, 2, 0.5) },
          ...(length === 128 ? [] : [{ from: 129, to: 192, all: mean(48, 1 + i, 0.5) }]),
          ...(length === 128 ? [] : [{ from: 193, to: 256, all: mean(16, 3 + i, 0.5) }]),
        ],
        ar: { bins: [], far: { from: length === 128 ? 65 : 129, to: length, all: mean(7, 2, 0.25 + i / 8) } },
      },
    ],
  }));
  writeFileSync(
    join(run, 'analysis', 'length-step-000600.json'),
    JSON.stringify({ step: 600, tokens: 600 * 4096, trained: 128, lengths }),
  );
}

it('makes figures, numbers and a table of a study, and puts them into its page', () => {
  const folder = temporaryFolder();
  const study = join(folder, 'study');
  const runs = FAKE_DESIGNS.flatMap(({ label, pattern, formsAt }) =>
    formsAt.map((tokens, i) => ({
      ...{ name: `${pattern}_seed-${i + 1}`, architecture: label, pattern, seed: i + 1, formsAt: tokens },
    })),
  );
  writeFakeStudy(study, runs, {});
  // Two designs at two lengths; after the trained 128 tokens the mean of 1 and 3 nats, three targets against one.
  for (const [i, { name }] of runs.slice(0, 4).entries()) writeLengths(join(study, 'runs', name), i);
  const out = join(folder, 'page');
  mkdirSync(out);
  writeFileSync(
    join(out, 'README.md'),
    'Before.\n\n<!-- numbers: begin -->\nstale text\n<!-- numbers: end -->\n\nAfter.\n',
  );
  const args = ['--out', out, '--repeat', 'longsight study demo.yaml', study];
  const { status, stderr, stdout } = spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout).toContain('demo (12 figures)');
  const figures = readdirSync(join(out, 'figures'));
  expect(figures).toHaveLength(12);
  const curves = readFileSync(join(out, 'figures', figures[0] ?? ''), 'utf8');
  expect(curves).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="\d+" height="\d+"/);
  expect(curves.match(/<svg /g)).toHaveLength(2); // itself and the farthest distance
  const others = readFileSync(join(out, 'figures', figures[1] ?? ''), 'utf8');
  expect(others.match(/<svg /g)).toHaveLength(4); // itself and three distances
  for (const { label } of FAKE_DESIGNS) expect(curves).toContain(`>${label}</text>`);
  const page = readFileSync(join(out, 'README.md'), 'utf8');
  expect(page).toMatch(/^Before\.[\s\S]*After\.\n$/);
  expect(page).not.toContain('stale text');
  for (const name of figures) expect(page).toContain(`(figures/${name})`);
  expect(page).toContain('longsight study demo.yaml');
  expect(page).toContain('8 finished runs, 8.0 minutes of run time in all.');
  expect(page).toMatch(/- \*\*shown\*\*: swa:8 \+ full gets there with at least 1\.\d × fewer tokens than full\./);
  expect(page).toContain('### In rows of 128, 256 tokens, as trained');
  expect(page).toContain('128 tokens: 4 rows from 9 documents; 256 tokens: 4 rows packed from 9 documents.');
  const [first, second] = FAKE_DESIGNS.map(({ label }) => label);
  expect(page).toContain(`| ${first} | 1.00 to 1.10 | 1.00 to 1.10 |\n| ${second} | 1.20 to 1.30 | 1.20 to 1.30 |`);
  expect(page).toContain(`| ${first} | – | 1.50 to 2.50 |\n| ${second} | – | 3.50 to 4.50 |`);
  expect(page).toContain('| *cases, tokens back* | 7 from 65 | 7 from 129 |');
  expect(page).toContain(`| ${second} | 0.500 to 0.625 | 0.500 to 0.625 |\n| *cases`);
  const numbers = JSON.parse(readFileSync(join(out, 'numbers.json'), 'utf8')) as {
    demo: { groups: { runs: { name: string; toThreshold: unknown }[]; pairs: unknown[] }[]; timing: object };
  };
  const [group] = numbers.demo.groups;
  expect([group?.runs.length, group?.pairs.length]).toEqual([8, 4]);
  expect(Object.values(numbers.demo.timing)).toContainEqual(expect.objectContaining({ seconds: 60 }));
  const all = ['demo.html', 'demo.csv', 'numbers.md', 'numbers.json'].map((name) =>
    readFileSync(join(out, name), 'utf8'),
  );
  for (const text of all) expect(text).not.toContain(folder);
  expect(existsSync(join(out, '.demo.tmp'))).toBe(false);
});
