// Several GPUs of one host against one of them; one JSON line per figure on standard output. multi.sh runs it.
// usage: node multi.mjs HOME STAGE... [--devices N] [--platform cuda] [--tiny] [--speed]
// HOME holds the built package (dist/). Stages: links, scale-main, scale-s5, options-main, large, deterministic.
// Batches grow with the devices (weak scaling): the batch of cases.mjs on each. Weights are drawn from one table of normal numbers
// and scaled by 0.02, norms are 1: the same on every mesh, and quick to make.
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CASES, OPTIMIZER, batches, tokenStream } from './cases.mjs';

const home = resolve(process.argv[2]);
const load = (layer) => import(join(home, 'dist', layer, 'index.js'));
// One after another: Node 20 does not link overlapping dynamic imports reliably.
const core = await load('core');
const graph = await load('graph');
const { createXlaEngine } = await load('engine');
const model = await load('model');
const { Trainer } = await load('train');
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const { values: flags, positionals: stages } = parseArgs({
  args: process.argv.slice(3),
  allowPositionals: true,
  options: {
    devices: { type: 'string', default: '2' },
    platform: { type: 'string', default: 'cuda' },
    precision: { type: 'string', default: 'bf16' },
    /** Tiny models and short measurements: to try the script where there is no GPU. */
    tiny: { type: 'boolean', default: false },
    /** Leaves out the losses of one device with the batch of all, and the time that they take. */
    speed: { type: 'boolean', default: false },
  },
});
const N = Number(flags.devices);
const LOSS_STEPS = 20;
/** What a mesh of so many devices should reach against one. */
const BARS = { 2: 1.9, 4: 3.7, 8: 7.2 };

/** data, fsdp, and data x fsdp where both can be more than 1. */
const MESHES = [{ data: N }, { fsdp: N }, ...(N % 2 === 0 && N > 2 ? [{ data: N / 2, fsdp: 2 }] : [])];

/** Options that let collectives run beside the computation, or join small ones. */
const OVERLAP = { xla_gpu_enable_latency_hiding_scheduler: true };
const COMBINED = {
  ...OVERLAP,
  xla_gpu_all_gather_combine_threshold_bytes: 2 ** 27,
  xla_gpu_all_reduce_combine_threshold_bytes: 2 ** 27,
  xla_gpu_reduce_scatter_combine_threshold_bytes: 2 ** 27,
};

const engineOn = (mesh, { xlaOptions = {}, deterministic = false } = {}) =>
  createXlaEngine({
    ...{ platform: flags.platform, mesh, xlaOptions, deterministic },
    clientOptions: flags.platform === 'cpu' ? { cpu_device_count: N } : {},
  });
const sizeOfMesh = (mesh) => Object.values(mesh).reduce((a, b) => a * b, 1);
const nameOf = (mesh) =>
  Object.entries(mesh)
    .map(([axis, n]) => `${axis}=${n}`)
    .join(' ') || 'one device';
const round = (x, digits = 3) => (x === null ? null : Number(x.toFixed(digits)));

/** A case as it is measured: its model, the batch of one device, the longest batch that one device is given for losses. */
function caseOf(name) {
  const shape = CASES[flags.tiny ? 'tiny' : name];
  const config = model.resolveModelConfig(shape.model);
  return { name, config, batch: shape.batchSize, seqLen: shape.seqLen, lossBatch: 2 * shape.batchSize };
}

const TABLE_SIZE = 2 ** 21 + 1;
let table;
function parametersOf(config) {
  const normals = core.Rng.of(1, 'table');
  table ??= Float32Array.from({ length: TABLE_SIZE }, () => 0.02 * normals.normal());
  const rng = core.Rng.of(1, 'places in the table');
  return new Map(
    model.parameterSpecs(config).map(({ name, shape }) => {
      const data = new Float32Array(core.sizeOf(shape));
      if (shape.length < 2) return [name, core.hostTensor('f32', shape, data.fill(1))];
      for (let at = 0, from = rng.int(TABLE_SIZE); at < data.length; from = 0) {
        const part = table.subarray(from, from + data.length - at);
        data.set(part, at);
        at += part.length;
      }
      return [name, core.hostTensor('f32', shape, data)];
    }),
  );
}

/** Trains a case on a mesh: `action(trainer helpers)`; everything is given back afterwards. */
async function withTrainer({ config, seqLen }, mesh, { batchSize, accumulate = 1, ...options }, action) {
  const engine = engineOn(mesh, options);
  try {
    const step = { ...OPTIMIZER, batchSize, seqLen, accumulate, remat: false };
    const data = batches({ batchSize, seqLen }, tokenStream(config.vocabSize, 4 * batchSize * (seqLen + 1)));
    const trainer = await Trainer.create({
      ...{ engine, model: config, config: step, parameters: parametersOf(config) },
      ...{ precision: flags.precision, moments: 'separate' },
    });
    const compile = engine.lastCompile;
    let t = 0;
    const go = () => trainer.start(data[t % data.length], OPTIMIZER.lr, ++t);
    const found = await action({ engine, trainer, go, compile });
    await trainer.dispose();
    return found;
  } finally {
    await engine.dispose();
  }
}

/** Losses of the first steps, read at the end. */
async function losses(go, steps = LOSS_STEPS) {
  const pending = [];
  for (let i = 0; i < steps; i++) pending.push(await go());
  const found = [];
  for (const p of pending) found.push((await p.result()).loss);
  return found;
}

/** Milliseconds a step: the best of rounds, after warming up. */
async function speed(go) {
  const [rounds, steps] = flags.tiny ? [2, 3] : [3, 8];
  await losses(go, 3);
  const all = [];
  for (let round = 0; round < rounds; round++) {
    const begin = performance.now();
    await losses(go, steps);
    all.push((performance.now() - begin) / steps);
  }
  return { ms: Math.min(...all), allMs: all.map((x) => round(x)) };
}

const peaks = (engine) => engine.devices.map((_, i) => engine.memoryStats(i)?.peakBytesInUse ?? null);

/** Time of one collective over all devices, from the time of a program that does little else. */
async function collective(kind, bytes) {
  const engine = engineOn({ data: N });
  const L = graph;
  try {
    const rows = bytes / 4 / 1024;
    const x = L.input('x', 'f32', kind === 'all-reduce' ? [N, rows, 1024] : [rows, 1024]);
    const y = kind === 'all-reduce' ? L.reduceSum(x, [0]) : L.add(x, 1);
    const program = await engine.compile(L.makeGraph({ x }, { y }), { shardings: { x: [['data']] } });
    const host = core.hostTensor('f32', x.shape, new Float32Array(core.sizeOf(x.shape)).fill(1.5));
    const input = engine.upload(host, [['data']]);
    const run = async (count) => {
      let last;
      for (let i = 0; i < count; i++) {
        if (last) engine.release(last);
        last = (await program.run({ x: input })).y;
      }
      const probe = await one.run({ x: last });
      await engine.download(probe.y);
      engine.release(last);
    };
    const z = L.input('x', 'f32', y.shape);
    const one = await engine.compile(L.makeGraph({ x: z }, { y: L.reduceMax(z) }));
    await run(3);
    const [few, many] = flags.tiny ? [1, 3] : [4, 24];
    const timed = async (count) => {
      const begin = performance.now();
      await run(count);
      return performance.now() - begin;
    };
    const short = await timed(few);
    const ms = ((await timed(many)) - short) / (many - few);
    return { ms, sent: engine.collectives(program) };
  } finally {
    await engine.dispose();
  }
}

/** What a ring moves through each device's link, as a share of the bytes of the result. */
const RING = { 'all-reduce': 2 * ((N - 1) / N), 'all-gather': (N - 1) / N, 'reduce-scatter': N - 1 };
let bandwidth = null;

async function links() {
  const bytes = flags.tiny ? 2 ** 20 : 2 ** 28;
  const line = { figure: 'links', devices: N, bytes };
  for (const kind of ['all-reduce', 'all-gather']) {
    const { ms, sent } = await collective(kind, bytes);
    const rate = (RING[kind] * bytes) / (ms / 1000);
    if (kind === 'all-reduce') bandwidth = rate;
    Object.assign(line, {
      [`${kind} ms`]: round(ms),
      [`${kind} GB/s a link`]: round(rate / 1e9, 1),
      [`${kind} sent`]: sent,
    });
  }
  emit(line);
}

/** Milliseconds that a step's collectives would take alone at the measured bandwidth. */
const aloneMs = (sent) =>
  bandwidth === null
    ? null
    : sent.reduce((sum, { op, bytes }) => sum + ((RING[op] ?? 1) * bytes) / bandwidth, 0) * 1000;

const largest = (a, b) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);

/** Tokens a second on every mesh against one device, memory, collectives, losses against one device's. */
async function scale(name) {
  const which = caseOf(name);
  const { batch, seqLen, lossBatch } = which;
  const one = await withTrainer(which, {}, { batchSize: batch }, async ({ engine, go, compile }) => ({
    ...(await speed(go)),
    ...{ compile, peak: peaks(engine) },
  }));
  const perSecond = (count, ms) => Math.round((count * batch * seqLen) / (ms / 1000));
  const base = { case: name, precision: flags.precision, batchPerDevice: batch, seqLen };
  emit({
    ...{ figure: 'scaling', ...base, mesh: nameOf({}), devices: 1, tokensPerSecond: perSecond(1, one.ms) },
    ...{
      msPerStep: round(one.ms),
      allMs: one.allMs,
      compileSeconds: round(one.compile.seconds, 1),
      peakBytes: one.peak,
    },
  });
  const accumulate = Math.ceil((N * batch) / lossBatch);
  const alone = () =>
    withTrainer(which, {}, { batchSize: N * batch, accumulate }, ({ go }) => losses(go)).catch((error) => {
      emit({ figure: 'losses', ...base, mesh: nameOf({}), error: String(error.message).slice(0, 400) });
      return null;
    });
  const expected = flags.speed ? null : await alone();
  const again = expected && (await alone());
  if (again) emit({ figure: 'losses', ...base, mesh: nameOf({}), losses: expected, again: largest(expected, again) });
  for (const mesh of MESHES) {
    try {
      await withTrainer(which, mesh, { batchSize: N * batch }, async ({ engine, trainer, go, compile }) => {
        const found = await losses(go);
        const { ms, allMs } = await speed(go);
        const sent = engine.collectives(trainer.program);
        const ratio = (N * one.ms) / ms;
        emit({
          ...{ figure: 'scaling', ...base, mesh: nameOf(mesh), devices: N, tokensPerSecond: perSecond(N, ms) },
          ...{ msPerStep: round(ms), allMs, ratio: round(ratio), bar: BARS[N] ?? null, met: ratio >= (BARS[N] ?? 0) },
          ...{ compileSeconds: round(compile.seconds, 1), peakBytes: peaks(engine), collectives: sent },
          ...{ collectivesAloneMs: round(aloneMs(sent)), collectivesExposedMs: round(ms - one.ms) },
          ...{ losses: found, lossDifference: expected && largest(found, expected) },
        });
      });
    } catch (error) {
      emit({ figure: 'scaling', ...base, mesh: nameOf(mesh), devices: N, error: String(error.message).slice(0, 600) });
    }
  }
}

/** The same mesh under several XLA options. */
async function options(name) {
  const which = caseOf(name);
  const variants = { plain: {}, overlap: OVERLAP, 'overlap, combined': COMBINED };
  for (const mesh of MESHES.slice(0, 2)) {
    for (const [label, xlaOptions] of Object.entries(flags.platform === 'cuda' ? variants : { plain: {} })) {
      const line = { figure: 'options', case: name, mesh: nameOf(mesh), options: label };
      try {
        const found = await withTrainer(
          ...[which, mesh, { batchSize: N * which.batch, xlaOptions }],
          async ({ engine, go }) => ({ ...(await speed(go)), peakBytes: peaks(engine) }),
        );
        emit({ ...line, msPerStep: round(found.ms), allMs: found.allMs, peakBytes: found.peakBytes });
      } catch (error) {
        emit({ ...line, error: String(error.message).slice(0, 300) });
      }
    }
  }
}

/** A batch that does not fit one device: the error there, and training under fsdp. */
async function large() {
  const which = caseOf('s5');
  const per = flags.tiny ? which.batch : 3;
  for (const mesh of [{}, { fsdp: N }]) {
    const devices = sizeOfMesh(mesh);
    const line = { figure: 'large', case: 's5', mesh: nameOf(mesh), devices, batchSize: per * N, seqLen: which.seqLen };
    const begin = performance.now();
    try {
      const found = await withTrainer(which, mesh, { batchSize: per * N }, async ({ engine, go }) => {
        const first = await losses(go, 2);
        const start = performance.now();
        const more = await losses(go, 4);
        const ms = (performance.now() - start) / 4;
        return { losses: [...first, ...more], msPerStep: round(ms), peakBytes: peaks(engine) };
      });
      emit({ ...line, ...found, tokensPerSecond: Math.round((per * N * which.seqLen) / (found.msPerStep / 1000)) });
    } catch (error) {
      emit({
        ...line,
        error: String(error.message).slice(0, 700),
        seconds: round((performance.now() - begin) / 1000, 1),
      });
    }
  }
}

/** What steps that repeat to the bit cost on one device, and whether they do: losses and all parameters after 20 steps. */
async function deterministic() {
  const which = caseOf('main');
  const names = model.parameterSpecs(which.config).map((spec) => spec.name);
  for (const [label, options] of [
    ['default', {}],
    // As a compile option tuning could fall on other kernels the next time; within one compilation cache it does not.
    ['deterministic, tuned', { deterministic: true, xlaOptions: { xla_gpu_autotune_level: 4 } }],
    ['deterministic', { deterministic: true }],
  ]) {
    const line = { figure: 'deterministic', case: 'main', options: label };
    try {
      const runs = [];
      let found = null;
      for (let i = 0; i < 2; i++) {
        await withTrainer(which, {}, { batchSize: which.batch, ...options }, async ({ trainer, go, compile }) => {
          const hash = createHash('sha256');
          const all = await losses(go);
          for (const name of names) hash.update((await trainer.tensors().parameter(name)).data);
          runs.push({ losses: all, digest: hash.digest('hex').slice(0, 16) });
          if (i === 0) found = { compileSeconds: round(compile.seconds, 1), ...(await speed(go)) };
        });
      }
      const [first, second] = runs;
      emit({
        ...{ ...line, sameLosses: first.losses.every((x, i) => Object.is(x, second.losses[i])) },
        ...{ sameParameters: first.digest === second.digest, digests: runs.map((r) => r.digest) },
        ...{ largestDifference: largest(first.losses, second.losses), msPerStep: round(found.ms), ...found },
      });
    } catch (error) {
      emit({ ...line, error: String(error.message).slice(0, 300) });
    }
  }
}

const STAGES = {
  links,
  'scale-main': () => scale('main'),
  'scale-s5': () => scale('s5'),
  'options-main': () => options('main'),
  large,
  deterministic,
};
for (const stage of stages) {
  if (STAGES[stage] === undefined)
    throw new Error(`unknown stage ${stage}; there are ${Object.keys(STAGES).join(', ')}`);
  await STAGES[stage]();
}
