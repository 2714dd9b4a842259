/** Taps: named places of the forward pass at which a value can be read, or another put in its place. */
import type { Value } from '../graph/index.js';

/** A group of query heads of a layer: heads `firstHead .. firstHead + heads - 1`, counted from 0. */
interface HeadSite {
  /** The layer, counted from 0. */
  readonly layer: number;
  /** The first head of the group, counted from 0. */
  readonly firstHead: number;
  /** How many heads the group has. */
  readonly heads: number;
}

/**
 * Where a tap is called. `queries`: the queries of a group of heads as attention meets them, `[B,T,heads,headDim]`;
 * `heads`: what these heads give, before the output gate and projection, `[B,T,heads,headDim]`; `mixerOut`: what the
 * mixer of a layer gives, `[B,T,hiddenSize]`; `stream`: the residual stream after a layer, `[B,T,hiddenSize]`.
 */
export type TapSite =
  | ({ readonly kind: 'queries' | 'heads' } & HeadSite)
  | { readonly kind: 'mixerOut' | 'stream'; readonly layer: number };

/** Gets the value at a site and returns what the model goes on with: the value itself, or another of its shape. */
export type Tap = (site: TapSite, value: Value) => Value;

/** Leaves every value as it is. */
export const noTap: Tap = (_, value) => value;
