/**
 * Lightning Attention: linear attention whose heads forget at fixed rates (Qin et al. 2024; MiniMax 2025). Implementations do
 * not agree on rates, activation, norm and gate, so all of these are settings.
 */
import {
  add,
  constantFrom,
  linear,
  linearRecurrence,
  mul,
  reduceMean,
  rmsNorm,
  rotary,
  rotaryAt,
  rotaryFrequencies,
  sigmoid,
  sub,
  type Value,
} from '../graph/index.js';
import { linearParts } from './linear.js';
import type { MixerScope } from './mixer.js';
import type { LightningConfig } from './recurrent-config.js';
import {
  chunkLength,
  joinHeads,
  linearFlops,
  lowRank,
  recur,
  recurrenceStates,
  recurrentMixer,
  silu,
  toHeads,
} from './recurrent.js';
import { matrixInit, ONES, ZEROS } from './spec.js';

/** ALiBi's slopes (Press et al. 2022): a geometric series; between powers of two, every other slope of the next fills up. */
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
  { numHeads, slopes, layerFactor }: LightningConfig,
  layer: number,
  layers: number,
): number[] {
  const factor = LAYER_FACTORS[layerFactor](layer, layers);
  return SLOPES[slopes](numHeads).map((slope) => slope * factor);
}

/** Rotary positions on heads `x`, base ropeTheta. */
function rotate(x: Value, { config, positions }: MixerScope): Value {
  const frequencies = rotaryFrequencies(x.shape[3] as number, config.ropeTheta);
  return positions === null ? rotary(x, frequencies) : rotaryAt(x, frequencies, positions.values, positions.limit);
}

function normalise({ param }: MixerScope, { norm, normEps }: LightningConfig, x: Value): Value {
  if (norm === 'none') return x;
  const weight = param('lightning.norm.weight');
  if (norm === 'rms') return rmsNorm(x, weight, normEps);
  const centred = sub(x, reduceMean(x, [x.shape.length - 1], true));
  return add(rmsNorm(centred, weight, normEps), param('lightning.norm.bias'));
}

function gated(scope: MixerScope, { gate }: LightningConfig, x: Value): Value {
  switch (gate) {
    case 'none':
      return x;
    case 'full':
      return mul(x, sigmoid(linear(scope.x, scope.inputMatrix('lightning.wgate'))));
    case 'low-rank':
      return mul(x, sigmoid(lowRank(scope, 'lightning.wgatedown', 'lightning.wgateup')));
  }
}

export const lightningMixer = recurrentMixer('lightning', {
  params: (config, { numHeads: H, numKvHeads: G, headDim: D, qkNorm, norm, gate }, spec) => {
    const { hiddenSize: d } = config;
    const inner = H * D;
    const matrix = (name: string, fanIn: number, fanOut: number, residual = false) =>
      spec(name, [fanIn, fanOut], matrixInit(config, fanIn, residual));
    return [
      matrix('wqkv', d, inner + 2 * G * D),
      ...(qkNorm ? [spec('qnorm.weight', [D], ONES), spec('knorm.weight', [D], ONES)] : []),
      ...(norm === 'none' ? [] : [spec('norm.weight', [inner], ONES)]),
      ...(norm === 'layer' ? [spec('norm.bias', [inner], ZEROS)] : []),
      ...(gate === 'full' ? [matrix('wgate', d, inner)] : []),
      ...(gate === 'low-rank' ? [matrix('wgatedown', d, D), matrix('wgateup', D, inner)] : []),
      matrix('wo', inner, d, true),
    ];
  },
  sequenceFlops: ({ numHeads, headDim: D, chunk }, seqLen) => linearFlops(numHeads, D, D, chunkLength(chunk, seqLen)),
  states: ({ numHeads, headDim: D }) => recurrenceStates(null, [numHeads, D, D]),
  mix: (scope, section, memory) => {
    const { config, x, param, inputMatrix, splitProjections } = scope;
    const { numHeads: H, numKvHeads: G, headDim: D, activation, qkNorm, rope, scale, normEps, chunk } = section;
    const parts = linearParts(x, inputMatrix('lightning.wqkv'), [H * D, G * D, G * D], splitProjections);
    let [q, k, v] = parts.map((part) => toHeads(activation === 'silu' ? silu(part) : part, D)) as [Value, Value, Value];
    if (qkNorm) {
      q = rmsNorm(q, param('lightning.qnorm.weight'), normEps);
      k = rmsNorm(k, param('lightning.knorm.weight'), normEps);
    }
    if (rope) [q, k] = [rotate(q, scope), rotate(k, scope)];
    v = memory.tokensOnly(v);
    const slopes = lightningSlopes(section, scope.layer, config.numLayers);
    const decay = constantFrom(
      x.dtype === 'bf16' ? 'f32' : x.dtype,
      [H],
      slopes.map((slope) => -slope),
    );
    const out = recur(memory, (options) => linearRecurrence(q, k, v, decay, { ...options, scale, chunk }));
    return linear(gated(scope, section, normalise(scope, section, joinHeads(out))), param('lightning.wo'));
  },
});
