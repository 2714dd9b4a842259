/** Collects ONNX nodes for one graph (or the body of a Scan) and gives names to values. */
import {
  at,
  toBase64,
  UnsupportedOpError,
  tensorFrom,
  type DType,
  type HostTensor,
  type Shape,
} from '../../core/index.js';
import type { Node, OpName, Value } from '../../graph/index.js';
import {
  heldType,
  ONNX_TYPES,
  rawBytes,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxNode,
  type OnnxPort,
  type OnnxTensor,
  type OnnxType,
} from './proto.js';

/** The name of a value in an ONNX graph. */
export type Name = string;
type Attributes = Readonly<Record<string, OnnxAttribute>>;

/** A counter of names that a graph shares with the bodies inside it: ONNX wants names unique across both. */
export interface Names {
  /** The number of the next name. */
  next: number;
}

/** Builds an ONNX graph: nodes, initializers, and a name for each value of the lowered graph. */
export class OnnxBuilder {
  readonly #nodes: OnnxNode[] = [];
  /** Nodes on weights alone, which come before all others. */
  readonly #early: OnnxNode[] = [];
  readonly #weights = new Set<Name>();
  readonly #initializers: OnnxTensor[] = [];
  readonly #constantNames = new Set<Name>();
  readonly #constants = new Map<string, Name>();
  readonly #values = new Map<Value, Name | (() => Name)>();
  readonly #reshaped = new Map<string, Name>();
  readonly #transposed = new Map<string, Name>();

  constructor(
    /** How often each value of the graph is used, outputs included. */
    readonly uses: ReadonlyMap<Value, number>,
    private readonly names: Names = { next: 0 },
  ) {}

  fresh(): Name {
    return `v${this.names.next++}`;
  }

  /** A builder for a body, which may use this builder's names. */
  body(uses: ReadonlyMap<Value, number>): OnnxBuilder {
    return new OnnxBuilder(uses, this.names);
  }

  /** The name of a graph value. */
  of(value: Value): Name {
    const found = this.#values.get(value);
    if (found === undefined) throw new Error(`value of ${value.node.op} has no ONNX name yet`);
    if (typeof found === 'string') return found;
    const name = found();
    this.#values.set(value, name);
    return name;
  }

  has(value: Value): boolean {
    return this.#values.has(value);
  }

  /** Gives a value its name, or what makes its nodes once something asks for the name. */
  bind(value: Value, name: Name | (() => Name)): void {
    this.#values.set(value, name);
  }

  /** Adds a node with one output. */
  op(op: string, inputs: readonly Name[], attributes: Attributes = {}, domain = ''): Name {
    return at(this.ops(op, inputs, 1, attributes, domain), 0);
  }

  /** Adds a node with several outputs. */
  ops(op: string, inputs: readonly Name[], count: number, attributes: Attributes = {}, domain = ''): Name[] {
    const outputs = Array.from({ length: count }, () => this.fresh());
    this.push({ op, domain, inputs, outputs, attributes });
    return outputs;
  }

  /** Adds a node whose outputs are named already. */
  push(node: OnnxNode): void {
    const isEarly =
      node.inputs.some((name) => this.#weights.has(name)) &&
      node.inputs.every((name) => this.#weights.has(name) || this.#constantNames.has(name));
    if (isEarly) node.outputs.forEach((name) => this.#weights.add(name));
    (isEarly ? this.#early : this.#nodes).push(node);
  }

  /**
   * Has what is computed from this input, and others that are named so, stand before all other nodes. onnxruntime runs
   * what a node needs from its last to its first: a conversion of weights then runs right before the product that needs
   * it, and not with all others at the beginning.
   */
  markWeight(name: Name): void {
    this.#weights.add(name);
  }

  /** A constant; equal small ones are shared. */
  constant(type: OnnxType, dims: readonly number[], raw: Uint8Array): Name {
    const key = raw.byteLength <= 1024 ? `${type}[${dims.join(',')}]${toBase64(raw)}` : null;
    const old = key === null ? undefined : this.#constants.get(key);
    if (old !== undefined) return old;
    const name = this.fresh();
    this.#initializers.push({ name, type, dims, raw });
    this.#constantNames.add(name);
    if (key !== null) this.#constants.set(key, name);
    return name;
  }

  tensor(t: HostTensor): Name {
    return this.constant(heldType(t.dtype), t.shape, rawBytes(t));
  }

  /** A scalar or list of the dtype. */
  numbers(dtype: DType, shape: Shape, values: ArrayLike<number>): Name {
    return this.tensor(tensorFrom(dtype, shape, values));
  }

  /** An i64 list (shapes, axes, ...). */
  ints(values: readonly number[]): Name {
    const data = BigInt64Array.from(values, BigInt);
    return this.constant('i64', [values.length], new Uint8Array(data.buffer));
  }

  /** Free of cost; equal ones are shared. */
  reshape(x: Name, shape: Shape): Name {
    const key = `${x}:${shape.join(',')}`;
    const name = this.#reshaped.get(key) ?? this.op('Reshape', [x, this.ints(shape)], { allowzero: 1 });
    this.#reshaped.set(key, name);
    return name;
  }

  /** Moves data; equal ones are shared. */
  transpose(x: Name, perm: readonly number[]): Name {
    const key = `${x}:${perm.join(',')}`;
    const name = this.#transposed.get(key) ?? this.op('Transpose', [x], { perm: [...perm] });
    this.#transposed.set(key, name);
    return name;
  }

  cast(x: Name, type: number): Name {
    return this.op('Cast', [x], { to: type });
  }

  /** Elements of a dtype as they are held, in another one; of bf16 that means its bits. */
  convert(x: Name, from: DType, to: DType): Name {
    const own = from === 'bf16' ? this.op('BitCast', [x], { to: ONNX_TYPES.bf16 }) : x;
    return this.cast(own, ONNX_TYPES[to]);
  }

  /**
   * The finished graph. A value that a node of this graph computes takes the name of the output that it is; one that is
   * an input, a constant or an output already is copied by an Identity.
   */
  finish(
    name: string,
    inputs: readonly OnnxPort[],
    outputs: readonly { readonly port: OnnxPort; readonly from: Name }[],
  ): OnnxGraph {
    const all = [...this.#early, ...this.#nodes];
    const computed = new Set(all.flatMap((node) => node.outputs));
    const renamed = new Map<Name, Name>();
    const copies: OnnxNode[] = [];
    for (const { port, from } of outputs) {
      if (computed.has(from) && !renamed.has(from)) renamed.set(from, port.name);
      else copies.push({ op: 'Identity', domain: '', inputs: [from], outputs: [port.name], attributes: {} });
    }
    const rename = (names: readonly Name[]): Name[] => names.map((n) => renamed.get(n) ?? n);
    const nodes = [...all, ...copies].map((node) => ({
      ...node,
      inputs: rename(node.inputs),
      outputs: rename(node.outputs),
    }));
    return { name, nodes, initializers: this.#initializers, inputs, outputs: outputs.map((o) => o.port) };
  }
}

/** The error for an op that onnxruntime's CPU kernels lack for these dtypes. */
export function unsupported(node: Node<OpName>, why: string): UnsupportedOpError {
  const dtypes = node.inputs.map((v) => v.dtype).join(', ');
  return new UnsupportedOpError(`onnx cannot do ${node.op}(${dtypes}): ${why}`, {
    details: { op: node.op, engine: 'onnx' },
  });
}
