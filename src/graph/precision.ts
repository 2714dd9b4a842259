/**
 * Mixed precision (Micikevicius et al. 2018) as a transform of a forward pass: matrix products, attention and what is
 * between them in bf16; norms, softmax, losses and sums in f32. Inputs stay f32: master weights are rounded where they
 * are used, so gradients, taken after the transform, come out in f32.
 */
import { at, isFloat } from '../core/index.js';
import { copyNode } from './ir/emit.js';
import { nodesOf, rebuild } from './ir/graph.js';
import type { Node, Value } from './ir/types.js';
import { remat } from './primitives/control.js';
import { convert } from './primitives/elementwise.js';

const widen = (v: Value): Value => (v.dtype === 'bf16' ? convert(v, 'f32') : v);
const narrow = (v: Value): Value => (v.dtype === 'f32' ? convert(v, 'bf16') : v);
const isConstant = (v: Value): boolean =>
  v.node.op === 'constant' || (v.node.op === 'broadcast' && isConstant(v.node.inputs[0]));

/** The values that stand for a node's, by the precision that its definition names. */
function visit(node: Node, inputs: readonly Value[]): readonly Value[] | null {
  if (node.op === 'remat') {
    const { body } = node.attrs;
    return remat(inputs, (inner) => {
      const map = new Map(body.inputs.map(({ value }, i) => [value, at(inner, i)]));
      const outputs = body.outputs.map((p) => p.value);
      return rebuild(body.nodes, outputs, map, visit);
    });
  }
  const { precision } = node.definition;
  switch (precision) {
    case 'kept':
    case 'body':
      return null;
    case 'bf16':
      return copyNode(node, inputs.map(narrow));
    case 'recurrence':
      return copyNode(node, [...inputs.slice(0, 3).map(narrow), ...inputs.slice(3).map(widen)]);
    case 'f32':
      return copyNode(node, inputs.map(widen));
    case 'activations': {
      // The first result is an activation, the others are statistics.
      const [y, ...statistics] = copyNode(node, inputs.map(widen));
      return y ? [narrow(y), ...statistics] : statistics;
    }
    case 'follows':
    case 'lookup': {
      const floats = inputs.filter((v) => isFloat(v.dtype) && !isConstant(v));
      const narrows = floats.length > 0 && floats.every((v) => v.dtype === 'bf16');
      const results: readonly Value[] = copyNode(node, inputs.map(narrows ? narrow : widen));
      // Activations enter the model as rows of a table, in bf16.
      return precision === 'lookup' ? results.map((v) => (v.shape.length >= 3 ? narrow(v) : v)) : results;
    }
  }
}

/**
 * `outputs` computed in mixed precision, in their own dtypes. Meant for the forward pass, before `grad`; scan bodies
 * are left in f32. bf16 and f64 values are taken as they are.
 */
export function mixedPrecision(outputs: readonly Value[]): Value[] {
  const results = rebuild(nodesOf(outputs), outputs, new Map(), (node, inputs) => {
    if (node.op === 'input') return node.outputs;
    return visit(node, inputs);
  });
  return results.map((v, i) => convert(v, at(outputs, i).dtype));
}
