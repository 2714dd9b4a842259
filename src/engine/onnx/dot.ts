/**
 * A general dot as MatMul, Gemm or com.microsoft.FusedMatMul. Operands are brought to `[batch, M, K]` or `[batch, K,
 * M]`, whichever needs no transpose: the kernels take transposed operands for free.
 */
import { at, isHalf, sameShape, sizeOf } from '../../core/index.js';
import type { DotAttrs, Node, Value } from '../../graph/index.js';
import type { Name, OnnxBuilder } from './builder.js';

interface Operand {
  readonly name: Name;
  /** Contracted axes before the free ones. */
  readonly contractFirst: boolean;
}

const isIdentity = (axes: readonly number[]): boolean => axes.every((a, i) => a === i);

function planOperand(
  v: Value,
  batch: readonly number[],
  contract: readonly number[],
): { order: number[]; contractFirst: boolean } {
  const free = v.shape.map((_, i) => i).filter((i) => !batch.includes(i) && !contract.includes(i));
  const contractFirst = [...batch, ...contract, ...free];
  if (isIdentity(contractFirst) && free.length > 0) return { order: contractFirst, contractFirst: true };
  return { order: [...batch, ...free, ...contract], contractFirst: false };
}

/** Contracted axis pairs in the order that spares the most transposes. */
function orderedContract(a: Value, b: Value, attrs: DotAttrs): DotAttrs {
  const pairs = attrs.lhsContract.map((l, i) => [l, at(attrs.rhsContract, i)] as const);
  const by = (side: 0 | 1): DotAttrs => {
    const sorted = [...pairs].sort((x, y) => x[side] - y[side]);
    return { ...attrs, lhsContract: sorted.map((p) => p[0]), rhsContract: sorted.map((p) => p[1]) };
  };
  const cost = (d: DotAttrs): number =>
    [planOperand(a, d.lhsBatch, d.lhsContract), planOperand(b, d.rhsBatch, d.rhsContract)].filter(
      (p) => !isIdentity(p.order),
    ).length;
  const [left, right] = [by(0), by(1)];
  return cost(right) < cost(left) ? right : left;
}

/** Elements of a matrix of two bytes that are converted at once: 16 MB of float32. */
const BLOCK = 2 ** 22;

interface LargeHalf {
  /** The matrix as it is stored. */
  readonly stored: Value;
  /** Factors of its rows or columns, which it is multiplied by once converted. */
  readonly gain: Value | null;
}

/** A matrix converted from two bytes, perhaps times gains, that has more elements than are converted at once. */
export function largeHalf(v: Value): LargeHalf | null {
  const { node, shape } = v;
  if (shape.length !== 2 || sizeOf(shape) <= BLOCK) return null;
  if (node.op === 'convert') return isHalf(node.inputs[0].dtype) ? { stored: node.inputs[0], gain: null } : null;
  if (node.op !== 'mul') return null;
  const [matrix, gain] = node.inputs;
  const found = sameShape(matrix.shape, shape) && sizeOf(gain.shape) < sizeOf(shape) ? largeHalf(matrix) : null;
  return found?.gain === null ? { ...found, gain } : null;
}

/**
 * The product with a large matrix of two bytes, in blocks of its columns, so that no more than a block of it is in
 * float32: each column of the result is the same. Null where gains differ along what is cut.
 */
function productInBlocks(b: OnnxBuilder, node: Node<'dot'>, alpha: number): Name | null {
  const [lhs, rhs] = node.inputs;
  const large = node.attrs.rhsContract.length === 1 ? largeHalf(rhs) : null;
  if (large === null || node.attrs.lhsBatch.length > 0) return null;
  const { stored, gain } = large;
  const contract = at(node.attrs.rhsContract, 0);
  const free = 1 - contract;
  if ((gain?.shape[gain.shape.length - 2 + free] ?? 1) !== 1) return null;
  const [K, N] = [at(stored.shape, contract), at(stored.shape, free)];
  const M = sizeOf(lhs.shape) / K;
  const { order, contractFirst } = planOperand(lhs, [], node.attrs.lhsContract);
  const moved = isIdentity(order) ? b.of(lhs) : b.transpose(b.of(lhs), order);
  const left = { name: b.reshape(moved, contractFirst ? [K, M] : [M, K]), contractFirst };
  const width = Math.max(1, Math.floor(BLOCK / K));
  const parts = Array.from({ length: Math.ceil(N / width) }, (_, i) => {
    const [from, to] = [i * width, Math.min(N, (i + 1) * width)];
    const block = b.op('Slice', [b.of(stored), b.ints([from]), b.ints([to]), b.ints([free])]);
    const wide = b.convert(block, stored.dtype, rhs.dtype);
    const name = gain === null ? wide : b.op('Mul', [wide, b.of(gain)]);
    return multiply(b, rhs.dtype, 0, left, { name, contractFirst: contract === 0 }, alpha, { M, N: to - from, K });
  });
  return b.reshape(b.op('Concat', parts, { axis: 1 }), node.outputs[0].shape);
}

/** Emits the dot times `alpha`; the result has the shape of the graph value. */
export function lowerDot(b: OnnxBuilder, node: Node<'dot'>, alpha: number): Name {
  const [lhs, rhs] = node.inputs;
  const blocks = productInBlocks(b, node, alpha);
  if (blocks !== null) return blocks;
  const attrs = orderedContract(lhs, rhs, node.attrs);
  const batch = attrs.lhsBatch.map((i) => at(lhs.shape, i));
  const K = sizeOf(attrs.lhsContract.map((i) => at(lhs.shape, i)));
  const operand = (v: Value, batchAxes: readonly number[], contract: readonly number[]): Operand => {
    const { order, contractFirst } = planOperand(v, batchAxes, contract);
    const moved = isIdentity(order) ? b.of(v) : b.transpose(b.of(v), order);
    const M = sizeOf(v.shape) / (sizeOf(batch) * K);
    const shape = contractFirst ? [...batch, K, M] : [...batch, M, K];
    const same = isIdentity(order) && shape.length === v.shape.length && shape.every((d, i) => d === v.shape[i]);
    return { name: same ? moved : b.reshape(moved, shape), contractFirst };
  };
  const left = operand(lhs, attrs.lhsBatch, attrs.lhsContract);
  const right = operand(rhs, attrs.rhsBatch, attrs.rhsContract);
  const rows = sizeOf(lhs.shape) / (sizeOf(batch) * K);
  const columns = sizeOf(rhs.shape) / (sizeOf(batch) * K);
  const product = multiply(b, lhs.dtype, batch.length, left, right, alpha, { M: rows, N: columns, K });
  const [out] = node.outputs;
  const plain =
    out.shape.length === batch.length + 2 && sizeOf(batch) * sizeOf(out.shape.slice(-2)) === sizeOf(out.shape);
  return plain && out.shape[batch.length] === rows ? product : b.reshape(product, out.shape);
}

interface ProductSizes {
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/**
 * From this many contracted rows on, as in gradients of matrices, a transposed left operand is worth a transpose of its
 * own.
 */
const LONG = 1024;

/**
 * `a [K, M]^T b [K, N]` for long K: onnxruntime's product is a quarter slower on a transposed left operand, whose rows
 * it reads anew for every block of columns. So the smaller operand is transposed once, and shared by all products that
 * need it.
 */
function tallProduct(b: OnnxBuilder, a: Name, c: Name, { M, N, K }: ProductSizes): Name {
  const swap = [1, 0];
  if (K * M <= K * N + M * N) return b.op('MatMul', [b.transpose(a, swap), c]);
  return b.transpose(b.op('MatMul', [b.transpose(c, swap), a]), swap);
}

function multiply(
  b: OnnxBuilder,
  dtype: string,
  batchRank: number,
  left: Operand,
  right: Operand,
  alpha: number,
  sizes: ProductSizes,
): Name {
  const transA = left.contractFirst ? 1 : 0;
  const transB = right.contractFirst ? 0 : 1;
  if (batchRank === 0) {
    if (transA && !transB && alpha === 1 && sizes.K >= LONG) return tallProduct(b, left.name, right.name, sizes);
    if (!transA && !transB && alpha === 1) return b.op('MatMul', [left.name, right.name]);
    // The attribute is a float32, which rounds most factors.
    const apart = dtype === 'f64' && Math.fround(alpha) !== alpha;
    const product = b.op('Gemm', [left.name, right.name], { transA, transB, alpha: { float: apart ? 1 : alpha } });
    return apart ? b.op('Mul', [product, b.numbers('f64', [], [alpha])]) : product;
  }
  if (!transA && !transB && alpha === 1) return b.op('MatMul', [left.name, right.name]);
  if (dtype === 'f32') {
    const fused = { transA, transB, alpha: { float: alpha } };
    return b.op('FusedMatMul', [left.name, right.name], fused, 'com.microsoft');
  }
  // float64 has no fused kernel: transposes of its own.
  const swap = [...Array.from({ length: batchRank }, (_, i) => i), batchRank + 1, batchRank];
  const transposed = (x: Name, isTransposed: number): Name => (isTransposed ? b.transpose(x, swap) : x);
  const product = b.op('MatMul', [transposed(left.name, transA), transposed(right.name, transB)]);
  return alpha === 1 ? product : b.op('Mul', [product, b.numbers('f64', [], [alpha])]);
}
