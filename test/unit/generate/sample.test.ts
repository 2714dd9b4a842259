import { describe, expect, it } from 'vitest';
import { Rng } from '../../../src/core/index.js';
import { candidates, sampleToken, TextDecoderStream } from '../../../src/generate/index.js';

/** Logits of probabilities .1, .4, .2, .3, shifted, as sampling must not care. */
const LOGITS = [0.1, 0.4, 0.2, 0.3].map((p) => Math.log(p) + 7);
const ALL = { temperature: 1, topK: null, topP: 1 };

function shares(logits: readonly number[], settings: Parameters<typeof candidates>[1]): [number, number][] {
  const { ids, weights } = candidates(logits, settings);
  const total = weights.reduce((a, b) => a + b, 0);
  return ids.map((id, i) => [id, Number(((weights[i] as number) / total).toFixed(6))]);
}

describe('candidates', () => {
  it('have the probabilities of the logits', () => {
    expect(shares(LOGITS, ALL)).toEqual([
      [1, 0.4],
      [3, 0.3],
      [2, 0.2],
      [0, 0.1],
    ]);
  });

  it('are sharpened by temperature', () => {
    // p^2 / sum p^2, sum = .01 + .16 + .04 + .09.
    expect(shares(LOGITS, { ...ALL, temperature: 0.5 })[0]).toEqual([1, 0.533333]);
  });

  it('are cut by top-k', () => {
    expect(shares(LOGITS, { ...ALL, topK: 2 })).toEqual([
      [1, 0.571429],
      [3, 0.428571],
    ]);
    expect(shares(LOGITS, { ...ALL, topK: 9 })).toHaveLength(4);
  });

  it('are cut by top-p to the fewest that reach it, at least one, after top-k', () => {
    const ids = (topP: number, topK: number | null = null) => candidates(LOGITS, { ...ALL, topP, topK }).ids;
    expect(ids(0.01)).toEqual([1]);
    expect(ids(0.39)).toEqual([1]);
    expect(ids(0.41)).toEqual([1, 3]);
    expect(ids(0.71)).toEqual([1, 3, 2]);
    expect(ids(0.95)).toEqual([1, 3, 2, 0]);
    // Of the two that top-k leaves, the first has 0.571.
    expect(ids(0.55, 2)).toEqual([1]);
  });

  it('take ties in order of the ids', () => {
    expect(candidates([1, 2, 2, 1], { ...ALL, topK: 3 }).ids).toEqual([1, 2, 0]);
  });
});

describe('sampleToken', () => {
  it('draws by the probabilities', () => {
    const rng = Rng.of(1, 'test');
    const counts = [0, 0, 0, 0];
    const draws = 20_000;
    for (let i = 0; i < draws; i++) {
      const id = sampleToken(LOGITS, ALL, rng);
      counts[id] = (counts[id] ?? 0) + 1;
    }
    // Three standard errors are at most 0.0104.
    [0.1, 0.4, 0.2, 0.3].forEach((p, i) => expect(Math.abs((counts[i] ?? 0) / draws - p)).toBeLessThan(0.0104));
  });

  it('never draws what top-k has cut, for logits of any size', () => {
    const rng = Rng.of(2, 'test');
    const ids = Array.from({ length: 200 }, () => sampleToken([900, -900, 901, 899], { ...ALL, topK: 2 }, rng));
    expect(new Set(ids)).toEqual(new Set([0, 2]));
  });
});

describe('TextDecoderStream', () => {
  const bytes = (ids: ArrayLike<number>) => Buffer.from(Uint8Array.from(ids)).toString();

  it('hands characters out whole', () => {
    const stream = new TextDecoderStream(bytes);
    const parts = [...Buffer.from('aé€😀b')].map((byte) => stream.push(byte));
    expect(parts).toEqual(['a', '', 'é', '', '', '€', '', '', '', '😀', 'b']);
    expect(stream.end()).toBe('');
  });

  it('hands out what is left unfinished at the end', () => {
    const stream = new TextDecoderStream(bytes);
    stream.push(0x61);
    expect(stream.push(0xe2)).toBe('');
    expect(stream.end()).toBe('\uFFFD');
  });

  it('gives together what decoding at once gives, for tokens that decode differently in company', () => {
    // A decoder that drops the space before the first word, as SentencePiece does.
    const words = ['▁one', '▁two', 'teen', '▁three'];
    const decode = (ids: ArrayLike<number>) =>
      Array.from(ids, (id) => words[id])
        .join('')
        .replaceAll('▁', ' ')
        .replace(/^ /, '');
    const stream = new TextDecoderStream(decode);
    const parts = [0, 1, 2, 3, 1].map((id) => stream.push(id));
    expect(parts).toEqual(['one', ' two', 'teen', ' three', ' two']);
  });
});
