/**
 * How far the query and key weights of heads have moved between two checkpoints
 * (`src/tracing/compute_weight_distance.py` of thunlp/rethinking-hybrid-attention): Frobenius distances of a head's
 * query projection and of the key projection of its group. Two heads of one group count the same key distance twice.
 *
 * Queries and keys can turn together without any change of scores, so distances depend on the basis. `scoreRel` does
 * not, for heads without positions: the distance of `Wq Wk^T`, relative to the reference. (Rotary heads are free to
 * turn pairs of channels only, to which it is indifferent as well.)
 */
import { at, present, dims, dotAt, f64At, ConfigError } from '../core/index.js';
import {
  headSizes,
  isShared,
  type AttentionPlan,
  type HeadSizes,
  type HostParameters,
  type ModelConfig,
} from '../model/index.js';
import { allHeads, checkHeads, type HeadIndex } from './attention-rows.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** A model whose weights can be read on the host; no engine is needed. */
export interface ModelWeights {
  readonly config: ModelConfig;
  readonly parameters: () => HostParameters;
}

/** Which heads are compared. */
export interface DriftOptions {
  /** The heads, in the order of the result (default: all but those of latent attention, which have no such weights). */
  readonly heads?: readonly HeadIndex[] | undefined;
}

/** How far the query and key weights of one head moved from the reference. */
export interface HeadDrift extends HeadIndex {
  /** The Frobenius norm of the difference of the query weights. */
  readonly qL2: number;
  /** The Frobenius norm of the difference of the key weights. */
  readonly kL2: number;
  /** The norm of the difference of the query weights over that of the reference. */
  readonly qRel: number;
  /** The norm of the difference of the key weights over that of the reference. */
  readonly kRel: number;
  /** The sum of `qL2` and `kL2`, as published. */
  readonly qkL2: number;
  /** The sum of `qRel` and `kRel`, as published. */
  readonly qkRel: number;
  /** Relative distance of `Wq Wk^T`. */
  readonly scoreRel: number;
}

/** How far all heads moved. */
export interface DriftResult {
  readonly format: 1;
  /** Means over heads. */
  readonly qkL2: number;
  /** The mean over heads of their `qkRel`. */
  readonly qkRel: number;
  /** The mean over heads of the relative drift of the score matrix `Wq Wk^T`. */
  readonly scoreRel: number;
  readonly heads: readonly HeadDrift[];
}

const TINY = 1e-12;

/** Columns `[hiddenSize]` of weights, one after another. */
interface Columns {
  readonly data: Float64Array;
  readonly count: number;
  readonly length: number;
}

/** What is known of a checkpoint's queries of a head, or keys of a group. */
interface Weights {
  readonly columns: Columns;
  /** Inner products of its own columns, `[count, count]`. */
  readonly gram: Float64Array;
}

/** Queries of heads and keys of groups of one checkpoint; heads of one group share their keys. */
class HeadWeights {
  readonly #model: ModelConfig;
  readonly #parameters: HostParameters;
  readonly #known = new Map<string, Weights>();

  constructor(model: ModelConfig, parameters: HostParameters) {
    this.#model = model;
    this.#parameters = parameters;
  }

  queries({ layer, head }: HeadIndex): Weights {
    return this.#weights(layer, head);
  }

  /** The number of the keys' group, which heads share. */
  group({ layer, head }: HeadIndex): number {
    const { numHeads, numKvHeads } = this.#sizes(layer);
    return Math.floor(head / (numHeads / numKvHeads));
  }

  keys(index: HeadIndex): Weights {
    // Layers that attend to the keys of another have those.
    const layer = this.#plan(index.layer)?.keysOf ?? index.layer;
    return this.#weights(layer, this.#sizes(layer).numHeads + this.group(index));
  }

  #plan(layer: number): AttentionPlan | undefined {
    const plan = at(this.#model.layers, layer);
    return plan.mixer === 'attention' ? plan : undefined;
  }

  #sizes(layer: number): HeadSizes {
    return headSizes(this.#model, at(this.#model.layers, layer));
  }

  /** The columns of the `slot`-th part of a layer's projection, queries first, then keys. */
  #weights(layer: number, slot: number): Weights {
    const key = `${layer}:${slot}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const name = `layers.${layer}.attn.wqkv`;
    const tensor = this.#parameters.get(name);
    if (tensor === undefined) throw new ConfigError(`a checkpoint lacks ${name}; it belongs to another model`);
    const { hiddenSize } = this.#model;
    const { numHeads, numKvHeads, keyDim, valueDim } = this.#sizes(layer);
    const { keysOf, valuesAreKeys } = this.#plan(layer) ?? {};
    const [rows, width] = dims(tensor, 2);
    const [keys, values] = [keysOf === undefined ? numKvHeads : 0, valuesAreKeys === true ? 0 : numKvHeads];
    const expected = (numHeads + keys) * keyDim + (keys === 0 ? 0 : values * valueDim);
    if (rows !== hiddenSize || width !== expected) {
      throw new ConfigError(
        `${name} is [${tensor.shape.join(',')}] in one checkpoint, but the model makes it [${hiddenSize},${expected}]; ` +
          'compare checkpoints of one model',
      );
    }
    const data = new Float64Array(keyDim * rows);
    for (let i = 0; i < rows; i++) {
      for (let c = 0; c < keyDim; c++) data[c * rows + i] = present(tensor.data[i * width + slot * keyDim + c]);
    }
    const columns = { data, count: keyDim, length: rows };
    const found = { columns, gram: products(columns, columns) };
    this.#known.set(key, found);
    return found;
  }
}

/** Inner products of all columns of `a` with all of `b`, `[a.count, b.count]`. */
function products(a: Columns, b: Columns): Float64Array {
  const out = new Float64Array(a.count * b.count);
  for (let i = 0; i < a.count; i++) {
    // Of one matrix with itself, half of them are there already.
    for (let j = a === b ? i : 0; j < b.count; j++) {
      const value = dotAt(a.data, i * a.length, b.data, j * b.length, a.length);
      out[i * b.count + j] = value;
      if (a === b) out[j * b.count + i] = value;
    }
  }
  return out;
}

/** The sum of products of two matrices' elements. */
const inner = (a: Float64Array, b: Float64Array): number => dotAt(a, 0, b, 0, a.length);

const normOf = ({ data }: Columns): number => Math.sqrt(inner(data, data));

function distance(a: Columns, b: Columns): number {
  const difference = a.data.map((v, i) => v - readF64(b.data, i));
  return Math.sqrt(inner(difference, difference));
}

/** Throws `ConfigError` where a head's queries and keys are not projections of the layer's input alone. */
function checkProjected({ layers, cca, shortConv }: ModelConfig, heads: readonly HeadIndex[]): void {
  if (cca !== null || shortConv !== null) {
    throw new ConfigError(
      `${cca === null ? 'keys' : 'queries and keys'} of this model pass convolutions (${cca === null ? 'shortConv' : 'cca'}), so that a head has no query and key matrix to compare; use a model without`,
      { details: { cca, shortConv } },
    );
  }
  const shared = heads.find(({ layer }) => isShared(layers[layer]));
  if (shared !== undefined) {
    throw new ConfigError(
      `layer ${shared.layer} uses a shared block, so that its heads have no query and key matrix of their own to compare; name ` +
        'heads of other layers',
      { details: { ...shared } },
    );
  }
  const latent = heads.find(({ layer }) => layers[layer]?.mixer === 'mla');
  if (latent === undefined) return;
  throw new ConfigError(
    `layer ${latent.layer} is latent attention (mla), which makes queries and keys of normalized latents, so that a head has no ` +
      'query and key matrix to compare; name heads of full or swa layers',
    { details: { ...latent } },
  );
}

/** All heads whose queries and keys are projections of the layer's input; all heads where none are. */
function projectedHeads(model: ModelConfig): HeadIndex[] {
  const all = allHeads(model);
  const own = (layer: number) => model.layers[layer]?.mixer !== 'mla' && !isShared(model.layers[layer]);
  const projected = all.filter(({ layer }) => own(layer));
  return projected.length === 0 ? all : projected;
}

/**
 * Compares the query and key weights of heads with those of a reference checkpoint.
 *
 * @param reference the weights that distances are measured from, such as those of a later checkpoint
 * @throws ConfigError if a head does not exist or is of latent attention, or the checkpoints are not of this model
 */
export function weightDrift(
  model: ModelWeights,
  reference: HostParameters,
  { heads = projectedHeads(model.config) }: DriftOptions = {},
): DriftResult {
  const { config } = model;
  checkHeads(config, heads);
  checkProjected(config, heads);
  const [now, then] = [new HeadWeights(config, model.parameters()), new HeadWeights(config, reference)];
  const crossed = new Map<string, Float64Array>();
  /** Products of a group's keys in both checkpoints, which its heads share. */
  const crossedKeys = (index: HeadIndex): Float64Array => {
    const key = `${index.layer}:${now.group(index)}`;
    const found = crossed.get(key) ?? products(now.keys(index).columns, then.keys(index).columns);
    crossed.set(key, found);
    return found;
  };
  const results = heads.map((index): HeadDrift => {
    const [q, k, thenQ, thenK] = [now.queries(index), now.keys(index), then.queries(index), then.keys(index)];
    const [qL2, kL2] = [distance(q.columns, thenQ.columns), distance(k.columns, thenK.columns)];
    const [qRel, kRel] = [qL2 / (normOf(thenQ.columns) + TINY), kL2 / (normOf(thenK.columns) + TINY)];
    // |A B^T - C D^T|^2, by <A B^T, C D^T> = the sum over i, j of (A^T C)_ij (B^T D)_ij.
    const before = inner(thenQ.gram, thenK.gram);
    const after = inner(q.gram, k.gram);
    const square = before + after - 2 * inner(products(q.columns, thenQ.columns), crossedKeys(index));
    const scoreRel = Math.sqrt(Math.max(0, square)) / (Math.sqrt(before) + TINY);
    return {
      layer: index.layer,
      head: index.head,
      qL2,
      kL2,
      qRel,
      kRel,
      qkL2: qL2 + kL2,
      qkRel: qRel + kRel,
      scoreRel,
    };
  });
  const mean = (of: (h: HeadDrift) => number) => results.reduce((s, h) => s + of(h), 0) / results.length;
  return {
    format: 1,
    qkL2: mean((h) => h.qkL2),
    qkRel: mean((h) => h.qkRel),
    scoreRel: mean((h) => h.scoreRel),
    heads: results,
  };
}
