// The parent of a study of many runs whose workers are stand-ins: prints its memory in MB, garbage collected, after every tenth of them.
// Usage: node --expose-gc study-parent.mjs FOLDER RUNS
import { fileURLToPath } from 'node:url';
import { executeStudy } from '../../dist/study/index.js';

const [folder, count] = [process.argv[2], Number(process.argv[3])];
const worker = fileURLToPath(new URL('../support/fake-worker.mjs', import.meta.url));
const config = { seed: 1, train: { steps: 2, batchSize: 4, seqLen: 16 }, model: { layers: [{}] }, data: [] };
const runs = Array.from({ length: count }, (_, i) => ({
  ...{ name: `r${i}_ok`, arm: 'main', architecture: 'a', seed: i, point: {}, config },
}));
let ended = 0;
const outcomes = await executeStudy(
  folder,
  { runs },
  {
    capacity: { workers: 2, threads: 1, devices: [], perDevice: 1, reason: 'two at a time' },
    workerCommand: (dir, run) => [process.execPath, worker, dir, run.name],
    signal: new AbortController().signal,
    observer: {
      started: () => undefined,
      note: () => undefined,
      waiting: () => undefined,
      progress: () => undefined,
      finished: () => {
        if (++ended % (count / 10) !== 0) return;
        globalThis.gc();
        const { heapUsed, rss } = process.memoryUsage();
        process.stdout.write(`${(heapUsed / 1e6).toFixed(2)} ${(rss / 1e6).toFixed(1)}\n`);
      },
    },
  },
);
const failed = outcomes.filter(({ state }) => state !== 'done');
if (failed.length > 0) throw new Error(JSON.stringify(failed[0]));
