/**
 * How far the query and key weights of heads have moved between two checkpoints
 * (`src/tracing/compute_weight_distance.py` of thunlp/rethinking-hybrid-attention): Frobenius distances of a head's
 * query projection and of the key projection of its group. Two heads of one group count the same key distance twice.
 *
 * Queries and keys can turn together without any change of scores, so distances depend on the basis. `scoreRel` does
 * not, for heads without positions: the distance of `Wq Wk^T`, relative to the reference. (Rotary heads are free to
 * turn pairs of channels only, to which it is indifferent as well.)
 */
import { present, dims, f64At, at, ConfigError } from '../core/index.js';
import type { HostParameters, ModelConfig } from '../model/index.js';
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
  /** The heads, in the order of the result (default: all). */
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

/** The columns of a head's queries and of its group's keys, `[hiddenSize, headDim]` each, column after column. */
function weightsOf(model: ModelConfig, parameters: HostParameters, { layer, head }: HeadIndex) {
  const name = `layers.${layer}.attn.wqkv`;
  const tensor = parameters.get(name);
  if (tensor === undefined) throw new ConfigError(`a checkpoint lacks ${name}; it belongs to another model`);
  const { numHeads, numKvHeads, headDim } = model;
  const [rows, columns] = dims(tensor, 2);
  const expected = (numHeads + 2 * numKvHeads) * headDim;
  if (rows !== model.hiddenSize || columns !== expected) {
    throw new ConfigError(
      `${name} is [${tensor.shape.join(',')}] in one checkpoint, but the model makes it [${model.hiddenSize},${expected}]; ` +
        'compare checkpoints of one model',
    );
  }
  const group = Math.floor(head / (numHeads / numKvHeads));
  const cut = (first: number) =>
    Array.from({ length: headDim }, (_, c) =>
      Float64Array.from({ length: rows }, (__, i) => present(tensor.data[i * columns + first + c])),
    );
  return { q: cut(head * headDim), k: cut((numHeads + group) * headDim) };
}

type Columns = readonly Float64Array[];

function inner(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += readF64(a, i) * readF64(b, i);
  return sum;
}

function normOf(a: Columns): number {
  return Math.sqrt(a.reduce((s, c) => s + inner(c, c), 0));
}

function distance(a: Columns, b: Columns): number {
  return normOf(a.map((c, i) => c.map((v, j) => v - present(b[i]?.[j]))));
}

/** `<A B^T, C D^T>` of column lists: the sum over i, j of `(A^T C)_ij (B^T D)_ij`. */
function productInner(a: Columns, b: Columns, c: Columns, d: Columns): number {
  let sum = 0;
  a.forEach((x, i) => c.forEach((y, j) => (sum += inner(x, y) * inner(at(b, i), at(d, j)))));
  return sum;
}

/**
 * Compares the query and key weights of all heads with those of a reference checkpoint.
 *
 * @param reference the weights that distances are measured from, such as those of a later checkpoint
 * @throws ConfigError if a head does not exist, or the checkpoints are not of this model
 */
export function weightDrift(
  model: ModelWeights,
  reference: HostParameters,
  { heads = allHeads(model.config) }: DriftOptions = {},
): DriftResult {
  const { config } = model;
  checkHeads(config, heads);
  const parameters = model.parameters();
  const results = heads.map((index): HeadDrift => {
    const [now, then] = [weightsOf(config, parameters, index), weightsOf(config, reference, index)];
    const [qL2, kL2] = [distance(now.q, then.q), distance(now.k, then.k)];
    const [qRel, kRel] = [qL2 / (normOf(then.q) + TINY), kL2 / (normOf(then.k) + TINY)];
    const before = productInner(then.q, then.k, then.q, then.k);
    const after = productInner(now.q, now.k, now.q, now.k);
    const square = before + after - 2 * productInner(now.q, now.k, then.q, then.k);
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
