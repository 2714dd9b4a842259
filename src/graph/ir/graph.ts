/** Graphs from values: topological order, the verifier, and subgraphs (scan, remat) from functions. */
import { LongsightError, at, last, invariant } from '../../core/index.js';
import { sameType } from './checks.js';
import { copyNode, inferTypes } from './emit.js';
import { input } from './leaves.js';
import type { Graph, Node, Port, TensorType, Value } from './types.js';

/** Values by name, in the order of the ports that they become. */
export type Named = Readonly<Record<string, Value>>;

/** Nodes that `outputs` need, each after what it uses. Iterative, so depth is no limit. */
export function nodesOf(outputs: readonly Value[]): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, 'open' | 'done'>();
  const stack: { node: Node; next: number }[] = [];
  const visit = (node: Node): void => {
    if (state.has(node)) return;
    state.set(node, 'open');
    stack.push({ node, next: 0 });
  };
  for (const { node } of outputs) {
    visit(node);
    while (stack.length > 0) {
      const top = last(stack);
      const child = top.node.inputs[top.next++];
      if (child) {
        visit(child.node);
      } else {
        state.set(top.node, 'done');
        order.push(top.node);
        stack.pop();
      }
    }
  }
  return order;
}

/**
 * A graph from named inputs (values made by `input`) and named outputs. Inputs that no output needs are kept.
 * Throws `LongsightError` if an output reaches an input that is not listed or if a name repeats.
 */
export function makeGraph(inputs: Named, outputs: Named): Graph {
  const ports = Object.entries(inputs).map(([name, value]): Port => ({ name, value }));
  for (const { name, value } of ports) {
    if (value.node.op !== 'input')
      throw new LongsightError(`graph input "${name}" is the result of ${value.node.op}, not an input`);
  }
  const known = new Set(ports.map((p) => p.value.node));
  if (known.size !== ports.length) throw new LongsightError('a value is listed twice among the inputs of a graph');
  const nodes = nodesOf(Object.values(outputs));
  for (const node of nodes) {
    if (node.op === 'input' && !known.has(node)) {
      const { name } = node.attrs;
      throw new LongsightError(
        `an output needs input "${name}", which is not among the inputs of its graph; pass it in`,
      );
    }
  }
  const used = new Set(nodes);
  const unused = ports.map((p) => p.value.node).filter((node) => !used.has(node));
  return {
    inputs: ports,
    outputs: Object.entries(outputs).map(([name, value]) => ({ name, value })),
    nodes: [...unused, ...nodes],
  };
}

/** A graph from a function of typed inputs, for `scan` and `remat` bodies. */
export function traceGraph(types: readonly TensorType[], body: (inputs: Value[]) => readonly Value[]): Graph {
  const inputs = types.map(({ dtype, shape }, i) => input(`in${i}`, dtype, shape));
  const outputs = body(inputs);
  return makeGraph(
    Object.fromEntries(inputs.map((v, i) => [`in${i}`, v])),
    Object.fromEntries(outputs.map((v, i) => [`out${i}`, v])),
  );
}

const valuesOf = (ports: readonly Port[]): Value[] => ports.map((p) => p.value);

/** Copies `body` into the graph of `inputs`: the values of its outputs. */
export function inline(body: Graph, inputs: readonly Value[]): Value[] {
  return rebuild(
    body.nodes,
    valuesOf(body.outputs),
    new Map(body.inputs.map(({ value }, i) => [value, at(inputs, i)])),
  );
}

/**
 * Re-emits `nodes` with inputs replaced through `map` (which fills up on the way) and returns the images of `outputs`.
 * `visit` may return its own values for a node; otherwise the node is copied.
 */
export function rebuild(
  nodes: readonly Node[],
  outputs: readonly Value[],
  map: Map<Value, Value>,
  visit?: Visit,
): Value[] {
  const image = (v: Value): Value => {
    const found = map.get(v);
    invariant(found, `value of ${v.node.op} is used before it is rebuilt`);
    return found;
  };
  for (const node of nodes) {
    if (node.outputs.every((v) => map.has(v))) continue;
    const inputs = node.inputs.map(image);
    const values = visit?.(node, inputs) ?? copyNode(node, inputs);
    node.outputs.forEach((v, i) => {
      // A visitor may leave out a value that nothing uses.
      const value = values[i];
      if (value !== undefined) map.set(v, value);
    });
  }
  return outputs.map(image);
}

/**
 * Checks a graph from scratch: order, that every use is of a listed node, and every type by its rule (bodies too).
 * Throws `LongsightError` that names the node.
 */
export function verify(graph: Graph): void {
  const seen = new Set<Node>();
  graph.nodes.forEach((node, i) => {
    const where = `node ${i} (${node.op})`;
    for (const v of node.inputs) {
      if (!seen.has(v.node))
        throw new LongsightError(`${where} uses a value of ${v.node.op} that comes later or never`);
      if (v.node.outputs[v.index] !== v) throw new LongsightError(`${where} uses a value that its node does not have`);
    }
    const types = inferTypes(node, node.inputs);
    if (types.length !== node.outputs.length || !types.every((t, k) => sameType(t, at(node.outputs, k)))) {
      throw new LongsightError(`${where} does not have the dtype and shape that its rule gives`);
    }
    if ('body' in node.attrs) verify(node.attrs.body);
    seen.add(node);
  });
  for (const { name, value } of [...graph.inputs, ...graph.outputs]) {
    if (!seen.has(value.node)) throw new LongsightError(`"${name}" is not computed by the graph`);
  }
}

/** Values in place of a node's, from the images of its inputs; null to copy it. */
export type Visit = (node: Node, inputs: readonly Value[]) => readonly Value[] | null;

/** Rebuilds a graph through `visit`, which must see to bodies inside it; inputs stay the same values. */
export function mapGraph(graph: Graph, visit: Visit): Graph {
  const map = new Map(graph.inputs.map(({ value }) => [value, value]));
  const outputs = rebuild(graph.nodes, valuesOf(graph.outputs), map, visit);
  return makeGraph(
    Object.fromEntries(graph.inputs.map((p) => [p.name, p.value])),
    Object.fromEntries(graph.outputs.map((p, i) => [p.name, at(outputs, i)])),
  );
}
