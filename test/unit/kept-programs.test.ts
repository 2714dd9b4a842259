import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers } from '../../src/core/index.js';
import { add, constantFrom, input, makeGraph, mul, type Graph } from '../../src/graph/index.js';
import { initialParameters, resolveModelConfig } from '../../src/model/index.js';
import { loadModel, Scorer, withConfig } from '../../src/loaded/index.js';
import { graphKey, keepingPrograms } from '../../src/engine/kept-programs.js';
import { createReferenceEngine, type Engine } from '../../src/engine/index.js';

const reference = createReferenceEngine();

/** The reference engine as one that works beside the host; counts what it compiles and disposes of. */
function counting(): { engine: Engine; counts: { compiled: number; disposed: number } } {
  const counts = { compiled: 0, disposed: 0 };
  const engine: Engine = {
    ...reference,
    hints: { ...reference.hints, runsAhead: 4 },
    compile: async (graph, options) => {
      counts.compiled += 1;
      const program = await reference.compile(graph, options);
      return { ...program, run: (inputs) => program.run(inputs), dispose: async () => void (counts.disposed += 1) };
    },
  };
  return { engine, counts };
}

function scaled(factor: number, name = 'x'): Graph {
  const x = input(name, 'f32', [2]);
  return makeGraph({ [name]: x }, { y: mul(x, constantFrom('f32', [2], [factor, factor])) });
}

describe('keys of graphs', () => {
  it('are the same for the same graph built twice, and differ in constants, names, ops, shapes and options', () => {
    expect(graphKey(scaled(2))).toBe(graphKey(scaled(2)));
    const x = input('x', 'f32', [2]);
    const sum = makeGraph({ x }, { y: add(x, constantFrom('f32', [2], [2, 2])) });
    const [renamed, wide] = [makeGraph({ x }, { z: mul(x, x) }), input('x', 'f32', [3])];
    const others = [scaled(3), scaled(2, 'w'), sum, renamed, makeGraph({ x: wide }, { z: mul(wide, wide) })];
    const keys = [scaled(2), ...others].map((graph) => graphKey(graph));
    keys.push(graphKey(scaled(2), { donate: { x: 'y' } }));
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe('programs that are kept', () => {
  it('leave an engine what it shares with other processes', async () => {
    const told: unknown[] = [];
    const shared = { ask: () => undefined, goesOn: () => Promise.resolve(true), finish: () => Promise.resolve() };
    const shareStop = (...steps: number[]) => {
      told.push(steps);
      return shared;
    };
    const exchange = (text: string) => Promise.resolve([text, 'b']);
    const engine = { ...reference, atWork: (isAtWork: boolean) => void told.push(isAtWork), shareStop, exchange };
    const keeping = keepingPrograms(engine, 'alike');
    keeping.atWork?.(true);
    expect(keeping.shareStop?.(3, 9)).toBe(shared);
    expect(told).toEqual([true, [3, 9]]);
    expect(await keeping.exchange?.('a')).toEqual(['a', 'b']);
    for (const name of ['shareStop', 'exchange']) expect(name in keepingPrograms(reference, 'alike'), name).toBe(false);
  });

  it('serve the next that asks for the same, and nobody else', async () => {
    const { engine, counts } = counting();
    const keeping = keepingPrograms(engine);
    const x = () => keeping.upload(tensorFrom('f32', [2], [1, 2]));
    const times = async (factor: number) => {
      const program = await keeping.compile(scaled(factor));
      const { y } = await program.run({ x: x() });
      const values = [...toNumbers(await keeping.download(y as never))];
      await program.dispose();
      await program.dispose();
      return values;
    };
    expect(await times(2)).toEqual([2, 4]);
    expect(await times(2)).toEqual([2, 4]);
    expect(await times(3)).toEqual([3, 6]);
    expect(counts).toEqual({ compiled: 2, disposed: 0 });
    const [one, two] = [await keeping.compile(scaled(2)), await keeping.compile(scaled(2))];
    expect(counts.compiled).toBe(3); // one is in use: the other gets its own
    await one.dispose();
    await two.dispose();
  });

  it('go, the longest kept first, where they are too many; and are not kept at all on engines of the host', async () => {
    const { engine, counts } = counting();
    const keeping = keepingPrograms(engine, 'many', 2);
    for (const factor of [1, 2, 3, 2, 1]) await (await keeping.compile(scaled(factor))).dispose();
    expect(counts).toEqual({ compiled: 4, disposed: 2 });
    expect(keepingPrograms(reference)).toBe(reference);
  });

  it('go as soon as something else is compiled, where work is repeated as it was: on every engine', async () => {
    const { engine, counts } = counting();
    const onHost: Engine = { ...engine, hints: { ...engine.hints, runsAhead: 1 } };
    const keeping = keepingPrograms(onHost, 'alike');
    const perform = async (...factors: number[]) => {
      const programs = await Promise.all(factors.map((factor) => keeping.compile(scaled(factor))));
      for (const program of programs) await program.dispose();
    };
    await perform(1, 2);
    await perform(1, 2);
    expect(counts).toEqual({ compiled: 2, disposed: 0 });
    await perform(3, 4);
    expect(counts).toEqual({ compiled: 4, disposed: 2 });
    await keeping.dispose();
    expect(counts).toEqual({ compiled: 4, disposed: 4 });
  });

  it('are the same for seeds of one design, and others for another design', async () => {
    const { engine, counts } = counting();
    const keeping = keepingPrograms(engine);
    const config = { vocabSize: 13, hiddenSize: 8, numHeads: 2, intermediateSize: 12 };
    const designs = ['swa:3 full', 'swa:4 full'].map((layers) => resolveModelConfig({ ...config, layers }));
    for (const seed of [1, 2]) {
      for (const design of designs) {
        const model = withConfig(loadModel(keeping, design, initialParameters(design, seed)), design);
        await (await Scorer.create(model, { batchSize: 1, seqLen: 8 })).dispose();
      }
    }
    expect(counts.compiled).toBe(2);
  });
});
