/** Programs that are kept when they are given back, for the next one that asks for the same. */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../core/index.js';
import type { Graph, Value } from '../graph/index.js';
import type { CompileOptions, Engine, Executable } from './contract/engine.js';

/** Programs that nobody uses and that are kept, at most. */
const MOST_KEPT = 64;

const isGraph = (x: unknown): x is Graph => typeof x === 'object' && x !== null && 'nodes' in x && 'outputs' in x;

/**
 * What tells graphs apart, SHA-256: two graphs with the same key are made of the same ops on the same constants, with
 * the same names of inputs and outputs, and are compiled with the same options.
 */
export function graphKey(graph: Graph, options: CompileOptions = {}): string {
  const hash = createHash('sha256');
  hash.update(canonicalJson(options));
  addGraph(graph, (text) => hash.update(text));
  return hash.digest('hex');
}

function addGraph(graph: Graph, add: (text: string) => void): void {
  const places = new Map<Value, number>();
  for (const node of graph.nodes) {
    for (const value of node.outputs) places.set(value, places.size);
    const inputs = node.inputs.map((value) => places.get(value) ?? -1);
    add(
      `\n${node.op}(${inputs.join()})${node.outputs.map(({ dtype, shape }) => `:${dtype}[${shape.join()}]`).join('')}`,
    );
    for (const [name, attr] of Object.entries(node.attrs)) {
      add(` ${name}=`);
      if (!isGraph(attr)) add(canonicalJson(attr));
      else {
        add('{');
        addGraph(attr, add);
        add('}');
      }
    }
  }
  const ports = (list: Graph['inputs']) => list.map(({ name, value }) => [name, places.get(value) ?? -1]);
  add(canonicalJson([ports(graph.inputs), ports(graph.outputs)]));
}

/** What is kept of programs that are given back: many of any kind, or those of work that is repeated as it was. */
export type KeptPrograms = 'many' | 'alike';

/**
 * The same engine, except that a program that is disposed of is kept, and given to the next that compiles the same
 * graph with the same options. A program is in one pair of hands at a time.
 *
 * `many` is for work that compiles again and again, such as analyses of checkpoint after checkpoint: up to `most` are
 * kept, whatever else is compiled. Engines that hold memory for every program, those on the host that take one run at a
 * time, are given back as they are. `alike` is for runs one after another, on any engine: as soon as something is
 * compiled that is not kept, everything that is kept goes, so that a run of another design finds the memory free.
 *
 * Whoever made the engine disposes of it, with the programs that are kept.
 */
export function keepingPrograms(engine: Engine, what: KeptPrograms = 'many', most = MOST_KEPT): Engine {
  if (engine.hints.runsAhead === 1 && what === 'many') return engine;
  /** Programs in nobody's hands, the longest kept first. */
  const kept: { readonly key: string; readonly program: Executable }[] = [];
  const drop = async (left: number) => {
    while (kept.length > left) await kept.shift()?.program.dispose();
  };
  return {
    info: engine.info,
    hints: engine.hints,
    ...(engine.kernels === undefined ? {} : { kernels: engine.kernels }),
    compile: async (graph, options) => {
      const key = graphKey(graph, options);
      const index = kept.findIndex((entry) => entry.key === key);
      const found = kept.splice(index, index < 0 ? 0 : 1)[0]?.program;
      if (found === undefined && what === 'alike') await drop(0);
      const program = found ?? (await engine.compile(graph, options));
      let held = true;
      return {
        graph,
        run: (inputs) => program.run(inputs),
        dispose: async () => {
          if (!held) return;
          held = false;
          kept.push({ key, program });
          await drop(most);
        },
      };
    },
    upload: (tensor, sharding) => engine.upload(tensor, sharding),
    download: (tensor) => engine.download(tensor),
    ...(engine.release === undefined ? {} : { release: (tensor) => engine.release?.(tensor) }),
    ...(engine.clear === undefined ? {} : { clear: () => engine.clear?.() }),
    ...(engine.atWork === undefined ? {} : { atWork: engine.atWork.bind(engine) }),
    ...(engine.shareStop === undefined ? {} : { shareStop: engine.shareStop.bind(engine) }),
    ...(engine.exchange === undefined ? {} : { exchange: engine.exchange.bind(engine) }),
    dispose: async () => {
      await drop(0);
      await engine.dispose();
    },
  };
}
