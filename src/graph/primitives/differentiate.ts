/** What derivative rules have in common. */
import type { Shape } from '../../core/index.js';
import type { Cotangent, Decomposition, DerivativeRule, Pullback } from '../ir/rules.js';
import type { NodeOf, OpName, Value } from '../ir/types.js';
import { barrier } from './control.js';
import { full, reshape } from './layout.js';
import { reduceSum } from './reduce.js';

/** Sums a cotangent over the axes along which a value of `shape` was stretched. */
export function unbroadcast(ct: Value, shape: Shape): Value {
  const extra = ct.shape.length - shape.length;
  const axes = ct.shape.map((_, i) => i).filter((i) => i < extra || (shape[i - extra] === 1 && ct.shape[i] !== 1));
  const summed = axes.length > 0 ? reduceSum(ct, axes, true) : ct;
  return extra > 0 ? reshape(summed, shape) : summed;
}

/** The rule of an op whose derivative is zero. */
export const none = (node: { readonly inputs: readonly Value[] }): readonly Cotangent[] => node.inputs.map(() => null);

/** A value of zeros like another. */
export const zerosLike = (v: Value): Value => full(v.dtype, v.shape, 0);

/** The rule of a composite that needs no faster one: its decomposition is differentiated. */
export function throughDecomposition<K extends OpName>(decompose: Decomposition<K>): DerivativeRule<K> {
  return (node, cts, pullback) => differentiate(decompose, node, cts, pullback);
}

/** The cotangents of a node's inputs by its decomposition. */
export function differentiate<K extends OpName>(
  decompose: Decomposition<K>,
  node: NodeOf<K>,
  cts: readonly Cotangent[],
  pullback: Pullback,
): readonly Cotangent[] {
  // The barrier makes inputs that are one value two: each gets the cotangent of its own place.
  const fresh = barrier<readonly Value[]>(node.inputs);
  return pullback(decompose(fresh, node.attrs), cts, fresh);
}
