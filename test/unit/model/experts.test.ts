/** Experts: gradients with what routers add to the loss, load balance, costs, and what is refused. */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { add, grad, input, makeGraph, type Value } from '../../../src/graph/index.js';
import {
  forward,
  modelCost,
  parameterInputs,
  parameterSpecs,
  resolveModelConfig,
  routingLoss,
  routingNumbers,
  tokenLosses,
  type ModelInput,
} from '../../../src/model/index.js';
import { present } from '../../../src/core/index.js';
import { randomParameters, randomTokens, SMALL } from './cases.js';

const EXPERTS = { count: 6, perToken: 2, intermediateSize: 5 };

/** Loss with what routers add, gradients, and the routing numbers, as functions of parameters in float64. */
function built(settings: Partial<ModelInput>, length = 7) {
  const config = resolveModelConfig({ ...SMALL, layers: 'swa:4 full', ...settings });
  const values = parameterInputs(config, 'f64');
  const shape = [2, length];
  const [tokens, targets] = [input('tokens', 'i32', shape), input('targets', 'i32', shape)];
  const weights = input('weights', 'f64', shape);
  const { logits, routing } = forward(config, values, tokens);
  const { weightedSum } = tokenLosses(logits, targets, weights);
  const added = routingLoss(config, routing);
  const loss = added === null ? weightedSum : add(weightedSum, added);
  const grads = grad(loss, [...values.values()]);
  const numbers = present(routingNumbers(config, routing));
  const loads = Object.fromEntries([...routing].map(([layer, { load }]) => [`load.${layer}`, load]));
  const outputs = Object.fromEntries([...values.keys()].map((name, i) => [`grad.${name}`, grads[i] as Value]));
  const inputs = { ...Object.fromEntries(values), tokens, targets, weights };
  const ids = [0, 1].map((i) => randomTokens(config, length + 1, i));
  const given = {
    tokens: tensorFrom(
      'i32',
      shape,
      ids.flatMap((row) => row.slice(0, length)),
    ),
    targets: tensorFrom(
      'i32',
      shape,
      ids.flatMap((row) => row.slice(1)),
    ),
    weights: tensorFrom('f64', shape, new Float64Array(2 * length).fill(0.5 / length)),
  };
  const lossOnly = makeGraph(inputs, { loss });
  const whole = makeGraph(inputs, { loss, numbers, ...loads, ...outputs });
  return { config, given, lossOnly, whole };
}

const KINDS: readonly (readonly [string, Partial<ModelInput>])[] = [
  ['softmax', { experts: { ...EXPERTS, balanceLoss: 0.5, routerZLoss: 0.3 } }],
  [
    'routers that hand on a state, a choice of none',
    { experts: { ...EXPERTS, perToken: 1, normalize: false, routerSize: 5, skip: 0.1, balanceLoss: 0.5 } },
  ],
  [
    'SparseMixer',
    {
      experts: { ...EXPERTS, scores: 'sparsemixer', jitter: 0.6, normalize: false, balanceLoss: 0.5, routerZLoss: 0.3 },
    },
  ],
  [
    'softmax without normalization, weighted inputs',
    { experts: { ...EXPERTS, normalize: false, weigh: 'input', bias: true, balanceLoss: 0.5 } },
  ],
  [
    'sigmoid within groups, clamped gates, biases, a shared expert',
    {
      experts: {
        ...{ ...EXPERTS, scores: 'sigmoid', correctionBias: true, routerBias: true, groups: { count: 3, perToken: 2 } },
        ...{ bias: true, clamped: { limit: 0.4 }, sharedSize: 4, sharedGate: true, balanceLoss: 0.5 },
      },
    },
  ],
];

describe('experts', () => {
  it.each(KINDS)('have the gradients of central differences, with %s', (_, settings) => {
    const { config, given, lossOnly, whole } = built(settings);
    const params = randomParameters(config);
    const results = evaluateReference(whole, { ...Object.fromEntries(params), ...given });
    const lossAt = (moved: ReadonlyMap<string, HostTensor>) =>
      toNumbers(present(evaluateReference(lossOnly, { ...Object.fromEntries(moved), ...given })['loss']))[0] ?? NaN;
    const h = 1e-6;
    for (const { name, shape } of parameterSpecs(config).filter((s) => s.part === 'mlp')) {
      const own = toNumbers(present(params.get(name)));
      const gradient = toNumbers(present(results[`grad.${name}`]));
      for (const i of [0, Math.floor(own.length / 3), own.length - 1]) {
        const moved = (by: number) => {
          const values = own.slice();
          values[i] = (values[i] ?? NaN) + by;
          return lossAt(new Map([...params, [name, tensorFrom('f64', shape, values)]]));
        };
        const central = (moved(h) - moved(-h)) / (2 * h);
        expect(Math.abs((gradient[i] ?? NaN) - central), `${name}[${i}]`).toBeLessThan(1e-7);
      }
    }
  });

  it('are even where each gets as many tokens: the balance loss is perToken and the entropy 1', () => {
    const { config, given, whole } = built({ experts: { ...EXPERTS, count: 4, perToken: 4 } });
    const results = evaluateReference(whole, { ...Object.fromEntries(randomParameters(config)), ...given });
    const [balance, entropy, peak] = toNumbers(present(results['numbers']));
    expect([balance, entropy, peak].map((x) => Number(x?.toFixed(9)))).toEqual([4, 1, 1]);
    expect([...toNumbers(present(results['load.0']))]).toEqual([0.25, 0.25, 0.25, 0.25]);
  });

  it('are as uneven as can be where one gets every token', () => {
    const { config, given, whole } = built({ experts: { ...EXPERTS, perToken: 1, routerBias: true } });
    const params = randomParameters(config);
    for (const layer of [0, 1]) params.set(`layers.${layer}.mlp.brouter`, tensorFrom('f64', [6], [0, 0, 40, 0, 0, 0]));
    const results = evaluateReference(whole, { ...Object.fromEntries(params), ...given });
    const [balance, entropy, peak] = toNumbers(present(results['numbers']));
    expect([balance, entropy, peak].map((x) => Number(x?.toFixed(9)))).toEqual([6, 0, 6]);
  });

  it('cost a token what it passes: parameters and FLOPs of perToken experts', () => {
    const dense = modelCost(resolveModelConfig({ ...SMALL, layers: 'full', numLayers: 1, intermediateSize: 10 }), 8);
    const experts = { count: 6, perToken: 2, intermediateSize: 5 };
    const sparse = modelCost(resolveModelConfig({ ...SMALL, layers: 'full', numLayers: 1, experts }), 8);
    const [router, expert] = [12 * 6, 3 * 12 * 5];
    expect(sparse.parameters.total).toBe(dense.parameters.total - 3 * 12 * 10 + 6 * expert + router);
    expect(sparse.parameters.active).toBe(dense.parameters.total + router);
    expect(sparse.forwardFlops).toBe(dense.forwardFlops + 2 * router);
    expect(dense.parameters.active).toBe(dense.parameters.total);
  });

  it.each([
    [{ perToken: 7 }, 'model.experts.perToken 7 is more than the 6 experts; use 6 or fewer'],
    [
      { groups: { count: 4, perToken: 1 } },
      'model.experts.groups.count 4 does not divide the 6 experts; use a divisor of 6',
    ],
    [
      { groups: { count: 3, perToken: 1 }, perToken: 3 },
      'model.experts.perToken 3 is more than the 2 experts of 1 groups',
    ],
    [{ groups: { count: 3, perToken: 4 } }, 'model.experts.groups.perToken 4 is more than the 3 groups'],
    [{ groups: { count: 6, perToken: 2 } }, 'model.experts.groups.best 2 is more than the 1 experts of a group'],
    [{ sharedGate: true }, 'model.experts.sharedGate needs a shared expert; give sharedSize'],
    [{ scores: 'sparsemixer', correctionBias: true }, 'model.experts.scores sparsemixer goes with no groups'],
    [{ skip: 0.1 }, 'model.experts.skip needs perToken 1, not 2'],
    [
      { skip: 0.1, perToken: 1, groups: { count: 3, perToken: 1 } },
      'model.experts.skip has no group; leave groups out',
    ],
    [{ routerSize: 4, routerNorm: true }, 'model.experts.routerNorm has no place in a router with layers of its own'],
    [
      { scores: 'sparsemixer', weightScale: true },
      'model.experts.weightScale goes with neither scores sparsemixer nor',
    ],
    [{ besideMlp: true }, 'experts beside the MLP (besideMlp) need norm both and mlp true, which the block of layer 0'],
    [{ routerSize: 4, routerBias: true }, 'model.experts.routerBias has no place in a router with layers of its own'],
    [{ dense: [2] }, 'model.experts.dense has layer 2, and the layers are 0 to 1; leave it out'],
  ])('refuse %j in a sentence', (settings, message) => {
    const resolve = () => resolveModelConfig({ ...SMALL, layers: 'swa:4 full', experts: { ...EXPERTS, ...settings } });
    expect(resolve).toThrow(message);
  });

  it('refuse clamped gates where there is no gate, and activations that learn', () => {
    const resolve = (more: Partial<ModelInput>) => () => resolveModelConfig({ ...SMALL, layers: 'full', ...more });
    expect(resolve({ mlpGate: false, experts: { ...EXPERTS, clamped: {} } })).toThrow(/clamped needs a gate/);
    expect(resolve({ activation: 'xielu', experts: EXPERTS })).toThrow(/cannot have activation xielu/);
  });
});
