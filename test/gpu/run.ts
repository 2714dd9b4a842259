/** What the checks on a device share. */
import { isFloat, type HostTensor } from '../../src/core/index.js';
import type { XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, Value } from '../../src/graph/index.js';
import { randomTensor } from '../support/random.js';

/** Programs that are compiled beside one another: as many threads as Node has for such calls. */
export const AT_ONCE = 4;

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

/** Runs `body` for all, at most `limit` at a time: programs compile beside one another. */
export async function together<X>(all: readonly X[], limit: number, body: (one: X) => Promise<void>): Promise<void> {
  const waiting = [...all];
  const turn = async (): Promise<void> => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await body(one);
  };
  await Promise.all(Array.from({ length: limit }, turn));
}
