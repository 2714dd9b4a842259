/** Folders whose weights are stored quantized. The truth was recorded by scripts/make-hf-quantized.py. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  inspectHfModel,
  openHfModel,
  readSafetensors,
  SafetensorsFile,
  writeSafetensors,
} from '../../../src/checkpoint/index.js';
import { dequantized, scaleBlocks } from '../../../src/checkpoint/hf/quantized.js';
import { heldAs, TensorReader } from '../../../src/checkpoint/hf/reader.js';
import {
  DataError,
  fromBf16Bits,
  StoreError,
  tensorFrom,
  toNumbers,
  type HostTensor,
} from '../../../src/core/index.js';
import { createOnnxEngine } from '../../../src/engine/index.js';
import { openParity } from '../../../src/lab/index.js';
import { cli } from '../../support/cli.js';
import { messageOf, temporaryFolder } from '../../support/folders.js';

const DATA = join(import.meta.dirname, '..', '..', 'data', 'hf-quantized');
const engine = createOnnxEngine({ threads: 1 });
afterAll(() => engine.dispose());

type Json = Record<string, unknown>;

/** A copy of a folder with another `config.json`. */
function changed(name: string, change: (config: Json) => Json): string {
  const folder = join(temporaryFolder(), 'model');
  cpSync(join(DATA, name), folder, { recursive: true });
  const path = join(folder, 'config.json');
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')) as Json)));
  return folder;
}

describe('FP8 with scales', () => {
  it.each([
    ['fp8', 'blocks of 16 x 16'],
    ['fp8-tensor', 'a scale for each tensor'],
    ['fp8-powers', 'blocks of 16 x 16'],
  ])('%s computes what Transformers does with the weights that it dequantizes', async (name, how) => {
    const folder = join(DATA, name);
    const { passed, rows } = await openParity(folder)(engine);
    expect(rows.filter((row) => !row.passed || row.worstRelative > 1e-5)).toEqual([]);
    expect([passed, rows.length]).toEqual([true, 32]);
    const { quantization, held, unsupported } = inspectHfModel(folder);
    expect(quantization).toContain(how);
    expect(unsupported).toEqual([]);
    // Matrices are dequantized to f32; embedding, head and norms stay as they are stored.
    expect(held).toEqual({ f32: 86016, bf16: 8640 });
  });

  it('scales a block at the end that is cut off, wherever reading begins', () => {
    const shape = [2, 3, 5];
    const scales = Float32Array.of(1, 2, 3, 10, 20, 30, 100, 200, 300, 1000, 2000, 3000);
    const expected = [1, 1, 2, 2, 3, 1, 1, 2, 2, 3, 10, 10, 20, 20, 30];
    const all = [...expected, ...expected.map((v) => 100 * v)];
    for (const first of [0, 1, 4, 5, 13, 15, 29]) {
      const values = new Float32Array(30 - first).fill(1);
      scaleBlocks(values, first, { shape, block: [2, 2], scales });
      expect([...values], `from ${first}`).toEqual(all.slice(first));
    }
  });

  it('names scales that do not fit', () => {
    const folder = changed('fp8', (config) => config);
    const file = join(folder, 'model.safetensors');
    const tensors = readSafetensors(file);
    const name = 'model.layers.0.mlp.up_proj.weight_scale_inv';
    writeSafetensors(file, { ...tensors, [name]: tensorFrom('f32', [5, 2], new Float32Array(10)) });
    expect(() => openHfModel(folder)).toThrow(StoreError);
    expect(messageOf(() => openHfModel(folder))).toMatch(
      /up_proj.weight_scale_inv is \[5,2\], which is no grid of scales/,
    );
  });
});

describe('MXFP4', () => {
  const path = join(DATA, 'mxfp4.safetensors');
  const expected = readSafetensors(path)['expected'] as HostTensor;

  it('gives the tensors that Transformers makes of blocks and scales, exactly, held in bf16', () => {
    using file = new SafetensorsFile(path);
    const stored = new Map(
      [...file.entries.values()].map((e) => [
        e.name,
        { path, shape: e.shape, stored: e.stored, bytes: e.end - e.begin },
      ]),
    );
    const files = dequantized(stored, { method: 'mxfp4' });
    expect([...files.keys()].sort()).toEqual(['expected', 'gate_up_proj']);
    const place = files.get('gate_up_proj') as NonNullable<ReturnType<typeof files.get>>;
    expect([place.shape, heldAs(place)]).toEqual([expected.shape, 'bf16']);
    const numbers = toNumbers(expected);
    using reader = new TensorReader(files);
    expect(Float64Array.from(reader.all('gate_up_proj'))).toEqual(numbers);
    // Across two experts.
    const bits = new Uint16Array(400);
    reader.fill('gate_up_proj', 300, bits);
    expect(Float64Array.from(bits, fromBf16Bits)).toEqual(numbers.subarray(300, 700));
  });
});

describe('other quantized folders', () => {
  it.each(['gptq', 'awq', 'bitsandbytes', 'compressed-tensors', 'fbgemm_fp8', 'torchao'])(
    'are refused by name: %s',
    async (quant_method) => {
      const folder = changed('fp8', (config) => ({ ...config, quantization_config: { quant_method, bits: 4 } }));
      expect(() => openHfModel(folder)).toThrow(DataError);
      expect(messageOf(() => openHfModel(folder))).toContain(`quantization_config with quant_method "${quant_method}"`);
      const { code, stdout } = await cli(['inspect', folder]);
      expect(code).toBe(1);
      expect(stdout).toContain(`not supported: quantization_config with quant_method "${quant_method}"`);
    },
  );

  it('in FP4, or with blocks that are none', () => {
    const withConfig = (more: Json) =>
      messageOf(() =>
        openHfModel(
          changed('fp8', (c) => ({ ...c, quantization_config: { ...(c['quantization_config'] as Json), ...more } })),
        ),
      );
    expect(withConfig({ expert_dtype: 'fp4' })).toContain('quantization_config.expert_dtype "fp4"');
    expect(withConfig({ weight_block_size: [128] })).toContain('quantization_config.weight_block_size');
  });

  it('of a type that cannot be read end with exit code 1, as other models that cannot be imported', async () => {
    const folder = changed('fp8', (config) => ({ ...config, model_type: 'nothing_known' }));
    const { code, stdout } = await cli(['inspect', folder]);
    expect(code).toBe(1);
    expect(stdout).toContain('model_type "nothing_known" is not one that can be read');
  });
});
