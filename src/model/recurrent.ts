/**
 * What the recurrent mixers share: a sequence mixed whole or chunk by chunk from one definition, and the parts that they are
 * built from.
 *
 * Shape letters: B sequences, T tokens, d hiddenSize, H heads, K key width, V value width, C channels of a convolution.
 */
import { invariant, sizeOf } from '../core/index.js';
import {
  causalConv,
  deltaRule,
  exp,
  linear,
  mul,
  neg,
  reshape,
  rmsNorm,
  select,
  sigmoid,
  softplus,
  add,
  type Recurrence,
  type Value,
} from '../graph/index.js';
import type { ModelConfig } from './config.js';
import type { Mixer, MixerScope } from './mixer.js';
import type { PlanOf, RecurrentMixer } from './plan.js';
import type { GdnConfig, KdaConfig, RecurrentConfigs } from './recurrent-config.js';
import type { ParamInit, ParamSpec } from './spec.js';

/** A state that a recurrent mixer keeps for one sequence. */
export interface SequenceState {
  readonly name: string;
  readonly shape: readonly number[];
  /** Held in float32 whatever the parameters are in. */
  readonly exact: boolean;
}

/** What a mixer knows of the tokens around those that it is given. */
export interface Memory {
  /** The document of each token, i32 `[B,T]`; null where each row is one. */
  readonly segments: Value | null;
  /** The state of that name before the first token; null for none, which is zeros. */
  before(name: string): Value | null;
  /** Hands on the state after the last token. */
  after(name: string, state: Value): void;
  /**
   * `x [B,T,...]` with zeros where there is no token. Where inputs of a convolution and values are zero, padding, which comes
   * before every token of its row, leaves convolutions and states at the zeros that they start from.
   */
  tokensOnly(x: Value): Value;
}

/** The rules of one recurrent mixer; `S` is its section of the configuration. */
export interface RecurrentRules<S> {
  params(config: ModelConfig, section: S, at: SpecMaker): ParamSpec[];
  /** FLOPs per token of the sequence part; see `Mixer.sequenceFlops`. */
  sequenceFlops(section: S, seqLen: number): number;
  states(section: S): SequenceState[];
  /** What is added to the residual stream, `[B,T,d]`. */
  mix(scope: MixerScope, section: S, memory: Memory): Value;
}

/** Makes the specification of a parameter of one layer and mixer from the end of its name. */
export type SpecMaker = (
  name: string,
  shape: readonly number[],
  init: ParamInit,
  options?: { readonly decay: boolean },
) => ParamSpec;

/** The section of a mixer that the model uses. */
function sectionOf<M extends RecurrentMixer>(config: ModelConfig, mixer: M): NonNullable<RecurrentConfigs[M]> {
  const section = config[mixer];
  invariant(section, `a model with ${mixer} layers has no ${mixer} section`);
  return section;
}

const WHOLE = { before: () => null, after: () => undefined, tokensOnly: (x: Value) => x };

/** `x [B,T,...]` where `valid` (bool `[B,T]`), else 0. */
function onlyWhere(valid: Value, x: Value): Value {
  return select(reshape(valid, [...valid.shape, ...x.shape.slice(2).map(() => 1)]), x, 0);
}

/** A mixer from its rules. */
export function recurrentMixer<M extends RecurrentMixer>(
  mixer: M,
  rules: RecurrentRules<NonNullable<RecurrentConfigs[M]>>,
): Mixer<PlanOf<M>> {
  return {
    params: (config, _plan, layer) =>
      rules.params(config, sectionOf(config, mixer), (name, shape, init, options) => ({
        name: `layers.${layer}.${mixer}.${name}`,
        shape,
        init,
        part: 'mixer',
        layer,
        ...options,
      })),
    sequenceFlops: (config, _plan, seqLen) => rules.sequenceFlops(sectionOf(config, mixer), seqLen),
    stateBytes: (config, _plan, _length, elementBytes) =>
      rules.states(sectionOf(config, mixer)).reduce((n, { shape, exact }) => {
        return n + sizeOf(shape) * (exact ? Math.max(4, elementBytes) : elementBytes);
      }, 0),
    states: (config, _plan, { batchSize, dtype }) =>
      rules.states(sectionOf(config, mixer)).map(({ name, shape, exact }) => ({
        name,
        shape: [batchSize, ...shape],
        dtype: exact && dtype === 'bf16' ? 'f32' : dtype,
      })),
    step: (scope) => {
      const state: Record<string, Value> = {};
      const memory: Memory = {
        segments: null,
        before: (name) => scope.state(name),
        after: (name, value) => void (state[name] = value),
        tokensOnly: (x) => onlyWhere(scope.place.valid, x),
      };
      return { out: rules.mix(scope, sectionOf(scope.config, mixer), memory), state };
    },
    build: (scope) => ({
      out: rules.mix(scope, sectionOf(scope.config, mixer), { ...WHOLE, segments: scope.segments }),
      queriesAndKeys: null,
    }),
  };
}

export const silu = (x: Value): Value => mul(x, sigmoid(x));

/** `[B,T,H*D] -> [B,T,H,D]`. */
export function toHeads(x: Value, width: number): Value {
  const [B, T, inner] = x.shape as [number, number, number];
  return reshape(x, [B, T, inner / width, width]);
}

/** `[B,T,H,D] -> [B,T,H*D]`. */
export function joinHeads(x: Value): Value {
  const [B, T, H, D] = x.shape as [number, number, number, number];
  return reshape(x, [B, T, H * D]);
}

/** Heads of unit length, `x / sqrt(sum x^2 + 1e-6)`, times sqrt(width): an RMSNorm. */
function unitHeads(x: Value): Value {
  return rmsNorm(x, null, 1e-6 / (x.shape[3] as number));
}

/** Log decays `-exp(aLog) softplus(rate + bias)`, from the parameters as Mamba-2 and the delta rules have them. */
export function stepDecay(aLog: Value, step: Value): Value {
  return mul(neg(exp(aLog)), step);
}

export const stepSize = (rate: Value, bias: Value): Value => softplus(add(rate, bias));

const CONV_STATE = 'conv';
const STATE = 'state';

/** The states of a convolution over `channels` and of a recurrence. */
export function recurrenceStates(
  conv: { readonly width: number; readonly channels: number } | null,
  [H, K, V]: readonly [number, number, number],
): SequenceState[] {
  const state = { name: STATE, shape: [H, K, V], exact: true };
  if (conv === null || conv.width <= 1) return [state];
  return [{ name: CONV_STATE, shape: [conv.width - 1, conv.channels], exact: false }, state];
}

/** SiLU of the layer's causal convolution of x `[B,T,C]`; of x itself where the mixer has none (`width` 0). */
export function shortConv(
  scope: MixerScope,
  x: Value,
  name: string,
  width: number,
  bias: boolean,
  memory: Memory,
): Value {
  if (width === 0) return silu(x);
  const { out, state } = causalConv(memory.tokensOnly(x), scope.param(`${name}.conv.weight`), {
    bias: bias ? scope.param(`${name}.conv.bias`) : null,
    segments: memory.segments,
    initialState: width > 1 ? memory.before(CONV_STATE) : null,
  });
  if (width > 1) memory.after(CONV_STATE, state);
  return silu(out);
}

/** Runs a recurrence from the state before and hands on the state after; gives the output. Values must be those of tokens only. */
export function recur(
  memory: Memory,
  run: (options: { readonly segments: Value | null; readonly initialState: Value | null }) => Recurrence,
): Value {
  const { out, state } = run({ segments: memory.segments, initialState: memory.before(STATE) });
  memory.after(STATE, state);
  return out;
}

/**
 * The gated delta rule as Gated DeltaNet and KDA use it: queries and keys of unit length, scale K^-1/2, strengths `sigmoid(write)`
 * (twice that with `allowNegEigval`). q, k `[B,T,H*K]` (or fewer heads than v), v `[B,T,H*V]`, decay `[B,T,H]` or `[B,T,H,K]` in log
 * space, write `[B,T,H]`; gives `[B,T,H,V]`.
 */
export function unitDelta(
  memory: Memory,
  [q, k, v]: readonly [Value, Value, Value],
  { decay, write }: { readonly decay: Value; readonly write: Value },
  { keyDim: K, valueDim: V, allowNegEigval, chunk }: GdnConfig | KdaConfig,
): Value {
  const beta = allowNegEigval ? mul(sigmoid(write), 2) : sigmoid(write);
  return recur(memory, (options) => {
    // Unit keys and queries are sqrt(K) times shorter than `unitHeads`; that of the queries goes into the scale, K^-1/2 itself.
    const keys = mul(unitHeads(toHeads(k, K)), 1 / Math.sqrt(K));
    const values = memory.tokensOnly(toHeads(v, V));
    return deltaRule(unitHeads(toHeads(q, K)), keys, values, decay, beta, { ...options, scale: 1 / K, chunk });
  });
}

/** `x @ W1 @ W2`, W1 being a matrix on the layer's input. */
export function lowRank({ x, inputMatrix, param }: MixerScope, down: string, up: string): Value {
  return linear(linear(x, inputMatrix(down)), param(up));
}

/** Chunk of the recurrences where none is asked for; as the graph chooses. */
const DEFAULT_CHUNK = 64;

/** The chunk that a sequence is worked on in. */
export function chunkLength(chunk: number | null, seqLen: number): number {
  return Math.min(chunk ?? DEFAULT_CHUNK, seqLen);
}

/** FLOPs per token of the scalar-decay recurrence in chunks of C: scores and values inside, reading and writing the state. */
export function linearFlops(heads: number, K: number, V: number, C: number): number {
  return heads * (2 * C * (K + V) + 4 * K * V);
}

/**
 * FLOPs per token of the delta rule in chunks of C: products of keys and of queries with keys inside a chunk (with a decay per
 * channel their lower triangles only), the inverse of a triangle, and what its result, values and state are multiplied by.
 */
export function deltaFlops(heads: number, K: number, V: number, C: number, decay: 'head' | 'channel'): number {
  const overlaps = decay === 'head' ? 4 * C * K : 2 * (C - 1) * K;
  return heads * (overlaps + 2 * C * K + 4 * C * V + 6 * K * V + (2 / 3) * C * C);
}
