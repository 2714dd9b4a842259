/** Whole-graph transforms: composite expansion, common-subexpression elimination, simplification and constant folding. */
import { sameShape, sizeOf, toNumbers, type HostTensor } from '../core/index.js';
import { DECOMPOSITIONS, isComposite, type CompositeOp, type Decomposition } from './decompose.js';
import { makeGraph, rebuild } from './graph.js';
import { constant, emit } from './lib.js';
import { TYPE_RULES, broadcastShapes } from './ops.js';
import {
  type Graph,
  type Node,
  type Value,
  BINARY_OPS,
  COMPARE_OPS,
  LOGICAL_OPS,
  type OpAttrs,
  type OpName,
} from './types.js';

/** Values in place of a node's, from the images of its inputs; null to copy it. */
export type Visit = (node: Node, inputs: readonly Value[]) => readonly Value[] | null;

/** Rebuilds a graph through `visit`, which must see to bodies inside it; inputs stay the same values. */
export function mapGraph(graph: Graph, visit: Visit): Graph {
  const map = new Map<Value, Value>();
  for (const { value } of graph.inputs) map.set(value, value);
  const outputs = rebuild(
    graph.nodes,
    graph.outputs.map((p) => p.value),
    map,
    visit,
  );
  return makeGraph(
    Object.fromEntries(graph.inputs.map((p) => [p.name, p.value])),
    Object.fromEntries(graph.outputs.map((p, i) => [p.name, outputs[i] as Value])),
  );
}

export type DecompositionOverrides = { readonly [K in CompositeOp]?: Decomposition<K> };

export interface ExpandOptions {
  /** Composites to leave as they are. */
  readonly keep?: (node: Node) => boolean;
  /** Decompositions in place of the default ones. */
  readonly overrides?: DecompositionOverrides;
}

/** Replaces composites by their decompositions until `keep` holds for all that are left, in the bodies of scans too. */
export function expand(graph: Graph, options: ExpandOptions = {}): Graph {
  return mapGraph(graph, expander(options));
}

function expander(options: ExpandOptions): Visit {
  const { keep = () => false, overrides = {} } = options;
  const visit: Visit = (node, inputs) => {
    if (node.op === 'scan') {
      const attrs = node.attrs as OpAttrs['scan'];
      return emit('scan', inputs, { ...attrs, body: expand(attrs.body, options) });
    }
    if (!isComposite(node.op) || keep(node)) return null;
    const rule = (overrides[node.op] ?? DECOMPOSITIONS[node.op]) as Decomposition<CompositeOp>;
    return again(rule(inputs, node.attrs), new Set(inputs));
  };
  // A decomposition may use composites itself: visit what it added, taking its inputs as given.
  const again = (outputs: readonly Value[], given: ReadonlySet<Value>): readonly Value[] => {
    const nodes: Node[] = [];
    const seen = new Set<Node>();
    const walk = (v: Value): void => {
      if (given.has(v) || seen.has(v.node)) return;
      seen.add(v.node);
      v.node.inputs.forEach(walk);
      nodes.push(v.node);
    };
    outputs.forEach(walk);
    if (!nodes.some((n) => n.op === 'scan' || (isComposite(n.op) && !keep(n)))) return outputs;
    return rebuild(nodes, outputs, new Map([...given].map((v) => [v, v])), visit);
  };
  return visit;
}

/** Evaluates a node on constant inputs; engines give the reference engine's rule. */
export type Evaluate = (node: Node, inputs: readonly HostTensor[]) => readonly HostTensor[];

export interface SimplifyOptions {
  /** Without it no constants are folded. */
  readonly evaluate?: Evaluate;
  /** Largest result of folding, in elements. */
  readonly foldLimit?: number;
}

const NEVER_MERGED: ReadonlySet<OpName> = new Set<OpName>(['input', 'barrier', 'scan', 'remat', 'kernel']);
const NEVER_FOLDED: ReadonlySet<OpName> = new Set<OpName>([
  'input',
  'constant',
  'barrier',
  'kernel',
  'scan',
  'remat',
  'iota',
  'broadcast',
]);
const BROADCASTING: ReadonlySet<OpName> = new Set<OpName>([...BINARY_OPS, ...COMPARE_OPS, ...LOGICAL_OPS, 'select']);

/**
 * Merges equal nodes, drops identities (x + 0, reshape to the same shape, transposes that cancel, ...), leaves out broadcasts
 * that an elementwise op does by itself, folds constants and drops scan outputs that nothing uses. Results are the same up to
 * the sign of zero.
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
    if (node.op === 'scan') return simplifyScan(node as Node<'scan'>, given, used, options);
    const inputs = BROADCASTING.has(node.op) ? withoutBroadcasts(node, given) : given;
    const identity = identityOf(node, inputs);
    if (identity) return identity;
    const values = fold(node, inputs, options) ?? emit(node.op, inputs, node.attrs);
    if (node.op !== 'input' && inputs.every((v) => fixed.has(v))) values.forEach((v) => fixed.add(v));
    if (NEVER_MERGED.has(node.op) && !(node.op === 'barrier' && values.every((v) => fixed.has(v)))) return values;
    const first = (values[0] as Value).node;
    const key = `${first.op}(${first.inputs.map(idOf).join(',')})${attrsKey(first, idOf)}`;
    const old = seen.get(key);
    if (old) return old;
    seen.set(key, values);
    return values;
  });
}

/** Attributes as text; large constants by identity. */
function attrsKey(node: Node, idOf: (v: Value) => number): string {
  if (node.op !== 'constant') return JSON.stringify(node.attrs);
  const { tensor } = node.attrs as OpAttrs['constant'];
  if (tensor.data.length > 4096) return `#${idOf(node.outputs[0] as Value)}`;
  return `${tensor.dtype}[${tensor.shape.join(',')}]${Array.from(toNumbers(tensor), (x) => (Object.is(x, -0) ? '-0' : x)).join(',')}`;
}

function usedOutputs(graph: Graph): ReadonlySet<Value> {
  const used = new Set<Value>(graph.outputs.map((p) => p.value));
  for (const node of graph.nodes) for (const v of node.inputs) used.add(v);
  return used;
}

/** Drops saved carries and ys that nothing uses, and simplifies the body. */
function simplifyScan(
  node: Node<'scan'>,
  inputs: readonly Value[],
  used: ReadonlySet<Value>,
  options: SimplifyOptions,
): readonly Value[] {
  const { attrs } = node;
  const numYs = attrs.body.outputs.length - attrs.numCarry;
  const savesCarry = attrs.savesCarry && node.outputs.slice(attrs.numCarry + numYs).some((v) => used.has(v));
  const keptYs = Array.from({ length: numYs }, (_, i) => attrs.numCarry + i).filter((i) =>
    used.has(node.outputs[i] as Value),
  );
  const ports = [...Array.from({ length: attrs.numCarry }, (_, i) => i), ...keptYs];
  const body = simplify(
    makeGraph(
      Object.fromEntries(attrs.body.inputs.map((p) => [p.name, p.value])),
      Object.fromEntries(ports.map((i) => [`out${i}`, (attrs.body.outputs[i] as { value: Value }).value])),
    ),
    options,
  );
  const values = emit('scan', inputs, { ...attrs, body, savesCarry });
  const result: Value[] = [];
  ports.forEach((port, i) => (result[port] = values[i] as Value));
  if (savesCarry) values.slice(ports.length).forEach((v, i) => (result[attrs.numCarry + numYs + i] = v));
  return result;
}

function withoutBroadcasts(node: Node, inputs: readonly Value[]): readonly Value[] {
  const shape = (node.outputs[0] as Value).shape;
  let result = [...inputs];
  inputs.forEach((v, i) => {
    if (v.node.op !== 'broadcast') return;
    const tried = result.map((w, k) => (k === i ? (v.node.inputs[0] as Value) : w));
    if (sameShape(broadcastShapes(node.op, tried), shape)) result = tried;
  });
  return result;
}

/** The number that a value holds in every element, if it is a constant of that kind. */
export function uniformValue(v: Value): number | null {
  if (v.node.op === 'broadcast') return uniformValue(v.node.inputs[0] as Value);
  if (v.node.op !== 'constant') return null;
  const { tensor } = v.node.attrs as OpAttrs['constant'];
  return sizeOf(tensor.shape) === 1 ? (toNumbers(tensor)[0] as number) : null;
}

const ascending = (axes: readonly number[]): boolean => axes.every((a, i) => i === 0 || a > (axes[i - 1] as number));

/** Values that a node is the identity of, or null. */
function identityOf(node: Node, inputs: readonly Value[]): readonly Value[] | null {
  const x = inputs[0];
  if (!x) return null;
  const { shape } = node.outputs[0] as Value;
  const same = sameShape(x.shape, shape) && x.dtype === (node.outputs[0] as Value).dtype;
  switch (node.op) {
    case 'reshape': {
      const source = x.node.op === 'reshape' ? (x.node.inputs[0] as Value) : x;
      if (sameShape(source.shape, shape)) return [source];
      return source === x ? null : emit('reshape', [source], { shape });
    }
    case 'transpose': {
      const { permutation } = node.attrs as OpAttrs['transpose'];
      if (ascending(permutation)) return [x];
      if (ascending(permutation.filter((p) => x.shape[p] !== 1))) return emit('reshape', [x], { shape });
      if (x.node.op !== 'transpose') return null;
      const inner = (x.node.attrs as OpAttrs['transpose']).permutation;
      const joined = permutation.map((p) => inner[p] as number);
      const source = x.node.inputs[0] as Value;
      return ascending(joined) ? [source] : emit('transpose', [source], { permutation: joined });
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
      return x.node.op === 'neg' ? [x.node.inputs[0] as Value] : null;
    case 'add':
    case 'mul':
    case 'sub':
    case 'div':
      return neutral(node.op, inputs as [Value, Value], shape);
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
  if (!evaluate || NEVER_FOLDED.has(node.op) || inputs.length === 0) return null;
  if (inputs.some((v) => v.node.op !== 'constant')) return null;
  const types = (TYPE_RULES[node.op] as (i: readonly Value[], a: unknown) => readonly { shape: readonly number[] }[])(
    inputs,
    node.attrs,
  );
  if (types.some((t) => sizeOf(t.shape) > foldLimit)) return null;
  const tensors = inputs.map((v) => (v.node.attrs as OpAttrs['constant']).tensor);
  const results = evaluate(node, tensors);
  // Multi-output nodes would leave the key of the first output only; fold single results.
  return results.length === 1 ? [constant(results[0] as HostTensor)] : null;
}
