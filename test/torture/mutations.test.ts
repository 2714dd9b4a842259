/** Files of every kind, mutated: each is read, or refused in one clear sentence, in time and in bounded memory. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeJsonAtomic } from '../../src/core/index.js';
import { loadStudy } from '../../src/study/index.js';
import { amount, run, seedOf } from './support.js';

const TRIALS = amount(20_000);
const MUTANT = fileURLToPath(new URL('mutant.mjs', import.meta.url));
/** A file on which the process has been this long hangs. The machine may be busy with other tests. */
const HANG_MS = 120_000;
const MOST_MB = 1024;

const inputs = mkdtempSync(join(tmpdir(), 'longsight-mutations-'));
afterAll(() => rmSync(inputs, { recursive: true, force: true }));

beforeAll(async () => {
  const config = join(inputs, 'run.yaml');
  const train = { seqLen: 64, batchSize: 2, steps: 2, checkpointEvery: 2 };
  const model = { hiddenSize: 16, numLayers: 2, numHeads: 2, layers: 'swa:8 full' };
  const measured = { batches: 1, recall: { batches: 1 } };
  writeFileSync(config, JSON.stringify({ model, data: { kind: 'recall' }, train, eval: measured }));
  writeFileSync(join(inputs, 'text.txt'), 'The text of one document.\n');
  const shards = ['--tokenizer', 'bytes', '--held-out', '0', '--out', join(inputs, 'shards')];
  for (const args of [
    ['train', config, '--engine', 'reference', '--out', join(inputs, 'run'), '--quiet'],
    ['data', 'prepare', join(inputs, 'text.txt'), ...shards, '--quiet'],
  ]) {
    const { code, stderr } = await run(args);
    expect(code, stderr).toBe(0);
  }
  const study = join(inputs, 'study.yaml');
  const architectures = { full: 'full', small: 'swa:8 full' };
  writeFileSync(study, JSON.stringify({ name: 's', base: config, architectures, seeds: [1] }));
  mkdirSync(join(inputs, 'study'));
  writeJsonAtomic(join(inputs, 'study', 'study.json'), loadStudy(study));
});

interface Outcome {
  readonly lines: readonly string[];
  readonly stderr: string;
  /** The trial on which the process hung; null if it came to its end. */
  readonly hungAt: string | null;
}

/** Reads mutated files in a process of its own, which is ended where it hangs. */
function trials(from: number, to: number): Promise<Outcome> {
  const progress = join(inputs, 'progress');
  writeFileSync(progress, '');
  const heap = `--max-old-space-size=${MOST_MB}`;
  const args = [heap, MUTANT, inputs, String(seedOf('mutations')), String(from), String(to), progress];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()));
  let [last, since] = ['', performance.now()];
  let hungAt: string | null = null;
  const watch = setInterval(() => {
    const now = readFileSync(progress, 'utf8').trim();
    if (now !== last) [last, since] = [now, performance.now()];
    if (performance.now() - since < HANG_MS) return;
    hungAt = last;
    child.kill('SIGKILL');
  }, 500);
  return new Promise((resolve) => {
    child.on('close', () => {
      clearInterval(watch);
      resolve({ lines: text.stdout.split('\n').filter((line) => line !== ''), stderr: text.stderr, hungAt });
    });
  });
}

it(`${TRIALS} of them get no stack trace, no hang, no message of more than a line`, async () => {
  const { lines, stderr, hungAt } = await trials(0, TRIALS);
  const what = `seed ${seedOf('mutations')}`;
  expect(hungAt, `${what}: hangs at this trial`).toBe(null);
  expect(stderr, what).toBe('');
  expect(lines.slice(0, -1), what).toEqual([]);
  const { accepted, maxRssMb } = JSON.parse(lines.at(-1) ?? '{}') as {
    accepted: Record<string, number>;
    maxRssMb: number;
  };
  // Some mutations leave a file valid; readers that take nothing would prove nothing.
  expect(Object.keys(accepted).length, what).toBeGreaterThan(20);
  expect(maxRssMb, what).toBeLessThan(MOST_MB);
});
