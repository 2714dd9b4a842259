/** Long runs: 100,000 steps and a study of 500 runs keep the memory that they have after their first part. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { present } from '../../src/core/index.js';
import { temporaryFolder } from '../support/folders.js';
import { amount } from './support.js';

const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const PARENT = fileURLToPath(new URL('study-parent.mjs', import.meta.url));

const RUN = {
  engine: 'onnx',
  model: { hiddenSize: 8, layers: 'swa:4 full', numHeads: 2, intermediateSize: 16, vocabSize: 12 },
  data: { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 },
  eval: { batches: 1, needle: false, trace: false },
};

const median = (values: readonly number[]): number =>
  present([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]);

/** Medians of the second fifth, once it is warm, and of the last. */
function secondAndLast(values: readonly number[]): [number, number] {
  const fifth = Math.floor(values.length / 5);
  return [median(values.slice(fifth, 2 * fifth)), median(values.slice(-fifth))];
}

it('a run of 100,000 steps keeps its memory', async () => {
  const folder = temporaryFolder();
  const steps = amount(100_000);
  const train = {
    seqLen: 16,
    batchSize: 4,
    steps,
    lr: 0.01,
    logEvery: 100,
    evalEvery: steps / 10,
    checkpointEvery: steps / 20,
  };
  writeFileSync(join(folder, 'run.yaml'), JSON.stringify({ ...RUN, train }));
  const args = ['train', join(folder, 'run.yaml'), '--threads', '1', '--out', join(folder, 'run'), '--quiet'];
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  const megabytes: number[] = [];
  const look = setInterval(() => {
    try {
      const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? [];
      if (kib !== undefined) megabytes.push(Number(kib) / 1024);
    } catch {
      // It has ended.
    }
  }, 100);
  const [code] = (await once(child, 'close')) as [number];
  clearInterval(look);
  expect(code).toBe(0);
  const [before, after] = secondAndLast(megabytes);
  process.stderr.write(
    `${steps} steps: ${before.toFixed(1)} MiB in the second fifth of the time, ${after.toFixed(1)} in the last\n`,
  );
  // A short run ends while the heap still grows to its usual size, by up to 40 MiB; a leak of 1 kB a step is 60 MiB in a whole one.
  expect(after - before).toBeLessThan(48);
});

it('the parent of a study of 500 runs keeps its memory', async () => {
  const runs = amount(500);
  const child = spawn(process.execPath, ['--expose-gc', PARENT, temporaryFolder(), String(runs)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  expect(code).toBe(0);
  const rows = text
    .trim()
    .split('\n')
    .map((line) => line.split(' ').map(Number));
  expect(rows).toHaveLength(10);
  const [heap, rss] = [0, 1].map((i) => secondAndLast(rows.map((row) => present(row[i]))));
  process.stderr.write(`${runs} runs: heap ${heap?.join(' then ')} MB, resident ${rss?.join(' then ')} MB\n`);
  expect(present(heap)[1]).toBeLessThan(present(heap)[0] + 0.5);
  expect(present(rss)[1]).toBeLessThan(present(rss)[0] + 24);
});
