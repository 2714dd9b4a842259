/** Files to token shards: what documents become, and what is said about input that is wrong. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { openTokenizer } from '../../src/checkpoint/index.js';
import { DataError, InterruptedError, readJson, StoreError } from '../../src/core/index.js';
import {
  openCorpus,
  prepareShards,
  readManifest,
  ShardFile,
  TextCorpus,
  tokenizerOfShards,
  type Manifest,
  type PrepareOptions,
} from '../../src/data/index.js';
import { tokenArray, writeShard } from '../../src/data/shards/format.js';
import { cli } from '../support/cli.js';

const root = mkdtempSync(join(tmpdir(), 'longsight-prepare-'));
afterAll(() => rmSync(root, { recursive: true }));
const DATA = join(import.meta.dirname, '..', 'data');
const TOKENIZER = join(DATA, 'tokenizer', 'variants', 'gpt2');
const tokenizer = openTokenizer(TOKENIZER);

/** The same lines from `zstd`, with its checksum at the end; one bit of a letter is wrong in `DAMAGED`. */
const CHECKED = Buffer.from('28b52ffd0458dd0000a87b2274657874223a226f6e65227d0a74776f227d0a010052cc3a90e2dfee', 'hex');
const DAMAGED = Buffer.from(CHECKED.toString('hex').replace('6f6e65', '6f6e64'), 'hex');
/** A frame of three bytes that holds no data. */
const SKIPPED = Buffer.from('502a4d1803000000616263', 'hex');
/** `{"text":"one"}` and `{"text":"two"}`, a line each, as pyarrow.compress(…, 'zstd') packs them. */
const ZSTD = Buffer.from('28b52ffd201edd0000a87b2274657874223a226f6e65227d0a74776f227d0a010052cc3a', 'hex');

let count = 0;
let dir = '';
beforeEach(() => {
  dir = join(root, `out-${count++}`);
});

function put(name: string, content: string | Uint8Array): string {
  const path = join(root, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const prepare = (files: readonly string[], more: Partial<PrepareOptions> = {}) =>
  prepareShards({ files, tokenizerFolder: TOKENIZER, dir, workers: 1, ...more });

/** The documents of a split, decoded, their end-of-text token checked and left out; across shards. */
function documents(manifest: Manifest, split: 'train' | 'heldOutSplit' = 'train', folder = dir): string[] {
  const own = tokenizerOfShards(folder, manifest);
  const texts: string[] = [];
  let open: number[] = [];
  for (const { file } of manifest[split].shards) {
    using shard = new ShardFile(join(folder, file));
    const tokens = tokenArray(shard.tokenBytes, shard.numTokens);
    shard.read(0, tokens);
    let from = 0;
    for (const end of shard.ends()) {
      for (const token of tokens.subarray(from, end)) open.push(token);
      expect(open.pop()).toBe(manifest.tokenizer.endOfText);
      texts.push(own.decode(open));
      open = [];
      from = end;
    }
    for (const token of tokens.subarray(from)) open.push(token);
  }
  expect(open).toEqual([]);
  return texts;
}

const shardsOf = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder)
      .filter((name) => name.endsWith('.tokens') || name === 'manifest.json')
      .map((name) => [name, readFileSync(join(folder, name))]),
  );
const jsonl = (texts: readonly string[], field = 'text') => texts.map((t) => JSON.stringify({ [field]: t })).join('\n');

describe('documents', () => {
  it('are text files, lines of JSONL and rows of Parquet, empty ones left out', async () => {
    const files = [
      put('a.txt', 'One whale.'),
      put('e.txt', ''),
      put('b.jsonl', jsonl(['two', '', 'three é 東京\n🙂']) + '\n\n'),
    ];
    const { manifest } = await prepare(files);
    expect(documents(manifest)).toEqual(['One whale.', 'two', 'three é 東京\n🙂']);
    expect(manifest.textBytes).toBe(Buffer.byteLength('One whale.twothree é 東京\n🙂'));
    expect(manifest.train.documents).toBe(3);
  });

  it.each(['none', 'snappy', 'gzip', 'zstd'])('are read from Parquet compressed with %s', async (codec) => {
    const file = join(DATA, 'parquet', `${codec}.parquet`);
    const { manifest } = await prepare([file], { field: 'content' });
    const expected = Array.from({ length: 40 }, (_, i) => `document ${i} ` + 'the whale é 東京 🙂 '.repeat(i % 5));
    expect(documents(manifest)).toEqual(expected.filter((_, i) => i !== 7 && i !== 8));
    expect(manifest.train.shards.map((s) => s.documents)).toEqual([23, 15]);
  });

  it('are JSON lines under each of their endings, with or without a byte order mark', async () => {
    const content = '\ufeff{"text":"one"}\n{"text":"\ufefftwo"}\n';
    for (const ending of ['jsonl', 'ndjson', 'jsonlines', 'json', 'JSON']) {
      const { manifest } = await prepare([put(`lines.${ending}`, content)], { dir: (dir += ending) });
      expect(documents(manifest), ending).toEqual(['one', '\ufefftwo']);
      using corpus = new TextCorpus([join(root, `lines.${ending}`)], 0);
      expect(corpus.numDocuments).toBe(2);
    }
  });

  it('are left out where their text is null, and counted, in JSON lines as in Parquet', async () => {
    const lines = put('nulls.jsonl', '{"text":null}\n{"text":"\ufeffmark"}\n{"text":null}\n{"text":"é\ufeff"}');
    const files = ['plain', 'dictionary', 'delta', 'large', 'bytes'].map((n) =>
      join(DATA, 'parquet', `${n}-valid.parquet`),
    );
    for (const [file, nulls] of [[lines, 2] as const, ...files.map((f) => [f, 1] as const)]) {
      const { manifest } = await prepare([file], { dir: (dir += 'x') });
      expect(documents(manifest), file).toEqual(['\ufeffmark', 'é\ufeff']);
      expect(manifest.nullTexts, file).toBe(nulls);
    }
    using corpus = new TextCorpus([lines], 0);
    expect([corpus.numDocuments, corpus.nullTexts]).toEqual([2, 2]);
  });

  it('are read from gzip and Zstandard, to the same shards', async () => {
    const texts = Array.from({ length: 500 }, (_, i) => `document ${i} of the whale`);
    const [a, b] = [jsonl(texts.slice(0, 200)) + '\n', jsonl(texts.slice(200)) + '\n'];
    const plain = put('p/docs.json', a + b);
    const members = put('p/docs.json.gz', Buffer.concat([gzipSync(a), gzipSync(b)]));
    await prepare([plain], { dir: join(root, 'plain'), chunkBytes: 4000 });
    const { manifest, resumed } = await prepare([members], { chunkBytes: 4000 });
    expect(documents(manifest)).toEqual(texts);
    const shards = ({ 'manifest.json': _, ...rest }: ReturnType<typeof shardsOf>) => rest;
    expect(shards(shardsOf(dir))).toEqual(shards(shardsOf(join(root, 'plain'))));
    expect([resumed, manifest.files]).toEqual([0, [{ name: 'docs.json.gz', bytes: statSync(members).size }]]);
    expect(existsSync(join(dir, '.prepare'))).toBe(false);
    expect((await prepare([members], { chunkBytes: 4000 })).resumed).toBeNull();
    const zstd = put('p/docs.jsonl.zst', Buffer.concat([ZSTD, SKIPPED, CHECKED]));
    const read = await prepare([zstd], { dir: (dir += '-zstd') });
    expect(documents(read.manifest)).toEqual(['one', 'two', 'one', 'two']);
  });

  it('are encoded as whole texts are, however the files are cut', async () => {
    const text = openCorpus('moby-dick').text().slice(0, 400_000);
    const lines = text.split('\n\n');
    const files = [put('book.txt', text), put('book.jsonl', jsonl(lines))];
    const expected = [text, ...lines].flatMap((t) => (t === '' ? [] : [...tokenizer.encode(t), 0]));
    for (const chunkBytes of [2 ** 16 + 1, 150_000, 2 ** 25]) {
      dir = join(root, `cut-${chunkBytes}`);
      const { manifest } = await prepare(files, { chunkBytes });
      const ids: number[] = [];
      for (const { file } of manifest.train.shards) {
        using shard = new ShardFile(join(dir, file));
        const tokens = tokenArray(shard.tokenBytes, shard.numTokens);
        shard.read(0, tokens);
        for (const id of tokens) ids.push(id);
      }
      expect(ids.length).toBe(expected.length);
      expect(ids.every((id, i) => id === expected[i])).toBe(true);
      expect(documents(manifest)[0]).toBe(text);
    }
  });

  it('are bytes with the byte tokenizer, one byte a token', async () => {
    const { manifest } = await prepare([put('b.txt', 'é whale')], { tokenizerFolder: null });
    expect(documents(manifest)).toEqual(['é whale']);
    expect(manifest.tokenizer).toEqual({ fingerprint: 'bytes', vocabSize: 256, endOfText: 0 });
    using shard = new ShardFile(join(dir, manifest.train.shards[0]?.file ?? ''));
    expect([shard.tokenBytes, shard.numTokens]).toEqual([1, 9]);
  });

  it('are held out by their text: copies stay together, whatever the files', async () => {
    const texts = Array.from({ length: 400 }, (_, i) => `document ${i % 300} of many`);
    const { manifest } = await prepare([put('many.jsonl', jsonl(texts))], { heldOut: 0.1, chunkBytes: 3000 });
    const [train, heldOut] = [documents(manifest), documents(manifest, 'heldOutSplit')];
    expect([...train, ...heldOut].sort()).toEqual([...texts].sort());
    expect(heldOut.length).toBeGreaterThan(15);
    expect(heldOut.length).toBeLessThan(80);
    expect(train.filter((t) => heldOut.includes(t))).toEqual([]);
    const first = dir;
    dir += '-again';
    const files = texts.slice(0, 50).map((text, i) => put(`each/${i}.txt`, text));
    const again = await prepare(files, { heldOut: 0.1 });
    const held = documents(readManifest(first), 'heldOutSplit', first);
    expect(documents(again.manifest, 'heldOutSplit').every((t) => held.includes(t))).toBe(true);
  });
});

describe('a preparation', () => {
  const texts = Array.from({ length: 300 }, (_, i) => `Document ${i}: the whale and the sea. `.repeat(1 + (i % 7)));
  const files = () => [put('p/lines.jsonl', jsonl(texts)), put('p/long.txt', texts.join(' '))];

  it('goes on where it was stopped, to the same bytes', async () => {
    const options = { heldOut: 0.05, chunkBytes: 8000 };
    await prepare(files(), options);
    const whole = dir;
    const given = files();
    // The files were written anew: their content counts, not their time of change.
    dir += '-stopped';
    let stops = 0;
    for (;;) {
      const abort = new AbortController();
      let steps = 0;
      const progress = () => void (++steps === 60 && abort.abort());
      try {
        const { resumed } = await prepare(given, { ...options, signal: abort.signal, progress });
        expect(resumed).toBeGreaterThan(0);
        break;
      } catch (error) {
        expect(error).toBeInstanceOf(InterruptedError);
        expect(existsSync(join(dir, 'manifest.json'))).toBe(false);
        stops++;
      }
    }
    expect(stops).toBeGreaterThan(2);
    expect(shardsOf(dir)).toEqual(shardsOf(whole));
    expect(readdirSync(dir).filter((name) => name.startsWith('.'))).toEqual([]);
    expect((await prepare(given, options)).resumed).toBeNull();
  });

  it('makes a shard anew that a crash left damaged', async () => {
    const given = files();
    await prepare(given, { chunkBytes: 8000 });
    const good = shardsOf(dir);
    const abort = new AbortController();
    dir += '-crash';
    let steps = 0;
    const stop = prepare(given, {
      chunkBytes: 8000,
      signal: abort.signal,
      progress: () => void (++steps === 200 && abort.abort()),
    });
    await expect(stop).rejects.toThrow('the same command goes on from there');
    truncateSync(join(dir, 'train-000000.tokens'), 100);
    writeFileSync(join(dir, 'train-000001.tokens.1.tmp'), 'half');
    await prepare(given, { chunkBytes: 8000 });
    expect(shardsOf(dir)).toEqual(good);
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('refuses a folder with other things, or with shards of other options or files', async () => {
    const given = files();
    mkdirSync(dir);
    writeFileSync(join(dir, 'mine.txt'), 'precious');
    await expect(prepare(given)).rejects.toThrow(/is not empty and holds no token shards; choose another folder/);
    expect(readdirSync(dir)).toEqual(['mine.txt']);
    dir += '-b';
    await prepare(given);
    await expect(prepare(given, { heldOut: 0.5 })).rejects.toThrow(
      /holds shards of other files or options \(heldOut differ\)/,
    );
    await expect(prepare(given.slice(1))).rejects.toThrow(/\(files differ\)/);
    // Other content of the same size at the same time.
    const [lines = ''] = given;
    const { atime, mtime } = statSync(lines);
    const text = readFileSync(lines, 'utf8');
    writeFileSync(lines, text.replace('whale', 'squid'));
    utimesSync(lines, atime, mtime);
    await expect(prepare(given)).rejects.toThrow(/\(files differ\), such as lines\.jsonl; choose another folder/);
    // The same content later.
    writeFileSync(lines, text);
    utimesSync(lines, 1, 1);
    expect((await prepare(given)).resumed).toBeNull();
    await expect(prepare(given, { dir: put('file', 'x') })).rejects.toThrow(StoreError);
  });

  it('that did nothing yet does not keep its folder from another', async () => {
    await expect(prepare([put('first.jsonl', 'oops')])).rejects.toThrow(/not valid JSON/);
    const { manifest } = await prepare([put('first.jsonl', '{"text": "corrected"}')]);
    expect(documents(manifest)).toEqual(['corrected']);
  });
});

describe('wrong input', () => {
  const refused = async (file: string, message: RegExp, more: Partial<PrepareOptions> = {}) => {
    dir = join(root, `out-${count++}`);
    const error = await prepare([file], more).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(DataError);
    expect((error as Error).message).toMatch(message);
    expect(existsSync(join(dir, 'manifest.json'))).toBe(false);
  };

  it('that is no UTF-8 is refused with file and byte, or replaced', async () => {
    const head = 'whale '.repeat(200_000) + 'é🙂 ';
    const at = Buffer.byteLength(head);
    const bytes = Buffer.concat([
      Buffer.from(head),
      Buffer.from([0xff, 0x41, 0xc3, 0x28]),
      Buffer.from(' sea'.repeat(300_000)),
    ]);
    await refused(
      put('bad.txt', bytes),
      new RegExp(`bad\\.txt: byte ${at} is not valid UTF-8; convert the file, or replace`),
    );
    await refused(put('cut.txt', Buffer.from([0x41, 0xe2, 0x82])), /cut\.txt: byte 1 is not valid UTF-8/);
    await refused(
      put('latin.jsonl', Buffer.from('{"text":"a"}\n{"text":"\xe9"}', 'latin1')),
      /latin\.jsonl: byte 22 is not valid UTF-8/,
    );
    const { manifest } = await prepare([join(root, 'bad.txt')], { invalid: 'replace', dir: (dir += '-replaced') });
    expect(documents(manifest)).toEqual([bytes.toString()]);
  });

  it('that is not JSON, or lacks the field, is refused with file and line, however the file is cut', async () => {
    const good = jsonl(Array.from({ length: 2000 }, () => 'x'.repeat(50)));
    await refused(put('m.jsonl', good + '\n{"text": oops}\n' + good), /m\.jsonl, line 2001: not valid JSON/, {
      chunkBytes: 10_000,
    });
    await refused(
      put('f.jsonl', good + '\n{"txt": "a", "id": 1}'),
      /f\.jsonl, line 2001: no field "text"; its fields are txt, id \(did you mean "txt"\?\)/,
    );
    await refused(put('n.jsonl', '{"text": 5}'), /n\.jsonl, line 1: "text" is not a string/);
    await refused(put('l.jsonl', '\n[1]'), /l\.jsonl, line 2: not a JSON object/);
  });

  it('that is no Parquet, or lacks the column, is refused by name', async () => {
    await refused(put('no.parquet', 'PAR1 this is none'), /cannot read .*no\.parquet as Parquet/);
    const good = join(DATA, 'parquet', 'snappy.parquet');
    await refused(good, /has no column "text"; its columns are id, meta, content/);
    await refused(good, /column "id" is no text/, { field: 'id' });
    const cut = put('cut.parquet', readFileSync(good).subarray(0, 1000));
    await refused(cut, /cannot read .*cut\.parquet as Parquet/, { field: 'content' });
  });

  it('that is missing, empty or holds a character 0 is refused', async () => {
    await refused(join(root, 'nowhere.txt'), /nowhere\.txt does not exist/);
    await refused(put('empty.txt', ''), /no text in .*empty\.txt/);
    await refused(put('empty.jsonl', '{"text":""}'), /hold no documents that are not empty/);
    await refused(put('zero.txt', 'a\0b'), /zero\.txt: the text contains a character 0/, { tokenizerFolder: null });
    await refused('https://example.org/a.txt', /only Parquet files are read by URL/);
  });

  it('in Parquet that is no UTF-8 is refused with file and row, or replaced', async () => {
    for (const name of ['plain', 'dictionary', 'delta', 'large', 'bytes']) {
      const file = join(DATA, 'parquet', `${name}-invalid.parquet`);
      const where = `${name}-invalid\\.parquet, row 3: byte 4 of "text" is not valid UTF-8; correct the file, or replace`;
      await refused(file, new RegExp(where));
      const { manifest } = await prepare([file], { invalid: 'replace', dir: join(root, `replaced-${name}`) });
      const texts = documents(manifest, 'train', join(root, `replaced-${name}`));
      expect(texts, name).toEqual(['\ufeffmark', 'é\ufeff', 'abcd\ufffd\ufffd', '\ufffd']);
    }
    const nested = join(DATA, 'parquet', 'nested.parquet');
    await refused(nested, /column "text" is no text \(LIST\); choose another column/);
    await refused(nested, /column "meta" is no text \(group\)/, { field: 'meta' });
  });

  it('of JSON with half of a surrogate pair, or a field twice, is refused with file and line, or replaced', async () => {
    const half = put('half.jsonl', '{"text":"ok 🙂"}\n{"text":"a\\ud800b \\ud83d\\ude42"}');
    await refused(half, /half\.jsonl, line 2: "text" has half of a surrogate pair at character 1/);
    const { manifest } = await prepare([half], { invalid: 'replace', dir: (dir += '-replaced') });
    expect(documents(manifest)).toEqual(['ok 🙂', 'a\ufffdb 🙂']);
    await refused(put('twice.jsonl', '{"text":"a","id":1,"text":"b"}'), /line 1: the field "text" is given twice/);
  });

  it.each<[string, string | Uint8Array, RegExp]>([
    ['a.csv', 'text\na\n', /a\.csv is a table; write one JSON object a line/],
    ['a.html', '<p>a</p>', /a\.html is markup, tags and all; take the text out of it, or name it \.txt/],
    ['list.json', '[{"text":"a"},\n{"text":"b"}]', /list\.json holds a JSON list; write one object a line \(jq -c/],
    ['one.json', '{\n  "text": "a"\n}', /one\.json holds no JSON lines; write one object a line/],
    ['lines', '\n{"text":"a"}\n{"text":"b"}', /lines holds JSON lines; name it \.jsonl to read them/],
    ['page.md', '\ufeff<!DOCTYPE html><p>a', /page\.md is markup/],
    ['data.dat', Buffer.from([0x50, 0x41, 0x52, 0x31, 0]), /data\.dat is not text/],
    ['packed', gzipSync('text'), /packed is compressed or an archive; unpack it first/],
    ['a.jsonl.bz2', 'BZh9', /a\.jsonl\.bz2 is compressed or an archive/],
  ])('that is of another kind is refused, not read as text: %s', async (name, content, message) => {
    await refused(put(name, content), message);
    expect(() => new TextCorpus([join(root, name)], 0)).toThrow(message);
  });

  it.each<[string, Uint8Array, RegExp]>([
    [
      'cut.jsonl.gz',
      gzipSync(jsonl(['one'])).subarray(0, -4),
      /cannot unpack .*cut\.jsonl\.gz \(gzip\): unexpected end/,
    ],
    ['none.txt.gz', Buffer.from('plain text'), /cannot unpack .*none\.txt\.gz \(gzip\): incorrect header check/],
    [
      'more.txt.gz',
      Buffer.concat([gzipSync('one'), Buffer.alloc(9)]),
      /more\.txt\.gz \(gzip\): 9 bytes follow its end/,
    ],
    ['empty.txt.gz', Buffer.alloc(0), /no text in .*empty\.txt\.gz/],
    ['bit.jsonl.zst', DAMAGED, /cannot unpack .*bit\.jsonl\.zst \(zstd\): its content is not that of its checksum/],
    ['cut.jsonl.zst', ZSTD.subarray(0, -3), /cannot unpack .*cut\.jsonl\.zst \(zstd\): unexpected EOF/],
    ['b.jsonl.gz', gzipSync('{"text":\n'), /b\.jsonl\.gz \(unpacked\), line 1: not valid JSON/],
    ['b.csv.gz', gzipSync('text\na'), /b\.csv\.gz \(unpacked\) is a table/],
  ])('that is compressed and damaged is refused: %s', async (name, content, message) => {
    await refused(put(name, content), message);
  });

  it('without a place to cut it within 64 MiB is refused', async () => {
    await refused(
      put('solid.txt', Buffer.alloc(66 * 2 ** 20, 'a')),
      /solid\.txt: the text from byte 0 on has no place to cut it/,
      {
        tokenizerFolder: null,
      },
    );
    rmSync(join(root, 'solid.txt'));
  });
});

describe('shards', () => {
  const make = (): string => {
    const path = join(root, `s-${count++}.tokens`);
    writeShard(
      path,
      Uint16Array.from({ length: 1001 }, (_, i) => i % 500),
      [10, 400, 1001],
    );
    return path;
  };
  const change = (path: string, at: number, write: (header: Buffer) => void): string => {
    const bytes = readFileSync(path);
    write(bytes.subarray(at));
    writeFileSync(path, bytes);
    return path;
  };

  it('give back what was written, by range', () => {
    using shard = new ShardFile(make());
    shard.verify();
    const part = new Uint16Array(3);
    shard.read(499, part);
    expect([...part]).toEqual([499, 0, 1]);
    expect([...shard.ends()]).toEqual([10, 400, 1001]);
    expect(() => shard.read(999, part)).toThrow(/asked for tokens 999 to 1002 of 1001/);
  });

  const huge = (at: number) => (path: string) => change(path, at, (b) => b.writeBigUInt64LE(2n ** 62n));
  it.each<[string, (path: string) => void, RegExp]>([
    ['cut inside the header', (p) => truncateSync(p, 40), /has 40 bytes, fewer than its header/],
    [
      'cut inside the tokens',
      (p) => truncateSync(p, 1000),
      /has 1000 bytes, but its header \(1001 tokens, 3 document ends\) says/,
    ],
    ['longer than it says', (p) => writeFileSync(p, 'x', { flag: 'a' }), /has \d+ bytes, but its header/],
    ['of another kind', (p) => void change(p, 0, (b) => b.write('NOTTOKEN')), /does not start as a token shard/],
    ['of another version', (p) => void change(p, 8, (b) => b.writeUInt32LE(9)), /is of version 9/],
    ['with a wrong token size', (p) => void change(p, 12, (b) => b.writeUInt32LE(3)), /says that a token has 3 bytes/],
    ['that claims 2^62 tokens', huge(16), /but its header \(4611686018427387904 tokens/],
    ['that claims 2^62 ends', huge(24), /4611686018427387904 document ends\) says/],
  ])('%s are refused before anything is allocated', (_name, damage, message) => {
    const path = make();
    damage(path);
    expect(() => new ShardFile(path)).toThrow(StoreError);
    expect(() => new ShardFile(path)).toThrow(message);
  });

  it('with ends outside, or in the wrong order, are refused', () => {
    const ends = 64 + 1001 * 2 + 6;
    using outside = new ShardFile(change(make(), ends + 16, (b) => b.writeBigUInt64LE(1002n)));
    expect(() => outside.ends()).toThrow(/document end 2 at token 1002, after 400 and of 1001/);
    using falling = new ShardFile(change(make(), ends + 8, (b) => b.writeBigUInt64LE(10n)));
    expect(() => falling.ends()).toThrow(/document end 1 at token 10, after 10/);
    using flipped = new ShardFile(change(make(), 100, (b) => (b[0] = 77)));
    expect(() => flipped.verify()).toThrow(/does not have the checksum in its header/);
  });
});

describe('a folder of shards', () => {
  it('needs the tokenizer that it was made with', async () => {
    const { manifest } = await prepare([put('t.txt', 'the whale')]);
    expect(tokenizerOfShards(dir, manifest).fingerprint).toBe(tokenizer.fingerprint);
    cpSync(join(DATA, 'tokenizer', 'tokenizer.json'), join(dir, 'tokenizer.json'));
    expect(() => tokenizerOfShards(dir, manifest)).toThrow(/is not the tokenizer that the shards were made with/);
    rmSync(join(dir, 'tokenizer.json'));
    expect(() => tokenizerOfShards(dir, manifest)).toThrow(/lacks the tokenizer\.json/);
    await expect(prepare([join(root, 't.txt')], { tokenizerFolder: root, dir: dir + 'x' })).rejects.toThrow(
      /cannot read .*tokenizer\.json/,
    );
  });
});

describe('the commands', () => {
  it('train a tokenizer, prepare shards with it, and check them', async () => {
    const vocabulary = join(root, 'tok');
    const text = put('c/train.txt', openCorpus('moby-dick').text().slice(0, 150_000));
    const trained = await cli([
      'tokenizer',
      'train',
      text,
      '--vocab-size',
      '600',
      '--min-frequency',
      '1',
      '--out',
      vocabulary,
      '--quiet',
    ]);
    expect([trained.code, trained.stderr]).toEqual([0, '']);
    // The same tokens and merges as the Rust library learns from the same text.
    const ours = readJson(join(vocabulary, 'tokenizer.json')) as { model: { vocab: object; merges: unknown } };
    const theirs = readJson(join(TOKENIZER, 'tokenizer.json')) as typeof ours;
    expect(ours.model.merges).toEqual(theirs.model.merges);
    expect(ours.model.vocab).toEqual(theirs.model.vocab);
    const args = ['data', 'prepare', text, '--tokenizer', vocabulary, '--out', dir, '--workers', '1', '--json'];
    const prepared = await cli(args);
    expect(prepared.code).toBe(0);
    const done = JSON.parse(prepared.stdout.trim().split('\n').at(-1) as string) as { train: { documents: number } };
    expect(done.train.documents).toBe(1);
    expect((await cli(['data', 'check', dir])).stdout).toContain('every shard has its checksum');
    const shard = join(dir, 'train-000000.tokens');
    const bytes = readFileSync(shard);
    bytes[5000] = (bytes[5000] as number) ^ 1;
    writeFileSync(shard, bytes);
    expect(await cli(['data', 'check', dir])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('checksum') as string,
    });
  });

  it('say what is wrong with their options', async () => {
    const fails = async (args: string[]) => {
      const { code, stderr } = await cli(args);
      expect(code).toBe(2);
      return stderr;
    };
    const out = ['--out', dir];
    expect(await fails(['data', 'prepare', ...out, '--tokenizer', 'bytes'])).toContain(
      'name files to read, or a corpus',
    );
    expect(await fails(['data', 'prepare', 'x', ...out, '--tokenizer', 'bytes', '--held-out', '2'])).toContain(
      'from 0 to below 1',
    );
    expect(await fails(['data', 'check', root])).toContain('holds no token shards');
    expect(await fails(['tokenizer', 'train', 'x', ...out, '--vocab-size', '100'])).toContain('must be at least 257');
    expect(await fails(['tokenizer', 'train', 'x', '--out', root, '--vocab-size', '300'])).toContain('is not empty');
  });
});
