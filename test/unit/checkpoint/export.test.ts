import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  exportHfModel,
  inspectHfModel,
  openHfModel,
  openTokenizer,
  planExport,
  readSafetensors,
} from '../../../src/checkpoint/index.js';
import { readJson, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { initialParameters, resolveModelConfig, type ModelInput } from '../../../src/model/index.js';

const HF = join(import.meta.dirname, '..', '..', 'data', 'hf');
const SMALL = { vocabSize: 256, hiddenSize: 32, numHeads: 4, numKvHeads: 2, intermediateSize: 48 };
const model = (input: Partial<ModelInput>) => resolveModelConfig({ ...SMALL, layers: 'full', ...input });

const MIMO_EXPERTS = {
  ...{ count: 4, perToken: 2, intermediateSize: 8, scores: 'sigmoid' as const, normalizeEps: 1e-20 },
  correctionBias: true,
};

const bitsOf = ({ data }: HostTensor<'f32'>) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

let root: string;
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'longsight-export-'))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('exported models', () => {
  // Transformers has no class with Mamba-2's norm over the whole width of several groups.
  const homeless = ['mamba2-whole-norm'];

  it('have no home with a norm over the whole width of several groups', () => {
    const { config } = openHfModel(join(HF, 'mamba2-whole-norm'));
    expect(() => planExport(config)).toThrow('has no home for mamba2.normGroups 1 (only 2)');
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
    ['full', { qkNorm: 'width', block: { norm: 'post' } }, 'olmo2'],
    ['swa:8 full', { qkNorm: 'width', block: { norm: 'post' } }, 'olmo3'],
    ['mamba2 full', {}, 'granitemoehybrid'],
    ['mamba2', { block: { mlp: false }, mamba2: { normEps: 1e-6 } }, 'mamba2'],
    ['full:nope 2*swa:8', { qkNorm: true, sinks: true }, 'flint'],
    ['swa:8#6 full#2', { qkNorm: true, outputGate: 'head', outputGateActivation: 'softplus' }, 'laguna'],
    ['full;sinks=no swa:8#4,4', { sinks: true, valueDim: 6, experts: MIMO_EXPERTS }, 'mimo_v2_flash'],
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
    ['full+mamba2', { rmsNormEps: 1e-5, mamba2: { headDim: 16, norm: 'none' } }, 'falcon_h1'],
    [
      'mamba2 shared:full:nope+mamba2',
      {
        ...{ block: { mlp: false }, tieEmbeddings: true, rmsNormEps: 1e-5, activation: 'gelu', numKvHeads: 2 },
        ...{ attentionScale: 0.5, mamba2: { headDim: 16, dtMin: 0.001 }, shared: { mlpRank: 4 } },
      },
      'zamba2',
    ],
    [
      'mamba shared:full:nope+mamba',
      {
        ...{ block: { mlp: false }, tieEmbeddings: true, activation: 'gelu', attentionScale: 0.5 },
        mamba: { numHeads: 4, stateSize: 8 },
      },
      'zamba',
    ],
    [
      'kda mla',
      { outputGate: 'head', mla: { normEps: 1e-6 }, kda: { rank: null, lowerBound: -4, convWidth: 3 } },
      'bailing_hybrid',
    ],
    ['mamba', { block: { mlp: false } }, 'mamba'],
    ['mamba', { block: { mlp: false }, mamba: { norms: 'plain' } }, 'falcon_mamba'],
    ['mamba full:nope', { mamba: { norms: 'weighted' } }, 'jamba'],
    [
      'full:nope swa:8:nope',
      {
        ...{ learnedPositions: 64, norm: 'layer', normBias: true, mlpGate: false, activation: 'gelu_tanh' },
        ...{ numKvHeads: 4, attentionBias: 'output', mlpBias: true, attentionScale: 1, tieEmbeddings: true },
      },
      'gpt_neo',
    ],
    [
      'full 2*swa:8:local',
      {
        ...{ norm: 'layer', embeddingNorm: true, numKvHeads: 4, headLayer: {}, headBias: true, tieEmbeddings: true },
        ...{ localRope: { theta: 1000 }, block: [{ mixerNorm: false }, {}, {}] },
      },
      'modernbert-decoder',
    ],
    [
      '3*chunk:8 full:nope',
      { qkNorm: 'rope', queryScaling: { beta: 0.1, length: 64, offset: 1, nope: true } },
      'llama4_text',
    ],
    [
      '2*rglru swa:8',
      {
        ...{ mlpBias: true, attentionBias: 'output', activation: 'gelu_tanh', normOffset: 1 },
        ...{ logitSoftcap: 30, embeddingScale: 5.65625, ropeDim: 4, tieEmbeddings: true },
      },
      'recurrent_gemma',
    ],
    ['mlstm', { logitSoftcap: 30, mlstm: { numHeads: 2, keyDim: 4, valueDim: 8 } }, 'xlstm'],
    [
      'swa:8:nope#2,1;bias=8 full:nope',
      {
        ...{
          positionBias: { width: 4, extent: 20 },
          shortConv: {},
          mlpFactor: true,
          embeddingNorm: true,
          qkNorm: true,
        },
        ...{ attentionScale: 'width', logitScale: 0.5, extraTokens: 3 },
      },
      'inkling_text',
    ],
    ['mla', {}, 'deepseek_v3'],
    [
      '2*mla',
      {
        ...{ ropeScaling: { type: 'yarn', factor: 4, originalLength: 32 }, attentionScale: 0.3, attentionBias: 'all' },
        mla: { queryRank: 8, ropeDim: 6, valueDim: 4 },
      },
      'deepseek_v3',
    ],
    ['mla', { mlpBias: true }, 'deepseek_v2'],
    [
      '2*mla',
      {
        experts: {
          ...{ count: 4, perToken: 2, intermediateSize: 8, sharedSize: 16, scores: 'sigmoid', scale: 2.5, dense: [0] },
          ...{ correctionBias: true, normalizeEps: 1e-20 },
        },
      },
      'deepseek_v3',
    ],
    ['mla', { experts: { count: 4, perToken: 2, intermediateSize: 8, normalize: false } }, 'deepseek_v2'],
    ['3*kda mla:nope', { mla: { queryRank: 8 } }, 'kimi_linear'],
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
    [{ layers: 'mla full' }, 'layers mla full'],
    [{ layers: 'mla', attentionScale: 0.3 }, 'deepseek_v3, the nearest, has no home for attentionScale 0.3'],
    [{ layers: 'mla', mla: { normEps: 1e-5 } }, 'has no home for mla.normEps 0.00001 (only 0.000001)'],
    [{ layers: 'kda mla:nope', kda: { rank: 4 } }, 'kimi_linear, the nearest, has no home for kda.rank 4 (only 8)'],
    [{ layers: 'gla full' }, 'layers gla full'],
  ])('are refused by the name of what has no home: %o', async (input, message) => {
    expect(() => planExport(model(input))).toThrow(message);
    const config = model(input);
    await expect(exportHfModel(join(root, 'out'), config, initialParameters(config, 1))).rejects.toThrow(message);
    expect(readdirSync(root)).toEqual([]);
  });

  it('gives a model the window that it has outside of training', () => {
    const [moving, fixed] = ['swa:4~8 full', 'swa:8 full'].map((layers) => planExport(model({ layers })));
    expect(moving).toEqual(fixed);
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

  it('say nothing of scaled positions where no layer has any, whose width is open then', () => {
    const ropeScaling = { type: 'longrope', short: [1, 1, 1, 1], long: [2, 3, 4, 5], factor: 2, originalLength: 16 };
    const kda = model({
      layers: 'kda',
      outputGate: 'head',
      kda: { rank: null, convWidth: 3 },
      ropeScaling,
    } as ModelInput);
    expect(planExport(kda, 'bailing_hybrid').json).not.toHaveProperty('rope_parameters');
  });

  it('hold the decays of MiniMax in float32 beside weights in bfloat16: Transformers computes with each as stored', async () => {
    const source = openHfModel(join(HF, 'minimax'));
    const out = join(root, 'out');
    await exportHfModel(out, source.config, source.parameters(), { dtype: 'bfloat16' });
    expect(openHfModel(out).config).toEqual(source.config);
    expect(inspectHfModel(out)).toMatchObject({ tensors: { types: ['BF16', 'F32'] } });
    const [before, after] = [join(HF, 'minimax'), out].map((f) => readSafetensors(join(f, 'model.safetensors')));
    const decays = Object.keys(before ?? {}).filter((name) => name.endsWith('_decay') || name.endsWith('slope_rate'));
    expect(decays).toHaveLength(4);
    for (const name of decays) {
      const theirs = toNumbers(before?.[name] as HostTensor);
      toNumbers(after?.[name] as HostTensor).forEach((v, i) => expect(v).toBeCloseTo(theirs[i] as number, 6));
    }
  });

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
    // Id 0, which no text holds, ends documents; harnesses ask the tokenizer for it.
    expect(tokenizer.endOfText).toBe(0);
    expect([...tokenizer.encode('<|endoftext|>')]).toEqual([0]);
  });

  it('name the token that ends texts in every file that is asked for it', async () => {
    const origin = join(root, 'origin');
    mkdirSync(origin);
    const vocab = Object.fromEntries(['a', 'b', '<|end|>'].map((token, id) => [token, id]));
    writeFileSync(join(origin, 'tokenizer.json'), JSON.stringify({ model: { type: 'BPE', vocab, merges: [] } }));
    const exported = async (settings: object | null) => {
      const out = join(root, `out-${readdirSync(root).length}`);
      if (settings !== null) writeFileSync(join(origin, 'tokenizer_config.json'), JSON.stringify(settings));
      await exportHfModel(out, config, parameters, { tokenizer: { folder: origin }, endTokens: [2] });
      expect(readJson(join(out, 'config.json'))).toMatchObject({ eos_token_id: 2, bos_token_id: null });
      expect(readJson(join(out, 'generation_config.json'))).toEqual({ eos_token_id: 2 });
      return readJson(join(out, 'tokenizer_config.json'));
    };
    expect(await exported(null)).toMatchObject({ eos_token: '<|end|>' });
    expect(await exported({ model_max_length: 9 })).toEqual({ model_max_length: 9, eos_token: '<|end|>' });
    expect(await exported({ eos_token: 'a' })).toEqual({ eos_token: 'a' });
  });

  it('keep the special tokens, settings of generation and chat template of the folder that they were imported from', async () => {
    const origin = join(root, 'origin');
    await exportHfModel(origin, config, parameters, { tokenizer: 'bytes', endTokens: [0] });
    const stored = readJson(join(origin, 'config.json')) as object;
    writeFileSync(join(origin, 'config.json'), JSON.stringify({ ...stored, bos_token_id: 1, pad_token_id: 3 }));
    writeFileSync(join(origin, 'generation_config.json'), JSON.stringify({ eos_token_id: [0, 7], top_p: 0.9 }));
    writeFileSync(join(origin, 'chat_template.jinja'), '{{ messages }}');
    const out = join(root, 'out');
    const model = openHfModel(origin);
    const options = { tokenizer: { folder: origin }, endTokens: [0, 7], imported: origin };
    const { files } = await exportHfModel(out, model.config, model.parameters(), options);
    expect(readJson(join(out, 'config.json'))).toMatchObject({
      bos_token_id: 1,
      pad_token_id: 3,
      eos_token_id: [0, 7],
    });
    expect(readJson(join(out, 'generation_config.json'))).toEqual({ eos_token_id: [0, 7], top_p: 0.9 });
    expect(files).toContain('chat_template.jinja');
  });

  const gemma = { normOffset: 1, embeddingScale: Math.sqrt(32), activation: 'gelu_tanh' } as const;

  it.each<[string, Partial<ModelInput>, number]>([
    ['olmo3', { qkNorm: 'width', block: { norm: 'post' } }, 4096],
    ['gemma2', { ...gemma, attentionSoftcap: 5, block: { norm: 'both' } }, 4096],
    ['vaultgemma', { ...gemma, attentionSoftcap: 5 }, 4096],
    ['gemma3_text', { ...gemma, qkNorm: true, block: { norm: 'both' } }, 4096],
    ['cohere2', { layers: 'full:nope', norm: 'layer', block: { parallel: true } }, 4096],
    ['granite_swa', { sinks: true }, 128],
    [
      'gpt_oss',
      {
        ...{ sinks: true, attentionBias: 'all' },
        experts: {
          ...{ count: 4, perToken: 2, intermediateSize: 8, routerBias: true, bias: true },
          clamped: { alpha: 1.7, limit: 7 },
        },
      },
      128,
    ],
  ])('of type %s have a window even where no layer has one: Transformers makes its mask', (type, input, window) => {
    const { json } = planExport(model(input), type);
    expect(json).toMatchObject({ layer_types: ['full_attention'], sliding_window: window });
  });

  it('are of a class that takes a width which is no multiple of the heads', () => {
    const input = { hiddenSize: 20, numHeads: 6, numKvHeads: 2, headDim: 8 };
    expect(planExport(model(input)).modelType).toBe('smollm3');
    const gemma3 = {
      ...gemma,
      ...input,
      qkNorm: true,
      block: { norm: 'both' },
      embeddingScale: Math.sqrt(20),
    } as const;
    for (const [type, more] of [
      ['llama', {}],
      ['arcee', { mlpGate: false }],
      ['cwm', {}],
      ['gemma3_text', gemma3],
      ['gemma2', { ...gemma3, qkNorm: false }],
      ['vaultgemma', { ...gemma3, qkNorm: false, block: { norm: 'pre' } }],
    ] as const) {
      expect(() => planExport(model({ ...input, ...more }), type), type).toThrow(
        'hidden_size 20 that is no multiple of num_attention_heads 6',
      );
    }
  });

  it('have a residual stream as many times as large in attention as in what is beside it', () => {
    // Mamba-2's epsilon is 1e-5: the stream of a model with another in its norms is written larger.
    const input = { layers: 'full+mamba2', mamba2: { norm: 'none', headDim: 8 }, rmsNormEps: 1e-6 } as const;
    const { json, modelType } = planExport(model(input));
    expect([modelType, json['rms_norm_eps']]).toEqual(['falcon_h1', 1e-5]);
    const scales = [
      ...['embedding_multiplier', 'attention_out_multiplier', 'ssm_out_multiplier'].map((name) => json[name]),
      (json['mlp_multipliers'] as number[])[1],
    ];
    for (const scale of scales) expect(scale).toBeCloseTo(Math.sqrt(10), 12);
  });

  it('of type olmo_hybrid have layers of both kinds, without which its class refuses them', () => {
    const { config } = openHfModel(join(HF, 'olmo-hybrid'));
    const of = (layers: string) => () =>
      planExport(resolveModelConfig({ ...config, layers, block: [{}, { norm: 'post' }] }), 'olmo_hybrid');
    expect(of('gdn full')().modelType).toBe('olmo_hybrid');
    expect(() =>
      planExport(resolveModelConfig({ ...config, layers: 'gdn gdn', block: [{}, {}] }), 'olmo_hybrid'),
    ).toThrow('layers of type linear_attention alone');
  });

  it('that share keys are of the unified Gemma 4 where layers have no inputs: the other class raises', () => {
    const { config } = openHfModel(join(HF, 'gemma4-unified'));
    expect(planExport(config).modelType).toBe('gemma4_unified_text');
    expect(() => planExport(config, 'gemma4_text')).toThrow(
      'num_kv_shared_layers 1 beside hidden_size_per_layer_input 0',
    );
  });

  it('hold whole numbers as floats where Transformers takes nothing else', async () => {
    const text = async (name: string, change: Partial<ModelInput>) => {
      const source = openHfModel(join(HF, name));
      const out = join(root, name);
      await exportHfModel(out, resolveModelConfig({ ...source.config, ...change }), source.parameters());
      return readFileSync(join(out, 'config.json'), 'utf8').replace(/\s+/g, '');
    };
    const h1 = await text('falcon-h1-norms', {});
    expect(h1).toContain('"mlp_multipliers":[1.0,1.0]');
    expect(h1).toContain('"ssm_multipliers":[1.0,1.0,1.0,1.0,1.0]');
    for (const name of ['attention_in', 'attention_out', 'ssm_in', 'ssm_out', 'lm_head'])
      expect(h1).toContain(`"${name}_multiplier":1.0`);
  });

  it.each(['mellum', 'lfm3'])(
    'of type %s say scaled positions of one kind of layer and plain ones of the other',
    (type) => {
      const { config: source } = openHfModel(join(HF, type));
      const change = (full: ModelInput['ropeScaling'], local: ModelInput['ropeScaling']) =>
        planExport(
          resolveModelConfig({ ...source, ropeScaling: full, localRope: { theta: 1e4, scaling: local } }),
          type,
        ).json;
      const same = planExport(
        resolveModelConfig({
          ...source,
          ropeTheta: 100,
          ropeScaling: { type: 'linear', factor: 2 },
          localRope: { theta: 100, scaling: null },
        }),
        type,
      );
      expect(same.json).not.toHaveProperty('rope_scaling');
      const dynamic = { type: 'dynamic', factor: 2, originalLength: 64 } as const;
      expect(change(null, dynamic)).toMatchObject({ max_position_embeddings: 64 });
    },
  );

  it('say positions again as readers of older names ask for them', () => {
    const json = (input: Partial<ModelInput>) => planExport(model(input)).json;
    expect(json({ ropeTheta: 5e5 })).toMatchObject({ rope_theta: 5e5, rope_parameters: { rope_theta: 5e5 } });
    expect(json({ ropeTheta: 5e5 })).not.toHaveProperty('rope_scaling');
    const linear = { rope_type: 'linear', factor: 4, rope_theta: 1e4 };
    const scaled = { ropeScaling: { type: 'linear', factor: 4 } as const };
    expect(json(scaled)).toMatchObject({ rope_scaling: linear, rope_parameters: linear });
    const hybrid = json({ layers: 'mamba2 full:nope' });
    expect(hybrid).toMatchObject({ layer_types: ['mamba', 'attention'], position_embedding_type: 'nope' });
    // mlx-lm normalizes over the whole width: it gets what it asks for only where that is one group.
    const mamba = (numGroups: number) =>
      json({ layers: 'mamba2', block: { mlp: false }, mamba2: { normEps: 1e-6, numHeads: 4, headDim: 16, numGroups } });
    expect(mamba(1)).toMatchObject({ intermediate_size: 64, time_step_rank: 'auto' });
    expect(mamba(2)).not.toHaveProperty('time_step_rank');
    // Windows with a base of their own cannot be said in older names.
    const gemma = { localRope: { theta: 10, scaling: null }, layers: 'swa:8:local full', qkNorm: true } as const;
    const both = planExport(
      model({
        ...gemma,
        block: { norm: 'both' },
        normOffset: 1,
        activation: 'gelu_tanh',
        embeddingScale: Math.sqrt(32),
      }),
    ).json;
    expect(both).toMatchObject({ model_type: 'gemma3_text' });
    expect(both).not.toHaveProperty('rope_theta');
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
