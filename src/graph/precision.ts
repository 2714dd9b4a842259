/**
 * Mixed precision (Micikevicius et al. 2018) as a transform of a forward pass: matrix products, attention and what lies between
 * them in bf16; norms, softmax, losses and sums in f32. Inputs stay f32: master weights are rounded where they are used, so
 * gradients, taken after the transform, come out in f32.
 */
import { isFloat } from '../core/index.js';
import { nodesOf, rebuild, remat } from './graph.js';
import { convert, emit } from './lib.js';
import type { Node, OpAttrs, OpName, Value } from './types.js';

/** Computed in bf16 whatever comes in. */
const NARROW: ReadonlySet<OpName> = new Set<OpName>(['dot', 'attention', 'causalConv']);

/** Queries, keys and values in bf16; decays, write strengths and state in f32. */
const RECURRENT: ReadonlySet<OpName> = new Set<OpName>(['linearRecurrence', 'deltaRule']);

/** Computed in bf16 where all that comes in is bf16 (or a constant), else in f32. */
const FOLLOWING: ReadonlySet<OpName> = new Set<OpName>([
  ...(['add', 'sub', 'mul', 'div', 'max', 'min', 'neg', 'abs', 'select', 'concat', 'sigmoid', 'tanh'] as const),
  ...(['reshape', 'transpose', 'broadcast', 'slice', 'split', 'pad', 'take', 'stopGradient', 'barrier'] as const),
  ...(['rotary', 'swiglu'] as const),
]);

const widen = (v: Value): Value => (v.dtype === 'bf16' ? convert(v, 'f32') : v);
const narrow = (v: Value): Value => (v.dtype === 'f32' ? convert(v, 'bf16') : v);
const isConstant = (v: Value): boolean =>
  v.node.op === 'constant' || (v.node.op === 'broadcast' && isConstant(v.node.inputs[0] as Value));

function visit(node: Node, inputs: readonly Value[]): readonly Value[] | null {
  if (node.op === 'input' || node.op === 'constant' || node.op === 'convert') return null;
  if (node.op === 'remat') {
    const { body } = node.attrs as OpAttrs['remat'];
    return remat(inputs, (inner) => {
      const map = new Map(body.inputs.map(({ value }, i) => [value, inner[i] as Value]));
      return rebuild(
        body.nodes,
        body.outputs.map((p) => p.value),
        map,
        visit,
      );
    });
  }
  if (NARROW.has(node.op)) return emit(node.op, inputs.map(narrow), node.attrs);
  if (RECURRENT.has(node.op))
    return emit(node.op, [...inputs.slice(0, 3).map(narrow), ...inputs.slice(3).map(widen)], node.attrs);
  const floats = inputs.filter((v) => isFloat(v.dtype) && !isConstant(v));
  const follows = FOLLOWING.has(node.op) && floats.length > 0 && floats.every((v) => v.dtype === 'bf16');
  const results = emit(node.op, inputs.map(follows ? narrow : widen), node.attrs);
  // Activations enter in bf16, and leave norms in it; the norm's other output is a statistic.
  if (node.op === 'rmsNorm') return [narrow(results[0] as Value), ...results.slice(1)];
  if (node.op === 'take' && (results[0] as Value).shape.length >= 3) return results.map(narrow);
  return results;
}

/**
 * `outputs` computed in mixed precision, in their own dtypes. Meant for the forward pass, before `grad`; scan bodies are left in
 * f32. bf16 and f64 values are taken as they are.
 */
export function mixedPrecision(outputs: readonly Value[]): Value[] {
  const results = rebuild(nodesOf(outputs), outputs, new Map(), (node, inputs) => {
    if (node.op === 'input') return node.outputs;
    return visit(node, inputs);
  });
  return results.map((v, i) => convert(v, (outputs[i] as Value).dtype));
}
