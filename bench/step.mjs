// One measurement of `npm run bench` in a process of its own: train steps of the benchmark hybrid on the onnx engine.
// Prints one JSON line. Run by bench/run.mjs; options as KEY=VALUE: batch, seq, steps, threads, layers,
// optimizer, profile (a file prefix).
import { createOnnxEngine } from '../dist/engine/onnx/engine.js';
import { TrainConfigSchema, Trainer } from '../dist/train/index.js';
import { DEFAULT_LAYERS, benchBatch, benchModel, benchParameters } from './model.mjs';

const options = Object.fromEntries(process.argv.slice(2).map((arg) => arg.split('=')));
const [batchSize, seqLen, steps, threads] = ['batch', 'seq', 'steps', 'threads'].map((key) => Number(options[key]));
const WARM_UP = 3;
const model = benchModel(options.layers);
const engine = createOnnxEngine({ threads, ...(options.profile ? { profile: options.profile } : {}) });
const config = TrainConfigSchema.parse({
  seqLen,
  batchSize,
  steps: steps + WARM_UP,
  lr: 3e-4,
  beta2: 0.95,
  weightDecay: 0.1,
  optimizer: options.optimizer ?? 'adamw',
});
const compileStart = performance.now();
const trainer = await Trainer.create({ engine, model, config, parameters: benchParameters(model) });
const compileMs = performance.now() - compileStart;
const batch = benchBatch(batchSize, seqLen);
const [stepMs, cpuMs, losses] = [[], [], []];
const cpuNow = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e3;
for (let step = 1; step <= steps + WARM_UP; step++) {
  const [start, cpuStart] = [performance.now(), cpuNow()];
  const { loss } = await trainer.step(batch, config.lr, step);
  losses.push(loss);
  if (step <= WARM_UP) continue;
  stepMs.push(Number((performance.now() - start).toFixed(2)));
  cpuMs.push(Math.round(cpuNow() - cpuStart));
}
await trainer.dispose();
console.log(
  JSON.stringify({
    peer: 'longsight',
    library: engine.info.library,
    batch: batchSize,
    seq: seqLen,
    threads,
    layers: options.layers ?? DEFAULT_LAYERS,
    optimizer: config.optimizer,
    stepMs,
    cpuMs,
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
    compileMs: Math.round(compileMs),
    firstLoss: losses[0],
    lastLoss: losses.at(-1),
  }),
);
await engine.dispose();
