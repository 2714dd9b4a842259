import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { expand, grad, input, makeGraph, type Value } from '../../../src/graph/index.js';
import {
  forward,
  parameterInputs,
  resolveModelConfig,
  tokenLosses,
  type ForwardOptions,
  type ModelConfig,
} from '../../../src/model/index.js';
import { CASES, randomParameters, randomTokens, RECURRENT_CASES, SMALL, worst } from './cases.js';

type Params = ReadonlyMap<string, HostTensor>;

interface Result {
  readonly logits: Float64Array;
  /** Of the summed loss of all tokens, by parameter. */
  readonly gradients: ReadonlyMap<string, Float64Array>;
}

/** Rows of tokens through the model, each token to predict itself; `ids` says which document each belongs to. */
function run(
  config: ModelConfig,
  params: Params,
  rows: readonly (readonly number[])[],
  ids: readonly (readonly number[])[] | null,
  form: 'composites' | 'primitives',
  options: ForwardOptions = {},
): Result {
  const values = parameterInputs(config, 'f64');
  const shape = [rows.length, rows[0]?.length ?? 0];
  const tokens = input('tokens', 'i32', shape);
  const weights = input('weights', 'f64', shape);
  const segments = ids && input('segments', 'i32', shape);
  const { logits } = forward(config, values, tokens, { ...options, segments });
  const loss = tokenLosses(logits, tokens, weights).weightedSum;
  const names = [...values.keys()];
  const gradients = grad(loss, [...values.values()]);
  const graph = makeGraph(
    { ...Object.fromEntries(values), tokens, weights, ...(segments ? { segments } : {}) },
    { logits, ...Object.fromEntries(names.map((name, i) => [`d.${name}`, gradients[i] as Value])) },
  );
  const results = evaluateReference(form === 'composites' ? graph : expand(graph), {
    ...Object.fromEntries(params),
    tokens: tensorFrom('i32', shape, rows.flat()),
    weights: tensorFrom(
      'f64',
      shape,
      rows.flat().map(() => 1),
    ),
    ...(ids ? { segments: tensorFrom('i32', shape, ids.flat()) } : {}),
  });
  const of = (name: string) => toNumbers(results[name] as HostTensor);
  return { logits: of('logits'), gradients: new Map(names.map((name) => [name, of(`d.${name}`)])) };
}

/**
 * Computes documents each on its own; then gives the worst difference, logits and every gradient, between them and the same
 * documents packed into rows.
 */
function comparison(config: ModelConfig, lengths: readonly (readonly number[])[]) {
  const params = randomParameters(config);
  const documents = lengths.map((row, b) => row.map((n, i) => randomTokens(config, n, 100 * b + i)));
  const rows = documents.map((row) => row.flat());
  const ids = lengths.map((row) => row.flatMap((n, i) => new Array<number>(n).fill(i)));
  const alone = documents.flat().map((tokens) => run(config, params, [tokens], null, 'composites'));
  const aloneLogits = alone.flatMap((r) => [...r.logits]);
  return (form: 'composites' | 'primitives', options: ForwardOptions = {}): number => {
    const packed = run(config, params, rows, ids, form, options);
    const gradients = [...packed.gradients].map(([name, got]) => {
      const sum = got.map((_, i) => alone.reduce((s, r) => s + (r.gradients.get(name)?.[i] ?? NaN), 0));
      return worst(got, sum);
    });
    return Math.max(worst(packed.logits, aloneLogits), ...gradients);
  };
}

describe('documents packed into one row', () => {
  const lengths = [
    [7, 1, 4, 12],
    [3, 20, 1],
  ];

  it.each([
    ['dynamic', { type: 'dynamic', factor: 2, originalLength: 16 }],
    ['longrope', { type: 'longrope', short: [1, 1, 1], long: [2, 3, 4], factor: 2, originalLength: 16 }],
  ] as const)('are refused with positions scaled as %s, which depend on lengths', (type, ropeScaling) => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full', ropeScaling });
    expect(() => comparison(config, lengths)('composites')).toThrow(`scaled as ${type} depend on the length`);
    const short = resolveModelConfig({ ...SMALL, layers: 'full', ropeScaling: { ...ropeScaling, originalLength: 24 } });
    expect(comparison(short, lengths)('composites')).toBeLessThan(1e-10);
  });

  it.each([...CASES, ...RECURRENT_CASES])('are computed as on their own with %s', (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, ...settings });
    const difference = comparison(config, lengths);
    expect(difference('composites')).toBeLessThan(1e-10);
    expect(difference('primitives')).toBeLessThan(1e-10);
  });

  // Documents of 5 tokens, and rows long enough for blocks of queries with bands of keys.
  it.each([1, 4, 5, 6, 7])('are computed as on their own with a window of %i', (window) => {
    const config = resolveModelConfig({ ...SMALL, layers: `swa:${window}`, numKvHeads: 2, numLayers: 1, sinks: true });
    expect(comparison(config, [[5, 5, 5, 9, 5, 8]])('primitives')).toBeLessThan(1e-10);
  });

  it.each([1, 4, 5, 6])('are computed as on their own with attention in chunks of %i', (chunk) => {
    const config = resolveModelConfig({ ...SMALL, layers: `chunk:${chunk}`, numKvHeads: 2, numLayers: 1 });
    expect(comparison(config, [[5, 5, 5, 9, 5, 8]])('primitives')).toBeLessThan(1e-10);
  });

  it('are computed as on their own when layers are recomputed and chunks are short', () => {
    for (const layers of [
      'mamba2 swa:3',
      'gdn full',
      'kda lightning',
      'gla full',
      'mlstm full',
      '2*rwkv7',
      '2*shared:swa:3+mamba2',
    ]) {
      const section = { chunk: 4 };
      const config = resolveModelConfig({
        ...SMALL,
        layers,
        mamba2: { headDim: 6, stateSize: 5, ...section },
        gdn: section,
        kda: section,
        lightning: section,
        gla: section,
        mlstm: section,
        rwkv7: section,
      });
      expect(comparison(config, lengths)('primitives', { remat: true }), layers).toBeLessThan(1e-10);
    }
  });

  it('would leak without the segments', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full' });
    const params = randomParameters(config);
    const tokens = randomTokens(config, 8);
    const apart = run(config, params, [tokens], [[0, 0, 0, 0, 1, 1, 1, 1]], 'composites');
    const whole = run(config, params, [tokens], null, 'composites');
    const half = 4 * config.vocabSize;
    expect(worst(apart.logits.slice(0, half), whole.logits.slice(0, half))).toBeLessThan(1e-12);
    expect(worst(apart.logits.slice(half), whole.logits.slice(half))).toBeGreaterThan(1e-3);
  });
});
