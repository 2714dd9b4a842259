import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  attentionEntropy,
  gradientInfluence,
  parsePromptRows,
  spelledPositions,
  topHeads,
  tracePublished,
  weightDrift,
} from '../../../src/analysis/index.js';
import { openHfModel, openTokenizer } from '../../../src/checkpoint/index.js';
import { readJson } from '../../../src/core/index.js';
import { createEngine } from '../../../src/engine/index.js';
import { loadModel } from '../../../src/loaded/index.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const FOLDER = join(DATA, 'analysis');
const engine = createEngine('onnx', { threads: 1 });
const a = openHfModel(join(DATA, 'retrieval-heads'));
const b = openHfModel(join(FOLDER, 'ckpt_b'));
const tokenizer = openTokenizer(join(DATA, 'tokenizer'));
const rows = parsePromptRows(readFileSync(join(FOLDER, 'niah.jsonl'), 'utf8'), 'niah.jsonl');
const model = loadModel(engine, a.config, a.parameters(), { tokenizer });
const texts = rows.map((r) => tokenizer.encode(r.prompt, { special: true }));

interface Scored {
  readonly layer: number;
  readonly head: number;
}

/** The study asks for numbers within 1e-4 of its own, relative. */
const near = (got: number | undefined, want: number | undefined) => {
  expect(want).toBeDefined();
  expect(Math.abs((got ?? NaN) / (want as number) - 1)).toBeLessThan(1e-4);
};

describe("the numbers of the study's own scripts", () => {
  it('head scores', async () => {
    const want = readJson(join(DATA, 'retrieval-heads', 'expected.json')) as {
      samples_used: number;
      samples_missing_needle: number;
      target_heads: (Scored & { score: number })[];
      layer_head_scores: number[][];
    };
    const got = await tracePublished(model, rows, { batchTokens: 1000 });
    expect(got.samplesUsed).toBe(want.samples_used);
    expect(got.samplesMissingNeedle).toBe(want.samples_missing_needle);
    expect(got.samplesCut).toBe(0);
    for (const { layer, head, score } of got.heads) {
      const published = want.layer_head_scores[layer]?.[head] as number;
      if (published === 0) expect(score).toBe(0);
      else near(score, published);
    }
    const top = topHeads(got.heads, 4);
    expect(top.map(({ layer, head }) => [layer, head])).toEqual(want.target_heads.map((h) => [h.layer, h.head]));
  });

  it('attention entropy', async () => {
    const want = readJson(join(FOLDER, 'attention_metrics.json')) as {
      attention_entropy: number;
      attention_entropy_norm: number;
      per_head_metrics: (Scored & { attention_entropy: number; attention_entropy_norm: number })[];
    };
    const heads = want.per_head_metrics.map(({ layer, head }) => ({ layer, head }));
    const got = await attentionEntropy(model, texts, { heads });
    near(got.entropy, want.attention_entropy);
    near(got.normalized, want.attention_entropy_norm);
    want.per_head_metrics.forEach((w, i) => {
      near(got.heads[i]?.entropy, w.attention_entropy);
      near(got.heads[i]?.normalized, w.attention_entropy_norm);
      expect(got.heads[i]?.mass).toBeCloseTo(1, 9);
      expect(got.heads[i]?.normalizedVisible).toBeCloseTo(got.heads[i]?.normalized as number, 6);
    });
  });

  it('query and key distances with grouped keys', () => {
    const want = readJson(join(FOLDER, 'weight_distance.json')) as {
      qk_l2: number;
      qk_rel_l2: number;
      per_head: (Scored & Record<'q_l2' | 'k_l2' | 'q_rel_l2' | 'k_rel_l2' | 'qk_l2' | 'qk_rel_l2', number>)[];
    };
    const heads = want.per_head.map(({ layer, head }) => ({ layer, head }));
    const got = weightDrift({ config: a.config, parameters: () => b.parameters() }, a.parameters(), { heads });
    near(got.qkL2, want.qk_l2);
    near(got.qkRel, want.qk_rel_l2);
    want.per_head.forEach((w, i) => {
      const h = got.heads[i];
      near(h?.qL2, w.q_l2);
      near(h?.kL2, w.k_l2);
      near(h?.qRel, w.q_rel_l2);
      near(h?.kRel, w.k_rel_l2);
      near(h?.qkL2, w.qk_l2);
      near(h?.qkRel, w.qk_rel_l2);
    });
  });

  it('gradient influence', async () => {
    const want = readJson(join(FOLDER, 'gradient_influence.json')) as {
      mean_grad_norm: number[];
      sample_count: number[];
      context_len: number;
      target_last_n_tokens: number;
    };
    const cut = texts.map((t) => t.subarray(0, want.context_len));
    const got = await gradientInfluence(model, cut, { lastTokens: want.target_last_n_tokens });
    expect(got.counts).toEqual(want.sample_count);
    want.mean_grad_norm.forEach((v, d) => near(got.mean[d] ?? NaN, v));
  });
});

describe('prompts', () => {
  it('have their needles found under six spellings, wherever they stand', () => {
    const ids = tokenizer.encode('code is: 31. and 31 end');
    const positions = spelledPositions(ids, ['31'], tokenizer);
    expect(positions.length).toBeGreaterThan(3);
    expect(spelledPositions(ids, ['99887'], tokenizer)).toEqual([]);
  });

  it('are counted where the needle is missing, and refused where no prompt holds one', async () => {
    const lost = [{ prompt: 'nothing is hidden in this text at all', needles: ['31415'] }];
    const got = await tracePublished(model, [...rows.slice(0, 2), ...lost]);
    expect(got).toMatchObject({ samplesUsed: 2, samplesMissingNeedle: 1 });
    await expect(tracePublished(model, lost)).rejects.toThrow('none of 1 prompts holds its needle');
    expect(() => parsePromptRows('{"a": 1}', 'x.jsonl')).toThrow('x.jsonl:1 has no prompt');
    expect(() => parsePromptRows('{', 'x.jsonl')).toThrow('x.jsonl:1 is not valid JSON');
    expect(parsePromptRows('{"prompt":"p","answer":"a","needle":"a","target":["b"]}\n', 'x')).toEqual([
      { prompt: 'p', needles: ['a', 'b'] },
    ]);
  });
});
