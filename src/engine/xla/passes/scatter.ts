/**
 * Sums by index in a fixed order. On GPUs XLA adds the updates of a scatter atomically, in whatever order they arrive,
 * so that two runs differ in their last bits; its own remedy sorts every element of the updates. A product with one-hot
 * rows is the same sum, in an order that the product's kernel fixes.
 */
import { at, isFloat, sizeOf } from '../../../core/index.js';
import { mapGraph, type Graph, type Value } from '../../../graph/index.js';
import * as L from '../../../graph/index.js';

/** Elements of the one-hot matrix of one product: 256 MiB in bf16. */
const ONE_HOT_ELEMENTS = 2 ** 27;

/**
 * `operand [V,...]` plus every one of `updates [...,...]` at the row that its index names; rows beyond V are left out.
 */
export function addByProducts(operand: Value, indices: Value, updates: Value, limit = ONE_HOT_ELEMENTS): Value {
  const [rows = 0, ...rest] = operand.shape;
  const count = sizeOf(indices.shape);
  const named = L.reshape(indices, [1, count]);
  // Ones and zeros are exact in bf16: where the updates were bf16 the product takes both in bf16, and sums in f32.
  const source =
    updates.node.op === 'convert' && updates.node.inputs[0]?.dtype === 'bf16' ? updates.node.inputs[0] : updates;
  const flat = L.convert(L.reshape(source, [count, sizeOf(rest)]), updates.dtype);
  const widened = (x: Value): Value => L.convert(L.convert(x, source.dtype), updates.dtype);
  const block = Math.max(1, Math.floor(limit / Math.max(1, count)));
  const sums: Value[] = [];
  for (let first = 0; first < rows; first += block) {
    const size = Math.min(block, rows - first);
    const hot = L.eq(L.add(L.iota('i32', [size, count], 0), first), named);
    sums.push(L.linear(widened(hot), flat));
  }
  const sum = sums.length === 1 ? at(sums, 0) : L.concat(sums, 0);
  return L.add(operand, L.reshape(sum, operand.shape));
}

/** The graph with products in place of scatters. */
export function withoutScatters(graph: Graph): Graph {
  return mapGraph(graph, (node, inputs) => {
    const [operand, indices, updates] = inputs as [Value, Value, Value];
    if (node.op !== 'scatterAdd' || !isFloat(operand.dtype)) return null;
    return sizeOf(indices.shape) * sizeOf(operand.shape) === 0 ? [operand] : [addByProducts(operand, indices, updates)];
  });
}
