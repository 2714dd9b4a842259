import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers } from '../../../src/core/index.js';
import { createReferenceEngine, evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import {
  forward,
  forwardChunk,
  parameterInputs,
  resolveModelConfig,
  stateInputs,
  stateSpecs,
} from '../../../src/model/index.js';
import { logitsInChunks } from '../../support/chunks.js';
import { CASES, randomParameters, randomTokens, RECURRENT_CASES, SMALL, worst, toleranceOf } from './cases.js';
import { plainForward } from './plain-model.js';

const LENGTH = 11;
const engine = createReferenceEngine();
const ones = (n: number) => new Array<number>(n).fill(1);

/** The worst difference from the plain loops of the logits in chunks. */
async function difference(
  settings: Parameters<typeof resolveModelConfig>[0],
  lengths: readonly number[],
  sizes: readonly number[],
  { maxLength = Math.max(...lengths), filler = 0 } = {},
): Promise<number> {
  const config = resolveModelConfig({ ...SMALL, ...(settings as object) });
  const params = randomParameters(config);
  const rows = lengths.map((n, i) => randomTokens(config, n, i));
  const got = await logitsInChunks({ engine, config, params, dtype: 'f64', maxLength }, rows, sizes, filler);
  const want = rows.map((tokens) => plainForward(config, params, tokens).logits);
  return worst(got.flat(2), want.flat(2));
}

describe('decoding in chunks', () => {
  it.each(CASES)('equals the plain loops token by token with %s', async (_, settings) => {
    const tolerance = toleranceOf(settings, 1e-11);
    expect(await difference(settings, [LENGTH, LENGTH], ones(LENGTH))).toBeLessThan(tolerance);
  });

  it.each(CASES)('equals them for chunks of any size, rows of any length, with %s', async (_, settings) => {
    const options = { maxLength: 16, filler: 7 };
    const tolerance = toleranceOf(settings, 1e-11);
    expect(await difference(settings, [LENGTH, 4, 8], [5, 1, 3, 2], options)).toBeLessThan(tolerance);
    expect(await difference(settings, [2, LENGTH], [LENGTH], options)).toBeLessThan(tolerance);
  });

  it.each(RECURRENT_CASES)('equals the forward pass, in chunks of any size, with %s', async (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, ...settings });
    const params = randomParameters(config);
    const rows = [LENGTH, 4, 8].map((n, i) => randomTokens(config, n, i));
    const values = parameterInputs(config, 'f64');
    const want = rows.map((tokens) => {
      const ids = input('tokens', 'i32', [1, tokens.length]);
      const graph = makeGraph(
        { ...Object.fromEntries(values), tokens: ids },
        { logits: forward(config, values, ids).logits },
      );
      const inputs = { ...Object.fromEntries(params), tokens: tensorFrom('i32', ids.shape, tokens) };
      return [...toNumbers(evaluateReference(graph, inputs)['logits']!)];
    });
    for (const sizes of [ones(LENGTH), [5, 1, 3, 2], [LENGTH]]) {
      const got = await logitsInChunks({ engine, config, params, dtype: 'f64', maxLength: 16 }, rows, sizes, 7);
      expect(worst(got.flat(2), want.flat())).toBeLessThan(1e-11);
    }
  });

  // The window against the room: below it the cache is cut, from it on it holds everything.
  it.each([1, 2, 3, 8, 9, 10, 11, 12])('equals them for a window of %i in a room of 10', async (window) => {
    for (const sizes of [ones(10), [3, 3, 3, 1], [9, 1], [1, 9]]) {
      expect(await difference({ layers: `swa:${window} full` }, [10, 7], sizes)).toBeLessThan(1e-11);
    }
  });

  it('keeps no more keys and values than a window shows', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'swa:3/full swa:5', numKvHeads: 2 });
    const shapes = stateSpecs(config, { batchSize: 2, maxLength: 100, dtype: 'f32' }).map((s) => [s.name, s.shape]);
    expect(shapes).toEqual([
      ['layers.0.keys.0', [2, 1, 3, 6]],
      ['layers.0.values.0', [2, 1, 3, 6]],
      ['layers.0.keys.1', [2, 1, 100, 6]],
      ['layers.0.values.1', [2, 1, 100, 6]],
      ['layers.1.keys.0', [2, 2, 5, 6]],
      ['layers.1.values.0', [2, 2, 5, 6]],
    ]);
  });

  it('refuses states of another room', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full' });
    const room = { batchSize: 1, maxLength: 8, dtype: 'f64' } as const;
    const chunk = { tokens: input('t', 'i32', [1, 2]), start: input('s', 'i32', []), padding: input('p', 'i32', [1]) };
    const states = stateInputs(config, { ...room, maxLength: 9 });
    expect(() => forwardChunk(config, parameterInputs(config, 'f64'), chunk, states, room)).toThrow(
      'state layers.0.keys.0 has shape [1,4,9,6]; this model needs [1,4,8,6]',
    );
    expect(() => forwardChunk(config, parameterInputs(config, 'f64'), chunk, new Map(), room)).toThrow(/is missing/);
  });
});
