// How much of the wall time of runs was no training step, from their records. One JSON line a run on standard output, then one of all.
// usage: node share.mjs FOLDER...      FOLDER: a run, or a study's output with its runs in runs/
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const round = (x, digits = 3) => Number(x.toFixed(digits));

const folders = process.argv.slice(2).flatMap((folder) => {
  const runs = join(folder, 'runs');
  return existsSync(runs) ? readdirSync(runs).map((name) => join(runs, name)) : [folder];
});
const known = folders.flatMap((folder) => {
  const path = join(folder, 'status.json');
  if (!existsSync(path)) return [];
  const { state, tokens, timing } = readJson(path);
  if (timing === undefined) return [];
  const metrics = join(folder, 'metrics.jsonl');
  const lines = existsSync(metrics) ? readFileSync(metrics, 'utf8').trim().split('\n') : [];
  const evaluations = lines.filter((line) => line.includes('"eval/')).length;
  const medianTokPerSec = medianSpeed(lines.filter((line) => line !== '').map((line) => JSON.parse(line)));
  return [{ run: basename(folder), state, tokens, evaluations, medianTokPerSec, timing }];
});

/** Median of the tokens a second that steps after the 200th logged; null where there is none. */
function medianSpeed(rows) {
  const logged = rows.flatMap(({ step, 'train/tok_per_sec': speed }) => (step > 200 && speed > 0 ? [speed] : []));
  const sorted = logged.sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return null;
  return Math.round(sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2);
}

/** What was no step, as a share of all; and beside the steps of 240 M tokens at the same speed. */
function shares({ tokens, timing }) {
  const training = timing.steps + timing.firstStep;
  const beside = timing.total - training;
  const tokPerSec = tokens / training;
  return {
    tokPerSec: Math.round(tokPerSec),
    beside: round(beside),
    share: round(beside / timing.total, 4),
    shareAt240M: round(beside / (beside + 240e6 / tokPerSec), 4),
  };
}

for (const run of known) emit({ case: 'share', ...run, ...shares(run) });
const sum = (of) => known.reduce((total, run) => total + of(run), 0);
if (known.length > 1) {
  const phases = Object.keys(known[0].timing);
  const timing = Object.fromEntries(phases.map((phase) => [phase, round(sum((run) => run.timing[phase] ?? 0))]));
  const all = { tokens: sum((run) => run.tokens), timing };
  emit({
    case: 'share of all runs',
    runs: known.length,
    evaluations: sum((run) => run.evaluations),
    ...all,
    ...shares(all),
  });
}
