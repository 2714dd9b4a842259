/**
 * RWKV-7 (Peng et al. 2025, arXiv 2503.14456; flash-linear-attention `fla/layers/rwkv7.py`): a decay of each key
 * channel, and a removal by a key of its own at a rate of its own for each channel. Every projection reads a mixture of
 * the token and the one before it; values of later layers are mixed with those of the first one.
 *
 * Letters: H numHeads, K keyDim, V valueDim, d hiddenSize. With r, k, v, decay w, rate a and the removal key p, which
 * is `k kk` of a head at unit length: `S_t = S_{t-1} diag(w_t) - (S_{t-1} p_t) (a_t p_t)^T + v_t (k_t (1 + (a_t - 1)
 * ka))^T`, states here being transposed, `[K,V]`.
 */
import { z } from 'zod';
import { at } from '../../core/index.js';
import {
  add,
  deltaRule,
  exp,
  full,
  linear,
  mul,
  neg,
  reduceSum,
  reshape,
  rmsNorm,
  sigmoid,
  sub,
  tanh,
  type Value,
} from '../../graph/index.js';
import { defineMixer, type MixerPlace, type RecurrentScope, type Resolved } from './definition.js';
import {
  chunk,
  chunkLength,
  count,
  headNorm,
  normEps,
  numHeads,
  recur,
  recurrenceStates,
  removalFlops,
  shiftStates,
  toHeads,
  tokenBefore,
} from './parts.js';
import type { ParamInit } from './spec.js';

const rank = (of: string, fallback: string) =>
  count.optional().describe(`inner width of the projection of ${of} (default: ${fallback}, in steps of 32 from 32 on)`);

/** The section `model.rwkv7`. */
const schema = z.strictObject({
  numHeads,
  keyDim: count.optional().describe('width of a query and key head (default: headDim of the model)'),
  valueDim: count.optional().describe('width of a value head (default: keyDim)'),
  decayRank: rank('decays', '2.5 sqrt(hiddenSize) keyDim / 64'),
  removalRank: rank('the rates of removal', '2.5 sqrt(hiddenSize) keyDim / 64'),
  valueRank: rank('the share of the first layer in values', '1.7 sqrt(hiddenSize) keyDim / 64'),
  gateRank: rank('the output gate', '5 sqrt(hiddenSize)'),
  normEps: normEps('keyDim 1e-5'),
  chunk,
});

/** The resolved section `model.rwkv7`. */
export type Rwkv7Config = Resolved<
  typeof schema,
  'numHeads' | 'keyDim' | 'valueDim' | 'decayRank' | 'removalRank' | 'valueRank' | 'gateRank' | 'normEps'
>;

/** What reads a mixture of its own of a token and the one before: the exponent of how its shares start. */
const MIXTURES = { r: 0.2, w: 0.9, k: 0.7, v: 0.7, a: 0.9, g: 0.2 } as const;

/** The natural logarithm of the smallest decay, `exp(-0.5)` below 0. */
const LEAST_DECAY = -Math.exp(-0.5);

/** Rounded to 32, at least that. */
const inSteps = (x: number): number => Math.max(32, 32 * Math.round(x / 32));

/** The name under which the first layer hands on its values, `[B,T,H*V]`. */
const VALUES = 'values';

/**
 * How vectors start, by flash-linear-attention: shares of the token before fall along the channels, and the faster the
 * later the layer; biases of decays rise from slow to fast, and both biases swing within each head.
 */
function inits({ layer, numLayers }: MixerPlace, d: number, { numHeads: H, keyDim: K, valueDim: V }: Rwkv7Config) {
  const depth = layer / Math.max(1, numLayers - 1);
  const rest = 1 - layer / numLayers;
  const ramp = (from: number, to: number, n: number, more: { readonly power?: number; readonly swing?: number } = {}) =>
    ({ kind: 'ramp', from, to, power: 1, swing: 0, period: K, over: Math.max(1, n - 1), ...more }) as const;
  const constant = (value: number): ParamInit => ({ kind: 'constant', value });
  return {
    mixture: (exponent: number): ParamInit => ({ ...ramp(1, 0, d, { power: exponent * rest }), over: d }),
    decay: ramp(-5.5, 0.5, H * K, { power: 1 + depth ** 0.3, swing: 2.5 }),
    rate: ramp(-0.39, 0.01, H * K, { swing: 0.3 }),
    share: ramp(0.93, 0.53, H * V),
    removal: ramp(0.76, 0.66, H * K),
    amount: constant(1.02),
    bonus: constant(-0.04),
    gain: constant(((layer + 1) / numLayers) ** 0.7),
  };
}

/** `act(x @ Wdown) @ Wup`, x a mixture of layer inputs. */
function narrowed({ inputMatrix, param }: RecurrentScope, name: string, x: Value, act: (x: Value) => Value): Value {
  return linear(act(linear(x, inputMatrix(`w${name}down`))), param(`w${name}up`));
}

const same = (x: Value): Value => x;

/** Keys of unit length, as PyTorch's `normalize` has them. */
function unitKeys(x: Value): Value {
  const K = at(x.shape, 3);
  return mul(rmsNorm(x, null, 1e-24 / K), 1 / Math.sqrt(K));
}

/** RWKV-7: a generalized delta rule that decays, removes and writes each key channel at rates of its own. */
export const rwkv7Mixer = defineMixer({
  summary: 'RWKV-7: generalized delta rule with decays and rates of removal per key channel',
  schema,
  grows: ['numHeads'],
  resolve: (section, { numHeads, headDim, hiddenSize }): Rwkv7Config => {
    const keyDim = section.keyDim ?? headDim;
    const wide = (factor: number): number => inSteps((factor * Math.sqrt(hiddenSize) * keyDim) / 64);
    return {
      ...section,
      numHeads: section.numHeads ?? numHeads,
      keyDim,
      valueDim: section.valueDim ?? keyDim,
      decayRank: section.decayRank ?? wide(2.5),
      removalRank: section.removalRank ?? wide(2.5),
      valueRank: section.valueRank ?? wide(1.7),
      gateRank: section.gateRank ?? inSteps(5 * Math.sqrt(hiddenSize)),
      normEps: section.normEps ?? keyDim * 1e-5,
    };
  },
  params: (make, section, { hiddenSize: d }, place) => {
    const { numHeads: H, keyDim: K, valueDim: V, decayRank, removalRank, valueRank, gateRank } = section;
    const init = inits(place, d, section);
    return [
      ...Object.entries(MIXTURES).map(([name, exponent]) => make.vector(`mix.${name}`, d, init.mixture(exponent))),
      make.matrix('wr', d, H * K),
      make.matrix('wk', d, H * K),
      make.matrix('wv', d, H * V),
      ...make.correction('wdecay', d, decayRank, H * K),
      make.vector('decay.bias', H * K, init.decay),
      ...make.correction('wrate', d, removalRank, H * K),
      make.vector('rate.bias', H * K, init.rate),
      ...(place.first
        ? []
        : [...make.correction('wshare', d, valueRank, H * V), make.vector('share.bias', H * V, init.share)]),
      ...make.correction('wgate', d, gateRank, H * V),
      make.vector('removal', H * K, init.removal),
      make.vector('amount', H * K, init.amount),
      make.vector('bonus', H * K, init.bonus),
      make.vector('norm.weight', H * V, init.gain),
      make.vector('norm.bias', H * V, { kind: 'constant', value: 0 }),
      make.output('wo', H * V),
    ];
  },
  sequenceFlops: ({ numHeads, keyDim, valueDim, chunk }, seqLen) =>
    removalFlops(numHeads, keyDim, valueDim, chunkLength(chunk, seqLen)),
  states: ({ numHeads, keyDim, valueDim }, { hiddenSize }) => [
    ...shiftStates(hiddenSize),
    ...recurrenceStates(null, [numHeads, keyDim, valueDim]),
  ],
  mix: (scope, { keyDim: K, valueDim: V, normEps, chunk }, state) => {
    // The equations of the layer, one after the other.
    const { x, param, inputMatrix, fromFirst } = scope;
    const change = sub(tokenBefore(scope, state), x);
    const mixed = (name: keyof typeof MIXTURES): Value => add(x, mul(change, param(`mix.${name}`)));
    const [r, k] = [linear(mixed('r'), inputMatrix('wr')), linear(mixed('k'), inputMatrix('wk'))];
    const forValues = mixed('v');
    const own = linear(forValues, inputMatrix('wv'));
    const first = fromFirst(VALUES, own);
    const share = (): Value => sigmoid(add(narrowed(scope, 'share', forValues, same), param('share.bias')));
    const v = toHeads(first === null ? own : add(own, mul(sub(first, own), share())), V);
    const speed = add(narrowed(scope, 'decay', mixed('w'), tanh), param('decay.bias'));
    const decay = toHeads(mul(sigmoid(speed), LEAST_DECAY), K);
    const rate = sigmoid(add(narrowed(scope, 'rate', mixed('a'), same), param('rate.bias')));
    const gate = narrowed(scope, 'gate', mixed('g'), sigmoid);
    const removal = unitKeys(toHeads(mul(k, param('removal')), K));
    const keys = add(k, mul(mul(k, sub(rate, 1)), param('amount')));
    const [B, T, H] = [at(v.shape, 0), at(v.shape, 1), at(v.shape, 2)];
    const out = recur(state, (options) =>
      // What is removed is read from the state before this token's decay, which the read key takes back. Decays are
      // 0.54 and more; that bound lets GPUs use tile kernels.
      deltaRule(toHeads(r, K), toHeads(keys, K), state.maskPadding(v), decay, full(decay.dtype, [B, T, H], 1), {
        ...options,
        leastDecay: LEAST_DECAY,
        removal: { read: mul(removal, exp(neg(decay))), erase: mul(removal, toHeads(rate, K)) },
        scale: 1,
        chunk,
      }),
    );
    const normed = add(mul(headNorm(out, normEps), param('norm.weight')), param('norm.bias'));
    const bonus = mul(reduceSum(toHeads(mul(mul(r, keys), param('bonus')), K), [3], true), v);
    return linear(mul(add(normed, reshape(bonus, normed.shape)), gate), param('wo'));
  },
});
