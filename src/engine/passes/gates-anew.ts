/**
 * SwiGLU computed anew in the backward pass: between the passes a layer keeps the two factors of its MLP's gate, and
 * not the sigmoid, its product with the gate and the product of both as well, each as large as a factor. The gradient
 * of the matrix behind the gate reads the product that is computed anew, too. Results are the same.
 */
import { at, present } from '../../core/index.js';
import { barrier, emit, mapGraph, swiglu, type Graph, type Node, type Value } from '../../graph/index.js';

/** A SwiGLU that the forward and the backward pass compute. */
interface Gate {
  /** What the forward pass gives. */
  readonly out: Value;
  /** A value of the backward pass that is there before any use of the gate in it. */
  readonly after: Value;
}

/** What the nodes of the backward pass are to gates. */
interface Plan {
  /** Gradients of gates. */
  readonly gradients: ReadonlyMap<Node, Gate>;
  /** Products that read what a gate gave in the forward pass. */
  readonly products: ReadonlyMap<Node, Gate>;
}

/** The graph with each gate of its backward pass computed anew. */
export function gatesAnew(graph: Graph): Graph {
  const plan = planOf(graph);
  if (plan.gradients.size === 0) return graph;
  const images = new Map<Value, Value>();
  const made = new Map<Gate, { readonly gate: Value; readonly out: Value }>();
  /** The gate with its first factor held back until the backward pass is there. */
  const anew = (own: Gate) => {
    const found = made.get(own);
    if (found !== undefined) return found;
    const image = (v: Value): Value => present(images.get(v));
    const factor = (i: number): Value => image(at(own.out.node.inputs, i));
    const gate = at(barrier([factor(0), image(own.after)]), 0);
    const first = { gate, out: swiglu(gate, factor(1)) };
    made.set(own, first);
    return first;
  };
  return mapGraph(graph, (node, inputs) => {
    node.inputs.forEach((v, i) => images.set(v, at(inputs, i)));
    const gradient = plan.gradients.get(node);
    if (gradient !== undefined) return emit('swigluGrad', [anew(gradient).gate, at(inputs, 1), at(inputs, 2)], {});
    const product = plan.products.get(node);
    if (product === undefined || node.op !== 'dot') return null;
    const { out } = anew(product);
    const operand = (i: number): Value => (node.inputs[i] === product.out ? out : at(inputs, i));
    return emit('dot', [operand(0), operand(1)], node.attrs);
  });
}

/** The gates of a graph whose gradient it computes, with the products of its backward pass that read them. */
function planOf({ nodes }: Graph): Plan {
  const gradients = new Map<Node, Gate>();
  const products = new Map<Node, Gate>();
  for (const node of nodes) {
    if (node.op !== 'swigluGrad') continue;
    const [gate, up, incoming] = node.inputs;
    const forward = nodes.find(({ op, inputs }) => op === 'swiglu' && inputs[0] === gate && inputs[1] === up);
    if (forward === undefined) continue;
    const out = at(forward.outputs, 0);
    // The forward pass multiplies by a matrix, the backward pass by what came of it.
    const later = descendants(nodes, out);
    const readers = nodes.filter(
      ({ op, inputs }) => op === 'dot' && inputs.includes(out) && inputs.some((v) => later.has(v)),
    );
    const after = readers[0]?.inputs.find((v) => later.has(v)) ?? incoming;
    const own = { out, after };
    gradients.set(node, own);
    for (const reader of readers) products.set(reader, own);
  }
  return { gradients, products };
}

/** The values that are computed from `value`. */
function descendants(nodes: readonly Node[], value: Value): ReadonlySet<Value> {
  const found = new Set<Value>();
  for (const { inputs, outputs } of nodes) {
    if (inputs.some((v) => v === value || found.has(v))) for (const output of outputs) found.add(output);
  }
  return found;
}
