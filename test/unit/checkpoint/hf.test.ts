import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  exportHfModel,
  HF_MODEL_TYPES,
  inspectHfConfig,
  inspectHfModel,
  isHfFolder,
  openHfModel,
  planExport,
  readHfConfig,
  readSafetensors,
  writeSafetensors,
} from '../../../src/checkpoint/index.js';
import { readJson, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { blockOf, printPattern } from '../../../src/model/index.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const HF = join(DATA, 'hf');

describe('configurations', () => {
  const smol = () =>
    JSON.parse(readFileSync(join(DATA, 'smollm3-hybrid/config.json'), 'utf8')) as Record<string, unknown>;
  const read = (changes: Record<string, unknown>) => readHfConfig({ ...smol(), ...changes }, 'c.json');

  it('take older spellings and the defaults of Transformers', () => {
    expect(read({ rope_parameters: undefined, rope_theta: 5e5 }).ropeTheta).toBe(5e5);
    expect(read({ rope_parameters: undefined }).ropeTheta).toBe(2e6);
    const derived = read({ no_rope_layers: undefined, layer_types: undefined, use_sliding_window: false });
    expect(printPattern(derived.layers)).toBe('3*full full:nope');
    // Transformers lets layers without positions slide where no types are given.
    const slides = read({ layer_types: undefined, no_rope_layers: [1, 1, 1, 0] });
    expect(printPattern(slides.layers)).toBe('3*full swa:8:nope');
    const mistral = { model_type: 'mistral', layer_types: undefined, no_rope_layers: undefined };
    expect(printPattern(read({ ...mistral, sliding_window: null }).layers)).toBe('4*full');
    const qwen = { model_type: 'qwen3', layer_types: undefined, use_sliding_window: true, max_window_layers: 2 };
    expect(printPattern(read({ ...qwen, head_dim: 16 }).layers)).toBe('2*full 2*swa:8');
    expect(read({ ...qwen }).headDim).toBe(128);
    const yarn = { rope_parameters: undefined, rope_scaling: { type: 'yarn', factor: 4 } };
    expect(read(yarn).ropeScaling).toMatchObject({ type: 'yarn', factor: 4, originalLength: 512, betaFast: 32 });
  });

  it('have the factors of MiniCPM', () => {
    const scales = {
      model_type: 'minicpm',
      scale_emb: 12,
      scale_depth: 1.4,
      dim_model_base: 16,
      layer_types: undefined,
    };
    const config = read(scales);
    expect(config).toMatchObject({ embeddingScale: 12, logitScale: 16 / 64, tieEmbeddings: false });
    expect(blockOf(config, 3).mixerScale).toBeCloseTo(1.4 / Math.sqrt(4), 12);
    expect(blockOf(config, 3).mlpScale).toBeCloseTo(1.4 / Math.sqrt(4), 12);
  });

  it('name a block size of MiniMax that is not read', () => {
    for (const [size, unsupported] of [
      [5, ['block_size 5 (powers of two up to 1024 can)']],
      [2048, ['block_size 2048 (powers of two up to 1024 can)']],
      [1024, []],
    ] as const) {
      expect(
        inspectHfConfig({ ...(readJson(join(HF, 'minimax', 'config.json')) as object), block_size: size }, 'c.json')
          .unsupported,
      ).toEqual(unsupported);
    }
  });

  it('have factors of MiniMax for a kind of layer that there is none of', () => {
    const json = readJson(join(HF, 'minimax', 'config.json')) as object;
    for (const [type, layers] of [
      ['full_attention', '2*full'],
      ['linear_attention', '2*lightning'],
    ]) {
      const { unsupported, config } = inspectHfConfig({ ...json, layer_types: [type, type] }, 'c.json');
      expect(unsupported).toEqual([]);
      expect(printPattern(config.layers)).toBe(layers);
    }
  });

  it('name heads of windows of Gemma 4 that are wider than those of full attention', () => {
    const json = readJson(join(HF, 'gemma4-unified', 'config.json')) as object;
    expect(inspectHfConfig({ ...json, head_dim: 16 }, 'c.json').unsupported).toEqual([
      'head_dim 16 of windows above the 12 of full attention',
    ]);
  });

  it('name one field under two names with two values where scaled positions take the first of them', () => {
    const json = readJson(join(HF, 'bailing-hybrid', 'config.json')) as object;
    const llama3 = { rope_type: 'llama3', rope_theta: 1e4, factor: 4, low_freq_factor: 1, high_freq_factor: 4 };
    const lengths = { model_max_length: 100, max_position_embeddings: 200 };
    const unsupported = (changes: object) => inspectHfConfig({ ...json, ...changes }, 'c.json').unsupported;
    expect(unsupported({ ...lengths, rope_parameters: llama3 })).toContain(
      'model_max_length beside another max_position_embeddings and scaled positions',
    );
    expect(unsupported({ ...lengths, max_position_embeddings: 100, rope_parameters: llama3 })).toEqual([]);
    expect(unsupported({ ...lengths, rope_parameters: { ...llama3, original_max_position_embeddings: 32 } })).toEqual(
      [],
    );
    expect(unsupported(lengths)).toEqual([]);
  });

  it('tell experts, window kinds and norms by version', () => {
    const json = (name: string, changes: object) => ({
      ...(readJson(join(HF, name, 'config.json')) as object),
      ...changes,
    });
    // Sizes of a mixer that no layer is change nothing.
    const dense = readHfConfig(json('nemotron-h', { layers_block_type: ['mlp', 'full_attention'] }), 'c.json');
    expect(printPattern(dense.layers)).toBe('mlp full:nope');
    expect(dense.mamba2).toBeUndefined();
    const next = inspectHfConfig(json('qwen3-next', { num_experts: 512, mlp_only_layers: [1] }), 'c.json');
    expect(next.unsupported).toEqual([]);
    expect(next.config.experts).toMatchObject({ count: 512, dense: [1], sharedGate: true });
    expect(printPattern(readHfConfig(json('gemma3', {}), 'c.json').layers)).toBe('swa:5:local full');
    const groups = (version: string) =>
      inspectHfConfig(json('mamba2-groups', { transformers_version: version }), 'c.json');
    expect(groups('5.23.0').config.mamba2?.normGroups).toBe(4);
    expect(groups('5.23.0').notes).toEqual([]);
    // By groups whatever wrote the file; the note says so, and how to ask for the other.
    expect(groups('4.44.0.dev0').config.mamba2?.normGroups).toBe(4);
    expect(groups('4.44.0.dev0').notes[0]).toContain('Put "norm_groups": 1 into config.json for the whole width');
    const whole = json('mamba2-groups', { norm_groups: 1, transformers_version: '4.44.0' });
    expect(inspectHfConfig(whole, 'c.json')).toMatchObject({ config: { mamba2: { normGroups: 1 } }, notes: [] });
    expect(() => readHfConfig(json('mamba2-groups', { norm_groups: 3 }), 'c.json')).toThrow('norm_groups 3');
  });

  it('have the defaults of the text model under text_config, as published Gemma 3 leaves most of it out', () => {
    const text = { hidden_size: 2560, intermediate_size: 10_240, num_hidden_layers: 12, sliding_window: 1024 };
    const rope = { rope_scaling: { factor: 8, rope_type: 'linear' } };
    const { config, modelType, notes } = inspectHfConfig(
      { model_type: 'gemma3', text_config: { ...text, ...rope, model_type: 'gemma3_text' } },
      'c.json',
    );
    expect(modelType).toBe('gemma3_text');
    expect(notes[0]).toContain('the text part of a gemma3 model');
    expect(config).toMatchObject({ vocabSize: 262_208, numHeads: 8, numKvHeads: 4, headDim: 256, tieEmbeddings: true });
    expect(config).toMatchObject({ ropeTheta: 1e6, localRope: { theta: 1e4, scaling: null } });
    expect(config.ropeScaling).toEqual({ type: 'linear', factor: 8 });
    expect(printPattern(config.layers)).toBe('5*swa:1024:local full 5*swa:1024:local full');
    const read1 = (json: object) => () => readHfConfig(json, 'c.json');
    expect(read1({ model_type: 'llava' })).toThrow(
      'c.json: text_config is missing, which holds the text model of llava',
    );
    expect(read1({ model_type: 'llava', text_config: { model_type: 'gpt2' } })).toThrow('model_type "gpt2" is not one');
    expect(read1({ model_type: 'llava', text_config: { hidden_size: 'a' } })).toThrow('text_config.hidden_size is "a"');
    expect(read1({ model_type: 'llava', text_config: { is_causal: false } })).toThrow('text_config.is_causal false');
  });

  it('take logits as the head gives them in classes with images, and say so', () => {
    const granite = { model_type: 'granite', logits_scaling: 4 };
    const beside = inspectHfConfig({ model_type: 'llava', text_config: granite }, 'c.json');
    expect(beside.config.logitScale).toBe(1);
    expect(beside.notes.join()).toContain('logits are not scaled: as in Transformers, only granite alone does that');
    expect(inspectHfConfig(granite, 'c.json').config.logitScale).toBe(0.25);
    const gemma = { model_type: 'gemma3_text', final_logit_softcapping: 30 };
    const capped = inspectHfConfig({ model_type: 'gemma3', text_config: gemma }, 'c.json');
    expect(capped.config.logitSoftcap).toBeNull();
    expect(capped.notes.join()).toContain('logits are not soft-capped');
    const plain = inspectHfConfig({ model_type: 'gemma3', text_config: { model_type: 'gemma3_text' } }, 'c.json');
    expect(plain.notes.join()).not.toContain('logits');
  });

  it.each([
    [{ model_type: 'gpt2' }, 'c.json: model_type "gpt2" is not one that can be read (llama, qwen3, smollm3'],
    [
      { model_type: 'minicpm', hidden_size: undefined },
      'c.json: hidden_size is missing (it must be a whole number >= 1)',
    ],
    [{ hidden_size: null }, 'c.json: hidden_size is null, which is not a whole number >= 1'],
    [{ is_causal: false }, 'c.json: the model has is_causal false, which cannot be imported'],
    [{ per_layer_config: { 0: { rms_norm_eps: 1 } } }, 'the model has per_layer_config'],
    [{ hidden_size: '64' }, 'c.json: hidden_size is "64", which is not a whole number >= 1'],
    [{ hidden_act: 'tanh' }, 'c.json: the model has hidden_act tanh, which cannot be imported'],
    [{ rope_parameters: { rope_type: 'longrope', rope_theta: 1e4 } }, 'longrope without short_factor'],
    [
      { rope_parameters: { rope_type: 'linear', factor: 0 } },
      'rope_parameters.factor is 0, which is not a number above 0',
    ],
    [{ layer_types: ['full_attention'] }, 'layer_types has 1 entries for num_hidden_layers 4'],
    [
      { layer_types: Array<string>(4).fill('mamba') },
      'layer 0 of type linear_attention and layer 1 of type linear_attention',
    ],
    [{ sliding_window: null }, 'c.json: sliding_window is null (it must be a whole number >= 1)'],
  ])('refuse %o', (changes, message) => {
    expect(() => read(changes)).toThrow(message);
  });
});

it('documents name every type that can be read, and no other in their table', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/hugging-face.md'), 'utf8');
  const table = text.slice(text.indexOf('| `model_type` |'), text.indexOf('Rotary positions may be'));
  const named = [...table.matchAll(/`([a-z0-9_-]+)`/g)]
    .map((match) => match[1])
    .filter((name) => name !== 'model_type');
  expect(named.sort()).toEqual([...HF_MODEL_TYPES].sort());
});

describe('folders', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'longsight-hf-'))));
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const source = join(HF, 'llama-linear');
  const place = (change: (tensors: Record<string, HostTensor>) => void): void => {
    const tensors = { ...readSafetensors(join(source, 'model.safetensors')) };
    change(tensors);
    writeFileSync(join(folder, 'config.json'), readFileSync(join(source, 'config.json')));
    writeSafetensors(join(folder, 'model.safetensors'), tensors);
  };

  it('name tensors that are missing, have another shape, or have no place', () => {
    place((t) => delete t['model.layers.1.self_attn.k_proj.weight']);
    expect(() => openHfModel(folder)).toThrow(`lacks tensor model.layers.1.self_attn.k_proj.weight [16,32]`);
    place((t) => (t['model.layers.1.mlp.up_proj.weight'] = tensorFrom('f32', [2, 2], [1, 2, 3, 4])));
    expect(() => openHfModel(folder)).toThrow(
      'tensor model.layers.1.mlp.up_proj.weight is [2,2], but config.json makes it [48,32]',
    );
    place((t) => (t['model.layers.0.self_attn.q_proj.bias'] = tensorFrom('f32', [1], [1])));
    expect(() => openHfModel(folder)).toThrow('has no place for model.layers.0.self_attn.q_proj.bias');
  });

  it('compare buffers that follow from config.json with what it gives', () => {
    // rope_theta 1000, heads of 8 channels, linear scaling by 2: as older versions saved them, scaled or not, in half precision or not.
    const name = 'model.layers.0.self_attn.rotary_emb.inv_freq';
    const plain = [0, 1, 2, 3].map((m) => 1000 ** (-m / 4));
    const place1 = (dtype: 'f32' | 'bf16', shape: number[], values: number[]) =>
      place((t) => (t[name] = tensorFrom(dtype, shape, values)));
    place1('f32', [4], plain);
    expect(openHfModel(folder).config.numLayers).toBe(2);
    place1('bf16', [4], plain);
    expect(openHfModel(folder).config.numLayers).toBe(2);
    const scaled = plain.map((f) => f / 2);
    place1('f32', [4], scaled);
    expect(openHfModel(folder).config.numLayers).toBe(2);
    const other = [0, 1, 2, 3].map((m) => 10_000 ** (-m / 4));
    place1('f32', [4], other);
    expect(() => openHfModel(folder)).toThrow(
      `tensor ${name} holds 1.00000 at place 0, but config.json makes it 0.500000; correct config.json, or remove the tensor`,
    );
    expect(inspectHfModel(folder).tensors.differing).toHaveLength(1);
    place1('f32', [1], [1]);
    expect(() => openHfModel(folder)).toThrow(`tensor ${name} is [1], but config.json makes it [4]`);
    place((t) => (t['model.layers.0.self_attn.masked_bias'] = tensorFrom('f32', [1], [-1e4])));
    expect(() => openHfModel(folder)).toThrow('has no place for model.layers.0.self_attn.masked_bias');
  });

  it('compare the decays that MiniMax keeps beside its weights', () => {
    const from = join(HF, 'minimax');
    const name = 'model.layers.0.self_attn.slope_rate';
    const change = (factor: number) => {
      const tensors = { ...readSafetensors(join(from, 'model.safetensors')) };
      const slopes = tensors[name] as HostTensor;
      tensors[name] = tensorFrom(
        'f32',
        slopes.shape,
        toNumbers(slopes).map((v) => v * factor),
      );
      writeFileSync(join(folder, 'config.json'), readFileSync(join(from, 'config.json')));
      writeSafetensors(join(folder, 'model.safetensors'), tensors);
    };
    change(1);
    expect(openHfModel(folder).modelType).toBe('minimax');
    expect(inspectHfModel(folder).notes.join()).toContain('2 tensors have no effect and are left out');
    change(1.01);
    // The slopes are the model's then, and the decays that are stored with them do not follow from them.
    expect(() => openHfModel(folder)).toThrow(/self_attn.(query|key|diagonal)_decay holds /);
    expect(inspectHfModel(join(HF, 'minimax-slopes')).notes.join()).toContain(
      'the stored slopes of Lightning attention differ',
    );
  });

  const tied = readdirSync(HF).filter((name) => {
    const config = readJson(join(HF, name, 'config.json')) as Record<string, unknown>;
    if (config['tie_word_embeddings'] !== true || /-head(-only)?$/.test(name)) return false;
    // Some classes have the field and keep a head of their own all the same.
    return !Object.keys(readSafetensors(join(HF, name, 'model.safetensors'))).includes('lm_head.weight');
  });

  it.each(tied)('use a stored head that differs from the tied embedding: %s', async (name) => {
    // ModernBERT has a layer called lm_head in front of its head.
    const headName = name.startsWith('modernbert') ? 'decoder.weight' : 'lm_head.weight';
    const from = join(HF, name);
    const tensors = { ...readSafetensors(join(from, 'model.safetensors')) };
    const embedding = Object.entries(tensors).find(([key]) =>
      /(embed_tokens|embeddings?|wte)\.weight$/.test(key),
    )?.[1] as HostTensor;
    const stored = Float32Array.from(toNumbers(embedding));
    writeFileSync(join(folder, 'config.json'), readFileSync(join(from, 'config.json')));
    const write = (values: ArrayLike<number>) =>
      writeSafetensors(join(folder, 'model.safetensors'), {
        ...tensors,
        [headName]: tensorFrom('f32', embedding.shape, values),
      });
    write(stored);
    expect(openHfModel(folder).config).toEqual(openHfModel(from).config);
    expect(inspectHfModel(folder).notes.join()).not.toContain(headName);
    // One element, the last: every one counts.
    const head = stored.slice();
    head[head.length - 1] = 7;
    write(head);
    const opened = openHfModel(folder);
    expect(opened.config.tieEmbeddings).toBe(false);
    expect(inspectHfModel(folder).notes.join()).toContain('the stored head is used and the model is not tied');
    const [vocab, width] = embedding.shape as [number, number];
    const ours = opened.parameters().get('head.weight') as HostTensor<'f32'>;
    expect(ours.shape).toEqual([width, vocab]);
    for (let v = 0; v < vocab; v++) {
      for (let c = 0; c < width; c++) expect(ours.data[c * vocab + v]).toBe(head[v * width + c]);
    }
    const out = join(folder, 'out');
    const exported = exportHfModel(out, opened.config, opened.parameters(), { modelType: opened.modelType });
    // One field ties the head and the blocks: an untied model of its own export would have one block a layer.
    if (opened.config.shared !== null) return expect(exported).rejects.toThrow('has no home for shared.blocks');
    await exported;
    expect((readJson(join(out, 'config.json')) as Record<string, unknown>)['tie_word_embeddings']).toBe(false);
    expect([...(readSafetensors(join(out, 'model.safetensors'))[headName] as HostTensor<'f32'>).data]).toEqual([
      ...head,
    ]);
  });

  // The classes of Transformers whose `_tied_weights_keys` are empty: it makes up a head that a file does not hold.
  it.each(['kimi-linear', 'bailing-hybrid', 'nemotron-h', 'inkling', 'moshi', 'xlstm'])(
    'tie no head that the class does not tie: %s',
    (name) => {
      const { 'lm_head.weight': head, ...others } = readSafetensors(join(HF, name, 'model.safetensors'));
      const json = readJson(join(HF, name, 'config.json')) as object;
      writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...json, tie_word_embeddings: true }));
      writeSafetensors(join(folder, 'model.safetensors'), { ...others, 'lm_head.weight': head as HostTensor });
      const { config, modelType } = openHfModel(folder);
      expect(config.tieEmbeddings).toBe(false);
      writeSafetensors(join(folder, 'model.safetensors'), others);
      expect(() => openHfModel(folder)).toThrow('lacks tensor lm_head.weight');
      expect(() => planExport({ ...config, tieEmbeddings: true }, modelType)).toThrow(
        'has no home for tieEmbeddings true (only false)',
      );
    },
  );

  it.each([
    ['beta', 0.5, 0.75, 'mlp.act_fn.beta holds 0.750000 at place 0, but config.json makes it 0.500000'],
    ['eps', -1e-6, -0.5, 'mlp.act_fn.eps holds -0.500000 at place 0'],
  ])(
    'refuse a stored %s of xIELU with another value, which Transformers would compute with',
    (name, own, other, why) => {
      const from = join(HF, 'apertus');
      const tensors = readSafetensors(join(from, 'model.safetensors'));
      const buffer = `model.layers.1.mlp.act_fn.${name}`;
      expect(toNumbers(tensors[buffer] as HostTensor)[0]).toBeCloseTo(own, 8);
      writeFileSync(join(folder, 'config.json'), readFileSync(join(from, 'config.json')));
      const path = join(folder, 'model.safetensors');
      writeSafetensors(path, { ...tensors, [buffer]: tensorFrom('f32', [], [other]) });
      expect(() => openHfModel(folder)).toThrow(why);
      // As it is where the buffer was made in bfloat16.
      writeSafetensors(path, {
        ...tensors,
        [buffer]: tensorFrom('f32', [], [own === 0.5 ? 0.5 : -9.98377799987793e-7]),
      });
      expect(openHfModel(folder).config).toEqual(openHfModel(from).config);
    },
  );

  it.each([
    ['lfm3', '.gate_proj.', '.g_proj.', 'layers.1.attn.wgate'],
    ['flint', '.softmax_offset', '.sinks', 'layers.1.attn.sinks'],
  ])('of type %s are read with the name of files, %s, and that of the class, %s', (type, stored, own, parameter) => {
    const from = join(HF, type);
    const renamed = Object.fromEntries(
      Object.entries(readSafetensors(join(from, 'model.safetensors'))).map(([name, tensor]) => [
        name.replace(stored, own),
        tensor,
      ]),
    );
    expect(Object.keys(renamed).filter((name) => name.includes(own)).length).toBeGreaterThan(1);
    writeFileSync(join(folder, 'config.json'), readFileSync(join(from, 'config.json')));
    writeSafetensors(join(folder, 'model.safetensors'), renamed);
    expect(openHfModel(folder).parameters().get(parameter)).toEqual(openHfModel(from).parameters().get(parameter));
  });

  it('take equal copies of shared blocks for one, and copies that differ for a block of each layer', () => {
    const from = join(HF, 'zamba2');
    const tensors = { ...readSafetensors(join(from, 'model.safetensors')) };
    const [first, later] = [1, 4].map((layer) => `model.layers.${layer}.shared_transformer.`) as [string, string];
    const copies = Object.fromEntries(
      Object.entries(tensors).flatMap(([name, tensor]) =>
        name.startsWith(first) ? [[later + name.slice(first.length), tensor]] : [],
      ),
    );
    expect(Object.keys(copies)).toHaveLength(8 + 4 * 2 * 2);
    writeFileSync(join(folder, 'config.json'), readFileSync(join(from, 'config.json')));
    const open = (more: Record<string, HostTensor>) => {
      writeSafetensors(join(folder, 'model.safetensors'), { ...tensors, ...more });
      return openHfModel(folder);
    };
    const shared = openHfModel(from);
    expect(shared.config.shared?.blocks).toBe(2);
    const equal = open(copies);
    expect(equal.config).toEqual(shared.config);
    expect(inspectHfModel(folder).notes.join()).toContain(`24 tensors have no effect and are left out (${later}`);
    expect(inspectHfModel(from).notes).toEqual([]);
    for (const [name, tensor] of shared.parameters()) expect(equal.parameters().get(name)).toEqual(tensor);
    const name = `${later}self_attn.q_proj.weight`;
    const own = Float32Array.from(toNumbers(copies[name] as HostTensor), (v) => 1.5 * v);
    const apart = open({ ...copies, [name]: tensorFrom('f32', copies[name]?.shape ?? [], own) });
    expect(apart.config.shared?.blocks).toBe(3);
    expect(inspectHfModel(folder).notes.join()).toContain(
      `${name} holds other values than the tensor that it is tied to`,
    );
    const [ours, theirs] = [0, 2].map((block) => apart.parameters().get(`shared.${block}.attn.wqkv`)?.data ?? []);
    // Columns of queries, then those of keys and values.
    const columns = 3 * 64;
    for (let i = 0; i < 64 * columns; i++)
      expect(theirs?.[i]).toBe(Math.fround((i % columns < 64 ? 1.5 : 1) * (ours?.[i] ?? NaN)));
    expect(() => open({ [`${later}self_attn.q_proj.bias`]: tensorFrom('f32', [64], new Float32Array(64)) })).toThrow(
      'has no place for model.layers.4.shared_transformer.self_attn.q_proj.bias',
    );
  });

  it('refuse a stored head of another shape, and shards that hold one tensor twice with different values', () => {
    const from = join(HF, 'llama-biases-tied');
    const tensors = { ...readSafetensors(join(from, 'model.safetensors')) };
    writeFileSync(join(folder, 'config.json'), readFileSync(join(from, 'config.json')));
    writeSafetensors(join(folder, 'model.safetensors'), {
      ...tensors,
      'lm_head.weight': tensorFrom('f32', [1, 32], new Float32Array(32)),
    });
    expect(() => openHfModel(folder)).toThrow('tensor lm_head.weight is [1,32], but config.json makes it [64,32]');
    rmSync(join(folder, 'model.safetensors'));
    const norm = 'model.norm.weight';
    const weightMap = Object.fromEntries(Object.keys(tensors).map((name) => [name, 'a.safetensors']));
    writeFileSync(
      join(folder, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { ...weightMap, [norm]: 'b.safetensors' } }),
    );
    writeSafetensors(join(folder, 'a.safetensors'), tensors);
    const again = tensors[norm] as HostTensor<'f32'>;
    writeSafetensors(join(folder, 'b.safetensors'), { [norm]: again });
    expect(openHfModel(folder).config).toEqual(openHfModel(from).config);
    const other = tensorFrom(
      'f32',
      again.shape,
      again.data.map((v) => v + 1),
    );
    writeSafetensors(join(folder, 'b.safetensors'), { [norm]: other });
    expect(() => openHfModel(folder)).toThrow(`both hold tensor ${norm}, with different values`);
  });

  it('are checked before anything is allocated: cut files, headers that lie', () => {
    place(() => undefined);
    const path = join(folder, 'model.safetensors');
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(0, bytes.length - 100));
    expect(() => openHfModel(folder)).toThrow('is not a complete safetensors file');
    const length = Number(bytes.readBigUInt64LE(0));
    const header = bytes.subarray(8, 8 + length).toString();
    const lie = (from: RegExp, to: string) => {
      const text = Buffer.from(header.replace(from, to).padEnd(length)).subarray(0, length);
      writeFileSync(path, Buffer.concat([bytes.subarray(0, 8), text, bytes.subarray(8 + length)]));
    };
    lie(/"shape":\[64,32\]/, '"shape":[99,32]');
    expect(() => openHfModel(folder)).toThrow('needs 12672 bytes but its offsets give it 8192');
    lie(/"data_offsets":\[0,\d+\]/, '"data_offsets":[0,9e15]');
    expect(() => openHfModel(folder)).toThrow('claims bytes 0 to 9000000000000000');
    writeFileSync(path, Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 1, 0]), bytes.subarray(8)]));
    expect(() => openHfModel(folder)).toThrow('header claims');
  });

  it('read shards and bf16, and say what is missing', () => {
    const all = Object.entries(readSafetensors(join(source, 'model.safetensors')));
    const weightMap: Record<string, string> = {};
    for (const shard of [0, 1]) {
      const own = all.filter((_, i) => i % 2 === shard);
      const half = own.map(([name, t]) => [name, tensorFrom('bf16', t.shape, toNumbers(t))] as const);
      own.forEach(([name]) => (weightMap[name] = `part-${shard}.safetensors`));
      writeSafetensors(join(folder, `part-${shard}.safetensors`), Object.fromEntries(half));
    }
    writeFileSync(join(folder, 'config.json'), readFileSync(join(source, 'config.json')));
    expect(() => openHfModel(folder)).toThrow('has neither model.safetensors nor model.safetensors.index.json');
    writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));
    const [got, want] = [openHfModel(folder).parameters(), openHfModel(source).parameters()];
    for (const [name, tensor] of want) {
      const other = got.get(name)?.data ?? [];
      expect(other.length).toBe(tensor.data.length);
      tensor.data.forEach((v, i) => {
        if (Math.abs((other[i] as number) - v) > 2 ** -8 * Math.abs(v)) throw new Error(`${name}[${i}]`);
      });
    }
    const elsewhere = Object.fromEntries(Object.keys(weightMap).map((name) => [name, 'part-0.safetensors']));
    writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: elsewhere }));
    expect(() => openHfModel(folder)).toThrow('part-0.safetensors, which does not hold it');
    writeFileSync(
      join(folder, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: { a: '../x.safetensors' } }),
    );
    expect(() => openHfModel(folder)).toThrow('shards must lie in the folder itself');
    writeFileSync(join(folder, 'model.safetensors.index.json'), '{}');
    expect(() => openHfModel(folder)).toThrow('weight_map is missing; expected an object');
    expect(isHfFolder(join(folder, 'nothing'))).toBe(false);
  });
});
