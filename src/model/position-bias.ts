/**
 * Positions as a bias on scores that each query computes (Inkling, Thinking Machines 2026; Transformers
 * `InklingRelativeLogits`): a state of each query head, a projection of the layer's input, mixes the profiles of a bank
 * that all heads of the layer share, and each profile has one number for each distance.
 *
 * Shape letters: B sequences, T tokens, H query heads, G key/value heads, D channels of a head, R width of a state, X
 * distances of the bank.
 */
import { at, dims } from '../core/index.js';
import {
  broadcast,
  concat,
  constantFrom,
  distanceBiases,
  linear,
  mul,
  reshape,
  sliceAxis,
  type DistanceBias,
  type Value,
} from '../graph/index.js';
import { headSizes } from './heads.js';
import type { MixerScope } from './mixer.js';
import type { ModelConfig } from './config.js';
import type { ParamInit, ParamRole, ParamSpec } from './mixers/spec.js';
import { matrixInit } from './param-inits.js';
import type { AttentionPlan, HeadGroup } from './plan.js';
import { biasExtent } from './position-bias-config.js';
import { scaleQueries } from './query-scaling.js';
import { noTap } from './tap.js';

const [STATES, BANK] = ['wbias', 'biasbank'] as const;

/** The parameters of a layer's biases; none where the model has no such. */
export function positionBiasParams(
  config: ModelConfig,
  plan: AttentionPlan,
  spec: (name: string, shape: number[], role: ParamRole, init: ParamInit) => ParamSpec,
): ParamSpec[] {
  const { positionBias: bias, hiddenSize: d } = config;
  if (bias === null) return [];
  const { numHeads } = headSizes(config, plan);
  return [
    spec(STATES, [d, numHeads * bias.width], 'in', matrixInit(config, d, false)),
    spec(BANK, [bias.width, biasExtent(bias, plan)], 'vector', matrixInit(config, bias.width, false)),
  ];
}

/** Forward FLOPs per token of the profiles that each query mixes, mean over a sequence; 0 without biases. */
export function positionBiasFlops(config: ModelConfig, plan: AttentionPlan, seqLen: number): number {
  const { positionBias: bias } = config;
  if (bias === null) return 0;
  return 2 * headSizes(config, plan).numHeads * bias.width * Math.min(seqLen, biasExtent(bias, plan));
}

/** What the biases of a layer's heads are made of; null where the model has none. */
export function positionBias(
  scope: MixerScope,
  plan: AttentionPlan,
  groups: readonly HeadGroup[],
): DistanceBias | null {
  const { config, x, param, inputMatrix } = scope;
  if (config.positionBias === null) return null;
  const [B, T] = dims(x, 3);
  const { numHeads: H } = headSizes(config, plan);
  const states = reshape(linear(x, inputMatrix(`attn.${STATES}`)), [B, T, H, config.positionBias.width]);
  let first = 0;
  const grown = groups.map((group) => {
    const own = group.heads === H ? states : sliceAxis(states, 2, first, first + group.heads);
    first += group.heads;
    return scaleQueries(own, scope, group);
  });
  return { states: grown.length === 1 ? at(grown, 0) : concat(grown, 2), bank: param(`attn.${BANK}`) };
}

/** The states of some heads of a layer. */
export function biasOfHeads(bias: DistanceBias | null, first: number, count: number): DistanceBias | null {
  if (bias === null || count === bias.states.shape[2]) return bias;
  return { ...bias, states: sliceAxis(bias.states, 2, first, first + count) };
}

/**
 * Queries `[B,T,H,D]` as the taps of a layer leave them. Where scores have biases, taps get channels more,
 * `[B,T,H,D+T]`, so that products with tapped keys, times the factor on the scores of each head, are the scores with
 * their biases; what a tap puts in these channels is not used.
 *
 * @param scales the factor on the scores of each head
 */
export function tappedQueries(
  { tap = noTap, layer }: MixerScope,
  q: Value,
  bias: DistanceBias | null,
  scales: readonly number[],
): Value {
  const site = { kind: 'layerQueries', layer } as const;
  if (bias === null || tap === noTap) return tap(site, q);
  const inverse = constantFrom(
    q.dtype,
    [1, 1, scales.length, 1],
    scales.map((scale) => 1 / scale),
  );
  const tapped = tap(site, concat([q, mul(distanceBiases(bias), inverse)], 3));
  return sliceAxis(tapped, 3, 0, at(q.shape, 3));
}

/** Keys `[B,T,G,D]` as the taps of a layer leave them; where scores have biases, taps get `[B,T,G,D+T]`. */
export function tappedKeys({ tap = noTap, layer }: MixerScope, k: Value, bias: DistanceBias | null): Value {
  const site = { kind: 'layerKeys', layer } as const;
  if (bias === null || tap === noTap) return tap(site, k);
  const [B, T, G, D] = dims(k, 4);
  const own = Array.from({ length: T * T }, (_, i) => Number(Math.floor(i / T) === i % T));
  const places = broadcast(constantFrom(k.dtype, [1, T, 1, T], own), [B, T, G, T]);
  return sliceAxis(tap(site, concat([k, places], 3)), 3, 0, D);
}
