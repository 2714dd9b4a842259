/** What each layer of a model does with the sequence: the resolved form of a layer pattern. */
import type { RecurrentMixer, SectionName } from './mixers/table.js';

/** Windows that one layer may have in training: each is a program of its own. */
export const MOST_WINDOWS = 16;

/** A window, and the share of the sequences of a batch (or of the steps of a training) that have it. */
export interface WindowShare {
  readonly window: number | null;
  readonly share: number;
}

/**
 * Query heads of one layer that share a window and a position scheme.
 *
 * Groups take the layer's heads in order: the first group the first `heads` query heads and their key/value heads, and
 * so on.
 */
export interface HeadGroup {
  /** Keys that a query sees at most, its own included; null sees every earlier key. */
  readonly window: number | null;
  /**
   * The windows that the group has in training, one after another or drawn (`train.windows`), as its pattern names
   * them; the last is `window`, which it has everywhere else. Undefined for one window throughout.
   */
  readonly windows?: readonly (number | null)[] | undefined;
  /**
   * In a step of training, the windows of the sequences of a batch, the first ones first; undefined where all have
   * `window`.
   */
  readonly shares?: readonly WindowShare[] | undefined;
  /**
   * In analyses, the keys that the group sees in a second branch of the layer, the query's own included: what the two
   * branches give is mixed by the layer's gate (`ForwardOptions.gates`). Undefined for one branch.
   */
  readonly branch?: number | undefined;
  /**
   * Tokens of a chunk where queries see only keys of their own: chunks follow one another from the start of each
   * document. The window is no larger.
   */
  readonly chunk?: number | undefined;
  /** Query heads, a multiple of the query heads per key/value head. */
  readonly heads: number;
  /** Rotary positions; `local` takes those of `localRope`; false leaves queries and keys unrotated (NoPE). */
  readonly rope: boolean | 'local';
  /** The share of each head's channels that turn; undefined for the `ropeDim` of those positions. */
  readonly ropeShare?: number | undefined;
  /** The base of the rotary wavelengths; undefined for that of those positions. */
  readonly ropeTheta?: number | undefined;
  /**
   * Scores times `s ln n`, n being the keys that the query sees: with a fixed s (`log`), or one that each head learns.
   * Undefined for neither.
   */
  readonly temperature?: 'log' | 'learned' | undefined;
}

/** Causal softmax attention; more than one group mixes windows head by head. */
export interface AttentionPlan {
  readonly mixer: 'attention';
  readonly groups: readonly HeadGroup[];
  /** Query heads of this layer, those of its groups together; undefined for as many as the model has. */
  readonly numHeads?: number | undefined;
  /** Key/value heads of this layer, which divide its query heads; undefined for as many as the model has. */
  readonly numKvHeads?: number | undefined;
  /** Channels of a query and key head of this layer, and of a value head; undefined for as many as the model has. */
  readonly headDim?: number | undefined;
  /** Whether values are what the projection to keys gives, before norms and positions (default: false). */
  readonly valuesAreKeys?: boolean | undefined;
  /** Whether its heads have sink logits; undefined for as the model says. */
  readonly sinks?: boolean | undefined;
  /** Distances from 0 that have a bias in this layer; undefined for as many as the model says (`positionBias`). */
  readonly biasExtent?: number | undefined;
  /** An earlier layer whose keys and values this one attends to, in place of own ones; undefined for own ones. */
  readonly keysOf?: number | undefined;
  /** A recurrent mixer that reads the same input, and whose output is added to that of attention. */
  readonly beside?: RecurrentPlan | undefined;
  /**
   * Whether attention is that of a shared block (`SharedConfig`): what the block gives is added to what the mixer
   * beside it reads, and that mixer alone is added to the residual stream.
   */
  readonly shared?: true | undefined;
}

/**
 * A layer with a recurrent mixer, whose widths and switches stand in the section of the configuration of the same name.
 */
export interface RecurrentPlan<M extends RecurrentMixer = RecurrentMixer> {
  readonly mixer: M;
  /** Heads of the mixer where the other heads of its layer attend; undefined for those of its section. */
  readonly heads?: number | undefined;
  /** Tokens that the mixer remembers, the token's own included; all of them unless an analysis limits it. */
  readonly reach?: number;
}

/** Multi-head latent attention, whose widths stand in the section `mla`: attention with one group of all heads. */
export interface MlaPlan {
  readonly mixer: 'mla';
  readonly groups: readonly HeadGroup[];
}

/** A layer without a mixer: an MLP alone, as in stacks of one block a layer. */
export interface MlpPlan {
  readonly mixer: 'none';
}

/** One layer, discriminated by `mixer`. */
export type LayerPlan = AttentionPlan | MlaPlan | MlpPlan | { [M in RecurrentMixer]: RecurrentPlan<M> }[RecurrentMixer];

/** The names of the recurrent mixers of a layer: its own, or that beside attention. */
export function recurrentMixers(plan: LayerPlan): readonly RecurrentMixer[] {
  if (plan.mixer === 'none' || plan.mixer === 'mla') return [];
  if (plan.mixer !== 'attention') return [plan.mixer];
  return plan.beside === undefined ? [] : [plan.beside.mixer];
}

/** A layer that uses a shared block, and the recurrent mixer that the block feeds. */
export type SharedPlan = AttentionPlan & { readonly shared: true; readonly beside: RecurrentPlan };

/** Whether a layer uses a shared block. */
export function isShared(plan: LayerPlan | undefined): plan is SharedPlan {
  return plan?.mixer === 'attention' && plan.shared === true && plan.beside !== undefined;
}

/** Which use of the shared blocks a layer is, counted from 0 over the layers that use them; null for other layers. */
export function sharedUse(layers: readonly LayerPlan[], layer: number): number | null {
  return isShared(layers[layer]) ? layers.slice(0, layer).filter(isShared).length : null;
}

/** The mixers of a layer that have sections of their own in a configuration. */
export function sectionsOf(plan: LayerPlan): readonly SectionName[] {
  return plan.mixer === 'mla' ? [plan.mixer] : recurrentMixers(plan);
}

/** Whether a layer's mixer is attention, on keys and values of its own or on latents. */
export function attends(plan: LayerPlan): plan is AttentionPlan | MlaPlan {
  return plan.mixer === 'attention' || plan.mixer === 'mla';
}

/** The name of any mixer. */
export type MixerName = LayerPlan['mixer'];

/** The layer plan of a mixer. */
export type PlanOf<M extends MixerName> = Extract<LayerPlan, { mixer: M }>;

/** The first position that a query at `position` sees. */
export function firstVisible({ window, chunk }: Pick<HeadGroup, 'window' | 'chunk'>, position: number): number {
  const inWindow = window === null ? 0 : Math.max(0, position + 1 - window);
  return chunk === undefined ? inWindow : Math.max(inWindow, position - (position % chunk));
}

/** Heads of queries, and of keys and values. */
export interface HeadCounts {
  readonly numHeads: number;
  /** Each serves `numHeads / numKvHeads` query heads. */
  readonly numKvHeads: number;
}

/** The heads of a layer: its own counts where it has them, else those of the model. */
export function headCounts({ numHeads, numKvHeads }: HeadCounts, plan: LayerPlan): HeadCounts {
  if (plan.mixer !== 'attention') return { numHeads, numKvHeads };
  return { numHeads: plan.numHeads ?? numHeads, numKvHeads: plan.numKvHeads ?? numKvHeads };
}

/** Whether other layers attend to the keys and values of a layer. */
export function isSource(layers: readonly LayerPlan[], layer: number): boolean {
  return layers.some((plan) => plan.mixer === 'attention' && plan.keysOf === layer);
}

/** The head groups of a layer, none if it has no attention. */
export function headGroups(plan: LayerPlan): readonly HeadGroup[] {
  return attends(plan) ? plan.groups : [];
}
