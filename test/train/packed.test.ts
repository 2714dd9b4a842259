/** Training on packed documents: rows are computed as their documents would be alone, and runs resume bit for bit. */
import { writeFileSync } from 'node:fs';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { InterruptedError } from '../../src/core/index.js';
import { emptyBatch, prepareShards, type Batch } from '../../src/data/index.js';
import { createEngine, createReferenceEngine, type Engine } from '../../src/engine/index.js';
import { initialParameters } from '../../src/model/index.js';
import { Trainer, trainRun, type TrainRunOptions } from '../../src/train/index.js';
import { temporaryFolder, tinyRun } from './support.js';

const reference = createReferenceEngine();

/** Loss and gradient norm of one step from fresh parameters. */
async function firstStep(engine: Engine, layers: string, batch: Batch, accumulate = 1) {
  const { batchSize, seqLen } = batch;
  const { model, train } = tinyRun({ model: { layers }, train: { batchSize, seqLen, accumulate } });
  const trainer = await Trainer.create({
    ...{ engine, model, config: train, parameters: initialParameters(model, 1) },
    hasSegments: batch.segments !== null,
  });
  try {
    return await trainer.step(batch, 1e-3, 1);
  } finally {
    await trainer.dispose();
  }
}

/** Documents of 5, 8 and 3 tokens in one row, and the same a row each, filled up with tokens without weight. */
function packedAndAlone(): { packed: Batch; alone: Batch } {
  const lengths = [5, 8, 3];
  const [packed, alone] = [emptyBatch(2, 16, true), emptyBatch(6, 16)];
  let next = 1;
  for (let row = 0; row < 2; row++) {
    let at = 0;
    lengths.forEach((length, document) => {
      for (let t = 0; t < length; t++) {
        const token = (next = (next * 7 + 3) % 12);
        const weight = t === length - 1 ? 0 : 1;
        for (const [batch, place] of [
          [packed, row * 16 + at + t],
          [alone, (row * 3 + document) * 16 + t],
        ] as const) {
          batch.tokens[place] = token;
          batch.weights[place] = weight;
          if (t > 0) batch.targets[place - 1] = token;
        }
        (packed.segments as Int32Array)[row * 16 + at + t] = document;
      }
      at += length;
    });
  }
  return { packed, alone };
}

describe('a row of documents', () => {
  it.each(['full', 'swa:4 full:nope', 'full swa:6'])('trains %s as its documents a row each do', async (layers) => {
    const { packed, alone } = packedAndAlone();
    const expected = await firstStep(reference, layers, alone);
    const got = await firstStep(reference, layers, packed);
    expect(got.loss).toBeCloseTo(expected.loss, 5);
    expect(got.gradNorm).toBeCloseTo(expected.gradNorm, 5);
    const parts = await firstStep(reference, layers, packed, 2);
    expect(parts.loss).toBeCloseTo(expected.loss, 5);
    const engine = createEngine('onnx', { threads: 1 });
    const onnx = await firstStep(engine, layers, packed);
    await engine.dispose();
    expect(onnx.loss).toBeCloseTo(expected.loss, 4);
    expect(onnx.gradNorm).toBeCloseTo(expected.gradNorm, 4);
    const mixed = await firstStep(reference, layers, { ...packed, segments: null });
    expect(Math.abs(mixed.loss - expected.loss)).toBeGreaterThan(1e-4);
  });
});

describe('a run on shards', () => {
  it('resumes bit for bit', async () => {
    const folder = temporaryFolder();
    const text = join(folder, 'text.jsonl');
    const lines = Array.from({ length: 300 }, (_, i) =>
      JSON.stringify({ text: `line ${i * i} of ${i % 7} `.repeat(1 + (i % 5)) }),
    );
    writeFileSync(text, lines.join('\n'));
    const path = join(folder, 'shards');
    await prepareShards({
      files: [text],
      tokenizerFolder: null,
      dir: path,
      heldOut: 0.1,
      chunkBytes: 2000,
      workers: 1,
    });
    const data = [
      { kind: 'shards', path, minTokens: 40 },
      { kind: 'shards', path, maxTokens: 39 },
    ];
    const run = tinyRun({ model: { vocabSize: 256 }, data });
    const start = (dir: string, more: Partial<TrainRunOptions> = {}) =>
      trainRun({ dir: join(folder, dir), run, engine: reference, ...more });
    await start('whole');
    for (const stop of [3, 8]) {
      const abort = new AbortController();
      const progress = ({ step }: { step: number }) => void (step === stop && abort.abort());
      const stopped = start('parts', { resume: 'auto', signal: abort.signal, hooks: { progress } });
      await expect(stopped).rejects.toThrow(InterruptedError);
    }
    await start('parts', { resume: 'yes' });
    const final = (dir: string, file: string) => readFileSync(join(folder, dir, 'checkpoints', 'step-000012', file));
    for (const file of ['model.safetensors', 'optimizer.safetensors']) {
      expect(final('parts', file).equals(final('whole', file)), file).toBe(true);
    }
  });
});
