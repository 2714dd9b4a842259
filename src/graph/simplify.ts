/** Common-subexpression elimination, simplification and constant folding of whole graphs. */
import { at, sameShape, sizeOf, toBase64, type HostTensor } from '../core/index.js';
import { Operands } from './ir/checks.js';
import { copyNode, inferTypes } from './ir/emit.js';
import { makeGraph, mapGraph } from './ir/graph.js';
import { constant, uniformValue } from './ir/leaves.js';
import type { Graph, Node, NodeOf, Value } from './ir/types.js';
import * as L from './primitives/index.js';

/** Evaluates a node on constant inputs; engines give the reference engine's rule. */
export type Evaluate = (node: Node, inputs: readonly HostTensor[]) => readonly HostTensor[];

/** Whether and how far constants are folded. */
export interface SimplifyOptions {
  /** Computes an op on constants; without it no constants are folded. */
  readonly evaluate?: Evaluate;
  /** Largest result of folding, in elements. */
  readonly foldLimit?: number;
}

/**
 * Merges equal nodes, drops identities (x + 0, reshape to the same shape, transposes that cancel, ...), leaves out
 * broadcasts that an elementwise op does by itself, folds constants and drops scan outputs that nothing uses. Results
 * are the same up to the sign of zero.
 */
export function simplify(graph: Graph, options: SimplifyOptions = {}): Graph {
  const used = usedOutputs(graph);
  const seen = new Map<string, readonly Value[]>();
  const ids = new Map<Value, number>();
  const idOf = (v: Value): number => {
    const id = ids.get(v) ?? ids.size;
    ids.set(v, id);
    return id;
  };
  // Values that depend on no input: a barrier orders nothing among them, so equal ones merge.
  const fixed = new Set<Value>();
  return mapGraph(graph, (node, given) => {
    if (node.op === 'scan') return simplifyScan(node, given, used, options);
    const { locality, merging } = node.definition;
    const inputs = locality === 'broadcasting' ? withoutBroadcasts(node, given) : given;
    const identity = identityOf(node, inputs);
    if (identity && !mayBeNew(identity)) return identity;
    const values = identity ?? fold(node, inputs, options) ?? copyNode(node, inputs);
    if (node.op !== 'input' && inputs.every((v) => fixed.has(v))) values.forEach((v) => fixed.add(v));
    if (merging === 'keep' && !(node.op === 'barrier' && values.every((v) => fixed.has(v)))) return values;
    const first = at(values, 0).node;
    const key = `${first.op}(${first.inputs.map(idOf).join(',')})${attrsKey(first, idOf)}`;
    const old = seen.get(key);
    if (old) return old;
    seen.set(key, values);
    return values;
  });
}

/** Whether what a node is the identity of may have been made just now, as one reshape in place of two. */
const mayBeNew = ([value]: readonly Value[]): boolean => value?.node.op === 'reshape' || value?.node.op === 'transpose';

/** Attributes as text; large constants by identity. */
function attrsKey(node: Node, idOf: (v: Value) => number): string {
  if (node.op !== 'constant') return JSON.stringify(node.attrs);
  const { tensor } = node.attrs;
  if (tensor.data.length > 4096) return `#${idOf(at(node.outputs, 0))}`;
  const { buffer, byteOffset, byteLength } = tensor.data;
  const bits = toBase64(new Uint8Array(buffer, byteOffset, byteLength));
  return `${tensor.dtype}[${tensor.shape.join(',')}]${bits}`;
}

function usedOutputs(graph: Graph): ReadonlySet<Value> {
  const used = new Set<Value>(graph.outputs.map((p) => p.value));
  for (const node of graph.nodes) for (const v of node.inputs) used.add(v);
  return used;
}

/** Drops saved carries and ys that nothing uses, and simplifies the body. */
function simplifyScan(
  node: NodeOf<'scan'>,
  inputs: readonly Value[],
  used: ReadonlySet<Value>,
  options: SimplifyOptions,
): readonly Value[] {
  const { attrs } = node;
  const numYs = attrs.body.outputs.length - attrs.numCarry;
  const savesCarry = attrs.savesCarry && node.outputs.slice(attrs.numCarry + numYs).some((v) => used.has(v));
  const keptYs = Array.from({ length: numYs }, (_, i) => attrs.numCarry + i).filter((i) =>
    used.has(at(node.outputs, i)),
  );
  const ports = [...Array.from({ length: attrs.numCarry }, (_, i) => i), ...keptYs];
  const body = simplify(
    makeGraph(
      Object.fromEntries(attrs.body.inputs.map((p) => [p.name, p.value])),
      Object.fromEntries(ports.map((i) => [`out${i}`, at(attrs.body.outputs, i).value])),
    ),
    options,
  );
  const values = copyNode(node, inputs, { ...attrs, body, savesCarry });
  const result: Value[] = [];
  ports.forEach((port, i) => (result[port] = at(values, i)));
  if (savesCarry) values.slice(ports.length).forEach((v, i) => (result[attrs.numCarry + numYs + i] = v));
  return result;
}

function withoutBroadcasts(node: Node, inputs: readonly Value[]): readonly Value[] {
  const shape = at(node.outputs, 0).shape;
  let result = [...inputs];
  inputs.forEach((v, i) => {
    if (v.node.op !== 'broadcast') return;
    const [narrow] = v.node.inputs;
    const tried = result.map((w, k) => (k === i ? narrow : w));
    if (sameShape(new Operands(node.op, tried).broadcastShape(), shape)) result = tried;
  });
  return result;
}

const ascending = (axes: readonly number[]): boolean => axes.every((a, i) => i === 0 || a > at(axes, i - 1));

/** Values that a node is the identity of, or null. */
function identityOf(node: Node, inputs: readonly Value[]): readonly Value[] | null {
  const x = inputs[0];
  if (!x) return null;
  const { shape } = at(node.outputs, 0);
  // Only exact identities: 0 * x is not 0 where x is infinite or NaN.
  const same = sameShape(x.shape, shape) && x.dtype === at(node.outputs, 0).dtype;
  switch (node.op) {
    case 'reshape': {
      const source = x.node.op === 'reshape' ? x.node.inputs[0] : x;
      if (sameShape(source.shape, shape)) return [source];
      return source === x ? null : [L.reshape(source, shape)];
    }
    case 'transpose': {
      const { permutation } = node.attrs;
      if (ascending(permutation)) return [x];
      if (ascending(permutation.filter((p) => x.shape[p] !== 1))) return [L.reshape(x, shape)];
      if (x.node.op !== 'transpose') return null;
      const inner = x.node.attrs.permutation;
      const joined = permutation.map((p) => at(inner, p));
      const [source] = x.node.inputs;
      return ascending(joined) ? [source] : [L.transpose(source, joined)];
    }
    case 'broadcast':
    case 'slice':
    case 'pad':
    case 'convert':
      return same ? [x] : null;
    case 'concat':
      return inputs.length === 1 ? [x] : null;
    case 'split':
      return node.outputs.length === 1 ? [x] : null;
    case 'stopGradient':
      return [x];
    case 'neg':
      return x.node.op === 'neg' ? [x.node.inputs[0]] : null;
    case 'add':
    case 'mul':
    case 'sub':
    case 'div':
      return neutral(node.op, [x, at(inputs, 1)], shape);
    default:
      return null;
  }
}

function neutral(
  op: 'add' | 'mul' | 'sub' | 'div',
  [a, b]: readonly [Value, Value],
  shape: readonly number[],
): readonly Value[] | null {
  const unit = op === 'add' || op === 'sub' ? 0 : 1;
  if (uniformValue(b) === unit && sameShape(a.shape, shape)) return [a];
  const commutes = op === 'add' || op === 'mul';
  return commutes && uniformValue(a) === unit && sameShape(b.shape, shape) ? [b] : null;
}

function fold(
  node: Node,
  inputs: readonly Value[],
  { evaluate, foldLimit = 4096 }: SimplifyOptions,
): readonly Value[] | null {
  if (!evaluate || node.definition.merging !== 'fold' || inputs.length === 0) return null;
  const tensors = inputs.flatMap(({ node: { op, attrs } }) => (op === 'constant' ? [attrs.tensor] : []));
  if (tensors.length < inputs.length) return null;
  const types = inferTypes(node, inputs);
  if (types.some((t) => sizeOf(t.shape) > foldLimit)) return null;
  const results = evaluate(node, tensors);
  // Multi-output nodes would leave the key of the first output only; fold single results.
  return results.length === 1 ? [constant(at(results, 0))] : null;
}
