/** Nodes from their ops: the only place where they are made. */
import type { Node, OpDefinition, OpName, OpSignatures, TensorType, Value } from './types.js';

/** Builds a node and returns its outputs. Throws `ShapeError` or `DTypeError` where the inputs do not fit. */
export function build<K extends OpName>(
  definition: OpDefinition<K>,
  inputs: OpSignatures[K]['inputs'],
  attrs: OpSignatures[K]['attrs'],
): OpSignatures[K]['outputs'] {
  const types = definition.infer(inputs, attrs);
  const outputs: Value[] = [];
  const node = { op: definition.op, definition, inputs, attrs, outputs } as unknown as Node;
  types.forEach(({ dtype, shape }, index) => outputs.push({ dtype, shape, node, index }));
  return outputs;
}

/** The one output of a new node. */
export function build1<K extends OpName>(
  definition: OpDefinition<K>,
  inputs: OpSignatures[K]['inputs'],
  attrs: OpSignatures[K]['attrs'],
): Value {
  return build(definition, inputs, attrs)[0];
}

/**
 * A copy of a node on other inputs, which may have other dtypes and shapes; attributes stay unless others are given.
 */
export function copyNode<N extends Node>(
  node: N,
  inputs: readonly Value[],
  attrs: N['attrs'] = node.attrs,
): N['outputs'] {
  return build(node.definition as unknown as OpDefinition<OpName>, inputs as never, attrs);
}

/** The types that a node's rule gives for other inputs. */
export function inferTypes({ definition, attrs }: Node, inputs: readonly TensorType[]): readonly TensorType[] {
  return (definition as unknown as OpDefinition<OpName>).infer(inputs, attrs);
}

/** The definition of an op without attributes whose results have the type that `infer` gives. */
export function define<K extends OpName>(
  op: K,
  infer: OpDefinition<K>['infer'],
  traits: Pick<OpDefinition<K>, 'precision' | 'locality' | 'merging'>,
): OpDefinition<K> {
  return { op, infer, ...traits };
}
