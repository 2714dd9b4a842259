/**
 * What recurrent mixers are built from: heads, short convolutions, recurrences with their states, checks and schema
 * fields.
 *
 * Shape letters: B sequences, T tokens, d hiddenSize, H heads, K key width, V value width, C channels of a convolution.
 */
import { z } from 'zod';
import { dims, at, ConfigError, sizeUpTo, realNumber } from '../../core/index.js';
import {
  add,
  causalConv,
  concat,
  deltaRule,
  exp,
  full,
  linear,
  mul,
  neg,
  reduceMean,
  reshape,
  rmsNorm,
  select,
  sigmoid,
  sliceAxis,
  softplus,
  sub,
  type Recurrence,
  type Value,
} from '../../graph/index.js';
import { PLAIN } from './activations.js';
import type { RecurrentScope, SequenceState, StateAccess } from './definition.js';

/** A whole number of at least 1. Descriptions come last in a chain: zod drops them under `optional` and `default`. */
export const count = sizeUpTo('width');

/** The field `numHeads`. */
export const numHeads = count.optional().describe('heads (default: that of the model)');

/** The field `normEps`; `fallback` says what it is where it is left out. */
export const normEps = (fallback: string) =>
  realNumber().positive().optional().describe(`added to the mean square in the output norm (default: ${fallback})`);

/** The field `chunk`. */
export const chunk = count
  .max(1024)
  .refine((n) => Number.isInteger(Math.log2(n)), 'chunk must be a power of two')
  .nullable()
  .default(null)
  .describe('tokens worked on at once, a power of two; null chooses. Results do not depend on it, speed does');

/** The field `convWidth` of mixers that may go without a convolution. */
export const convWidth = z
  .int()
  .min(0)
  .default(4)
  .describe('tokens under the causal convolution of queries, keys and values, its own included; 0 for none');

/** The field `allowNegEigval` of the delta rules. */
export const allowNegEigval = z
  .boolean()
  .default(false)
  .describe('double the write strength, so that eigenvalues of a step may be negative (state tracking)');

/** Throws `ConfigError` unless `whole` is a multiple of `part`. */
export function checkMultiple(
  where: string,
  [name, n]: readonly [name: string, value: number],
  [partName, p]: readonly [name: string, value: number],
): void {
  if (n % p === 0) return;
  throw new ConfigError(`${where}: ${name} ${n} is not a multiple of ${partName} ${p}; change one of them`, {
    details: { [name]: n, [partName]: p },
  });
}

/** Throws `ConfigError` for heads of odd width, which rotary positions cannot turn. */
export function checkEven(where: string, headDim: number): void {
  if (headDim % 2 === 0) return;
  throw new ConfigError(`${where}: headDim ${headDim} is odd, but rotary positions turn pairs of channels`, {
    details: { headDim },
  });
}

/** `x sigmoid(x)`. */
export const silu = PLAIN.silu;

/** `[B,T,H*D] -> [B,T,H,D]`. */
export function toHeads(x: Value, width: number): Value {
  const [B, T, inner] = dims(x, 3);
  return reshape(x, [B, T, inner / width, width]);
}

/** `[B,T,H,D] -> [B,T,H*D]`. */
export function joinHeads(x: Value): Value {
  const [B, T, H, D] = dims(x, 4);
  return reshape(x, [B, T, H * D]);
}

/** Group norm: each head `[B,T,H,V]` less its mean, by its standard deviation; heads joined, `[B,T,H*V]`. */
export function headNorm(x: Value, eps: number): Value {
  return joinHeads(rmsNorm(sub(x, reduceMean(x, [3], true)), null, eps));
}

/** Heads of unit length, `x / sqrt(sum x^2 + 1e-6)`, times sqrt(width): an RMSNorm. */
function unitHeads(x: Value): Value {
  return rmsNorm(x, null, 1e-6 / at(x.shape, 3));
}

/** Log decays `-exp(aLog) softplus(rate + bias)`, from the parameters as Mamba-2 and the delta rules have them. */
export function stepDecay(aLog: Value, step: Value): Value {
  return mul(neg(exp(aLog)), step);
}

/** The size of a step, `softplus(rate + bias)`. */
export const stepSize = (rate: Value, bias: Value): Value => softplus(add(rate, bias));

const CONV_STATE = 'conv';
const SHIFT_STATE = 'shift';
const STATE = 'state';

/** The state of a convolution: the tokens before, which a convolution over one token does not need. */
export function convStates({
  width,
  channels,
}: {
  readonly width: number;
  readonly channels: number;
}): SequenceState[] {
  return width <= 1 ? [] : [{ name: CONV_STATE, shape: [width - 1, channels], exact: false }];
}

/** The states of a convolution over `channels` (null: there is none) and of a recurrence. */
export function recurrenceStates(
  conv: { readonly width: number; readonly channels: number } | null,
  shape: readonly number[],
): SequenceState[] {
  const state = { name: STATE, shape, exact: true };
  return [...(conv === null ? [] : convStates(conv)), state];
}

/** The state of `tokenBefore`: the last token. */
export const shiftStates = (channels: number): SequenceState[] => [
  { name: SHIFT_STATE, shape: [1, channels], exact: false },
];

/** The layer input of the token before each token, `[B,T,d]`; zeros before the first token of a document. */
export function tokenBefore({ x, starts }: RecurrentScope, state: StateAccess): Value {
  const [B, T, d] = dims(x, 3);
  const own = state.maskPadding(x);
  const before = state.read(SHIFT_STATE) ?? full(x.dtype, [B, 1, d], 0);
  state.write(SHIFT_STATE, sliceAxis(own, 1, T - 1, T));
  const moved = T === 1 ? before : concat([before, sliceAxis(own, 1, 0, T - 1)], 1);
  return state.segments === null ? moved : select(reshape(starts(), [B, T, 1]), 0, moved);
}

/** SiLU of the layer's causal convolution of x `[B,T,C]`; of x itself where the mixer has none (`width` 0). */
export function shortConv(
  scope: RecurrentScope,
  x: Value,
  { width, bias }: { readonly width: number; readonly bias: boolean },
  state: StateAccess,
): Value {
  return silu(width === 0 ? x : depthwiseConv(scope, x, { width, bias }, state));
}

/** The layer's causal depthwise convolution of x `[B,T,C]` by the parameters `conv`. */
export function depthwiseConv(
  { param }: RecurrentScope,
  x: Value,
  { width, bias }: { readonly width: number; readonly bias: boolean },
  state: StateAccess,
): Value {
  const { out, state: after } = causalConv(state.maskPadding(x), param('conv.weight'), {
    bias: bias ? param('conv.bias') : null,
    segments: state.segments,
    initialState: width > 1 ? state.read(CONV_STATE) : null,
  });
  if (width > 1) state.write(CONV_STATE, after);
  return out;
}

/** What a recurrence starts from. */
export interface ScanOptions {
  /** The document index of each token, i32 `[B,T]`; null where each row is one document. */
  readonly segments: Value | null;
  /** The state before the first token; null for zeros. */
  readonly initialState: Value | null;
}

/**
 * Runs a recurrence from the state before and hands on the state after; gives the output. Values must be those of
 * tokens only.
 */
export function recur(state: StateAccess, run: (options: ScanOptions) => Recurrence): Value {
  const { out, state: after } = run({ segments: state.segments, initialState: state.read(STATE) });
  state.write(STATE, after);
  return out;
}

/** What the delta rules of different mixers have in common. */
interface DeltaWidths {
  readonly keyDim: number;
  readonly valueDim: number;
  readonly allowNegEigval: boolean;
  readonly chunk: number | null;
}

/**
 * The gated delta rule as Gated DeltaNet and KDA use it: queries and keys of unit length, scale K^-1/2, beta
 * `sigmoid(write)` (twice that with `allowNegEigval`). q, k `[B,T,H*K]` (or fewer heads than v), v `[B,T,H*V]`, decay
 * `[B,T,H]` or `[B,T,H,K]` in log space, write `[B,T,H]`; gives `[B,T,H,V]`.
 */
export function unitDelta(
  state: StateAccess,
  [q, k, v]: readonly [Value, Value, Value],
  { decay, write }: { readonly decay: Value; readonly write: Value },
  { keyDim: K, valueDim: V, allowNegEigval, chunk }: DeltaWidths,
): Value {
  const beta = allowNegEigval ? mul(sigmoid(write), 2) : sigmoid(write);
  return recur(state, (options) => {
    // Unit keys and queries are sqrt(K) times shorter than `unitHeads`; that of the queries goes into the scale, K^-1/2
    // itself.
    const keys = mul(unitHeads(toHeads(k, K)), 1 / Math.sqrt(K));
    const values = state.maskPadding(toHeads(v, V));
    return deltaRule(unitHeads(toHeads(q, K)), keys, values, decay, beta, { ...options, scale: 1 / K, chunk });
  });
}

/** `x @ W1 @ W2`, W1 being a matrix on the layer's input. */
export function lowRank({ x, inputMatrix, param }: RecurrentScope, down: string, up: string): Value {
  return linear(linear(x, inputMatrix(down)), param(up));
}

/** Chunk of the recurrences where none is asked for; as the graph chooses. */
const DEFAULT_CHUNK = 64;

/** The chunk that a sequence is worked on in. */
export function chunkLength(chunk: number | null, seqLen: number): number {
  return Math.min(chunk ?? DEFAULT_CHUNK, seqLen);
}

/**
 * FLOPs per token of the scalar-decay recurrence in chunks of C: scores and values inside, reading and writing the
 * state.
 */
export function linearFlops(heads: number, K: number, V: number, C: number): number {
  return heads * (2 * C * (K + V) + 4 * K * V);
}

/**
 * FLOPs per token of the delta rule in chunks of C: products of keys and of queries with keys inside a chunk (with a
 * decay per channel their lower triangles only), the inverse of a triangle, and what its result, values and state are
 * multiplied by.
 */
export function deltaFlops(heads: number, K: number, V: number, C: number, decay: 'head' | 'channel'): number {
  const overlaps = decay === 'head' ? 4 * C * K : 2 * (C - 1) * K;
  return heads * (overlaps + 2 * C * K + 4 * C * V + 6 * K * V + (2 / 3) * C * C);
}

/**
 * FLOPs per token of the delta rule with keys of removal in chunks of C: lower triangles of the products of queries and
 * of what reads with keys and with what is erased, the inverse of a triangle, and what those meet values and the state
 * with.
 */
export function removalFlops(heads: number, K: number, V: number, C: number): number {
  return heads * (4 * (C - 1) * K + 2 * C * K + 8 * C * V + 8 * K * V + (2 / 3) * C * C);
}
