import { describe, expect, it } from 'vitest';
import { ConfigError } from '../core/index.js';
import { blockOf, resolveModelConfig } from './config.js';
import { modelCost } from './cost.js';
import type { ParamSpec } from './mixers/spec.js';
import { parameterSpecs } from './params.js';
import { headGroups } from './plan.js';
import {
  LAPTOP_PATTERNS,
  PRESET_NAMES,
  STUDY_PATTERNS,
  STUDY_SIZES,
  type StudyPattern,
  type StudySize,
} from './presets.js';
import { modelSchema } from './schema.js';

const SMALL = { hiddenSize: 64, layers: 'swa:8 full', numHeads: 4 };

function messageOf(input: unknown): string {
  try {
    resolveModelConfig(input);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  return expect.unreachable('should not resolve');
}

describe('resolveModelConfig', () => {
  it('fills in defaults and repeats the pattern', () => {
    const config = resolveModelConfig({ ...SMALL, numLayers: 4 });
    expect(config).toMatchObject({
      vocabSize: 256,
      numLayers: 4,
      numKvHeads: 4,
      headDim: 16,
      intermediateSize: 192,
      ropeTheta: 10_000,
      rmsNormEps: 1e-6,
      qkNorm: false,
      sinks: false,
      outputGate: false,
      tieEmbeddings: false,
      init: { scheme: 'fan-in' },
    });
    expect(config.layers.map((l) => headGroups(l)[0]?.window)).toEqual([8, null, 8, null]);
    expect(resolveModelConfig(SMALL).numLayers).toBe(2);
    expect(resolveModelConfig({ ...SMALL, init: { scheme: 'normal' } }).init).toEqual({ scheme: 'normal', std: 0.02 });
  });

  it('takes lists of short forms and layers written out', () => {
    const config = resolveModelConfig({
      ...SMALL,
      layers: ['2*swa:8', { mixer: 'attention', groups: [{ window: null, heads: 4, rope: false }] }, 'swa:9/full'],
    });
    expect(config.layers.map(headGroups)).toEqual([
      [{ window: 8, heads: 4, rope: true }],
      [{ window: 8, heads: 4, rope: true }],
      [{ window: null, heads: 4, rope: false }],
      [
        { window: 9, heads: 2, rope: true },
        { window: null, heads: 2, rope: true },
      ],
    ]);
  });

  it('resolves its own result to the same value, through JSON', () => {
    for (const input of [SMALL, { ...SMALL, numKvHeads: 2, layers: 'swa:8/full:nope', qkNorm: true, headDim: 24 }]) {
      const config = resolveModelConfig(input);
      expect(resolveModelConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
    }
  });

  it.each([
    [{ ...SMALL, hidenSize: 3 }, 'model: unknown key "hidenSize"; did you mean "hiddenSize"?'],
    [{ ...SMALL, numHeads: 3 }, 'hiddenSize 64 is not divisible by numHeads 3; change one of them or give headDim'],
    [{ ...SMALL, numKvHeads: 3 }, 'numHeads 4 is not a multiple of numKvHeads 3; numKvHeads may be 1, 2, 4'],
    [{ ...SMALL, headDim: 15 }, 'headDim 15 is odd, but rotary positions turn pairs of channels'],
    [
      { ...SMALL, numLayers: 3 },
      'numLayers 3 is not a multiple of the 2 layers of the pattern, which repeats whole; use 2 or 4',
    ],
    [
      { ...SMALL, numLayers: 1 },
      'numLayers 1 is not a multiple of the 2 layers of the pattern, which repeats whole; use 2,',
    ],
    [{ ...SMALL, layers: 'swa:0 full' }, 'model.layers: "swa:0" (token 1 of "swa:0 full"): window 0 must be'],
    [{ ...SMALL, layers: ['full', 'swa:x'] }, 'model.layers[1]: "swa:x": window x must be'],
    [
      { ...SMALL, layers: [{ mixer: 'attention', groups: [{ window: 0, heads: 4 }] }] },
      'window must be at least 1, got 0',
    ],
    [
      { ...SMALL, layers: [{ mixer: 'attention', groups: [{ window: 3, heads: 3 }] }] },
      'model.layers[0]: its groups name 3 query heads, but the model has 4',
    ],
    [{ ...SMALL, hiddenSize: 0 }, 'hiddenSize must be at least 1, got 0'],
    [{ layers: 'full', numHeads: 4 }, 'hiddenSize is missing'],
    [{ ...SMALL, init: { scheme: 'fanin' } }, 'did you mean "fan-in"?'],
    [
      { ...SMALL, layers: 'mamba2', hiddenSize: 60 },
      'model.mamba2: the inner width 120 (expand 2 times hiddenSize 60) is not a multiple of headDim 64; change headDim',
    ],
    [
      { ...SMALL, mamba2: { expand: 2, numHeads: 3 } },
      'expand 2 makes the inner width 128, but 3 heads of 64 make 192; give only one of expand and numHeads',
    ],
    [{ ...SMALL, mamba2: { numGroups: 3 } }, 'model.mamba2: numHeads 2 is not a multiple of numGroups 3'],
    [{ ...SMALL, mamba2: { dtMin: 1, dtMax: 0.5 } }, 'model.mamba2: dtMax 0.5 is below dtMin 1'],
    [{ ...SMALL, gdn: { numHeads: 3, numValueHeads: 4 } }, 'numValueHeads 4 is not a multiple of numHeads 3'],
    [{ ...SMALL, lightning: { numKvHeads: 3 } }, 'model.lightning: numHeads 4 is not a multiple of numKvHeads 3'],
    [{ ...SMALL, lightning: { headDim: 15, rope: true } }, 'model.lightning: headDim 15 is odd'],
    [{ ...SMALL, kda: { chunk: 48 } }, 'chunk must be a power of two'],
    [{ ...SMALL, lightning: { slope: 'alibi' } }, 'did you mean "slopes"?'],
    [{ preset: 'laptop-swa8' }, 'unknown preset "laptop-swa8"; did you mean "laptop-swa-8"?'],
    ['full', 'must be an object'],
  ])('refuses %j', (input, message) => {
    expect(messageOf(input)).toContain(message);
  });

  it('fills in the sections of the recurrent mixers that layers use', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'gdn lightning mamba2 gla kda conv full', kda: { rank: 5 } });
    expect(config.gdn).toEqual({
      numHeads: 4,
      numValueHeads: 4,
      keyDim: 12,
      valueDim: 24,
      convWidth: 4,
      allowNegEigval: false,
      gate: true,
      normEps: 1e-6,
      chunk: null,
    });
    expect(config.lightning).toMatchObject({ numHeads: 4, numKvHeads: 4, headDim: 16, scale: 0.25, slopes: 'alibi' });
    expect(config.mamba2).toMatchObject({ numHeads: 2, headDim: 64, stateSize: 128, normGroups: 1, normEps: 1e-5 });
    expect(config.mamba2).not.toHaveProperty('expand');
    expect(config.gla).toMatchObject({ numHeads: 4, keyDim: 16, valueDim: 16, gateNormalizer: 16 });
    expect(config.conv).toEqual({ width: 3, bias: false });
    expect(config.kda).toMatchObject({ numHeads: 4, keyDim: 16, valueDim: 16, rank: 5 });
    expect(resolveModelConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
    const other = resolveModelConfig({ ...SMALL, gdn: { keyDim: 8 } });
    expect(other).not.toHaveProperty('gdn');
    expect(() => resolveModelConfig({ ...SMALL, gdn: { keyDim: 0 } })).toThrow('gdn.keyDim must be at least 1, got 0');
  });

  it('lets odd heads pass where no layer turns them', () => {
    expect(resolveModelConfig({ ...SMALL, headDim: 15, layers: 'full:nope' }).headDim).toBe(15);
  });

  it('takes one block for all layers or one for each, and stays the same when resolved again', () => {
    const post = { norm: 'post' } as const;
    const mixed = resolveModelConfig({ ...SMALL, block: [post, {}], qkNorm: true });
    expect(blockOf(mixed, 0).norm).toBe('post');
    expect(blockOf(mixed, 1).norm).toBe('pre');
    expect(resolveModelConfig(mixed)).toEqual(mixed);
    const same = resolveModelConfig({ ...SMALL, block: [post, post] });
    expect(same).toEqual(resolveModelConfig({ ...SMALL, block: post }));
  });

  it('takes mixers beside layers that are MLPs alone for blocks of their own, unless told', () => {
    const config = resolveModelConfig({ ...SMALL, layers: 'full mlp' });
    const mlps = (c: typeof config) => c.layers.map((_, layer) => blockOf(c, layer).mlp);
    expect(mlps(config)).toEqual([false, true]);
    expect(resolveModelConfig(config)).toEqual(config);
    expect(resolveModelConfig({ ...SMALL, layers: 'full mlp', block: [{ mlp: false }, { mlp: true }] })).toEqual(
      config,
    );
    const both = resolveModelConfig({ ...SMALL, layers: 'full mlp', block: { mlp: true } });
    expect(mlps(both)).toEqual([true, true]);
    expect(resolveModelConfig(JSON.parse(JSON.stringify(both)))).toEqual(both);
    const names = parameterSpecs(config).flatMap(({ name }) => (name.startsWith('layers.') ? [name] : []));
    expect(names).toEqual([
      ...['norm1.weight', 'attn.wqkv', 'attn.wo'].map((name) => `layers.0.${name}`),
      ...['norm2.weight', 'mlp.wgateup', 'mlp.wdown'].map((name) => `layers.1.${name}`),
    ]);
    // Each block writes to the residual stream once.
    const { init } = parameterSpecs(config).find(({ name }) => name === 'layers.1.mlp.wdown') as ParamSpec;
    expect(init).toEqual({ kind: 'normal', std: 1 / Math.sqrt(config.intermediateSize) / Math.sqrt(2) });
  });

  it.each([
    [{ layers: 'full mlp', block: { parallel: true, mlp: true } }, 'every layer must have a mixer'],
    [{ block: [{}] }, 'model.block has 1 entries for 2 layers'],
    [{ block: { parallel: true, norm: 'post' } }, 'where mixer and MLP are parallel, norm must be pre, not post'],
    [{ block: { parallel: true, mlp: false } }, 'there must be an MLP'],
    [
      { block: { mixerNorm: false, norm: 'both' } },
      'model.block: where no norm stands before the mixer (mixerNorm false), norm must be pre, not both',
    ],
    [
      { block: [{}, { mixerNorm: false, parallel: true }] },
      'model.block[1]: where no norm stands before the mixer (mixerNorm false), mixer and MLP must not be parallel',
    ],
    [{ layers: 'shared:full+mamba2', block: { mixerNorm: false } }, 'no layer may use a shared block'],
    [{ ropeDim: 18 }, 'ropeDim 18 must be even and at most headDim 16'],
    [{ layers: 'full:local' }, ':local layers need localRope'],
    [
      { ropeScaling: { type: 'longrope', short: [1, 2], long: [1, 2], factor: 4, originalLength: 64 } },
      'longrope ropeScaling needs 8 factors in short, one for each pair of ropeDim 16',
    ],
    [{ ropeDim: 2, ropeScaling: { type: 'dynamic', factor: 4, originalLength: 64 } }, 'needs a ropeDim above 2'],
    [{ ropeTheta: 1e-30 }, 'ropeTheta must be at least 1, got 1e-30'],
    [{ ropeTheta: 1, ropeScaling: { type: 'yarn', factor: 4, originalLength: 64 } }, 'needs a ropeTheta above 1'],
    [{ ropeScaling: { type: 'linear', factor: 1e-37 } }, 'which float32 cannot count; choose another factor'],
    [
      { ropeScaling: { type: 'yarn', factor: 4, originalLength: 64, attentionFactor: 1e30 } },
      'are beyond float32; choose an attentionFactor near 1',
    ],
  ])('refuses %o', (change, message) => {
    expect(messageOf({ ...SMALL, ...change })).toContain(message);
  });

  it('describes every field of the schema', () => {
    for (const [key, field] of Object.entries(modelSchema.shape)) expect(field.description, key).toBeTruthy();
  });
});

describe('presets', () => {
  it('resolve, every one, and give way to fields beside them', () => {
    for (const preset of PRESET_NAMES) expect(() => resolveModelConfig({ preset }), preset).not.toThrow();
    const config = resolveModelConfig({ preset: 'laptop-swa-8', vocabSize: 256, layers: 'swa:3 full' });
    expect(config).toMatchObject({ vocabSize: 256, hiddenSize: 64, numLayers: 4 });
    expect(config.layers.flatMap(headGroups)[0]?.window).toBe(3);
  });

  it('have the parameter counts of the study, whatever the pattern', () => {
    for (const size of Object.keys(STUDY_SIZES) as StudySize[]) {
      for (const pattern of Object.keys(STUDY_PATTERNS) as StudyPattern[]) {
        const config = resolveModelConfig({ preset: `${size}-${pattern}` });
        const { nonEmbedding } = modelCost(config, 4096).parameters;
        const target = STUDY_SIZES[size].nonEmbedding;
        if (config.layers.every((l) => l.mixer === 'attention')) expect(nonEmbedding).toBe(target);
        else expect(Math.abs(nonEmbedding / target - 1), `${size}-${pattern}: ${nonEmbedding}`).toBeLessThan(0.01);
      }
    }
    expect(STUDY_SIZES.s5.nonEmbedding / 1e6).toBeCloseTo(477, 0);
  });

  it('have laptop models with the same parameters, within 1 %', () => {
    const count = (preset: string) => modelCost(resolveModelConfig({ preset }), 128).parameters.nonEmbedding;
    for (const pattern of Object.keys(LAPTOP_PATTERNS)) {
      expect(Math.abs(count(`laptop-${pattern}`) / count('laptop-full') - 1), pattern).toBeLessThan(0.01);
    }
  });

  it('keep three window layers to a full one at the end in the 1:3 ratio, at depths that four does not divide', () => {
    const windows = resolveModelConfig({ preset: 's1-swa-128-1to3' }).layers.map(
      (l) => headGroups(l)[0]?.window ?? 'full',
    );
    expect(windows).toEqual([128, 128, 128, 128, 128, 'full', 128, 128, 128, 'full']);
  });
});
