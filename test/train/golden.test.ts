/** Losses of a fixed run, so that a change of numerics is seen and not only a change of trend. */
import { describe, expect, it } from 'vitest';
import { nextBatch } from '../../src/data/index.js';
import { createOnnxEngine, createReferenceEngine, type Engine } from '../../src/engine/index.js';
import { initialParameters } from '../../src/model/index.js';
import { learningRate, openRunData, Trainer } from '../../src/train/index.js';
import { tinyRun } from './support.js';

/**
 * Loss and gradient norm of the first steps of `run`, computed by the reference engine (float64 inside a step). When data,
 * initialization, model or optimizer change on purpose, take the new numbers from a failing run and say so in the commit.
 */
const GOLDEN: readonly (readonly [loss: number, gradNorm: number])[] = [
  [2.70598292, 2.50248814],
  [2.6499579, 5.04181957],
  [3.15593255, 2.95739913],
  [2.26272857, 2.40864658],
  [2.136446, 1.08997655],
  [2.03828442, 1.58294964],
  [1.95458376, 2.19985008],
  [2.1183629, 2.69489956],
];

const run = tinyRun({
  model: {
    qkNorm: true,
    sinks: true,
    outputGate: true,
    numHeads: 4,
    numKvHeads: 2,
    layers: 'swa:4/full:nope full',
    headDim: 4,
  },
  train: { steps: 8, lr: 2e-2, accumulate: 2 },
});

async function lossesOn(engine: Engine): Promise<[number, number][]> {
  using data = openRunData(run);
  const parameters = initialParameters(run.model, run.seed);
  const trainer = await Trainer.create({ engine, model: run.model, config: run.train, parameters });
  const results: [number, number][] = [];
  for (let step = 1; step <= run.train.steps; step++) {
    const batch = nextBatch(data.train, run.train.batchSize);
    const { loss, gradNorm } = await trainer.step(batch, learningRate(run.train, step), step);
    results.push([loss, gradNorm]);
  }
  await trainer.dispose();
  await engine.dispose();
  return results;
}

describe('golden losses', () => {
  it.each<[string, () => Engine, number]>([
    ['reference', () => createReferenceEngine(), 1e-6],
    ['onnx', () => createOnnxEngine({ threads: 2 }), 1e-4],
  ])('are met on the %s engine', async (_, create, tolerance) => {
    const got = await lossesOn(create());
    const text = JSON.stringify(got.map((pair) => pair.map((x) => Number(x.toPrecision(9)))));
    expect(got.length).toBe(GOLDEN.length);
    got.flat().forEach((x, i) => {
      const expected = GOLDEN.flat()[i] as number;
      expect(Math.abs(x - expected), `number ${i} of ${text}`).toBeLessThan(tolerance * Math.abs(expected));
    });
  });
});
