/**
 * Lightning Attention: linear attention whose heads forget at fixed rates (Qin et al. 2024; MiniMax 2025).
 * Implementations do not agree on rates, activation, norm and gate, so all of these are settings.
 */
import { z } from 'zod';
import { ConfigError, realNumber } from '../../core/index.js';
import {
  add,
  constantFrom,
  linear,
  linearRecurrence,
  mul,
  reduceMean,
  rmsNorm,
  sigmoid,
  sub,
  type Value,
} from '../../graph/index.js';
import { defineMixer, type RecurrentScope, type Resolved } from './definition.js';
import { linearParts } from './linear.js';
import {
  checkEven,
  checkMultiple,
  chunk,
  chunkLength,
  count,
  joinHeads,
  linearFlops,
  lowRank,
  normEps,
  numHeads,
  recur,
  recurrenceStates,
  silu,
  toHeads,
} from './parts.js';
import { ONES, ZEROS } from './spec.js';

/** The section `model.lightning`. */
const schema = z.strictObject({
  numHeads,
  numKvHeads: count.optional().describe('key/value heads; divides numHeads (default: numHeads)'),
  headDim: count.optional().describe('width of one head (default: that of the model)'),
  slopes: z
    .enum(['alibi', 'power', 'linear'])
    .default('alibi')
    .describe(
      'decay of a head in nats a token: alibi (2^(-8(h+1)/H), with ALiBi’s rule where H is no power of two), power (the ' +
        'formula alone, as MiniMax), linear (8h/H, as flash-linear-attention)',
    ),
  rates: z
    .array(z.array(realNumber()))
    .optional()
    .describe(
      'decay of each head in nats a token, a list for each layer of the model, in place of slopes and layerFactor',
    ),
  layerFactor: z
    .enum(['none', 'tnl', 'minimax', 'fla'])
    .default('none')
    .describe(
      'what the slopes of layer l of L are multiplied by: none, tnl (1 - l/(L-1) + 1e-5), minimax (1 - l/(L-1+1e-5) + 1e-5), ' +
        'fla (1 - l/L)',
    ),
  activation: z.enum(['none', 'silu']).default('none').describe('on queries, keys and values'),
  scale: realNumber().positive().optional().describe('factor on the result (default: 1/sqrt(headDim))'),
  qkNorm: z.boolean().default(false).describe('RMSNorm on each query and key head'),
  rope: z.boolean().default(false).describe('rotary positions'),
  norm: z.enum(['rms', 'layer', 'none']).default('rms').describe('output norm, over all heads together'),
  gate: z
    .enum(['full', 'low-rank', 'none'])
    .default('full')
    .describe(
      'sigmoid of a projection of the layer input on the normalized output; low-rank goes through headDim channels',
    ),
  normEps: normEps('rmsNormEps'),
  chunk,
});

/** The resolved section `model.lightning`. */
export type LightningConfig = Resolved<typeof schema, 'numHeads' | 'numKvHeads' | 'headDim' | 'scale' | 'normEps'>;

/**
 * ALiBi's slopes (Press et al. 2022): a geometric series; between powers of two, every other slope of the next fills
 * up.
 */
function alibiSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const series = (n: number): number[] => Array.from({ length: n }, (_, h) => 2 ** ((-8 * (h + 1)) / n));
  const between = series(2 * power).filter((_, h) => h % 2 === 0);
  return [...series(power), ...between].slice(0, heads);
}

const SLOPES: { readonly [K in LightningConfig['slopes']]: (heads: number) => number[] } = {
  alibi: alibiSlopes,
  power: (heads) => Array.from({ length: heads }, (_, h) => 2 ** ((-8 * (h + 1)) / heads)),
  linear: (heads) => Array.from({ length: heads }, (_, h) => (8 * h) / heads),
};

const LAYER_FACTORS: { readonly [K in LightningConfig['layerFactor']]: (layer: number, layers: number) => number } = {
  none: () => 1,
  // A model of one layer has no last layer to count to.
  tnl: (layer, layers) => 1 - layer / Math.max(1, layers - 1) + 1e-5,
  minimax: (layer, layers) => 1 - layer / (layers - 1 + 1e-5) + 1e-5,
  fla: (layer, layers) => 1 - layer / layers,
};

/** What each head of layer `layer` of `layers` forgets per token, in nats. */
export function lightningSlopes(
  { numHeads, slopes, layerFactor, rates }: LightningConfig,
  layer: number,
  layers: number,
): readonly number[] {
  if (rates !== undefined) {
    const own = rates[layer] ?? [];
    if (own.length === numHeads) return own;
    throw new ConfigError(
      `model.lightning.rates[${layer}] has ${own.length} entries for ${numHeads} heads; give one for each head of every layer`,
      { details: { layer, rates } },
    );
  }
  const factor = LAYER_FACTORS[layerFactor](layer, layers);
  return SLOPES[slopes](numHeads).map((slope) => slope * factor);
}

function normalize({ param }: RecurrentScope, { norm, normEps }: LightningConfig, x: Value): Value {
  if (norm === 'none') return x;
  const weight = param('norm.weight');
  if (norm === 'rms') return rmsNorm(x, weight, normEps);
  const centered = sub(x, reduceMean(x, [x.shape.length - 1], true));
  return add(rmsNorm(centered, weight, normEps), param('norm.bias'));
}

function gated(scope: RecurrentScope, { gate }: LightningConfig, x: Value): Value {
  switch (gate) {
    case 'none':
      return x;
    case 'full':
      return mul(x, sigmoid(linear(scope.x, scope.inputMatrix('wgate'))));
    case 'low-rank':
      return mul(x, sigmoid(lowRank(scope, 'wgatedown', 'wgateup')));
  }
}

/** Lightning Attention: linear attention with a fixed decay per head. */
export const lightningMixer = defineMixer({
  summary: 'Lightning Attention: linear attention with a fixed decay per head',
  schema,
  grows: ['numHeads', 'numKvHeads'],
  resolve: (section, model, where): LightningConfig => {
    const numHeads = section.numHeads ?? model.numHeads;
    const numKvHeads = section.numKvHeads ?? numHeads;
    const headDim = section.headDim ?? model.headDim;
    checkMultiple(where, ['numHeads', numHeads], ['numKvHeads', numKvHeads]);
    if (section.rope) checkEven(where, headDim);
    const scale = section.scale ?? 1 / Math.sqrt(headDim);
    return { ...section, numHeads, numKvHeads, headDim, scale, normEps: section.normEps ?? model.rmsNormEps };
  },
  params: (make, { numHeads: H, numKvHeads: G, headDim: D, qkNorm, norm, gate }, { hiddenSize: d }) => {
    const inner = H * D;
    return [
      make.matrix('wqkv', d, [inner, G * D, G * D]),
      ...(qkNorm ? [make.vector('qnorm.weight', D, ONES), make.vector('knorm.weight', D, ONES)] : []),
      ...(norm === 'none' ? [] : [make.vector('norm.weight', inner, ONES)]),
      ...(norm === 'layer' ? [make.vector('norm.bias', inner, ZEROS)] : []),
      ...(gate === 'full' ? [make.matrix('wgate', d, inner)] : []),
      ...(gate === 'low-rank' ? [make.matrix('wgatedown', d, D), make.matrix('wgateup', D, inner)] : []),
      make.output('wo', inner),
    ];
  },
  sequenceFlops: ({ numHeads, headDim: D, chunk }, seqLen) => linearFlops(numHeads, D, D, chunkLength(chunk, seqLen)),
  states: ({ numHeads, headDim: D }) => recurrenceStates(null, [numHeads, D, D]),
  mix: (scope, section, state) => {
    const { x, param, inputMatrix } = scope;
    const { numHeads: H, numKvHeads: G, headDim: D, activation, qkNorm, rope, scale, normEps, chunk } = section;
    const parts = linearParts(x, inputMatrix('wqkv'), [H * D, G * D, G * D]);
    let [q, k, v] = parts.map((part) => toHeads(activation === 'silu' ? silu(part) : part, D)) as [Value, Value, Value];
    if (qkNorm) {
      q = rmsNorm(q, param('qnorm.weight'), normEps);
      k = rmsNorm(k, param('knorm.weight'), normEps);
    }
    if (rope) [q, k] = [scope.rotate(q), scope.rotate(k)];
    v = state.maskPadding(v);
    const slopes = lightningSlopes(section, scope.layer, scope.numLayers);
    const decay = constantFrom(
      x.dtype === 'bf16' ? 'f32' : x.dtype,
      [H],
      slopes.map((slope) => -slope),
    );
    const out = recur(state, (options) => linearRecurrence(q, k, v, decay, { ...options, scale, chunk }));
    return linear(gated(scope, section, normalize(scope, section, joinHeads(out))), param('wo'));
  },
});
