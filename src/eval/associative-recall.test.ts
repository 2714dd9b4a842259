import { describe, expect, it } from 'vitest';
import { Rng } from '../core/index.js';
import { GramCounts, GramKeys, repeatedGrams } from '../data/index.js';
import { AR_KIND, arBins, ArTally, farFrom, findAssociativeRecall, type ArRow } from './associative-recall.js';

const row = (text: number[], documents: number[] | null = null): ArRow => ({
  tokens: Int32Array.from(text.slice(0, -1)),
  targets: Int32Array.from(text.slice(1)),
  documents: documents === null ? null : Int32Array.from(documents.slice(0, -1)),
  counts: () => true,
});

const names = ['none', 'fresh', 'onset', 'inside'];

/** The definition read literally: for each target, look at every earlier place of its own document. */
function bruteForce(text: number[], documents: number[], order: number, isRare: (gram: string) => boolean) {
  return text.slice(1).map((_, t) => {
    const end = t + 1;
    const gram = (at: number) => text.slice(at - order + 1, at + 1).join();
    const whole = (at: number) => at - order + 1 >= 0 && documents[at - order + 1] === documents[end];
    if (documents[t] !== documents[end] || !whole(end)) return ['none', 0];
    for (let at = end - 1; at >= 0; at--) {
      if (!whole(at) || documents[at] !== documents[end] || gram(at) !== gram(end)) continue;
      if (!isRare(gram(end))) return ['none', 0];
      const before = at - order;
      const same = before >= 0 && documents[before] === documents[end] && text[before] === text[end - order];
      return [same ? 'inside' : 'onset', end - at];
    }
    return ['fresh', 0];
  });
}

describe('associative recall hits', () => {
  it('are tokens whose bigram came before in the document, by distance, onset and inside apart', () => {
    //            a  b  c  x  a  b  c  b  c
    const text = [1, 2, 3, 9, 1, 2, 3, 2, 3];
    const found = findAssociativeRecall(row(text), new GramKeys(10, 2), () => true);
    expect([...found.kind].map((k) => names[k])).toEqual([
      ...['fresh', 'fresh', 'fresh', 'fresh'], // ab bc cx xa
      ...['onset', 'inside', 'fresh', 'onset'], // ab after x, not at the start; bc goes on; cb; bc after c, not a
    ]);
    expect([...found.distance]).toEqual([0, 0, 0, 0, 4, 4, 0, 2]);
  });

  it('are no longer counted where the bigram is frequent in training, but stay no fresh ones', () => {
    const keys = new GramKeys(10, 2);
    const frequent = keys.at([1, 2], 1);
    const found = findAssociativeRecall(row([1, 2, 3, 9, 1, 2, 3]), keys, (key) => key !== frequent);
    expect([...found.kind].map((k) => names[k])).toEqual(['fresh', 'fresh', 'fresh', 'fresh', 'none', 'inside']);
  });

  it.each([2, 3, 6])('equal the definition on random documents, with grams of %i', (order) => {
    const rng = Rng.of(7, 'ar', order);
    for (let trial = 0; trial < 40; trial++) {
      const length = 2 + rng.int(60);
      const vocabulary = order === 2 ? 5 : 2;
      const text = Array.from({ length }, () => rng.int(vocabulary));
      let document = 0;
      const documents = text.map(() => (rng.int(9) === 0 ? ++document : document));
      const rare = new Set<string>();
      const isRareText = (gram: string) => !rare.has(gram);
      for (let i = order; i < length; i += 5) rare.add(text.slice(i - order, i).join());
      const keys = new GramKeys(vocabulary, order);
      const rareKeys = new Set([...rare].map((gram) => keys.at(gram.split(',').map(Number), order - 1)));
      const found = findAssociativeRecall(row(text, documents), keys, (key) => !rareKeys.has(key));
      const got = [...found.kind].map((k, t) => [names[k], found.distance[t]]);
      // A boundary right behind the row's last token cannot be seen from the row: the caller says that it does not count.
      const expected = bruteForce(text, documents, order, isRareText);
      const last = documents.at(-1) !== documents.at(-2) ? -1 : undefined;
      expect(got.slice(0, last)).toEqual(expected.slice(0, last));
    }
  });
});

describe('the record of associative recall', () => {
  it('has means by distance, and an interval only where there are documents to resample', () => {
    const tally = new ArTally([2, 4], 4, 3);
    const text = [1, 2, 3, 9, 1, 2, 3, 2, 3];
    const found = findAssociativeRecall(row(text), new GramKeys(10, 2), () => true);
    const loss = Float64Array.from(text.slice(1), (_, i) => i);
    const hit = Float64Array.from(text.slice(1), (_, i) => i % 2);
    tally.add(row(text), found);
    const { all, fresh, bins, far, documents, maxCount } = tally.record([{ loss, hit }]);
    expect(far).toMatchObject({ from: 4, to: 4, all: { targets: 2 }, inside: { targets: 1, loss: 5 } });
    expect([documents, maxCount]).toEqual([1, 3]);
    expect(all).toMatchObject({ targets: 8, loss: 3.5, accuracy: 0.5, lossLow: null, accuracyHigh: null });
    expect(fresh).toMatchObject({ targets: 5, loss: (0 + 1 + 2 + 3 + 6) / 5 });
    expect(bins.map(({ from, to }) => [from, to])).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(bins[0]?.onset).toMatchObject({ targets: 1, loss: 7, accuracy: 1 });
    expect(bins[1]?.inside).toMatchObject({ targets: 1, loss: 5, accuracy: 1 });
    expect(bins[1]?.all).toMatchObject({ targets: 2, loss: 4.5, accuracy: 0.5 });
    expect(bins[0]?.inside).toMatchObject({ targets: 0, loss: null });
  });

  it('has no interval where the hits are all of one document, whatever others there are', () => {
    const tally = new ArTally([2, 4], 4, 3);
    const texts = [
      [1, 2, 3, 9, 1, 2, 3, 2, 3],
      [8, 7, 6, 5, 4],
    ];
    for (const text of texts)
      tally.add(
        row(text),
        findAssociativeRecall(row(text), new GramKeys(10, 2), () => true),
      );
    const scores = texts.map((text) => ({
      loss: Float64Array.from(text.slice(1), (_, i) => i),
      hit: Float64Array.from(text.slice(1), (_, i) => i % 2),
    }));
    const { all, bins, documents } = tally.record(scores);
    expect(documents).toBe(2);
    expect(bins[1]?.all).toMatchObject({ targets: 2, loss: 4.5, lossLow: null, lossHigh: null, accuracyLow: null });
    expect(all).toMatchObject({ targets: 12, lossLow: 1.5, lossHigh: 3.5 });
  });

  it('has intervals that hold the mean of the population in 95 % of trials', () => {
    // Documents differ in their mean loss, so that intervals over tokens would be far too narrow.
    const trials = 120;
    let covered = 0;
    for (let trial = 0; trial < trials; trial++) {
      const rng = Rng.of(trial, 'coverage');
      const tally = new ArTally([8], 7, 1);
      const scores: { loss: Float64Array; hit: Float64Array }[] = [];
      for (let document = 0; document < 60; document++) {
        const shift = rng.normal();
        const text = [1, 2, 3, 1, 2, 3, 1, 2, 3];
        const loss = Float64Array.from(text.slice(1), () => 5 + shift + 0.1 * rng.normal());
        const found = findAssociativeRecall(row(text), new GramKeys(10, 2), () => true);
        tally.add(row(text), found);
        scores.push({ loss, hit: new Float64Array(8) });
      }
      const { lossLow, lossHigh } = tally.record(scores).bins[0]!.all;
      if (lossLow! <= 5 && 5 <= lossHigh!) covered++;
    }
    expect(covered / trials).toBeGreaterThan(0.88);
    expect(covered / trials).toBeLessThan(1);
  });

  it('bins distances up to the context', () => {
    expect(arBins(4096)).toEqual([16, 64, 128, 256, 512, 1024, 2048, 4096]);
    expect(arBins(100)).toEqual([16, 64, 100]);
    expect([4096, 2048, 2047, 100].map(farFrom)).toEqual([1025, 1025, 1536, 76]);
  });
});

describe('counts of grams', () => {
  it('count what they were made for, exactly', () => {
    const rng = Rng.of(3, 'grams');
    const keys = new GramKeys(50_000, 3);
    const texts = Array.from({ length: 20 }, () => Array.from({ length: 200 }, () => 49_990 + rng.int(6)));
    const wanted = repeatedGrams(texts, keys);
    const counts = new GramCounts(wanted);
    const expected = new Map<string, number>();
    for (const text of texts) {
      for (let end = 2; end < text.length; end++) {
        counts.add(keys.at(text, end));
        const name = text.slice(end - 2, end + 1).join();
        expected.set(name, (expected.get(name) ?? 0) + 1);
      }
    }
    expect(counts.size).toBe(wanted.size);
    for (const [name, count] of expected) {
      const key = keys.at(name.split(',').map(Number), 2);
      expect(counts.get(key)).toBe(wanted.has(key) ? count : null);
    }
    expect([...counts.entries()].length).toBe(wanted.size);
    expect(AR_KIND.none).toBe(0);
  });
});
