// One measurement of `npm run bench` in a process of its own: train steps of the benchmark hybrid on the onnx engine.
// Prints one JSON line. Run by bench/run.mjs; options as KEY=VALUE: batch, seq, steps, threads, layers.
import { createEngine } from '../dist/engine/index.js';
import { initialParameters, resolveModelConfig } from '../dist/model/index.js';
import { TrainConfigSchema, Trainer } from '../dist/train/index.js';
import { Rng } from '../dist/core/index.js';

const options = Object.fromEntries(process.argv.slice(2).map((arg) => arg.split('=')));
const [batchSize, seqLen, steps, threads] = ['batch', 'seq', 'steps', 'threads'].map((key) => Number(options[key]));
const WARM_UP = 3;
const model = resolveModelConfig({
  vocabSize: 512,
  hiddenSize: 256,
  numLayers: 4,
  layers: options.layers ?? '3*swa:64 full',
  numHeads: 4,
  intermediateSize: 688,
});
const engine = createEngine('onnx', { threads });
const config = TrainConfigSchema.parse({
  seqLen,
  batchSize,
  steps: steps + WARM_UP,
  lr: 3e-4,
  beta2: 0.95,
  weightDecay: 0.1,
});
const compileStart = performance.now();
const trainer = await Trainer.create({ engine, model, config, parameters: initialParameters(model, 1) });
const compileMs = performance.now() - compileStart;
const rng = Rng.of(1, 'bench');
const stream = Int32Array.from({ length: batchSize * seqLen + 1 }, () => rng.int(512));
const batch = {
  batchSize,
  seqLen,
  tokens: stream.slice(0, -1),
  targets: stream.slice(1),
  weights: new Float32Array(batchSize * seqLen).fill(1),
  segments: null,
};
const [stepMs, losses] = [[], []];
for (let step = 1; step <= steps + WARM_UP; step++) {
  const start = performance.now();
  const { loss } = await trainer.step(batch, config.lr, step);
  losses.push(loss);
  if (step > WARM_UP) stepMs.push(Number((performance.now() - start).toFixed(2)));
}
await trainer.dispose();
console.log(
  JSON.stringify({
    peer: 'longsight',
    library: engine.info.library,
    batch: batchSize,
    seq: seqLen,
    threads,
    layers: options.layers ?? '3*swa:64 full',
    stepMs,
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
    compileMs: Math.round(compileMs),
    firstLoss: losses[0],
    lastLoss: losses.at(-1),
  }),
);
await engine.dispose();
