/** What is true of latent attention alone: its costs, its cache, its positions, and what analyses make of its heads. */
import { describe, expect, it } from 'vitest';
import { limitReach, maskHeads, reachParts, weightDrift } from '../../../src/analysis/index.js';
import { Rng, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { recallNeedle, RecallOptionsSchema } from '../../../src/data/index.js';
import { createReferenceEngine, evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph, nodesOf } from '../../../src/graph/index.js';
import { loadModel } from '../../../src/loaded/index.js';
import {
  forward,
  forwardChunk,
  initialParameters,
  modelCost,
  parameterInputs,
  printPattern,
  resolveModelConfig,
  scoreScales,
  stateInputs,
  stateSpecs,
  type ModelConfig,
} from '../../../src/model/index.js';
import { logitsInChunks } from '../../support/chunks.js';
import { randomParameters, randomTokens, SMALL, worst } from './cases.js';

const WIDE = { vocabSize: 64, hiddenSize: 32, numHeads: 4, headDim: 8, intermediateSize: 12 };

describe('the section mla', () => {
  it('follows the widths of the model, as DeepSeek-V2 relates them', () => {
    expect(resolveModelConfig({ ...WIDE, layers: 'mla' }).mla).toEqual({
      ...{ queryRank: null, latentRank: 32, nopeDim: 8, ropeDim: 4, valueDim: 8, normEps: 1e-6 },
    });
    expect(resolveModelConfig({ ...WIDE, layers: 'full', mla: { latentRank: 5 } }).mla).toBeUndefined();
  });

  it('refuses rotary channels that are no pairs, and widths that are no numbers', () => {
    const build = (mla: object) => resolveModelConfig({ ...WIDE, layers: 'mla', mla });
    expect(() => build({ ropeDim: 3 })).toThrow('model.mla: ropeDim 3 is odd');
    expect(() => build({ latentRank: 0 })).toThrow('mla.latentRank must be at least 1');
    expect(() => build({ rank: 2 })).toThrow(/rank/);
  });

  it('resolves to itself', () => {
    const config = resolveModelConfig({ ...WIDE, layers: 'mla:4:nope kda', mla: { queryRank: 6 } });
    expect(resolveModelConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
  });
});

describe('costs of latent attention', () => {
  // DeepSeek-V3's widths: 128 heads of 128 + 64, values of 128, latents of 512, queries through 1,536.
  const config = resolveModelConfig({
    ...{ vocabSize: 8, hiddenSize: 7168, numHeads: 128, headDim: 128, intermediateSize: 8, layers: 'mla' },
    mla: { queryRank: 1536 },
  });

  it('counts the parameters of one layer of DeepSeek-V3', () => {
    // https://arxiv.org/abs/2412.19437 has the widths; the sum is of its projections and two norms.
    const expected =
      7168 * 1536 + 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 + 512 * 128 * 128 + 512 * 128 * 128 + 128 * 128 * 7168;
    expect(modelCost(config, 16).layers[0]?.parameters.mixer).toBe(expected);
  });

  it('counts scores of 192 channels and values of 128', () => {
    // Of 16 tokens a query sees 8.5 in the mean.
    expect(modelCost(config, 16).layers[0]?.flops.sequence).toBe(2 * 128 * (192 + 128) * 8.5);
  });

  it('keeps 576 numbers a token, where full attention of these heads keeps 32,768', () => {
    const full = resolveModelConfig({ ...config, layers: 'full', mla: undefined });
    const bytes = (c: ModelConfig) => modelCost(c, 1000, { cacheElementBytes: 2 }).cacheBytes / 1000;
    expect(bytes(config)).toBe(2 * 576);
    expect(bytes(full)).toBe(2 * 2 * 128 * 128);
    const windowed = resolveModelConfig({ ...config, layers: 'mla:100' });
    expect(modelCost(windowed, 1000, { cacheElementBytes: 2 }).cacheBytes).toBe(2 * 576 * 100);
  });

  it('is what generation allocates', () => {
    const small = resolveModelConfig({ ...WIDE, layers: 'mla mla:5' });
    const room = { batchSize: 3, maxLength: 20, dtype: 'f32' } as const;
    const [full, windowed] = stateSpecs(small, room);
    expect(full).toEqual({ name: 'layers.0.latents', dtype: 'f32', shape: [3, 1, 20, 36] });
    expect(windowed).toEqual({ name: 'layers.1.latents', dtype: 'f32', shape: [3, 1, 5, 36] });
    expect(modelCost(small, 20).cacheBytes).toBe(4 * (20 * 36 + 5 * 36));
  });
});

describe('generation with latents', () => {
  const config = resolveModelConfig({ ...WIDE, layers: 'mla' });

  /** The widths of what scores are products of, in a step of n tokens. */
  function scoreWidths(n: number, maxLength: number): number[] {
    const room = { batchSize: 1, maxLength, dtype: 'f64' } as const;
    const params = parameterInputs(config, 'f64');
    const tokens = input('tokens', 'i32', [1, n]);
    const place = { start: input('start', 'i32', []), padding: input('padding', 'i32', [1]) };
    const { stream } = forwardChunk(config, params, { tokens, ...place }, stateInputs(config, room), room);
    return nodesOf([stream]).flatMap((node) => (node.op === 'cacheAttention' ? [node.inputs[0].shape[3] ?? NaN] : []));
  }

  it('meets latents token by token and expanded keys in long chunks, with the same result', async () => {
    // A latent and its rotary key are 36 channels, a key 12.
    expect(scoreWidths(1, 28)).toEqual([36]);
    expect(scoreWidths(16, 28)).toEqual([12]);
    const params = randomParameters(config);
    const tokens = randomTokens(config, 24);
    const run = { engine: createReferenceEngine(), config, params, dtype: 'f64', maxLength: 24 } as const;
    const [whole] = await logitsInChunks(run, [tokens], [24]);
    const [cut] = await logitsInChunks(run, [tokens], [16, ...new Array<number>(8).fill(1)]);
    expect(worst(cut?.flat() ?? [], whole?.flat() ?? [])).toBeLessThan(1e-11);
  });
});

describe('positions of latent attention', () => {
  const logitsOf = (config: ModelConfig, params: ReadonlyMap<string, HostTensor>, ids: readonly number[]) => {
    const values = parameterInputs(config, 'f64');
    const tokens = input('tokens', 'i32', [1, ids.length]);
    const graph = makeGraph(
      { ...Object.fromEntries(values), tokens },
      { logits: forward(config, values, tokens).logits },
    );
    const given = { ...Object.fromEntries(params), tokens: tensorFrom('i32', tokens.shape, ids) };
    return toNumbers(evaluateReference(graph, given)['logits'] as HostTensor);
  };

  it("takes YaRN's factor on the channels that turn, and not on the others", () => {
    const settings = { ...SMALL, layers: 'mla', mla: { nopeDim: 4, ropeDim: 2 } };
    const yarn = { type: 'yarn', factor: 1, originalLength: 16 } as const;
    const config = resolveModelConfig({ ...settings, ropeScaling: { ...yarn, attentionFactor: 1.5 } });
    const plain = resolveModelConfig({ ...settings, ropeScaling: { ...yarn, attentionFactor: 1 } });
    const params = randomParameters(config);
    // The factor on turned queries and keys is one on the rows of the projection that make rotary queries.
    const scaled = new Map(params);
    for (const layer of [0, 1]) {
      const name = `layers.${layer}.mla.wq`;
      const wq = params.get(name) as HostTensor;
      const values = toNumbers(wq).map((v, i) => ((i % 24) % 6 < 4 ? v : v * 1.5 ** 2));
      scaled.set(name, tensorFrom('f64', wq.shape, values));
    }
    const ids = randomTokens(config, 9);
    expect(worst(logitsOf(config, params, ids), logitsOf(plain, scaled, ids))).toBeLessThan(1e-12);
    expect(worst(logitsOf(config, params, ids), logitsOf(plain, params, ids))).toBeGreaterThan(1e-4);
    expect(scoreScales(config, config.layers[0]!, 9)).toEqual(new Array(4).fill(1 / Math.sqrt(6)));
  });
});

describe('analyses of latent attention', () => {
  const config = resolveModelConfig({ ...WIDE, layers: 'swa:3 mla', mla: { valueDim: 5, queryRank: 7 } });
  const params = new Map(initialParameters(config, 3));
  const engine = createReferenceEngine();

  it('limits it as full attention', () => {
    expect(reachParts(config)).toEqual(['full', 'efficient']);
    expect(printPattern(limitReach(config, 'full', 8).layers)).toBe('swa:3 mla:8');
    expect(printPattern(limitReach(config, 'all', 2).layers)).toBe('swa:2 mla:2');
  });

  it('masks a head as if its rows of the output projection were zero', async () => {
    const samples = [9, 14].map((length, i) =>
      recallNeedle(Rng.of(i, 'latent-test'), RecallOptionsSchema.parse({}), { length, depth: 0.3 }),
    );
    const head = { layer: 1, head: 2 };
    const wo = params.get('layers.1.mla.wo') as HostTensor<'f32'>;
    const zeroed = wo.data.map((v, i) => (Math.floor(i / 32 / 5) === head.head ? 0 : v));
    const without = new Map(params).set('layers.1.mla.wo', tensorFrom('f32', wo.shape, zeroed));
    const model = loadModel(engine, config, params);
    const masked = await maskHeads(model, samples, { heads: [head], mode: 'zero', draws: 0 });
    const gone = await maskHeads(loadModel(engine, config, without), samples, {
      heads: [head],
      mode: 'zero',
      draws: 0,
    });
    expect(masked.masked.probability).toBeCloseTo(gone.baseline.probability, 6);
    expect(masked.masked.probability).not.toBeCloseTo(masked.baseline.probability, 6);
    const mean = await maskHeads(model, samples, { heads: [head], mode: 'mean', draws: 1 });
    expect(mean.masked.probability).not.toBeCloseTo(masked.masked.probability, 6);
  });

  it('has no drift of heads without matrices of their own', () => {
    expect(() => weightDrift({ config, parameters: () => params }, params, { heads: [{ layer: 1, head: 0 }] })).toThrow(
      'layer 1 is latent attention (mla)',
    );
    // All heads are those that have such matrices.
    const all = weightDrift({ config, parameters: () => params }, params).heads;
    expect(new Set(all.map(({ layer }) => layer))).toEqual(new Set([0]));
    const own = [{ layer: 0, head: 1 }];
    expect(weightDrift({ config, parameters: () => params }, params, { heads: own }).qkL2).toBe(0);
  });
});
