/** The recurrences in float32 on every engine, and at the sizes that are slow in float64, against the recurrence token by token. */
import { afterAll, describe, expect, it } from 'vitest';
import { toNumbers, type HostTensor } from '../../src/core/index.js';
import { evaluateReference, type Executable } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import { ENGINES, runProgram } from '../support/engines.js';
import { KINDS, recurrenceGraph, recurrenceTensors, type Setup } from '../support/recurrences.js';

/**
 * The largest difference relative to the largest number, or to 1: decays of e^-20 have gradients of 1e-9, which are differences of
 * numbers near 1.
 */
function difference(a: HostTensor, b: HostTensor): number {
  const [x, y] = [toNumbers(a), toNumbers(b)];
  const scale = y.reduce((m, v) => Math.max(m, Math.abs(v)), 1);
  return x.reduce((m, v, i) => {
    const d = Math.abs(v - (y[i] as number)) / scale;
    return Number.isNaN(d) ? Infinity : Math.max(m, d);
  }, 0);
}

describe('recurrences in float64, long chunks', () => {
  for (const kind of KINDS) {
    for (const chunk of [128, 256]) {
      it(`${kind}: 300 tokens in chunks of ${chunk}`, () => {
        const setup: Setup = { kind, T: 300, chunk, H: 1, K: 4, V: 4 };
        const tensors = recurrenceTensors(setup, 'f64');
        const graph = recurrenceGraph(setup, tensors);
        const expected = evaluateReference(graph, tensors);
        const actual = evaluateReference(L.simplify(L.expand(graph)), tensors);
        for (const { name } of graph.outputs) {
          expect(difference(actual[name] as HostTensor, expected[name] as HostTensor), name).toBeLessThanOrEqual(1e-10);
        }
      });
    }
  }
});

for (const { name, make } of ENGINES) {
  describe(`recurrences on ${name}`, () => {
    const engine = make();
    // Setups that differ in their numbers alone share the last compiled program.
    let kept: { readonly graph: string; readonly program: Executable } | undefined;
    const run = async (graph: L.Graph, tensors: Readonly<Record<string, HostTensor>>) => {
      const text = L.printGraph(graph);
      if (kept?.graph !== text) {
        await kept?.program.dispose();
        kept = { graph: text, program: await engine.compile(graph) };
      }
      return runProgram(engine, kept.program, tensors);
    };
    afterAll(async () => {
      await kept?.program.dispose();
      await engine.dispose();
    });

    const worst = async (setup: Setup): Promise<number> => {
      const tensors = recurrenceTensors(setup, 'f32');
      const graph = recurrenceGraph(setup, tensors);
      const actual = await run(graph, tensors);
      const expected = evaluateReference(graph, tensors);
      const errors = graph.outputs.map((p) => difference(actual[p.name] as HostTensor, expected[p.name] as HostTensor));
      return Math.max(...errors);
    };

    for (const kind of KINDS) {
      for (const chunk of name === 'onnx' ? [16, 32, 64, 128, 256] : [16, 64]) {
        it(`${kind}: 300 tokens in chunks of ${chunk}`, async () => {
          expect(await worst({ kind, T: 300, chunk, K: 16, V: 16 })).toBeLessThanOrEqual(1e-5);
        });
      }
      for (const [what, decay] of [
        ['no decay', () => 0],
        ['a decay of e^-20', () => -20],
        ['gates near 0 and 1', (u: number) => (u < 0.3 ? -30 : -1e-5)],
      ] as const) {
        it(`${kind}: ${what}`, async () => {
          expect(await worst({ kind, T: 200, chunk: 64, decay })).toBeLessThanOrEqual(1e-5);
        });
      }
      if (kind !== 'linear') {
        it(`${kind}: equal keys, write strength 1`, async () => {
          const setup: Setup = { kind, T: 200, chunk: 64, alike: 1, beta: () => 1, decay: () => -1e-3 };
          expect(await worst(setup)).toBeLessThanOrEqual(1e-5);
        });
        // Writing twice over flips the state's sign each time: the recurrence itself loses three digits.
        it(`${kind}: equal keys, write strength 2`, async () => {
          const setup: Setup = { kind, T: 200, chunk: 64, alike: 1, beta: () => 1.99, decay: () => -1e-3 };
          expect(await worst(setup)).toBeLessThanOrEqual(1e-3);
        });
      }
      it(`${kind}: packed documents`, async () => {
        const documents = [1, 1, 70, 1, 64, 3, 59, 1];
        expect(await worst({ kind, T: 200, chunk: 64, documents })).toBeLessThanOrEqual(1e-5);
      });
      it(`${kind}: 8,192 tokens stay finite`, async () => {
        const setup: Setup = { kind, T: 8192, chunk: 64, B: 1, H: 2, K: 16, V: 16, alike: 0.5 };
        const tensors = recurrenceTensors(setup, 'f32');
        const results = await run(recurrenceGraph(setup, tensors), tensors);
        for (const [port, t] of Object.entries(results)) expect(toNumbers(t).every(Number.isFinite), port).toBe(true);
      });
    }
  });
}
