/** What a family of tile kernels says of itself: which nodes it takes, or why not, and what stands in their place. */
import type { Node, NodeOf, OpName, Value } from '../../../graph/index.js';
import type { NamedKernel } from '../kernels/taken.js';
import type { Placing } from './placing.js';

/** How kernels take the nodes of one op. */
export interface KernelRule<K extends OpName> {
  /** True where a kernel takes the node on these inputs (those of the node, rebuilt); else why not. */
  fits(node: Node<K>, inputs: NodeOf<K>['inputs']): true | string;
  /** The node's outputs by a kernel. Called where `fits` is true. */
  place(node: Node<K>, inputs: NodeOf<K>['inputs']): readonly Value[];
}

/** Kernel rules by op. */
type KernelRules = { readonly [K in OpName]?: KernelRule<K> };

/** Kernels that belong together: an op, its gradient, and what is computed with them. */
export interface KernelFamily extends NamedKernel {
  /** The rules for one graph. What forward kernels leave for backward ones is kept in them. */
  rules(placing: Placing): KernelRules;
}

/** Whether a rule takes a node, and what it puts there; null, or why not, where it does not. */
export function applyRule<K extends OpName>(
  rule: KernelRule<K>,
  node: Node<K>,
  inputs: NodeOf<K>['inputs'],
): readonly Value[] | string {
  const fits = rule.fits(node, inputs);
  return fits === true ? rule.place(node, inputs) : fits;
}
