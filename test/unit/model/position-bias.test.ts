import { describe, expect, it } from 'vitest';
import { Rng, tensorFrom, toNumbers } from '../../../src/core/index.js';
import { createReferenceEngine, evaluateReference } from '../../../src/engine/index.js';
import { distanceAttention, input, makeGraph } from '../../../src/graph/index.js';
import { modelCost, parsePattern, printPattern, resolveModelConfig } from '../../../src/model/index.js';
import { logitsInChunks } from '../../support/chunks.js';
import { randomParameters, randomTokens, SMALL, worst } from './cases.js';
import { plainForward } from './plain-model.js';

const engine = createReferenceEngine();

/** Attention of the last n of S tokens, query by query and key by key, with one key/value head. */
function direct(
  { q, k, v, r, bank }: Readonly<Record<'q' | 'k' | 'v' | 'r' | 'bank', Float64Array>>,
  [n, S, H, D, R, X]: readonly [number, number, number, number, number, number],
  window: number,
): number[] {
  return Array.from({ length: n * H }, (_, row) => {
    const own = S - n + Math.floor(row / H);
    const scores = Array.from({ length: S }, (_unused, s) => {
      const distance = own - s;
      if (distance < 0 || distance >= window) return -Infinity;
      let score = 0;
      for (let c = 0; c < D; c++) score += 0.3 * q[row * D + c]! * k[s * D + c]!;
      for (let c = 0; c < R && distance < X; c++) score += r[row * R + c]! * bank[c * X + distance]!;
      return score;
    });
    const weights = scores.map((s) => Math.exp(s));
    const total = weights.reduce((a, b) => a + b, 0);
    return Array.from({ length: D }, (_unused, c) =>
      weights.reduce((sum, w, s) => sum + (w / total) * v[s * D + c]!, 0),
    );
  }).flat();
}

describe('attention with a bias of distances', () => {
  // Several blocks of queries, and a bank that ends before, at and behind the window and the text.
  it.each([
    [140, 140, 20, 19],
    [140, 140, 20, 20],
    [140, 140, 20, 21],
    [130, 140, 1000, 139],
    [130, 140, 1000, 141],
    [1, 9, 5, 4],
  ])('of %i queries on %i keys, window %i, is that of its formula with %i distances', (n, S, window, X) => {
    const [H, D, R] = [2, 3, 2];
    const rng = Rng.of(n, 'bias', String(X));
    const random = (size: number) => Float64Array.from({ length: size }, () => rng.normal());
    const shapes = { q: [1, n, H, D], k: [1, 1, S, D], v: [1, 1, S, D], r: [1, n, H, R], bank: [R, X] };
    const values = {
      ...{ q: random(n * H * D), k: random(S * D), v: random(S * D) },
      ...{ r: random(n * H * R), bank: random(R * X) },
    };
    const names = ['q', 'k', 'v', 'r', 'bank'] as const;
    const [q, keys, v, states, bank] = names.map((name) => input(name, 'f64', shapes[name]));
    const [first, hidden] = [input('first', 'i32', []), input('hidden', 'i32', [1])];
    const out = distanceAttention(
      { q: q!, keys: keys!, values: v!, bias: { states: states!, bank: bank! } },
      { first, hidden, segments: null },
      { window: window < S ? window : null, scale: 0.3 },
    );
    const graph = makeGraph({ q: q!, k: keys!, v: v!, r: states!, bank: bank!, first, hidden }, { out });
    const tensors = names.map((name) => [name, tensorFrom('f64', shapes[name], values[name])] as const);
    const got = evaluateReference(graph, {
      ...Object.fromEntries(tensors),
      first: tensorFrom('i32', [], [S - n]),
      hidden: tensorFrom('i32', [1], [0]),
    });
    expect(worst(toNumbers(got['out']!), direct(values, [n, S, H, D, R, X], window))).toBeLessThan(1e-12);
  });

  it.each([3, 4, 5, 8, 9, 10])('is the same in chunks, with %i distances in a window of 4 and 9 tokens', async (X) => {
    const config = resolveModelConfig({
      ...{ ...SMALL, layers: `swa:4:nope;bias=${X} full:nope`, numKvHeads: 2 },
      ...{ positionBias: { width: 2, extent: X }, shortConv: { width: 3 } },
    });
    const params = randomParameters(config);
    const tokens = randomTokens(config, 9);
    const want = plainForward(config, params, tokens).logits;
    for (const sizes of [[9], [4, 1, 1, 3]]) {
      const got = await logitsInChunks({ engine, config, params, dtype: 'f64', maxLength: 12 }, [tokens], sizes);
      expect(worst(got.flat(2), want.flat())).toBeLessThan(1e-11);
    }
  });

  it('has distances of a layer in its pattern, and counts its profiles and what convolutions keep', () => {
    const bias = { positionBias: { width: 2, extent: 6 }, shortConv: { width: 3 } };
    const config = resolveModelConfig({ ...SMALL, layers: 'swa:4:nope;bias=3 full:nope;bias=6', ...bias });
    expect(printPattern(config.layers)).toBe('swa:4:nope;bias=3 full:nope');
    expect(parsePattern('full;bias=6')).toMatchObject([{ settings: { biasExtent: 6 } }]);
    const plain = resolveModelConfig({ ...SMALL, layers: 'swa:4:nope full:nope' });
    const [own, without] = [modelCost(config, 10), modelCost(plain, 10)];
    // Two tokens of keys, values (24 channels each), of what attention and MLP give (12 each), in both layers.
    expect(own.cacheBytes - without.cacheBytes).toBe(2 * 4 * 2 * (24 + 24 + 12 + 12));
    const added = own.layers.map(({ flops }, i) => flops.sequence - without.layers[i]!.flops.sequence);
    expect(added).toEqual([2 * 4 * 2 * 3, 2 * 4 * 2 * 6]);
  });
});

describe('models with parts that have no place', () => {
  const bias = { positionBias: { width: 2, extent: 4 } };
  it.each([
    [{ layers: 'swa:4 gdn', ...bias }, 'model.positionBias needs attention in every layer, and layer 1 has another'],
    [{ layers: 'mla full', shortConv: {} }, 'model.shortConv needs attention in every layer, and layer 0'],
    [{ layers: 'full full;keys=0', ...bias }, 'model.positionBias needs keys and values of its own in every layer'],
    [{ layers: 'full', cca: {}, numKvHeads: 2, shortConv: {} }, 'model.shortConv does not go with cca'],
    [{ layers: 'full', sinks: true, ...bias }, 'model.positionBias does not go with sinks'],
    [{ layers: 'full', attentionSoftcap: 1, ...bias }, 'model.positionBias does not go with attentionSoftcap'],
    [{ layers: 'chunk:4', ...bias }, 'model.positionBias does not go with chunks of attention; use windows'],
    [{ layers: 'full:temp=log', ...bias }, 'model.positionBias does not go with temperatures'],
    [{ layers: 'full;bias=3' }, 'layer 0 has biases of 3 distances, and the model has no positionBias'],
    [
      { layers: 'shared:full+mamba2', mlpFactor: true, mamba2: { headDim: 4 } },
      'model.mlpFactor has no place in shared',
    ],
    [
      { layers: 'full', experts: { count: 4, perToken: 2, intermediateSize: 4, sharedSize: 5, sharedScores: 2 } },
      'model.experts.sharedScores 2 needs a sharedSize that is a multiple of it, not 5',
    ],
    [
      { layers: 'full', experts: { count: 4, perToken: 2, intermediateSize: 4, sharedSize: 4, sharedScores: 2 } },
      'model.experts.sharedScores needs scores sigmoid',
    ],
  ])('are refused: %o', (settings, message) => {
    expect(() => resolveModelConfig({ ...SMALL, numLayers: undefined, ...settings })).toThrow(message);
  });
});
