/** Parameter specifications: what mixers and the model list. */
import { sizeOf, type Shape } from '../core/index.js';
import { blockOf, type ModelConfig } from './config.js';

/** How a parameter starts. */
export type ParamInit =
  { readonly kind: 'constant'; readonly value: number } | { readonly kind: 'normal'; readonly std: number };

/** Which part of the model a parameter belongs to. */
export type ParamPart = 'embedding' | 'mixer' | 'mlp' | 'norm' | 'head';

export interface ParamSpec {
  /** Unique; also the tensor's name in a checkpoint. */
  readonly name: string;
  readonly shape: Shape;
  readonly init: ParamInit;
  readonly part: ParamPart;
  /** Layer index; null for embedding, final norm and head. */
  readonly layer: number | null;
}

export const ONES: ParamInit = { kind: 'constant', value: 1 };
export const ZEROS: ParamInit = { kind: 'constant', value: 0 };

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

/** The number of elements of parameters. */
export function countElements(specs: readonly ParamSpec[]): number {
  return specs.reduce((n, { shape }) => n + sizeOf(shape), 0);
}

/** The number of elements of the matrices among parameters: each costs one multiply-add per token. */
export function countMatrixElements(specs: readonly ParamSpec[]): number {
  return countElements(specs.filter(({ shape }) => shape.length >= 2));
}
