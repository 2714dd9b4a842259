/**
 * Op functions: each takes values (and plain attributes), checks them by the op's type rule, and returns new values.
 * A number given where a value is expected becomes a scalar constant of the other operand's dtype.
 */
import {
  ConfigError,
  DTypeError,
  ShapeError,
  hostTensor,
  tensorFrom,
  type DType,
  type HostTensor,
  type Shape,
} from '../core/index.js';
import { TYPE_RULES } from './ops.js';
import type { AttentionAttrs, DotAttrs, Node, OpAttrs, OpName, Value } from './types.js';

export type Operand = Value | number;

/** Builds a node of any op. Throws `ShapeError` or `DTypeError` where the inputs do not fit. */
export function emit<K extends OpName>(op: K, inputs: readonly Value[], attrs: OpAttrs[K]): readonly Value[] {
  const types = TYPE_RULES[op](inputs, attrs);
  const outputs: Value[] = [];
  const node = { op, inputs, attrs, outputs } as unknown as Node;
  types.forEach(({ dtype, shape }, index) => outputs.push({ dtype, shape, node, index }));
  return outputs;
}

function emit1<K extends OpName>(op: K, inputs: readonly Value[], attrs: OpAttrs[K]): Value {
  return emit(op, inputs, attrs)[0] as Value;
}

/** A graph input. */
export function input(name: string, dtype: DType, shape: Shape): Value {
  return emit1('input', [], { name, dtype, shape });
}

export function constant(tensor: HostTensor): Value {
  return emit1('constant', [], { tensor });
}

/** A constant scalar. */
export function scalar(value: number, dtype: DType): Value {
  return constant(tensorFrom(dtype, [], [value]));
}

/** A constant of any shape with every element `value` (a broadcast scalar). */
export function full(dtype: DType, shape: Shape, value: number): Value {
  return broadcast(scalar(value, dtype), shape);
}

export function iota(dtype: DType, shape: Shape, axis: number): Value {
  return emit1('iota', [], { dtype, shape, axis });
}

function pairOf(a: Operand, b: Operand): [Value, Value] {
  if (typeof a === 'number') {
    if (typeof b === 'number') throw new DTypeError('two plain numbers have no dtype; make one of them a scalar');
    return [scalar(a, b.dtype), b];
  }
  return [a, typeof b === 'number' ? scalar(b, a.dtype) : b];
}

type BinaryFunction = (a: Operand, b: Operand) => Value;
const binaryOf =
  (
    op: 'add' | 'sub' | 'mul' | 'div' | 'max' | 'min' | 'pow' | 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge',
  ): BinaryFunction =>
  (a, b) =>
    emit1(op, pairOf(a, b), {});

export const add = binaryOf('add');
export const sub = binaryOf('sub');
export const mul = binaryOf('mul');
export const div = binaryOf('div');
export const max = binaryOf('max');
export const min = binaryOf('min');
export const pow = binaryOf('pow');
export const eq = binaryOf('eq');
export const ne = binaryOf('ne');
export const lt = binaryOf('lt');
export const le = binaryOf('le');
export const gt = binaryOf('gt');
export const ge = binaryOf('ge');

type UnaryFunction = (x: Value) => Value;
const unaryOf =
  (
    op:
      | 'neg'
      | 'abs'
      | 'sign'
      | 'exp'
      | 'log'
      | 'log1p'
      | 'sqrt'
      | 'rsqrt'
      | 'tanh'
      | 'sigmoid'
      | 'sin'
      | 'cos'
      | 'floor'
      | 'not'
      | 'stopGradient',
  ): UnaryFunction =>
  (x) =>
    emit1(op, [x], {});

export const neg = unaryOf('neg');
export const abs = unaryOf('abs');
/** -1, 0 or 1. */
export const sign = unaryOf('sign');
export const exp = unaryOf('exp');
export const log = unaryOf('log');
export const log1p = unaryOf('log1p');
export const sqrt = unaryOf('sqrt');
export const rsqrt = unaryOf('rsqrt');
export const tanh = unaryOf('tanh');
export const sigmoid = unaryOf('sigmoid');
export const sin = unaryOf('sin');
export const cos = unaryOf('cos');
export const floor = unaryOf('floor');
export const not = unaryOf('not');
export const stopGradient = unaryOf('stopGradient');

export function and(a: Value, b: Value): Value {
  return emit1('and', [a, b], {});
}

export function or(a: Value, b: Value): Value {
  return emit1('or', [a, b], {});
}

/** `whenTrue` where `condition`, else `whenFalse`; all three broadcast. */
export function select(condition: Value, whenTrue: Operand, whenFalse: Operand): Value {
  return emit1('select', [condition, ...pairOf(whenTrue, whenFalse)], {});
}

/** To another dtype; the value itself if it has that dtype already. */
export function convert(x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : emit1('convert', [x], { dtype });
}

export function reshape(x: Value, shape: Shape): Value {
  return emit1('reshape', [x], { shape });
}

export function transpose(x: Value, permutation: readonly number[]): Value {
  return emit1('transpose', [x], { permutation });
}

/** Stretches to `shape` by NumPy's rules. */
export function broadcast(x: Value, shape: Shape): Value {
  return emit1('broadcast', [x], { shape });
}

export function slice(x: Value, starts: Shape, limits: Shape, strides?: Shape): Value {
  return emit1('slice', [x], { starts, limits, strides: strides ?? starts.map(() => 1) });
}

/** `x[..., start:limit, ...]` along one axis. */
export function sliceAxis(x: Value, axis: number, start: number, limit: number): Value {
  const starts = x.shape.map((_, i) => (i === axis ? start : 0));
  const limits = x.shape.map((d, i) => (i === axis ? limit : d));
  return slice(x, starts, limits);
}

export function pad(x: Value, low: Shape, high: Shape, value = 0): Value {
  return emit1('pad', [x], { low, high, value });
}

/** Pads one axis. */
export function padAxis(x: Value, axis: number, low: number, high: number, value = 0): Value {
  const sizes = (n: number): number[] => x.shape.map((_, i) => (i === axis ? n : 0));
  return pad(x, sizes(low), sizes(high), value);
}

export function concat(xs: readonly Value[], axis: number): Value {
  return xs.length === 1 ? (xs[0] as Value) : emit1('concat', xs, { axis });
}

export function split(x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
  return emit('split', [x], { axis, sizes });
}

/** A general dot; result axes: batch, free of `a`, free of `b`. */
export function dot(a: Value, b: Value, dims: DotAttrs): Value {
  return emit1('dot', [a, b], dims);
}

/** `a [..., K] @ b [K, N] -> [..., N]`. */
export function linear(a: Value, b: Value): Value {
  return dot(a, b, { lhsBatch: [], rhsBatch: [], lhsContract: [a.shape.length - 1], rhsContract: [0] });
}

/** Batched matrix product over equal leading axes: `a [..., M, K] @ b [..., K, N] -> [..., M, N]`. */
export function matmul(a: Value, b: Value): Value {
  const batch = a.shape.slice(0, -2).map((_, i) => i);
  return dot(a, b, {
    lhsBatch: batch,
    rhsBatch: batch,
    lhsContract: [a.shape.length - 1],
    rhsContract: [b.shape.length - 2],
  });
}

const allAxes = (x: Value): number[] => x.shape.map((_, i) => i);

/** Sum over `axes` (default all). */
export function reduceSum(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  return emit1('reduceSum', [x], { axes, keepDims });
}

export function reduceMax(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  return emit1('reduceMax', [x], { axes, keepDims });
}

/** Arithmetic mean over `axes` (default all). */
export function reduceMean(x: Value, axes: readonly number[] = allAxes(x), keepDims = false): Value {
  const count = axes.reduce((n, a) => n * (x.shape[a] as number), 1);
  return mul(reduceSum(x, axes, keepDims), 1 / count);
}

export function argmax(x: Value, axis: number): Value {
  return emit1('argmax', [x], { axis });
}

/** Running sum along `axis`; `exclusive` leaves the element itself out; `reverse` runs from the end. */
export function cumsum(x: Value, axis: number, options: { reverse?: boolean; exclusive?: boolean } = {}): Value {
  return emit1('cumsum', [x], { axis, reverse: options.reverse ?? false, exclusive: options.exclusive ?? false });
}

/** Rows of `operand` (axis 0) by `indices`. */
export function take(operand: Value, indices: Value): Value {
  return emit1('take', [operand, indices], {});
}

export function scatterAdd(operand: Value, indices: Value, updates: Value): Value {
  return emit1('scatterAdd', [operand, indices, updates], {});
}

/** Identity on several values at once; keeps order and forbids merging across it. */
export function barrier(values: readonly Value[]): readonly Value[] {
  return emit('barrier', values, {});
}

export function softmax(x: Value, axis = x.shape.length - 1): Value {
  return emit1('softmax', [x], { axis });
}

/** RMS norm over the last axis (Zhang and Sennrich 2019). Returns y; see the catalogue for the second output. */
export function rmsNorm(x: Value, weight: Value | null, epsilon: number): Value {
  return emit1('rmsNorm', weight ? [x, weight] : [x], { epsilon });
}

/** `base^(-2m/D)` for `m = 0 .. D/2-1`: the angle in radians that one position adds to channel pair m (Su et al. 2021). */
export function rotaryFrequencies(headDim: number, base: number): number[] {
  if (headDim % 2 !== 0) throw new ConfigError(`rotary positions need an even head width, got ${headDim}`);
  return Array.from({ length: headDim / 2 }, (_, m) => Math.pow(base, (-2 * m) / headDim));
}

/** Rotary positions on x `[B,T,H,D]`, half-split layout. */
export function rotary(x: Value, inverseFrequencies: readonly number[], inverse = false): Value {
  return emit1('rotary', [x], { inverseFrequencies, inverse });
}

/** `gate * sigmoid(gate) * up` (Shazeer 2020). */
export function swiglu(gate: Value, up: Value): Value {
  return emit1('swiglu', [gate, up], {});
}

/** `log(1 + exp(x))`, safe for large |x|. */
export function softplus(x: Value): Value {
  return add(max(x, 0), log1p(exp(neg(abs(x)))));
}

/** Negative log-likelihood of targets i32 `[N]` under logits `[N,V]`, and the log-sum-exp of each row, both `[N]`, in nats. */
export function crossEntropy(logits: Value, targets: Value): { readonly loss: Value; readonly lse: Value } {
  const [loss, lse] = emit('crossEntropy', [logits, targets], {}) as [Value, Value];
  return { loss, lse };
}

/**
 * Causal attention with grouped queries: q `[B,T,H,D]`, k `[B,T,G,D]`, v `[B,T,G,E]` with G dividing H (query head h uses key
 * head `floor(h / (H/G))`), sinks `[H]` or null, and segments, the document of each token (i32 `[B,T]`, a new one wherever the id
 * changes): a query then sees only keys of its own document. Returns o `[B,T,H,E]` and the log-sum-exp `[B,H,T]`, which is a statistic
 * for the derivative and for analyses: asking for its own derivative throws.
 */
export function attention(
  q: Value,
  k: Value,
  v: Value,
  options: Omit<AttentionAttrs, 'segments'> & { readonly sinks?: Value | null; readonly segments?: Value | null },
): { readonly out: Value; readonly lse: Value } {
  const { window, scale, sinks = null, segments = null } = options;
  const attrs = segments ? { window, scale, segments: true } : { window, scale };
  const optional = [sinks, segments].filter((x) => x !== null);
  const [out, lse] = emit('attention', [q, k, v, ...optional], attrs) as [Value, Value];
  return { out, lse };
}

/** What the linear recurrences may be given beside their inputs. */
export interface RecurrenceOptions {
  /** Factor of the output. */
  readonly scale: number;
  /** Tokens that the chunkwise form takes at once, a power of two up to 1024; default chosen by the op. */
  readonly chunk?: number | null;
  /** The document of each token, i32 `[B,T]`: the state starts from zero wherever the id changes. */
  readonly segments?: Value | null;
  /** The state before the first token, `[B,H,K,V]`; default zero. It belongs to the first token's document. */
  readonly initialState?: Value | null;
}

export interface Recurrence {
  /** `[B,T,H,V]`, in the dtype of q. */
  readonly out: Value;
  /** The state after the last token, `[B,H,K,V]`; f32 beside bf16 inputs. */
  readonly state: Value;
}

function recurrence(
  op: 'linearRecurrence' | 'deltaRule',
  inputs: readonly Value[],
  options: RecurrenceOptions,
): Recurrence {
  const { scale, chunk = null, segments = null, initialState = null } = options;
  const optional = [segments, initialState].filter((v) => v !== null);
  const attrs = { scale, chunk, segments: segments !== null, initialState: initialState !== null };
  const [out, state] = emit(op, [...inputs, ...optional], attrs) as [Value, Value];
  return { out, state };
}

/**
 * Linear attention with decay: `S_t = exp(logDecay_t) S_{t-1} + k_t^T v_t`, `o_t = scale q_t S_t` per head (Lightning Attention,
 * Simple GLA; Mamba-2 with q = C, k = B, v = dt x, logDecay = dt A). q `[B,T,Hq,K]`, k `[B,T,Hk,K]`, v `[B,T,Hv,V]`, logDecay
 * `[B,T,H]` (natural log, at most 0), or `[H]` for a decay that is the same at every token. Each head count divides H; head h
 * uses head `floor(h / (H/Hq))` of q, and so on. Decays and states are f32 where q, k and v are bf16.
 */
export function linearRecurrence(
  q: Value,
  k: Value,
  v: Value,
  logDecay: Value,
  options: RecurrenceOptions,
): Recurrence {
  return recurrence('linearRecurrence', [q, k, v, logDecay], options);
}

/**
 * The gated delta rule: `S' = exp(logDecay_t) S_{t-1}`, `S_t = S' + beta_t k_t^T (v_t - k_t S')`, `o_t = scale q_t S_t` per head
 * (Gated DeltaNet, Yang et al. 2025). Shapes as in `linearRecurrence`, with logDecay `[B,T,H]`, or `[B,T,H,K]` for a decay of each
 * key channel (Kimi Delta Attention), and beta `[B,T,H]`. Keys should have unit length and beta lie in 0 to 2: beyond that
 * the recurrence itself diverges.
 */
export function deltaRule(
  q: Value,
  k: Value,
  v: Value,
  logDecay: Value,
  beta: Value,
  options: RecurrenceOptions,
): Recurrence {
  return recurrence('deltaRule', [q, k, v, logDecay, beta], options);
}

/**
 * Causal depthwise convolution over tokens: `y_t[c] = bias[c] + sum_m weight[c,m] x_{t-W+1+m}[c]`, x `[B,T,C]`, weight `[C,W]`
 * (the last tap meets the token itself), no activation. What precedes the first token is `initialState [B,W-1,C]`, default
 * zeros; with `segments` (i32 `[B,T]`) taps see zeros beyond the start of the token's document. Returns out `[B,T,C]` and the
 * state `[B,W-1,C]` that continues the last document.
 */
export function causalConv(
  x: Value,
  weight: Value,
  options: {
    readonly bias?: Value | null;
    readonly segments?: Value | null;
    readonly initialState?: Value | null;
  } = {},
): Recurrence {
  const { bias = null, segments = null, initialState = null } = options;
  const optional = [bias, segments, initialState].filter((v) => v !== null);
  const attrs = { bias: bias !== null, segments: segments !== null, initialState: initialState !== null };
  const [out, state] = emit('causalConv', [x, weight, ...optional], attrs) as [Value, Value];
  return { out, state };
}

/** A constant of the given dtype from numbers. */
export function constantFrom(dtype: DType, shape: Shape, values: ArrayLike<number>): Value {
  return constant(tensorFrom(dtype, shape, values));
}

/** Throws unless `x` has exactly this shape; for op functions built from others. */
export function expectShape(x: Value, shape: Shape, what: string): void {
  if (x.shape.length !== shape.length || x.shape.some((d, i) => d !== shape[i])) {
    throw new ShapeError(`${what} must have shape [${shape.join(',')}], got [${x.shape.join(',')}]`);
  }
}

export { hostTensor };
