/**
 * The attention mixer: grouped-query causal softmax attention, each head group with its own window and position scheme.
 */
import { at, dims, got, invariant, maxOf, sizeOf } from '../core/index.js';
import {
  add,
  attention,
  concat,
  distanceAttention,
  full,
  linear,
  reshape,
  scalar,
  sliceAxis,
  transpose,
  type DistanceBias,
  type Value,
} from '../graph/index.js';
import {
  gateHeads,
  groupSpans,
  layerRotary,
  project,
  projectedSizes,
  takeHeads,
  TEMPERATURE,
  type GroupSpan,
  type KeysAndValues,
} from './attention-heads.js';
import { attend, cachedAttention, cacheShape, extended, seenOf, type AttendInputs } from './cached-attention.js';
import { mixBranches } from './branches.js';
import { ccaParams, ccaStates } from './compressed-attention.js';
import type { ModelConfig } from './config.js';
import { chunkNumbers } from './documents.js';
import { hasSinks, headSizes } from './heads.js';
import type { Mixer, MixerOutput, MixerScope, StateRoom, StateSpec, StepOutput, StepScope } from './mixer.js';
import {
  biasOfHeads,
  positionBias,
  positionBiasFlops,
  positionBiasParams,
  tappedKeys,
  tappedQueries,
} from './position-bias.js';
import { mixerConvParams, mixerConvStates, withMixerConv } from './short-conv.js';
import { headCounts, headGroups, isSource, type AttentionPlan, type HeadGroup } from './plan.js';
import { noTap } from './tap.js';
import { checkCached } from './rope.js';
import { temperatureParams } from './temperature.js';
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

/** The parameters of attention with the heads of `plan`; `width` is that of its input, where it is not the model's. */
export function attentionSpecs(
  config: ModelConfig,
  plan: AttentionPlan,
  { prefix, width = config.hiddenSize, ...place }: SpecPlace & { readonly width?: number },
): ParamSpec[] {
  // The order is that of checkpoints: one list, with the conditions of each part beside it.
  const { hiddenSize: d } = config;
  const { numHeads, numKvHeads, keyDim, valueDim } = headSizes(config, plan);
  const [inner, outer] = [numHeads * keyDim, numHeads * valueDim];
  const columns = projectedSizes(config, plan);
  const projected = columns.reduce((n, size) => n + size, 0);
  const { attentionBias: bias, qkNorm, normWeight, outputGate } = config;
  const gates = outputGate === 'head' ? numHeads : outer;
  const gateBias = outputGate !== false && config.outputGateBias;
  const spec = (name: string, shape: number[], role: ParamRole, init: ParamSpec['init']): ParamSpec => ({
    name: `${prefix}attn.${name}`,
    shape,
    init,
    part: 'mixer',
    role,
    ...place,
  });
  const vectors = (
    condition: boolean,
    init: ParamSpec['init'],
    sizes: readonly (readonly [name: string, size: number])[],
  ) => (condition ? sizes.map(([name, size]) => spec(name, [size], 'vector', init)) : []);
  const normed = (q: number, k: number): readonly [string, number][] => [
    ['qnorm.weight', q],
    ...(plan.keysOf === undefined ? [['knorm.weight', k] satisfies [string, number]] : []),
  ];
  return [
    {
      ...spec('wqkv', [width, projected], 'in', matrixInit(config, width, false)),
      columns,
    },
    ...vectors(bias === 'qkv' || bias === 'all', ZEROS, [['bqkv', projected]]),
    ...(config.cca === null ? [] : ccaParams(config, config.cca, { numHeads, numKvHeads }, spec)),
    ...positionBiasParams(config, plan, spec),
    ...mixerConvParams(config, plan, spec),
    ...vectors(qkNorm === 'head' && normWeight, normInit(config), normed(keyDim, keyDim)),
    ...vectors(qkNorm === 'width' && normWeight, normInit(config), normed(inner, numKvHeads * keyDim)),
    ...vectors(hasSinks(config, plan), ZEROS, [['sinks', numHeads]]),
    ...temperatureParams(plan, `${prefix}${TEMPERATURE}`, place),
    ...(outputGate !== false ? [spec('wgate', [width, gates], 'in', matrixInit(config, width, false))] : []),
    ...vectors(gateBias, ZEROS, [['bgate', numHeads]]),
    spec('wo', [outer, d], 'out', matrixInit(config, outer, true)),
    ...vectors(bias === 'output' || bias === 'all', ZEROS, [['bo', d]]),
  ];
}

/** The mixer around `heads`, which gives the heads of one group, `[B,T,heads,valueDim]`. */
function attendGroups(
  scope: MixerScope,
  plan: AttentionPlan,
  state: StateAccess,
  begin: (
    own: KeysAndValues | null,
    bias: DistanceBias | null,
  ) => (inputs: AttendInputs, group: GroupSpan, index: number) => Value,
): MixerOutput {
  const { config, x, param } = scope;
  const [B, T] = dims(x, 3);
  const sizes = headSizes(config, plan);
  const groups = groupSpans(config, plan);
  const rotaries = layerRotary(scope, plan);
  const { q: queries, own } = project(scope, plan, groups, rotaries, state);
  const bias = positionBias(scope, plan, groups);
  const scales = groups.flatMap(({ heads }, i) => Array<number>(heads).fill(at(rotaries.groups, i).scoreScale));
  const q = tappedQueries(scope, queries, bias, scales);
  const heads = begin(own, bias);
  const sinks = hasSinks(config, plan) ? param('attn.sinks') : null;
  const outs = groups.map((group, i) => {
    const { firstHead, heads: count } = group;
    const inputs: AttendInputs = {
      q: takeHeads(q, firstHead, count),
      scale: at(rotaries.groups, i).scoreScale,
      softcap: config.attentionSoftcap,
      sinks: sinks && groups.length > 1 ? sliceAxis(sinks, 0, firstHead, firstHead + count) : sinks,
      bias: biasOfHeads(bias, firstHead, count),
    };
    return heads(inputs, group, i);
  });
  const mixed = reshape(concat(outs, 2), [B, T, sizes.numHeads * sizes.valueDim]);
  const product = linear(gateHeads(scope, mixed, sizes), param('attn.wo'));
  const biased = config.attentionBias === 'output' || config.attentionBias === 'all';
  const out = biased ? add(product, param('attn.bo')) : product;
  return { out: withMixerConv(config, param, out, 'outconv', state) };
}

/** What a layer hands on that others take keys and values from. */
const handing = (layer: number, keys: Value, values: Value): Readonly<Record<string, Value>> => ({
  [`keys.${layer}`]: keys,
  [`values.${layer}`]: values,
});

/** The keys and values that layer `source` has handed on. */
const handedOn = (handed: MixerScope['handed'], source: number): { readonly keys: Value; readonly values: Value } => ({
  keys: got(handed, `keys.${source}`),
  values: got(handed, `values.${source}`),
});

function buildAttention(scope: MixerScope, plan: AttentionPlan): MixerOutput {
  const { config, x, segments, layer, tap = noTap } = scope;
  const [B, T] = dims(x, 3);
  let hands: Readonly<Record<string, Value>> = {};
  const { out } = attendGroups(scope, plan, wholeSequences(segments), (own, bias) => {
    const { keys, values } = own ? { keys: own.k, values: own.v } : handedOn(scope.handed, sourceOf(plan));
    const k = tappedKeys(scope, keys, bias);
    if (isSource(config.layers, layer)) hands = handing(layer, k, values);
    return ({ q, ...law }, group) => {
      const { chunk, firstHead, heads, firstKvHead, kvHeads } = group;
      const site = { layer, firstHead, heads };
      const part = (x: Value) => takeHeads(x, firstKvHead, kvHeads);
      // Keys of other chunks are hidden as those of other documents are.
      const documents = chunk === undefined || chunk >= T ? segments : chunkNumbers([B, T], segments, chunk);
      const inputs = { q: tap({ kind: 'queries', ...site }, q), k: part(k), v: part(values), segments: documents };
      const out = mixBranches(scope, group, (windows) => attendWindows(inputs, windows, law));
      return tap({ kind: 'heads', ...site }, out);
    };
  });
  return { out, hands };
}

function sourceOf({ keysOf }: AttentionPlan): number {
  invariant(keysOf !== undefined, 'a layer without keys of its own names the one whose keys it takes');
  return keysOf;
}

/**
 * The window of the one cache of a layer that others take keys and values from: the largest that any of them needs,
 * null for all tokens.
 */
function sourceWindow({ layers }: ModelConfig, source: number): number | null {
  const reading = layers.filter((plan, i) => i === source || (plan.mixer === 'attention' && plan.keysOf === source));
  const windows = reading.flatMap((plan) => headGroups(plan).map(({ window }) => window ?? Infinity));
  const most = maxOf(windows);
  return most === Infinity ? null : most;
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
  law: Omit<AttendInputs, 'q'>,
): Value {
  const [B, T] = dims(inputs.q, 2);
  const { bias, ...plain } = law;
  // A window as long as the sequence hides nothing.
  const attendRows = ({ q, k, v, segments }: WindowInputs, given: number | null, bias: DistanceBias | null): Value => {
    const own = given !== null && given < T ? given : null;
    if (bias === null) return attention(q, k, v, { window: own, segments, ...plain }).out;
    const [keys, values] = [transpose(k, [0, 2, 1, 3]), transpose(v, [0, 2, 1, 3])];
    const place = { first: scalar(0, 'i32'), hidden: full('i32', [at(q.shape, 0)], 0), segments };
    return distanceAttention({ q, keys, values, bias }, place, { window: own, scale: plain.scale });
  };
  if (shares === undefined) return attendRows(inputs, window, law.bias);
  let first = 0;
  const parts = shares.map(({ window: own, share }) => {
    const rows = Math.round(share * B);
    const take = (x: Value): Value => sliceAxis(x, 0, first, first + rows);
    const { q, k, v, segments } = inputs;
    const part = { q: take(q), k: take(k), v: take(v), segments: segments && take(segments) };
    const states = bias && { ...bias, states: take(bias.states) };
    first += rows;
    return attendRows(part, own, states);
  });
  invariant(first === B, `windows are given to ${first} of ${B} sequences`);
  return concat(parts, 0);
}

/** The caches of a layer: of each head group, or one of all heads where other layers read it too. */
function cachesOf(config: ModelConfig, plan: AttentionPlan, layer: number): readonly CacheKind[] {
  if (plan.keysOf !== undefined) return [];
  if (!isSource(config.layers, layer)) return groupSpans(config, plan);
  return [{ window: sourceWindow(config, layer), kvHeads: headCounts(config, plan).numKvHeads }];
}

/** A cache of keys and values: how many tokens of it are needed, of how many heads. */
interface CacheKind {
  readonly window: number | null;
  readonly kvHeads: number;
}

function attentionStates(config: ModelConfig, plan: AttentionPlan, room: StateRoom, layer: number): StateSpec[] {
  checkCached(config, plan, room.maxLength);
  const { keyDim, valueDim } = headSizes(config, plan);
  const caches = cachesOf(config, plan, layer).flatMap(({ window, kvHeads }, i) =>
    [['keys', keyDim] as const, ['values', valueDim] as const].map(([name, width]) => ({
      name: `${name}.${i}`,
      shape: cacheShape(window, kvHeads, width, room),
      dtype: room.dtype,
    })),
  );
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
const layerStates = (config: ModelConfig, plan: AttentionPlan): SequenceState[] => [
  ...(config.cca === null ? [] : ccaStates(config, config.cca, headCounts(config, plan))),
  ...mixerConvStates(config, plan),
];

function stepAttention(scope: StepScope, plan: AttentionPlan): StepOutput {
  const { access, after } = chunkStates(scope, () => false);
  const { config, layer, place } = scope;
  let hands: Readonly<Record<string, Value>> = {};
  const { out } = attendGroups(scope, plan, access, (own) => {
    if (own !== null && !isSource(config.layers, layer)) {
      return (inputs, group, i) => {
        const [keys, values] = [`keys.${i}`, `values.${i}`] as const;
        const cache = { keys: scope.state(keys), values: scope.state(values) };
        const part = (x: Value) => takeHeads(x, group.firstKvHead, group.kvHeads);
        const result = cachedAttention({ ...inputs, k: part(own.k), v: part(own.v) }, cache, place, group);
        after[keys] = result.cache.keys;
        after[values] = result.cache.values;
        return result.out;
      };
    }
    const source = own === null ? sourceOf(plan) : layer;
    const window = sourceWindow(config, source);
    const keep = (name: string, x: Value): Value => {
      const { entries, cache } = extended(scope.state(name), x, place, window);
      after[name] = cache;
      return entries;
    };
    if (own !== null) hands = handing(layer, keep('keys.0', own.k), keep('values.0', own.v));
    const kept = handedOn(own === null ? scope.handed : new Map(Object.entries(hands)), source);
    const seen = seenOf(place, window);
    return (inputs, { window: w, chunk, firstKvHead, kvHeads }) => {
      const part = (x: Value) => (kvHeads === x.shape[1] ? x : sliceAxis(x, 1, firstKvHead, firstKvHead + kvHeads));
      const hides = w !== null && w < place.maxLength ? w : null;
      return attend(inputs, part(kept.keys), part(kept.values), {
        ...seen,
        window: hides,
        ...(hides === null ? {} : { chunk }),
      });
    };
  });
  return { out, state: after, hands };
}

/** Grouped-query causal softmax attention as a mixer: parameters, costs, caches, sequences whole and in chunks. */
export const attentionMixer: Mixer<AttentionPlan> = {
  params: (config, plan, layer) => attentionSpecs(config, plan, layerPlace(layer)),
  sequenceFlops: (config, plan, seqLen) => {
    const { keyDim, valueDim } = headSizes(config, plan);
    const perKey = 2 * (keyDim + valueDim);
    const attended = plan.groups.reduce((n, group) => n + perKey * group.heads * meanGroupKeys(group, seqLen), 0);
    return attended + positionBiasFlops(config, plan, seqLen);
  },
  stateBytes: (config, plan, length, elementBytes, layer) => {
    const { keyDim, valueDim } = headSizes(config, plan);
    return (
      elementBytes *
      cachesOf(config, plan, layer).reduce(
        (n, { window, kvHeads }) => {
          const kept = window === null ? length : Math.min(window, length);
          return n + kvHeads * (keyDim + valueDim) * kept;
        },
        layerStates(config, plan).reduce((n, { shape }) => n + sizeOf(shape), 0),
      )
    );
  },
  build: buildAttention,
  states: attentionStates,
  step: stepAttention,
};
