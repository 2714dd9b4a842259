/** Nodes from their ops: the only place where they are made. */
import { Operands } from './checks.js';
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

/**
 * The definition of an op.
 *
 * @param count the number of inputs, or the least and the most; null where the rule decides it by the attributes
 * @param rule the types of the results, from inputs of that number
 */
export function define<K extends OpName>(
  op: K,
  count: OpSignatures[K]['inputs']['length'] | readonly [least: number, most: number] | null,
  traits: Pick<OpDefinition<K>, 'precision' | 'locality' | 'merging'>,
  rule: (inputs: Operands, attrs: OpSignatures[K]['attrs']) => readonly TensorType[],
): OpDefinition<K> {
  return {
    ...{ op, ...traits },
    infer: (types, attrs) => {
      const inputs = new Operands(op, types);
      if (typeof count === 'number') inputs.requireCount(count);
      else if (count !== null) inputs.requireCount(...count);
      return rule(inputs, attrs);
    },
  };
}
