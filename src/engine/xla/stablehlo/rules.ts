/**
 * The StableHLO rule of every op. Composites never reach it but for those with kernels, where `lower.ts` keeps them.
 */
import { present, got, at, invariant, isFloat, type DType } from '../../../core/index.js';
import type { Graph, Node, OpName, TensorType, Value } from '../../../graph/index.js';
import { lowerAttention, lowerAttentionGrad } from './attention.js';
import type { RuledOp } from '../../contract/composites.js';
import type { COMPOSITES } from './composites.js';
import { lowerRecurrence } from './recurrence.js';
import { lowerKernel } from './kernel.js';
import { lowerScan } from './scan.js';
import { lowerSelective } from './selective.js';
import type { Scope } from './scope.js';
import { followShards, placedResults, readNames } from '../mesh/fsdp.js';
import { listText, typeText, type TextBuilder } from '../mlir/text.js';

/** Lowers one node: adds lines to the module, and returns the names of its results. */
type StableHloRule<K extends OpName> = {
  rule(node: Node<K>, inputs: readonly string[], scope: Scope): readonly string[];
}['rule'];

const inp = (node: Node, i: number): Value => at(node.inputs, i);
const out = (node: Node, i = 0): Value => at(node.outputs, i);
const arg = (inputs: readonly string[], i: number): string => at(inputs, i);

const unary =
  (name: string): StableHloRule<OpName> =>
  (node, [x], { builder }) => [builder.define(`stablehlo.${name} ${x} : ${typeText(out(node))}`)];

/** All operands stretched to the result's shape. */
function stretched(node: Node, inputs: readonly string[], { builder }: Scope): string[] {
  return inputs.map((x, i) => builder.broadcast(x, inp(node, i), out(node).shape));
}

const binary =
  (name: string): StableHloRule<OpName> =>
  (node, inputs, scope) => {
    const [a, b] = stretched(node, inputs, scope);
    return [scope.builder.define(`stablehlo.${name} ${a}, ${b} : ${typeText(out(node))}`)];
  };

function compareText(builder: TextBuilder, how: string, a: string, b: string, type: TensorType): string {
  const kind = isFloat(type.dtype) ? 'FLOAT' : 'SIGNED';
  const to = typeText({ dtype: 'bool', shape: type.shape });
  return builder.define(
    `stablehlo.compare ${how}, ${a}, ${b}, ${kind} : (${typeText(type)}, ${typeText(type)}) -> ${to}`,
  );
}

const compare =
  (how: string): StableHloRule<OpName> =>
  (node, inputs, scope) => {
    const [a, b] = stretched(node, inputs, scope) as [string, string];
    return [compareText(scope.builder, how, a, b, { dtype: inp(node, 0).dtype, shape: out(node).shape })];
  };

const convert: StableHloRule<'convert'> = (node, [x], { builder }) => {
  const from = inp(node, 0);
  if (node.attrs.dtype !== 'bool' || from.dtype === 'bool')
    return [builder.convert(present(x), from, node.attrs.dtype)];
  const zero = builder.broadcast(builder.scalar(0, from.dtype), { dtype: from.dtype, shape: [] }, from.shape);
  return [compareText(builder, 'NE', present(x), zero, from)];
};

const slice = (builder: TextBuilder, x: string, from: TensorType, ranges: readonly string[], to: TensorType): string =>
  builder.define(`stablehlo.slice ${x} ${listText(ranges)} : (${typeText(from)}) -> ${typeText(to)}`);

const pad: StableHloRule<'pad'> = (node, [x], { builder }) => {
  const { low, high, value } = node.attrs;
  const from = inp(node, 0);
  const fill = builder.scalar(value, from.dtype);
  const scalar = typeText({ dtype: from.dtype, shape: [] });
  const sizes = `low = ${listText(low)}, high = ${listText(high)}, interior = ${listText(low.map(() => 0))}`;
  return [
    builder.define(`stablehlo.pad ${x}, ${fill}, ${sizes} : (${typeText(from)}, ${scalar}) -> ${typeText(out(node))}`),
  ];
};

const split: StableHloRule<'split'> = (node, [x], { builder }) => {
  const from = inp(node, 0);
  let start = 0;
  return node.outputs.map((part, i) => {
    const limit = start + at(node.attrs.sizes, i);
    const ranges = from.shape.map((d, axis) => (axis === node.attrs.axis ? `${start}:${limit}` : `0:${d}`));
    start = limit;
    return slice(builder, present(x), from, ranges, part);
  });
};

/** The bf16 value that `v` widens to f32 exactly, if it is that. */
function widened(v: Value): Value | null {
  const from = v.node.op === 'convert' ? v.node.inputs[0] : null;
  return v.dtype === 'f32' && from?.dtype === 'bf16' ? from : null;
}

const dot: StableHloRule<'dot'> = (node, inputs, { builder, names }) => {
  const { lhsBatch, rhsBatch, lhsContract, rhsContract } = node.attrs;
  const pair = (what: string, l: readonly number[], r: readonly number[]): string =>
    `${what} = ${listText(l)} x ${listText(r)}`;
  const batching = lhsBatch.length > 0 ? `${pair('batching_dims', lhsBatch, rhsBatch)}, ` : '';
  // A product of widened bf16 matrices is that of the bf16 matrices, summed in f32: the same numbers on faster units.
  const narrow = node.inputs.map(widened);
  const exact = narrow.every((v) => v !== null && names.has(v));
  const operands = exact ? (narrow as Value[]) : node.inputs;
  const [a, b] = exact ? operands.map((v) => got(names, v)) : inputs;
  // f32 means f32: without it GPUs would multiply in TF32.
  const precision = operands[0]?.dtype === 'bf16' ? 'DEFAULT' : 'HIGHEST';
  const types = `(${operands.map(typeText).join(', ')}) -> ${typeText(out(node))}`;
  return [
    builder.define(
      `stablehlo.dot_general ${a}, ${b}, ${batching}${pair('contracting_dims', lhsContract, rhsContract)}, ` +
        `precision = [${precision}, ${precision}] : ${types}`,
    ),
  ];
};

const LOWEST_I32 = -2147483648;
const lowest = (dtype: DType): number => (dtype === 'i32' ? LOWEST_I32 : -Infinity);

const reduce =
  (by: 'add' | 'maximum'): StableHloRule<'reduceSum' | 'reduceMax'> =>
  (node, [given], { builder }) => {
    const { axes, keepDims } = node.attrs;
    const from = inp(node, 0);
    if (axes.length === 0) return [present(given)];
    // Sums of bf16 are carried in f32.
    const dtype: DType = from.dtype === 'bf16' && by === 'add' ? 'f32' : from.dtype;
    const wide = { dtype, shape: from.shape };
    const x = builder.convert(present(given), from, dtype);
    const reduced = builder.reduce(x, wide, axes, by, by === 'add' ? 0 : lowest(dtype));
    const shape = from.shape.filter((_, i) => !axes.includes(i));
    const narrow = builder.convert(reduced, { dtype, shape }, from.dtype);
    return [keepDims ? builder.reshape(narrow, { dtype: from.dtype, shape }, out(node).shape) : narrow];
  };

/** The first index whose element equals the maximum. */
const argmax: StableHloRule<'argmax'> = (node, [x], { builder }) => {
  const from = inp(node, 0);
  const { axis } = node.attrs;
  const top = builder.reduce(present(x), from, [axis], 'maximum', lowest(from.dtype));
  const dims = listText(from.shape.flatMap((_, i) => (i === axis ? [] : [i])));
  const reduced = { dtype: from.dtype, shape: out(node).shape };
  const wide = builder.define(
    `stablehlo.broadcast_in_dim ${top}, dims = ${dims} : (${typeText(reduced)}) -> ${typeText(from)}`,
  );
  const hit = compareText(builder, 'EQ', present(x), wide, from);
  const index = { dtype: 'i32', shape: from.shape } as const;
  const at = builder.define(`stablehlo.iota dim = ${axis} : ${typeText(index)}`);
  const last = present(from.shape[axis]) - 1;
  const none = builder.broadcast(builder.scalar(last, 'i32'), { dtype: 'i32', shape: [] }, from.shape);
  const mask = typeText({ dtype: 'bool', shape: from.shape });
  const candidates = builder.define(`stablehlo.select ${hit}, ${at}, ${none} : ${mask}, ${typeText(index)}`);
  return [builder.reduce(candidates, index, [axis], 'minimum', last)];
};

/** A region that adds two scalars. */
function adderRegion(builder: TextBuilder, dtype: DType): void {
  const scalar = typeText({ dtype, shape: [] });
  const [a, b] = [builder.name(), builder.name()];
  builder.line(`^bb0(${a}: ${scalar}, ${b}: ${scalar}):`);
  builder.indented(() => {
    const sum = builder.define(`stablehlo.add ${a}, ${b} : ${scalar}`);
    builder.line(`stablehlo.return ${sum} : ${scalar}`);
  });
}

const cumsum: StableHloRule<'cumsum'> = (node, [given], { builder }) => {
  const { axis, reverse, exclusive } = node.attrs;
  const type = out(node);
  const scalar = typeText({ dtype: type.dtype, shape: [] });
  const zero = builder.scalar(0, type.dtype);
  const n = at(type.shape, axis);
  let x = present(given);
  const only = (size: number): string => listText(type.shape.map((_, i) => (i === axis ? size : 0)));
  if (exclusive) {
    const [low, high] = reverse ? [-1, 1] : [1, -1];
    const sizes = `low = ${only(low)}, high = ${only(high)}, interior = ${only(0)}`;
    x = builder.define(`stablehlo.pad ${x}, ${zero}, ${sizes} : (${typeText(type)}, ${scalar}) -> ${typeText(type)}`);
  }
  const padding = listText(
    type.shape.map((_, i) => (i === axis ? listText(reverse ? [0, n - 1] : [n - 1, 0]) : '[0, 0]')),
  );
  const window = type.shape.map((_, i) => (i === axis ? n : 1)).join(', ');
  const name = builder.name();
  builder.line(
    `${name} = "stablehlo.reduce_window"(${x}, ${zero}) <{padding = dense<${padding}> : ` +
      `tensor<${type.shape.length}x2xi64>, window_dimensions = array<i64: ${window}>}> ({`,
  );
  adderRegion(builder, type.dtype);
  builder.line(`}) : (${typeText(type)}, ${scalar}) -> ${typeText(type)}`);
  return [name];
};

/** Row numbers with an index-vector axis of size 1 at the end. */
function indexVectors(builder: TextBuilder, indices: string, type: TensorType): { text: string; type: TensorType } {
  const shape = [...type.shape, 1];
  return { text: builder.reshape(indices, type, shape), type: { dtype: type.dtype, shape } };
}

const take: StableHloRule<'take'> = (node, [x, given], { builder }) => {
  const [operand, indices] = [inp(node, 0), inp(node, 1)];
  const rank = indices.shape.length;
  const rest = operand.shape.slice(1);
  const index = indexVectors(builder, present(given), indices);
  const offsets = listText(rest.map((_, i) => rank + i));
  return [
    builder.define(
      `"stablehlo.gather"(${x}, ${index.text}) <{dimension_numbers = #stablehlo.gather<offset_dims = ${offsets}, ` +
        `collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = ${rank}>, indices_are_sorted = false, ` +
        `slice_sizes = array<i64: ${[1, ...rest].join(', ')}>}> : ` +
        `(${typeText(operand)}, ${typeText(index.type)}) -> ${typeText(out(node))}`,
    ),
  ];
};

const scatterAdd: StableHloRule<'scatterAdd'> = (node, [x, given, updates], { builder }) => {
  const [operand, indices, update] = [inp(node, 0), inp(node, 1), inp(node, 2)];
  const rank = indices.shape.length;
  const index = indexVectors(builder, present(given), indices);
  const windows = listText(operand.shape.slice(1).map((_, i) => rank + i));
  const name = builder.name();
  builder.line(
    `${name} = "stablehlo.scatter"(${x}, ${index.text}, ${updates}) <{indices_are_sorted = false, ` +
      `scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = ${windows}, inserted_window_dims = [0], ` +
      `scatter_dims_to_operand_dims = [0], index_vector_dim = ${rank}>, unique_indices = false}> ({`,
  );
  adderRegion(builder, operand.dtype);
  builder.line(`}) : (${typeText(operand)}, ${typeText(index.type)}, ${typeText(update)}) -> ${typeText(out(node))}`);
  return [name];
};

const cacheWrite: StableHloRule<'cacheWrite'> = (node, [cache, rows, start], { builder }) => {
  const index: TensorType = { dtype: 'i32', shape: [] };
  const zero = builder.scalar(0, 'i32');
  const types = [inp(node, 0), inp(node, 1), index, index, index, index].map(typeText).join(', ');
  const places = [zero, zero, present(start), zero].join(', ');
  return [
    builder.define(
      `stablehlo.dynamic_update_slice ${cache}, ${rows}, ${places} : (${types}) -> ${typeText(out(node))}`,
    ),
  ];
};

const barrier: StableHloRule<'barrier'> = (node, inputs, { builder }) => {
  if (inputs.length === 0) return [];
  const types = node.outputs.map(typeText).join(', ');
  return builder.defineMany(inputs.length, `stablehlo.optimization_barrier ${inputs.join(', ')} : ${types}`);
};

const same: StableHloRule<OpName> = (_, inputs) => inputs;

/** The StableHLO rule of every op that is not expanded before: operand names in, result names out. */
const STABLEHLO_RULES: { readonly [K in RuledOp<typeof COMPOSITES>]: StableHloRule<K> } = {
  constant: (node, _, { builder }) => [builder.constant(node.attrs.tensor)],
  iota: (node, _, { builder }) => [builder.define(`stablehlo.iota dim = ${node.attrs.axis} : ${typeText(out(node))}`)],
  exp: unary('exponential'),
  log: unary('log'),
  log1p: unary('log_plus_one'),
  sqrt: unary('sqrt'),
  rsqrt: unary('rsqrt'),
  tanh: unary('tanh'),
  sigmoid: unary('logistic'),
  sin: unary('sine'),
  cos: unary('cosine'),
  floor: unary('floor'),
  neg: unary('negate'),
  abs: unary('abs'),
  sign: unary('sign'),
  add: binary('add'),
  sub: binary('subtract'),
  mul: binary('multiply'),
  div: binary('divide'),
  max: binary('maximum'),
  min: binary('minimum'),
  pow: binary('power'),
  eq: compare('EQ'),
  ne: compare('NE'),
  lt: compare('LT'),
  le: compare('LE'),
  gt: compare('GT'),
  ge: compare('GE'),
  and: binary('and'),
  or: binary('or'),
  not: unary('not'),
  select: (node, inputs, scope) => {
    const [c, a, b] = stretched(node, inputs, scope);
    const mask = typeText({ dtype: 'bool', shape: out(node).shape });
    return [scope.builder.define(`stablehlo.select ${c}, ${a}, ${b} : ${mask}, ${typeText(out(node))}`)];
  },
  convert,
  reshape: (node, inputs, { builder }) => [builder.reshape(arg(inputs, 0), inp(node, 0), node.attrs.shape)],
  transpose: (node, inputs, { builder }) => [builder.transpose(arg(inputs, 0), inp(node, 0), node.attrs.permutation)],
  broadcast: (node, inputs, { builder }) => [builder.broadcast(arg(inputs, 0), inp(node, 0), node.attrs.shape)],
  slice: (node, inputs, { builder }) => {
    const { starts, limits, strides } = node.attrs;
    const ranges = starts.map((s, i) => `${s}:${limits[i]}${strides[i] === 1 ? '' : `:${strides[i]}`}`);
    return [slice(builder, arg(inputs, 0), inp(node, 0), ranges, out(node))];
  },
  pad,
  concat: (node, inputs, { builder }) => {
    const types = node.inputs.map(typeText).join(', ');
    const dim = node.attrs.axis;
    return [
      builder.define(`stablehlo.concatenate ${inputs.join(', ')}, dim = ${dim} : (${types}) -> ${typeText(out(node))}`),
    ];
  },
  split,
  dot,
  reduceSum: reduce('add'),
  reduceMax: reduce('maximum'),
  argmax,
  cumsum,
  take,
  scatterAdd,
  scan: (node, inputs, scope) => lowerScan(node, inputs, scope, lowerNodes),
  stopGradient: same,
  barrier,
  kernel: lowerKernel,
  cacheWrite,
  attention: (node, inputs, scope) => lowerAttention(node, inputs, scope, lowerNodes),
  attentionGrad: (node, inputs, scope) => lowerAttentionGrad(node, inputs, scope, lowerNodes),
  linearRecurrence: lowerRecurrence,
  linearRecurrenceGrad: lowerRecurrence,
  deltaRule: lowerRecurrence,
  deltaRuleGrad: lowerRecurrence,
  selectiveScan: lowerSelective,
  selectiveScanGrad: lowerSelective,
};

/** The rule of an op as one that takes any node: the table pairs each op with its own. */
function ruleOf(op: OpName): StableHloRule<OpName> {
  const table: Readonly<Partial<Record<OpName, unknown>>> = STABLEHLO_RULES;
  invariant(table[op], `${op} should have been expanded before lowering to StableHLO`);
  return table[op] as StableHloRule<OpName>;
}

/** Writes the nodes of a graph whose inputs have names already; returns the names of its outputs. */
export function lowerNodes(graph: Graph, scope: Scope): string[] {
  const { names } = scope;
  for (const node of graph.nodes) {
    if (node.op === 'input') continue;
    const rule = ruleOf(node.op);
    const results = placedResults(node, rule(node, readNames(node, scope), scope), scope);
    node.outputs.forEach((v, i) => names.set(v, at(results, i)));
    followShards(node, scope);
  }
  return graph.outputs.map(({ value }) => got(names, value));
}
