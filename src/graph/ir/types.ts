/**
 * The tensor graph: static, pure, immutable. A `Value` has a dtype and a shape known when it is built; a `Node`
 * computes one or more values from others; a `Graph` names inputs and outputs. No builder object: op functions take
 * values and return values, and a graph is whatever its outputs reach.
 */
import type { DType, HostTensor, Shape } from '../../core/index.js';

/** The dtype and shape of a value, which are known when the graph is built. */
export interface TensorType {
  readonly dtype: DType;
  /** The sizes of the dimensions, outermost first. */
  readonly shape: Shape;
}

/** Attributes of an op that has none. */
export type NoAttrs = Readonly<Record<never, never>>;

/** What an op takes and gives: attributes, inputs in order (optional ones last), outputs in order. */
export interface Signature<
  Attrs,
  Inputs extends readonly Value[],
  Outputs extends readonly Value[] = readonly [Value],
> {
  readonly attrs: Attrs;
  readonly inputs: Inputs;
  readonly outputs: Outputs;
}

/**
 * The signature of every op by its name. Each family of ops adds its own by declaration merging, beside their type
 * rules.
 */
export interface OpSignatures {
  /** A value that is handed in when the graph runs. */
  readonly input: Signature<{ readonly name: string; readonly dtype: DType; readonly shape: Shape }, readonly Value[]>;
  /** A tensor that is part of the graph. */
  readonly constant: Signature<{ readonly tensor: HostTensor }, readonly Value[]>;
  /** 0, 1, 2, ... along `axis`, the same along all others. */
  readonly iota: Signature<{ readonly dtype: DType; readonly shape: Shape; readonly axis: number }, readonly Value[]>;
}

/** The name of an op. Tables over ops are keyed by it, so that the compiler reports a missing entry. */
export type OpName = keyof OpSignatures;

/** The attributes of each op. */
export type OpAttrs = { readonly [K in OpName]: OpSignatures[K]['attrs'] };

/** How mixed precision computes an op: see `mixedPrecision`. */
export type Precision =
  /** In bf16, whatever dtypes its inputs have. */
  | 'bf16'
  /** In bf16 where all floating-point inputs are bf16 (or constants), else in f32. */
  | 'follows'
  /** In f32. */
  | 'f32'
  /** In f32, with results narrowed to bf16: they are activations. */
  | 'activations'
  /** The first three inputs (queries, keys, values) in bf16, the others (decays, betas, state) in f32. */
  | 'recurrence'
  /** As `follows`; results of rank 3 and more, which are activations, are narrowed to bf16. */
  | 'lookup'
  /** Left as it is. */
  | 'kept'
  /** Its body is computed in mixed precision. */
  | 'body';

/** How each element of an op's results comes from its inputs; what sharding and broadcasting follow. */
export type Locality =
  /** From the elements at the same place; no broadcasting. */
  | 'elementwise'
  /** From the elements at the same place, after inputs are broadcast by NumPy's rules. */
  | 'broadcasting'
  /** From the element at the place with its axes permuted. */
  | 'permutation'
  /** From a sum or maximum over whole axes. */
  | 'reduction'
  /** Output i is input i. */
  | 'identity'
  /** From no tensor of the same size: an input of the graph, a constant, a scalar repeated. */
  | 'source'
  /** From anywhere. */
  | 'any';

/**
 * What `simplify` may do: `merge` makes equal nodes one; `fold` also evaluates a node of constants; `keep` does
 * neither.
 */
export type Merging = 'fold' | 'merge' | 'keep';

/**
 * What every pass has to know of an op. There is one for each, beside its type rule; leaving a field out does not
 * compile.
 */
export interface OpDefinition<K extends OpName> {
  readonly op: K;
  /**
   * The type rule: dtypes and shapes of the outputs. Throws `ShapeError` or `DTypeError` that names the op and its
   * inputs.
   */
  infer(inputs: readonly TensorType[], attrs: OpSignatures[K]['attrs']): readonly TensorType[];
  readonly precision: Precision;
  readonly locality: Locality;
  readonly merging: Merging;
}

/** A node whose op is exactly `K`. */
export interface NodeOf<K extends OpName> {
  readonly op: K;
  readonly definition: OpDefinition<K>;
  readonly inputs: OpSignatures[K]['inputs'];
  readonly attrs: OpSignatures[K]['attrs'];
  readonly outputs: OpSignatures[K]['outputs'];
}

/** A node of any of the given ops: a union, so that a test of `node.op` narrows inputs, attributes and outputs. */
export type Node<K extends OpName = OpName> = { readonly [P in K]: NodeOf<P> }[K];

/** One result of a node. */
export interface Value extends TensorType {
  readonly node: Node;
  /** Which output of `node` this is. */
  readonly index: number;
}

/** A named input or output of a graph. */
export interface Port {
  readonly name: string;
  /** The value that the name stands for. */
  readonly value: Value;
}

/** Named inputs and outputs, with everything between them. */
export interface Graph {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Every node that the outputs need, and every input, in an order in which each follows what it uses. */
  readonly nodes: readonly Node[];
}
