/** Parameter specifications: what mixers and the model list. */
import { sizeOf, type Shape } from '../core/index.js';
import { blockOf, type ModelConfig } from './config.js';

/** How a parameter starts. */
export type ParamInit =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly std: number }
  /** Uniform in `low .. high`, then through `map`: its logarithm, or the inverse softplus of its exponential. */
  | {
      readonly kind: 'uniform';
      readonly low: number;
      readonly high: number;
      readonly map?: 'log' | 'inverse-softplus-exp';
    };

/** Which part of the model a parameter belongs to. */
export type ParamPart = 'embedding' | 'mixer' | 'mlp' | 'norm' | 'head';

export interface ParamSpec {
  /** Unique; also the tensor's name in a checkpoint. */
  readonly name: string;
  readonly shape: Shape;
  readonly init: ParamInit;
  readonly part: ParamPart;
  /** Whether weight decay applies; unless said, to tensors of rank 2 and more. */
  readonly decay?: boolean;
  /** Layer index; null for embedding, final norm and head. */
  readonly layer: number | null;
}

export const ONES: ParamInit = { kind: 'constant', value: 1 };
export const ZEROS: ParamInit = { kind: 'constant', value: 0 };

/** For parameters that weight decay would pull to a value with no meaning: decay rates, step sizes, convolutions. */
export const NO_DECAY = { decay: false } as const;

/** Whether weight decay applies to a parameter. */
export function decays({ decay, shape }: ParamSpec): boolean {
  return decay ?? shape.length >= 2;
}

/**
 * A matrix `[fanIn, fanOut]`; `residual` ones write to the residual stream and start smaller by 1/sqrt(n), where n counts the
 * mixers and MLPs that do so.
 */
export function matrixInit(config: ModelConfig, fanIn: number, residual: boolean): ParamInit {
  const { init, layers } = config;
  const std = init.scheme === 'fan-in' ? 1 / Math.sqrt(fanIn) : init.std;
  const writers = layers.reduce((n, _, layer) => n + (blockOf(config, layer).mlp ? 2 : 1), 0);
  return { kind: 'normal', std: residual ? std / Math.sqrt(writers) : std };
}

/** A norm's weight: the gain starts at 1. */
export function normInit({ normOffset }: ModelConfig): ParamInit {
  return normOffset === 0 ? ONES : { kind: 'constant', value: 1 - normOffset };
}

/** Logarithms of decay rates that are uniform in `low .. high` (mamba_ssm, flash-linear-attention). */
export function decayRateInit(low: number, high: number): ParamInit {
  return { kind: 'uniform', low, high, map: 'log' };
}

/** Biases that make `softplus(bias)`, the size of a step, log-uniform in 0.001 .. 0.1 (mamba_ssm). */
export function stepBiasInit(): ParamInit {
  return { kind: 'uniform', low: Math.log(1e-3), high: Math.log(0.1), map: 'inverse-softplus-exp' };
}

/** Taps of a convolution: uniform in ±1/sqrt(width), as PyTorch and mamba_ssm; N(0, std^2) under `normal`, as fla. */
export function convInit({ init }: ModelConfig, width: number): ParamInit {
  const bound = 1 / Math.sqrt(width);
  return init.scheme === 'fan-in' ? { kind: 'uniform', low: -bound, high: bound } : { kind: 'normal', std: init.std };
}

/** The bias of a convolution: as its taps under `fan-in`, zero under `normal`. */
export function convBiasInit(config: ModelConfig, width: number): ParamInit {
  return config.init.scheme === 'fan-in' ? convInit(config, width) : ZEROS;
}

/** The number of elements of parameters. */
export function countElements(specs: readonly ParamSpec[]): number {
  return specs.reduce((n, { shape }) => n + sizeOf(shape), 0);
}

/**
 * The number of elements of the matrices among parameters: each costs one multiply-add per token. Taps of convolutions are no
 * matrices.
 */
export function countMatrixElements(specs: readonly ParamSpec[]): number {
  return countElements(specs.filter(({ name, shape }) => shape.length >= 2 && !name.endsWith('.conv.weight')));
}
