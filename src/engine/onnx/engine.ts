/**
 * The onnx engine: graphs as ONNX models on onnxruntime's CPU kernels. Inputs are read in place and donated
 * inputs give their memory to the output that takes their place, so parameters and optimizer state are never copied:
 * each executable keeps one spare buffer per donated tensor and swaps.
 */
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import type * as Ort from 'onnxruntime-node';
import { entry, got, ConfigError, EngineError, allocate, messageOf, sizeOf, type HostArray } from '../../core/index.js';
import type { Graph } from '../../graph/index.js';
import { checkDonation, checkInputs } from '../contract/check.js';
import type { CompileOptions, Engine, EngineInfo, Executable, TensorMap } from '../contract/engine.js';
import { RAN_OUTPUT, STOP_OUTPUT, lowerToOnnx, type LoweredGraph } from './lower.js';
import { usesOf } from './rules.js';
import { commonOptions, ORT_TYPES } from './session.js';
import { HOST_MEMORY, notTaken, OnnxTensor, ownTensor, runFailed } from './tensor.js';

const require = createRequire(import.meta.url);

/**
 * How onnxruntime is installed where its install script cannot reach the host of its CUDA files, which this engine does
 * not use.
 */
const INSTALL = 'npm install onnxruntime-node --onnxruntime-node-install=skip';

/** What says that the package or its library cannot be used. */
function notUsable(cause: unknown): EngineError {
  const missing = (cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
  const what = missing ? 'onnxruntime-node is not installed' : `onnxruntime-node does not load: ${messageOf(cause)}`;
  return new EngineError(
    `the onnx engine cannot be used: ${what}; install it with "${INSTALL}", or choose another engine (--engine)`,
    { cause },
  );
}

/** Looks whether onnxruntime is installed. Throws `EngineError` if it is not. */
export function checkOnnxruntime(): void {
  try {
    require.resolve('onnxruntime-node');
  } catch (cause) {
    throw notUsable(cause);
  }
}

/**
 * Onnxruntime's binding, loaded when an engine is made: its native library is large. From 1.30 on it gathers usage data
 * in the user's cache folder and sends them to its maker unless a variable says no, which it does here unless the user
 * has set it.
 *
 * @throws EngineError if the package or its library is missing
 */
function onnxruntime(): typeof Ort {
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
  try {
    return require('onnxruntime-node') as typeof Ort;
  } catch (cause) {
    throw notUsable(cause);
  }
}

/** How the onnxruntime engine is created. */
export interface OnnxOptions {
  /** Worker threads of one operation (default: all cores). */
  readonly threads?: number;
  /** Why this engine was taken; stored with runs. */
  readonly reason?: string;
  /** Write onnxruntime's per-node profile to files with this prefix. */
  readonly profile?: string;
}

/** A view for onnxruntime on the same memory. */
const viewOf = ({ dtype, data, shape }: OnnxTensor): Ort.Tensor =>
  new (onnxruntime().Tensor)(ORT_TYPES[dtype], data, [...shape]);

/** What the Node binding says of an output that is a list. */
const STOPPED = 'Non tensor type is temporarily not supported';

/**
 * Runs a session into the memory of `fetches`. The binding would copy every output to new memory too, the whole
 * training state in each step: `STOP_OUTPUT` has it fail before the first copy, when all outputs are written.
 * `RAN_OUTPUT` proves that they are: another version of the binding that fails before it computes is found out.
 */
async function runInPlace(
  session: Ort.InferenceSession,
  feeds: Record<string, Ort.Tensor>,
  fetches: Record<string, Ort.Tensor>,
): Promise<void> {
  const ran = new Uint8Array(1);
  const flag = new (onnxruntime().Tensor)('bool', ran, [1]);
  try {
    await session.run(feeds, { ...fetches, [STOP_OUTPUT]: null, [RAN_OUTPUT]: flag });
  } catch (cause) {
    if (!messageOf(cause).includes(STOPPED) || ran[0] !== 1) throw runFailed(cause);
  }
}

/**
 * Outputs that may be written into the memory of their donated input: caches which nothing else reads. onnxruntime then
 * writes the new rows in place instead of copying first (a cache of keys grows by one row in no time).
 */
function inPlaceOutputs(graph: Graph, donate: Readonly<Record<string, string>>): ReadonlySet<string> {
  const uses = usesOf(graph);
  const inputs = new Map(graph.inputs.map((p) => [p.name, p.value]));
  const outputs = new Map(graph.outputs.map((p) => [p.name, p.value]));
  const fits = ([from, to]: readonly [string, string]): boolean => {
    const [before, after] = [inputs.get(from), outputs.get(to)];
    if (before === undefined || after?.node.op !== 'cacheWrite') return false;
    return after.node.inputs[0] === before && uses.get(before) === 1;
  };
  return new Set(
    Object.entries(donate)
      .filter(fits)
      .map(([, to]) => to),
  );
}

class OnnxExecutable implements Executable {
  #session: Ort.InferenceSession | null;
  /** Memory for the outputs of donated inputs, by output name. */
  readonly #spare = new Map<string, HostArray>();
  readonly #donated: ReadonlyMap<string, string>;
  /** Output name to the donated input in whose memory it is written. */
  readonly #inPlace: ReadonlyMap<string, string>;

  constructor(
    readonly graph: Graph,
    session: Ort.InferenceSession,
    private readonly lowered: LoweredGraph,
    donate: Readonly<Record<string, string>>,
  ) {
    this.#session = session;
    this.#donated = new Map(Object.entries(donate));
    const inPlace = inPlaceOutputs(graph, donate);
    this.#inPlace = new Map([...this.#donated].filter(([, to]) => inPlace.has(to)).map(([from, to]) => [to, from]));
  }

  async run(inputs: TensorMap): Promise<TensorMap> {
    if (!this.#session) throw new EngineError('onnx: this program was disposed of');
    checkInputs('onnx', this.graph, inputs);
    const feeds: Record<string, Ort.Tensor> = {};
    for (const [name, own] of this.lowered.inputNames)
      feeds[own] = viewOf(ownTensor(entry(inputs, name), `input "${name}"`));
    const fetches: Record<string, Ort.Tensor> = {};
    const results: Record<string, OnnxTensor> = {};
    for (const { name, value } of this.graph.outputs) {
      const source = this.#inPlace.get(name);
      const given = source === undefined ? this.#spare.get(name) : (inputs[source] as OnnxTensor).data;
      const data = given ?? allocate(value.dtype, sizeOf(value.shape));
      const tensor = new OnnxTensor(value.dtype, value.shape, data);
      results[name] = tensor;
      fetches[got(this.lowered.outputNames, name)] = viewOf(tensor);
    }
    // Whatever happens, what is written over is gone.
    for (const from of this.#inPlace.values()) (inputs[from] as OnnxTensor).consumed = true;
    await runInPlace(this.#session, feeds, fetches);
    for (const [from, to] of this.#donated) {
      const tensor = inputs[from] as OnnxTensor;
      tensor.consumed = true;
      if (!this.#inPlace.has(to)) this.#spare.set(to, tensor.data);
    }
    return results;
  }

  async dispose(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    this.#spare.clear();
    await session?.release();
  }
}

function sessionOptions(
  threads: number,
  profile: string | undefined,
  graph: Graph,
): Ort.InferenceSession.SessionOptions {
  return {
    ...commonOptions(graph),
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    ...(profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: profile }),
  };
}

/** The number of threads to use and why. Throws `ConfigError` for anything but a whole number >= 1. */
function chooseThreads(asked: number | undefined): { threads: number; why: string } {
  if (asked === undefined) {
    const cores = availableParallelism();
    return { threads: cores, why: `${cores} threads, one for each core` };
  }
  if (!Number.isInteger(asked) || asked < 1) throw new ConfigError(`threads must be a whole number >= 1, got ${asked}`);
  return { threads: asked, why: `${asked} thread${asked === 1 ? '' : 's'}, as asked` };
}

/** Elements of a megabyte of moments: the passes of an optimizer over so many stay in the cache. */
const MOMENT_ELEMENTS = 2 ** 18;

/** The engine on onnxruntime's CPU kernels: float32 (and most of float64). */
export function createOnnxEngine(options: OnnxOptions = {}): Engine {
  const { threads, why } = chooseThreads(options.threads);
  const ort = onnxruntime();
  const info: EngineInfo = {
    name: 'onnx',
    library: `onnxruntime-node ${ort.env.versions.node ?? ort.env.versions.common}`,
    threads,
    reason: `${options.reason ?? 'asked for'}; ${why}`,
  };
  return {
    info,
    hints: { runsAhead: 1, momentElements: MOMENT_ELEMENTS },
    compile: async (graph, compileOptions: CompileOptions = {}) => {
      checkDonation(graph, compileOptions);
      const lowered = lowerToOnnx(graph, compileOptions.donate);
      try {
        const session = await ort.InferenceSession.create(
          lowered.model,
          sessionOptions(threads, options.profile, graph),
        );
        return new OnnxExecutable(graph, session, lowered, compileOptions.donate ?? {});
      } catch (cause) {
        throw notTaken(cause);
      }
    },
    ...HOST_MEMORY,
  };
}
