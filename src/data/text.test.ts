import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DataError, parseConfig, Rng } from '../core/index.js';
import { MANY_DOCUMENTS, TextCorpus, type Split } from './corpus.js';
import { expandFiles } from './glob.js';
import { DataConfigSchema, openData } from './sources/open.js';
import { nextBatch, type DataSource } from './source.js';
import { orderOf, TextSource } from './text.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-text-'));
afterAll(() => rmSync(folder, { recursive: true }));

function put(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
  return path;
}

function whole(corpus: TextCorpus, split: Split): string {
  const bytes = new Uint8Array(corpus.size(split));
  corpus.read(split, 0, bytes);
  return Buffer.from(bytes).toString();
}

const jsonl = (texts: readonly string[]) => texts.map((text) => JSON.stringify({ id: 1, text })).join('\n');

describe('expandFiles', () => {
  it('finds plain files and patterns, sorted and once each', () => {
    const [a, b, c] = [put('g/a.txt', 'a'), put('g/sub/deep/b.md', 'b'), put('g/sub/c.txt', 'c')];
    put('g/.hidden/d.txt', 'd');
    expect(expandFiles(['g/**/*.txt', 'g/a.txt'], folder)).toEqual([a, c]);
    expect(expandFiles([`${folder}/g/*/c.t?t`], '/')).toEqual([c]);
    expect(expandFiles(['g/**/*.{md,txt}'], folder)).toEqual([a, b, c].sort());
    expect(expandFiles(['g/**'], folder)).toEqual([a, b, c].sort());
  });

  it('names what is missing', () => {
    expect(() => expandFiles(['g/x.txt'], folder)).toThrow(/g\/x\.txt does not exist/);
    expect(() => expandFiles(['g/*.csv'], folder)).toThrow(/no file matches g\/\*\.csv/);
    expect(() => expandFiles(['nowhere/**/*.csv'], folder)).toThrow(/no file matches/);
    expect(() => expandFiles(['g'], folder)).toThrow(/is a folder/);
  });
});

describe('TextCorpus', () => {
  it('joins documents by a byte 0 and holds out the tail of each when they are few', () => {
    const files = [put('one.txt', 'abcdefghij'), put('two.jsonl', jsonl(['ABCDEFGHIJ', '', 'é\n"x"']) + '\n\n')];
    using corpus = new TextCorpus(files, 0.2);
    expect(corpus.numDocuments).toBe(3);
    expect(whole(corpus, 'train')).toBe('abcdefgh\0ABCDEFGH\0é\n"\0');
    expect(whole(corpus, 'heldOut')).toBe('ij\0IJ\0x"\0');
    using all = new TextCorpus(files, 0);
    expect(whole(all, 'train')).toBe('abcdefghij\0ABCDEFGHIJ\0é\n"x"\0');
    expect(all.size('heldOut')).toBe(0);
  });

  it('reads any range as it reads the whole', () => {
    const rng = Rng.of(1, 'corpus');
    const texts = Array.from({ length: 30 }, (_, i) => `${i}`.repeat(1 + rng.int(9)));
    using corpus = new TextCorpus([put('r.jsonl', jsonl(texts)), put('r.txt', 'tail of it')], 0);
    const all = whole(corpus, 'train');
    for (let i = 0; i < 300; i++) {
      const from = rng.int(all.length);
      const bytes = new Uint8Array(rng.int(all.length - from + 1));
      corpus.read('train', from, bytes);
      expect(Buffer.from(bytes).toString()).toBe(all.slice(from, from + bytes.length));
    }
    expect(() => corpus.read('train', 1, new Uint8Array(all.length))).toThrow(DataError);
  });

  it('splits many documents by their text, so that copies stay together and nothing is on both sides', () => {
    const texts = Array.from({ length: 2 * MANY_DOCUMENTS }, (_, i) => `document ${i % (MANY_DOCUMENTS + 50)}`);
    using corpus = new TextCorpus([put('many.jsonl', jsonl(texts))], 0.1);
    const of = (split: Split) => whole(corpus, split).split('\0').slice(0, -1);
    const [train, heldOut] = [of('train'), of('heldOut')];
    expect([...train, ...heldOut].sort()).toEqual([...texts].sort());
    expect(heldOut.length).toBeGreaterThan(4);
    expect(heldOut.length).toBeLessThan(50);
    expect(train.filter((t) => heldOut.includes(t))).toEqual([]);
    using tiny = new TextCorpus([join(folder, 'many.jsonl')], 1e-9);
    expect(tiny.size('heldOut')).toBeGreaterThan(0);
  });

  it.each<[string, string | Uint8Array, RegExp]>([
    ['bin.txt', Buffer.from('a\nb\0c'), /bin\.txt, line 2: a byte 0 at offset 3/],
    ['bad.jsonl', '{"text":"a"}\n\n{"text":', /bad\.jsonl, line 3: not valid JSON/],
    ['list.jsonl', '[1]', /list\.jsonl, line 1: not a JSON object/],
    ['number.jsonl', '{"text":"a"}\n{"text":5}', /number\.jsonl, line 2: "text" is not a string/],
    ['nul.jsonl', '{"text":"a\\u0000b"}', /nul\.jsonl, line 1: its text contains a character 0/],
    ['latin.jsonl', Buffer.from([0x22, 0xe9, 0x22]), /latin\.jsonl: byte 1 is not valid UTF-8/],
    [
      'latin.txt',
      Buffer.from('caf\xe9 x', 'latin1'),
      /latin\.txt: byte 3 is not valid UTF-8; convert the file, or make shards/,
    ],
    ['end.txt', Buffer.from([0x41, 0xe2, 0x82]), /end\.txt: byte 1 is not valid UTF-8/],
    ['half.jsonl', '{"text":"\\udc00"}', /half\.jsonl, line 1: "text" has half of a surrogate pair/],
    ['packed.txt.gz', '', /packed\.txt\.gz is compressed, so it is not read at any place; make shards/],
    ['a.parquet', '', /a\.parquet is Parquet, which text sources do not read/],
    ['empty.txt', '', /no text in .*empty\.txt/],
  ])('says what is wrong with %s', (name, content, message) => {
    const path = put(name, content);
    expect(() => new TextCorpus([path], 0)).toThrow(DataError);
    expect(() => new TextCorpus([path], 0)).toThrow(message);
  });

  it('finds lines that cross the chunks in which a file is read', () => {
    const texts = ['x'.repeat(5 * 2 ** 20), 'middle', 'y'.repeat(4 * 2 ** 20 - 20), 'end'];
    using corpus = new TextCorpus([put('long.jsonl', jsonl(texts))], 0);
    expect(whole(corpus, 'train')).toBe(texts.map((t) => t + '\0').join(''));
  });

  it('notices text that shrank while it was in use', () => {
    const path = put('shrink.txt', 'some text here');
    using corpus = new TextCorpus([path], 0);
    put('shrink.txt', 'some');
    expect(() => whole(corpus, 'train')).toThrow(/shrink\.txt changed while it was in use/);
  });
});

describe('TextSource', () => {
  const text = Array.from({ length: 1000 }, (_, i) => String.fromCharCode(97 + (i % 26))).join('');

  it('visits every piece of an epoch once, in an order of its own, and shifts bytes by one for targets', () => {
    const path = put('alphabet.txt', text);
    using corpus = new TextCorpus([path], 0);
    const source = new TextSource(corpus, 'train', 10, 1);
    const epoch = () => {
      const batch = nextBatch(source, 90);
      batch.targets.forEach((t, i) => {
        if (i % 10 < 9) expect(t).toBe(batch.tokens[i + 1]);
      });
      expect(batch.weights.every((w) => w === 1)).toBe(true);
      return Array.from({ length: 90 }, (_, i) => Buffer.from(batch.tokens.slice(i * 10, i * 10 + 10)).toString());
    };
    expect(epoch()).not.toEqual(epoch());
  });

  it('goes on from a stored state, across epochs', () => {
    using corpus = new TextCorpus([put('alphabet.txt', text)], 0.1);
    const a = new TextSource(corpus, 'train', 10, 1);
    nextBatch(a, 200);
    const state: unknown = JSON.parse(JSON.stringify(a.state()));
    const b = new TextSource(corpus, 'train', 10, 1);
    b.restore(state);
    expect(nextBatch(b, 150)).toEqual(nextBatch(a, 150));
    using other = new TextCorpus([put('other.txt', text + 'x')], 0.1);
    expect(() => new TextSource(other, 'train', 10, 1).restore(state)).toThrow(/text files differ/);
  });

  it('refuses text shorter than a sequence', () => {
    using corpus = new TextCorpus([put('short.txt', 'abc')], 0);
    expect(() => new TextSource(corpus, 'train', 5, 1)).toThrow(/training text has 4 bytes/);
  });
});

describe('orderOf', () => {
  it.each([1, 2, 3, 16, 17, 1000])('orders 0 .. %i-1, each once', (size) => {
    const order = orderOf(size, Rng.of(size, 'order'));
    const seen = Array.from({ length: size }, (_, i) => order(i));
    expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i));
    if (size > 16) expect(seen.filter((v, i) => v === i).length).toBeLessThan(size / 4);
  });
});

describe('openData', () => {
  const open = (data: unknown, seed = 1) =>
    openData(parseConfig(DataConfigSchema, data, 'data'), { seqLen: 16, seed, baseDir: folder });
  const digits = () => put('digits.txt', '0123456789'.repeat(100));

  it('mixes sources by weight, and goes on from a stored state', () => {
    digits();
    const config = [
      { kind: 'recall', weight: 3 },
      { kind: 'text', files: 'digits.txt', heldOut: 0 },
    ];
    using data = open(config);
    expect(data.vocabSize).toBe(256);
    const isText = (source: DataSource, n: number) => {
      const { weights } = nextBatch(source, n);
      return Array.from({ length: n }, (_, i) => weights.subarray(i * 16, i * 16 + 16).every((w) => w === 1));
    };
    const share = isText(data.train, 2000).filter(Boolean).length / 2000;
    expect(Math.abs(share - 0.25)).toBeLessThan(0.04);
    const state: unknown = JSON.parse(JSON.stringify(data.train.state()));
    using again = open(config);
    again.train.restore(state);
    expect(nextBatch(again.train, 50)).toEqual(nextBatch(data.train, 50));
    using one = open({ kind: 'recall' });
    expect(() => one.train.restore(state)).toThrow(/does not fit/);
  });

  it('gives the same held-out sequences every time and to every seed, apart from training', () => {
    using one = open({ kind: 'recall' }, 1);
    using two = open({ kind: 'recall' }, 2);
    const heldOut = nextBatch(one.heldOut() as DataSource, 4);
    expect(nextBatch(one.heldOut() as DataSource, 4)).toEqual(heldOut);
    expect(nextBatch(two.heldOut() as DataSource, 4)).toEqual(heldOut);
    expect(nextBatch(one.train, 4)).not.toEqual(heldOut);
    digits();
    using none = open({ kind: 'text', files: ['digits.txt'], heldOut: 0 });
    expect(none.heldOut()).toBeNull();
  });

  it('refuses one file in two sources, and wrong options', () => {
    const path = digits();
    const twice = [
      { kind: 'text', files: 'digits.txt' },
      { kind: 'text', files: '*.txt' },
    ];
    expect(() => open(twice)).toThrow(/digits\.txt is in two text sources/);
    expect(() => open({ kind: 'text', file: path })).toThrow(/unknown key "file".*did you mean "files"/);
    expect(() => open({ kind: 'recall', numFillers: 0 })).toThrow(/pairProbability: must be 1 if numFillers is 0/);
    expect(() => open([])).toThrow(/at least 1 entry/);
  });
});
