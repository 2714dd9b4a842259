/**
 * The reference engine: every op as plain float64 loops, rounded to its dtype only at the outputs. It exists to be
 * right.
 */
import { entry, at, EngineError, type DType, type HostTensor, type Shape } from '../../core/index.js';
import type { Evaluate, Graph } from '../../graph/index.js';
import { checkDonation, checkInputs } from '../contract/check.js';
import type { CompileOptions, DeviceTensor, Engine, EngineInfo, Executable, TensorMap } from '../contract/engine.js';
import { fromHost, toHost, type NumberArray } from './array.js';
import { evaluateGraph, evaluateNode } from './rules.js';

class ReferenceTensor implements DeviceTensor {
  readonly engine = 'reference';
  consumed = false;
  constructor(
    readonly dtype: DType,
    readonly shape: Shape,
    readonly array: NumberArray,
  ) {}
}

function arrayOf(t: DeviceTensor, what: string): NumberArray {
  if (!(t instanceof ReferenceTensor)) throw new EngineError(`reference: ${what} belongs to engine ${t.engine}`);
  if (t.consumed)
    throw new EngineError(`reference: ${what} was donated to an earlier run; keep the output that took its place`);
  return t.array;
}

class ReferenceExecutable implements Executable {
  #disposed = false;
  constructor(
    readonly graph: Graph,
    private readonly options: CompileOptions,
  ) {}

  async run(inputs: TensorMap): Promise<TensorMap> {
    if (this.#disposed) throw new EngineError('reference: this program was disposed of');
    checkInputs('reference', this.graph, inputs);
    const arrays = this.graph.inputs.map(({ name }) => arrayOf(entry(inputs, name), `input "${name}"`));
    const results = evaluateGraph(this.graph, arrays);
    for (const name of Object.keys(this.options.donate ?? {})) (inputs[name] as ReferenceTensor).consumed = true;
    return Object.fromEntries(
      this.graph.outputs.map(({ name, value }, i) => [
        name,
        new ReferenceTensor(value.dtype, value.shape, fromHost(toHost(at(results, i), value.dtype))),
      ]),
    );
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
  }
}

/** An engine that computes in float64 with plain loops, on one thread; thousands of times slower than the others. */
export function createReferenceEngine(reason = 'asked for'): Engine {
  const info: EngineInfo = { name: 'reference', library: 'plain TypeScript, float64', threads: 1, reason };
  return {
    info,
    hints: { runsAhead: 1 },
    compile: async (graph, options = {}) => {
      checkDonation(graph, options);
      return new ReferenceExecutable(graph, options);
    },
    upload: (tensor) => new ReferenceTensor(tensor.dtype, tensor.shape, fromHost(tensor)),
    download: async (t) => toHost(arrayOf(t, 'the tensor'), t.dtype),
    dispose: async () => {},
  };
}

/** Folds constants by the reference rules; for `simplify`. */
export const evaluateConstant: Evaluate = (node, inputs) => {
  const results = evaluateNode(node, inputs.map(fromHost));
  return results.map((r, i) => toHost(r, at(node.outputs, i).dtype));
};

/** Runs a graph once on host tensors by the reference rules, in float64 throughout. */
export function evaluateReference(
  graph: Graph,
  inputs: Readonly<Record<string, HostTensor>>,
): Record<string, HostTensor> {
  const arrays = graph.inputs.map(({ name }) => {
    const t = inputs[name];
    if (!t) throw new EngineError(`reference: input "${name}" is missing`);
    return fromHost(t);
  });
  const results = evaluateGraph(graph, arrays);
  return Object.fromEntries(graph.outputs.map(({ name, value }, i) => [name, toHost(at(results, i), value.dtype)]));
}
