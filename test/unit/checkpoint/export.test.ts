import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exportHfModel, openHfModel, openTokenizer, planExport } from '../../../src/checkpoint/index.js';
import { readJson, type HostTensor } from '../../../src/core/index.js';
import { initialParameters, resolveModelConfig, type ModelInput } from '../../../src/model/index.js';

const HF = join(import.meta.dirname, '..', '..', 'data', 'hf');
const SMALL = { vocabSize: 256, hiddenSize: 32, numHeads: 4, numKvHeads: 2, intermediateSize: 48 };
const model = (input: Partial<ModelInput>) => resolveModelConfig({ ...SMALL, layers: 'full', ...input });

const bitsOf = ({ data }: HostTensor<'f32'>) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

let root: string;
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'longsight-export-'))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('exported models', () => {
  // Transformers has no class with Mamba-2's norm over the whole width of several groups.
  // Nor has it one whose configuration says other slopes of Lightning attention than MiniMax's.
  const homeless = ['mamba2-whole-norm', 'minimax-slopes'];

  it('have no home with a norm over the whole width of several groups', () => {
    const { config } = openHfModel(join(HF, 'mamba2-whole-norm'));
    expect(() => planExport(config)).toThrow('has no home for mamba2.normGroups 1 (only 2)');
    const { config: slopes } = openHfModel(join(HF, 'minimax-slopes'));
    expect(() => planExport(slopes)).toThrow('has no home for lightning.rates');
  });

  it.each(readdirSync(HF).filter((name) => !homeless.includes(name)))('come back bit for bit: %s', async (name) => {
    const source = openHfModel(join(HF, name));
    const parameters = source.parameters();
    const out = join(root, 'out');
    const { modelType } = await exportHfModel(out, source.config, parameters, { modelType: source.modelType });
    expect(modelType).toBe(source.modelType);
    const back = openHfModel(out);
    expect(back.config).toEqual(source.config);
    for (const [key, tensor] of back.parameters()) {
      expect(bitsOf(tensor).equals(bitsOf(parameters.get(key) as typeof tensor)), key).toBe(true);
    }
  });

  it.each<[string, Partial<ModelInput>, string]>([
    ['swa:8 full:nope', {}, 'smollm3'],
    ['full:nope swa:8', { sinks: true }, 'granite_swa'],
    ['full', {}, 'llama'],
    ['full', { qkNorm: true }, 'qwen3'],
    ['swa:8', {}, 'smollm3'],
    ['mamba2 full', {}, 'granitemoehybrid'],
    ['mamba2', { block: { mlp: false }, mamba2: { normEps: 1e-6 } }, 'mamba2'],
    ['full:nope 2*swa:8', { qkNorm: true, sinks: true }, 'flint'],
    ['conv full', { qkNorm: true }, 'lfm2'],
    ['conv swa:8 full', { qkNorm: true, outputGate: 'head' }, 'lfm3'],
    ['swa:8 full', { attentionSoftcap: 5, normOffset: 1, embeddingScale: Math.sqrt(32) }, 'vaultgemma'],
    ['swa:8', { norm: 'layer', normBias: true, mlpGate: false, attentionBias: 'all', mlpBias: true }, 'starcoder2'],
    ['full', { qkNorm: true, mlpGate: false, activation: 'xielu' }, 'apertus'],
    ['full', { normWeight: false, embeddingNorm: true, qkNorm: true, mlpGate: false }, 'nanochat'],
    [
      'mamba2 mlp full:nope mlp',
      { mlpGate: false, activation: 'relu2', rmsNormEps: 1e-5, mamba2: { headDim: 16, numGroups: 2 } },
      'nemotron_h',
    ],
    ['mamba', { block: { mlp: false } }, 'mamba'],
    ['mamba', { block: { mlp: false }, mamba: { norms: 'plain' } }, 'falcon_mamba'],
    ['mamba full:nope', { mamba: { norms: 'weighted' } }, 'jamba'],
    ['gdn full', { qkNorm: true, outputGate: true, normOffset: 1 }, 'qwen3_next'],
    ['gdn full', { qkNorm: 'width', block: [{}, { norm: 'post' }], gdn: { normEps: 1e-5 } }, 'olmo_hybrid'],
  ])('of layers %s with %o find their class, %s', (layers, more, type) => {
    expect(planExport(model({ layers, ...more })).modelType).toBe(type);
  });

  it.each([
    [{ sinks: true, qkNorm: true }, 'has no home for'],
    [{ layers: 'swa:8/full' }, 'layers swa:8/full (only '],
    [{ layers: 'swa:8 swa:4' }, 'layers swa:8 swa:4 (only 2*swa:8)'],
    [
      { layers: 'gdn full' },
      'qwen3_next, the nearest, has no home for normOffset 0 (only 1), qkNorm false (only head)',
    ],
    [{ layers: 'lightning full' }, 'minimax, the nearest, has no home for lightning.slopes alibi (only power)'],
    [{ layers: 'kda full' }, 'layers kda full'],
    [{ layers: 'gla full' }, 'layers gla full'],
  ])('are refused by the name of what has no home: %o', async (input, message) => {
    expect(() => planExport(model(input))).toThrow(message);
    const config = model(input);
    await expect(exportHfModel(join(root, 'out'), config, initialParameters(config, 1))).rejects.toThrow(message);
    expect(readdirSync(root)).toEqual([]);
  });

  it('say which types there are, and what a named one lacks', () => {
    expect(() => planExport(model({}), 'gpt2')).toThrow(
      'cannot be exported as gpt2; choose one of llama, qwen3, smollm3',
    );
    expect(() => planExport(model({ layers: 'full:nope' }), 'llama')).toThrow('llama has no home for layers full:nope');
  });
});

describe('folders', () => {
  const config = model({ layers: 'swa:4 full:nope' });
  const parameters = initialParameters(config, 1);

  it('hold bfloat16 where asked, each element rounded to the nearest', async () => {
    const out = join(root, 'out');
    const { bytes } = await exportHfModel(out, config, parameters, { dtype: 'bfloat16' });
    expect(readJson(join(out, 'config.json'))).toMatchObject({ dtype: 'bfloat16' });
    const back = openHfModel(out).parameters();
    const sizes = [...parameters.values()].map(({ data }) => data.length);
    expect(bytes).toBe(2 * sizes.reduce((a, b) => a + b, 0));
    for (const [name, { data }] of back) {
      const ours = (parameters.get(name) as HostTensor<'f32'>).data;
      const off = data.map((v, i) => Math.abs(v - (ours[i] as number)) - Math.abs(ours[i] as number) / 256);
      expect(Math.max(...off), name).toBeLessThanOrEqual(0);
      expect(data.some((v, i) => v !== ours[i]) || new Set(ours).size === 1, name).toBe(true);
    }
  });

  it('are divided into shards with an index, with a tokenizer whose ids are bytes', async () => {
    const out = join(root, 'out');
    const { files } = await exportHfModel(out, config, parameters, { shardBytes: 20_000, tokenizer: 'bytes' });
    expect(readdirSync(out).sort()).toEqual([...files].sort());
    const { metadata, weight_map: map } = readJson(join(out, 'model.safetensors.index.json')) as {
      metadata: { total_size: number };
      weight_map: Record<string, string>;
    };
    expect(new Set(Object.values(map)).size).toBeGreaterThan(2);
    expect(metadata.total_size).toBe(4 * [...parameters.values()].reduce((n, t) => n + t.data.length, 0));
    const back = openHfModel(out).parameters();
    for (const [name, { data }] of parameters) expect(back.get(name)?.data).toEqual(data);
    const tokenizer = openTokenizer(out);
    const text = 'Ünïcode 漢字 \n\t one two  three';
    expect([...tokenizer.encode(text)]).toEqual([...Buffer.from(text)]);
    expect(tokenizer.decode([...Buffer.from(text)])).toBe(text);
  });

  it('that exist are left as they are, and failures leave nothing', async () => {
    const out = join(root, 'out');
    mkdirSync(out);
    await expect(exportHfModel(out, config, parameters)).rejects.toThrow('exists already; name a new folder');
    const file = join(root, 'file');
    writeFileSync(file, '');
    await expect(exportHfModel(join(file, 'x'), config, parameters)).rejects.toThrow('cannot write');
    expect(existsSync(join(root, 'x'))).toBe(false);
    expect(readdirSync(root).sort()).toEqual(['file', 'out']);
  });
});
