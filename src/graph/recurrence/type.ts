/** The linear recurrences and the short convolution: signatures and type rules. */
import { present, at, formatShape, isFloat, sameShape, type DType, type Shape } from '../../core/index.js';
import {
  arity,
  dtypeError,
  requireFloat,
  requireIndex,
  requireSameDtype,
  requireShape,
  shapeError,
} from '../ir/checks.js';
import { define } from '../ir/emit.js';
import type { TensorType } from '../ir/types.js';

/** Attributes of the linear recurrences. */
export interface RecurrenceAttrs {
  /** Factor of the output. */
  readonly scale: number;
  /** Tokens that the chunkwise form takes at once, a power of two; null chooses. Results do not depend on it. */
  readonly chunk: number | null;
  /** Whether the input after the fixed ones is the document of each token. */
  readonly segments: boolean;
  /** Whether the last input is the state before the first token. */
  readonly initialState: boolean;
}

/** Attributes of the causal convolution: which of its optional inputs are given, in this order. */
export interface CausalConvAttrs {
  readonly bias: boolean;
  readonly segments: boolean;
  readonly initialState: boolean;
}

declare module '../ir/types.js' {
  interface OpSignatures {
    /**
     * q `[B,T,Hq,K]`, k `[B,T,Hk,K]`, v `[B,T,Hv,V]`, logDecay `[B,T,H]` or `[H]`, [segments i32 `[B,T]`], [state
     * `[B,H,K,V]`] -> o `[B,T,H,V]`, state `[B,H,K,V]`: `S_t = exp(logDecay_t) S_{t-1} + k_t^T v_t`, `o_t = scale q_t
     * S_t`.
     */
    readonly linearRecurrence: Signature<
      RecurrenceAttrs,
      readonly [q: Value, k: Value, v: Value, logDecay: Value, ...optional: Value[]],
      readonly [out: Value, state: Value]
    >;
    /**
     * q, k, v, logDecay `[B,T,H]` or `[B,T,H,K]`, beta `[B,T,H]`, [segments], [state] -> o, state:
     * `S' = exp(logDecay_t) S_{t-1}`, `S_t = S' + beta_t k_t^T (v_t - k_t S')`, `o_t = scale q_t S_t`.
     */
    readonly deltaRule: Signature<
      RecurrenceAttrs,
      readonly [q: Value, k: Value, v: Value, logDecay: Value, beta: Value, ...optional: Value[]],
      readonly [out: Value, state: Value]
    >;
    /** The inputs of linearRecurrence, then o, do, dstate -> dq, dk, dv, dlogDecay, [dinitial state]. */
    readonly linearRecurrenceGrad: Signature<
      RecurrenceAttrs,
      readonly [q: Value, k: Value, v: Value, logDecay: Value, ...optionalThenOutDOutDState: Value[]],
      readonly Value[]
    >;
    /** The inputs of deltaRule, then o, do, dstate -> dq, dk, dv, dlogDecay, dbeta, [dinitial state]. */
    readonly deltaRuleGrad: Signature<
      RecurrenceAttrs,
      readonly [q: Value, k: Value, v: Value, logDecay: Value, beta: Value, ...optionalThenOutDOutDState: Value[]],
      readonly Value[]
    >;
    /**
     * x `[B,T,C]`, weight `[C,W]`, [bias `[C]`], [segments i32 `[B,T]`], [state `[B,W-1,C]`] -> y `[B,T,C]`, state
     * `[B,W-1,C]`: `y_t = bias + sum_m weight[:,m] x_{t-W+1+m}`; the state is the last W-1 inputs.
     */
    readonly causalConv: Signature<
      CausalConvAttrs,
      readonly [x: Value, weight: Value, ...optional: Value[]],
      readonly [out: Value, state: Value]
    >;
  }
}

/** The dtype of decays, betas and state: f32 beside bf16, else that of the queries. */
export function stateDtype(dtype: DType): DType {
  return dtype === 'bf16' ? 'f32' : dtype;
}

const MAX_CHUNK = 1024;

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly K: number;
  readonly V: number;
}

/** Checks q, k, v, the decay's heads and the attributes, which both recurrences share. */
function checkHeads(op: string, inputs: readonly TensorType[], attrs: RecurrenceAttrs, H: number | undefined): Sizes {
  const dtype = requireFloat(op, inputs.slice(0, 3));
  const [q, k, v] = [at(inputs, 0).shape, at(inputs, 1).shape, at(inputs, 2).shape];
  if ([q, k, v].some((s) => s.length !== 4)) throw shapeError(op, inputs, 'q, k and v must be [B,T,heads,width]');
  const [B, T, , K] = q as [number, number, number, number];
  if (T < 1) throw shapeError(op, inputs, 'needs a token');
  if (k[0] !== B || k[1] !== T || k[3] !== K) throw shapeError(op, inputs, `k must be [${B},${T},heads,${K}]`);
  if (v[0] !== B || v[1] !== T) throw shapeError(op, inputs, `v must be [${B},${T},heads,V]`);
  for (const [name, heads] of [
    ['query', q[2]],
    ['key', k[2]],
    ['value', v[2]],
  ] as const) {
    if (!H || !heads || H % heads !== 0) {
      throw shapeError(op, inputs, `the ${H ?? 0} heads of the decay are not a multiple of the ${heads} ${name} heads`);
    }
  }
  const wide = stateDtype(dtype);
  inputs.slice(3).forEach((t) => {
    if (isFloat(t.dtype) && t.dtype !== wide) {
      throw dtypeError(op, inputs, `decays, betas and state must be ${wide} beside ${dtype}`);
    }
  });
  const { chunk, scale } = attrs;
  if (chunk !== null && !(chunk >= 1 && chunk <= MAX_CHUNK && Number.isInteger(Math.log2(chunk)))) {
    throw shapeError(op, inputs, `chunk ${chunk} must be a power of two from 1 to ${MAX_CHUNK}, or null`);
  }
  if (!Number.isFinite(scale)) throw shapeError(op, inputs, `scale ${scale} is not a number`);
  return { B, T, H: present(H), K, V: at(v, 3) };
}

/** Checks the optional inputs from place `next` on, and gives the types of output and state. */
function finish(
  op: string,
  inputs: readonly TensorType[],
  attrs: RecurrenceAttrs,
  { B, T, H, K, V }: Sizes,
  next: number,
): readonly TensorType[] {
  if (attrs.segments) requireSegments(op, inputs, next, [B, T]);
  const state = { dtype: stateDtype(at(inputs, 0).dtype), shape: [B, H, K, V] };
  if (attrs.initialState) {
    requireShape(op, inputs, inputs.length - 1, state.shape, 'the initial state');
    if (!isFloat(at(inputs, inputs.length - 1).dtype))
      throw dtypeError(op, inputs, 'the initial state must be floating-point');
  }
  return [{ dtype: at(inputs, 0).dtype, shape: [B, T, H, V] }, state];
}

function requireSegments(op: string, inputs: readonly TensorType[], i: number, shape: Shape): void {
  requireIndex(op, inputs, i, 'segments');
  requireShape(op, inputs, i, shape, 'segments');
}

const optional = (attrs: { readonly segments: boolean; readonly initialState: boolean }): number =>
  Number(attrs.segments) + Number(attrs.initialState);

function linearRecurrence(inputs: readonly TensorType[], attrs: RecurrenceAttrs): readonly TensorType[] {
  const op = 'linearRecurrence';
  arity(op, inputs, 4 + optional(attrs));
  const decay = at(inputs, 3).shape;
  const sizes = checkHeads(op, inputs, attrs, decay[decay.length - 1]);
  if (decay.length !== 1) requireShape(op, inputs, 3, [sizes.B, sizes.T, sizes.H], 'logDecay');
  return finish(op, inputs, attrs, sizes, 4);
}

function deltaRule(inputs: readonly TensorType[], attrs: RecurrenceAttrs): readonly TensorType[] {
  const op = 'deltaRule';
  arity(op, inputs, 5 + optional(attrs));
  const decay = at(inputs, 3).shape;
  const sizes = checkHeads(op, inputs, attrs, decay[2]);
  const { B, T, H, K } = sizes;
  if (!sameShape(decay, [B, T, H]) && !sameShape(decay, [B, T, H, K])) {
    throw shapeError(op, inputs, `logDecay must be ${formatShape([B, T, H])} or ${formatShape([B, T, H, K])}`);
  }
  requireShape(op, inputs, 4, [B, T, H], 'beta');
  return finish(op, inputs, attrs, sizes, 5);
}

/**
 * Gradients of every input but the documents, from the forward inputs, the output, and the cotangents of output and
 * state.
 */
function gradient(
  op: 'linearRecurrenceGrad' | 'deltaRuleGrad',
  inputs: readonly TensorType[],
  attrs: RecurrenceAttrs,
): readonly TensorType[] {
  const [fixed, forward] = op === 'deltaRuleGrad' ? ([5, deltaRule] as const) : ([4, linearRecurrence] as const);
  arity(op, inputs, fixed + optional(attrs) + 3);
  const given = inputs.slice(0, -3);
  const [out, state] = forward(given, attrs) as [TensorType, TensorType];
  [out, out, state].forEach((want, i) => {
    const place = given.length + i;
    requireShape(op, inputs, place, want.shape, at(['o', 'do', 'dstate'], i));
    if (at(inputs, place).dtype !== want.dtype) throw dtypeError(op, inputs, `input ${place} must be ${want.dtype}`);
  });
  return given.filter((_, i) => !(attrs.segments && i === fixed));
}

function causalConv(inputs: readonly TensorType[], attrs: CausalConvAttrs): readonly TensorType[] {
  const op = 'causalConv';
  arity(op, inputs, 2 + Number(attrs.bias) + optional(attrs));
  const floats = inputs.filter((_, i) => !attrs.segments || i !== 2 + Number(attrs.bias));
  requireFloat(op, floats);
  const dtype = requireSameDtype(op, floats);
  const [x, weight] = [at(inputs, 0).shape, at(inputs, 1).shape];
  if (x.length !== 3 || !x[1]) throw shapeError(op, inputs, 'x must be [B,T,C] with T >= 1');
  const [B, T, C] = x as [number, number, number];
  const width = weight[1];
  if (weight.length !== 2 || weight[0] !== C || !width)
    throw shapeError(op, inputs, `weight must be [${C},width >= 1]`);
  if (attrs.bias) requireShape(op, inputs, 2, [C], 'bias');
  if (attrs.segments) requireSegments(op, inputs, 2 + Number(attrs.bias), [B, T]);
  const state = [B, width - 1, C];
  if (attrs.initialState) requireShape(op, inputs, inputs.length - 1, state, 'the initial state');
  return [at(inputs, 0), { dtype, shape: state }];
}

/** Definitions of the recurrences, their gradients and the convolution. */
export const RECURRENCE = {
  linearRecurrence: define('linearRecurrence', linearRecurrence, {
    precision: 'recurrence',
    locality: 'any',
    merging: 'fold',
  }),
  deltaRule: define('deltaRule', deltaRule, { precision: 'recurrence', locality: 'any', merging: 'fold' }),
  linearRecurrenceGrad: define(
    'linearRecurrenceGrad',
    (inputs, attrs) => gradient('linearRecurrenceGrad', inputs, attrs),
    { precision: 'f32', locality: 'any', merging: 'fold' },
  ),
  deltaRuleGrad: define('deltaRuleGrad', (inputs, attrs) => gradient('deltaRuleGrad', inputs, attrs), {
    precision: 'f32',
    locality: 'any',
    merging: 'fold',
  }),
  causalConv: define('causalConv', causalConv, { precision: 'bf16', locality: 'any', merging: 'fold' }),
};
