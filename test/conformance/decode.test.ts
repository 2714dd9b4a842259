/** Steps on every engine in float32 against the forward pass of the reference engine in float64. */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import {
  createOnnxEngine,
  createReferenceEngine,
  createXlaEngine,
  evaluateReference,
  findPlugin,
  type Engine,
  type Executable,
} from '../../src/engine/index.js';
import { input, makeGraph, rotaryAt, rotaryFrequencies } from '../../src/graph/index.js';
import { forward, parameterInputs, resolveModelConfig, type ModelConfig } from '../../src/model/index.js';
import { logitsInChunks } from '../support/chunks.js';
import { CASES, randomParameters, randomTokens, RECURRENT_CASES, SMALL, worst } from '../unit/model/cases.js';

const plugin = findPlugin('cpu').plugin;
const ENGINES: [string, () => Engine][] = [
  ['reference', () => createReferenceEngine()],
  ['onnx', () => createOnnxEngine({ threads: 1 })],
  ...(plugin
    ? [
        ['xla:cpu', () => createXlaEngine({ platform: 'cpu', plugin: plugin.path, cache: null })] as [
          string,
          () => Engine,
        ],
      ]
    : []),
];

const LENGTHS = [13, 9];

function wholeForward(config: ModelConfig, params: ReadonlyMap<string, HostTensor>, tokens: readonly number[]) {
  const values = parameterInputs(config, 'f64');
  const ids = input('tokens', 'i32', [1, tokens.length]);
  const { logits } = forward(config, values, ids);
  const graph = makeGraph({ ...Object.fromEntries(values), tokens: ids }, { logits });
  const given = { ...Object.fromEntries(params), tokens: tensorFrom('i32', ids.shape, tokens) };
  return toNumbers(evaluateReference(graph, given).logits as HostTensor);
}

/** What the forward pass gives by case, the same whichever engine is compared with it. */
const wanted = new Map<string, readonly number[]>();

/**
 * XLA takes seconds for each graph: there, a case with everything that attention has stands for the others. Recurrent
 * mixers on the reference engine are the unit tier's.
 */
function casesOf(engine: string) {
  if (engine.startsWith('xla')) return CASES.filter(([name]) => name.includes('everything'));
  return engine === 'onnx' ? [...CASES, ...RECURRENT_CASES] : CASES;
}

describe.each(ENGINES)('%s', (engineName, make) => {
  it.each(casesOf(engineName))('steps as the forward pass goes, with %s', async (name, settings) => {
    const config = resolveModelConfig({ ...SMALL, ...settings });
    const exact = randomParameters(config);
    const params = new Map([...exact].map(([name, t]) => [name, tensorFrom('f32', t.shape, toNumbers(t))]));
    const rounded = new Map([...params].map(([name, t]) => [name, tensorFrom('f64', t.shape, toNumbers(t))]));
    const rows = LENGTHS.map((n, i) => randomTokens(config, n, i));
    const want = wanted.get(name) ?? rows.flatMap((tokens) => [...wholeForward(config, rounded, tokens)]);
    wanted.set(name, want);
    const engine = make();
    const programs = new Map<number, Executable>();
    const run = { engine, config, params, dtype: 'f32', maxLength: 14, programs } as const;
    for (const sizes of [
      [6, 1, 6],
      [12, 1],
    ]) {
      const got = await logitsInChunks(run, rows, sizes);
      expect(worst(got.flat(2), want)).toBeLessThan(2e-5);
    }
    for (const program of programs.values()) await program.dispose();
    await engine.dispose();
  });

  it('turns by positions far from 0 as exactly as by near ones', async () => {
    const engine = make();
    const frequencies = rotaryFrequencies(8, 10_000);
    const positions = [0, 1, 255, 256, 257, 4095, 100_000, 131_071];
    const x = input('x', 'f32', [2, 4, 1, 8]);
    const at = input('at', 'i32', [2, 4]);
    const program = await engine.compile(makeGraph({ x, at }, { y: rotaryAt(x, frequencies, at, 131_072) }));
    const ones = tensorFrom('f32', x.shape, new Array<number>(64).fill(1));
    const given = { x: engine.upload(ones), at: engine.upload(tensorFrom('i32', at.shape, positions)) };
    const y = toNumbers(await engine.download((await program.run(given)).y as never));
    const want = positions.flatMap((p) => [
      ...frequencies.map((f) => Math.cos(p * f) - Math.sin(p * f)),
      ...frequencies.map((f) => Math.cos(p * f) + Math.sin(p * f)),
    ]);
    expect(worst(y, want)).toBeLessThan(1e-6);
    await program.dispose();
    await engine.dispose();
  });
});
