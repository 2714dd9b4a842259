import { describe, expect, it } from 'vitest';
import { ConfigError, messageOf, Rng, sizeOf } from '../core/index.js';
import { expand, input, makeGraph, type Graph } from '../graph/index.js';
import { meanGroupKeys, meanVisibleKeys } from './attention.js';
import { firstVisible } from './plan.js';
import { resolveModelConfig, type ModelConfig } from './config.js';
import { modelCost } from './cost.js';
import { forward, parameterInputs } from './forward.js';
import { initialParameters } from './init.js';
import { parameterSpecs } from './params.js';
import { decays } from './mixers/spec.js';

function randomConfig(rng: Rng): ModelConfig {
  const numKvHeads = 1 + rng.int(3);
  const numHeads = numKvHeads * (1 + rng.int(3)) * 2;
  const patterns = [
    'full',
    'swa:3 full',
    '2*swa:7 full:nope',
    'swa:5/full',
    'full/swa:2/swa:90:nope',
    'gdn kda rwkv7',
    'mamba2 lightning gla',
    'conv full',
    'swa:3#5,1 full#4,2',
  ];
  const fitting = patterns.filter((p) => p.split('/').length <= 2 || numKvHeads % 3 === 0);
  return resolveModelConfig({
    vocabSize: 1 + rng.int(50),
    hiddenSize: 1 + rng.int(30),
    layers: fitting[rng.int(fitting.length)],
    numHeads,
    numKvHeads: numKvHeads * 2,
    headDim: 2 * (1 + rng.int(8)),
    intermediateSize: 1 + rng.int(40),
    qkNorm: rng.int(2) === 0,
    sinks: rng.int(2) === 0,
    outputGate: rng.int(2) === 0,
    mamba2: { numHeads: 2, headDim: 1 + rng.int(9), stateSize: 1 + rng.int(9), bias: rng.int(2) === 0 },
    lightning: { gate: rng.int(2) === 0 ? 'low-rank' : 'none', norm: 'layer' },
    tieEmbeddings: rng.int(2) === 0,
  });
}

function mixerPrefix(config: ModelConfig, layer: number): string {
  const mixer = config.layers[layer]!.mixer;
  return mixer === 'attention' ? 'attn' : mixer;
}

describe('modelCost', () => {
  it('agrees exactly with the parameters of the built model, part by part, for random configurations', () => {
    const rng = Rng.of(3, 'cost');
    for (let i = 0; i < 200; i++) {
      const config = randomConfig(rng);
      const built = initialParameters(config, 0);
      const count = (matches: (name: string) => boolean) =>
        [...built].reduce((n, [name, t]) => n + (matches(name) ? t.data.length : 0), 0);
      const cost = modelCost(config, 16);
      expect(cost.parameters.total).toBe(count(() => true));
      expect(cost.parameters.embedding).toBe(count((n) => n === 'embed.weight'));
      expect(cost.parameters.head).toBe(count((n) => n === 'head.weight'));
      expect(cost.parameters.nonEmbedding).toBe(count((n) => n !== 'embed.weight' && n !== 'head.weight'));
      cost.layers.forEach((layer, l) => {
        expect(layer.parameters.total).toBe(count((n) => n.startsWith(`layers.${l}.`)));
        expect(layer.parameters.mixer).toBe(count((n) => n.startsWith(`layers.${l}.${mixerPrefix(config, l)}.`)));
        expect(layer.parameters.mlp).toBe(count((n) => n.startsWith(`layers.${l}.mlp.`)));
      });
    }
  });

  it('counts shared blocks once among parameters, and in each layer that uses one among FLOPs', () => {
    const [d, f, H, G, D, r, R] = [32, 40, 4, 2, 8, 3, 5];
    const base = { hiddenSize: d, intermediateSize: f, numHeads: H, numKvHeads: G, headDim: D, conv: { width: 2 } };
    const cost = (layers: string, more: object = {}) =>
      modelCost(resolveModelConfig({ ...base, layers, block: { mlp: false }, ...more }), 16);
    const [attention, mlp] = [2 * d * (H + 2 * G) * D + H * D * d, 3 * d * f];
    const adapters = [3 * 2 * d * r + r * (H + 2 * G) * D, d * R + 2 * f * R] as const;
    const plain = cost('5*conv');
    const shared = cost('conv 2*shared:swa:4+conv 2*shared:full:nope+conv', {
      shared: { blocks: 2, attentionRank: r, mlpRank: R },
    });
    const own = d * d + adapters[0] + adapters[1];
    expect(shared.parameters.shared).toBe(2 * (2 * d + d + attention + mlp));
    expect(shared.parameters.total).toBe(plain.parameters.total + shared.parameters.shared + 4 * own);
    expect(shared.parameters.nonEmbedding - plain.parameters.nonEmbedding).toBe(shared.parameters.shared + 4 * own);
    expect(shared.parameters.finalNorm).toBe(d);
    expect(shared.layers[0]).toEqual(plain.layers[0]);
    const flops = plain.layers[0]?.flops;
    for (const layer of [1, 2, 3, 4]) {
      const projections = (flops?.projections ?? NaN) + 2 * (attention + d * d + adapters[0]);
      expect(shared.layers[layer]?.flops).toMatchObject({ projections, mlp: 2 * (mlp + adapters[1]) });
      const keys = layer < 3 ? 4 : 16;
      expect(shared.layers[layer]?.cacheBytes).toBe((plain.layers[0]?.cacheBytes ?? NaN) + 4 * 2 * G * D * keys);
    }
    const built = initialParameters(resolveModelConfig({ ...base, layers: '2*shared:full+conv' }), 0);
    expect([...built.keys()].filter((name) => name.startsWith('shared.')).map((name) => name.slice(9))).toEqual([
      ...['norm1.weight', 'attn.wqkv', 'attn.wo', 'norm2.weight', 'mlp.wgateup', 'mlp.wdown'],
    ]);
  });

  it('refuses shared blocks that no layer is left for, or beside what they do not go with', () => {
    const base = { hiddenSize: 32, numHeads: 4, layers: 'conv shared:full+conv' };
    const message = (more: object) => {
      expect(() => resolveModelConfig({ ...base, ...more })).toThrow(ConfigError);
      try {
        resolveModelConfig({ ...base, ...more });
      } catch (error) {
        return messageOf(error);
      }
      return '';
    };
    expect(message({ shared: { blocks: 2 } })).toContain('2 blocks for 1 layers that use one; give at most 1');
    expect(message({ cca: {} })).toContain('leave cca out');
    expect(message({ block: { norm: 'post' } })).toContain('set norm to pre');
    expect(message({ block: { parallel: true } })).toContain('parallel to false');
    expect(resolveModelConfig({ ...base, layers: 'conv', shared: { blocks: 3 } }).shared).toBe(null);
  });

  it('counts heads by layer', () => {
    const base = { hiddenSize: 32, headDim: 8, numLayers: 1 };
    const cost = (layers: string, counts: object) => modelCost(resolveModelConfig({ ...base, layers, ...counts }), 40);
    for (const kind of ['swa:7', 'full', 'chunk:5']) {
      const own = cost(`${kind}#6,3`, { numHeads: 4, numKvHeads: 2 });
      const all = cost(kind, { numHeads: 6, numKvHeads: 3 });
      expect({ ...own.layers[0], label: '' }).toEqual({ ...all.layers[0], label: '' });
    }
    expect(cost('full#6,3', { numHeads: 4, numKvHeads: 2 }).cacheBytes).toBe(4 * 2 * 3 * 8 * 40);
  });

  it('agrees with the closed forms of attention and SwiGLU', () => {
    const config = resolveModelConfig({
      vocabSize: 11,
      hiddenSize: 24,
      layers: 'swa:5 full',
      numHeads: 6,
      numKvHeads: 2,
      headDim: 8,
      intermediateSize: 40,
      qkNorm: true,
      sinks: true,
      outputGate: true,
    });
    const cost = modelCost(config, 16);
    const projections = 2 * 24 * 48 + 2 * 24 * 16 + 24 * 48;
    expect(cost.layers[0]?.parameters).toEqual({
      mixer: projections + 2 * 8 + 6,
      mlp: 3 * 24 * 40,
      norm: 48,
      total: projections + 22 + 2880 + 48,
    });
    expect(cost.layers[0]?.flops).toEqual({
      projections: 2 * projections,
      sequence: 4 * 48 * (5 - 20 / 32),
      mlp: 6 * 24 * 40,
      total: 2 * projections + 4 * 48 * (5 - 20 / 32) + 5760,
    });
    expect(cost.layers[1]?.flops.sequence).toBe(4 * 48 * 8.5);
    expect(cost.layers.map((l) => l.cacheBytes)).toEqual([4 * 2 * 16 * 5, 4 * 2 * 16 * 16]);
    expect(modelCost(config, 16, { cacheElementBytes: 2 }).cacheBytes).toBe(2 * 2 * 16 * 21);
    expect(cost.headFlops).toBe(2 * 24 * 11);
    expect(cost.forwardFlops).toBe(cost.headFlops + cost.layers.reduce((n, l) => n + l.flops.total, 0));
    expect(cost.trainFlops).toBe(3 * cost.forwardFlops);
  });

  it('counts a dense layer of the head to the head, once a token', () => {
    const settings = { vocabSize: 11, hiddenSize: 24, layers: 'full', numHeads: 4, tieEmbeddings: true };
    const [plain, dense] = [{}, { headLayer: { bias: true }, normBias: true }].map((more) =>
      modelCost(resolveModelConfig({ ...settings, ...more }), 16),
    );
    expect(dense?.parameters.head).toBe(24 * 24 + 24);
    expect(dense?.parameters.finalNorm).toBe(4 * 24);
    expect((dense?.headFlops ?? 0) - (plain?.headFlops ?? 0)).toBe(2 * 24 * 24);
  });

  it('counts the worked example of 8 heads of 64 over 4,096 tokens', () => {
    const config = resolveModelConfig({ hiddenSize: 512, layers: 'full swa:128', numHeads: 8 });
    const [full, window] = modelCost(config, 4096).layers;
    expect((full?.flops.sequence ?? 0) / 1e6).toBeCloseTo(4.2, 2);
    expect((full?.flops.projections ?? 0) / 1e6).toBeCloseTo(2.1, 2);
    expect((window?.flops.sequence ?? 0) / 1e6).toBeCloseTo(0.258, 3);
  });

  it('divides sequence costs and cache between the windows of a mixed layer', () => {
    const base = { hiddenSize: 64, numHeads: 4, numKvHeads: 2, numLayers: 1 };
    const [mixed, short, full] = ['swa:8/full', 'swa:8', 'full'].map((layers) =>
      modelCost(resolveModelConfig({ ...base, layers }), 128),
    );
    expect(mixed?.layers[0]?.flops.sequence).toBe(
      ((short?.layers[0]?.flops.sequence ?? 0) + (full?.layers[0]?.flops.sequence ?? 0)) / 2,
    );
    expect(mixed?.cacheBytes).toBe(((short?.cacheBytes ?? 0) + (full?.cacheBytes ?? 0)) / 2);
  });
});

/** FLOPs of the matrix products of a graph. */
function productFlops({ nodes }: Graph): number {
  return nodes.reduce((n, node) => {
    if (node.op === 'scan') {
      const { length, body } = node.attrs;
      return n + length * productFlops(body);
    }
    if (node.op !== 'dot') return n;
    const { lhsContract } = node.attrs;
    const lhs = node.inputs[0].shape;
    return n + 2 * sizeOf(node.outputs[0].shape) * lhsContract.reduce((k, axis) => k * lhs[axis]!, 1);
  }, 0);
}

describe('cost of recurrent mixers', () => {
  const shape = { hiddenSize: 128, numHeads: 4, intermediateSize: 96, vocabSize: 16, numLayers: 1 };
  // What the built graph has beside the model of costs, per token: sums over chunks, and less than C x C for the inverse of a
  // triangle.
  const sums = (H: number, K: number, V: number, N: number, T: number) => (2 * (N + 1) ** 2 * H * K * V) / T;
  it.each([
    ['lightning', {}, (N: number, _: number, T: number) => sums(4, 32, 32, N, T)],
    ['gla', { keyDim: 8, valueDim: 24, numKvHeads: 2 }, (N: number, _: number, T: number) => sums(4, 8, 24, N, T)],
    [
      'mamba2',
      { headDim: 32, stateSize: 24, numGroups: 2 },
      (N: number, _: number, T: number) => sums(8, 24, 32, N, T),
    ],
    ['gdn', { numHeads: 2, numValueHeads: 4, keyDim: 16, valueDim: 32 }, () => (-8 / 3) * 4],
    ['kda', { keyDim: 16, valueDim: 24 }, () => (-8 / 3) * 4],
    ['rwkv7', { keyDim: 16, valueDim: 24 }, () => (-8 / 3) * 4],
    ['mlstm', { keyDim: 8, valueDim: 24 }, (N: number, _: number, T: number) => sums(4, 8, 25, N, T)],
  ])('agrees with the products of the built graph of %s', (layers, section, beside) => {
    for (const [T, chunk] of [
      [64, 16],
      [256, 64],
      [256, 32],
    ] as const) {
      const config = resolveModelConfig({ ...shape, layers, [layers]: { ...section, chunk } });
      const params = parameterInputs(config);
      const tokens = input('tokens', 'i32', [2, T]);
      const inputs = { ...Object.fromEntries(params), tokens };
      const graph = expand(makeGraph(inputs, { logits: forward(config, params, tokens).logits }));
      const got = productFlops(graph) / (2 * T) - beside(T / chunk, chunk, T);
      expect(got / modelCost(config, T).forwardFlops).toBeCloseTo(1, 9);
    }
  });

  it('counts the worked examples of a width of 512 over 4,096 tokens in chunks of 64', () => {
    const base = { hiddenSize: 512, numHeads: 8 };
    const cost = (layers: string, section: object) =>
      modelCost(resolveModelConfig({ ...base, layers, [layers]: { chunk: 64, ...section } }), 4096).layers[0]!;
    const lightning = cost('lightning', {});
    expect(lightning.flops.sequence / 1e6).toBeCloseTo(0.262, 3);
    expect(lightning.cacheBytes).toBe(4 * 32_768);
    const mamba = cost('mamba2', {});
    expect(mamba.flops.sequence / 1e6).toBeCloseTo(0.672, 3);
    expect(mamba.cacheBytes).toBe(4 * (131_072 + 3 * (1024 + 256)));
    expect(mamba.parameters.mixer / 512 ** 2).toBeCloseTo(6.56, 2);
    const gdn = cost('gdn', { keyDim: 32, valueDim: 64 });
    expect(gdn.flops.sequence / 1e6).toBeCloseTo(0.3495, 3);
    expect(gdn.cacheBytes).toBe(4 * (16_384 + 3 * 1024));
    expect(gdn.parameters.mixer / 512 ** 2).toBeCloseTo(4.047, 3);
  });

  it('keeps states in float32 whatever the cache is in', () => {
    const config = resolveModelConfig({
      hiddenSize: 512,
      numHeads: 8,
      layers: 'gdn',
      gdn: { keyDim: 32, valueDim: 64 },
    });
    expect(modelCost(config, 8, { cacheElementBytes: 2 }).cacheBytes).toBe(4 * 16_384 + 2 * 3 * 1024);
  });
});

describe('meanGroupKeys', () => {
  it('is the mean of what each query of a chunk sees', () => {
    for (const chunk of [1, 2, 5, 8, 30]) {
      for (const window of [chunk, 3, 1].filter((w) => w <= chunk)) {
        for (const seqLen of [1, 4, 5, 6, 16, 29]) {
          const group = { window, chunk };
          const sum = Array.from({ length: seqLen }, (_, t) => t + 1 - firstVisible(group, t)).reduce((a, b) => a + b);
          expect(meanGroupKeys(group, seqLen)).toBeCloseTo(sum / seqLen, 12);
        }
      }
    }
  });
});

describe('meanVisibleKeys', () => {
  it('equals the mean of min(t + 1, w) over the sequence', () => {
    for (const seqLen of [1, 2, 7, 64]) {
      for (const window of [1, 2, 6, 7, 8, 63, 64, 65, 1000, null]) {
        let sum = 0;
        for (let t = 0; t < seqLen; t++) sum += Math.min(t + 1, window ?? Infinity);
        expect(meanVisibleKeys(window, seqLen)).toBeCloseTo(sum / seqLen, 12);
      }
    }
  });
});

describe('initialParameters', () => {
  const input = { vocabSize: 64, hiddenSize: 64, numHeads: 4, intermediateSize: 192, numLayers: 4 };

  it('does not depend on windows or positions', () => {
    const a = initialParameters(resolveModelConfig({ ...input, layers: 'swa:8 full' }), 5);
    const b = initialParameters(resolveModelConfig({ ...input, layers: 'full:nope/swa:9', qkNorm: true }), 5);
    for (const [name, tensor] of a) expect(b.get(name), name).toEqual(tensor);
    const other = initialParameters(resolveModelConfig({ ...input, layers: 'full' }), 6);
    expect(other.get('embed.weight')).not.toEqual(a.get('embed.weight'));
    expect(a.get('layers.0.attn.wqkv')).not.toEqual(a.get('layers.1.attn.wqkv'));
  });

  it.each([
    ['fan-in', { scheme: 'fan-in' }, { 'embed.weight': 1 / 8, 'layers.1.attn.wqkv': 1 / 8, 'head.weight': 1 / 8 }],
    [
      'fan-in',
      { scheme: 'fan-in' },
      { 'layers.1.attn.wo': 1 / 8 / Math.sqrt(8), 'layers.0.mlp.wdown': 1 / Math.sqrt(192 * 8) },
    ],
    [
      'normal',
      { scheme: 'normal', std: 0.5 },
      { 'embed.weight': 0.5, 'layers.1.mlp.wgateup': 0.5, 'head.weight': 0.5 },
    ],
    ['normal', { scheme: 'normal', std: 0.5 }, { 'layers.1.attn.wo': 0.5 / Math.sqrt(8) }],
  ])('has mean 0 and the stated spread under %s', (_, init, spreads) => {
    const params = initialParameters(resolveModelConfig({ ...input, layers: 'full', init }), 1);
    for (const [name, std] of Object.entries(spreads)) {
      const data = params.get(name)?.data ?? new Float32Array();
      const n = data.length;
      const mean = data.reduce((s, v) => s + v, 0) / n;
      const spread = Math.sqrt(data.reduce((s, v) => s + v * v, 0) / n);
      // Five standard errors of each estimate.
      expect(Math.abs(mean) / std, name).toBeLessThan(5 / Math.sqrt(n));
      expect(Math.abs(spread / std - 1), name).toBeLessThan(5 / Math.sqrt(2 * n));
    }
  });

  it('starts decay rates and step sizes of recurrent mixers in their ranges, and decays none of them', () => {
    const config = resolveModelConfig({
      ...input,
      hiddenSize: 512,
      numLayers: 1,
      layers: 'mamba2',
      mamba2: { headDim: 4 },
    });
    const params = initialParameters(config, 3);
    const of = (name: string) => [...(params.get(`layers.0.mamba2.${name}`)?.data ?? [])];
    const rates = of('alog').map(Math.exp);
    expect([Math.min(...rates), Math.max(...rates)].map(Math.round)).toEqual([1, 16]);
    expect(rates.reduce((a, b) => a + b, 0) / rates.length).toBeCloseTo(8.5, 0);
    const steps = of('dtbias').map((b) => Math.log10(Math.log1p(Math.exp(b))));
    expect(Math.min(...steps)).toBeGreaterThanOrEqual(-3.001);
    expect(Math.max(...steps)).toBeLessThanOrEqual(-0.999);
    expect(steps.reduce((a, b) => a + b, 0) / steps.length).toBeCloseTo(-2, 0);
    const taps = of('conv.weight');
    expect(Math.max(...taps.map(Math.abs))).toBeLessThanOrEqual(0.5);
    expect(taps.reduce((a, b) => a + b * b, 0) / taps.length).toBeCloseTo(1 / 12, 2);
    const still = parameterSpecs(config).filter((s) => s.shape.length >= 2 && !decays(s));
    expect(still.map((s) => s.name)).toEqual(['layers.0.mamba2.conv.weight']);
    const scalars = parameterSpecs(config).filter((s) => /alog|dtbias|skip/.test(s.name));
    expect(scalars.some(decays)).toBe(false);
  });

  it('starts norms at 1 and sinks at 0, and lists parameters in order', () => {
    const config = resolveModelConfig({
      ...input,
      numLayers: 1,
      layers: 'full',
      sinks: true,
      qkNorm: true,
      outputGate: true,
    });
    const params = initialParameters(config, 1);
    for (const name of ['layers.0.norm1.weight', 'layers.0.attn.qnorm.weight', 'norm.weight'])
      expect(
        params.get(name)?.data.every((v) => v === 1),
        name,
      ).toBe(true);
    expect(params.get('layers.0.attn.sinks')?.data).toEqual(new Float32Array(4));
    expect([...params.keys()]).toEqual(parameterSpecs(config).map((s) => s.name));
    expect([...params.keys()]).toEqual([
      'embed.weight',
      'layers.0.norm1.weight',
      'layers.0.attn.wqkv',
      'layers.0.attn.qnorm.weight',
      'layers.0.attn.knorm.weight',
      'layers.0.attn.sinks',
      'layers.0.attn.wgate',
      'layers.0.attn.wo',
      'layers.0.norm2.weight',
      'layers.0.mlp.wgateup',
      'layers.0.mlp.wdown',
      'norm.weight',
      'head.weight',
    ]);
  });
});
