/**
 * Every op and composite, forward and derivative, on every engine against the reference engine in float64. The worst error of
 * each op is printed at the end.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { UnsupportedOpError, type HostTensor } from '../../src/core/index.js';
import { evaluateReference } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, OpName } from '../../src/graph/index.js';
import { OP_CASES, caseGraph, caseTensors, derivativeGraph, wholeGraph, type OpCase } from '../support/cases.js';
import { expectClose, type Tolerance } from '../support/compare.js';
import { ENGINES, runOn } from '../support/engines.js';
import { randomTensor } from '../support/random.js';

const FORWARD: Tolerance = { rtol: 1e-5, atol: 2e-6 };
const DERIVATIVE: Tolerance = { rtol: 2e-5, atol: 5e-6 };

/** Ops whose programs XLA compiles for seconds: one gives the results and the derivatives. Other tests have their results alone. */
const LONG: ReadonlySet<string> = new Set<OpName>([
  ...(['attention', 'cacheAttention', 'deltaRule', 'linearRecurrence', 'selectiveScan'] as const),
]);

const named = (tensors: readonly HostTensor[]): Record<string, HostTensor> =>
  Object.fromEntries(tensors.map((t, i) => [`in${i}`, t]));

for (const { name, make, bf16 } of ENGINES) {
  describe(`${name} against the reference`, () => {
    const engine = make();
    const worst = new Map<string, number>();
    const compare = async (graph: Graph, tensors: readonly HostTensor[], key: string): Promise<void> => {
      const actual = await runOn(engine, graph, named(tensors));
      const expected = evaluateReference(graph, Object.fromEntries(tensors.map((t, i) => [`in${i}`, t])));
      for (const port of graph.outputs) {
        const isDerivative = port.name.startsWith('grad');
        const error = expectClose(
          actual[port.name] as HostTensor,
          expected[port.name] as HostTensor,
          isDerivative ? DERIVATIVE : FORWARD,
          port.name,
        );
        const row = isDerivative ? `${key}, derivative` : key;
        worst.set(row, Math.max(worst.get(row) ?? 0, error.absolute));
      }
    };
    afterAll(async () => {
      const rows = [...worst].map(([op, e]) => `${op.padEnd(34)} ${e.toExponential(1)}`);
      console.log([`worst absolute error of ${engine.info.library}, float32, by op`, ...rows].join('\n'));
      await engine.dispose();
    });
    for (const [op, cases] of Object.entries(OP_CASES) as [OpName, readonly OpCase[]][]) {
      for (const c of cases) {
        if (c.derivativeOf !== undefined) continue;
        if (name !== 'onnx' && LONG.has(op) && c.noGradient === undefined) {
          it(`${op}: ${c.name}, and its derivative`, async () => {
            const tensors = caseTensors(c, op, 'f32');
            await compare(wholeGraph(c, op, tensors), tensors, op);
          });
          continue;
        }
        it(`${op}: ${c.name}`, async () => {
          const tensors = caseTensors(c, op, 'f32');
          await compare(caseGraph(c, tensors, 'f32'), tensors, op);
        });
        if (c.noGradient !== undefined) continue;
        it(`${op}: ${c.name}, derivative`, async () => {
          const tensors = caseTensors(c, op, 'f32');
          await compare(derivativeGraph(c, op, tensors), tensors, op);
        });
      }
    }

    it.skipIf(bf16)('says which op it cannot do, and in which dtype', async () => {
      const x = L.input('x', 'bf16', [2]);
      const graph = L.makeGraph({ x }, { y: L.exp(x) });
      await expect(engine.compile(graph)).rejects.toThrow(UnsupportedOpError);
      await expect(engine.compile(graph)).rejects.toThrow(/bf16/);
    });

    it('refuses inputs that are missing, unknown, of another shape, or consumed', async () => {
      const x = L.input('x', 'f32', [2]);
      const program = await engine.compile(L.makeGraph({ x }, { y: L.mul(x, 2) }), { donate: { x: 'y' } });
      const tensor = (shape: number[]): HostTensor => randomTensor('f32', shape, 'x');
      await expect(program.run({})).rejects.toThrow(/"x".*missing/);
      await expect(program.run({ x: engine.upload(tensor([3])) })).rejects.toThrow(/must be f32\[2\], got f32\[3\]/);
      const good = engine.upload(tensor([2]));
      await expect(program.run({ x: good, z: good })).rejects.toThrow(/no input "z"/);
      await program.run({ x: good });
      await expect(program.run({ x: good })).rejects.toThrow(/donated/);
      await program.dispose();
      await expect(program.run({ x: engine.upload(tensor([2])) })).rejects.toThrow(/disposed/);
    });

    it('keeps donated state through many runs', async () => {
      const x = L.input('x', 'f32', [3]);
      const program = await engine.compile(L.makeGraph({ x }, { next: L.add(x, 1) }), { donate: { x: 'next' } });
      let state = engine.upload(randomTensor('f32', [3], 'state', () => 0));
      for (let i = 0; i < 7; i++) state = (await program.run({ x: state })).next as typeof state;
      expect(Array.from((await engine.download(state)).data)).toEqual([7, 7, 7]);
      await program.dispose();
    });

    it.each([false, true])('adds rows to donated state, read elsewhere by the same program: %s', async (alsoRead) => {
      const [x, at] = [L.input('x', 'f32', [6, 2]), L.input('at', 'i32', [2])];
      const next = L.scatterAdd(x, at, L.full('f32', [2, 2], 1));
      const outputs = { next, sum: L.reduceSum(next), before: L.reduceSum(alsoRead ? x : next) };
      const program = await engine.compile(L.makeGraph({ x, at }, outputs), { donate: { x: 'next' } });
      let state = engine.upload(randomTensor('f32', [6, 2], 'state', () => 0));
      const number = async (t: unknown) => Number((await engine.download(t as typeof state)).data[0]);
      for (let i = 0; i < 3; i++) {
        const rows = engine.upload({ dtype: 'i32', shape: [2], data: Int32Array.of(2 * i, 5) });
        const result = await program.run({ x: state, at: rows });
        expect(await number(result.sum)).toBe(4 * (i + 1));
        expect(await number(result.before)).toBe(alsoRead ? 4 * i : 4 * (i + 1));
        await expect(program.run({ x: state, at: rows })).rejects.toThrow(/donated/);
        state = result.next as typeof state;
      }
      expect(Array.from((await engine.download(state)).data)).toEqual([1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 3, 3]);
      await program.dispose();
    });

    it('gives the same bits for the same program and inputs', async () => {
      const c = OP_CASES.scatterAdd.find((k) => k.name === 'many repeats') as OpCase;
      const tensors = caseTensors(c, 'scatterAdd', 'f32');
      const graph = caseGraph(c, tensors, 'f32');
      const first = await runOn(engine, graph, named(tensors));
      for (let i = 0; i < 5; i++) expect(await runOn(engine, graph, named(tensors))).toEqual(first);
    });
  });
}
