/** Token shards as training data. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DataError, parseConfig, StoreError, writeJsonAtomic } from '../../src/core/index.js';
import {
  DataConfigSchema,
  dataVocabSize,
  nextBatch,
  openData,
  prepareShards,
  readManifest,
  ShardsSource,
  TokenShards,
  type Batch,
} from '../../src/data/index.js';
import { writeShard } from '../../src/data/shards/format.js';
import { resolveRunConfig } from '../../src/lab/index.js';

const root = mkdtempSync(join(tmpdir(), 'longsight-shards-'));
afterAll(() => rmSync(root, { recursive: true }));
const dir = join(root, 'shards');

/** Document `i` is the letter of i, again and again; its length differs. */
const letter = (i: number) => String.fromCharCode(97 + (i % 26));
const lengthOf = (i: number) => (i % 4 === 0 ? 90 + i : 3 + (i % 13));
const texts = Array.from({ length: 52 }, (_, i) => letter(i).repeat(lengthOf(i)));
const whole = { minTokens: 1, maxTokens: Infinity, resets: true };

beforeAll(async () => {
  const file = join(root, 'docs.jsonl');
  writeFileSync(file, texts.map((text) => JSON.stringify({ text })).join('\n'));
  await prepareShards({ files: [file], tokenizerFolder: null, dir, chunkBytes: 400, heldOut: 0.35, workers: 1 });
  const manifest = readManifest(dir);
  expect(manifest.train.shards.length).toBeGreaterThan(3);
  expect(manifest.heldOutSplit.documents).toBeGreaterThan(3);
});

const rowsOf = ({ tokens, seqLen, batchSize }: Batch) =>
  Array.from({ length: batchSize }, (_, r) =>
    Buffer.from(tokens.slice(r * seqLen, (r + 1) * seqLen)).toString('latin1'),
  );

describe('ShardsSource', () => {
  it('visits every token but the edges of each epoch once, in another order in each', () => {
    using shards = new TokenShards(dir);
    const source = new ShardsSource(shards, 'train', whole, 8, 1);
    const size = shards.size('train');
    const count = (texts: readonly string[]) => {
      const counts = new Map<string, number>();
      for (const char of texts.join('')) counts.set(char, (counts.get(char) ?? 0) + 1);
      return counts;
    };
    const all = new Int32Array(size);
    shards.read('train', 0, all);
    const expected = count([Buffer.from(all).toString('latin1')]);
    const rows = Math.floor((size - 1) / 8) - 1;
    const first = rowsOf(nextBatch(source, rows));
    for (const [char, seen] of count(first)) {
      // What lies before the phase and after the last row is not in: at most two rows.
      expect(seen).toBeLessThanOrEqual(expected.get(char) ?? 0);
      expect(seen).toBeGreaterThanOrEqual((expected.get(char) ?? 0) - 24);
    }
    expect(rowsOf(nextBatch(source, rows))).not.toEqual(first);
  });

  it('numbers the documents of a row, and lets none predict the next', () => {
    using shards = new TokenShards(dir);
    const batch = nextBatch(new ShardsSource(shards, 'train', whole, 32, 1), 60);
    let boundaries = 0;
    for (let row = 0; row < 60; row++) {
      const at = (values: ArrayLike<number> | null, t: number) => values?.[row * 32 + t];
      expect(at(batch.segments, 0)).toBe(0);
      for (let t = 0; t < 32; t++) {
        // A document ends with its 0.
        const ends = at(batch.tokens, t) === 0;
        boundaries += Number(ends);
        expect(at(batch.weights, t)).toBe(ends ? 0 : 1);
        if (t === 31) continue;
        expect(at(batch.targets, t)).toBe(at(batch.tokens, t + 1));
        expect(at(batch.segments, t + 1)).toBe((at(batch.segments, t) as number) + Number(ends));
      }
    }
    expect(boundaries).toBeGreaterThan(60);
  });

  it('without resets has no segments and full weights', () => {
    using shards = new TokenShards(dir);
    const [packed, plain] = [true, false].map((resets) =>
      nextBatch(new ShardsSource(shards, 'train', { ...whole, resets }, 32, 1), 20),
    ) as [Batch, Batch];
    expect(plain.segments).toBeNull();
    expect(plain.weights.every((w) => w === 1)).toBe(true);
    expect(plain.tokens).toEqual(packed.tokens);
  });

  it('takes long or short documents only', () => {
    using shards = new TokenShards(dir);
    const rows = (options: object) =>
      rowsOf(nextBatch(new ShardsSource(shards, 'train', { ...whole, ...options }, 16, 1), 40));
    // Documents 0, 4, 8, ... have at least 90 letters, the others at most 15.
    const long = new Set(rows({ minTokens: 80 }).join(''));
    expect([...long].every((char) => 'aeimquycgkosw\0'.includes(char))).toBe(true);
    const short = rows({ maxTokens: 79 });
    expect(new Set(short.join('')).size).toBeGreaterThan(12);
    expect(short.every((row) => new Set(row).size > 1)).toBe(true);
    expect(() => rows({ minTokens: 5000 })).toThrow(DataError);
    expect(() => rows({ minTokens: 5000 })).toThrow(/that are taken \(0\) hold 0 tokens, fewer than a row of 16 \+ 1/);
  });

  it('goes on from a stored state, and refuses one of other shards or options', () => {
    using shards = new TokenShards(dir);
    const source = new ShardsSource(shards, 'train', whole, 8, 3);
    nextBatch(source, 250);
    const state: unknown = JSON.parse(JSON.stringify(source.state()));
    const again = new ShardsSource(shards, 'train', whole, 8, 3);
    again.restore(state);
    expect(nextBatch(again, 200)).toEqual(nextBatch(source, 200));
    const other = new ShardsSource(shards, 'train', { ...whole, maxTokens: 79 }, 8, 3);
    expect(() => other.restore(state)).toThrow(/token shards differ from those/);
  });
});

describe('a shards source in a configuration', () => {
  const config = (data: unknown) => parseConfig(DataConfigSchema, data, 'data');

  it('has training and held-out rows, and says what vocabulary they need', () => {
    const data = config({ kind: 'shards', path: dir });
    expect(dataVocabSize(data)).toBe(256);
    using opened = openData(data, { seqLen: 16, seed: 1, baseDir: '/' });
    const heldOut = opened.heldOut();
    expect(heldOut?.hasSegments).toBe(true);
    const held = nextBatch(heldOut!, 5);
    using other = openData(data, { seqLen: 16, seed: 2, baseDir: '/' });
    expect(nextBatch(other.heldOut()!, 5)).toEqual(held);
    expect(nextBatch(other.train, 5)).not.toEqual(nextBatch(opened.train, 5));
  });

  it('gives its held-out documents one by one, of allowed lengths', () => {
    const of = (lengths: object) => DataConfigSchema.parse({ kind: 'shards', path: dir, ...lengths });
    const textsOf = (config: ReturnType<typeof of>): string[] => {
      using data = openData(config, { seqLen: 8, seed: 1, baseDir: '/' });
      return data.heldOutDocuments().map(({ length, read }) => {
        const tokens = new Int32Array(length - 2);
        read(2, tokens);
        return Buffer.from(tokens).toString('latin1');
      });
    };
    using shards = new TokenShards(dir);
    const stream = new Int32Array(shards.size('heldOut'));
    shards.read('heldOut', 0, stream);
    // Each ends with a byte 0; two tokens of each were not asked for.
    const all = Buffer.from(stream).toString('latin1').split('\0').slice(0, -1);
    expect(textsOf(of({}))).toEqual(all.map((text) => `${text}\0`.slice(2)));
    const edge = all.map((text) => text.length + 1).sort((a, b) => a - b)[2] ?? 0;
    const count = (isTaken: (tokens: number) => boolean) => all.filter((text) => isTaken(text.length + 1)).length;
    expect(textsOf(of({ minTokens: edge }))).toHaveLength(count((tokens) => tokens >= edge));
    expect(textsOf(of({ minTokens: edge + 1 }))).toHaveLength(count((tokens) => tokens > edge));
    expect(textsOf(of({ maxTokens: edge }))).toHaveLength(count((tokens) => tokens <= edge));
    using mixed = openData([...of({ minTokens: edge }), ...of({ maxTokens: edge })], {
      seqLen: 8,
      seed: 1,
      baseDir: '/',
    });
    const numbers = mixed.heldOutDocuments().map((own) => own.document);
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  it('is left out of evaluation, and says so, where its held-out documents do not fill a row', () => {
    using shards = new TokenShards(dir);
    const fills = (split: 'train' | 'heldOut', maxTokens: number) =>
      ShardsSource.fillsRow(shards, split, { ...whole, maxTokens }, 16);
    const limit = [5, 6, 7, 8, 9, 10].find((m) => fills('train', m) && !fills('heldOut', m));
    expect(limit).toBeDefined();
    const few = { kind: 'shards', path: dir, maxTokens: limit };
    const rest = { kind: 'shards', path: dir, minTokens: (limit as number) + 1 };
    using both = openData(config([few, rest]), { seqLen: 16, seed: 1, baseDir: root });
    using one = openData(config(rest), { seqLen: 16, seed: 1, baseDir: root });
    expect(nextBatch(both.heldOut()!, 5)).toEqual(nextBatch(one.heldOut()!, 5));
    expect(one.notes).toEqual([]);
    expect(both.notes).toEqual([expect.stringContaining(`${dir} does not count for the held-out loss`)]);
    using none = openData(config(few), { seqLen: 16, seed: 1, baseDir: root });
    expect(none.heldOut()).toBeNull();
    expect(none.notes).toEqual(both.notes);
  });

  it('mixes long and short documents one to one', () => {
    const data = config([
      { kind: 'shards', path: 'shards', minTokens: 80 },
      { kind: 'shards', path: 'shards', maxTokens: 79 },
      { kind: 'recall', weight: 1e-9 },
    ]);
    using opened = openData(data, { seqLen: 16, seed: 1, baseDir: root });
    const batch = nextBatch(opened.train, 400);
    const long = rowsOf(batch).filter((_, r) => new Set(batch.segments?.subarray(r * 16, r * 16 + 16)).size === 1);
    expect(Math.abs(long.length / 400 - 0.5)).toBeLessThan(0.15);
  });

  it('is resolved with a run file: absolute path, vocabulary from the manifest', () => {
    const run = (path: string, model: object = {}) =>
      resolveRunConfig(
        {
          model: { hiddenSize: 32, layers: 'full', numHeads: 2, ...model },
          data: { kind: 'shards', path },
          train: { steps: 1 },
        },
        { where: 'test', baseDir: root },
      );
    expect(run('shards').model.vocabSize).toBe(256);
    expect(run('shards').data).toMatchObject([{ path: dir }]);
    expect(() => run('shards', { vocabSize: 100 })).toThrow(/smaller than the 256 tokens of the data/);
    expect(() => run('nowhere')).toThrow(
      /model\.vocabSize is not known while the token shards are not there; prepare them/,
    );
    expect(run('nowhere', { vocabSize: 512 }).model.vocabSize).toBe(512);
    expect(() => openData(config({ kind: 'shards', path: 'nowhere' }), { seqLen: 4, seed: 1, baseDir: root })).toThrow(
      /holds no token shards .* make them with "longsight data prepare"/,
    );
    expect(() => config({ kind: 'shards', path: 'x', minTokens: 9, maxTokens: 3 })).toThrow(/at least minTokens/);
  });
});

describe('shards that are not what the manifest says', () => {
  it('are refused: another shard, a token past the vocabulary, a last document without end', () => {
    const folder = join(root, 'odd');
    const put = (tokens: readonly number[], ends: readonly number[]) => {
      const sha256 = writeShard(join(folder, 'train-000000.tokens'), Uint16Array.from(tokens), ends);
      return { file: 'train-000000.tokens', tokens: tokens.length, documents: ends.length, sha256 };
    };
    const manifest = (entry: ReturnType<typeof put>) => {
      writeJsonAtomic(join(folder, 'manifest.json'), {
        ...{
          format: 1,
          tokenizer: { fingerprint: 'bytes', vocabSize: 300, endOfText: 0 },
          heldOut: 0,
          files: [],
          textBytes: 9,
        },
        train: { tokens: entry.tokens, documents: entry.documents, shards: [entry] },
        heldOutSplit: { tokens: 0, documents: 0, shards: [] },
      });
    };
    manifest(put([1, 2, 300, 0], [4]));
    using high = new TokenShards(folder);
    expect(() => high.read('train', 1, new Int32Array(2))).toThrow(/token 2 is 300, not below the vocabulary of 300/);
    manifest(put([1, 2, 3, 0], [2]));
    expect(() => new TokenShards(folder)).toThrow(/last document in .* has no end/);
    put([1, 2, 3, 4], [4]);
    expect(() => new TokenShards(folder)).toThrow(StoreError);
    expect(() => new TokenShards(folder)).toThrow(
      /is not the shard of 4 tokens and 1 documents that the manifest lists/,
    );
    writeFileSync(join(folder, 'manifest.json'), '{"format":1}');
    expect(() => new TokenShards(folder)).toThrow(/manifest\.json: tokenizer is missing; expected an object/);
  });
});
