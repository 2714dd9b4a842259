import { describe, expect, it } from 'vitest';
import { nextBatch } from '../../src/data/index.js';
import { createReferenceEngine } from '../../src/engine/index.js';
import { initialParameters } from '../../src/model/index.js';
import { openRunData, Trainer, type StepResult } from '../../src/train/index.js';
import { tinyRun } from './support.js';

const engine = createReferenceEngine();
const EXPERTS = { count: 4, perToken: 2, intermediateSize: 6 };

/** Steps of a tiny model with experts on the same batches. */
async function train(experts: object, steps: number, accumulate = 1): Promise<StepResult[]> {
  const run = tinyRun({ model: { experts: { ...EXPERTS, ...experts } }, train: { accumulate } });
  using data = openRunData(run);
  const parameters = initialParameters(run.model, run.seed);
  const trainer = await Trainer.create({ engine, model: run.model, config: run.train, parameters });
  const results: StepResult[] = [];
  for (let t = 1; t <= steps; t++) results.push(await trainer.step(nextBatch(data.train, 4), 0.02, t));
  await trainer.dispose();
  return results;
}

describe('training with experts', () => {
  it('tells the loss without what routers add to it, whose gradient counts', async () => {
    const [[plain], [balanced]] = [await train({}, 1), await train({ balanceLoss: 5 }, 1)];
    expect(balanced?.loss).toBe(plain?.loss);
    expect(balanced?.routing).toEqual(plain?.routing);
    expect(Math.abs((balanced?.gradNorm ?? NaN) - (plain?.gradNorm ?? NaN))).toBeGreaterThan(1e-3);
  });

  it('takes the same step in microbatches, each adding its share', async () => {
    const [[whole], [parts]] = [await train({ routerZLoss: 2 }, 1), await train({ routerZLoss: 2 }, 1, 2)];
    // A mean over tokens is that over microbatches where their weights are equal; here they nearly are.
    expect(parts?.loss).toBeCloseTo(whole?.loss ?? NaN, 5);
    expect(Math.abs((parts?.gradNorm ?? NaN) / (whole?.gradNorm ?? NaN) - 1)).toBeLessThan(0.02);
    expect(parts?.routing?.entropy).toBeGreaterThan(0);
  });

  it('spreads tokens more evenly with a load-balancing loss', async () => {
    const last = async (balanceLoss: number) => (await train({ balanceLoss, perToken: 1 }, 30)).at(-1)?.routing;
    const [without, strong] = [await last(0), await last(1)];
    expect(strong?.entropy).toBeGreaterThan(without?.entropy ?? NaN);
    expect(strong?.balance).toBeLessThan(without?.balance ?? NaN);
    expect(strong?.peak).toBeLessThan(without?.peak ?? NaN);
  });
});
