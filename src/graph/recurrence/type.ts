/** The linear recurrences and the short convolution: signatures and type rules. */
import { present, at, formatShape, isFloat, sameShape, type DType, type Shape } from '../../core/index.js';
import { Operands } from '../ir/checks.js';
import { define } from '../ir/emit.js';
import type { TensorType as Type } from '../ir/types.js';

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

/** Attributes of the delta rule. */
export interface DeltaRuleAttrs extends RecurrenceAttrs {
  /**
   * Whether removal has keys of its own, the two inputs after beta: what reads the state and what takes the reading out
   * of it. Left out where both are the keys.
   */
  readonly removal?: true;
  /** The least log decay of a token and channel, which the caller vouches for; left out where nothing is known. */
  readonly leastDecay?: number;
}

/** Attributes of the selective scan. */
export interface SelectiveScanAttrs extends Omit<RecurrenceAttrs, 'scale'> {
  /**
   * Whether the gradient is an op of its own, `selectiveScanGrad`, beside which engines may have kernels for both;
   * left out where the chunked form is differentiated.
   */
  readonly ownGradient?: true;
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
     * q, k, v, logDecay `[B,T,H]` or `[B,T,H,K]`, beta `[B,T,H]`, [read, erase `[B,T,H,K]`], [segments], [state] -> o,
     * state: `S' = exp(logDecay_t) S_{t-1}`, `S_t = S' + beta_t (k_t^T v_t - erase_t^T (read_t S'))`, `o_t = scale q_t
     * S_t`, where read and erase are k if they are not given.
     */
    readonly deltaRule: Signature<
      DeltaRuleAttrs,
      readonly [q: Value, k: Value, v: Value, logDecay: Value, beta: Value, ...optional: Value[]],
      readonly [out: Value, state: Value]
    >;
    /** The inputs of linearRecurrence, then o, do, dstate -> dq, dk, dv, dlogDecay, [dinitial state]. */
    readonly linearRecurrenceGrad: Signature<
      RecurrenceAttrs,
      readonly [q: Value, k: Value, v: Value, logDecay: Value, ...optionalThenOutDOutDState: Value[]],
      readonly Value[]
    >;
    /**
     * The inputs of deltaRule, then o, do, dstate -> dq, dk, dv, dlogDecay, dbeta, [dread, derase], [dinitial state].
     */
    readonly deltaRuleGrad: Signature<
      DeltaRuleAttrs,
      readonly [q: Value, k: Value, v: Value, logDecay: Value, beta: Value, ...optionalThenOutDOutDState: Value[]],
      readonly Value[]
    >;
    /**
     * u `[B,T,I]`, B and C `[B,T,N]`, dt `[B,T,I]`, A `[I,N]`, [segments i32 `[B,T]`], [state `[B,I,N]`] -> y
     * `[B,T,I]`, state `[B,I,N]`: `S_t[i,n] = exp(dt_t[i] A[i,n]) S_{t-1}[i,n] + dt_t[i] u_t[i] B_t[n]`, `y_t[i] =
     * sum_n C_t[n] S_t[i,n]`.
     */
    readonly selectiveScan: Signature<
      SelectiveScanAttrs,
      readonly [u: Value, write: Value, read: Value, step: Value, rates: Value, ...optional: Value[]],
      readonly [out: Value, state: Value]
    >;
    /** The inputs of selectiveScan, then dy, dstate -> du, dB, dC, ddt, dA, [dinitial state]. */
    readonly selectiveScanGrad: Signature<
      SelectiveScanAttrs,
      readonly [u: Value, write: Value, read: Value, step: Value, rates: Value, ...optionalThenDOutDState: Value[]],
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
function checkHeads(inputs: Operands, { chunk, scale }: RecurrenceAttrs, H: number | undefined): Sizes {
  const dtype = inputs.slice(0, 3).floatDtype();
  const [q, k, v] = [inputs.shape(0), inputs.shape(1), inputs.shape(2)];
  if ([q, k, v].some((s) => s.length !== 4)) throw inputs.shapeError('q, k and v must be [B,T,heads,width]');
  const [B, T, , K] = q as [number, number, number, number];
  if (T < 1) throw inputs.shapeError('needs a token');
  if (k[0] !== B || k[1] !== T || k[3] !== K) throw inputs.shapeError(`k must be [${B},${T},heads,${K}]`);
  if (v[0] !== B || v[1] !== T) throw inputs.shapeError(`v must be [${B},${T},heads,V]`);
  for (const [name, heads] of Object.entries({ query: q[2], key: k[2], value: v[2] })) {
    if (!H || !heads || H % heads !== 0)
      throw inputs.shapeError(`the ${H ?? 0} heads of the decay are not a multiple of the ${heads} ${name} heads`);
  }
  const wide = stateDtype(dtype);
  if (inputs.types.slice(3).some((t) => isFloat(t.dtype) && t.dtype !== wide))
    throw inputs.dtypeError(`decays, betas and state must be ${wide} beside ${dtype}`);
  checkChunk(inputs, chunk);
  if (!Number.isFinite(scale)) throw inputs.shapeError(`scale ${scale} is not a number`);
  return { B, T, H: present(H), K, V: at(v, 3) };
}

function checkChunk(inputs: Operands, chunk: number | null): void {
  if (chunk === null || (chunk >= 1 && chunk <= MAX_CHUNK && Number.isInteger(Math.log2(chunk)))) return;
  throw inputs.shapeError(`chunk ${chunk} must be a power of two from 1 to ${MAX_CHUNK}, or null`);
}

/** Checks the optional inputs from place `next` on, and gives the types of output and state. */
function finish(inputs: Operands, attrs: RecurrenceAttrs, { B, T, H, K, V }: Sizes, next: number): [Type, Type] {
  if (attrs.segments) requireSegments(inputs, next, [B, T]);
  const { dtype } = inputs.at(0);
  const state = { dtype: stateDtype(dtype), shape: [B, H, K, V] };
  if (attrs.initialState) {
    inputs.requireShape(-1, state.shape, 'the initial state');
    if (!isFloat(inputs.at(-1).dtype)) throw inputs.dtypeError('the initial state must be floating-point');
  }
  return [{ dtype, shape: [B, T, H, V] }, state];
}

function requireSegments(inputs: Operands, i: number, shape: Shape): void {
  inputs.requireIndex(i, 'segments');
  inputs.requireShape(i, shape, 'segments');
}

const optional = (attrs: { readonly segments: boolean; readonly initialState: boolean }): number =>
  Number(attrs.segments) + Number(attrs.initialState);

function linearRecurrence(inputs: Operands, attrs: RecurrenceAttrs): [Type, Type] {
  inputs.requireCount(4 + optional(attrs));
  const decay = inputs.shape(3);
  const sizes = checkHeads(inputs, attrs, decay[decay.length - 1]);
  if (decay.length !== 1) inputs.requireShape(3, [sizes.B, sizes.T, sizes.H], 'logDecay');
  return finish(inputs, attrs, sizes, 4);
}

/** The inputs of the delta rule that are always there, and the keys of removal where it has its own. */
export const deltaInputs = ({ removal }: Pick<DeltaRuleAttrs, 'removal'>): 5 | 7 => (removal ? 7 : 5);

function deltaRule(inputs: Operands, attrs: DeltaRuleAttrs): [Type, Type] {
  const fixed = deltaInputs(attrs);
  inputs.requireCount(fixed + optional(attrs));
  const decay = inputs.shape(3);
  const sizes = checkHeads(inputs, attrs, decay[2]);
  const { B, T, H, K } = sizes;
  if (!sameShape(decay, [B, T, H]) && !sameShape(decay, [B, T, H, K]))
    throw inputs.shapeError(`logDecay must be ${formatShape([B, T, H])} or ${formatShape([B, T, H, K])}`);
  inputs.requireShape(4, [B, T, H], 'beta');
  const { leastDecay = 0 } = attrs;
  if (!Number.isFinite(leastDecay) || leastDecay > 0)
    throw inputs.shapeError(`leastDecay ${leastDecay} must be a log decay, a finite number of at most 0`);
  if (attrs.removal) {
    if (decay.length !== 4) throw inputs.shapeError(`keys of removal need decays ${formatShape([B, T, H, K])}`);
    inputs.requireShape(5, [B, T, H, K], 'the key that reads what is removed');
    inputs.requireShape(6, [B, T, H, K], 'the key that is erased');
    if (inputs.types.slice(5, 7).some((t) => !isFloat(t.dtype)))
      throw inputs.dtypeError('keys of removal must be floating-point');
  }
  return finish(inputs, attrs, sizes, fixed);
}

/**
 * Gradients of every input but the documents, which stand at `fixed`: from the inputs of `forward`, the output, and the
 * cotangents of output and state.
 */
function gradient<A extends Omit<RecurrenceAttrs, 'scale'>>(
  inputs: Operands,
  attrs: A,
  fixed: number,
  forward: (inputs: Operands, attrs: A) => [Type, Type],
  beside: readonly string[] = ['o', 'do', 'dstate'],
): readonly Type[] {
  inputs.requireCount(fixed + optional(attrs) + beside.length);
  const given = inputs.slice(0, -beside.length);
  const [out, state] = forward(given, attrs);
  beside.forEach((name, i) => {
    const place = given.length + i;
    const want = name === 'dstate' ? state : out;
    inputs.requireShape(place, want.shape, name);
    if (inputs.at(place).dtype !== want.dtype) throw inputs.dtypeError(`input ${place} must be ${want.dtype}`);
  });
  return given.types.filter((_, i) => !(attrs.segments && i === fixed));
}

function selectiveScan(inputs: Operands, attrs: SelectiveScanAttrs): [Type, Type] {
  inputs.requireCount(5 + optional(attrs));
  const dtype = inputs.slice(0, 3).floatDtype();
  const [u, rates] = [inputs.shape(0), inputs.shape(4)];
  if (u.length !== 3 || !u[1]) throw inputs.shapeError('u must be [B,T,I] with T >= 1');
  const [B, T, I] = u as [number, number, number];
  const N = rates[1];
  if (rates.length !== 2 || rates[0] !== I || !N) throw inputs.shapeError(`A must be [${I},states >= 1]`);
  inputs.requireShape(1, [B, T, N], 'B');
  inputs.requireShape(2, [B, T, N], 'C');
  inputs.requireShape(3, u, 'dt');
  const wide = stateDtype(dtype);
  if (inputs.types.slice(3).some((t) => isFloat(t.dtype) && t.dtype !== wide))
    throw inputs.dtypeError(`dt, A and state must be ${wide} beside ${dtype}`);
  checkChunk(inputs, attrs.chunk);
  if (attrs.segments) requireSegments(inputs, 5, [B, T]);
  const state = [B, I, N];
  if (attrs.initialState) inputs.requireShape(-1, state, 'the initial state');
  return [inputs.at(0), { dtype: wide, shape: state }];
}

function causalConv(inputs: Operands, attrs: CausalConvAttrs): readonly Type[] {
  const documents = 2 + Number(attrs.bias);
  inputs.requireCount(documents + optional(attrs));
  const floats = inputs.types.filter((_, i) => !attrs.segments || i !== documents);
  const dtype = new Operands('causalConv', floats).floatDtype();
  const [x, weight] = [inputs.shape(0), inputs.shape(1)];
  if (x.length !== 3 || !x[1]) throw inputs.shapeError('x must be [B,T,C] with T >= 1');
  const [B, T, C] = x as [number, number, number];
  const width = weight[1];
  if (weight.length !== 2 || weight[0] !== C || !width) throw inputs.shapeError(`weight must be [${C},width >= 1]`);
  if (attrs.bias) inputs.requireShape(2, [C], 'bias');
  if (attrs.segments) requireSegments(inputs, documents, [B, T]);
  const state = [B, width - 1, C];
  if (attrs.initialState) inputs.requireShape(-1, state, 'the initial state');
  return [inputs.at(0), { dtype, shape: state }];
}

const recurrence = { precision: 'recurrence', locality: 'any', merging: 'fold' } as const;
const ofGradient = { precision: 'f32', locality: 'any', merging: 'fold' } as const;

/** Definitions of the recurrences, their gradients and the convolution. */
export const RECURRENCE = {
  linearRecurrence: define('linearRecurrence', null, recurrence, linearRecurrence),
  deltaRule: define('deltaRule', null, recurrence, deltaRule),
  linearRecurrenceGrad: define('linearRecurrenceGrad', null, ofGradient, (inputs, attrs) =>
    gradient(inputs, attrs, 4, linearRecurrence),
  ),
  deltaRuleGrad: define('deltaRuleGrad', null, ofGradient, (inputs, attrs) =>
    gradient(inputs, attrs, deltaInputs(attrs), deltaRule),
  ),
  selectiveScan: define('selectiveScan', null, recurrence, selectiveScan),
  selectiveScanGrad: define('selectiveScanGrad', null, ofGradient, (inputs, attrs) =>
    gradient(inputs, attrs, 5, selectiveScan, ['do', 'dstate']),
  ),
  causalConv: define('causalConv', null, { precision: 'bf16', locality: 'any', merging: 'fold' }, causalConv),
};
