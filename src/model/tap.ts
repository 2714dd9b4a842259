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
 * Where a tap is called. `embedding`: the stream before the first layer, `[B,T,hiddenSize]`; `layerQueries` and
 * `layerKeys`: those of all heads of a layer, positions and norms applied, `[B,T,numHeads,headDim]` and
 * `[B,T,numKvHeads,headDim]` (with T channels more where the model has a position bias, so that products are scores
 * with it); `queries`: the queries of a group of heads as attention meets them, `[B,T,heads,headDim]`;
 * `heads`: what these heads give, before the output gate and projection, `[B,T,heads,headDim]`;
 * `mixerOut`: what the mixer of a layer gives, `[B,T,hiddenSize]`; `stream`: the residual stream after a layer,
 * `[B,T,hiddenSize]`.
 */
export type TapSite =
  | { readonly kind: 'embedding' }
  | ({ readonly kind: 'queries' | 'heads' } & HeadSite)
  | { readonly kind: 'layerQueries' | 'layerKeys' | 'mixerOut' | 'stream'; readonly layer: number };

/** Gets the value at a site and returns what the model goes on with: the value itself, or another of its shape. */
export type Tap = (site: TapSite, value: Value) => Value;

/** Leaves every value as it is. */
export const noTap: Tap = (_, value) => value;

/** Queries and keys of all heads of a layer, as attention meets them. */
export interface QueriesAndKeys {
  /** Queries, `[B,T,numHeads,headDim]`. */
  readonly q: Value;
  /** Keys, `[B,T,numKvHeads,headDim]`. */
  readonly k: Value;
}

/** Reads the values of one forward pass at its sites and changes none; pass `tap` to `forward`, then ask. */
export class TapReader {
  readonly #stream: Value[] = [];
  readonly #queries = new Map<number, Value>();
  readonly #keys = new Map<number, Value>();

  readonly tap: Tap = (site, value) => {
    if (site.kind === 'embedding' || site.kind === 'stream') this.#stream.push(value);
    if (site.kind === 'layerQueries') this.#queries.set(site.layer, value);
    if (site.kind === 'layerKeys') this.#keys.set(site.layer, value);
    return value;
  };

  /** The residual stream `[B,T,hiddenSize]`: after the embedding, then after each layer; before the final norm. */
  get stream(): readonly Value[] {
    return this.#stream;
  }

  /** The queries and keys of a layer; null where it has no attention, or its insides are recomputed. */
  queriesAndKeys(layer: number): QueriesAndKeys | null {
    const [q, k] = [this.#queries.get(layer), this.#keys.get(layer)];
    return q === undefined || k === undefined ? null : { q, k };
  }
}
