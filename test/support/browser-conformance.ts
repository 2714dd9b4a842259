/**
 * The conformance cases of the engine in browsers, run by a worker of a page: every op, forward and derivative, in
 * float32 on onnxruntime's WebAssembly against the reference engine in float64 arithmetic of the same worker.
 */
import * as ort from 'onnxruntime-web/wasm';
import { config as zod } from 'zod';
import { createWebOnnxEngine, evaluateReference, type Engine } from '../../src/engine/index.browser.js';
import { isFloat, type HostTensor } from '../../src/core/index.js';
import type { Graph, OpName } from '../../src/graph/index.js';
import { caseGraph, caseTensors, derivativeGraph, OP_CASES, type OpCase } from './cases.js';
import { expectClose, type Tolerance } from './compare.js';

zod({ jitless: true });

/** What the page asks of the worker. */
export interface Asked {
  /** Where onnxruntime's files lie, with a slash at its end. */
  readonly files: string;
  /** The file of WebAssembly there. */
  readonly wasm: string;
  readonly threads: number;
  /** How many cases of each op; all where it is null. */
  readonly most: number | null;
}

/** What the worker found. */
export interface Conformance {
  readonly library: string;
  readonly threads: number;
  /** Comparisons that were made. */
  readonly compared: number;
  /** Ops that were compared. */
  readonly ops: readonly string[];
  /** What is wrong, one sentence each. */
  readonly problems: readonly string[];
}

const FORWARD: Tolerance = { rtol: 1e-5, atol: 2e-6 };
const DERIVATIVE: Tolerance = { rtol: 2e-5, atol: 5e-6 };

async function compare(engine: Engine, graph: Graph, tensors: readonly HostTensor[], tolerance: Tolerance) {
  const program = await engine.compile(graph);
  const outputs = await program.run(Object.fromEntries(tensors.map((t, i) => [`in${i}`, engine.upload(t)])));
  const expected = evaluateReference(graph, Object.fromEntries(tensors.map((t, i) => [`in${i}`, t])));
  for (const { name } of graph.outputs) {
    const [output, truth] = [outputs[name], expected[name]];
    if (output === undefined || truth === undefined) throw new Error(`there is no output ${name}`);
    expectClose(await engine.download(output), truth, tolerance, name);
  }
  await program.dispose();
}

async function conformance({ files, wasm, threads, most }: Asked): Promise<Conformance> {
  ort.env.wasm.wasmPaths = { mjs: `${files}ort-wasm-simd-threaded.mjs`, wasm: `${files}${wasm}` };
  ort.env.wasm.numThreads = threads;
  const engine = createWebOnnxEngine(ort);
  const [problems, ops]: [string[], string[]] = [[], []];
  let compared = 0;
  for (const [op, all] of Object.entries(OP_CASES) as [OpName, readonly OpCase[]][]) {
    ops.push(op);
    for (const c of all.slice(0, most ?? all.length)) {
      if (c.derivativeOf !== undefined) continue;
      const tensors = caseTensors(c, op, 'f32');
      const graphs: [string, () => Graph, Tolerance][] = [['', () => caseGraph(c, tensors, 'f32'), FORWARD]];
      if (c.noGradient === undefined && tensors.some((t) => isFloat(t.dtype)))
        graphs.push([', derivative', () => derivativeGraph(c, op, tensors), DERIVATIVE]);
      for (const [what, graph, tolerance] of graphs) {
        try {
          await compare(engine, graph(), tensors, tolerance);
        } catch (error) {
          problems.push(`${op}: ${c.name}${what}: ${error instanceof Error ? error.message : String(error)}`);
        }
        compared++;
      }
    }
  }
  return { library: engine.info.library, threads: engine.info.threads, compared, ops, problems };
}

/** What workers of browsers have, of which Node's types do not tell. */
declare const self: {
  onmessage: (event: { readonly data: Asked }) => void;
  readonly postMessage: (answer: Conformance | { readonly failed: string }) => void;
};

self.onmessage = ({ data }) => {
  void conformance(data).then(
    (found) => self.postMessage(found),
    (error: unknown) => self.postMessage({ failed: String(error) }),
  );
};
