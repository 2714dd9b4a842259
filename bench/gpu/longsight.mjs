// Measures training steps of Longsight on a PJRT device; one JSON line per measurement on standard output.
// usage: node longsight.mjs HOME prepare OUT CASE          writes weights.safetensors, tokens.i32 and config.json for the peers
//        node longsight.mjs HOME train CASE [--in DIR] [--losses N] [--platform cuda] [--precision bf16] [--label TEXT] ...
//        node longsight.mjs HOME idle CASE [--spans FILE]      the loop of `longsight train` under the profiler of the plugin
// HOME holds the built package (dist/). Cases are in cases.mjs.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CASES, OPTIMIZER, batches, tokenStream } from './cases.mjs';

/** Dense bf16 peak of an H100 SXM (and H200), FLOP/s: NVIDIA H100 data sheet, without sparsity. */
const PEAK = 989.4e12;
/** Steps before a recording, and recorded: with a line of metrics among them, for which the loop waits for the device. */
const [WARM, RECORDED] = [12, 20];

const home = resolve(process.argv[2]);
const load = (layer) => import(join(home, 'dist', layer, 'index.js'));
// One after another: Node 20 does not link overlapping dynamic imports reliably.
const { createXlaEngine, deviceUse } = await load('engine');
const model = await load('model');
const checkpoint = await load('checkpoint');
const data = await load('data');
const train = await load('train');
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const { values: flags, positionals } = parseArgs({
  args: process.argv.slice(3),
  allowPositionals: true,
  options: {
    in: { type: 'string' },
    losses: { type: 'string', default: '0' },
    platform: { type: 'string', default: 'cuda' },
    precision: { type: 'string', default: 'bf16' },
    moments: { type: 'string' },
    label: { type: 'string', default: 'longsight' },
    steps: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    xla: { type: 'string', multiple: true, default: [] },
    remat: { type: 'boolean', default: false },
    'no-cudnn': { type: 'boolean', default: false },
    spans: { type: 'string' },
  },
});
const [action, ...rest] = positionals;

if (action === 'prepare') prepare(rest[0], rest[1]);
else if (action === 'train') for (const name of rest) await measure(name);
else if (action === 'idle') for (const name of rest) await measureIdle(name);
else throw new Error(`unknown action ${action}`);

function prepare(out, name) {
  const shape = CASES[name];
  const config = model.resolveModelConfig(shape.model);
  mkdirSync(out, { recursive: true });
  checkpoint.writeSafetensors(join(out, 'weights.safetensors'), Object.fromEntries(model.initialParameters(config, 1)));
  const flops = model.modelCost(config, shape.seqLen).trainFlops;
  const steps = shape.lossSteps ?? 8;
  const tokens = tokenStream(config.vocabSize, steps * shape.batchSize * (shape.seqLen + 1));
  writeFileSync(join(out, 'tokens.i32'), new Uint8Array(tokens.buffer));
  if (shape.packed) {
    const segments = batches(shape, tokens).map((batch) => new Uint8Array(batch.segments.buffer));
    writeFileSync(join(out, 'segments.i32'), Buffer.concat(segments));
  }
  const summary = {
    ...config,
    optimizer: OPTIMIZER,
    batchSize: shape.batchSize,
    seqLen: shape.seqLen,
    flopsPerToken: flops,
  };
  writeFileSync(join(out, 'config.json'), JSON.stringify({ ...summary, peak: PEAK, steps }));
}

function xlaOptions(list) {
  const value = (text) =>
    text === 'true' ? true : text === 'false' ? false : Number.isNaN(Number(text)) ? text : Number(text);
  return Object.fromEntries(list.map((o) => [o.slice(0, o.indexOf('=')), value(o.slice(o.indexOf('=') + 1))]));
}

function startEngine() {
  return createXlaEngine({
    platform: flags.platform,
    xlaOptions: xlaOptions(flags.xla),
    ...(flags['no-cudnn'] ? { cudnn: false } : {}),
  });
}

/** What the engine would choose unless told otherwise. */
function stepOptions() {
  return {
    precision: flags.precision,
    ...(flags.moments === undefined ? {} : { moments: flags.moments }),
  };
}

async function measure(name) {
  const shape = CASES[name];
  const config = model.resolveModelConfig(shape.model);
  const { batchSize, seqLen } = shape;
  const step = { ...OPTIMIZER, batchSize, seqLen, accumulate: 1, remat: flags.remat || (shape.remat ?? false) };
  const engine = startEngine();
  try {
    const parameters = flags.in
      ? new Map(Object.entries(checkpoint.readSafetensors(join(flags.in, 'weights.safetensors'))))
      : model.initialParameters(config, 1);
    const stored = flags.in ? readFileSync(join(flags.in, 'tokens.i32')) : null;
    const tokens = stored
      ? new Int32Array(stored.buffer, stored.byteOffset, stored.length / 4)
      : tokenStream(config.vocabSize, 4 * batchSize * (seqLen + 1));
    const drawn = batches(shape, tokens);
    const trainer = await train.Trainer.create({
      ...{ engine, model: config, config: step, parameters, ...stepOptions() },
      hasSegments: shape.packed ?? false,
    });
    const compile = engine.lastCompile;
    const losses = [];
    const wanted = Number(flags.losses);
    let t = 0;
    const go = () => trainer.start(drawn[t % drawn.length], OPTIMIZER.lr, ++t);
    // The loss curve first, from the initial weights: numbers are read only every 20 steps.
    for (let pending = []; t < wanted;) {
      pending.push(await go());
      if (pending.length === 20 || t === wanted) {
        for (const p of pending) losses.push((await p.result()).loss);
        pending = [];
      }
    }
    for (let i = 0; i < 3; i++) await (await go()).result();
    const rounds = [];
    const steps = Number(flags.steps);
    for (let round = 0; round < Number(flags.rounds); round++) {
      const begin = performance.now();
      let last;
      let dispatch = 0;
      for (let i = 0; i < steps; i++) {
        const before = performance.now();
        last = await go();
        dispatch += performance.now() - before;
      }
      const { loss } = await last.result();
      rounds.push({ ms: (performance.now() - begin) / steps, dispatchMs: dispatch / steps, loss });
    }
    const begin = performance.now();
    for (let i = 0; i < steps; i++) await (await go()).result();
    const synchronousMs = (performance.now() - begin) / steps;
    const best = rounds.reduce((a, b) => (a.ms <= b.ms ? a : b));
    const perSecond = (batchSize * seqLen) / (best.ms / 1000);
    const { trainFlops: flops, parameters: count } = model.modelCost(config, seqLen);
    emit({
      system: flags.label,
      case: name,
      nonEmbedding: count.nonEmbedding,
      tokensPerSecond: Math.round(perSecond),
      msPerStep: Number(best.ms.toFixed(3)),
      allMs: rounds.map((r) => Number(r.ms.toFixed(3))),
      dispatchMs: Number(best.dispatchMs.toFixed(3)),
      synchronousMs: Number(synchronousMs.toFixed(3)),
      mfu: Number(((perSecond * flops) / PEAK).toFixed(4)),
      compileSeconds: Number(compile.seconds.toFixed(2)),
      compiledFromCache: compile.cached,
      peakBytes: engine.memoryStats()?.peakBytesInUse ?? null,
      loss: best.loss,
      device: engine.devices[0].kind,
      precision: flags.precision,
      options: engine.info.reason.split('; ').slice(2),
      ...(wanted > 0 ? { losses } : {}),
    });
    await trainer.dispose();
  } catch (error) {
    emit({ system: flags.label, case: name, error: String(error.message).slice(0, 600) });
  } finally {
    await engine.dispose();
  }
}

/**
 * Trains as `longsight train` does (batches drawn and uploaded every step, steps started ahead of their numbers) and records what
 * the device runs meanwhile. The marker is a kernel of the loss, which runs once a step.
 */
async function measureIdle(name) {
  const { model: shape, batchSize, seqLen } = CASES[name];
  const config = model.resolveModelConfig(shape);
  const sixteenth = config.vocabSize / 16;
  const recall = { kind: 'recall', numKeys: 4 * sixteenth, numValues: 4 * sixteenth, numFillers: 8 * sixteenth };
  const steps = WARM + RECORDED + 8;
  const schedule = { seqLen, batchSize, steps, evalEvery: 0, checkpointEvery: 0, precision: flags.precision };
  const run = {
    seed: 1,
    model: config,
    data: data.DataConfigSchema.parse(recall),
    train: train.TrainConfigSchema.parse({ ...OPTIMIZER, ...schedule }),
  };
  const engine = startEngine();
  const dir = join(mkdtempSync(join(tmpdir(), 'longsight-idle-')), 'run');
  let [profiler, spans, tokPerSec] = [null, [], 0];
  const progress = (p) => {
    tokPerSec = p.tokPerSec;
    if (p.step === WARM) profiler = engine.profile();
    if (p.step === WARM + RECORDED) spans = profiler.stop();
  };
  try {
    await train.trainRun({ dir, run, engine, hooks: { progress } });
    const { kernels, ...use } = deviceUse(spans, /^(wrapped_)?cross_entropy/);
    const rounded = kernels.map((k) => ({ ...k, ms: Number(k.ms.toFixed(4)) }));
    emit({
      system: 'longsight train',
      case: name,
      ...use,
      tokPerSec,
      device: engine.devices[0].kind,
      kernels: rounded,
    });
  } catch (error) {
    const seen = [...new Set(spans.map((s) => s.name))].slice(0, 40);
    emit({
      system: 'longsight train',
      case: name,
      error: String(error.message).slice(0, 600),
      spans: spans.length,
      seen,
    });
  } finally {
    if (flags.spans) writeFileSync(flags.spans, spans.map((s) => JSON.stringify(s)).join('\n'));
    await engine.dispose();
    rmSync(dir, { recursive: true, force: true });
  }
}
