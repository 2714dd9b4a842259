/**
 * The attention mixer: grouped-query causal softmax attention, each head group with its own window and position scheme.
 */
import { dims, at, invariant, sizeOf } from '../core/index.js';
import {
  add,
  attention,
  concat,
  constantFrom,
  linear,
  mul,
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
import { cachedAttention, cacheShape, type GroupInputs } from './cached-attention.js';
import { ccaParams, ccaStates, compressed } from './compressed-attention.js';
import type { ModelConfig } from './config.js';
import { chunkNumbers } from './documents.js';
import { linearParts } from './mixers/linear.js';
import type { Mixer, MixerOutput, MixerScope, StateRoom, StateSpec, StepOutput, StepScope } from './mixer.js';
import { headCounts, type AttentionPlan, type HeadCounts, type HeadGroup } from './plan.js';
import { noTap, type QueriesAndKeys } from './tap.js';
import { withOffset } from './norm.js';
import { scaleQueries } from './query-scaling.js';
import { checkCached, checkPacked, groupRotary, type GroupRotary } from './rope.js';
import type { SequenceState, StateAccess } from './mixers/definition.js';
import { chunkStates, wholeSequences } from './state-access.js';
import { ZEROS, type ParamRole, type ParamSpec } from './mixers/spec.js';
import { matrixInit, normInit } from './param-inits.js';
import { layerPlace, type SpecPlace } from './part-specs.js';

/** Mean over a sequence of `seqLen` tokens of the keys that a query of a head group sees. */
export function meanGroupKeys(
  { window, chunk, shares }: Pick<HeadGroup, 'window' | 'chunk' | 'shares'>,
  seqLen: number,
): number {
  if (shares !== undefined)
    return shares.reduce((sum, { window: own, share }) => sum + share * meanVisibleKeys(own, seqLen), 0);
  if (chunk === undefined || chunk >= seqLen) return meanVisibleKeys(window, seqLen);
  const rest = seqLen % chunk;
  const sums =
    (seqLen - rest) * meanVisibleKeys(window, chunk) + (rest === 0 ? 0 : rest * meanVisibleKeys(window, rest));
  return sums / seqLen;
}

/**
 * Mean over a sequence of `seqLen` tokens of the keys that a query sees: `w - w(w-1)/(2T)`, full attention being w = T.
 */
export function meanVisibleKeys(window: number | null, seqLen: number): number {
  const w = window === null ? seqLen : Math.min(window, seqLen);
  return w - (w * (w - 1)) / (2 * seqLen);
}

/** The parameters of attention with these heads; `width` is that of its input, where it is not the model's. */
export function attentionSpecs(
  config: ModelConfig,
  { numHeads, numKvHeads }: HeadCounts,
  { prefix, width = config.hiddenSize, ...place }: SpecPlace & { readonly width?: number },
): ParamSpec[] {
  const { hiddenSize: d, headDim } = config;
  const [inner, kvInner] = [numHeads * headDim, numKvHeads * headDim];
  const { attentionBias: bias, qkNorm, normWeight, outputGate } = config;
  const gates = outputGate === 'head' ? numHeads : inner;
  const gateBias = outputGate !== false && config.outputGateBias;
  const spec = (name: string, shape: number[], role: ParamRole, init: ParamSpec['init']): ParamSpec => ({
    name: `${prefix}attn.${name}`,
    shape,
    init,
    part: 'mixer',
    role,
    ...place,
  });
  const vectors = (condition: boolean, init: ParamSpec['init'], ...sizes: [name: string, size: number][]) =>
    condition ? sizes.map(([name, size]) => spec(name, [size], 'vector', init)) : [];
  const normed = (q: number, k: number): [[string, number], [string, number]] => [
    ['qnorm.weight', q],
    ['knorm.weight', k],
  ];
  return [
    {
      ...spec('wqkv', [width, inner + 2 * kvInner], 'in', matrixInit(config, width, false)),
      columns: [inner, kvInner, kvInner],
    },
    ...vectors(bias === 'qkv' || bias === 'all', ZEROS, ['bqkv', inner + 2 * kvInner]),
    ...(config.cca === null ? [] : ccaParams(config, config.cca, { numHeads, numKvHeads }, spec)),
    ...vectors(qkNorm === 'head' && normWeight, normInit(config), ...normed(headDim, headDim)),
    ...vectors(qkNorm === 'width' && normWeight, normInit(config), ...normed(inner, kvInner)),
    ...vectors(config.sinks, ZEROS, ['sinks', numHeads]),
    ...(outputGate !== false ? [spec('wgate', [width, gates], 'in', matrixInit(config, width, false))] : []),
    ...vectors(gateBias, ZEROS, ['bgate', numHeads]),
    spec('wo', [inner, d], 'out', matrixInit(config, inner, true)),
    ...vectors(bias === 'output' || bias === 'all', ZEROS, ['bo', d]),
  ];
}

/** `[B,T,n*headDim] -> [B,T,n,headDim]`. */
function toHeads(x: Value, headDim: number): Value {
  const [B, T, inner] = dims(x, 3);
  return reshape(x, [B, T, inner / headDim, headDim]);
}

/** Where a group's heads lie among the layer's. */
interface GroupSpan extends HeadGroup {
  readonly firstHead: number;
  readonly firstKvHead: number;
  readonly kvHeads: number;
}

function groupSpans(config: HeadCounts, plan: AttentionPlan): GroupSpan[] {
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
function takeHeads(x: Value, first: number, count: number): Value {
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
interface LayerRotary {
  readonly groups: readonly GroupRotary[];
  readonly alike: boolean;
}

function layerRotary({ config, x, positions, segments }: MixerScope, plan: AttentionPlan): LayerRotary {
  if (segments !== null) checkPacked(config, plan.groups, at(x.shape, 1));
  const groups = plan.groups.map((g) => groupRotary(config, g, positions?.limit ?? at(x.shape, 1)));
  const first = groups[0]?.frequencies ?? null;
  const same = (f: readonly number[] | null) =>
    f?.length === first?.length && (f ?? []).every((v, m) => v === first?.[m]);
  return { groups, alike: groups.every(({ frequencies }) => same(frequencies)) };
}

/** Queries of a group times what their positions give: as they grow, and where only part of each head turns. */
function scaleGroup(q: Value, scope: MixerScope, { rope }: HeadGroup, { queryFactors }: GroupRotary): Value {
  const grown = scaleQueries(q, scope, rope !== false);
  if (queryFactors === null) return grown;
  return mul(grown, constantFrom(q.dtype, [1, 1, 1, queryFactors.length], queryFactors));
}

/** Queries of a layer times what their positions give, group by group where groups differ. */
function scaleGroups(
  q: Value,
  scope: MixerScope,
  groups: readonly GroupSpan[],
  { groups: rotaries }: LayerRotary,
): Value {
  const [first, rotary] = [at(groups, 0), at(rotaries, 0)];
  const alike = groups.every(({ rope }) => rope === first.rope);
  if (alike) return scaleGroup(q, scope, first, rotary);
  return concat(
    groups.map((g, i) => scaleGroup(takeHeads(q, g.firstHead, g.heads), scope, g, at(rotaries, i))),
    2,
  );
}

function project(
  scope: MixerScope,
  counts: HeadCounts,
  groups: readonly GroupSpan[],
  rotaries: LayerRotary,
  state: StateAccess,
): QueriesAndKeys & { v: Value } {
  const { config, x, param, inputMatrix } = scope;
  const { headDim: D, qkNorm, rmsNormEps } = config;
  const { numHeads: H, numKvHeads: G } = counts;
  const bias = config.attentionBias === 'qkv' || config.attentionBias === 'all' ? param('attn.bqkv') : null;
  const products = (...sizes: readonly number[]): readonly Value[] => {
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
  const positioned = (q: Value, k: Value): QueriesAndKeys => ({
    q: scaleGroups(
      turned(q, (g) => [g.firstHead, g.heads]),
      scope,
      groups,
      rotaries,
    ),
    k: turned(k, (g) => [g.firstKvHead, g.kvHeads]),
  });
  if (config.cca !== null) {
    const { q, k, v } = compressed(scope, config.cca, counts, state);
    return { ...positioned(q, k), v };
  }
  const plain = qkNorm === false || qkNorm === 'rope';
  if (plain && rotaries.alike && first.frequencies !== null) {
    // Queries and keys have the same rotary positions, so they are rotated together.
    const [qk, v] = products((H + G) * D, G * D) as [Value, Value];
    const [q, k] = split(turnNormed(toHeads(qk, D), first, scope), 2, [H, G]) as [Value, Value];
    return { q: scaleGroups(q, scope, groups, rotaries), k, v: toHeads(v, D) };
  }
  const [q, k, v] = products(H * D, G * D, G * D) as [Value, Value, Value];
  const normed = (part: Value, name: string): Value => {
    const gain = config.normWeight ? () => withOffset(config, param(`attn.${name}.weight`)) : () => null;
    const norm = (y: Value) => rmsNorm(y, gain(), rmsNormEps);
    if (plain) return toHeads(part, D);
    return qkNorm === 'head' ? norm(toHeads(part, D)) : toHeads(norm(part), D);
  };
  return { ...positioned(normed(q, 'qnorm'), normed(k, 'knorm')), v: toHeads(v, D) };
}

/** The mixer around `attend`, which gives the heads of one group, `[B,T,heads,headDim]`. */
function attendGroups(
  scope: MixerScope,
  plan: AttentionPlan,
  state: StateAccess,
  attend: (inputs: GroupInputs, group: GroupSpan, index: number) => Value,
): MixerOutput {
  const { config, x, param, layer, tap = noTap } = scope;
  const [B, T] = dims(x, 3);
  const counts = headCounts(config, plan);
  const groups = groupSpans(config, plan);
  const rotaries = layerRotary(scope, plan);
  const { v, ...own } = project(scope, counts, groups, rotaries, state);
  const q = tap({ kind: 'layerQueries', layer }, own.q);
  const k = tap({ kind: 'layerKeys', layer }, own.k);
  const sinks = config.sinks ? param('attn.sinks') : null;
  const outs = groups.map((group, i) => {
    const { firstHead, heads, firstKvHead, kvHeads } = group;
    const inputs: GroupInputs = {
      q: takeHeads(q, firstHead, heads),
      k: takeHeads(k, firstKvHead, kvHeads),
      v: takeHeads(v, firstKvHead, kvHeads),
      scale: at(rotaries.groups, i).scoreScale,
      softcap: config.attentionSoftcap,
      sinks: sinks && groups.length > 1 ? sliceAxis(sinks, 0, firstHead, firstHead + heads) : sinks,
    };
    return attend(inputs, group, i);
  });
  const mixed = reshape(concat(outs, 2), [B, T, counts.numHeads * config.headDim]);
  const out = linear(gateHeads(scope, mixed, counts.numHeads), param('attn.wo'));
  return {
    out: config.attentionBias === 'output' || config.attentionBias === 'all' ? add(out, param('attn.bo')) : out,
  };
}

/** The heads' outputs side by side, `[B,T,H*D]`, times the activation of a projection of the layer's input. */
function gateHeads(scope: MixerScope, mixed: Value, numHeads: number): Value {
  const { outputGate, outputGateBias, headDim } = scope.config;
  if (outputGate === false) return mixed;
  if (outputGate === true && !outputGateBias)
    return mul(mixed, gateOf(scope.config, linear(scope.x, scope.inputMatrix('attn.wgate'))));
  const gate = headGates(scope, numHeads, scope.inputMatrix('attn.wgate'), 'attn.bgate');
  const [B, T] = dims(scope.x, 3);
  return reshape(mul(reshape(mixed, [B, T, numHeads, headDim]), gate), mixed.shape);
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

function buildAttention(scope: MixerScope, plan: AttentionPlan): MixerOutput {
  const { x, segments, layer, tap = noTap } = scope;
  const [B, T] = dims(x, 3);
  const state = wholeSequences(segments);
  return attendGroups(scope, plan, state, ({ q, k, v, scale, softcap, sinks }, group) => {
    const { chunk, firstHead, heads } = group;
    const site = { layer, firstHead, heads };
    // Keys of other chunks are hidden as those of other documents are.
    const documents = chunk === undefined || chunk >= T ? segments : chunkNumbers([B, T], segments, chunk);
    const inputs = { q: tap({ kind: 'queries', ...site }, q), k, v, segments: documents };
    const out = attendWindows(inputs, group, { scale, softcap, sinks });
    return tap({ kind: 'heads', ...site }, out);
  });
}

/** Queries, keys and values of whole sequences, with the documents of their tokens. */
interface WindowInputs {
  /** `[B,T,H,D]`. */
  readonly q: Value;
  /** `[B,T,G,D]`. */
  readonly k: Value;
  /** `[B,T,G,E]`. */
  readonly v: Value;
  /** I32 `[B,T]`, or null for one document a row. */
  readonly segments: Value | null;
}

/**
 * Attention with the window of a head group, `[B,T,H,E]`; where the sequences of a batch have different windows, each
 * with its own.
 */
export function attendWindows(
  inputs: WindowInputs,
  { window, shares }: Pick<HeadGroup, 'window' | 'shares'>,
  law: Pick<GroupInputs, 'scale' | 'softcap' | 'sinks'>,
): Value {
  const [B, T] = dims(inputs.q, 2);
  // A window as long as the sequence hides nothing.
  const attendRows = ({ q, k, v, segments }: WindowInputs, own: number | null): Value =>
    attention(q, k, v, { window: own !== null && own < T ? own : null, segments, ...law }).out;
  if (shares === undefined) return attendRows(inputs, window);
  let first = 0;
  const parts = shares.map(({ window: own, share }) => {
    const rows = Math.round(share * B);
    const take = (x: Value): Value => sliceAxis(x, 0, first, first + rows);
    const { q, k, v, segments } = inputs;
    const part = { q: take(q), k: take(k), v: take(v), segments: segments && take(segments) };
    first += rows;
    return attendRows(part, own);
  });
  invariant(first === B, `windows are given to ${first} of ${B} sequences`);
  return concat(parts, 0);
}

function attentionStates(config: ModelConfig, plan: AttentionPlan, room: StateRoom): StateSpec[] {
  checkCached(config, plan, room.maxLength);
  const caches = groupSpans(config, plan).flatMap(({ window, kvHeads }, i) => {
    const shape = cacheShape(window, kvHeads, config.headDim, room);
    return ['keys', 'values'].map((name) => ({ name: `${name}.${i}`, shape, dtype: room.dtype }));
  });
  return [
    ...caches,
    ...layerStates(config, plan).map(({ name, shape }) => ({
      name,
      shape: [room.batchSize, ...shape],
      dtype: room.dtype,
    })),
  ];
}

/** What a layer keeps of the tokens before, beside keys and values. */
const layerStates = (config: ModelConfig, plan: AttentionPlan): SequenceState[] =>
  config.cca === null ? [] : ccaStates(config, config.cca, headCounts(config, plan));

function stepAttention(scope: StepScope, plan: AttentionPlan): StepOutput {
  const { access, after } = chunkStates(scope, () => false);
  const { out } = attendGroups(scope, plan, access, (inputs, group, i) => {
    const [keys, values] = [`keys.${i}`, `values.${i}`] as const;
    const cache = { keys: scope.state(keys), values: scope.state(values) };
    const result = cachedAttention(inputs, cache, scope.place, group);
    after[keys] = result.cache.keys;
    after[values] = result.cache.values;
    return result.out;
  });
  return { out, state: after };
}

/**
 * Grouped-query causal softmax attention as a mixer: parameters, FLOPs, cache, and the forward pass of sequences and
 * chunks.
 */
export const attentionMixer: Mixer<AttentionPlan> = {
  params: (config, plan, layer) => attentionSpecs(config, headCounts(config, plan), layerPlace(layer)),
  sequenceFlops: ({ headDim }, plan, seqLen) =>
    plan.groups.reduce((n, group) => n + 4 * group.heads * headDim * meanGroupKeys(group, seqLen), 0),
  stateBytes: (config, plan, length, elementBytes) =>
    elementBytes *
    groupSpans(config, plan).reduce(
      (n, { window, kvHeads }) => {
        const kept = window === null ? length : Math.min(window, length);
        return n + 2 * kvHeads * config.headDim * kept;
      },
      layerStates(config, plan).reduce((n, { shape }) => n + sizeOf(shape), 0),
    ),
  build: buildAttention,
  states: attentionStates,
  step: stepAttention,
};
