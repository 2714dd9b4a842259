import { describe, expect, it } from 'vitest';
import { toNumbers, type HostTensor } from '../../src/core/index.js';
import { emptyBatch, nextBatch, type Batch } from '../../src/data/index.js';
import { createReferenceEngine, type DeviceTensor } from '../../src/engine/index.js';
import { initialParameters } from '../../src/model/index.js';
import { openRunData, Trainer, type StepOptions } from '../../src/train/index.js';
import { tinyRun } from './support.js';

const engine = createReferenceEngine();

async function train(
  change: Parameters<typeof tinyRun>[0],
  batches: readonly Batch[],
  options: StepOptions = {},
): Promise<{ losses: number[]; norms: number[]; parameters: Map<string, Float64Array> }> {
  const { model, train: config, seed } = tinyRun(change);
  const trainer = await Trainer.create({
    engine,
    model,
    config,
    parameters: initialParameters(model, seed),
    ...options,
  });
  const results = [];
  for (const [i, batch] of batches.entries()) results.push(await trainer.step(batch, 0.01, i + 1));
  const parameters = new Map<string, Float64Array>();
  for (const [name, tensor] of Object.entries(trainer.parameters)) {
    parameters.set(name, toNumbers(await engine.download(tensor)));
  }
  await trainer.dispose();
  return { losses: results.map((r) => r.loss), norms: results.map((r) => r.gradNorm), parameters };
}

function drawBatches(count: number): Batch[] {
  using data = openRunData(tinyRun());
  return Array.from({ length: count }, () => nextBatch(data.train, 4));
}

function expectClose(
  a: ReadonlyMap<string, Float64Array>,
  b: ReadonlyMap<string, Float64Array>,
  tolerance: number,
): void {
  expect([...a.keys()]).toEqual([...b.keys()]);
  for (const [name, values] of a) {
    values.forEach((x, i) => expect(Math.abs(x - (b.get(name) as Float64Array)[i]!), name).toBeLessThan(tolerance));
  }
}

describe('Trainer', () => {
  const batches = drawBatches(3);

  it('takes the same steps whatever the number of microbatches, though their weights differ', async () => {
    const sums = [0, 1].map((half) => batches[0]!.weights.slice(half * 32, half * 32 + 32).reduce((a, b) => a + b));
    expect(sums[0]).not.toBe(sums[1]);
    const whole = await train({}, batches);
    for (const accumulate of [2, 4]) {
      const parts = await train({ train: { accumulate } }, batches);
      parts.losses.forEach((loss, i) => expect(loss).toBeCloseTo(whole.losses[i]!, 5));
      parts.norms.forEach((norm, i) => expect(norm).toBeCloseTo(whole.norms[i]!, 5));
      expectClose(parts.parameters, whole.parameters, 1e-5);
    }
  });

  it('uploads batches and scalars alone in a step, with accumulation too', async () => {
    const sizes: number[] = [];
    const counting = {
      ...engine,
      upload: (tensor: HostTensor) => {
        sizes.push(tensor.data.length);
        return engine.upload(tensor);
      },
    };
    const { model, train: config, seed } = tinyRun({ train: { accumulate: 2 } });
    const parameters = initialParameters(model, seed);
    const trainer = await Trainer.create({ engine: counting, model, config, parameters });
    for (const [i, batch] of batches.entries()) {
      sizes.length = 0;
      await trainer.step(batch, 0.01, i + 1);
      const micro = (config.batchSize / 2) * config.seqLen;
      expect(sizes).toEqual([1, 1, 1, ...new Array<number>(6).fill(micro)]);
    }
    await trainer.dispose();
  });

  it('takes the same steps whether moments are kept together or apart, and with rematerialization', async () => {
    const flat = await train({}, batches);
    const separate = await train({}, batches, { moments: 'separate' });
    const remat = await train({ train: { remat: true } }, batches);
    for (const other of [separate, remat]) {
      expect(other.losses[2]).toBeCloseTo(flat.losses[2]!, 6);
      expectClose(other.parameters, flat.parameters, 1e-6);
    }
  });

  it('reports the weighted mean of the loss, before the update', async () => {
    const [batch] = batches as [Batch];
    const uniform = { ...batch, weights: batch.weights.map(() => 1) };
    const one = { ...batch, weights: batch.weights.map((_, i) => (i === 5 ? 7 : 0)) };
    const losses = [];
    for (let i = 0; i < batch.weights.length; i += 13) {
      const alone = { ...batch, weights: batch.weights.map((_, k) => (k === i ? 1 : 0)) };
      losses.push((await train({}, [alone])).losses[0]!);
    }
    const some = { ...batch, weights: batch.weights.map((_, k) => (k % 13 === 0 ? 2 : 0)) };
    const mean = losses.reduce((a, b) => a + b) / losses.length;
    expect((await train({}, [some])).losses[0]).toBeCloseTo(mean, 5);
    expect((await train({}, [uniform])).losses[0]).toBeCloseTo(Math.log(12), 0);
    expect((await train({}, [one])).losses[0]).not.toBeCloseTo((await train({}, [uniform])).losses[0]!, 3);
  });

  it('hands out parameters and moments for a checkpoint, and goes on from them with the same numbers', async () => {
    const { model, train: config, seed } = tinyRun();
    const first = await Trainer.create({ engine, model, config, parameters: initialParameters(model, seed) });
    await first.step(batches[0]!, 0.01, 1);
    const tensors = first.tensors();
    const all = async (read: (name: string) => Promise<HostTensor>) => {
      const entries: [string, HostTensor<'f32'>][] = [];
      for (const name of Object.keys(first.parameters)) entries.push([name, (await read(name)) as HostTensor<'f32'>]);
      return new Map(entries);
    };
    const parameters = await all((name) => tensors.parameter(name));
    const optimizer = {
      m: await all((name) => tensors.moment('m', name)),
      v: await all((name) => tensors.moment('v', name)),
    };
    expect(optimizer.v.get('layers.0.mlp.wdown')!.shape).toEqual([16, 8]);
    const second = await Trainer.create({ engine, model, config, parameters, optimizer, moments: 'separate' });
    const [a, b] = [await first.step(batches[1]!, 0.01, 2), await second.step(batches[1]!, 0.01, 2)];
    expect(b.loss).toBe(a.loss);
    const read = async (t: DeviceTensor) => toNumbers(await engine.download(t));
    for (const name of Object.keys(first.parameters)) {
      const [x, y] = [await read(first.parameters[name]!), await read(second.parameters[name]!)];
      x.forEach((value, i) => expect(Math.abs(value - y[i]!), name).toBeLessThan(1e-7));
    }
  });

  it('refuses a batch of another size', async () => {
    await expect(train({}, [emptyBatch(3, 16)])).rejects.toThrow(/the batch is 3 x 16, the step needs 4 x 16/);
  });
});
