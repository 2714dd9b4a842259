/**
 * Tensors of a Transformers folder that no parameter is read from: each is compared with what it should hold, or
 * refused by name. None is passed over because of its name alone, unless no value of it can change a result.
 */
import type { Shape } from '../../core/index.js';
import { at, formatShape, sameShape, sizeOf } from '../../core/index.js';
import { groupRotary, headGroups, latentRotary, type ModelConfig } from '../../model/index.js';
import type { ConstantTensor, Family } from './family/family.js';
import type { NamedPlace, TensorFiles } from './places.js';
import { TensorReader } from './reader.js';

/** Rounding of a type: relative to a value, and the smallest step near zero. */
const ROUNDING: Readonly<Record<string, readonly [relative: number, absolute: number]>> = {
  F32: [1e-4, 1e-30],
  F16: [2 ** -10, 2 ** -24],
  BF16: [2 ** -7, 1e-30],
};

/** A tensor that the model does not read and that holds other values than the configuration gives. */
export interface DifferingTensor {
  readonly name: string;
  readonly why: string;
}

/** The tensors of a folder that no parameter is read from and that are in the way of an import. */
export interface SpareTensors {
  /** Tensors that the model has no place for. */
  readonly extra: readonly string[];
  /** Buffers whose values disagree with `config.json`. */
  readonly differing: readonly DifferingTensor[];
}

/**
 * Sorts the tensors that are not read: buffers that hold what the configuration gives, and those that cannot change a
 * result, are in neither list.
 *
 * @param read whether a parameter takes this tensor
 */
export function spareTensors(
  family: Family,
  config: ModelConfig,
  files: TensorFiles,
  read: (name: string) => boolean,
): SpareTensors {
  const constants = new Map(
    (family.constants?.(config, (name) => files.get(name)?.shape) ?? []).map((c) => [c.name, c]),
  );
  const [extra, differing]: [string[], DifferingTensor[]] = [[], []];
  for (const [name, place] of files) {
    // A tensor without elements, such as the weights of a layer of width 0, holds nothing that could change a result.
    if (read(name) || sizeOf(place.shape) === 0) continue;
    const constant = constants.get(name);
    if (constant?.fixed === true) {
      const why = againstConstant({ name, ...place }, constant);
      if (why !== null) differing.push({ name, why });
    } else if (/(^|\.)rotary_emb\.(original_)?inv_freq$/.test(name)) {
      const why = againstRotary({ name, ...place }, config);
      if (why !== null) differing.push({ name, why });
    } else if (family.ignored?.(name, config) !== true) extra.push(name);
  }
  return { extra, differing };
}

const valuesOf = (tensor: NamedPlace): Float32Array => {
  using reader = new TensorReader(new Map([[tensor.name, tensor]]));
  return reader.all(tensor.name);
};

function againstConstant(tensor: NamedPlace, { shape, values, relative }: ConstantTensor): string | null {
  if (!sameShape(tensor.shape, shape)) return shapes(tensor.shape, shape);
  return firstDifference(valuesOf(tensor), values(), tensor.stored, relative);
}

const shapes = (found: Shape, wanted: Shape): string =>
  `is ${formatShape(found)}, but config.json makes it ${formatShape(wanted)}`;

/** Rotary frequencies as old versions of Transformers saved them: plain ones, or those of the configured scaling. */
function againstRotary(tensor: NamedPlace, config: ModelConfig): string | null {
  const groups = config.layers.flatMap((plan) => headGroups(plan)).filter((group) => group.rope !== false);
  if (groups.length === 0) return null; // no layer has rotary positions: no value of it can change a result
  const { mla } = config;
  const pairs = (mla?.ropeDim ?? config.ropeDim) / 2;
  if (!sameShape(tensor.shape, [pairs])) return shapes(tensor.shape, [pairs]);
  const found = valuesOf(tensor);
  const { localRope } = config;
  const unscaled = { ...config, ropeScaling: null, localRope: localRope && { ...localRope, scaling: null } };
  const wanted = [config, unscaled].flatMap((one) =>
    groups.map((group) => {
      const { frequencies } = mla === undefined ? groupRotary(one, group, 1) : latentRotary(one, mla, group, 1);
      return (frequencies ?? []).slice(0, pairs);
    }),
  );
  const whys = wanted.map((frequencies) => firstDifference(found, frequencies, tensor.stored));
  return whys.includes(null) ? null : (whys[0] ?? null);
}

function firstDifference(
  found: ArrayLike<number>,
  wanted: ArrayLike<number>,
  stored: string,
  least = 0,
): string | null {
  const [rounding, absolute] = ROUNDING[stored] ?? [0, 0];
  const relative = Math.max(rounding, least);
  for (let i = 0; i < wanted.length; i++) {
    const [x, y] = [at(found, i), at(wanted, i)];
    if (Math.abs(x - y) <= Math.max(relative * Math.abs(y), absolute)) continue;
    return `holds ${x.toPrecision(6)} at place ${i}, but config.json makes it ${y.toPrecision(6)}`;
  }
  return null;
}
