import { describe, expect, it } from 'vitest';
import { limitReach } from '../../../src/analysis/index.js';
import { sizeOf, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import {
  forward,
  forwardChunk,
  headLogits,
  parameterInputs,
  RECURRENT_MIXERS,
  resolveModelConfig,
  stateInputs,
  type ModelConfig,
} from '../../../src/model/index.js';
import { randomParameters, randomTokens, SMALL, worst } from './cases.js';

const T = 11;

/** Logits `[T * vocabulary]` of one sequence. */
function logitsOf(config: ModelConfig, params: ReadonlyMap<string, HostTensor>, row: readonly number[]): Float64Array {
  const values = parameterInputs(config, 'f64');
  const tokens = input('tokens', 'i32', [1, row.length]);
  const graph = makeGraph(
    { ...Object.fromEntries(values), tokens },
    { logits: forward(config, values, tokens).logits },
  );
  const results = evaluateReference(graph, {
    ...Object.fromEntries(params),
    tokens: tensorFrom('i32', [1, row.length], [...row]),
  });
  return toNumbers(results['logits'] as HostTensor);
}

/** Logits of the last token of `row` where nothing is kept of the tokens before token `start`. */
function logitsFrom(
  config: ModelConfig,
  params: ReadonlyMap<string, HostTensor>,
  row: readonly number[],
  start: number,
): Float64Array {
  const values = parameterInputs(config, 'f64');
  const room = { batchSize: 1, maxLength: row.length, dtype: 'f64' as const };
  const states = stateInputs(config, room);
  const [tokens, place] = [input('tokens', 'i32', [1, row.length - start]), input('start', 'i32', [])];
  const padding = input('padding', 'i32', [1]);
  const { stream } = forwardChunk(config, values, { tokens, start: place, padding }, states, room);
  const graph = makeGraph(
    { ...Object.fromEntries(values), ...Object.fromEntries(states), tokens, start: place, padding },
    { logits: headLogits(config, values, stream) },
  );
  const zeros = [...states].map(([name, { dtype, shape }]) => [
    name,
    tensorFrom(dtype, shape, new Array<number>(sizeOf(shape)).fill(0)),
  ]);
  const results = evaluateReference(graph, {
    ...Object.fromEntries(params),
    ...(Object.fromEntries(zeros) as Record<string, HostTensor>),
    tokens: tensorFrom('i32', [1, row.length - start], row.slice(start)),
    start: tensorFrom('i32', [], [start]),
    padding: tensorFrom('i32', [1], [0]),
  });
  return toNumbers(results['logits'] as HostTensor).subarray(-config.vocabSize);
}

describe('recurrent layers that remember a few tokens', () => {
  it.each(RECURRENT_MIXERS)('%s: every token as from empty states so many tokens before', (mixer) => {
    const config = resolveModelConfig({ ...SMALL, layers: mixer, numLayers: 1, mamba2: { headDim: 6 } });
    const params = randomParameters(config, 3);
    const row = randomTokens(config, T, 4);
    const vocab = config.vocabSize;
    for (const reach of [1, 3, T - 1]) {
      const limited = logitsOf(limitReach(config, 'efficient', reach), params, row);
      for (let t = 0; t < T; t++) {
        const own = logitsFrom(config, params, row.slice(0, t + 1), Math.max(0, t - reach + 1));
        expect(worst(limited.subarray(t * vocab, (t + 1) * vocab), own), `token ${t}`).toBeLessThan(1e-10);
      }
    }
    expect(
      worst(logitsOf(limitReach(config, 'efficient', T), params, row), logitsOf(config, params, row)),
    ).toBeLessThan(1e-10);
  });

  it('hand on what tokens have in their own windows', () => {
    const config = resolveModelConfig({ ...SMALL, layers: '2*rwkv7', numLayers: 2 });
    const params = randomParameters(config, 3);
    const row = randomTokens(config, T, 4);
    const logits = (reach: number, tokens: readonly number[]) =>
      logitsOf(limitReach(config, 'efficient', reach), params, tokens).subarray(-config.vocabSize);
    expect(worst(logits(T, row), logitsOf(config, params, row).subarray(-config.vocabSize))).toBeLessThan(1e-10);
    // Two layers that remember three tokens each see five.
    const [near, far] = [row.slice(), row.slice()];
    near[T - 5] = (near[T - 5]! + 1) % config.vocabSize;
    far[T - 6] = (far[T - 6]! + 1) % config.vocabSize;
    expect(worst(logits(3, near), logits(3, row))).toBeGreaterThan(1e-6);
    expect(worst(logits(3, far), logits(3, row))).toBe(0);
  });

  it('leave the full layers of a hybrid as they are', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'gdn full', numLayers: 2 });
    expect(limitReach(config, 'full', 4).layers).toMatchObject([{ mixer: 'gdn' }, { groups: [{ window: 4 }] }]);
    expect(limitReach(config, 'full', 4).layers[0]).not.toHaveProperty('reach');
    expect(limitReach(config, 'efficient', 4).layers).toMatchObject([{ reach: 4 }, { groups: [{ window: null }] }]);
  });
});
