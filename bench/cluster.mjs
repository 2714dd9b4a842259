/**
 * What studies on clusters cost beside training.
 *
 *   npm run build && node bench/cluster.mjs plan [RUNS]     seconds of study plan, status and report on planned runs (default: 1,000)
 *   npm run build && node bench/cluster.mjs slurm [RUNS]    seconds of a run as a job of Slurm and by a worker that is kept, one after
 *                                                           the other (default: 5 runs; as root, see test/slurm/cluster.sh)
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../dist/cli/main.js');
const folder = mkdtempSync(join(tmpdir(), 'longsight-cluster-'));
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const rounded = (seconds) => Number(seconds.toFixed(2));

const study = (seeds, slurm = {}) =>
  JSON.stringify({
    name: 'tiny',
    base: {
      model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 },
      data: { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 },
      train: { steps: 8, seqLen: 16, batchSize: 4, warmupSteps: 2 },
      eval: { batches: 1, recall: { batches: 1, bins: [4, 16] }, trace: false },
    },
    architectures: { full: 'full' },
    seeds: Array.from({ length: seeds }, (_, i) => i + 1),
    executors: { slurm },
  });

/** Seconds that a command line takes. */
function seconds(args, env = {}) {
  const begin = performance.now();
  const options = { cwd: folder, env: { ...process.env, ...env }, encoding: 'utf8' };
  const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], options);
  if (status !== 0) throw new Error(`longsight ${args.join(' ')} ended with ${status}: ${stderr}`);
  return (performance.now() - begin) / 1000;
}

function plan(runs) {
  writeFileSync(join(folder, 's.yaml'), study(runs));
  const took = {
    plan: seconds(['study', 'plan', 's.yaml', '--out', 'u']),
    status: seconds(['study', 'status', 'u']),
    report: seconds(['study', 'report', 'u']),
  };
  return { runs, ...Object.fromEntries(Object.entries(took).map(([name, value]) => [name, rounded(value)])) };
}

/** Seconds of each run by one worker that is kept, the first left out, which starts the process. */
async function byWorker(runs) {
  writeFileSync(join(folder, 's.yaml'), study(runs + 1));
  const args = ['study', 's.yaml', '--out', 'local', '--workers', '1', '--threads', '1', '--json'];
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  const ends = [];
  for await (const line of createInterface({ input: child.stdout }))
    if (JSON.parse(line).event === 'finished') ends.push(performance.now() / 1000);
  if (ends.length !== runs + 1) throw new Error(`${ends.length} runs of ${runs + 1} ended`);
  return ends.slice(1).map((end, i) => end - ends[i]);
}

/** Seconds of each run from the start of its process, which Slurm has placed, to its end. */
function bySlurm(runs) {
  const cluster = join(folder, 'cluster');
  const script = (what) =>
    spawnSync(here('../test/slurm/cluster.sh'), [what, cluster], { stdio: ['ignore', 'ignore', 'inherit'] });
  spawnSync('mkdir', [cluster]);
  if (script('start').status !== 0) throw new Error('the cluster did not start');
  try {
    const wrapper = join(folder, 'stamped.sh');
    const stamp = (word) => `echo "${word} $(date +%s%3N)" >>'${join(folder, 'times')}'`;
    writeFileSync(
      wrapper,
      `${stamp('start')}\n'${process.execPath}' '${MAIN}' "$@"\ncode=$?\ntimes >>'${join(folder, 'cpu')}'\n${stamp('end')}\nexit $code\n`,
    );
    writeFileSync(join(folder, 's.yaml'), study(runs, { limit: 1, command: ['sh', wrapper] }));
    const args = ['study', 's.yaml', '--out', 'u', '--executor', 'slurm', '--threads', '1', '--follow'];
    seconds(args, { SLURM_CONF: join(cluster, 'slurm.conf') });
    const times = readFileSync(join(folder, 'times'), 'utf8').trim().split('\n');
    const at = (word) => times.flatMap((line) => (line.startsWith(word) ? [Number(line.split(' ')[1]) / 1000] : []));
    const [starts, ends] = [at('start'), at('end')];
    // Of each run the times of the shell, then those of its process: user and system, such as 0m1.25s.
    const cpu = readFileSync(join(folder, 'cpu'), 'utf8')
      .trim()
      .split('\n')
      .filter((_, i) => i % 2 === 1);
    const parts = (line) =>
      [...line.matchAll(/(\d+)m([\d.]+)s/g)].map(([, minutes, rest]) => 60 * minutes + Number(rest));
    return {
      wall: ends.map((end, i) => end - starts[i]),
      processor: cpu.map((line) => parts(line).reduce((sum, part) => sum + part, 0)),
    };
  } finally {
    script('stop');
  }
}

try {
  const [what, count] = [process.argv[2], process.argv[3]];
  if (what === 'plan')
    process.stdout.write(`${JSON.stringify({ ...plan(Number(count ?? 1000)), load: loadavg()[0] })}\n`);
  else if (what === 'slurm') {
    const runs = Number(count ?? 5);
    const { wall, processor } = bySlurm(runs);
    const [slurm, worker] = [median(wall), median(await byWorker(runs))];
    const result = {
      runs,
      slurm: rounded(slurm),
      processorSeconds: rounded(median(processor)),
      keptWorker: rounded(worker),
      overhead: rounded(slurm - worker),
      load: loadavg()[0],
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } else throw new Error('usage: node bench/cluster.mjs plan|slurm [RUNS]');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
