/** scripts/study-page.mjs: a page's figures and numbers from the records of studies. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { FAKE_DESIGNS, writeFakeStudy } from '../support/fake-study.js';
import { temporaryFolder } from './support.js';

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'study-page.mjs');

it('makes figures, numbers and a table of a study, and puts them into its page', () => {
  const folder = temporaryFolder();
  const study = join(folder, 'study');
  const runs = FAKE_DESIGNS.flatMap(({ label, pattern, formsAt }) =>
    formsAt.map((tokens, i) => ({
      ...{ name: `${pattern}_seed-${i + 1}`, architecture: label, pattern, seed: i + 1, formsAt: tokens },
    })),
  );
  writeFakeStudy(study, runs, {});
  const out = join(folder, 'page');
  mkdirSync(out);
  writeFileSync(
    join(out, 'README.md'),
    'Before.\n\n<!-- numbers: begin -->\nstale text\n<!-- numbers: end -->\n\nAfter.\n',
  );
  const args = ['--out', out, '--repeat', 'longsight study demo.yaml', study];
  const { status, stderr, stdout } = spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout).toContain('demo (11 figures)');
  const figures = readdirSync(join(out, 'figures'));
  expect(figures).toHaveLength(11);
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
