// Whole runs on several devices, by the command line: a worker that is killed on one mesh and resumed on others.
// usage: node multi-runs.mjs HOME FOLDER [--devices N] [--platform cuda]
// One JSON line: losses of the run that was killed and moved against one that stayed on one device.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const [home, folder] = process.argv.slice(2).map((path) => resolve(path));
const { values: flags } = parseArgs({
  args: process.argv.slice(4),
  options: {
    devices: { type: 'string', default: '2' },
    platform: { type: 'string', default: 'cuda' },
  },
});
const N = Number(flags.devices);
const STEPS = 60;
const run = {
  seed: 1,
  model: { layers: 'swa:32 full:nope', hiddenSize: 256, numLayers: 4, numHeads: 4, intermediateSize: 512 },
  data: { kind: 'recall', numKeys: 16, numValues: 16, numFillers: 32 },
  train: {
    ...{ seqLen: 256, batchSize: 32, steps: STEPS, lr: 1e-3, logEvery: 5, evalEvery: 20, checkpointEvery: 20 },
    precision: flags.platform === 'cuda' ? 'bf16' : 'f32',
  },
};

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'run.json'), JSON.stringify(run));

/** Trains by the command line; `killAt` kills it with SIGKILL once that checkpoint is there. Resolves to the exit code, or the signal. */
function train(out, mesh, { resume = false, killAt } = {}) {
  const settings = Object.entries(mesh).flatMap(([axis, n]) => ['--set', `mesh.${axis}=${n}`]);
  const args = ['train', join(folder, 'run.json'), '--out', out, '--engine', `xla:${flags.platform}`, '--quiet'];
  const child = spawn(process.execPath, [
    ...[join(home, 'dist/cli/main.js'), ...args, ...settings, ...(resume ? ['--resume'] : [])],
  ]);
  let errors = '';
  child.stderr.on('data', (chunk) => (errors += chunk));
  const checkpoint = join(out, 'checkpoints', `step-${String(killAt).padStart(6, '0')}`);
  const timer = setInterval(() => {
    if (killAt !== undefined && existsSync(checkpoint)) child.kill('SIGKILL');
  }, 20);
  return new Promise((done) => {
    child.on('close', (code, signal) => {
      clearInterval(timer);
      done({ ending: signal ?? code, errors: errors.slice(-400) });
    });
  });
}

const curve = (out, name) =>
  readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter((line) => name in line)
    .map((line) => [line.step, line[name]]);

const [whole, moved] = [join(folder, 'whole'), join(folder, 'moved')];
const begin = performance.now();
const endings = [
  await train(whole, {}),
  await train(moved, { fsdp: N }, { killAt: 20 }),
  await train(moved, { data: N }, { resume: true, killAt: 40 }),
  await train(moved, {}, { resume: true }),
];
const [a, b] = [whole, moved].map((out) => curve(out, 'train/loss'));
const [first, last] = [a[0], a.at(-1)];
process.stdout.write(
  `${JSON.stringify({
    ...{ figure: 'killed and moved', devices: N, meshes: [`fsdp=${N}`, `data=${N}`, 'one device'], steps: STEPS },
    endings: endings.map((e) => e.ending),
    errors: endings.map((e) => e.errors).filter((text) => text !== ''),
    sameSteps: JSON.stringify(a.map(([s]) => s)) === JSON.stringify(b.map(([s]) => s)),
    lossDifference: Math.max(...a.map(([, loss], i) => Math.abs(loss - b[i][1]))),
    losses: [first, last, b.at(-1)],
    resumes: JSON.parse(readFileSync(join(moved, 'config.json'), 'utf8')).resumes.map((r) => [
      r.step,
      r.engine.mesh ?? null,
    ]),
    seconds: Number(((performance.now() - begin) / 1000).toFixed(1)),
  })}\n`,
);
