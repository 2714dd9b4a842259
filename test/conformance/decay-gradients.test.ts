/**
 * Gradients of `A_log` and `dt_bias` in float32 against float64: strong decays leave so little of what a chunk holds that
 * a difference of what tokens read and write has no digits left.
 */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { createOnnxEngine, evaluateReference } from '../../src/engine/index.js';
import { div, grad, input, makeGraph, type Graph } from '../../src/graph/index.js';
import {
  forward,
  initialParameters,
  parameterInputs,
  resolveModelConfig,
  tokenLosses,
  type ModelInput,
} from '../../src/model/index.js';
import { runOn } from '../support/engines.js';
import { randomTokens } from '../unit/model/cases.js';

const MIXERS: Readonly<Record<string, Partial<ModelInput>>> = {
  gdn: { gdn: { numHeads: 2, keyDim: 16, valueDim: 16 } },
  mamba2: { mamba2: { numHeads: 4, headDim: 8, stateSize: 16 } },
  kda: { kda: { numHeads: 2, keyDim: 16 } },
};
const SIZES = { vocabSize: 32, hiddenSize: 32, numHeads: 2, headDim: 16, intermediateSize: 48, numLayers: 2 };

/** The gradients of the decays' parameters for one sequence; `shift` is added to `dt_bias`, so that decays are strong. */
function decayGradients(mixer: string, T: number, shift: number, dtype: 'f32' | 'f64') {
  const config = resolveModelConfig({ ...SIZES, ...MIXERS[mixer], layers: mixer });
  const values = parameterInputs(config, dtype);
  const [tokens, targets] = [input('tokens', 'i32', [1, T]), input('targets', 'i32', [1, T])];
  const weights = input('weights', dtype, [1, T]);
  const { weightedSum, weightSum } = tokenLosses(forward(config, values, tokens).logits, targets, weights);
  const own = [...values].filter(([name]) => /alog$|dtbias$/.test(name));
  const gradients = grad(
    div(weightedSum, weightSum),
    own.map(([, value]) => value),
  );
  const outputs = Object.fromEntries(own.flatMap(([name], i) => (gradients[i] ? [[name, gradients[i]]] : [])));
  const graph: Graph = makeGraph({ ...Object.fromEntries(values), tokens, targets, weights }, outputs);
  const ids = randomTokens(config, T + 1);
  const given: Record<string, HostTensor> = {
    tokens: tensorFrom('i32', [1, T], ids.slice(0, T)),
    targets: tensorFrom('i32', [1, T], ids.slice(1)),
    weights: tensorFrom(dtype, [1, T], new Array<number>(T).fill(1)),
  };
  for (const [name, { shape, data }] of initialParameters(config, 1)) {
    const changed = [...data].map((x) => x * (shape.length > 1 ? 3 : 1) + (name.endsWith('dtbias') ? shift : 0));
    given[name] = tensorFrom(dtype, shape, changed.map(Math.fround));
  }
  return { graph, given };
}

describe.each(Object.keys(MIXERS))('decays of %s on onnx', (mixer) => {
  it.each([
    [64, 0, 'reference'],
    [64, 5, 'reference'],
    [256, 5, 'reference'],
    // Longer ones against the same engine's float64, which the shorter ones hold to the reference.
    [64, 5, 'onnx'],
    [1024, 5, 'onnx'],
    [4096, 0, 'onnx'],
    [4096, 5, 'onnx'],
  ] as const)('%i tokens, dt_bias + %i: gradients are within 1e-3 of float64 (%s)', async (T, shift, truth) => {
    const engine = createOnnxEngine({ threads: 1 });
    const single = decayGradients(mixer, T, shift, 'f32');
    const got = await runOn(engine, single.graph, single.given);
    const exact = decayGradients(mixer, T, shift, 'f64');
    const want =
      truth === 'onnx' ? await runOn(engine, exact.graph, exact.given) : evaluateReference(exact.graph, exact.given);
    await engine.dispose();
    expect(Object.keys(got)).toHaveLength(4);
    for (const [name, tensor] of Object.entries(got)) {
      const numbers = toNumbers(want[name] as HostTensor);
      const size = Math.max(...numbers.map(Math.abs));
      expect(size, name).toBeGreaterThan(0);
      toNumbers(tensor).forEach((v, i) => expect(Math.abs(v - (numbers[i] as number)) / size, name).toBeLessThan(1e-3));
    }
  });
});
