/**
 * The tensor graph: static, pure, immutable. A `Value` has a dtype and a shape known when it is built; a `Node` computes one
 * or more values from others; a `Graph` names inputs and outputs. No builder object: op functions (`lib.ts`) take values and
 * return values, and a graph is whatever its outputs reach.
 */
import type { DType } from '../core/index.js';
import type { HostTensor, Shape } from '../core/index.js';

export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

export interface Node<K extends OpName = OpName> {
  readonly op: K;
  readonly inputs: readonly Value[];
  readonly attrs: OpAttrs[K];
  readonly outputs: readonly Value[];
}

export interface Value extends TensorType {
  readonly node: Node;
  /** Which output of `node` this is. */
  readonly index: number;
}

export interface Port {
  readonly name: string;
  readonly value: Value;
}

export interface Graph {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Every node that the outputs need, and every input, in an order in which each follows what it uses. */
  readonly nodes: readonly Node[];
}

export const UNARY_FLOAT_OPS = [
  'exp',
  'log',
  'log1p',
  'sqrt',
  'rsqrt',
  'tanh',
  'sigmoid',
  'sin',
  'cos',
  'floor',
] as const;
export const UNARY_NUMERIC_OPS = ['neg', 'abs', 'sign'] as const;
export const BINARY_OPS = ['add', 'sub', 'mul', 'div', 'max', 'min', 'pow'] as const;
export const COMPARE_OPS = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;
export const LOGICAL_OPS = ['and', 'or'] as const;

export type UnaryFloatOp = (typeof UNARY_FLOAT_OPS)[number];
export type UnaryNumericOp = (typeof UNARY_NUMERIC_OPS)[number];
export type BinaryOp = (typeof BINARY_OPS)[number];
export type CompareOp = (typeof COMPARE_OPS)[number];
export type LogicalOp = (typeof LOGICAL_OPS)[number];

export type NoAttrs = Readonly<Record<never, never>>;

/** Dimension numbers of a general dot. Result axes: batch axes, then the free axes of lhs, then those of rhs. */
export interface DotAttrs {
  readonly lhsBatch: readonly number[];
  readonly rhsBatch: readonly number[];
  readonly lhsContract: readonly number[];
  readonly rhsContract: readonly number[];
}

/** Causal attention. Query `t` sees keys `max(0, t - window + 1) .. t`: `window` keys, its own included; null sees all. */
export interface AttentionAttrs {
  readonly window: number | null;
  readonly scale: number;
  /** Whether the last input is the document of each token: then a query sees only keys of its own. */
  readonly segments?: boolean;
}

/** Half-split rotary embedding: channel `m` turns with channel `m + D/2` by `position * inverseFrequencies[m]`. */
export interface RotaryAttrs {
  readonly inverseFrequencies: readonly number[];
  /** Turn backwards (the derivative). */
  readonly inverse: boolean;
}

/** A device's own kernel in place of the ops that it computes; engines put it in while they prepare a graph. */
export interface KernelAttrs {
  readonly name: string;
  readonly types: readonly TensorType[];
  /** The program, which only the engine that put it in understands. */
  readonly program: object;
  /** What it computes, on row-major float64 arrays. */
  evaluate(inputs: readonly Float64Array[]): readonly Float64Array[];
}

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

export interface ScanAttrs {
  /** Inputs: carries, one slice of each xs, consts. Outputs: new carries, one slice of each ys. */
  readonly body: Graph;
  readonly length: number;
  readonly numCarry: number;
  readonly numXs: number;
  /** Visit slices from the last to the first; ys keep the place of their x. */
  readonly reverse: boolean;
  /** The last `numCarry` outputs are the carries as each step found them, stacked; kept for the derivative. */
  readonly savesCarry: boolean;
}

type Elementwise = UnaryFloatOp | UnaryNumericOp | BinaryOp | CompareOp | LogicalOp | 'not' | 'select';

export type OpAttrs = { readonly [K in Elementwise]: NoAttrs } & {
  // Leaves
  readonly input: { readonly name: string; readonly dtype: DType; readonly shape: Shape };
  readonly constant: { readonly tensor: HostTensor };
  /** 0, 1, 2, ... along `axis`, the same along all others. */
  readonly iota: { readonly dtype: DType; readonly shape: Shape; readonly axis: number };
  // Types and layout
  /** Float to i32 truncates toward zero; anything to bool is "not zero"; bool to number is 0 or 1. */
  readonly convert: { readonly dtype: DType };
  readonly reshape: { readonly shape: Shape };
  readonly transpose: { readonly permutation: readonly number[] };
  readonly broadcast: { readonly shape: Shape };
  readonly slice: { readonly starts: Shape; readonly limits: Shape; readonly strides: Shape };
  readonly pad: { readonly low: Shape; readonly high: Shape; readonly value: number };
  readonly concat: { readonly axis: number };
  readonly split: { readonly axis: number; readonly sizes: readonly number[] };
  // Contractions and reductions
  readonly dot: DotAttrs;
  readonly reduceSum: { readonly axes: readonly number[]; readonly keepDims: boolean };
  readonly reduceMax: { readonly axes: readonly number[]; readonly keepDims: boolean };
  /** Index (i32) of the first largest element. */
  readonly argmax: { readonly axis: number };
  readonly cumsum: { readonly axis: number; readonly reverse: boolean; readonly exclusive: boolean };
  // Indexing. Indices are i32 and must lie in range: engines do not check them.
  /** `out[i.., rest..] = operand[indices[i..], rest..]`. */
  readonly take: NoAttrs;
  /** `operand` with `updates[i.., rest..]` added at `[indices[i..], rest..]`; repeats add up. */
  readonly scatterAdd: NoAttrs;
  // Control
  readonly scan: ScanAttrs;
  /** The identity, whose derivative is zero. */
  readonly stopGradient: NoAttrs;
  /** The identity on each input; no output is computed before every input is, and nothing is merged across it. */
  readonly barrier: NoAttrs;
  /** Runs `body`; its derivative recomputes the body instead of keeping its insides. */
  readonly remat: { readonly body: Graph };
  readonly kernel: KernelAttrs;
  // Composites
  readonly softmax: { readonly axis: number };
  /** x, [weight] -> y, rstd: `y = x * rstd * weight`, `rstd = 1 / sqrt(mean(x^2) + epsilon)` over the last axis, kept as size 1. */
  readonly rmsNorm: { readonly epsilon: number };
  /** x, rstd, dy, [weight] -> dx, [dweight]. */
  readonly rmsNormGrad: NoAttrs;
  /** x `[B,T,H,D]` -> the same, position = index along T. */
  readonly rotary: RotaryAttrs;
  /** gate, up -> `gate * sigmoid(gate) * up`. */
  readonly swiglu: NoAttrs;
  /** gate, up, dy -> dgate, dup. */
  readonly swigluGrad: NoAttrs;
  /** logits `[N,V]`, targets i32 `[N]` -> negative log-likelihood `[N]` in nats, log-sum-exp `[N]`. */
  readonly crossEntropy: NoAttrs;
  /** logits, targets, lse, dloss `[N]`, dlse `[N]` -> dlogits. */
  readonly crossEntropyGrad: NoAttrs;
  /**
   * q `[B,T,H,D]`, k `[B,T,G,D]`, v `[B,T,G,E]`, [sinks `[H]`], [segments i32 `[B,T]`] -> o `[B,T,H,E]`, log-sum-exp `[B,H,T]`
   * (sinks included).
   */
  readonly attention: AttentionAttrs;
  /** q, k, v, o, lse, do, [sinks], [segments] -> dq, dk, dv, [dsinks]. Probabilities are recomputed from q, k and lse. */
  readonly attentionGrad: AttentionAttrs;
  /**
   * q `[B,T,Hq,K]`, k `[B,T,Hk,K]`, v `[B,T,Hv,V]`, logDecay `[B,T,H]` or `[H]`, [segments i32 `[B,T]`], [state `[B,H,K,V]`]
   * -> o `[B,T,H,V]`, state `[B,H,K,V]`: `S_t = exp(logDecay_t) S_{t-1} + k_t^T v_t`, `o_t = scale q_t S_t`.
   */
  readonly linearRecurrence: RecurrenceAttrs;
  /**
   * q, k, v, logDecay `[B,T,H]` or `[B,T,H,K]`, beta `[B,T,H]`, [segments], [state] -> o, state:
   * `S' = exp(logDecay_t) S_{t-1}`, `S_t = S' + beta_t k_t^T (v_t - k_t S')`, `o_t = scale q_t S_t`.
   */
  readonly deltaRule: RecurrenceAttrs;
  /** The inputs of linearRecurrence, then o, do, dstate -> dq, dk, dv, dlogDecay, [dinitial state]. */
  readonly linearRecurrenceGrad: RecurrenceAttrs;
  /** The inputs of deltaRule, then o, do, dstate -> dq, dk, dv, dlogDecay, dbeta, [dinitial state]. */
  readonly deltaRuleGrad: RecurrenceAttrs;
  /**
   * x `[B,T,C]`, weight `[C,W]`, [bias `[C]`], [segments i32 `[B,T]`], [state `[B,W-1,C]`] -> y `[B,T,C]`, state `[B,W-1,C]`:
   * `y_t = bias + sum_m weight[:,m] x_{t-W+1+m}`; the state is the last W-1 inputs.
   */
  readonly causalConv: CausalConvAttrs;
};

export type OpName = keyof OpAttrs;

export type { DType, HostTensor, Shape };
