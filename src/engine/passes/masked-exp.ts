/**
 * Exponentials of masked values: graphs mask first, so that derivatives have no infinities, and take the exponential of
 * -1e30 where nothing is left. onnxruntime's kernels for WebAssembly make denormals on the way to exponentials below
 * 1.2e-38, four times as slow as others, and WebAssembly cannot round those to zero.
 */
import { exp, mapGraph, select, uniformValue, type Graph } from '../../graph/index.js';

/** Whatever is below has an exponential of zero, in float64 too. */
const ZERO_BELOW = -746;

/**
 * The graph with `exp(select(mask, x, low))` as `select(mask, exp(x), 0)` where the exponential of `low` is zero.
 * Values are the same to the bit.
 */
export function masksAfterExp(graph: Graph): Graph {
  return mapGraph(graph, (node, [argument]) => {
    if (node.op !== 'exp' || argument?.node.op !== 'select') return null;
    const [mask, x, low] = argument.node.inputs;
    if ((uniformValue(low) ?? 0) > ZERO_BELOW) return null;
    return [select(mask, exp(x), 0)];
  });
}
