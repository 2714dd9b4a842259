/** Queries, keys and values of attention, their norms and positions, and the gates on what heads give. */
import { at, dims } from '../core/index.js';
import {
  concat,
  constantFrom,
  linear,
  mul,
  add,
  reshape,
  rmsNorm,
  rotary,
  rotaryAt,
  sigmoid,
  sliceAxis,
  softplus,
  split,
  type Value,
} from '../graph/index.js';
import { compressed } from './compressed-attention.js';
import type { ModelConfig } from './config.js';
import { headSizes, type HeadSizes } from './heads.js';
import { linearParts } from './mixers/linear.js';
import type { MixerScope } from './mixer.js';
import { headCounts, type AttentionPlan, type HeadCounts, type HeadGroup } from './plan.js';
import { scaled, withOffset } from './norm.js';
import { scaleQueries } from './query-scaling.js';
import { withMixerConv } from './short-conv.js';
import { temperQueries } from './temperature.js';
import { checkPacked, groupRotary, layerFields, type GroupRotary } from './rope.js';
import type { StateAccess } from './mixers/definition.js';

/** The columns of what projects to queries, to keys and to values, as far as a layer has its own. */
export function projectedSizes(config: ModelConfig, plan: AttentionPlan): number[] {
  const { numHeads, numKvHeads, keyDim, valueDim } = headSizes(config, plan);
  const [queries, keys, values] = [numHeads * keyDim, numKvHeads * keyDim, numKvHeads * valueDim];
  if (plan.keysOf !== undefined) return [queries];
  return plan.valuesAreKeys === true ? [queries, keys] : [queries, keys, values];
}

/** `[B,T,n*headDim] -> [B,T,n,headDim]`. */
function toHeads(x: Value, headDim: number): Value {
  const [B, T, inner] = dims(x, 3);
  return reshape(x, [B, T, inner / headDim, headDim]);
}

/** Where a group's heads lie among the layer's. */
export interface GroupSpan extends HeadGroup {
  /** The first query head of the group, counted from 0. */
  readonly firstHead: number;
  /** The first key/value head of the group, counted from 0. */
  readonly firstKvHead: number;
  readonly kvHeads: number;
}

/** The head groups of a layer with the places of their heads, in order. */
export function groupSpans(config: HeadCounts, plan: AttentionPlan): GroupSpan[] {
  const { numHeads, numKvHeads } = headCounts(config, plan);
  const perKv = numHeads / numKvHeads;
  let firstHead = 0;
  return plan.groups.map((group) => {
    const span = { ...group, firstHead, firstKvHead: firstHead / perKv, kvHeads: group.heads / perKv };
    firstHead += group.heads;
    return span;
  });
}

/** `x[:, :, first : first + count]`, x itself if that is all of it. */
export function takeHeads(x: Value, first: number, count: number): Value {
  return count === x.shape[2] ? x : sliceAxis(x, 2, first, first + count);
}

/** Queries or keys `x [B,T,heads,width]` turned by a group's rotary positions, if it has any. */
export function turn(x: Value, { frequencies }: Pick<GroupRotary, 'frequencies'>, { positions }: MixerScope): Value {
  if (frequencies === null) return x;
  return positions === null ? rotary(x, frequencies) : rotaryAt(x, frequencies, positions.values, positions.limit);
}

/** The same behind the norm that only heads with rotary positions have (`qkNorm: rope`). */
function turnNormed(x: Value, rotary: GroupRotary, scope: MixerScope): Value {
  const { qkNorm, rmsNormEps } = scope.config;
  const normed = qkNorm === 'rope' && rotary.frequencies !== null;
  return turn(normed ? rmsNorm(x, null, rmsNormEps) : x, rotary, scope);
}

/** How the heads of a layer turn, by group; `alike` if all do the same. */
export interface LayerRotary {
  readonly groups: readonly GroupRotary[];
  readonly alike: boolean;
}

/** How the heads of a layer turn; throws `ConfigError` where rows of several documents do not allow it. */
export function layerRotary({ config, x, positions, segments }: MixerScope, plan: AttentionPlan): LayerRotary {
  if (segments !== null) checkPacked(config, plan.groups, at(x.shape, 1));
  const groups = plan.groups.map((g) => groupRotary(layerFields(config, plan), g, positions?.limit ?? at(x.shape, 1)));
  const first = groups[0]?.frequencies ?? null;
  const same = (f: readonly number[] | null) =>
    f?.length === first?.length && (f ?? []).every((v, m) => v === first?.[m]);
  return { groups, alike: groups.every(({ frequencies }) => same(frequencies)) };
}

/** The parameter of learned temperatures. */
export const TEMPERATURE = 'attn.temperature';

/**
 * Queries of a group times what their positions give: as they grow, where only part of each head turns, and by the keys
 * that they see.
 */
function scaleGroup(
  q: Value,
  scope: MixerScope,
  groups: readonly HeadGroup[],
  index: number,
  { queryFactors }: GroupRotary,
): Value {
  const grown = scaleQueries(q, scope, at(groups, index));
  const factors = queryFactors && constantFrom(q.dtype, [1, 1, 1, queryFactors.length], queryFactors);
  return temperQueries(factors === null ? grown : mul(grown, factors), scope, groups, index, TEMPERATURE);
}

/** Queries of a layer times what their positions give, group by group where groups differ. */
function scaleGroups(
  q: Value,
  scope: MixerScope,
  groups: readonly GroupSpan[],
  { groups: rotaries }: LayerRotary,
): Value {
  const [first, rotary] = [at(groups, 0), at(rotaries, 0)];
  const untempered = groups.every(({ temperature }) => temperature === undefined);
  const full = scope.config.queryScaling?.full === true;
  const alike =
    untempered &&
    groups.every(({ rope, window }) => rope === first.rope && (!full || (window === null) === (first.window === null)));
  if (alike || groups.length === 1) return scaleGroup(q, scope, groups, 0, rotary);
  return concat(
    groups.map((g, i) => scaleGroup(takeHeads(q, g.firstHead, g.heads), scope, groups, i, at(rotaries, i))),
    2,
  );
}

/** Queries of a layer, and its keys and values where they are its own. */
interface Projected {
  readonly q: Value;
  readonly own: KeysAndValues | null;
}

/** The keys and values of all heads of a layer. */
export interface KeysAndValues {
  /** Keys, `[B,T,G,keyDim]`, normed and turned. */
  readonly k: Value;
  /** Values, `[B,T,G,valueDim]`. */
  readonly v: Value;
}

/** The queries, keys and values of a layer, normed and with their positions. */
// One case after another of where keys and values come from, each two or three lines.
export function project(
  scope: MixerScope,
  plan: AttentionPlan,
  groups: readonly GroupSpan[],
  rotaries: LayerRotary,
  state: StateAccess,
): Projected {
  const { config, x, param, inputMatrix } = scope;
  const { qkNorm, rmsNormEps, attentionBias } = config;
  const { numHeads: H, numKvHeads: G, keyDim: D, valueDim: E } = headSizes(config, plan);
  const bias = attentionBias === 'qkv' || attentionBias === 'all' ? param('attn.bqkv') : null;
  const products = (sizes: readonly number[]): readonly Value[] => {
    const own = linearParts(x, inputMatrix('attn.wqkv'), sizes, bias);
    if (scope.adapters === undefined) return own;
    const more = split(concat(scope.adapters(), 2), 2, sizes);
    return own.map((part, i) => add(part, at(more, i)));
  };
  const first = at(rotaries.groups, 0);
  const turned = (part: Value, spanOf: (group: GroupSpan) => readonly [first: number, count: number]): Value => {
    if (rotaries.alike) return turnNormed(part, first, scope);
    const parts = groups.map((g, i) => turnNormed(takeHeads(part, ...spanOf(g)), at(rotaries.groups, i), scope));
    return concat(parts, 2);
  };
  const queries = (part: Value) =>
    scaleGroups(
      turned(part, (g) => [g.firstHead, g.heads]),
      scope,
      groups,
      rotaries,
    );
  const keys = (part: Value) => turned(part, (g) => [g.firstKvHead, g.kvHeads]);
  if (config.cca !== null) {
    const { q, k, v } = compressed(scope, config.cca, { numHeads: H, numKvHeads: G }, state);
    return { q: queries(q), own: { k: keys(k), v } };
  }
  const plain = qkNorm === false || qkNorm === 'rope';
  const mixed = (part: Value, place: 'keyconv' | 'valueconv') => withMixerConv(config, param, part, place, state);
  const sizes = projectedSizes(config, plan);
  if (plain && rotaries.alike && first.frequencies !== null && sizes.length === 3 && config.shortConv === null) {
    // Queries and keys have the same rotary positions, so they are rotated together.
    const [qk, v] = products([(H + G) * D, G * E]) as [Value, Value];
    const [q, k] = split(turnNormed(toHeads(qk, D), first, scope), 2, [H, G]) as [Value, Value];
    return { q: scaleGroups(q, scope, groups, rotaries), own: { k, v: values(config, toHeads(v, E)) } };
  }
  const [q, k, v = k] = products(sizes) as [Value, Value?, Value?];
  const normed = (part: Value, name: string): Value => {
    const gain = config.normWeight ? () => withOffset(config, param(`attn.${name}.weight`)) : () => null;
    const norm = (y: Value) => rmsNorm(y, gain(), rmsNormEps);
    if (plain) return toHeads(part, D);
    return qkNorm === 'head' ? norm(toHeads(part, D)) : toHeads(norm(part), D);
  };
  const own =
    k === undefined || v === undefined
      ? null
      : { k: keys(normed(mixed(k, 'keyconv'), 'knorm')), v: values(config, toHeads(mixed(v, 'valueconv'), E)) };
  return { q: queries(normed(q, 'qnorm')), own };
}

/** Values as attention meets them, from heads of their projection. */
function values({ valueNorm, valueScale, rmsNormEps }: ModelConfig, v: Value): Value {
  return scaled(valueNorm ? rmsNorm(v, null, rmsNormEps) : v, valueScale);
}

/** The heads' outputs side by side, `[B,T,H*E]`, times the activation of a projection of the layer's input. */
export function gateHeads(scope: MixerScope, mixed: Value, { numHeads, valueDim }: HeadSizes): Value {
  const { outputGate, outputGateBias } = scope.config;
  if (outputGate === false) return mixed;
  if (outputGate === true && !outputGateBias)
    return mul(mixed, gateOf(scope.config, linear(scope.x, scope.inputMatrix('attn.wgate'))));
  const gate = headGates(scope, numHeads, scope.inputMatrix('attn.wgate'), 'attn.bgate');
  const [B, T] = dims(scope.x, 3);
  return reshape(mul(reshape(mixed, [B, T, numHeads, valueDim]), gate), mixed.shape);
}

/**
 * The gates of the outputs of H heads, `[B,T,H,D]` or one a head `[B,T,H,1]`: the activation of the layer's input times
 * `matrix`, and of the bias of that name where the model has one.
 */
export function headGates({ config, x, param }: MixerScope, H: number, matrix: Value, bias: string): Value {
  const { outputGateBias } = config;
  const [B, T] = dims(x, 3);
  const logits = linear(x, matrix);
  const heads = reshape(logits, [B, T, H, at(logits.shape, 2) / H]);
  return gateOf(config, outputGateBias ? add(heads, reshape(param(bias), [1, 1, H, 1])) : heads);
}

/** The factors of the output gate from their logits. */
const gateOf = ({ outputGateActivation: activation }: ModelConfig, logits: Value): Value =>
  activation === 'softplus' ? softplus(logits) : sigmoid(logits);
