/**
 * A product of its own for each part of a fused projection. Models multiply by the whole of a matrix such as `wqkv` and
 * split the result. On CPUs cutting the matrix is cheaper than cutting the product, which has a row for each token; on
 * devices that divide heads the parts do not end where the devices' columns do.
 *
 * In the backward pass the gradient of the whole product is the parts' gradients joined: its products with the matrix
 * and with the input become products of the parts, too.
 */
import { at, invariant, isHalf, present, sameShape } from '../../core/index.js';
import {
  add,
  concat,
  convert,
  emit,
  expand,
  mapGraph,
  mul,
  reduceSum,
  reshape,
  split,
  type Graph,
  type Node,
  type NodeOf,
  type Value,
} from '../../graph/index.js';

/** The axis that is cut: the last of `[B,T,columns]`, and the heads of `[B,T,heads,channels]`. */
const AXIS = 2;

/** A projection whose product is split. */
interface Projection {
  readonly product: NodeOf<'dot'>;
  /** Widths of the parts, in columns. */
  sizes: readonly number[];
}

/** What the nodes of a graph are to the projections that are cut. */
interface Plan {
  /** Splits of products. */
  readonly splits: ReadonlyMap<Node, Projection>;
  /** Splits of queries and keys that were rotated together. */
  readonly rotated: ReadonlySet<Node>;
  /** Products of the gradient with the matrix: the gradient of the input. */
  readonly inputGradients: ReadonlyMap<Node, Projection>;
  /** Products of the input with the gradient: the gradient of the matrix. */
  readonly matrixGradients: ReadonlyMap<Node, Projection>;
  /** Sums of the gradient over tokens: the gradient of the bias. */
  readonly biasGradients: ReadonlyMap<Node, Projection>;
}

/** The product of an input `[B,T,d]` and a matrix behind an addition of a bias and conversions, if `v` is that. */
function productOf(v: Value): NodeOf<'dot'> | null {
  const { node } = v;
  switch (node.op) {
    case 'dot': {
      const { lhsBatch, lhsContract, rhsContract } = node.attrs;
      const isLinear = lhsBatch.length === 0 && lhsContract[0] === AXIS && rhsContract[0] === 0;
      return isLinear && v.shape.length === 3 && node.inputs[1].shape.length === 2 ? node : null;
    }
    case 'convert':
      return productOf(node.inputs[0]);
    case 'add':
      return node.inputs[1].shape.length === 1 ? productOf(node.inputs[0]) : null;
    default:
      return null;
  }
}

/** The part of a projection that `v` is, seen through conversions, reshapes to heads and rotary positions. */
function partOf(v: Value): Value | null {
  const { node } = v;
  if (node.op === 'split') return v;
  return node.op === 'convert' || node.op === 'rotary' || node.op === 'reshape' ? partOf(node.inputs[0]) : null;
}

/**
 * Splits with a part that a short convolution reads, as it is or after elementwise ops. Their projections stay whole: a
 * convolution takes about as long as what cutting saves (measured on onnxruntime 1.30).
 */
function readByConvolutions(graph: Graph): ReadonlySet<Node> {
  const seen = new Set<Node>();
  const walk = ({ node }: Value): void => {
    if (seen.has(node)) return;
    seen.add(node);
    const { locality } = node.definition;
    if (node.op !== 'split' && (locality === 'elementwise' || locality === 'broadcasting')) node.inputs.forEach(walk);
  };
  for (const node of graph.nodes) if (node.op === 'causalConv') walk(node.inputs[0]);
  return seen;
}

/** Cuts the parts of projections of which a split of rotated heads takes several. */
function refine(graph: Graph, splits: ReadonlyMap<Node, Projection>): ReadonlySet<Node> {
  const rotated = new Set<Node>();
  for (const node of graph.nodes) {
    const whole = node.op === 'split' && node.attrs.axis === AXIS ? node.inputs[0] : null;
    if (node.op !== 'split' || whole?.shape.length !== 4) continue;
    const part = partOf(whole);
    const projection = part && splits.get(part.node);
    if (!part || !projection || part.node.op !== 'split') continue;
    const heads = node.attrs.sizes.map((n) => n * at(whole.shape, 3));
    projection.sizes = part.node.attrs.sizes.flatMap((size, i) => (i === part.index ? heads : [size]));
    rotated.add(node);
  }
  return rotated;
}

function planOf(graph: Graph): Plan {
  const splits = new Map<Node, Projection>();
  const convolved = readByConvolutions(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'split' || node.attrs.axis !== AXIS || convolved.has(node)) continue;
    const product = productOf(node.inputs[0]);
    if (product) splits.set(node, { product, sizes: node.attrs.sizes });
  }
  const rotated = refine(graph, splits);
  const byMatrix = new Map([...splits.values()].map((p) => [p.product.inputs[1], p]));
  const inputGradients = new Map<Node, Projection>();
  const byGradient = new Map<Value, Projection>();
  for (const node of graph.nodes) {
    const projection = node.op === 'dot' ? byMatrix.get(node.inputs[1]) : undefined;
    if (node.op !== 'dot' || !projection || node.attrs.rhsContract[0] !== 1) continue;
    inputGradients.set(node, projection);
    const [gradient] = node.inputs;
    byGradient.set(gradient, projection);
    // A bias is added in float32 where the product is bfloat16.
    if (gradient.node.op === 'convert') byGradient.set(gradient.node.inputs[0], projection);
  }
  const matrixGradients = new Map<Node, Projection>();
  const biasGradients = new Map<Node, Projection>();
  for (const node of graph.nodes) {
    if (node.op === 'reduceSum') {
      const projection = byGradient.get(node.inputs[0]);
      if (projection && !node.attrs.axes.includes(AXIS)) biasGradients.set(node, projection);
    }
    if (node.op !== 'dot') continue;
    const projection = byGradient.get(node.inputs[1]);
    if (projection && node.inputs[0] === projection.product.inputs[0]) matrixGradients.set(node, projection);
  }
  return { splits, rotated, inputGradients, matrixGradients, biasGradients };
}

/** The parts of a joined value, seen through what can be done to each of them; null if it is not joined of `sizes`. */
function partsOf(v: Value, sizes: readonly number[]): readonly Value[] | null {
  if (sizes.length === 1) return [v];
  const { node } = v;
  switch (node.op) {
    case 'concat': {
      if (node.attrs.axis !== AXIS) return null;
      const rest = [...sizes];
      const parts = node.inputs.map((input) => {
        const own: number[] = [];
        let width = at(input.shape, AXIS);
        while (width > 0 && rest.length > 0) {
          const size = present(rest.shift());
          own.push(size);
          width -= size;
        }
        return width === 0 ? partsOf(input, own) : null;
      });
      return parts.every((part) => part !== null) ? parts.flat() : null;
    }
    case 'convert':
      return partsOf(node.inputs[0], sizes)?.map((part) => convert(part, v.dtype)) ?? null;
    case 'rotary':
      return partsOf(node.inputs[0], sizes)?.flatMap((part) => emit('rotary', [part], node.attrs)) ?? null;
    case 'reshape':
      return reshapedParts(node, sizes);
    default:
      return null;
  }
}

/** Parts of heads `[B,T,n,D]` made of columns `[B,T,n*D]`, or the other way round. */
function reshapedParts({ inputs: [from], outputs: [to] }: NodeOf<'reshape'>, sizes: readonly number[]) {
  if (!sameShape(from.shape.slice(0, AXIS), to.shape.slice(0, AXIS))) return null;
  const [ranks, D] = [`${from.shape.length}${to.shape.length}`, from.shape[3] ?? to.shape[3] ?? 0];
  const lead = to.shape.slice(0, AXIS);
  if (ranks === '34') {
    const parts = partsOf(
      from,
      sizes.map((n) => n * D),
    );
    return parts?.map((part, i) => reshape(part, [...lead, at(sizes, i), D])) ?? null;
  }
  if (ranks !== '43' || sizes.some((n) => n % D !== 0)) return null;
  const parts = partsOf(
    from,
    sizes.map((n) => n / D),
  );
  return parts?.map((part, i) => reshape(part, [...lead, at(sizes, i)])) ?? null;
}

/** `matrix [d,n]` cut into columns; what was converted is cut before, and so is what is stored in two bytes. */
function columnsOf(matrix: Value, sizes: readonly number[]): readonly Value[] {
  const { node } = matrix;
  if (node.op === 'convert') return columnsOf(node.inputs[0], sizes).map((part) => convert(part, matrix.dtype));
  if (node.op !== 'mul') return split(matrix, 1, sizes);
  const [whole, gain] = node.inputs;
  const ofRows = gain.shape.length === 2 && gain.shape[1] === 1 && sameShape(whole.shape, matrix.shape);
  const halves = whole.node.op === 'convert' && isHalf(whole.node.inputs[0].dtype);
  if (!ofRows || !halves) return split(matrix, 1, sizes);
  return columnsOf(whole, sizes).map((part) => mul(part, gain));
}

/** The parts of a product, each computed on its own. */
function productParts(v: Value, sizes: readonly number[]): readonly Value[] {
  const { node } = v;
  if (node.op === 'convert') return productParts(node.inputs[0], sizes).map((part) => convert(part, v.dtype));
  if (node.op === 'add') {
    const biases = split(node.inputs[1], 0, sizes);
    return productParts(node.inputs[0], sizes).map((part, i) => add(part, at(biases, i)));
  }
  invariant(node.op === 'dot', 'a projection is no product');
  const { inputs, attrs } = node;
  return columnsOf(inputs[1], sizes).flatMap((part) => emit('dot', [inputs[0], part], attrs));
}

/** The outputs of a split of `sizes` from parts that may be smaller, which are joined for what reads them together. */
function regroup(parts: readonly Value[], sizes: readonly number[]): readonly Value[] {
  let next = 0;
  return sizes.map((size) => {
    const own: Value[] = [];
    for (let width = 0; width < size; width += at(at(own, own.length - 1).shape, AXIS)) own.push(at(parts, next++));
    return own.length === 1 ? at(own, 0) : concat(own, AXIS);
  });
}

/** Rewrites the nodes of one graph by its plan. */
class Rewriter {
  /** The products of the parts that a gradient of an input sums, in the order in which differentiation adds them up. */
  readonly #sums = new Map<Value, readonly Value[]>();
  /** The axis along which the gradient of a matrix or a bias was joined here. */
  readonly #joined = new Map<Value, number>();

  constructor(private readonly plan: Plan) {}

  /** The values in place of a node's on rewritten inputs; null to copy the node. */
  visit(node: Node, [first, second]: readonly Value[]): readonly Value[] | null {
    if (!first) return null;
    switch (node.op) {
      case 'split': {
        const projection = this.plan.splits.get(node);
        if (projection) return regroup(productParts(first, projection.sizes), node.attrs.sizes);
        return this.plan.rotated.has(node) ? partsOf(first, node.attrs.sizes) : null;
      }
      case 'dot':
        if (!second) return null;
        return this.#gradientOfInput(node, first, second) ?? this.#gradientOfMatrix(node, first, second);
      case 'reduceSum': {
        const { axes, keepDims } = node.attrs;
        const projection = this.plan.biasGradients.get(node);
        const parts = projection && partsOf(first, projection.sizes);
        return this.#join(
          parts?.map((part) => reduceSum(part, axes, keepDims)),
          AXIS,
        );
      }
      case 'reshape':
        if (this.#joined.get(first) !== AXIS || node.attrs.shape.length !== 1) return null;
        return this.#join(
          first.node.inputs.map((part) => reshape(part, [at(part.shape, AXIS)])),
          0,
        );
      case 'convert': {
        const axis = this.#joined.get(first);
        if (axis === undefined) return null;
        return this.#join(
          first.node.inputs.map((part) => convert(part, node.attrs.dtype)),
          axis,
        );
      }
      case 'add': {
        // Differentiation would have added each product to the sum so far: the same order gives the same bits.
        const products = second && this.#sums.get(second);
        return products ? [products.reduce((sum, product) => add(sum, product), first)] : null;
      }
      default:
        return null;
    }
  }

  #gradientOfInput(node: NodeOf<'dot'>, gradient: Value, matrix: Value): readonly Value[] | null {
    const projection = this.plan.inputGradients.get(node);
    const parts = projection && partsOf(gradient, projection.sizes);
    if (!parts) return null;
    const columns = columnsOf(matrix, projection.sizes);
    const products = parts.flatMap((part, i) => emit('dot', [part, at(columns, i)], node.attrs)).reverse();
    const sum = products.reduce((a, b) => add(a, b));
    this.#sums.set(sum, products);
    return [sum];
  }

  #gradientOfMatrix(node: NodeOf<'dot'>, input: Value, gradient: Value): readonly Value[] | null {
    const projection = this.plan.matrixGradients.get(node);
    const parts = projection && partsOf(gradient, projection.sizes);
    return this.#join(
      parts?.flatMap((part) => emit('dot', [input, part], node.attrs)),
      1,
    );
  }

  #join(parts: readonly Value[] | undefined, axis: number): readonly Value[] | null {
    if (parts === undefined) return null;
    // Queries alone, of layers that take the keys of another: nothing is joined that could be cut again.
    if (parts.length === 1) return parts;
    const whole = concat(parts, axis);
    this.#joined.set(whole, axis);
    return [whole];
  }
}

/** The graph with a product for each part of a projection. Results agree up to rounding. */
export function projectionsByPart(given: Graph): Graph {
  const graph = expand(given, { keep: (node) => node.op !== 'remat' });
  const plan = planOf(graph);
  if (plan.splits.size === 0) return graph;
  const rewriter = new Rewriter(plan);
  return mapGraph(graph, (node, inputs) => rewriter.visit(node, inputs));
}
