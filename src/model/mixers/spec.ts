/** Parameter specifications: what mixers and the model list, and what each parameter is for. */
import { sizeOf, type Shape } from '../../core/index.js';

/** How a parameter starts. */
export type ParamInit =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly std: number }
  /**
   * Uniform in `low .. high`, then through `map`: its logarithm, the inverse softplus of its exponential, or that of
   * `-log(x) / 2`.
   */
  | {
      readonly kind: 'uniform';
      readonly low: number;
      readonly high: number;
      readonly map?: 'log' | 'inverse-softplus-exp' | 'inverse-softplus-decay';
    }
  /** The logarithms of 1, 2, 3, ... along the last axis. */
  | { readonly kind: 'log-counting' }
  /**
   * `from + (to - from) (i / over)^power + swing z |z|` for element i, where z goes from -1 to 1 over every `period` of
   * them.
   */
  | {
      readonly kind: 'ramp';
      readonly from: number;
      readonly to: number;
      readonly over: number;
      readonly power: number;
      readonly swing: number;
      readonly period: number;
    };

/** The part of the model that a parameter belongs to. */
export type ParamPart = 'embedding' | 'mixer' | 'mlp' | 'norm' | 'head';

/**
 * What a parameter does, from which weight decay, sharding and FLOP counts follow:
 * - `embedding`: rows of the residual stream, `[vocabSize, hiddenSize]`;
 * - `in`: a matrix `[in, out]` whose output feeds a nonlinearity, a recurrence, attention or the loss;
 * - `out`: a matrix `[in, hiddenSize]` that writes to the residual stream;
 * - `blocks`: matrices `[blocks, in, out]`, each of which multiplies its own channels;
 * - `experts`: matrices `[experts, in, out]`, of which a token passes a few;
 * - `conv`: the taps `[channels, width]` of a depthwise convolution;
 * - `vector`: a gain, a bias, or one number (or a few, `[channels, n]`) a head or channel.
 */
export type ParamRole = 'embedding' | 'in' | 'out' | 'blocks' | 'experts' | 'conv' | 'vector';

/** One parameter of a model. */
export interface ParamSpec {
  /** Unique; also the tensor's name in a checkpoint. */
  readonly name: string;
  /** The parameter's shape; matrices are `[in, out]`. */
  readonly shape: Shape;
  readonly init: ParamInit;
  readonly part: ParamPart;
  readonly role: ParamRole;
  /** The share of its elements that one token passes (default: all). */
  readonly share?: number;
  /**
   * Widths, along the last axis, of the matrices that are stored side by side in this one, such as queries, keys and
   * values (left out: one matrix).
   */
  readonly columns?: readonly number[];
  /** Layer index; null for embedding, shared blocks, final norm and head. */
  readonly layer: number | null;
  /** Index of the shared block that it belongs to (left out: none). */
  readonly block?: number;
}

/** The columns of a gate and of what it gates, each of `width`, in one matrix; nothing where there is no gate. */
export const halves = (isGated: boolean, width: number): Pick<ParamSpec, 'columns'> =>
  isGated ? { columns: [width, width] } : {};

/** Starts at 1. */
export const ONES: ParamInit = { kind: 'constant', value: 1 };
/** Starts at 0. */
export const ZEROS: ParamInit = { kind: 'constant', value: 0 };

/** Whether each role is a matrix: it costs one multiply-add an element and token, and weight decay applies to it. */
const IS_MATRIX: { readonly [R in ParamRole]: boolean } = {
  embedding: true,
  in: true,
  out: true,
  blocks: true,
  experts: true,
  conv: false,
  vector: false,
};

/** Whether a parameter is a hidden matrix, or several: no embeddings, not the head, no vector or convolution. */
export function isHiddenMatrix({ role, part }: Pick<ParamSpec, 'role' | 'part'>): boolean {
  return IS_MATRIX[role] && role !== 'embedding' && part !== 'head';
}

/** Whether weight decay applies to a parameter: to matrices, since it would pull others to values without a meaning. */
export function decays({ role }: Pick<ParamSpec, 'role'>): boolean {
  return IS_MATRIX[role];
}

/** Logarithms of decay rates that are uniform in `low .. high` (mamba_ssm, flash-linear-attention). */
export function decayRateInit(low: number, high: number): ParamInit {
  return { kind: 'uniform', low, high, map: 'log' };
}

/** Biases that make `softplus(bias)`, the size of a step, log-uniform in 0.001 .. 0.1 (mamba_ssm). */
export function stepBiasInit(): ParamInit {
  return { kind: 'uniform', low: Math.log(1e-3), high: Math.log(0.1), map: 'inverse-softplus-exp' };
}

/** The number of elements of parameters. */
export function countElements(specs: readonly ParamSpec[]): number {
  return specs.reduce((n, { shape }) => n + sizeOf(shape), 0);
}

/** The number of elements of parameters that one token passes: of experts, those that it is sent to. */
export function countActiveElements(specs: readonly ParamSpec[]): number {
  return specs.reduce((n, { shape, share = 1 }) => n + Math.round(sizeOf(shape) * share), 0);
}

/** The number of elements of matrices that one token passes: each costs one multiply-add. */
export function countMatrixElements(specs: readonly ParamSpec[]): number {
  return countActiveElements(specs.filter(({ role }) => IS_MATRIX[role]));
}
