/**
 * How each op becomes ONNX nodes. A rule binds names to the outputs of its node. Kernels were chosen by measurement on
 * onnxruntime 1.30 (docs/engines.md). Composites without a kernel are expanded before lowering.
 */
import { at, last, dims, invariant, sameShape, sizeOf, tensorFrom, type DType, type Shape } from '../../core/index.js';
import { isComposite, uniformValue, type Graph, type Node, type OpName, type Value } from '../../graph/index.js';
import type { CompositeTable, RuledOp } from '../contract/composites.js';
import { unsupported, type Name, type OnnxBuilder } from './builder.js';
import { lowerCacheAttention, lowerCacheWrite, meetsFilled } from './cache.js';
import { largeHalf, lowerDot } from './dot.js';
import { heldType, ONNX_TYPES, type OnnxPort } from './proto.js';

/** Lowers one node to ONNX by adding nodes to the builder. */
type OnnxRule<K extends OpName> = {
  rule(b: OnnxBuilder, node: Node<K>): void;
}['rule'];

const inp = (node: { readonly inputs: readonly Value[] }, i: number): Value => at(node.inputs, i);
const out = (node: { readonly outputs: readonly Value[] }, i = 0): Value => at(node.outputs, i);
const names = (b: OnnxBuilder, node: { readonly inputs: readonly Value[] }): Name[] => node.inputs.map((v) => b.of(v));

/** One ONNX op of the same meaning. */
const direct =
  (op: string): OnnxRule<OpName> =>
  (b, node) =>
    b.bind(out(node), b.op(op, names(b, node)));

/** A constant of the dtype as a scalar name. */
const scalar = (b: OnnxBuilder, dtype: DType, x: number): Name => b.numbers(dtype, [], [x]);

/** A dot whose only use is a product by a constant, and that constant: the two become one node with an alpha. */
function scaledDot(b: OnnxBuilder, node: Node): { readonly dot: Node<'dot'>; readonly alpha: number } | null {
  if (node.op !== 'mul') return null;
  const [x, y] = [inp(node, 0), inp(node, 1)];
  for (const [product, factor] of [
    [x, y],
    [y, x],
  ] as const) {
    const alpha = uniformValue(factor);
    const fits = product.node.op === 'dot' && alpha !== null && sameShape(product.shape, out(node).shape);
    if (fits && b.uses.get(product) === 1) return { dot: product.node, alpha };
  }
  return null;
}

const mul: OnnxRule<'mul'> = (b, node) => {
  const scaled = scaledDot(b, node);
  if (scaled) return b.bind(out(node), lowerDot(b, scaled.dot, scaled.alpha));
  const name = () => b.op('Mul', names(b, node));
  b.bind(out(node), largeHalf(out(node)) === null ? name() : name);
};

const iota: OnnxRule<'iota'> = (b, node) => {
  const { dtype, shape, axis } = node.attrs;
  const inner = sizeOf(shape.slice(axis + 1));
  const values = Float64Array.from({ length: sizeOf(shape) }, (_, i) => Math.floor(i / inner) % at(shape, axis));
  b.bind(out(node), b.tensor(tensorFrom(dtype, shape, values)));
};

const slice: OnnxRule<'slice'> = (b, node) => {
  const { starts, limits, strides } = node.attrs;
  const { shape } = inp(node, 0);
  const axes = shape.map((_, i) => i).filter((i) => starts[i] !== 0 || limits[i] !== shape[i] || strides[i] !== 1);
  const pick = (list: Shape): Name => b.ints(axes.map((i) => at(list, i)));
  if (axes.length === 0) return b.bind(out(node), b.of(inp(node, 0)));
  b.bind(out(node), b.op('Slice', [b.of(inp(node, 0)), pick(starts), pick(limits), b.ints(axes), pick(strides)]));
};

const reduce =
  (op: string): OnnxRule<'reduceSum' | 'reduceMax'> =>
  (b, node) => {
    const { axes, keepDims } = node.attrs;
    const x = b.of(inp(node, 0));
    if (axes.length === 0) return b.bind(out(node), b.op('Identity', [x]));
    b.bind(out(node), b.op(op, [x, b.ints([...axes])], { keepdims: keepDims ? 1 : 0 }));
  };

/**
 * Column sums of a matrix as a product with ones: onnxruntime's ReduceSum over leading axes is twice as slow. Others as
 * they come.
 */
const reduceSum: OnnxRule<'reduceSum'> = (b, node) => {
  const { axes } = node.attrs;
  const x = inp(node, 0);
  const leading =
    axes.length > 0 && axes.length < x.shape.length && [...axes].sort((p, q) => p - q).every((a, i) => a === i);
  const rows = sizeOf(x.shape.slice(0, axes.length));
  if (!leading || x.dtype !== 'f32' || rows < 64) return reduce('ReduceSum')(b, node);
  const columns = sizeOf(x.shape) / rows;
  const ones = b.numbers('f32', [1, rows], new Float64Array(rows).fill(1));
  const sums = b.op('MatMul', [ones, b.reshape(b.of(x), [rows, columns])]);
  b.bind(out(node), b.reshape(sums, out(node).shape));
};

const toI64 = (b: OnnxBuilder, x: Name): Name => b.cast(x, ONNX_TYPES.i64);

/**
 * Up to this many rows a scatter of zeros is a product with the one-hot matrix; above it ScatterElements is cheaper.
 */
const ONE_HOT_ROWS = 2048;

/** Not ScatterND: with repeated indices its parallel additions race (onnxruntime 1.30). */
const scatterAdd: OnnxRule<'scatterAdd'> = (b, node) => {
  const [operand, indices, updates] = [inp(node, 0), inp(node, 1), inp(node, 2)];
  const [rows, count] = [at(operand.shape, 0), sizeOf(indices.shape)];
  const width = sizeOf(operand.shape.slice(1));
  const flat = toI64(b, b.reshape(b.of(indices), [count]));
  const isZero = uniformValue(operand) === 0;
  if (isZero && operand.dtype === 'f32' && rows <= ONE_HOT_ROWS && operand.shape.length > 1) {
    const depth = b.constant('i64', [], new Uint8Array(BigInt64Array.of(BigInt(rows)).buffer));
    const hot = b.op('OneHot', [flat, depth, b.numbers('f32', [2], [0, 1])], { axis: 0 });
    const sums = b.op('MatMul', [hot, b.reshape(b.of(updates), [count, width])]);
    return b.bind(out(node), b.reshape(sums, operand.shape));
  }
  const wide = b.op('Expand', [b.reshape(flat, [count, 1]), b.ints([count, width])]);
  // No reshape where there is none to make: it would stand between a donated input and its output.
  const isFlat = sameShape(operand.shape, [rows, width]);
  const sums = b.op(
    'ScatterElements',
    [isFlat ? b.of(operand) : b.reshape(b.of(operand), [rows, width]), wide, b.reshape(b.of(updates), [count, width])],
    { axis: 0, reduction: 'add' },
  );
  b.bind(out(node), isFlat ? sums : b.reshape(sums, operand.shape));
};

/**
 * A barrier must be a dependency that onnxruntime cannot optimize away and that moves no data: each input is reshaped
 * to its own shape plus a zero which needs one element of every input (`x < x` is false, for NaN too).
 */
const barrier: OnnxRule<'barrier'> = (b, node) => {
  const zeros = node.inputs.map((v) => {
    const first = b.op('Slice', [b.reshape(b.of(v), [sizeOf(v.shape)]), b.ints([0]), b.ints([1])]);
    const number = v.dtype === 'bool' ? b.cast(first, ONNX_TYPES.i32) : first;
    return toI64(b, b.op('Less', [number, number]));
  });
  const zero = zeros.reduce((x, y) => b.op('Add', [x, y]));
  node.inputs.forEach((v, i) => {
    // A scalar has no shape to add to: it becomes a list of one, then a scalar again.
    const shape = b.op('Add', [b.ints(v.shape.length === 0 ? [1] : v.shape), zero]);
    const tied = b.op('Reshape', [b.of(v), shape], { allowzero: 1 });
    b.bind(out(node, i), v.shape.length === 0 ? b.reshape(tied, []) : tied);
  });
};

/** How many inputs and outputs of a graph each value is. */
export function usesOf(graph: Graph): Map<Value, number> {
  const uses = new Map<Value, number>();
  const use = (v: Value): void => void uses.set(v, (uses.get(v) ?? 0) + 1);
  for (const node of graph.nodes) node.inputs.forEach(use);
  for (const { value } of graph.outputs) use(value);
  return uses;
}

/** Lowers the nodes of a graph whose inputs are bound already. */
export function lowerNodes(b: OnnxBuilder, graph: Graph): void {
  const absorbed = new Set(graph.nodes.map((node) => scaledDot(b, node)?.dot));
  for (const node of graph.nodes) {
    if (node.op === 'input' || absorbed.has(node as Node<'dot'>)) continue;
    ruleOf(node.op)(b, node);
  }
}

const scan: OnnxRule<'scan'> = (b, node) => {
  const { body, length, numCarry, numXs, reverse, savesCarry } = node.attrs;
  const inner = b.body(usesOf(body));
  const ports: OnnxPort[] = [];
  const isScanned = (i: number): boolean => i < numCarry + numXs;
  body.inputs.forEach(({ value }, i) => {
    if (!isScanned(i)) return inner.bind(value, b.of(inp(node, i))); // consts come from the outer scope
    const name = inner.fresh();
    inner.bind(value, name);
    ports.push({ name, type: heldType(value.dtype), dims: value.shape });
  });
  // Scan wants at least one scanned input; without xs a counter serves.
  const counter = numXs === 0;
  if (counter) ports.push({ name: inner.fresh(), type: 'i32', dims: [] });
  lowerNodes(inner, body);
  const results = body.outputs.map(({ value }) => value);
  const saved = savesCarry ? body.inputs.slice(0, numCarry).map((p) => p.value) : [];
  const outputs = [...results, ...saved].map((value) => ({
    port: { name: inner.fresh(), type: heldType(value.dtype), dims: value.shape },
    from: inner.of(value),
  }));
  const numYs = outputs.length - numCarry;
  const direction = reverse ? 1 : 0;
  const steps = b.numbers(
    'i32',
    [length],
    Float64Array.from({ length }, (_, i) => i),
  );
  const inputs = [...node.inputs.slice(0, numCarry + numXs).map((v) => b.of(v)), ...(counter ? [steps] : [])];
  const fresh = b.ops('Scan', inputs, outputs.length, {
    body: inner.finish('body', ports, outputs),
    num_scan_inputs: counter ? 1 : numXs,
    scan_input_directions: Array.from({ length: counter ? 1 : numXs }, () => direction),
    ...(numYs > 0 ? { scan_output_directions: Array.from({ length: numYs }, () => direction) } : {}),
  });
  node.outputs.forEach((v, i) => b.bind(v, at(fresh, i)));
};

const rmsNorm: OnnxRule<'rmsNorm'> = (b, node) => {
  const x = inp(node, 0);
  const width = last(x.shape);
  const weight = node.inputs[1] ? b.of(inp(node, 1)) : b.numbers(x.dtype, [width], new Float64Array(width).fill(1));
  const attributes = { axis: -1, epsilon: { float: node.attrs.epsilon } };
  const [y, rstd] = b.ops('SimplifiedLayerNormalization', [b.of(x), weight], 2, attributes) as [Name, Name];
  b.bind(out(node), y);
  b.bind(out(node, 1), rstd);
};

const rotary: OnnxRule<'rotary'> = (b, node) => {
  const { inverseFrequencies, inverse } = node.attrs;
  const [, T, H] = dims(inp(node, 0), 3);
  const half = inverseFrequencies.length;
  const table = (f: (angle: number) => number): Name => {
    const values = new Float64Array(T * half);
    for (let t = 0; t < T; t++) for (let m = 0; m < half; m++) values[t * half + m] = f(t * at(inverseFrequencies, m));
    return b.numbers('f32', [T, half], values);
  };
  const [B, , , D] = dims(inp(node, 0), 4);
  const x = b.reshape(b.of(inp(node, 0)), [B, T, H * D]);
  const inputs = [x, b.ints([0]), table(Math.cos), table(inverse ? (a) => -Math.sin(a) : Math.sin)];
  const y = b.op('RotaryEmbedding', inputs, { interleaved: 0 }, 'com.microsoft');
  b.bind(out(node), b.reshape(y, out(node).shape));
};

const crossEntropy: OnnxRule<'crossEntropy'> = (b, node) => {
  const [z, t] = [inp(node, 0), inp(node, 1)];
  const n = at(z.shape, 0);
  const column = b.reshape(b.of(t), [n, 1]);
  const picked = (x: Name): Name => b.reshape(b.op('GatherElements', [x, column], { axis: 1 }), [n]);
  const loss = b.op('Neg', [picked(b.op('LogSoftmax', [b.of(z)], { axis: 1 }))]);
  b.bind(out(node), loss);
  if (b.uses.get(out(node, 1)) !== undefined) b.bind(out(node, 1), b.op('Add', [picked(b.of(z)), loss]));
};

/** `softmax * (dloss + dlse) - onehot * dloss`; the softmax is taken anew rather than from the log-sum-exp. */
const crossEntropyGrad: OnnxRule<'crossEntropyGrad'> = (b, node) => {
  const [z, t, lse, dloss, dlse] = node.inputs as [Value, Value, Value, Value, Value];
  const n = at(z.shape, 0);
  const column = (x: Name): Name => b.reshape(x, [n, 1]);
  // The softmax of these logits, unless the log-sum-exp came from elsewhere.
  const own = lse.node.op === 'crossEntropy' && lse.node.inputs[0] === z;
  const p = own ? b.op('Softmax', [b.of(z)], { axis: 1 }) : b.op('Exp', [b.op('Sub', [b.of(z), column(b.of(lse))])]);
  const weight = uniformValue(dlse) === 0 ? b.of(dloss) : b.op('Add', [b.of(dloss), b.of(dlse)]);
  const scaled = b.op('Mul', [p, column(weight)]);
  const updates = b.op('Neg', [column(b.op('Expand', [b.of(dloss), b.ints([n])]))]);
  b.bind(out(node), b.op('ScatterElements', [scaled, column(b.of(t)), updates], { axis: 1, reduction: 'add' }));
};

/** The floats for which onnxruntime has a kernel for a composite: its fused kernels are for float32. */
const COMPOSITES = {
  remat: null,
  softmax: 'any',
  rmsNorm: 'f32',
  rmsNormGrad: null,
  rotary: 'f32',
  swiglu: null,
  swigluGrad: null,
  routeRows: null,
  crossEntropy: 'any',
  crossEntropyGrad: 'any',
  attention: null,
  attentionGrad: null,
  cacheWrite: 'any',
  cacheAttention: 'f32',
  linearRecurrence: null,
  linearRecurrenceGrad: null,
  deltaRule: null,
  deltaRuleGrad: null,
  selectiveScan: null,
  selectiveScanGrad: null,
  causalConv: null,
} as const satisfies CompositeTable<'any' | 'f32'>;

/** Whether a node is a composite for which onnxruntime has a kernel. */
export function hasKernel(node: Node): boolean {
  const { op, inputs } = node;
  if (op === 'cacheAttention' && !meetsFilled(node)) return false;
  const kernel = isComposite(op) ? COMPOSITES[op] : null;
  return kernel === 'any' || (kernel === 'f32' && inputs[0]?.dtype === 'f32');
}

/** The rule of every op that is not expanded before. */
const ONNX_RULES: { readonly [K in RuledOp<typeof COMPOSITES>]: OnnxRule<K> } = {
  constant: (b, node) => b.bind(out(node), b.tensor(node.attrs.tensor)),
  iota,
  exp: direct('Exp'),
  log: direct('Log'),
  log1p: (b, node) => {
    // u = 1 + x; log(u) * x / (u - 1) corrects the rounding of u; where u is 1, log1p(x) is x.
    const x = inp(node, 0);
    const one = scalar(b, x.dtype, 1);
    const u = b.op('Add', [b.of(x), one]);
    const small = b.op('Equal', [u, one]);
    const rest = b.op('Where', [small, one, b.op('Sub', [u, one])]);
    const corrected = b.op('Mul', [b.op('Log', [u]), b.op('Div', [b.of(x), rest])]);
    b.bind(out(node), b.op('Where', [small, b.of(x), corrected]));
  },
  sqrt: direct('Sqrt'),
  rsqrt: (b, node) => b.bind(out(node), b.op('Reciprocal', [b.op('Sqrt', names(b, node))])),
  tanh: direct('Tanh'),
  sigmoid: direct('Sigmoid'),
  sin: direct('Sin'),
  cos: direct('Cos'),
  floor: direct('Floor'),
  neg: direct('Neg'),
  abs: direct('Abs'),
  sign: direct('Sign'),
  add: direct('Add'),
  sub: direct('Sub'),
  mul,
  div: direct('Div'),
  max: direct('Max'),
  min: direct('Min'),
  pow: direct('Pow'),
  eq: direct('Equal'),
  ne: (b, node) => b.bind(out(node), b.op('Not', [b.op('Equal', names(b, node))])),
  lt: direct('Less'),
  le: direct('LessOrEqual'),
  gt: direct('Greater'),
  ge: direct('GreaterOrEqual'),
  and: direct('And'),
  or: direct('Or'),
  not: direct('Not'),
  select: direct('Where'),
  convert: (b, node) => {
    const from = inp(node, 0);
    const name = () => b.convert(b.of(from), from.dtype, node.attrs.dtype);
    // Products convert large matrices in blocks.
    b.bind(out(node), largeHalf(out(node)) === null ? name() : name);
  },
  reshape: (b, node) => b.bind(out(node), b.reshape(b.of(inp(node, 0)), node.attrs.shape)),
  transpose: (b, node) => b.bind(out(node), b.transpose(b.of(inp(node, 0)), node.attrs.permutation)),
  broadcast: (b, node) => b.bind(out(node), b.op('Expand', [b.of(inp(node, 0)), b.ints(node.attrs.shape)])),
  slice,
  pad: (b, node) => {
    const { low, high, value } = node.attrs;
    const x = inp(node, 0);
    b.bind(out(node), b.op('Pad', [b.of(x), b.ints([...low, ...high]), scalar(b, x.dtype, value)]));
  },
  concat: (b, node) => b.bind(out(node), b.op('Concat', names(b, node), { axis: node.attrs.axis })),
  split: (b, node) => {
    const { axis, sizes } = node.attrs;
    const parts = b.ops('Split', [b.of(inp(node, 0)), b.ints(sizes)], sizes.length, { axis });
    node.outputs.forEach((v, i) => b.bind(v, at(parts, i)));
  },
  dot: (b, node) => b.bind(out(node), lowerDot(b, node, 1)),
  reduceSum,
  reduceMax: reduce('ReduceMax'),
  argmax: (b, node) => {
    const index = b.op('ArgMax', names(b, node), { axis: node.attrs.axis, keepdims: 0, select_last_index: 0 });
    b.bind(out(node), b.cast(index, ONNX_TYPES.i32));
  },
  cumsum: (b, node) => {
    const { axis, reverse, exclusive } = node.attrs;
    const flags = { reverse: reverse ? 1 : 0, exclusive: exclusive ? 1 : 0 };
    const which = b.constant('i32', [], new Uint8Array(Int32Array.of(axis).buffer));
    b.bind(out(node), b.op('CumSum', [b.of(inp(node, 0)), which], flags));
  },
  take: (b, node) => b.bind(out(node), b.op('Gather', names(b, node), { axis: 0 })),
  scatterAdd,
  scan,
  stopGradient: direct('Identity'),
  barrier,
  kernel: (_, node) => {
    throw unsupported(node, 'kernels are for accelerators');
  },
  cacheWrite: lowerCacheWrite,
  cacheAttention: lowerCacheAttention,
  softmax: (b, node) => b.bind(out(node), b.op('Softmax', names(b, node), { axis: node.attrs.axis })),
  rmsNorm,
  rotary,
  crossEntropy,
  crossEntropyGrad,
};

function ruleOf(op: OpName): OnnxRule<OpName> {
  const table: Readonly<Partial<Record<OpName, unknown>>> = ONNX_RULES;
  invariant(table[op], `${op} should have been expanded before lowering to ONNX`);
  return table[op] as OnnxRule<OpName>;
}
