/** Checks that engines share. */
import { EngineError, formatShape, sameShape } from '../../core/index.js';
import type { Graph } from '../../graph/index.js';
import type { CompileOptions, DeviceTensor, TensorMap } from './engine.js';

const show = (t: Pick<DeviceTensor, 'dtype' | 'shape'>): string => `${t.dtype}${formatShape(t.shape)}`;

/** Throws `EngineError` unless `inputs` are exactly what the graph takes. */
export function checkInputs(engine: string, graph: Graph, inputs: TensorMap): void {
  for (const { name, value } of graph.inputs) {
    const t = inputs[name];
    if (!t) throw new EngineError(`${engine}: input "${name}" (${show(value)}) is missing`);
    if (t.engine !== engine)
      throw new EngineError(`${engine}: input "${name}" belongs to engine ${t.engine}; upload it here`);
    if (t.dtype !== value.dtype || !sameShape(t.shape, value.shape)) {
      throw new EngineError(`${engine}: input "${name}" must be ${show(value)}, got ${show(t)}`);
    }
  }
  const given = Object.keys(inputs);
  // All that the graph takes is there: as many are no others.
  if (given.length === graph.inputs.length) return;
  const known = new Set(graph.inputs.map((p) => p.name));
  for (const name of given) {
    if (!known.has(name)) throw new EngineError(`${engine}: the graph has no input "${name}"`);
  }
}

/** Throws `EngineError` unless each donated input fits its output and no output is given twice. */
export function checkDonation(graph: Graph, { donate = {} }: CompileOptions): void {
  const inputs = new Map(graph.inputs.map((p) => [p.name, p.value]));
  const outputs = new Map(graph.outputs.map((p) => [p.name, p.value]));
  const taken = new Set<string>();
  for (const [from, to] of Object.entries(donate)) {
    const [a, b] = [inputs.get(from), outputs.get(to)];
    if (!a || !b) throw new EngineError(`cannot donate "${from}" to "${to}": no such ${a ? 'output' : 'input'}`);
    if (a.dtype !== b.dtype || !sameShape(a.shape, b.shape)) {
      throw new EngineError(`cannot donate "${from}" (${show(a)}) to "${to}" (${show(b)}): they differ`);
    }
    if (taken.has(to)) throw new EngineError(`output "${to}" is given two donated inputs`);
    taken.add(to);
  }
}
