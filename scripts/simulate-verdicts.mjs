// How often verdicts err and what they find, in made-up studies: writes bench/results/verdicts.json and the tables of
// docs/method.md. usage: npm run -s build && node scripts/simulate-verdicts.mjs [STUDIES]   (some minutes)
import { readFileSync, writeFileSync } from 'node:fs';
import { documentedScenarios, ratesMarkdown, simulate } from '../dist/study/calibration.js';

const studies = Number(process.argv[2] ?? 2000);
const rates = documentedScenarios().map((entry, i, all) => {
  const { scenario: _scenario, studies: _studies, ...shares } = simulate(entry.scenario, studies);
  if (i % 10 === 9) console.error(`${i + 1}/${all.length}`);
  return { ...entry, ...shares };
});
const path = new URL('../bench/results/verdicts.json', import.meta.url);
writeFileSync(path, `${JSON.stringify({ studies, rates }, null, 1)}\n`);

const page = new URL('../docs/method.md', import.meta.url);
const [start, end] = ['<!-- verdicts: begin -->', '<!-- verdicts: end -->'];
const text = readFileSync(page, 'utf8');
const [from, to] = [text.indexOf(start), text.indexOf(end)];
if (from < 0 || to < 0) throw new Error('docs/method.md lacks the markers of the tables');
writeFileSync(page, `${text.slice(0, from + start.length)}\n\n${ratesMarkdown(rates)}\n\n${text.slice(to)}`);
