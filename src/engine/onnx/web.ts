/**
 * The onnx engine in browsers: the models of the Node engine on onnxruntime's WebAssembly kernels. Tensors are arrays
 * of the page; what a program takes is copied into the memory of WebAssembly and what it gives out of it, every run.
 */
import type * as Ort from 'onnxruntime-web/wasm';
import { EngineError, entry, got, type HostArray } from '../../core/index.js';
import type { Graph } from '../../graph/index.js';
import { checkDonation, checkInputs } from '../contract/check.js';
import type { CompileOptions, Engine, Executable, TensorMap } from '../contract/engine.js';
import { lowerToOnnx, type LoweredGraph } from './lower.js';
import { commonOptions, ORT_TYPES } from './session.js';
import { HOST_MEMORY, notTaken, OnnxTensor, ownTensor, runFailed } from './tensor.js';

/** What the engine takes of the package `onnxruntime-web`, whose settings and files are its caller's affair. */
export type WebRuntime = Pick<typeof Ort, 'InferenceSession' | 'Tensor' | 'env'>;

class WebExecutable implements Executable {
  #session: Ort.InferenceSession | null;

  constructor(
    private readonly ort: WebRuntime,
    readonly graph: Graph,
    session: Ort.InferenceSession,
    private readonly lowered: LoweredGraph,
    private readonly donated: readonly string[],
  ) {
    this.#session = session;
  }

  async run(inputs: TensorMap): Promise<TensorMap> {
    if (this.#session === null) throw new EngineError('onnx: this program was disposed of');
    checkInputs('onnx', this.graph, inputs);
    const feeds: Record<string, Ort.Tensor> = {};
    for (const [name, own] of this.lowered.inputNames) {
      const { dtype, data, shape } = ownTensor(entry(inputs, name), `input "${name}"`);
      feeds[own] = new this.ort.Tensor(ORT_TYPES[dtype], data, [...shape]);
    }
    const outputs = await this.#session.run(feeds).catch((cause: unknown) => {
      throw runFailed(cause);
    });
    for (const name of this.donated) ownTensor(entry(inputs, name), `input "${name}"`).consumed = true;
    return Object.fromEntries(
      this.graph.outputs.map(({ name, value: { dtype, shape } }) => {
        const { data } = entry(outputs, got(this.lowered.outputNames, name));
        return [name, new OnnxTensor(dtype, shape, data as HostArray)];
      }),
    );
  }

  async dispose(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.release();
  }
}

/**
 * The engine on onnxruntime's WebAssembly kernels. `ort.env.wasm` says where its files are and how many threads it has,
 * before the first program is compiled.
 */
export function createWebOnnxEngine(ort: WebRuntime): Engine {
  const threads = ort.env.wasm.numThreads ?? 1;
  return {
    info: {
      ...{ name: 'onnx', library: `onnxruntime-web ${ort.env.versions.web ?? ort.env.versions.common}`, threads },
      reason: `the engine of browsers; ${threads} thread${threads === 1 ? '' : 's'} of WebAssembly`,
    },
    hints: { runsAhead: 1 },
    compile: async (graph, compileOptions: CompileOptions = {}) => {
      checkDonation(graph, compileOptions);
      const { donate = {} } = compileOptions;
      const lowered = lowerToOnnx(graph, donate, { stops: false, recomputes: false });
      try {
        const options = { ...commonOptions(graph), executionProviders: ['wasm'] };
        const session = await ort.InferenceSession.create(lowered.model, options);
        return new WebExecutable(ort, graph, session, lowered, Object.keys(donate));
      } catch (cause) {
        throw notTaken(cause);
      }
    },
    ...HOST_MEMORY,
  };
}
