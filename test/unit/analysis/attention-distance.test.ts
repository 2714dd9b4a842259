/** Distances that heads attend to: by hand, and from the attention maps that Transformers computed. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openHfModel, readSafetensors } from '../../../src/checkpoint/index.js';
import { tensorFrom, toNumbers } from '../../../src/core/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { attentionDistances } from '../../../src/lab/index.js';
import { loadModel } from '../../../src/loaded/index.js';
import { initialParameters, resolveModelConfig } from '../../../src/model/index.js';

const engine = createReferenceEngine();
const HF = join(import.meta.dirname, '..', '..', 'data', 'hf', 'mistral-window');

describe('attention distance', () => {
  const sizes = { vocabSize: 11, hiddenSize: 8, numHeads: 2, headDim: 4, intermediateSize: 12 };
  const config = resolveModelConfig({ ...sizes, layers: 'swa:3 full' });
  const params = new Map(initialParameters(config, 3));
  for (const [name, t] of params) {
    if (!name.endsWith('attn.wqkv')) continue;
    // Zero queries: every visible key gets the same.
    const uniform = toNumbers(t).map((v, i) => (i % 24 < 8 ? 0 : v));
    params.set(name, tensorFrom('f32', t.shape, uniform));
  }
  const model = loadModel(engine, config, params);
  const heads = [
    { layer: 0, head: 1 },
    { layer: 1, head: 0 },
  ];

  it.each([
    // A window of 3 shows distances 0 to 2: a query with 2, 3 and 4 keys before and at it.
    [2, 0.5, 0.5, 0],
    [3, 1, 1, 0],
    [4, 1, 1.5, 1 / 4],
    [9, 1, 4, 6 / 9],
  ])('of equal attention to %d keys', async (length, windowed, full, beyond) => {
    const text = Int32Array.from({ length }, (_, i) => i);
    const got = await attentionDistances(model, [text], { heads, tail: 1 });
    expect(got.heads.map((h) => h.label)).toEqual(['swa:3', 'full']);
    expect(got.heads[0]?.distance).toBeCloseTo(windowed, 6);
    expect(got.heads[0]?.beyond).toEqual([{ keys: 3, share: 0 }]);
    expect(got.heads[1]?.distance).toBeCloseTo(full, 6);
    expect(got.heads[1]?.beyond[0]?.share).toBeCloseTo(beyond, 6);
    expect(got.distance).toBeCloseTo((windowed + full) / 2, 6);
  });

  it('is that of the attention maps of Transformers', async () => {
    const expected = readSafetensors(join(HF, 'expected.safetensors'));
    const { config: own, parameters } = openHfModel(HF);
    const ids = expected['input_ids'];
    // The maps are those of the first sequence.
    const [B, T] = [1, ids?.shape[1] ?? 0];
    const tokens = Int32Array.from(ids === undefined ? [] : toNumbers(ids));
    const texts = Array.from({ length: B }, (_, b) => tokens.slice(b * T, (b + 1) * T));
    const all = own.layers.flatMap((_, layer) => Array.from({ length: own.numHeads }, (__, head) => ({ layer, head })));
    const got = await attentionDistances(loadModel(engine, own, parameters()), texts, { heads: all, tail: T });
    expect(got.heads.length).toBeGreaterThan(0);
    for (const { layer, head, distance } of got.heads) {
      const map = expected[`attn.${layer}`];
      if (map === undefined) throw new Error(`no attention map of layer ${layer}`);
      const p = toNumbers(map);
      let sum = 0;
      for (let b = 0; b < B; b++)
        for (let t = 0; t < T; t++)
          for (let j = 0; j <= t; j++) sum += (p[((b * own.numHeads + head) * T + t) * T + j] ?? NaN) * (t - j);
      expect(distance).toBeCloseTo(sum / (B * T), 4);
    }
  });

  it('refuses heads that do not exist and texts that are too short', async () => {
    const text = Int32Array.of(1, 2);
    await expect(attentionDistances(model, [text], { heads, tail: 3 })).rejects.toThrow('a text has 2 tokens, fewer');
    const none = { heads: [{ layer: 2, head: 0 }], tail: 1 };
    await expect(attentionDistances(model, [text], none)).rejects.toThrow('there is no head 2:0');
  });
});
