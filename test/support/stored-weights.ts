/** Models whose weights are stored in two bytes: they stay so in memory, and compute what they do in float32. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { readSafetensors, writeSafetensors } from '../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HalfDType } from '../../src/core/index.js';
import { Decoder } from '../../src/generate/index.js';
import { input, makeGraph } from '../../src/graph/index.js';
import { openModel, type OpenedModel, type WeightsHeld } from '../../src/lab/index.js';
import { forward, parameterInputs } from '../../src/model/index.js';
import type { ENGINES } from './engines.js';

const DATA = join(import.meta.dirname, '..', 'data', 'hf');

/** A model of the test data as it is stored. */
export const asStored = (name: string): string => join(DATA, name);

/** A copy of a model in `scratch` with all tensors in a type of two bytes. */
export function halved(scratch: string, name: string, dtype: HalfDType): string {
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

/** Compares what a model computes from its weights as they are stored with what it computes from the same in float32. */
export async function compareHeld(
  folder: string,
  dtype: HalfDType,
  make: (typeof ENGINES)[number]['make'],
): Promise<void> {
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
