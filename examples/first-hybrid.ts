// A first hybrid: two layers with windows of 8 keys between two with full attention, trained on synthetic recall.
// node first-hybrid.js [STEPS]; training stops after 300 steps unless told.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngine, evaluateCheckpoint, findCheckpoint, performRun, resolveRunConfig } from 'longsight';

const [steps = '300'] = process.argv.slice(2);
const run = resolveRunConfig({
  // The pattern repeats until every layer has its kind; `:nope` leaves positions out.
  model: { hiddenSize: 64, numHeads: 4, numLayers: 4, layers: 'swa:8 full:nope' },
  data: { kind: 'recall' },
  train: { steps: Number(steps), seqLen: 128, batchSize: 16, lr: 4e-3, warmupSteps: 0 },
  eval: { needle: { lengths: [64, 128], depths: [0, 0.5, 1] } },
});
const engine = createEngine('auto');
const dir = join(mkdtempSync(join(tmpdir(), 'longsight-')), 'run');
await performRun({ dir, run, engine, resume: 'no' });

const { loss, needle } = await evaluateCheckpoint(findCheckpoint(dir), { run, engine });
console.log('held-out loss, in nats per token:', loss);
// How probable the right value is, 0 to 1, by the length of the context; depths stand from the start to its end.
for (const [i, length] of (needle?.lengths ?? []).entries())
  console.log(`needles in ${length} tokens:`, needle?.probability[i]?.join(' '));
console.log('run folder:', dir);
await engine.dispose();
