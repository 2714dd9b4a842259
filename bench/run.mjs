// npm run bench [-- --parts LIST --rounds N --steps N --threads N --python PATH --out FILE]
//
// Train steps of the benchmark hybrid next to PyTorch on the same cores: every round runs each program once in a fresh process,
// so that a slow moment of the machine falls on all of them; ratios are of the medians over all steps of all rounds. Then
// the time per token of a swa:64 layer from 512 to 8,192 tokens. A table first; the last line is JSON.
//
// Parts: 8x512 and 2x2048 (sequences x tokens of a train step), layer; default these. And hybrids: one layer in two of each
// recurrent mixer at 8x512, or a single one of them by name (lightning, gla, mamba2, gdn, kda). All programs of a part start from
// the same parameters and see the same tokens; if their losses part, the run fails. With --out, rounds add to those that
// FILE holds if it is of the same machine and threads, so that a long measurement can be made in pieces; remove FILE to
// start anew.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { DEFAULT_LAYERS, peerLayers, writeStart } from './model.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const { values: flags } = parseArgs({
  options: {
    parts: { type: 'string', default: '8x512,2x2048,layer' },
    rounds: { type: 'string', default: '3' },
    steps: { type: 'string', default: '7' },
    threads: { type: 'string', default: String(availableParallelism()) },
    python: { type: 'string', default: process.env.LONGSIGHT_BENCH_PYTHON ?? 'python3' },
    out: { type: 'string' },
  },
});
const { threads, steps } = flags;
const MIXERS = ['lightning', 'gla', 'mamba2', 'gdn', 'kda'];
const parts = flags.parts.split(',').flatMap((part) => (part === 'hybrids' ? MIXERS : [part]));
const unknown = parts.find((part) => part !== 'layer' && !MIXERS.includes(part) && !/^\d+x\d+$/.test(part));
if (unknown !== undefined) {
  const known = `SEQUENCESxTOKENS, "layer", "hybrids", ${MIXERS.map((m) => `"${m}"`).join(', ')}`;
  throw new Error(`--parts takes a list of ${known}; got "${unknown}"`);
}
const SHAPES = parts
  .filter((part) => part !== 'layer')
  .map((part) => {
    if (MIXERS.includes(part)) return { batch: 8, seq: 512, layers: `${part} full` };
    const [batch, seq] = part.split('x').map(Number);
    return { batch, seq, layers: DEFAULT_LAYERS };
  });
/** Programs next to ours: how PyTorch runs and, where there are windows, how it gets them. */
const peersOf = ({ layers }) =>
  layers.includes('swa')
    ? [
        ['eager', 'mask'],
        ['compile', 'mask'],
        ['compile', 'blocked'],
      ]
    : [
        ['eager', 'mask'],
        ['compile', 'mask'],
      ];

function lastJson(command, args, env = {}) {
  const run = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, ...env } });
  if (run.status !== 0) throw new Error(`${command} ${args.join(' ')} ended with code ${run.status}:\n${run.stderr}`);
  return JSON.parse(run.stdout.trim().split('\n').at(-1));
}

const torch = spawnSync(flags.python, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' });
const hasTorch = torch.status === 0;
if (!hasTorch) {
  const missing = `no PyTorch in ${flags.python}: peers are left out (pip install torch, then --python PATH or LONGSIGHT_BENCH_PYTHON)`;
  console.error(missing);
}

const own = ({ batch, seq, layers }) =>
  lastJson(
    process.execPath,
    [join(here, 'step.mjs')].concat(
      Object.entries({ batch, seq, steps, threads, layers }).map(([key, value]) => `${key}=${value}`),
    ),
  );
const peer = ({ batch, seq, layers }, start, mode, swa) =>
  lastJson(
    flags.python,
    [join(here, 'peers', 'torch_cpu.py'), '--mode', mode, '--swa', swa, '--layers', peerLayers(layers)].concat(
      ['--batch', batch, '--seq', seq, '--steps', steps, '--threads', threads, '--start', start].map(String),
    ),
    { OMP_NUM_THREADS: threads, MKL_NUM_THREADS: threads },
  );

const machine = {
  hardware: {
    processor: cpus()[0]?.model.trim(),
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
  },
  node: process.version,
  threads: Number(threads),
};

/** What `--out` holds of the same machine. */
function earlierReport() {
  const none = { date: new Date().toISOString().slice(0, 10), results: [], layer: undefined };
  if (!flags.out || !existsSync(flags.out)) return none;
  const { date, results, layer, ...rest } = JSON.parse(readFileSync(flags.out, 'utf8'));
  return JSON.stringify(rest) === JSON.stringify(machine) ? { date, results, layer } : none;
}
const earlier = earlierReport();

const median = (xs) => [...xs].sort((a, b) => a - b)[xs.length >> 1];
const keyOf = ({ batch, seq, layers, peer }) => `${batch} x ${seq} ${layers} ${peer}`;
// Files of before there were other hybrids do not name the layers.
const rows = new Map(
  earlier.results.map((row) => ({ layers: DEFAULT_LAYERS, ...row })).map((row) => [keyOf(row), row]),
);

/** Largest difference of two programs' losses, of which the first is before any step. */
const SAME_LOSS = 2e-3;

function measure(layers, program) {
  const { stepMs, peakRssMb, firstLoss, lastLoss, batch, seq, peer, library } = program();
  const key = keyOf({ batch, seq, layers, peer });
  const old = rows.get(key) ?? { rounds: [], peakRssMb: 0 };
  rows.set(key, {
    ...{ batch, seq, layers, peer, library },
    rounds: [...old.rounds, stepMs],
    peakRssMb: Math.max(old.peakRssMb, peakRssMb),
    losses: [firstLoss, lastLoss],
  });
  console.error(
    `${key}: ${median(stepMs).toFixed(0)} ms a step, losses ${firstLoss.toFixed(5)} to ${lastLoss.toFixed(5)}`,
  );
  return { key, losses: [firstLoss, lastLoss] };
}

/** All programs of one shape, `first` of them at the head. */
function measureRound(shape, start, first) {
  const peers = hasTorch ? peersOf(shape).map((modes) => () => peer(shape, start, ...modes)) : [];
  const programs = [() => own(shape), ...peers];
  const done = programs.map((_, i) => measure(shape.layers, programs[(i + first) % programs.length]));
  for (const { key, losses } of done) {
    if (losses.every((loss, i) => Math.abs(loss - done[0].losses[i]) < SAME_LOSS)) continue;
    throw new Error(`${key} does not compute what ${done[0].key} does: losses ${losses} and ${done[0].losses}`);
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'longsight-bench-'));
try {
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const shape of SHAPES) {
      const start = join(scratch, 'start.safetensors');
      writeStart(start, shape.layers, shape.batch, shape.seq);
      // Another program goes first in every round.
      measureRound(shape, start, rows.get(keyOf({ ...shape, peer: 'longsight' }))?.rounds.length ?? 0);
    }
  }
} finally {
  rmSync(scratch, { recursive: true });
}

const results = [...rows.values()]
  .sort((a, b) => a.seq - b.seq || a.layers.localeCompare(b.layers))
  .map((row) => {
    const all = row.rounds.flat();
    const stepMs = median(all);
    const tokensPerSecond = Math.round((row.batch * row.seq * 1e3) / stepMs);
    return { ...row, stepMs, fastestStepMs: Math.min(...all), tokensPerSecond };
  });
for (const r of results) {
  const mine = results.find((o) => keyOf(o) === keyOf({ ...r, peer: 'longsight' }));
  r.longsightRatio = Number((r.stepMs / mine.stepMs).toFixed(3));
  r.longsightRatioOfFastest = Number((r.fastestStepMs / mine.fastestStepMs).toFixed(3));
}

function measureLayer() {
  const layer = lastJson(process.execPath, [
    join(here, 'layer.mjs'),
    ...['tokens=8192', 'seqs=512,1024,2048,4096,8192', `steps=${Number(steps) + 4}`, `threads=${threads}`, 'window=64'],
  ]);
  const perToken = layer.lengths.map((l) => l.usPerToken);
  layer.largestOverSmallest = Number((Math.max(...perToken) / Math.min(...perToken)).toFixed(3));
  return layer;
}
const layer = parts.includes('layer') ? measureLayer() : earlier.layer;
const report = { date: earlier.date, ...machine, results, layer };

console.log(
  'batch x tokens  layers          program                 ms/step   tokens/s  peak MB  longsight is (fastest steps)',
);
for (const r of report.results) {
  console.log(
    `${r.batch} x ${String(r.seq).padEnd(11)} ${r.layers.padEnd(15)} ${r.peer.padEnd(22)} ${r.stepMs.toFixed(0).padStart(8)} ` +
      `${String(r.tokensPerSecond).padStart(10)} ${String(r.peakRssMb).padStart(8)}  ${r.longsightRatio} x ` +
      `(${r.longsightRatioOfFastest} x)`,
  );
}
if (report.layer) {
  console.log(`\nswa:64 layer, forward and backward, microseconds per token at ${report.layer.tokens} tokens:`);
  console.log(report.layer.lengths.map((l) => `  ${l.seq}: ${l.usPerToken}`).join('\n'));
  console.log(`  largest over smallest: ${report.layer.largestOverSmallest}\n`);
}
if (flags.out) {
  mkdirSync(dirname(flags.out), { recursive: true });
  writeFileSync(flags.out, `${JSON.stringify(report, null, 2)}\n`);
}
console.log(JSON.stringify(report));
