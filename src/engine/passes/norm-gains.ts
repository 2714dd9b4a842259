/**
 * Where the gain of a norm is multiplied: models scale the rows of the matrices that read the norm, as `(x ⊙ gain) W =
 * x (gain ⊙ W)`, so that in training the gain and its gradient cost products of the size of the matrix instead of the
 * tokens. A program that reads few tokens is better off with the gain in the norm.
 */
import { at, sizeOf } from '../../core/index.js';
import { convert, emit, mapGraph, reshape, type Graph, type Node, type Value } from '../../graph/index.js';

/** A value behind a conversion of its dtype, or itself. */
const unconverted = (v: Value): Value => (v.node.op === 'convert' ? v.node.inputs[0] : v);

/** A matrix and the gains of its contracted axis, if `v` is their product; null otherwise. */
function scaledRows(v: Value, contracted: number): { readonly matrix: Value; readonly gain: Value } | null {
  if (v.node.op !== 'mul') return null;
  const [matrix, gain] = v.node.inputs;
  const { shape } = v;
  const size = at(shape, contracted);
  const axis = contracted - (shape.length - gain.shape.length);
  const isGain = matrix.shape.length === shape.length && gain.shape[axis] === size && sizeOf(gain.shape) === size;
  return isGain ? { matrix, gain } : null;
}

/** The product of a norm and a matrix whose rows are scaled, with the scale in the norm; null for another node. */
function withGainInNorm(node: Node, [lhs, rhs]: readonly Value[]): readonly Value[] | null {
  if (!lhs || !rhs || node.op !== 'dot' || node.attrs.rhsContract.length !== 1) return null;
  const norm = unconverted(lhs);
  const rows = scaledRows(unconverted(rhs), at(node.attrs.rhsContract, 0));
  if (rows === null || norm.node.op !== 'rmsNorm' || norm.index !== 0 || norm.node.inputs.length !== 1) return null;
  const [x] = norm.node.inputs;
  const gain = convert(reshape(rows.gain, [sizeOf(rows.gain.shape)]), x.dtype);
  const [y] = emit('rmsNorm', [x, gain], norm.node.attrs);
  return emit('dot', [convert(y, lhs.dtype), convert(rows.matrix, rhs.dtype)], node.attrs);
}

/** The graph with gains in the norms instead of in the matrices that read them. Results agree up to rounding. */
export function gainsInNorms(graph: Graph): Graph {
  return mapGraph(graph, withGainInNorm);
}
