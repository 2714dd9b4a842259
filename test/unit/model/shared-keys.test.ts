/** Layers that attend to the keys and values of earlier ones, where layers are recomputed and where reach is limited. */
import { expect, it } from 'vitest';
import { limitReach } from '../../../src/analysis/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { grad, input, makeGraph, mul, reduceSum, type Value } from '../../../src/graph/index.js';
import {
  forward,
  parameterInputs,
  parameterSpecs,
  resolveModelConfig,
  type ModelConfig,
} from '../../../src/model/index.js';
import { randomParameters, randomTokens, SMALL, worst } from './cases.js';
import { plainForward } from './plain-model.js';

const LENGTH = 9;
const config = resolveModelConfig({
  ...SMALL,
  ...{ layers: 'swa:4:local full;width=8 swa:4:local;keys=0 full;width=8;keys=1', numLayers: 4, numKvHeads: 2 },
  ...{ localRope: { theta: 50, ropeDim: 4 }, layerInputs: 4, layerScale: true, valueNorm: true },
});
const params = randomParameters(config);
const ids = randomTokens(config, LENGTH);

function results(of: ModelConfig, remat: boolean) {
  const values = parameterInputs(of, 'f64');
  const tokens = input('tokens', 'i32', [1, LENGTH]);
  const { logits } = forward(of, values, tokens, { remat });
  const grads = grad(reduceSum(mul(logits, logits)), [...values.values()]);
  const named = Object.fromEntries([...values.keys()].map((name, i) => [name, grads[i] as Value]));
  const graph = makeGraph({ ...Object.fromEntries(values), tokens }, { logits, ...named });
  const out = evaluateReference(graph, { ...Object.fromEntries(params), tokens: tensorFrom('i32', [1, LENGTH], ids) });
  return (name: string) => toNumbers(out[name] as HostTensor);
}

it('have the same gradients where layers are recomputed', () => {
  const [plain, again] = [results(config, false), results(config, true)];
  for (const name of ['logits', ...parameterSpecs(config).map((spec) => spec.name)])
    expect(worst(again(name), plain(name)), name).toBeLessThan(1e-9);
});

it('see fewer keys where their reach is limited, with the same parameters', () => {
  const limited = limitReach(config, 'full', 3);
  expect(parameterSpecs(limited)).toEqual(parameterSpecs(config));
  const logits = results(limited, false)('logits');
  expect(worst(logits, plainForward(limited, params, ids).logits.flat())).toBeLessThan(1e-11);
  expect(worst(logits, results(config, false)('logits'))).toBeGreaterThan(1e-3);
});

it.each([
  ['full;keys=0', 'takes keys of layer 0, which is no attention layer before it'],
  ['full full;keys=0 full;keys=1', 'takes keys of layer 1, which takes those of layer 0'],
  ['full full;width=8;keys=0', 'which has 4 key/value heads of 6 channels, not 4 of 8'],
  ['full;size=3', 'unknown setting ";size=3"'],
  ['full;width=8;width=8', 'has a setting twice'],
])('refuse %s: %s', (layers, message) => {
  const numLayers = layers.split(' ').length;
  expect(() => resolveModelConfig({ ...SMALL, layers, numLayers })).toThrow(message);
});
