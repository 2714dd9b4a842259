// Two designs of one size over two seeds; both see the same data at each seed: node compare-designs.js [STEPS]
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngine, evaluateCheckpoint, findCheckpoint, performRun, resolveRunConfig } from 'longsight';

const [steps = '300'] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'longsight-'));
const engine = createEngine('auto');

/** The held-out loss of one design after training, in nats per token. */
async function lossOf(layers: string, seed: number): Promise<number> {
  const run = resolveRunConfig({
    seed,
    model: { hiddenSize: 64, numHeads: 4, numLayers: 4, layers },
    data: { kind: 'recall' },
    train: { steps: Number(steps), seqLen: 128, batchSize: 16, lr: 4e-3, warmupSteps: 0 },
  });
  const dir = join(folder, `${layers.replaceAll(/\W+/g, '-')}-${seed}`);
  await performRun({ dir, run, engine, resume: 'no' });
  const { loss } = await evaluateCheckpoint(findCheckpoint(dir), { run, engine });
  if (loss === null) throw new Error('the run measures no loss');
  return loss;
}

// What a seed makes easy or hard for both falls out of the difference. A study adds intervals and verdicts (study.yaml).
for (const seed of [1, 2]) {
  const [small, large] = [await lossOf('swa:8 full', seed), await lossOf('swa:64 full', seed)];
  console.log(`seed ${seed}: windows of 8 keys ${small}, of 64 keys ${large}, difference ${large - small}`);
}
await engine.dispose();
