/** What the checks on a device share. */
import { isFloat, type HostTensor } from '../../src/core/index.js';
import type { XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, Value } from '../../src/graph/index.js';
import { randomTensor } from '../support/random.js';

/** Gradients of random sums of the results, by the inputs that are floats. */
export function gradients(results: readonly Value[], inputs: readonly Value[], seed: string): readonly Value[] {
  const terms = results.flatMap((v, i): Value[] => {
    if (!isFloat(v.dtype)) return [];
    const weights = L.constant(randomTensor('f32', v.shape, `${seed}/w${i}`));
    return [L.reduceSum(L.mul(L.convert(v, 'f32'), weights))];
  });
  const wrt = inputs.filter((v) => isFloat(v.dtype));
  return L.grad(
    terms.reduce((a, b) => L.add(a, b)),
    wrt,
  );
}

/** Results of a graph, on the host. */
export async function runOn(
  engine: XlaEngine,
  graph: Graph,
  tensors: Readonly<Record<string, HostTensor>>,
): Promise<Record<string, HostTensor>> {
  const program = await engine.compile(graph);
  const inputs = Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, engine.upload(t)]));
  const outputs = await program.run(inputs);
  const host: Record<string, HostTensor> = {};
  for (const [name, t] of Object.entries(outputs)) host[name] = await engine.download(t);
  await program.dispose();
  return host;
}
