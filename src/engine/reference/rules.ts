/** The reference rule of every op: float64 in, float64 out. */
import { got, at, LongsightError, stridesOf } from '../../core/index.js';
import type { Graph, Node, NodeOf, OpName, Value } from '../../graph/index.js';
import { fromHost, numberArray, offsetOf, type Arrays, type NumberArray } from './array.js';
import { cacheAttention, cacheWrite } from './cache.js';
import * as C from './composites.js';
import * as P from './primitives.js';
import * as R from './recurrence.js';
import { selectiveScan, selectiveScanGrad } from './selective-scan.js';

/** Computes one node in float64. */
type ReferenceRule<K extends OpName> = {
  rule(node: NodeOf<K>, inputs: Arrays<K>): readonly NumberArray[];
}['rule'];

const shapeOf = (node: { readonly outputs: readonly Value[] }): readonly number[] => at(node.outputs, 0).shape;

const map =
  (f: (...x: number[]) => number): ReferenceRule<OpName> =>
  (node, inputs) => [P.elementwise(shapeOf(node), inputs, f)];

const flag = (f: (a: number, b: number) => boolean): ReferenceRule<OpName> => map((a, b) => (f(a, b) ? 1 : 0));

const TO_INT = 'i32';

const scan: ReferenceRule<'scan'> = (node, inputs) => {
  const { body, length, numCarry, numXs, reverse, savesCarry } = node.attrs;
  let carry = inputs.slice(0, numCarry);
  const xs = inputs.slice(numCarry, numCarry + numXs);
  const consts = inputs.slice(numCarry + numXs);
  const stacked = node.outputs.slice(numCarry).map((v) => numberArray(v.shape));
  for (let k = 0; k < length; k++) {
    const i = reverse ? length - 1 - k : k;
    const slices = xs.map((x) => {
      const size = x.data.length / length;
      return numberArray(x.shape.slice(1), x.data.slice(i * size, (i + 1) * size));
    });
    const before = savesCarry ? carry : [];
    const outs = evaluateGraph(body, [...carry, ...slices, ...consts]);
    carry = outs.slice(0, numCarry);
    [...outs.slice(numCarry), ...before].forEach((y, j) => at(stacked, j).data.set(y.data, i * y.data.length));
  }
  return [...carry, ...stacked];
};

/** The rule of every op. */
const REFERENCE_RULES: { readonly [K in OpName]: ReferenceRule<K> } = {
  input: (node) => {
    throw new LongsightError(`input "${node.attrs.name}" has no value`);
  },
  constant: (node) => [fromHost(node.attrs.tensor)],
  iota: (node) => {
    const { shape, axis } = node.attrs;
    return [
      P.view(
        shape,
        arange(at(shape, axis)),
        shape.map((_, a) => (a === axis ? 1 : 0)),
      ),
    ];
  },
  exp: map(Math.exp),
  log: map(Math.log),
  log1p: map(Math.log1p),
  sqrt: map(Math.sqrt),
  rsqrt: map((x) => 1 / Math.sqrt(x)),
  tanh: map(Math.tanh),
  sigmoid: map((x) => 1 / (1 + Math.exp(-x))),
  sin: map(Math.sin),
  cos: map(Math.cos),
  floor: map(Math.floor),
  neg: map((x) => -x),
  abs: map(Math.abs),
  sign: map(Math.sign),
  add: map((a, b) => a + b),
  sub: map((a, b) => a - b),
  mul: map((a, b) => a * b),
  div: (node, inputs) => {
    const whole = node.outputs[0].dtype === TO_INT;
    const f = (a: number, b: number): number => (whole ? Math.trunc(a / b) : a / b);
    return [P.elementwise(shapeOf(node), inputs, f)];
  },
  max: map(Math.max),
  min: map(Math.min),
  pow: map(Math.pow),
  eq: flag((a, b) => a === b),
  ne: flag((a, b) => a !== b),
  lt: flag((a, b) => a < b),
  le: flag((a, b) => a <= b),
  gt: flag((a, b) => a > b),
  ge: flag((a, b) => a >= b),
  and: flag((a, b) => a !== 0 && b !== 0),
  or: flag((a, b) => a !== 0 || b !== 0),
  not: map((x) => (x === 0 ? 1 : 0)),
  select: map((c, a, b) => (c !== 0 ? a : b)),
  convert: (node, inputs) => {
    const { dtype } = node.attrs;
    const from = node.inputs[0].dtype;
    if (dtype === 'bool') return [P.elementwise(shapeOf(node), inputs, (x) => (x !== 0 ? 1 : 0))];
    if (dtype === TO_INT && from !== TO_INT) return [P.elementwise(shapeOf(node), inputs, (x) => Math.trunc(x))];
    return inputs;
  },
  reshape: (node, [x]) => [numberArray(node.attrs.shape, x.data)],
  transpose: (node, [x]) => {
    const own = stridesOf(x.shape);
    return [
      P.view(
        shapeOf(node),
        x,
        node.attrs.permutation.map((axis) => at(own, axis)),
      ),
    ];
  },
  broadcast: (node, inputs) => [P.elementwise(node.attrs.shape, inputs, (x) => x)],
  slice: (node, [x]) => {
    const { starts, strides } = node.attrs;
    const own = stridesOf(x.shape);
    const steps = own.map((stride, a) => stride * at(strides, a));
    return [P.view(shapeOf(node), x, steps, offsetOf(starts, own))];
  },
  pad: (node, [x]) => [P.pad(x, shapeOf(node), node.attrs)],
  concat: (node, inputs) => [P.concat(inputs, shapeOf(node), node.attrs.axis)],
  split: (node, [x]) => {
    const { axis, sizes } = node.attrs;
    const strides = stridesOf(x.shape);
    let start = 0;
    return node.outputs.map((v, part) => {
      const base = start * at(strides, axis);
      start += at(sizes, part);
      return P.view(v.shape, x, strides, base);
    });
  },
  dot: (node, [a, b]) => [P.dot(a, b, shapeOf(node), node.attrs)],
  reduceSum: (node, [x]) => [P.reduce(x, node.attrs.axes, shapeOf(node), 0, (a, b) => a + b)],
  reduceMax: (node, [x]) => [P.reduce(x, node.attrs.axes, shapeOf(node), -Infinity, Math.max)],
  argmax: (node, [x]) => [P.argmax(x, shapeOf(node), node.attrs.axis)],
  cumsum: (node, [x]) => [P.cumsum(x, node.attrs)],
  take: (node, [x, i]) => [P.take(x, i, shapeOf(node))],
  scatterAdd: (_, [x, i, u]) => [P.scatterAdd(x, i, u)],
  scan,
  stopGradient: (_, inputs) => inputs,
  barrier: (_, inputs) => inputs,
  remat: (node, inputs) => evaluateGraph(node.attrs.body, inputs),
  kernel: (node, inputs) => {
    const results = node.attrs.evaluate(inputs.map(({ data }) => data.slice()));
    return results.map((data, i) => numberArray(at(node.attrs.types, i).shape, data));
  },
  softmax: (node, [x]) => [C.softmax(x, node.attrs.axis)],
  rmsNorm: (node, [x, w]) => C.rmsNorm(x, w, node.attrs.epsilon),
  rmsNormGrad: (_, [x, r, dy, w]) => C.rmsNormGrad(x, r, dy, w),
  rotary: (node, [x]) => [C.rotary(x, node.attrs)],
  swiglu: (_, [g, u]) => [C.swiglu(g, u)],
  swigluGrad: (_, [g, u, dy]) => C.swigluGrad(g, u, dy),
  routeRows: (_, [x, i]) => [C.routeRows(x, i)],
  crossEntropy: (_, [z, t]) => C.crossEntropy(z, t),
  crossEntropyGrad: (_, inputs) => [C.crossEntropyGrad(inputs)],
  attention: (node, inputs) => C.attention(inputs, node.attrs),
  attentionGrad: (node, inputs) => C.attentionGrad(inputs, node.attrs),
  cacheWrite: (_, inputs) => [cacheWrite(inputs)],
  cacheAttention: (node, inputs) => [cacheAttention(inputs, node.attrs)],
  linearRecurrence: (node, inputs) => R.linearRecurrence(inputs, node.attrs),
  linearRecurrenceGrad: (node, inputs) => R.linearRecurrenceGrad(inputs, node.attrs),
  deltaRule: (node, inputs) => R.deltaRule(inputs, node.attrs),
  deltaRuleGrad: (node, inputs) => R.deltaRuleGrad(inputs, node.attrs),
  selectiveScan: (node, inputs) => selectiveScan(inputs, node.attrs),
  selectiveScanGrad: (node, inputs) => selectiveScanGrad(inputs, node.attrs),
  causalConv: (node, inputs) => R.causalConv(inputs, node.attrs),
};

function arange(n: number): NumberArray {
  return numberArray(
    [n],
    Float64Array.from({ length: n }, (_, i) => i),
  );
}

/** Evaluates one node. */
export function evaluateNode(node: Node, inputs: readonly NumberArray[]): readonly NumberArray[] {
  const rules = REFERENCE_RULES as Readonly<Record<OpName, unknown>>;
  return (rules[node.op] as ReferenceRule<OpName>)(node, inputs);
}

/** Evaluates a graph on inputs in the order of its ports. */
export function evaluateGraph(graph: Graph, inputs: readonly NumberArray[]): NumberArray[] {
  const values = new Map<Value, NumberArray>();
  graph.inputs.forEach(({ value }, i) => values.set(value, at(inputs, i)));
  for (const node of graph.nodes) {
    if (node.op === 'input') continue;
    const results = evaluateNode(
      node,
      node.inputs.map((v) => got(values, v)),
    );
    node.outputs.forEach((v, i) => values.set(v, at(results, i)));
  }
  return graph.outputs.map(({ value }) => got(values, value));
}
