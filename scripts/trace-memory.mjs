// Peak memory of tracing attention rows of a 15 M hybrid (preset s1-swa-128) with random weights, on the CPU engine.
//
//     npm run build && node scripts/trace-memory.mjs 16384 [threads]
//
// Prints one JSON object. Rows of all heads from the last token are read; nothing of size T x T is ever held.
import { AttentionRows, probabilitiesOf } from '../dist/analysis/index.js';
import { createEngine } from '../dist/engine/index.js';
import { loadModel } from '../dist/loaded/index.js';
import { initialParameters, resolveModelConfig } from '../dist/model/index.js';

const [length = 16384, threads = 1] = process.argv.slice(2).map(Number);
const model = resolveModelConfig({ preset: 's1-swa-128' });
const engine = createEngine('onnx', { threads });
const tokens = Int32Array.from({ length }, (_, i) => ((i * 2654435761) % model.vocabSize) >>> 0);
const start = performance.now();
const loaded = loadModel(engine, model, initialParameters(model, 1));
const rows = await AttentionRows.create(loaded, [{ tokens, positions: [length - 1] }]);
let [heads, mass] = [0, 0];
await rows.read(loaded.tensors, (row) => {
  heads += 1;
  mass += probabilitiesOf(row).reduce((a, b) => a + b, 0);
});
console.log(
  JSON.stringify({
    tokens: length,
    heads,
    meanMass: mass / heads,
    seconds: Math.round(performance.now() - start) / 1000,
    peakRssMiB: Math.round(process.resourceUsage().maxRSS / 1024),
    ifSquareMiB: Math.round((model.numHeads * length * length * 4) / 2 ** 20),
  }),
);
await engine.dispose();
