import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareWithExpected } from '../../../src/analysis/index.js';
import { openHfModel, readSafetensors } from '../../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { loadModel } from '../../../src/loaded/index.js';

const HF = join(import.meta.dirname, '..', '..', 'data', 'hf');
const engine = createReferenceEngine();

function compare(name: string, change: (expected: Record<string, HostTensor>) => void = () => undefined) {
  const { config, parts, inMemory, hiddenStates, sinksInMaps, parameters } = openHfModel(join(HF, name));
  const expected = { ...readSafetensors(join(HF, name, 'expected.safetensors')) };
  change(expected);
  const model = loadModel(engine, config, parameters());
  return compareWithExpected(model, expected, { tensors: parts, hiddenStates, sinksInMaps, aliases: inMemory });
}

describe('what Transformers computes', () => {
  it.each(readdirSync(HF))('is what %s computes', async (name) => {
    const { rows, skipped, passed } = await compare(name);
    expect(rows.filter((row) => !row.passed)).toEqual([]);
    expect(passed).toBe(true);
    // Maps of layers without attention and routers with one choice are all that may be left out.
    if (!name.startsWith('minimax')) expect(skipped).toEqual([]);
    else expect(skipped.map((s) => s.why)).toContain('layer 0 has no attention');
    expect(rows.find((row) => row.name === 'logits')?.worstAbsolute).toBeLessThan(1e-4);
  });
});

describe('differences', () => {
  const shifted = (tensor: HostTensor, at: number, by: number) => {
    const values = toNumbers(tensor);
    values[at] = (values[at] as number) + by;
    return tensorFrom('f32', tensor.shape, values);
  };

  it.each(['logits', 'hidden.1', 'hidden.2', 'attn.1', 'loss', 'gradnorm.model.layers.0.self_attn.k_proj.weight'])(
    'of %s are found and measured',
    async (name) => {
      const { rows, passed } = await compare('llama-linear', (expected) => {
        expected[name] = shifted(expected[name] as HostTensor, 0, 0.25);
      });
      expect(passed).toBe(false);
      expect(rows.filter((row) => !row.passed).map((row) => row.name)).toEqual([name]);
      expect(rows.find((row) => row.name === name)?.worstAbsolute).toBeCloseTo(0.25, 4);
    },
  );

  it('in names and shapes are errors', async () => {
    const unknown = await compare('llama-linear', (expected) => {
      expected['gradnorm.model.layers.9.mlp.up_proj.weight'] = tensorFrom('f32', [1], [1]);
    });
    expect(unknown.passed).toBe(false);
    expect(unknown.skipped).toEqual([
      { name: 'gradnorm.model.layers.9.mlp.up_proj.weight', why: 'the model has no such tensor' },
    ]);
    await expect(compare('llama-linear', (e) => (e['logits'] = tensorFrom('f32', [2], [1, 2])))).rejects.toThrow(
      'logits is expected as [2]',
    );
    await expect(compare('llama-linear', (e) => delete e['input_ids'])).rejects.toThrow('need input_ids');
    await expect(compare('llama-linear', (e) => (e['input_ids'] = tensorFrom('i32', [1, 2], [1, 64])))).rejects.toThrow(
      'input_ids hold 64, but the vocabulary has 64 tokens',
    );
  });
});
