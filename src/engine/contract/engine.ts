/** What every engine offers. Nothing above this folder knows which engine runs. */
import type { DType, HostTensor, Shape } from '../../core/index.js';
import type { Graph } from '../../graph/index.js';

/** What an engine is, as runs record it. */
export interface EngineInfo {
  /** `reference`, `onnx`, ... */
  readonly name: string;
  /** The library that computes, with its version. */
  readonly library: string;
  /** Worker threads of one operation. */
  readonly threads: number;
  /** Why this engine with these settings was taken; printed and stored with a run. */
  readonly reason: string;
  /** The devices that it computes on, where there are several. */
  readonly mesh?: MeshShape;
}

/** A tensor that an engine holds. Plain data for the caller: only the engine that made it can read it. */
export interface DeviceTensor {
  readonly engine: string;
  readonly dtype: DType;
  /** The sizes of the dimensions, outermost first. */
  readonly shape: Shape;
}

/** An axis of a device mesh: `data` replicates parameters, `fsdp` shards them too, `tensor` shards the products. */
export type MeshAxis = 'data' | 'fsdp' | 'tensor';

/** Devices along each axis; 1 if left out. */
export type MeshShape = Readonly<Partial<Record<MeshAxis, number>>>;

/** Per axis of a tensor, the mesh axes that it is sharded over; axes without an entry are not sharded. */
export type Sharding = readonly (readonly MeshAxis[])[];

/** How a graph is compiled. */
export interface CompileOptions {
  /**
   * Input name -> output name of the same dtype and shape. A donated input is consumed by `run`: the engine may reuse
   * its memory for that output, and using it again throws `EngineError`.
   */
  readonly donate?: Readonly<Record<string, string>>;
  /**
   * The shardings of inputs and outputs on the engine's device mesh, by name. Inputs that it does not name keep their
   * sharding, other outputs are replicated. A donated input and its output have the same sharding. Engines on one
   * device ignore it.
   */
  readonly shardings?: Readonly<Record<string, Sharding>>;
}

/** Tensors on an engine, by name. */
export type TensorMap = Readonly<Record<string, DeviceTensor>>;

/** A compiled graph. */
export interface Executable {
  readonly graph: Graph;
  /**
   * Computes every output. Throws `EngineError` naming an input that is missing, unknown, consumed, or of another dtype
   * or shape. Calls must not overlap.
   */
  run(inputs: TensorMap): Promise<TensorMap>;
  /** Frees what the engine holds for this program; using it afterwards throws. Twice is allowed. */
  dispose(): Promise<void>;
}

/** What a kernel of an engine takes, or why it takes nothing here. */
export interface KernelSupport {
  readonly name: string;
  /** The ops that it takes, with its limits; null if it cannot be used here. */
  readonly takes: string | null;
  readonly whyNot: string | null;
}

/** How an engine likes its graphs; results do not depend on it. */
export interface EngineHints {
  /**
   * Up to this many elements optimizer moments are better kept together in one tensor, above it in several: 0 for each
   * parameter's own, left out if all in one is best.
   */
  readonly momentElements?: number;
  /**
   * How many runs to have under way before the numbers of the first are read: the device works on while the host
   * prepares the next ones. 1 where `run` returns only when it has computed.
   */
  readonly runsAhead: number;
  /** Whether it computes on a device beside the host, on which bfloat16 is much faster than float32. */
  readonly accelerator?: boolean;
  /** The dtype of products and activations where it is not that of the graphs; states may be kept in it. */
  readonly activations?: 'bf16';
}

/**
 * How the processes of several hosts stop a run after the same step, whichever of them are asked to. Every process
 * makes one for the same run.
 */
export interface SharedStop {
  /** Asks that all stop soon; any number of times. */
  ask(): void;
  /**
   * Whether this process may start a step; false where all stop before it. Steps are asked for in order. Waits where
   * it is ahead of the others.
   *
   * @throws EngineError where another process is lost
   */
  goesOn(step: number): Promise<boolean>;
  /**
   * Waits, after the last step, until all processes know that it is the last.
   *
   * @throws EngineError where another process is lost
   */
  finish(): Promise<void>;
}

/**
 * Compiles graphs, runs them, and holds their tensors: onnxruntime on CPUs, XLA on accelerators, or the float64
 * reference.
 */
export interface Engine {
  readonly info: EngineInfo;
  readonly hints: EngineHints;
  /** Kernels of its own beside those of its library, each with what it takes; left out by engines without any. */
  readonly kernels?: readonly KernelSupport[];
  /** Throws `UnsupportedOpError` (op, dtypes, engine) where the engine cannot do an op. */
  compile(graph: Graph, options?: CompileOptions): Promise<Executable>;
  /**
   * Takes the tensor over; the caller must not change its data afterwards. On a mesh it has the sharding `sharding`, or
   * else the one that the first program which takes it wants. Engines on one device ignore `sharding`.
   */
  upload(tensor: HostTensor, sharding?: Sharding): DeviceTensor;
  /** A copy of the tensor on the host. */
  download(tensor: DeviceTensor): Promise<HostTensor>;
  /**
   * Frees a tensor's memory as soon as what was started with it is done, instead of when it is garbage; not on every
   * engine.
   */
  release?(tensor: DeviceTensor): void;
  /**
   * Frees the memory of every tensor at once; programs stay. For between two pieces of work of which the second takes
   * no tensor of the first. Left out by engines whose tensors are garbage like any other.
   */
  clear?(): void;
  /**
   * Says that work begins which processes of several hosts do together, or that it is done. A process whose engine is
   * disposed before it is done is lost to the others, which end then. Left out by engines of one process.
   */
  atWork?(isAtWork: boolean): void;
  /**
   * Makes what a run of steps `from + 1` to `to` stops by where processes of several hosts do it together. Left out by
   * engines of one process.
   */
  shareStop?(from: number, to: number): SharedStop;
  /**
   * Tells the other processes of several hosts a few words and returns what each has told, by node, once all have. Left
   * out by engines of one process.
   *
   * @throws EngineError where another process is lost
   */
  exchange?(text: string): Promise<readonly string[]>;
  dispose(): Promise<void>;
}
