/** Programs on weights that stay in the type that they are stored in. */
import { at, isFloat, isHalf, type DType } from '../core/index.js';
import {
  convert,
  copyNode,
  input,
  makeGraph,
  rebuild,
  type Graph,
  type Node,
  type OpName,
  type Value,
} from '../graph/index.js';
import type { Engine } from './contract/engine.js';

const plain = new WeakMap<Engine, Engine>();

/**
 * An engine whose programs take inputs by the names in `held` in the types given there, bf16 or f16, whatever graphs
 * say, and convert them where they are used: exact, so that results are those of the same weights in float32. Tensors
 * are those of `engine`, and whoever made that disposes of it.
 *
 * @param held the type of each weight by its name; those in f32 and other inputs stay as graphs have them
 */
export function withStoredWeights(engine: Engine, held: ReadonlyMap<string, DType>): Engine {
  const whole = plain.get(engine) ?? engine;
  const halves = new Map([...held].filter(([, dtype]) => isHalf(dtype)));
  if (halves.size === 0) return whole;
  const storing: Engine = {
    info: whole.info,
    hints: whole.hints,
    ...(whole.kernels === undefined ? {} : { kernels: whole.kernels }),
    compile: (graph, options) => whole.compile(onStored(graph, halves), options),
    upload: (tensor, sharding) => whole.upload(tensor, sharding),
    download: (tensor) => whole.download(tensor),
    ...(whole.release === undefined ? {} : { release: (tensor) => whole.release?.(tensor) }),
    dispose: () => whole.dispose(),
  };
  plain.set(storing, whole);
  return storing;
}

/**
 * The graph with the inputs that `held` names in its types. What only moves elements of a weight, such as a look-up of
 * rows, comes before the conversion, so that no more is converted than is used; a conversion back is none.
 */
function onStored(graph: Graph, held: ReadonlyMap<string, DType>): Graph {
  /** Weights, or parts of them, behind the conversion of what is stored. */
  const stored = new Map<Value, Value>();
  const converted = (from: Value, dtype: DType): Value => {
    const value = convert(from, dtype);
    if (value !== from) stored.set(value, from);
    return value;
  };
  const inputs = graph.inputs.map(({ name, value }) => {
    const dtype = isFloat(value.dtype) ? held.get(name) : undefined;
    return { name, value, own: dtype === undefined ? value : input(name, dtype, value.shape) };
  });
  const visit = (node: Node, [first, ...rest]: readonly Value[]): readonly Value[] | null => {
    const from = first && stored.get(first);
    if (first === undefined || from === undefined) return null;
    if (node.op === 'convert' && node.attrs.dtype === from.dtype) return [from];
    if (!MOVES.has(node.op)) return null;
    const moved: readonly Value[] = copyNode(node, [from, ...rest]);
    return moved.map((v) => converted(v, first.dtype));
  };
  const outputs = rebuild(
    graph.nodes,
    graph.outputs.map((port) => port.value),
    new Map(inputs.map(({ value, own }) => [value, converted(own, value.dtype)])),
    visit,
  );
  return makeGraph(
    Object.fromEntries(inputs.map(({ name, own }) => [name, own])),
    Object.fromEntries(graph.outputs.map(({ name }, i) => [name, at(outputs, i)])),
  );
}

/** Ops whose results are elements of their first input. */
const MOVES: ReadonlySet<string> = new Set<OpName>(['take', 'slice', 'split', 'reshape']);
