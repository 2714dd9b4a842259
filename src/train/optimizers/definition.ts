/**
 * What an optimizer is made of. One file defines each; `table.ts` lists them, and the schema of run files, the tensors
 * of a step, checkpoints and documentation follow from the list.
 */
import type { DType } from '../../core/index.js';
import type { Value } from '../../graph/index.js';
import type { ParamSpec } from '../../model/index.js';
import type { MuonConfig } from './muon-config.js';

/** The settings of AdamW and of gradient clipping. */
export interface AdamWConfig {
  /** Decay of the mean of gradients, in 0 .. 1. */
  readonly beta1: number;
  /** Decay of the mean of squared gradients, in 0 .. 1. */
  readonly beta2: number;
  /** Added to the root of the mean square; in the gradient's units. */
  readonly eps: number;
  /** Decoupled decay, a share of the weight per unit of learning rate. */
  readonly weightDecay: number;
  /** Largest global norm of the gradient; 0 for no clipping. */
  readonly clipNorm: number;
}

/** The settings that optimizers read. */
export interface OptimizerConfig extends AdamWConfig {
  /** The peak learning rate, which the schedule's is a share of; needed by optimizers with a rate of their own. */
  readonly lr?: number;
  /** The optimizer's name in `table.ts` (default: `adamw`). */
  readonly optimizer?: OptimizerName;
  readonly muon?: MuonConfig | undefined;
}

/** The names of optimizers. */
export const OPTIMIZER_NAMES = ['adamw', 'muon'] as const;
/** One of `OPTIMIZER_NAMES`. */
export type OptimizerName = (typeof OPTIMIZER_NAMES)[number];

/** A kind of tensor that an optimizer keeps for a parameter: `m`, a mean of gradients; `v`, of their squares. */
export type Moment = 'm' | 'v';
/** Every kind, in the order of checkpoints. */
export const MOMENTS: readonly Moment[] = ['m', 'v'];

/** Parameters whose moments share one tensor, as graph values: gradient, its square and moments are of one shape. */
export interface UpdateGroup {
  readonly specs: readonly ParamSpec[];
  /** Each of the parameter's own shape. */
  readonly parameters: readonly Value[];
  readonly gradient: Value;
  readonly square: Value;
  /** A tensor for each kind of moment that the optimizer keeps. */
  readonly moments: Readonly<Partial<Record<Moment, Value>>>;
}

/** A group after a step. */
export interface UpdatedGroup {
  /** Each of its own shape, in the order of the group. */
  readonly parameters: readonly Value[];
  readonly moments: Readonly<Partial<Record<Moment, Value>>>;
}

/** What a step of an optimizer is built from. */
export interface UpdateScope {
  readonly config: OptimizerConfig;
  /** The factor on gradients that clips their global norm; null for none. */
  readonly clip: Value | null;
  /** The scalars of the step, by name. */
  readonly scalar: (name: string) => Value;
  /** The dtype of products that an optimizer makes of its own. */
  readonly products: DType;
}

/** The definition of one optimizer. */
export interface OptimizerDefinition {
  /** One line for the documentation of `train.optimizer`. */
  readonly summary: string;
  /** Whether it updates a parameter; AdamW updates those that the chosen optimizer does not. */
  takes(spec: ParamSpec): boolean;
  /** The kinds of moments that it keeps, each f32 and of the parameter's shape. */
  readonly moments: readonly Moment[];
  /** Whether it works element by element, so that the moments of several parameters may lie in one vector. */
  readonly elementwise: boolean;
  /** The names of its scalars, which change from step to step; unique among optimizers. */
  readonly scalars: readonly string[];
  /** The values of its scalars in step `t` (from 1) at the schedule's learning rate `lr`. */
  readonly scalarsAt: (config: OptimizerConfig, lr: number, t: number) => Readonly<Record<string, number>>;
  /** All of its groups after a step, in their order. */
  update(groups: readonly UpdateGroup[], scope: UpdateScope): UpdatedGroup[];
}
