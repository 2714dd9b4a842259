/** The attention mixer: grouped-query causal softmax attention, each head group with its own window and position scheme. */
import {
  attention,
  concat,
  linear,
  mul,
  reshape,
  rmsNorm,
  rotary,
  rotaryAt,
  rotaryFrequencies,
  sigmoid,
  sliceAxis,
  split,
  type Value,
} from '../graph/index.js';
import { cachedAttention, type GroupInputs } from './cached-attention.js';
import type { ModelConfig } from './config.js';
import { linearParts } from './linear.js';
import type {
  Mixer,
  MixerOutput,
  MixerScope,
  QueriesAndKeys,
  StateRoom,
  StateSpec,
  StepOutput,
  StepScope,
} from './mixer.js';
import type { AttentionPlan, HeadGroup } from './plan.js';
import { matrixInit, ONES, ZEROS, type ParamSpec } from './spec.js';

/** Mean over a sequence of `seqLen` tokens of the keys that a query sees: `w - w(w-1)/(2T)`, full attention being w = T. */
export function meanVisibleKeys(window: number | null, seqLen: number): number {
  const w = window === null ? seqLen : Math.min(window, seqLen);
  return w - (w * (w - 1)) / (2 * seqLen);
}

function attentionParams(config: ModelConfig, _plan: AttentionPlan, layer: number): ParamSpec[] {
  const { hiddenSize: d, numHeads, numKvHeads, headDim } = config;
  const inner = numHeads * headDim;
  const spec = (name: string, shape: number[], init: ParamSpec['init']): ParamSpec => ({
    name: `layers.${layer}.attn.${name}`,
    shape,
    init,
    part: 'mixer',
    layer,
  });
  return [
    spec('wqkv', [d, inner + 2 * numKvHeads * headDim], matrixInit(config, d, false)),
    ...(config.qkNorm ? [spec('qnorm.weight', [headDim], ONES), spec('knorm.weight', [headDim], ONES)] : []),
    ...(config.sinks ? [spec('sinks', [numHeads], ZEROS)] : []),
    ...(config.outputGate ? [spec('wgate', [d, inner], matrixInit(config, d, false))] : []),
    spec('wo', [inner, d], matrixInit(config, inner, true)),
  ];
}

/** `[B,T,n*headDim] -> [B,T,n,headDim]`. */
function toHeads(x: Value, headDim: number): Value {
  const [B, T, inner] = x.shape as [number, number, number];
  return reshape(x, [B, T, inner / headDim, headDim]);
}

/** Where a group's heads lie among the layer's. */
interface GroupSpan extends HeadGroup {
  readonly firstHead: number;
  readonly firstKvHead: number;
  readonly kvHeads: number;
}

function groupSpans({ numHeads, numKvHeads }: ModelConfig, plan: AttentionPlan): GroupSpan[] {
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

/** Rotary positions on all heads of `x`. */
function rotate(x: Value, { config, positions }: MixerScope): Value {
  const frequencies = rotaryFrequencies(config.headDim, config.ropeTheta);
  return positions === null ? rotary(x, frequencies) : rotaryAt(x, frequencies, positions.values, positions.limit);
}

/** Rotary positions on the heads of groups that have them; `spanOf` says which heads of `x` are a group's. */
function rotateGroups(
  x: Value,
  scope: MixerScope,
  groups: readonly GroupSpan[],
  spanOf: (group: GroupSpan) => readonly [first: number, count: number],
): Value {
  if (groups.every((g) => g.rope)) return rotate(x, scope);
  if (groups.every((g) => !g.rope)) return x;
  const parts = groups.map((g) => {
    const part = takeHeads(x, ...spanOf(g));
    return g.rope ? rotate(part, scope) : part;
  });
  return concat(parts, 2);
}

function project(scope: MixerScope, groups: readonly GroupSpan[]): QueriesAndKeys & { v: Value } {
  const { config, x, param, inputMatrix, splitProjections } = scope;
  const { numHeads: H, numKvHeads: G, headDim: D, qkNorm, rmsNormEps } = config;
  const kvSizes = [G * D, G * D];
  if (!qkNorm && groups.every((g) => g.rope) && !splitProjections) {
    // Queries and keys turn alike, so they turn together.
    const [qk, v] = linearParts(x, inputMatrix('attn.wqkv'), [(H + G) * D, G * D], false) as [Value, Value];
    const turned = rotate(toHeads(qk, D), scope);
    const [q, k] = split(turned, 2, [H, G]) as [Value, Value];
    return { q, k, v: toHeads(v, D) };
  }
  const parts = linearParts(x, inputMatrix('attn.wqkv'), [H * D, ...kvSizes], splitProjections);
  let [q, k] = parts.map((part) => toHeads(part, D)) as [Value, Value, Value];
  if (qkNorm) {
    q = rmsNorm(q, param('attn.qnorm.weight'), rmsNormEps);
    k = rmsNorm(k, param('attn.knorm.weight'), rmsNormEps);
  }
  return {
    q: rotateGroups(q, scope, groups, (g) => [g.firstHead, g.heads]),
    k: rotateGroups(k, scope, groups, (g) => [g.firstKvHead, g.kvHeads]),
    v: toHeads(parts[2] as Value, D),
  };
}

/** The mixer around `attend`, which gives the heads of one group, `[B,T,heads,headDim]`. */
function attendGroups(
  scope: MixerScope,
  plan: AttentionPlan,
  attend: (inputs: GroupInputs, group: HeadGroup, index: number) => Value,
): MixerOutput {
  const { config, x, param, inputMatrix } = scope;
  const [B, T] = x.shape as [number, number, number];
  const groups = groupSpans(config, plan);
  const { q, k, v } = project(scope, groups);
  const sinks = config.sinks ? param('attn.sinks') : null;
  const outs = groups.map((group, i) => {
    const { firstHead, heads, firstKvHead, kvHeads } = group;
    const inputs: GroupInputs = {
      q: takeHeads(q, firstHead, heads),
      k: takeHeads(k, firstKvHead, kvHeads),
      v: takeHeads(v, firstKvHead, kvHeads),
      scale: 1 / Math.sqrt(config.headDim),
      sinks: sinks && groups.length > 1 ? sliceAxis(sinks, 0, firstHead, firstHead + heads) : sinks,
    };
    return attend(inputs, group, i);
  });
  const mixed = reshape(concat(outs, 2), [B, T, config.numHeads * config.headDim]);
  const gated = config.outputGate ? mul(mixed, sigmoid(linear(x, inputMatrix('attn.wgate')))) : mixed;
  return { out: linear(gated, param('attn.wo')), queriesAndKeys: { q, k } };
}

function buildAttention(scope: MixerScope, plan: AttentionPlan): MixerOutput {
  const T = scope.x.shape[1] as number;
  return attendGroups(scope, plan, ({ q, k, v, scale, sinks }, { window }) => {
    // A window as long as the sequence hides nothing.
    return attention(q, k, v, { window: window !== null && window < T ? window : null, scale, sinks }).out;
  });
}

/** Entries of a group's cache: those that its window shows, or all. */
const cacheLength = (window: number | null, maxLength: number) => Math.min(window ?? maxLength, maxLength);

function attentionStates(config: ModelConfig, plan: AttentionPlan, room: StateRoom): StateSpec[] {
  const { batchSize, maxLength, dtype } = room;
  return groupSpans(config, plan).flatMap(({ window, kvHeads }, i) => {
    const shape = [batchSize, kvHeads, cacheLength(window, maxLength), config.headDim];
    return ['keys', 'values'].map((name) => ({ name: `${name}.${i}`, shape, dtype }));
  });
}

function stepAttention(scope: StepScope, plan: AttentionPlan): StepOutput {
  const state: Record<string, Value> = {};
  const { out } = attendGroups(scope, plan, (inputs, { window }, i) => {
    const [keys, values] = [`keys.${i}`, `values.${i}`] as const;
    const cache = { keys: scope.state(keys), values: scope.state(values) };
    const result = cachedAttention(inputs, cache, scope.place, window);
    state[keys] = result.cache.keys;
    state[values] = result.cache.values;
    return result.out;
  });
  return { out, state };
}

export const attentionMixer: Mixer<AttentionPlan> = {
  params: attentionParams,
  sequenceFlops: ({ headDim }, plan, seqLen) =>
    plan.groups.reduce((n, { window, heads }) => n + 4 * heads * headDim * meanVisibleKeys(window, seqLen), 0),
  stateElements: ({ headDim, numHeads, numKvHeads }, plan, length) =>
    plan.groups.reduce((n, { window, heads }) => {
      const kept = window === null ? length : Math.min(window, length);
      return n + 2 * ((heads * numKvHeads) / numHeads) * headDim * kept;
    }, 0),
  build: buildAttention,
  states: attentionStates,
  step: stepAttention,
};
