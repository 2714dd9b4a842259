import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openHfModel } from '../../../src/checkpoint/index.js';
import { readJson, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { createOnnxEngine, evaluateReference } from '../../../src/engine/index.js';
import { generate } from '../../../src/generate/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import { loadModel } from '../../../src/loaded/index.js';
import { forward, parameterInputs } from '../../../src/model/index.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');

/** What Transformers generates: 20 tokens after 8, past every window, with and without a cache. */
const EXPECTED = readJson(join(DATA, 'hf-generation.json')) as Record<
  string,
  { readonly prompt: number[]; readonly tokens: number[]; readonly cached: number[] | null }
>;

/** Transformers itself gives other tokens with a cache than without one where a window is one token wide. */
const WINDOW_OF_ONE = 'smollm3-swapped';
/** Transformers sees all tokens in one pass, and with a cache only those that `sliding_window` keeps. */
const CACHE_OF_WINDOW = 'moshi';
/** Rotary positions that change once a text is longer than that of pretraining, and such a text. */
const LENGTHENED = ['phi3-scaled', 'phi3-scaled-short', 'llama-longrope'];

/** Models with pieces that the first of their type does not have. */
const MORE = [
  'laguna-channels',
  'llama4-experts',
  'llama4-experts-one',
  'cohere2-moe-rms',
  'gemma4-dense',
  'gemma4-experts',
  'zaya-partial',
  'phimoe-longrope',
];

const engine = createOnnxEngine({ threads: 1 });
afterAll(() => engine.dispose());

/** The first model of each type, and those whose window is one token. */
const MODELS = Object.keys(EXPECTED).filter((name, i, all) => {
  const typeOf = (one: string) => (readJson(join(DATA, 'hf', one, 'config.json')) as { model_type: string }).model_type;
  return (
    name === WINDOW_OF_ONE ||
    LENGTHENED.includes(name) ||
    MORE.includes(name) ||
    all.findIndex((other) => typeOf(other) === typeOf(name)) === i
  );
});

describe('greedy generation of imported models', () => {
  it.each(MODELS)('is that of Transformers, without a cache and with one: %s', async (name) => {
    const { config, parameters } = openHfModel(join(DATA, 'hf', name));
    const { prompt = [], tokens = [], cached = null } = EXPECTED[name] ?? {};
    // Changing rotary positions are refused with a cache; there, every length has its own pass.
    const all = [...prompt, ...tokens];
    const { ropeScaling: scaling } = config;
    const dynamic =
      (scaling?.type === 'dynamic' ||
        (scaling?.type === 'longrope' && String(scaling.short) !== String(scaling.long))) &&
      scaling.originalLength < all.length;
    const params = parameters();
    const best = (ids: readonly number[]): number[] => {
      const values = parameterInputs(config);
      const given = input('tokens', 'i32', [1, ids.length]);
      const graph = makeGraph(
        { ...Object.fromEntries(values), tokens: given },
        { logits: forward(config, values, given).logits },
      );
      const inputs = { ...Object.fromEntries(params), tokens: tensorFrom('i32', [1, ids.length], ids) };
      const logits = toNumbers(evaluateReference(graph, inputs)['logits'] as HostTensor);
      const V = config.vocabSize;
      return ids.map((_, t) => {
        const row = [...logits.slice(t * V, (t + 1) * V)];
        return row.indexOf(Math.max(...row));
      });
    };
    // A token follows from those before it: one pass gives all of them.
    const found = dynamic
      ? tokens.map((_, i) => best(all.slice(0, prompt.length + i)).at(-1))
      : best(all).slice(prompt.length - 1, -1);
    expect(found).toEqual(tokens);
    if (dynamic) return;
    const { rows } = await generate(loadModel(engine, config, params), [Int32Array.from(prompt)], {
      maxNew: tokens.length,
    });
    expect([...(rows[0]?.tokens ?? [])]).toEqual(tokens);
    if (cached !== null && name !== WINDOW_OF_ONE && name !== CACHE_OF_WINDOW) expect(cached).toEqual(tokens);
  });
});
