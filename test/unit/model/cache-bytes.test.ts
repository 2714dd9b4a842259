/** What `modelCost` says of the cache, beside what a decoder makes on its engine. */
import { describe, expect, it, vi } from 'vitest';
import { sizeOf, type DType } from '../../../src/core/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { Decoder } from '../../../src/generate/index.js';
import { loadModel } from '../../../src/loaded/index.js';
import { initialParameters, modelCost, resolveModelConfig, stateSpecs } from '../../../src/model/index.js';
import { CASES, RECURRENT_CASES, SMALL } from './cases.js';

/** From below the smallest window of the cases to above their largest, of 10. */
const CONTEXTS = Array.from({ length: 12 }, (_, i) => i + 1);
const BYTES: Partial<Record<DType, number>> = { bf16: 2, f32: 4 };

/** Bytes of the states of each layer of 3 sequences of up to `maxLength` tokens, divided by 3. */
function allocated(config: ReturnType<typeof resolveModelConfig>, maxLength: number, dtype: DType): number[] {
  const layers = config.layers.map(() => 0);
  for (const spec of stateSpecs(config, { batchSize: 3, maxLength, dtype })) {
    const layer = Number(/^layers\.(\d+)\./.exec(spec.name)?.[1]);
    layers[layer] = (layers[layer] ?? NaN) + ((BYTES[spec.dtype] ?? NaN) * sizeOf(spec.shape)) / 3;
  }
  return layers;
}

describe('cache bytes', () => {
  it.each([...CASES, ...RECURRENT_CASES])('are those of the states, layer by layer, with %s', (_, settings) => {
    const config = resolveModelConfig({ ...SMALL, ...settings });
    for (const dtype of ['f32', 'bf16'] as const) {
      for (const tokens of CONTEXTS) {
        const { layers, cacheBytes } = modelCost(config, tokens, { cacheElementBytes: BYTES[dtype] ?? NaN });
        const want = allocated(config, tokens, dtype);
        const place = { dtype, tokens };
        expect({ ...place, layers: layers.map((l) => l.cacheBytes) }).toEqual({ ...place, layers: want });
        expect(cacheBytes).toBe(want.reduce((a, b) => a + b, 0));
      }
    }
  });

  it.each([
    ['swa:12 full', {}],
    ['swa:3/full+mamba2 gdn', { mamba2: { headDim: 6, stateSize: 3 } }],
    ['mla:15 mla:16 mla:17 conv', { numLayers: 4 }],
    ['shared:full:nope+mamba2 mamba2', { block: { mlp: false }, headDim: 4, mamba2: { headDim: 6, stateSize: 3 } }],
  ])('are those that a decoder uploads before the first token, with %s', async (layers, more) => {
    const config = resolveModelConfig({ ...SMALL, layers, ...more });
    const engine = createReferenceEngine();
    const model = loadModel(engine, config, initialParameters(config, 1));
    const decoder = await Decoder.create(model, { batchSize: 2, maxPrompt: 8, maxNew: 8 });
    const upload = vi.spyOn(engine, 'upload');
    await decoder.read([Int32Array.of(1, 2, 3), Int32Array.of(4)]);
    const floats = upload.mock.calls.filter(([{ dtype }]) => dtype === 'f32');
    const want = 2 * modelCost(config, 16).cacheBytes;
    expect(decoder.stateBytes).toBe(want);
    expect(floats.reduce((n, [{ shape }]) => n + 4 * sizeOf(shape), 0)).toBe(want);
    await decoder.dispose();
    await engine.dispose();
  });

  it('of a window are its keys and values, of shorter contexts those that there are', () => {
    for (const tokens of [99, 100, 101]) {
      for (const window of [99, 100, 101]) {
        const config = resolveModelConfig({ ...SMALL, layers: `swa:${window}`, numKvHeads: 2 });
        const wide = 2 * 2 * 6 * Math.min(window, tokens) * 2;
        expect(modelCost(config, tokens).cacheBytes).toBe(4 * wide);
        expect(modelCost(config, tokens, { cacheElementBytes: 2 }).cacheBytes).toBe(2 * wide);
      }
    }
  });
});
