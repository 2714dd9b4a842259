/** What the benches of the dashboard share: run folders that they are measured on, and the processor time of a program. */
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The built command line. */
export const MAIN = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'cli', 'main.js');
/** Different runs; the others are copies of them. */
export const DIFFERENT = 20;
/** Seeds of a design. */
export const SEEDS = 20;

/** The name of a run by its number. */
export const nameOf = (i) => `design-${Math.floor(i / SEEDS)}_seed-${(i % SEEDS) + 1}`;

/** Seconds since a time of `performance.now()`. */
export const seconds = (since) => (performance.now() - since) / 1000;

/** One line of metrics. */
export function lineOf(step, kind, metrics) {
  const own = [
    `"step":${step},"tokens":${step * 4096},"time":${(step * 0.37).toFixed(3)}`,
    `"train/loss":${(8 / (1 + step / 50) + 1 + kind / 50 + Math.sin(step * kind + step) / 20).toFixed(12)}`,
  ];
  for (let m = 1; m < metrics; m++)
    own.push(`"probe/group-${m % 10}/value-${m}":${(Math.sin(step / (20 + m) + kind) + m).toFixed(14)}`);
  return `{${own.join(',')}}\n`;
}

const configOf = (name, design, seed, points) => ({
  ...{ format: 1, name, versions: { longsight: '0.1.0' } },
  run: {
    ...{
      seed,
      name,
      model: { layers: `swa:${8 + design} full`, hiddenSize: 64, numHeads: 4, numLayers: 4, vocabSize: 256 },
    },
    ...{
      data: [{ kind: 'recall' }],
      train: { seqLen: 256, batchSize: 16, steps: points, lr: 0.001 * (1 + (design % 5)) },
      engine: 'auto',
    },
  },
  engine: { name: 'onnx', library: 'onnxruntime', threads: 1, reason: 'made' },
  hardware: { cpu: 'A processor', cores: 2 },
  ...{ startedAt: '2026-01-02T03:04:05.000Z', resumes: [] },
});

/**
 * Makes run folders below `folder`, unless the last of them is there: `runs` of them with `metrics` metrics of `points` points. The first
 * seeds of the first `live` designs can be written to; others are hard links where `isLinked`, which is
 * left to their size where it is not given: all that would take more than 5 GB are.
 */
export function makeRuns(folder, { runs, metrics, points, live = 0, isLinked: asked }) {
  if (existsSync(join(folder, nameOf(runs - 1)))) return;
  const texts = Array.from({ length: Math.min(DIFFERENT, runs) }, (_, kind) => {
    const lines = [];
    for (let step = 1; step <= points; step++) lines.push(lineOf(step, kind, metrics));
    return Buffer.from(lines.join(''));
  });
  const isLinked = asked ?? (runs * texts[0].length) / 1e9 > 5;
  const seen = [];
  for (let i = 0; i < runs; i++) {
    const [design, seed] = [Math.floor(i / SEEDS), (i % SEEDS) + 1];
    const name = nameOf(i);
    const dir = join(folder, name);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'config.json'), JSON.stringify(configOf(name, design, seed, points)));
    writeFileSync(join(dir, 'status.json'), JSON.stringify({ state: 'done', step: points, tokens: points * 4096 }));
    const first = seen[i % texts.length];
    const path = join(dir, 'metrics.jsonl');
    // Those that are written to while the page is open are files of their own.
    const isLive = seed === 1 && design < live;
    if (isLinked && first !== undefined && !isLive) linkSync(first, path);
    else writeFileSync(path, texts[i % texts.length]);
    if (!isLive) seen[i % texts.length] = path;
  }
}

/** Seconds of processor time of a process and all below it. */
export function treeSeconds(root) {
  const own = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ');
      own.set(Number(name), { parent: Number(fields[1]), seconds: (Number(fields[11]) + Number(fields[12])) / 100 });
    } catch {
      // gone meanwhile
    }
  }
  const isBelow = (pid) => pid === root || (own.has(pid) && pid > 1 && isBelow(own.get(pid).parent));
  return [...own].reduce((sum, [pid, { seconds: s }]) => (isBelow(pid) ? sum + s : sum), 0);
}
