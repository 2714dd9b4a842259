/** What is read of configurations of latent attention beside their fields: layers counted from 1, experts, further tensors. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  exportHfModel,
  inspectHfConfig,
  openHfModel,
  readSafetensors,
  writeSafetensors,
} from '../../../src/checkpoint/index.js';
import { tensorFrom } from '../../../src/core/index.js';
import { initialParameters, printPattern, resolveModelConfig } from '../../../src/model/index.js';

const HF = join(import.meta.dirname, '..', '..', 'data', 'hf');
const root = mkdtempSync(join(tmpdir(), 'longsight-latent-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const configOf = (name: string) =>
  JSON.parse(readFileSync(join(HF, name, 'config.json'), 'utf8')) as Record<string, unknown>;

describe('Kimi Linear', () => {
  const { layer_types: _types, ...plain } = configOf('kimi-linear');
  const layersOf = (lists: object) => {
    const { config, unsupported } = inspectHfConfig({ ...plain, linear_attn_config: lists }, 'config.json');
    return unsupported.length > 0 ? unsupported : printPattern(config.layers);
  };

  it('counts the layers of linear_attn_config from 1, as published', () => {
    expect(layersOf({ full_attn_layers: [3], kda_layers: [1, 2] })).toBe('2*kda mla:nope');
    expect(layersOf({ full_attn_layers: [1, 3], kda_layers: [2] })).toBe('mla:nope kda mla:nope');
  });

  it.each([
    { full_attn_layers: [2], kda_layers: [0, 1] },
    { full_attn_layers: [2], kda_layers: [1] },
    { full_attn_layers: [2, 3], kda_layers: [1, 2] },
    { full_attn_layers: [2], kda_layers: [1, 4] },
  ])('refuses lists that do not name each layer once: %o', (lists) => {
    expect(layersOf(lists)).toEqual([
      'linear_attn_config whose lists do not name each of the 3 layers once, counted from 1',
    ]);
  });

  it('has experts behind the first layer where nothing says which layers are dense, as published', () => {
    const { mlp_layer_types: _mlp, ...config } = plain;
    const of = (more: object) => inspectHfConfig({ ...config, ...more }, 'config.json').config.experts;
    expect(of({})).toMatchObject({ dense: [0], scores: 'sigmoid', correctionBias: true, groups: null });
    expect(of({ first_k_dense_replace: 2 })).toMatchObject({ dense: [0, 1] });
    expect(of({ first_k_dense_replace: 3 })).toBeNull();
  });
});

describe('DeepSeek-V3', () => {
  it('is written with floats where its class takes no whole numbers', async () => {
    const experts = { count: 4, perToken: 2, intermediateSize: 8, scores: 'sigmoid', normalizeEps: 1e-20 } as const;
    const config = resolveModelConfig({
      ...{ vocabSize: 16, hiddenSize: 16, numHeads: 2, layers: 'mla', intermediateSize: 8 },
      experts: { ...experts, correctionBias: true },
    });
    const out = join(root, 'floats');
    await exportHfModel(out, config, initialParameters(config, 1));
    expect(readFileSync(join(out, 'config.json'), 'utf8')).toContain('"routed_scaling_factor": 1.0,');
  });

  it('refuses choices of experts that its class does not know', () => {
    const config = { ...configOf('deepseek-v2-groups'), topk_method: 'noaux_tc' };
    expect(inspectHfConfig(config, 'config.json').unsupported).toEqual(['topk_method noaux_tc']);
  });

  it('leaves out layers that predict further tokens, and no other tensor', () => {
    const folder = join(root, 'further');
    cpSync(join(HF, 'deepseek-v3'), folder, { recursive: true });
    const file = join(folder, 'model.safetensors');
    const tensors = readSafetensors(file);
    const more = tensorFrom('f32', [1], [1]);
    writeSafetensors(file, { ...tensors, 'model.layers.2.eh_proj.weight': more });
    expect(openHfModel(folder).config.numLayers).toBe(2);
    writeSafetensors(file, { ...tensors, 'model.layers.1.eh_proj.weight': more });
    expect(() => openHfModel(folder)).toThrow('no place for model.layers.1.eh_proj.weight');
  });

  it('compares rotary frequencies that older files hold with those of the rotary channels', () => {
    const folder = join(root, 'frequencies');
    cpSync(join(HF, 'deepseek-v3-halves'), folder, { recursive: true });
    const file = join(folder, 'model.safetensors');
    const tensors = readSafetensors(file);
    const name = 'model.layers.0.self_attn.rotary_emb.inv_freq';
    const theta = 10_000;
    const frequencies = [0, 1, 2, 3].map((m) => theta ** (-m / 4));
    writeSafetensors(file, { ...tensors, [name]: tensorFrom('f32', [4], frequencies) });
    writeFileSync(
      join(folder, 'config.json'),
      JSON.stringify({
        ...configOf('deepseek-v3-halves'),
        rope_parameters: { rope_type: 'default', rope_theta: theta },
      }),
    );
    expect(openHfModel(folder).config.mla?.ropeDim).toBe(8);
    writeSafetensors(file, { ...tensors, [name]: tensorFrom('f32', [4], [1, 2, 3, 4]) });
    expect(() => openHfModel(folder)).toThrow('inv_freq');
  });
});
