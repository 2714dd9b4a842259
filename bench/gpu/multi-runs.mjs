// Whole runs by the command line.
// usage: node multi-runs.mjs HOME FOLDER STAGE [--devices N] [--platform cuda] [--tiny]
// One JSON line each: killed (a run killed on one mesh and resumed on others, against one that stayed on one device), repeated (a
// deterministic run twice, and once killed and resumed), hosts (one process a device, as on several hosts, against one process).
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { apart, Runs, smallRun } from './runs.mjs';

const [home, folder] = process.argv.slice(2, 4).map((path) => resolve(path));
const { values: flags, positionals } = parseArgs({
  args: process.argv.slice(4),
  allowPositionals: true,
  options: {
    devices: { type: 'string', default: '2' },
    platform: { type: 'string', default: 'cuda' },
    tiny: { type: 'boolean', default: false },
  },
});
const { platform } = flags;
const N = Number(flags.devices);
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const texts = (results) => results.map((r) => r.errors).filter((text) => text !== '');

async function killed() {
  const runs = new Runs(home, folder, platform, smallRun(platform, { steps: 60 }, flags.tiny));
  const results = [
    await runs.train('whole', {}),
    await runs.train('moved', { fsdp: N }, { killAt: 20 }),
    await runs.train('moved', { data: N }, { resume: true, killAt: 40 }),
    await runs.train('moved', {}, { resume: true }),
  ];
  const [a, b] = ['whole', 'moved'].map((out) => runs.curve(out, 'train/loss'));
  emit({
    ...{ figure: 'killed and moved', devices: N, meshes: [`fsdp=${N}`, `data=${N}`, 'one device'] },
    ...{ endings: results.map((r) => r.ending), errors: texts(results) },
    ...{ lossDifference: apart(a, b), losses: [a[0], a.at(-1), b.at(-1)] },
    resumes: runs.config('moved').resumes.map((r) => [r.step, r.engine.mesh ?? null]),
    seconds: results.map((r) => r.seconds),
  });
}

async function repeated() {
  const run = smallRun(platform, { steps: 40 }, flags.tiny);
  const runs = new Runs(home, folder, platform, { ...run, model: { ...run.model, numLayers: 2 }, deterministic: true });
  // Side by side on two devices where there are as many.
  // Each compiles for itself: the bits must not hang on one compilation.
  const on = (device, options = {}) => ({
    ...options,
    env: {
      ...(N > 1 ? { CUDA_VISIBLE_DEVICES: `${device}` } : {}),
      ...(platform === 'cuda' ? { LONGSIGHT_CACHE: runs.path(`cache${device}`) } : {}),
    },
  });
  const second = async () => [
    await runs.train('second', {}, on(1, { killAt: 20 })),
    await runs.train('second', {}, on(1, { resume: true })),
  ];
  const first = runs.train('first', {}, on(0));
  const results = N > 1 ? [...(await Promise.all([first, second()])).flat()] : [await first, ...(await second())];
  const [a, b] = ['first', 'second'].map((out) => runs.curve(out, 'train/loss'));
  const digests = ['first', 'second'].map((out) => [20, 40].map((step) => runs.digest(out, step)));
  emit({
    ...{
      figure: 'deterministic run, killed and resumed',
      endings: results.map((r) => r.ending),
      errors: texts(results),
    },
    ...{ lossDifference: apart(a, b), digests, sameBits: JSON.stringify(digests[0]) === JSON.stringify(digests[1]) },
    ...{ losses: [a[0], a.at(-1), b.at(-1)], seconds: results.map((r) => r.seconds) },
  });
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

async function hosts() {
  const steps = 20;
  const train = { steps, evalEvery: 20, checkpointEvery: 10 };
  const runs = new Runs(home, folder, platform, smallRun(platform, train, flags.tiny));
  const nodes = (name) => Array.from({ length: N }, (_, node) => `${name}-node${node}`);
  /** The run `name` in N processes, each of which sees one device. */
  const together = async (name, mesh, options = {}) => {
    const coordinator = `127.0.0.1:${await freePort()}`;
    const all = nodes(name);
    const mayKill = () => all.every((out) => runs.hasCheckpoint(out, options.killAt));
    const results = await Promise.all(
      all.map((out, node) =>
        runs.train(out, mesh, {
          ...{ limit: 60, mayKill, ...options },
          env: {
            ...{ LONGSIGHT_COORDINATOR: coordinator, LONGSIGHT_NODES: `${N}`, LONGSIGHT_NODE: `${node}` },
            ...{ CUDA_VISIBLE_DEVICES: `${node}`, NCCL_DEBUG: 'WARN' },
          },
        }),
      ),
    );
    return results;
  };
  const report = (name, mesh, results, expected) => {
    const curves = nodes(name).map((out) => runs.curve(out, 'train/loss'));
    emit({
      ...{ figure: 'several hosts', name, processes: N, mesh, endings: results.map((r) => r.ending) },
      ...{ errors: texts(results), seconds: results.map((r) => r.seconds) },
      ...{
        lossDifferences: curves.map((c) => apart(expected, c)),
        losses: [expected.at(-1), ...curves.map((c) => c.at(-1))],
      },
      evalLosses: nodes(name).map((out) => runs.curve(out, 'eval/loss').at(-1)),
      digests: nodes(name).map((out) => [10, steps].map((step) => runs.digest(out, step))),
    });
  };
  const alone = await runs.train('alone', { data: N }, { limit: 60 });
  const expected = runs.curve('alone', 'train/loss');
  emit({ figure: 'several hosts', name: 'one process', mesh: { data: N }, ...alone, losses: expected });
  const plain = await together('plain', { data: N });
  report('plain', { data: N }, plain, expected);
  if (plain.some((r) => r.ending !== 0)) return;
  const parts = [...(await together('killed', { data: N }, { killAt: 10 }))];
  parts.push(...(await together('killed', { data: N }, { resume: true })));
  report('killed', { data: N }, parts, expected);
  report('divided', { fsdp: N }, await together('divided', { fsdp: N }), expected);
}

const STAGES = { killed, repeated, hosts };
for (const stage of positionals) {
  if (STAGES[stage] === undefined)
    throw new Error(`unknown stage ${stage}; there are ${Object.keys(STAGES).join(', ')}`);
  await STAGES[stage]();
}
