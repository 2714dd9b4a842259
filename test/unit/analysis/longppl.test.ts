import { describe, expect, it } from 'vitest';
import {
  copyHeads,
  corpusPerplexities,
  findKeyTokens,
  formatSpans,
  keySpans,
  keyTokens,
  parseSpans,
  perplexities,
  shortLosses,
  shortWindows,
  textLosses,
  tokensInSpans,
} from '../../../src/analysis/index.js';
import { Rng, tensorFrom } from '../../../src/core/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { loadModel } from '../../../src/loaded/index.js';
import {
  initialParameters,
  parameterSpecs,
  resolveModelConfig,
  type HostParameters,
} from '../../../src/model/index.js';
import { plainForward } from '../model/plain-model.js';

const engine = createReferenceEngine();
const model = resolveModelConfig({
  vocabSize: 9,
  hiddenSize: 8,
  numHeads: 2,
  headDim: 4,
  intermediateSize: 12,
  layers: 'swa:3 full',
});
const params = new Map(initialParameters(model, 5));
const loaded = loadModel(engine, model, params);
const rng = Rng.of(1, 'longppl-test');
const tokens = Int32Array.from({ length: 23 }, () => rng.int(9));

const plainLosses = (text: Int32Array): number[] => {
  const { logits } = plainForward(model, params, [...text]);
  return [...text.subarray(1)].map((target, t) => {
    const row = logits[t] as number[];
    return Math.log(row.reduce((s, v) => s + Math.exp(v), 0)) - (row[target] as number);
  });
};

describe('short contexts', () => {
  it('test every token from trunc on exactly once, with trunc to trunc + stride - 1 tokens before it', () => {
    for (const [length, trunc, stride] of [
      [23, 8, 4],
      [24, 8, 4],
      [25, 8, 4],
      [9, 8, 4],
      [8, 8, 4],
      [30, 5, 1],
    ] as const) {
      const seen = new Array<number>(length).fill(0);
      for (const w of shortWindows(length, { trunc, stride, alpha: 2, beta: -2 })) {
        expect(w.end).toBeLessThanOrEqual(length);
        for (let t = w.scoredFrom; t < w.end; t++) {
          seen[t] = (seen[t] as number) + 1;
          expect(t - w.start).toBeGreaterThanOrEqual(trunc);
          expect(t - w.start).toBeLessThan(trunc + stride);
        }
      }
      expect(seen).toEqual(seen.map((_, t) => (t >= trunc ? 1 : 0)));
    }
  });

  it('give the losses of the pieces alone, the last one shorter', async () => {
    const settings = { trunc: 8, stride: 4, alpha: 2, beta: -2 };
    const got = await shortLosses(loaded, tokens, settings);
    expect(got).toHaveLength(15);
    for (const w of shortWindows(23, settings)) {
      const own = plainLosses(tokens.slice(w.start, w.end));
      for (let t = w.scoredFrom; t < w.end; t++) expect(got[t - 8]).toBeCloseTo(own[t - w.start - 1] as number, 5);
    }
    const long = await textLosses(loaded, tokens);
    plainLosses(tokens).forEach((v, i) => expect(long[i]).toBeCloseTo(v, 5));
    // The first window starts where the text does: no gain is possible there.
    for (let t = 8; t < 12; t++) expect(got[t - 8]).toBeCloseTo(long[t - 1] as number, 6);
  });

  it('make no key token in a text that is no longer than one, and refuse windows that are not whole', async () => {
    const key = await findKeyTokens(loaded, tokens, { trunc: 23, stride: 4, alpha: 2, beta: -2 });
    expect([...key]).toEqual(new Array<number>(23).fill(0));
    await expect(findKeyTokens(loaded, tokens, { trunc: 0, stride: 4, alpha: 2, beta: -2 })).rejects.toThrow(
      'whole numbers >= 1',
    );
  });
});

describe('key tokens', () => {
  it('need both a gain above alpha and a likelihood above beta, strictly', () => {
    const long = Float64Array.of(9, 1, 1, 1.9, 2, 0.5);
    const short = Float64Array.of(3.01, 3, 9, 4.01, 0.4);
    // Tokens 2 .. 6: gains 2.01, 2, 7.1, 2.01, -0.1; likelihoods -1, -1, -1.9, -2, -0.5.
    expect([...keyTokens(long, short, { trunc: 2, stride: 1, alpha: 2, beta: -2 })]).toEqual([0, 0, 1, 0, 1, 0, 0]);
  });

  it('become character spans and back to tokens of another tokenizer', () => {
    const spans = [
      [0, 2],
      [2, 5],
      [5, 6],
      [7, 9],
    ] as const;
    const key = keySpans(Uint8Array.of(0, 1, 1, 1), spans);
    expect(key).toEqual([
      [2, 6],
      [7, 9],
    ]);
    expect(parseSpans(formatSpans(key), 'x')).toEqual(key);
    expect([
      ...tokensInSpans(
        [
          [0, 3],
          [2, 4],
          [4, 6],
          [6, 8],
          [7, 9],
        ],
        key,
      ),
    ]).toEqual([0, 1, 1, 0, 1]);
    expect(parseSpans('', 'x')).toEqual([]);
    expect(() => parseSpans('[3, 1]', 'x.txt')).toThrow('x.txt: "[3, 1]" is no span');
    expect(() => parseSpans('3-4', 'x.txt')).toThrow('is no span of characters');
  });

  it('give perplexities, weighted by tokens over a corpus, and none without key tokens', () => {
    const a = perplexities(Float64Array.of(Math.log(2), Math.log(8)), Uint8Array.of(1, 0, 1));
    expect(a.longPpl).toBeCloseTo(8, 12);
    expect(a.ppl).toBeCloseTo(4, 12);
    expect(a).toMatchObject({ keyTokens: 1, tokens: 2 });
    const b = perplexities(Float64Array.of(0, 0, 0, 0), Uint8Array.of(0, 0, 0, 0, 0));
    expect(b).toMatchObject({ longPpl: null, ppl: 1, keyTokens: 0 });
    const both = corpusPerplexities([a, b]);
    expect(both.longPpl).toBeCloseTo(8, 12);
    expect(both.ppl).toBeCloseTo(Math.exp((2 * Math.log(4)) / 6), 12);
    expect(corpusPerplexities([b]).longPpl).toBeNull();
  });
});

describe('copying heads', () => {
  /** Head 0 looks at token 7 wherever it stands, and copies it to the output. */
  function copier(): { config: typeof model; parameters: HostParameters } {
    const config = resolveModelConfig({
      ...{ vocabSize: 9, hiddenSize: 9, numHeads: 2, headDim: 9, numKvHeads: 2, intermediateSize: 4 },
      layers: 'full:nope',
    });
    const parameters: HostParameters = new Map(
      parameterSpecs(config).map(({ name, shape }) => [
        name,
        tensorFrom('f32', shape, new Array<number>(shape.reduce((a, b) => a * b, 1)).fill(0)),
      ]),
    );
    const eye = (scale: number) => Array.from({ length: 81 }, (_, i) => (i % 10 === 0 ? scale : 0));
    parameters.set('embed.weight', tensorFrom('f32', [9, 9], eye(1)));
    for (const name of ['layers.0.norm1.weight', 'layers.0.norm2.weight', 'norm.weight'])
      parameters.set(name, tensorFrom('f32', [9], new Array<number>(9).fill(1)));
    // Queries of head 0: all ask for channel 7; keys are the tokens; values are the tokens; head 1 stays zero.
    const wqkv = new Float64Array(9 * 54);
    for (let i = 0; i < 9; i++) {
      wqkv[i * 54 + 7] = 20;
      wqkv[i * 54 + 18 + i] = 1;
      wqkv[i * 54 + 36 + i] = 1;
    }
    parameters.set('layers.0.attn.wqkv', tensorFrom('f32', [9, 54], wqkv));
    const wo = new Float64Array(18 * 9);
    for (let i = 0; i < 9; i++) wo[i * 9 + i] = 10;
    parameters.set('layers.0.attn.wo', tensorFrom('f32', [18, 9], wo));
    parameters.set('head.weight', tensorFrom('f32', [9, 9], eye(1)));
    return { config, parameters };
  }

  it('score by the share of needle tokens that they copy, in runs that find the answer', async () => {
    const { config, parameters } = copier();
    const copying = loadModel(engine, config, parameters);
    const sample = (needleToken: number, answer: number[]) => ({
      tokens: Int32Array.of(1, 2, needleToken, 3, 4, 5),
      needleSpan: [2, 4] as const,
      queryPosition: 5,
      answer: Int32Array.from(answer),
    });
    const samples = [sample(7, [7, 7]), sample(7, [3, 3])];
    const got = await copyHeads(copying, samples);
    // The second run generates 7 too, which is not its answer: it does not count.
    expect(got).toMatchObject({ counted: 1, samples: 2, definition: 'copy-frequency' });
    const scores = got.heads.map((h) => h.score);
    // Token 7 is generated twice and stands once in the needle of two tokens; the second time its copy may be the generated one.
    expect(scores[0]).toBe(0.5);
    expect(scores[1]).toBe(0);
    const repeated = await copyHeads(copying, samples, { repeats: true });
    expect(repeated.heads[0]?.score).toBeGreaterThanOrEqual(0.5);
    const none = await copyHeads(copying, [sample(8, [7])]);
    expect(none).toMatchObject({ counted: 0 });
    await expect(copyHeads(copying, [sample(7, [7]), sample(7, [7, 7])])).rejects.toThrow('the same number of tokens');
  });
});
