import { describe, expect, it } from 'vitest';
import { Rng, tensorFrom, toNumbers } from '../../src/core/index.js';
import { createEngine, type DeviceTensor, type Engine } from '../../src/engine/index.js';
import { compileForward, compileSegmented, LONG_SEQUENCE, uploadParameters } from '../../src/loaded/index.js';
import { input, makeGraph, type Graph } from '../../src/graph/index.js';
import {
  forward,
  initialParameters,
  parameterInputs,
  resolveModelConfig,
  type ModelConfig,
  type ModelInput,
  TapReader,
} from '../../src/model/index.js';

const engine = createEngine('onnx', { threads: 1 });
const BASE = { vocabSize: 17, hiddenSize: 16, numHeads: 4, intermediateSize: 24 };

function graphOf(model: ModelConfig, length: number): Graph {
  const params = parameterInputs(model);
  const tokens = input('tokens', 'i32', [1, length]);
  const { tap, stream: hidden } = new TapReader();
  const { logits } = forward(model, params, tokens, { tap });
  const states = Object.fromEntries(hidden.map((h, n) => [`h${n}`, h]));
  return makeGraph({ ...Object.fromEntries(params), tokens }, { logits, ...states });
}

describe('graphs in segments', () => {
  it.each<Partial<ModelInput> & { layers: string }>([
    { layers: 'swa:4 full swa:4 full:nope' },
    { layers: 'full', numKvHeads: 2, sinks: true, outputGate: true },
    { layers: 'full', numKvHeads: 2, attentionSoftcap: 0.5 },
    { layers: 'swa:3@2/full:nope@2 full swa:5', numKvHeads: 2, qkNorm: true, sinks: true, tieEmbeddings: true },
    { layers: 'swa:4' },
    { layers: 'gdn full mamba2 swa:4', mamba2: { numHeads: 2, headDim: 4, stateSize: 3 } },
  ])('compute what the whole graph does: %o', async (settings) => {
    const model = resolveModelConfig({ ...BASE, ...settings });
    // More tokens than one block of queries has, and no multiple of it.
    const length = 1100;
    const graph = graphOf(model, length);
    const rng = Rng.of(1, 'segments');
    const params = new Map(initialParameters(model, 2));
    for (const [name, t] of params) {
      if (name.endsWith('sinks'))
        params.set(
          name,
          tensorFrom(
            'f32',
            t.shape,
            toNumbers(t).map(() => rng.normal()),
          ),
        );
    }
    const inputs = () => ({
      ...uploadParameters(engine, params),
      tokens: engine.upload(
        tensorFrom(
          'i32',
          [1, length],
          Array.from({ length }, (_, i) => (i * i + 3 * i) % 17),
        ),
      ),
    });
    const whole = await (await engine.compile(graph)).run(inputs());
    const pieces = compileSegmented(engine, graph);
    for (let again = 0; again < 2; again++) {
      const got = await pieces.run(inputs());
      expect(Object.keys(got)).toEqual(Object.keys(whole));
      for (const [name, tensor] of Object.entries(whole)) {
        const want = toNumbers(await engine.download(tensor));
        const have = toNumbers(await engine.download(got[name] as DeviceTensor));
        expect(have.length).toBe(want.length);
        let worst = 0;
        want.forEach((v, i) => (worst = Math.max(worst, Math.abs(v - (have[i] as number)))));
        expect(worst).toBeLessThan(2e-5);
      }
    }
    await pieces.dispose();
  });

  it('are used for one long sequence only', async () => {
    const compiled: Graph[] = [];
    const spy: Engine = { ...engine, compile: (graph) => (compiled.push(graph), engine.compile(graph)) };
    const model = resolveModelConfig({ ...BASE, layers: 'full' });
    const graph = graphOf(model, 8);
    await compileForward(spy, graph, { batchSize: 1, length: LONG_SEQUENCE - 1 });
    await compileForward(spy, graph, { batchSize: 2, length: LONG_SEQUENCE });
    expect(compiled).toHaveLength(2);
    compiled.length = 0;
    const pieces = await compileForward(spy, graph, { batchSize: 1, length: LONG_SEQUENCE });
    expect(compiled).toHaveLength(0);
    const tokens = engine.upload(tensorFrom('i32', [1, 8], [0, 1, 2, 3, 4, 5, 6, 7]));
    await pieces.run({ ...uploadParameters(engine, initialParameters(model, 2)), tokens });
    // Before the attention, a block of it for each of four lengths of keys at most, and after it.
    expect(compiled.length).toBeGreaterThanOrEqual(3);
    expect(compiled.length).toBeLessThanOrEqual(6);
    expect(compiled.every((g) => g.nodes.every((n) => n.op !== 'attention'))).toBe(true);
  });

  it('are not used where an accelerator has kernels for full attention', async () => {
    const compiled: Graph[] = [];
    const spy: Engine = {
      ...engine,
      hints: { ...engine.hints, accelerator: true, activations: 'bf16' },
      compile: (graph) => (compiled.push(graph), engine.compile(graph)),
    };
    const long = { batchSize: 1, length: LONG_SEQUENCE };
    const of = (settings: object) =>
      graphOf(resolveModelConfig({ ...BASE, headDim: 8, layers: 'full', ...settings }), 8);
    await compileForward(spy, of({}), long);
    expect(compiled).toHaveLength(1);
    for (const settings of [{ attentionSoftcap: 5 }, { sinks: true }, { headDim: 6 }]) {
      await compileForward(spy, of(settings), long);
    }
    await compileForward({ ...spy, hints: { ...spy.hints, accelerator: false } }, of({}), long);
    expect(compiled).toHaveLength(1);
  });
});
