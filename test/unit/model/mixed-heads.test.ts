/** Heads that attend and heads of a recurrence in one layer: both mixers with those heads, side by side. */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers } from '../../../src/core/index.js';
import { createReferenceEngine, evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import {
  forward,
  modelCost,
  parameterInputs,
  parameterSpecs,
  printPattern,
  resolveModelConfig,
  type ModelConfig,
} from '../../../src/model/index.js';
import { logitsInChunks } from '../../support/chunks.js';
import { randomParameters, randomTokens, SMALL, worst } from './cases.js';

function logitsOf(config: ModelConfig, tokens: readonly number[]): ArrayLike<number> {
  const values = parameterInputs(config, 'f64');
  const ids = input('tokens', 'i32', [1, tokens.length]);
  const { logits } = forward(config, values, ids);
  const graph = makeGraph({ ...Object.fromEntries(values), tokens: ids }, { logits });
  const given = { ...Object.fromEntries(randomParameters(config)), tokens: tensorFrom('i32', ids.shape, tokens) };
  return toNumbers(evaluateReference(graph, given)['logits']!);
}

describe.each([
  ['gdn', { keyDim: 5, valueDim: 3 }, { numHeads: 4, numValueHeads: 8 }, { numHeads: 2, numValueHeads: 4 }],
  ['kda', { keyDim: 5, valueDim: 3, rank: 4 }, { numHeads: 6 }, { numHeads: 2 }],
  ['mlstm', { keyDim: 5, valueDim: 3 }, { numHeads: 4 }, { numHeads: 2 }],
  ['gla', { keyDim: 5, valueDim: 3 }, { numHeads: 4, numKvHeads: 2 }, { numHeads: 2, numKvHeads: 1 }],
] as const)('full attention and %s in the heads of one layer', (mixer, widths, whole, part) => {
  const config = (layers: string, section: object) =>
    resolveModelConfig({ ...SMALL, layers, [mixer]: { ...widths, ...section } });
  const mixed = config(`full/${mixer}`, whole);
  const beside = config(`full#2,2+${mixer}`, part);
  const tokens = randomTokens(mixed, 13);

  it('has as many heads of both as the model has, and says so', () => {
    expect(printPattern(mixed.layers)).toBe(`2*full#2,2+${mixer}@2`);
    expect(
      config(`full@3/${mixer}@1`, { ...whole, ...(mixer === 'gla' ? { numKvHeads: 4 } : {}) }).layers[0],
    ).toMatchObject({
      numHeads: 3,
      beside: { mixer, heads: 1 },
    });
    expect(config(printPattern(mixed.layers), whole)).toEqual(mixed);
  });

  it('computes what the two give side by side, at the same cost', () => {
    const shapes = (model: ModelConfig) => parameterSpecs(model).map(({ name, shape }) => [name, shape]);
    expect(shapes(mixed)).toEqual(shapes(beside));
    expect(modelCost(mixed, 64).forwardFlops).toBe(modelCost(beside, 64).forwardFlops);
    expect(worst(logitsOf(mixed, tokens), logitsOf(beside, tokens))).toBe(0);
  });

  it('generates with the states of those heads', async () => {
    const engine = createReferenceEngine();
    const params = randomParameters(mixed);
    const run = { engine, config: mixed, params, dtype: 'f64', maxLength: 14 } as const;
    const got = await logitsInChunks(run, [tokens], [6, 1, 6]);
    expect(worst(got.flat(2), logitsOf(mixed, tokens))).toBeLessThan(1e-9);
  });
});
