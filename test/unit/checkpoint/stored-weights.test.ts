/** Models whose weights are stored in two bytes: they stay so in memory, and compute what they do in float32. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readSafetensors, writeSafetensors } from '../../../src/checkpoint/index.js';
import { Rng, sizeOf, tensorFrom, toNumbers, type HalfDType, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference, lowerToOnnx } from '../../../src/engine/index.js';
import { Decoder } from '../../../src/generate/index.js';
import { convert, dot, input, makeGraph, mul, reshape } from '../../../src/graph/index.js';
import { openModel, type OpenedModel, type WeightsHeld } from '../../../src/lab/index.js';
import { forward, parameterInputs } from '../../../src/model/index.js';
import { ENGINES, runOn } from '../../support/engines.js';

const DATA = join(import.meta.dirname, '..', '..', 'data', 'hf');
const scratch = mkdtempSync(join(tmpdir(), 'longsight-stored-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A copy of a model with all tensors in a type of two bytes. */
function halved(name: string, dtype: HalfDType): string {
  const folder = join(scratch, `${name}-${dtype}`);
  cpSync(join(DATA, name), folder, { recursive: true });
  const file = join(folder, 'model.safetensors');
  const tensors = Object.entries(readSafetensors(file));
  writeSafetensors(file, Object.fromEntries(tensors.map(([n, t]) => [n, tensorFrom(dtype, t.shape, toNumbers(t))])));
  return folder;
}

const IDS = Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4);

/** Logits of a forward pass, and those after reading a prompt and one more token. */
async function logitsOf(model: OpenedModel): Promise<Float64Array[]> {
  const { config, engine, tensors } = model;
  const [values, tokens] = [parameterInputs(config), input('tokens', 'i32', [1, IDS.length])];
  const { logits } = forward(config, values, tokens);
  const program = await engine.compile(makeGraph({ ...Object.fromEntries(values), tokens }, { logits }));
  const used = Object.fromEntries([...values.keys()].map((name) => [name, tensors[name] as never]));
  const out = await program.run({ ...used, tokens: engine.upload(tensorFrom('i32', [1, IDS.length], IDS)) });
  const whole = toNumbers(await engine.download(out['logits'] as never));
  await program.dispose();
  const decoder = await Decoder.create(model, { batchSize: 1, maxPrompt: IDS.length, maxNew: 2 });
  const read = await (await decoder.read([IDS])).logits();
  const stepped = await (await decoder.step(Int32Array.of(7))).logits();
  await decoder.dispose();
  return [whole, read, stepped];
}

async function compareHeld(folder: string, dtype: HalfDType, make: (typeof ENGINES)[number]['make']): Promise<void> {
  const engine = make();
  const results: Float64Array[][] = [];
  for (const weights of ['stored', 'float32'] satisfies WeightsHeld[]) {
    const model = openModel(folder, { engine, weights });
    const dtypes = new Set(Object.values(model.tensors).map((t) => t.dtype));
    expect([...dtypes], weights).toEqual([weights === 'stored' ? dtype : 'f32']);
    results.push(await logitsOf(model));
  }
  await engine.dispose();
  const [stored, float32] = results as [Float64Array[], Float64Array[]];
  stored.forEach((logits, i) => {
    const largest = Math.max(...logits.map(Math.abs));
    expect(largest).toBeGreaterThan(0.01);
    logits.forEach((v, k) =>
      expect(Math.abs(v - (float32[i]?.[k] as number))).toBeLessThan(1e-6 * Math.max(1, largest)),
    );
  });
}

describe.each(ENGINES)('weights of two bytes on $name', ({ make }) => {
  it('stay bf16', () => compareHeld(join(DATA, 'llama-shards-bf16'), 'bf16', make), 180_000);
  it('stay half precision', () => compareHeld(halved('qwen3-next-tied', 'f16'), 'f16', make), 180_000);
});

describe.each(ENGINES.slice(0, 1))('weights of two bytes on $name, by kind of layer', ({ make }) => {
  it('stay half precision in files of Transformers', () => compareHeld(join(DATA, 'llama-fp16'), 'f16', make));
  it.each([
    'gemma3-tied',
    'qwen3-next',
    'mamba2',
    'falcon-h1',
    'lfm2',
    'minimax',
    'phi3-window',
    'nemotron-h',
    'jamba',
  ])('compute in bf16 what they do in float32: %s', (name) => compareHeld(halved(name, 'bf16'), 'bf16', make));
});

describe('products with matrices too large to be converted at once', () => {
  const { make } = ENGINES[0] as (typeof ENGINES)[number];
  const random = (shape: readonly number[], seed: number) => {
    const rng = Rng.of(seed, 'halves');
    return tensorFrom(
      'f32',
      shape,
      Float64Array.from({ length: sizeOf(shape) }, () => rng.normal()),
    );
  };

  it.each([
    ['columns', [1030, 4100], 0],
    ['rows', [4100, 1030], 1],
    ['columns times gains', [1030, 4100], 0],
    ['rows times gains', [4100, 1030], 1],
  ] as const)('are the same in blocks of %s', async (name, shape, contract) => {
    const [x, w, g] = [random([2, 3, 1030], 1), tensorFrom('bf16', shape, random(shape, 2).data), random([1030], 3)];
    const values = { x: input('x', 'f32', x.shape), w: input('w', 'bf16', shape), g: input('g', 'f32', [1030]) };
    const wide = convert(values.w, 'f32');
    const gained = mul(wide, contract === 0 ? reshape(values.g, [1030, 1]) : values.g);
    const matrix = name.includes('gains') ? gained : wide;
    const attrs = { lhsBatch: [], rhsBatch: [], lhsContract: [2], rhsContract: [contract] };
    const graph = makeGraph(values, { y: dot(values.x, matrix, attrs) });
    expect(lowerToOnnx(graph).onnx.nodes.filter(({ op }) => op === 'BitCast').length).toBeGreaterThan(1);
    const engine = make();
    const { y } = await runOn(engine, graph, { x, w, g });
    await engine.dispose();
    const expected = evaluateReference(graph, { x, w, g })['y'];
    expect(expected?.shape).toEqual(y?.shape);
    const theirs = toNumbers(expected as HostTensor);
    toNumbers(y as HostTensor).forEach((v, i) => expect(Math.abs(v - (theirs[i] as number))).toBeLessThan(1e-3));
  });
});
