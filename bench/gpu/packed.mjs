// Rows of several documents against rows of one: the same model, batch and process, rounds of steps in turn; one JSON line a case,
// with the kernels that take the most time in either, milliseconds a step, where the plugin has a profiler.
// usage: node packed.mjs HOME CASE... [--platform cuda] [--precision bf16] [--steps 10] [--rounds 3] [--tuning FILE]
// HOME holds the built package (dist/). Cases are in cases.mjs. --tuning takes what packed-kernels.mjs --choose wrote, in place of
// the shipped cut of the attention kernels; lines say so.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CASES, OPTIMIZER, batches, tokenStream } from './cases.mjs';

const home = resolve(process.argv[2]);
const load = (path) => import(join(home, 'dist', path));
// One after another: Node 20 does not link overlapping dynamic imports reliably.
const { createXlaEngine, deviceUse } = await load('engine/index.js');
const model = await load('model/index.js');
const train = await load('train/index.js');
const { ATTENTION_TUNINGS } = await load('engine/xla/kernels/window-tuning.js');
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
/** Kernels that are listed. */
const KERNELS = 24;
const rounded = (x) => Number(x.toFixed(3));

const { values: flags, positionals } = parseArgs({
  args: process.argv.slice(3),
  allowPositionals: true,
  options: {
    platform: { type: 'string', default: 'cuda' },
    precision: { type: 'string', default: 'bf16' },
    steps: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    tuning: { type: 'string' },
  },
});
const tuning = flags.tuning === undefined ? undefined : JSON.parse(readFileSync(flags.tuning, 'utf8'));
Object.assign(ATTENTION_TUNINGS, tuning);
const engine = createXlaEngine({ platform: flags.platform });
try {
  for (const name of positionals) await measurePair(name);
} finally {
  await engine.dispose();
}

/** A trainer with its batches; `go` starts a step. */
async function contestant(shape, packed) {
  const config = model.resolveModelConfig(shape.model);
  const { batchSize, seqLen } = shape;
  const tokens = tokenStream(config.vocabSize, 4 * batchSize * (seqLen + 1));
  const drawn = batches({ ...shape, packed }, tokens);
  const trainer = await train.Trainer.create({
    ...{ engine, model: config, parameters: model.initialParameters(config, 1), precision: flags.precision },
    config: { ...OPTIMIZER, batchSize, seqLen, accumulate: 1, remat: false },
    hasSegments: packed,
  });
  let t = 0;
  const go = () => trainer.start(drawn[t % drawn.length], OPTIMIZER.lr, ++t);
  const compileSeconds = rounded(engine.lastCompile.seconds);
  for (let i = 0; i < 3; i++) await (await go()).result();
  return { trainer, go, ms: [], loss: 0, compileSeconds };
}

/** Milliseconds a step by kernel. The marker is a kernel of the loss, which runs once a step. */
async function kernelsOf({ go }) {
  const profiler = engine.profile();
  let spans = [];
  try {
    for (let i = 0; i < 5; i++) await (await go()).result();
  } finally {
    spans = profiler.stop();
  }
  const { kernels, idle } = deviceUse(spans, /^(wrapped_)?cross_entropy/);
  return { idle: rounded(idle), byName: new Map(kernels.map(({ name, ms }) => [name, ms])) };
}

/** The longest kernels of two steps side by side. */
async function compareKernels(alone, packed) {
  if (flags.platform !== 'cuda') return {};
  try {
    const [a, p] = [await kernelsOf(alone), await kernelsOf(packed)];
    const names = [...new Set([...a.byName.keys(), ...p.byName.keys()])];
    const rows = names.map((name) => [name.slice(0, 60), a.byName.get(name) ?? 0, p.byName.get(name) ?? 0]);
    const longest = rows.sort((x, y) => Math.max(y[1], y[2]) - Math.max(x[1], x[2])).slice(0, KERNELS);
    return { idle: [a.idle, p.idle], kernels: longest.map(([n, ...ms]) => [n, ...ms.map(rounded)]) };
  } catch (error) {
    return { kernels: String(error.message).slice(0, 300) };
  }
}

async function measurePair(name) {
  const shape = CASES[name];
  const steps = Number(flags.steps);
  const all = [];
  try {
    for (const packed of [false, true]) all.push(await contestant(shape, packed));
    for (let round = 0; round < Number(flags.rounds); round++) {
      for (const one of all) {
        const begin = performance.now();
        let last;
        for (let i = 0; i < steps; i++) last = await one.go();
        one.loss = (await last.result()).loss;
        one.ms.push((performance.now() - begin) / steps);
      }
    }
    const [alone, packed] = all.map(({ ms, loss, compileSeconds }) => {
      const best = Math.min(...ms);
      const tokensPerSecond = Math.round((shape.batchSize * shape.seqLen) / (best / 1000));
      return { tokensPerSecond, msPerStep: rounded(best), allMs: ms.map(rounded), compileSeconds, loss };
    });
    const kernels = await compareKernels(all[0], all[1]);
    const ratio = rounded(packed.tokensPerSecond / alone.tokensPerSecond);
    emit({
      system: 'longsight',
      case: name,
      packedOverUnpacked: ratio,
      alone,
      packed,
      ...(tuning && { tuning }),
      precision: flags.precision,
      device: engine.devices[0].kind,
      ...kernels,
    });
  } catch (error) {
    emit({ system: 'longsight', case: name, error: String(error.message).slice(0, 600) });
  } finally {
    for (const { trainer } of all) await trainer.dispose();
  }
}
