import { afterAll, describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { createOnnxEngine, evaluateReference, type Engine } from '../../../src/engine/index.js';
import { loadModel, type LoadedModel } from '../../../src/loaded/index.js';
import { Decoder, generate, GREEDY, type DecoderOptions, type GenerateOptions } from '../../../src/generate/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import { forward, parameterInputs, resolveModelConfig, type ModelConfig } from '../../../src/model/index.js';
import { randomParameters, randomTokens, SMALL } from '../model/cases.js';

const engine = createOnnxEngine({ threads: 1 });
afterAll(() => engine.dispose());

const HYBRID = resolveModelConfig({ ...SMALL, layers: 'swa:4 full:nope', numKvHeads: 2, qkNorm: true });

function modelOf(config: ModelConfig): { params: Map<string, HostTensor>; model: LoadedModel } {
  const exact = randomParameters(config);
  const params = new Map([...exact].map(([name, t]) => [name, tensorFrom('f32', t.shape, toNumbers(t))]));
  return { params, model: loadModel(engine, config, params) };
}

/** The likeliest next token by the whole forward pass on the reference engine. */
function likeliest(config: ModelConfig, params: ReadonlyMap<string, HostTensor>, tokens: readonly number[]): number {
  const values = parameterInputs(config);
  const ids = input('tokens', 'i32', [1, tokens.length]);
  const { logits } = forward(config, values, ids);
  const given = { ...Object.fromEntries(params), tokens: tensorFrom('i32', ids.shape, tokens) };
  const graph = makeGraph({ ...Object.fromEntries(values), tokens: ids }, { logits });
  const last = toNumbers(evaluateReference(graph, given).logits as HostTensor).slice(-config.vocabSize);
  return last.indexOf(Math.max(...last));
}

const { params, model } = modelOf(HYBRID);
const prompts = [3, 12, 7].map((n, i) => Int32Array.from(randomTokens(HYBRID, n, i)));

async function run(
  options: Partial<DecoderOptions>,
  generation: GenerateOptions,
  given: readonly Int32Array[] = prompts,
) {
  const sizes = { batchSize: 3, maxPrompt: 12, maxNew: 10 };
  const decoder = await Decoder.create(model, { ...sizes, ...options });
  try {
    return await generate(decoder, given, generation);
  } finally {
    await decoder.dispose();
  }
}

const tokensOf = ({ rows }: Awaited<ReturnType<typeof run>>) => rows.map((r) => [...r.tokens]);

describe('greedy generation', () => {
  it('takes the likeliest token of the whole forward pass, again and again, for prompts of any length together', async () => {
    const result = await run({}, { maxNew: 10 });
    prompts.forEach((prompt, i) => {
      const tokens: number[] = [...prompt];
      for (let n = 0; n < 10; n++) tokens.push(likeliest(HYBRID, params, tokens));
      expect([...(result.rows[i]?.tokens ?? [])]).toEqual(tokens.slice(prompt.length));
    });
    expect(result.rows.map((r) => r.finish)).toEqual(['length', 'length', 'length']);
    expect(result.steps).toBe(10);
  });

  it('does not depend on how prompts are cut or what stands beside them', async () => {
    const want = tokensOf(await run({}, { maxNew: 10 }));
    for (const chunk of [1, 3, 12, 16]) expect(tokensOf(await run({ chunk }, { maxNew: 10 }))).toEqual(want);
    for (const [i, prompt] of prompts.entries()) {
      expect(tokensOf(await run({ batchSize: 1 }, { maxNew: 10 }, [prompt]))).toEqual([want[i]]);
    }
    expect(tokensOf(await run({}, { maxNew: 4 }, prompts.slice(0, 2)))).toEqual(
      want.slice(0, 2).map((w) => w.slice(0, 4)),
    );
  });

  it('does not depend on how long prompts are cut: in small chunks and large ones', async () => {
    const long = [300, 129, 257].map((n, i) => Int32Array.from(randomTokens(HYBRID, n, 20 + i)));
    const sizes = { maxPrompt: 300, maxNew: 4 };
    const want = tokensOf(await run({ ...sizes, chunk: 60 }, { maxNew: 4 }, long));
    // 300 tokens are 384 slots: a chunk of 128 and one of 256.
    expect(tokensOf(await run(sizes, { maxNew: 4 }, long))).toEqual(want);
    for (const [i, prompt] of long.entries()) {
      const tokens: number[] = [...prompt];
      for (let n = 0; n < 4; n++) tokens.push(likeliest(HYBRID, params, tokens));
      expect(want[i]).toEqual(tokens.slice(prompt.length));
    }
  });

  it('needs no decoder for one round: a model continues all its prompts together', async () => {
    expect(tokensOf(await generate(model, prompts, { maxNew: 10 }))).toEqual(tokensOf(await run({}, { maxNew: 10 })));
  });

  it('gives an engine that runs ahead its own likeliest tokens, which the host uploads nowhere, with the same rows', async () => {
    const uploads: number[] = [];
    const eager: Engine = {
      ...engine,
      hints: { ...engine.hints, runsAhead: 4 },
      upload: (tensor, sharding) => {
        if (tensor.shape.length === 2) uploads.push(tensor.shape[1] ?? 0);
        return engine.upload(tensor, sharding);
      },
    };
    const ahead = loadModel(eager, HYBRID, params);
    uploads.length = 0;
    const stops = new Set(tokensOf(await run({}, { maxNew: 4 })).map((row) => row[2] ?? 0));
    for (const options of [{ maxNew: 10 }, { maxNew: 1 }, { maxNew: 10, stopTokens: stops }]) {
      const { seconds: _, ...want } = await generate(model, prompts, options);
      const { seconds: __, ...got } = await generate(ahead, prompts, options);
      expect(got).toEqual(want);
    }
    expect(uploads).not.toContain(1);
    await generate(ahead, prompts, { maxNew: 3, sampling: { ...GREEDY, temperature: 0.5 } });
    expect(uploads.filter((n) => n === 1)).toHaveLength(2);
  });

  it('reads new prompts after old ones as if nothing had been', async () => {
    const decoder = await Decoder.create(model, { batchSize: 1, maxPrompt: 12, maxNew: 5 });
    const [first, second] = [prompts[0] as Int32Array, prompts[1] as Int32Array];
    const want = tokensOf(await run({ batchSize: 1 }, { maxNew: 5 }, [first]));
    await generate(decoder, [second], { maxNew: 5 });
    expect(tokensOf(await generate(decoder, [first], { maxNew: 5 }))).toEqual(want);
    await decoder.dispose();
  });

  it('stops a row at a stop token, which it leaves out, or where it is told, and goes on with the others', async () => {
    const want = tokensOf(await run({}, { maxNew: 10 }));
    const stop = want[0]?.[2] as number;
    const seen: number[][] = [[], [], []];
    const result = await run(
      {},
      {
        maxNew: 10,
        stopTokens: new Set([stop]),
        isDone: (tokens, row) => row === 1 && tokens.length === 1,
        onToken: (row, token) => seen[row]?.push(token),
      },
    );
    const cut = (tokens: number[] = []) => (tokens.includes(stop) ? tokens.slice(0, tokens.indexOf(stop)) : tokens);
    const second = cut(want[1]).slice(0, 1);
    expect(tokensOf(result)).toEqual([cut(want[0]), second, cut(want[2])]);
    expect(seen).toEqual(tokensOf(result));
    expect(result.rows[0]?.finish).toBe('stop');
    if (second.length === 1) expect(result.rows[1]?.finish).toBe('done');
  });
});

describe('sampled generation', () => {
  const sampling = { temperature: 1, topK: null, topP: 1 };

  it('is the same for the same seed, in any company, and another for another', async () => {
    const want = tokensOf(await run({}, { maxNew: 10, sampling, seed: 5 }));
    expect(tokensOf(await run({}, { maxNew: 10, sampling, seed: 5 }))).toEqual(want);
    expect(tokensOf(await run({ batchSize: 1 }, { maxNew: 10, sampling, seed: 5 }, prompts.slice(0, 1)))).toEqual([
      want[0],
    ]);
    expect(tokensOf(await run({}, { maxNew: 10, sampling, seed: 6 }))).not.toEqual(want);
  });

  it('is greedy with one candidate', async () => {
    const want = tokensOf(await run({}, { maxNew: 10 }));
    expect(tokensOf(await run({}, { maxNew: 10, sampling: { ...sampling, topK: 1 } }))).toEqual(want);
  });

  it('refuses settings out of range', async () => {
    const bad = (change: object) => run({}, { maxNew: 1, sampling: { ...sampling, ...change } });
    await expect(bad({ temperature: -1 })).rejects.toThrow('temperature must be 0 (greedy) or more, got -1');
    await expect(bad({ topK: 0 })).rejects.toThrow('top-k must be a whole number of at least 1, got 0');
    await expect(bad({ topP: 0 })).rejects.toThrow('top-p must be above 0 and at most 1, got 0');
    await expect(bad({ topP: 1.5 })).rejects.toThrow(/top-p/);
  });
});

describe('a decoder', () => {
  it('refuses prompts that are empty, too long, too many, or of unknown tokens', async () => {
    const one = (...tokens: number[]) => [Int32Array.from(tokens)];
    const bad = (given: readonly Int32Array[]) => run({ batchSize: 1 }, { maxNew: 1 }, given);
    await expect(bad(one())).rejects.toThrow('prompt 1 is empty');
    await expect(bad(one(...new Array<number>(13).fill(1)))).rejects.toThrow(
      'prompt 1 has 13 tokens, more than the 12 that there is room for',
    );
    await expect(bad(one(1, 11))).rejects.toThrow('prompt 1 holds token 11, but the model knows ids below 11');
    await expect(bad(prompts)).rejects.toThrow('3 prompts for a decoder of 1 sequences');
  });

  it('says when its cache is full', async () => {
    const decoder = await Decoder.create(model, { batchSize: 1, maxPrompt: 8, maxNew: 2 });
    await decoder.read([Int32Array.of(1, 2)]);
    await decoder.step(Int32Array.of(1));
    await decoder.step(Int32Array.of(1));
    await expect(decoder.step(Int32Array.of(1))).rejects.toThrow('made for 2 new tokens');
    await decoder.dispose();
  });

  it('knows the bytes of its caches', async () => {
    const decoder = await Decoder.create(model, { batchSize: 3, maxPrompt: 8, maxNew: 2 });
    // Keys and values of 2 heads of 6 in f32: a window of 4, and 8 + 2 slots.
    expect(decoder.stateBytes).toBe(3 * 2 * 2 * 6 * 4 * (4 + 10));
    await decoder.dispose();
    await expect(Decoder.create(model, { batchSize: 0, maxPrompt: 8, maxNew: 2 })).rejects.toThrow(
      'batchSize must be a whole number of at least 1, got 0',
    );
  });
});
