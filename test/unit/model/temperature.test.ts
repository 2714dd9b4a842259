/** Attention with temperatures, partial rotary positions and bases by layer, against numbers of PyTorch. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { div, grad, input, makeGraph, type Value } from '../../../src/graph/index.js';
import {
  forward,
  parameterInputs,
  parameterSpecs,
  resolveModelConfig,
  tokenLosses,
  withWindowShares,
  type ModelConfig,
} from '../../../src/model/index.js';
import { randomParameters, randomTokens, SMALL, worst } from './cases.js';

interface Reference {
  readonly model: object;
  readonly parameters: Readonly<Record<'embed' | 'wqkv' | 'wo', readonly number[]>>;
  readonly cases: readonly {
    readonly pattern: string;
    readonly tokens: readonly number[];
    readonly temperature: readonly number[];
    readonly logits: readonly number[];
    readonly loss: number;
    readonly gradients: Readonly<Record<string, readonly number[]>>;
  }[];
}

const file = new URL('../../data/attention-temperature.json', import.meta.url);
const reference = JSON.parse(readFileSync(file, 'utf8')) as Reference;

/** Logits of rows of tokens of one length, and of segments where they are given. */
function logitsOf(
  config: ModelConfig,
  parameters: ReadonlyMap<string, HostTensor>,
  rows: readonly (readonly number[])[],
  documents?: readonly (readonly number[])[],
): number[] {
  const shape = [rows.length, rows[0]!.length];
  const [values, tokens, segments] = [
    parameterInputs(config, 'f64'),
    input('tokens', 'i32', shape),
    input('segments', 'i32', shape),
  ];
  const { logits } = forward(config, values, tokens, { segments: documents === undefined ? null : segments });
  const graph = makeGraph(
    { ...Object.fromEntries(values), tokens, ...(documents === undefined ? {} : { segments }) },
    { logits },
  );
  const given = {
    ...Object.fromEntries(parameters),
    tokens: tensorFrom('i32', shape, rows.flat()),
    ...(documents === undefined ? {} : { segments: tensorFrom('i32', shape, documents.flat()) }),
  };
  return [...toNumbers(evaluateReference(graph, given)['logits']!)];
}

describe('attention by its pattern', () => {
  it.each(reference.cases.map((c) => [c.pattern, c] as const))(
    '%s is that of PyTorch, forward and backward',
    (_, c) => {
      const config = resolveModelConfig({
        ...{ ...reference.model, layers: c.pattern, tieEmbeddings: true, normWeight: false },
        block: { mlp: false },
      });
      const given = { ...reference.parameters, temperature: c.temperature };
      const specs = parameterSpecs(config);
      const partOf = (name: string): keyof typeof given =>
        name.split('.').at(-1) === 'weight' || name === 'embed' ? 'embed' : (name.split('.').at(-1) as 'wqkv');
      const parameters = new Map(specs.map(({ name, shape }) => [name, tensorFrom('f64', shape, given[partOf(name)])]));
      const shape = [1, c.tokens.length];
      const values = parameterInputs(config, 'f64');
      const [tokens, targets, weights] = [
        input('tokens', 'i32', shape),
        input('targets', 'i32', shape),
        input('weights', 'f64', shape),
      ];
      const { logits } = forward(config, values, tokens);
      const { weightedSum, weightSum } = tokenLosses(logits, targets, weights);
      const loss = div(weightedSum, weightSum);
      const names = [...values.keys()].filter((name) => partOf(name) !== 'embed');
      const gradients = grad(
        loss,
        names.map((name) => values.get(name) as Value),
      );
      const outputs = { logits, loss, ...Object.fromEntries(names.map((name, i) => [name, gradients[i]!])) };
      const found = evaluateReference(makeGraph({ ...Object.fromEntries(values), tokens, targets, weights }, outputs), {
        ...Object.fromEntries(parameters),
        tokens: tensorFrom('i32', shape, c.tokens),
        targets: tensorFrom('i32', shape, [...c.tokens.slice(1), 0]),
        weights: tensorFrom(
          'f64',
          shape,
          c.tokens.map((_t, i) => Number(i < c.tokens.length - 1)),
        ),
      });
      expect(worst(toNumbers(found['logits']!), c.logits)).toBeLessThan(1e-8);
      expect(toNumbers(found['loss']!)[0]).toBeCloseTo(c.loss, 10);
      for (const name of names)
        expect(worst(toNumbers(found[name]!), c.gradients[partOf(name)]!), name).toBeLessThan(1e-8);
    },
  );
});

describe('temperatures', () => {
  const layers = 'swa:4:temp=learned/full:nope:temp=log chunk:3:temp=learned';
  const config = resolveModelConfig({ ...SMALL, layers });
  const parameters = randomParameters(config);
  const [a, b] = [randomTokens(config, 5, 1), randomTokens(config, 4, 2)];

  it('count keys from the start of each document', () => {
    const packed = logitsOf(config, parameters, [[...a, ...b]], [[0, 0, 0, 0, 0, 1, 1, 1, 1]]);
    const alone = [...logitsOf(config, parameters, [a]), ...logitsOf(config, parameters, [b])];
    expect(worst(packed, alone)).toBeLessThan(1e-9);
  });

  it('count the keys of each window where sequences have their own', () => {
    const moving = resolveModelConfig({ ...SMALL, layers: 'swa:2~4:temp=log' });
    const own = randomParameters(moving);
    const rows = [randomTokens(config, 9, 3), randomTokens(config, 9, 4)];
    const shared = withWindowShares(moving, (windows) => windows.map((window) => ({ window, share: 0.5 })));
    const single = [2, 4].map((w, i) =>
      logitsOf(resolveModelConfig({ ...SMALL, layers: `swa:${w}:temp=log` }), own, [rows[i]!]),
    );
    expect(worst(logitsOf(shared, own, rows), single.flat())).toBeLessThan(1e-9);
  });

  it('learn one number a head that asks for it', () => {
    const learned = parameterSpecs(config).filter(({ name }) => name.endsWith('temperature'));
    expect(learned.map(({ name, shape }) => [name, shape])).toEqual([
      ['layers.0.attn.temperature', [2]],
      ['layers.1.attn.temperature', [4]],
    ]);
  });
});
