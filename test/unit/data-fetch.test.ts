/** Corpora from archives: what is loaded, checked, resumed and written. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { DataError, InterruptedError, StoreError } from '../../src/core/index.js';
import { archiveFiles } from '../../src/data/corpora/archive.js';
import { download } from '../../src/data/corpora/download.js';
import { withoutPages } from '../../src/data/corpora/rfc.js';
import { FETCHED_CORPORA, makeCorpus, type CorpusDefinition, type MakeCorpusOptions } from '../../src/data/index.js';
import { tarOf } from '../support/archives.js';
import { cli } from '../support/cli.js';
import { temporaryFolder } from '../support/folders.js';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A Debian package: an ar archive of control and data; members of odd length are padded. */
function debOf(members: Readonly<Record<string, Uint8Array | string>>): Buffer {
  const parts: Buffer[] = [Buffer.from('!<arch>\n')];
  for (const [name, content] of Object.entries(members)) {
    const bytes = Buffer.from(content);
    const header = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(bytes.length).padEnd(10)}\`\n`;
    parts.push(Buffer.from(header), bytes, Buffer.alloc(bytes.length % 2, '\n'));
  }
  return Buffer.concat(parts);
}

/** `xz -9e` of a tar with `in/one.c` (`int one;`), made by GNU tar and XZ Utils. */
const xzTar = readFileSync(join(import.meta.dirname, '..', 'data', 'corpora', 'one.tar.xz'));

/** The same archive as `usr/one.tar.xz` in a tar of its own, made the same way. */
const nestedXzTar = readFileSync(join(import.meta.dirname, '..', 'data', 'corpora', 'nested.tar.xz'));

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function list(name: string, bytes: Uint8Array, size = 1000): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const file of archiveFiles(name, pieces(bytes, size), temporaryFolder())) {
    found.push([file.path, Buffer.from(await file.bytes()).toString()]);
  }
  return found;
}

describe('files of archives', () => {
  it('reads tar, gzip, xz, Debian packages and archives inside of them, whatever the pieces', async () => {
    const inner = await tarOf({ 'a/x.c': 'x', 'a/y.txt': 'yy' });
    const data = await tarOf({ 'usr/one.tar.xz': xzTar, 'usr/readme': 'r', 'usr/two.tar': inner });
    const expected = [
      ['usr/readme', 'r'],
      ['in/one.c', 'int one;\n'],
      ['a/x.c', 'x'],
      ['a/y.txt', 'yy'],
    ];
    const deb = debOf({ 'debian-binary': '2.0\n', 'control.tar.gz': 'odd', 'data.tar.gz': gzipSync(data) });
    for (const size of [1, 7, 512, 1e6]) expect(await list('p.deb', deb, size)).toEqual(expected);
    expect(await list('p.tar', data)).toEqual(expected);
    expect(await list('one.tar.xz', xzTar)).toEqual([['in/one.c', 'int one;\n']]);
  });

  it('reads xz inside of xz, as kernel packages have it', async () => {
    expect(await list('p.deb', debOf({ 'data.tar.xz': nestedXzTar }))).toEqual([['in/one.c', 'int one;\n']]);
  });

  it.each([
    ['p.zip', Buffer.from('PK'), /no archive that is read; give a \.deb, \.tar\.xz, \.tar\.gz, \.tar file/],
    ['p.deb', Buffer.from('not an archive'), /no Debian package/],
    ['p.deb', debOf({ 'data.tar.gz': gzipSync('x'.repeat(2000)) }).subarray(0, 80), /damaged or ends early/],
    ['p.tar.gz', gzipSync(Buffer.alloc(5000)).subarray(0, 20), /unexpected end of file/],
    ['p.tar.xz', xzTar.subarray(0, 100), /./],
  ])('%s that is damaged is refused', async (name, bytes, message) => {
    await expect(list(name, bytes)).rejects.toThrow(message);
  });
});

/** Requests to `https://host` go to a server of the test. */
async function served(listener: RequestListener): Promise<{ fetch: typeof fetch; ranges: (string | null)[] }> {
  const ranges: (string | null)[] = [];
  const server = createServer((request, response) => {
    ranges.push(request.headers.range ?? null);
    listener(request, response);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const local = (url: string) => url.replace(/^https:\/\/host\//, `http://127.0.0.1:${port}/`);
  return { fetch: (url, init) => fetch(local(url as string), init), ranges };
}

const CONTENT = Buffer.from('0123456789'.repeat(1000));
const WANTED = { bytes: CONTENT.length, sha256: sha256(CONTENT) };

describe('downloads', () => {
  it('goes on where it was stopped and asks for the rest only', async () => {
    let cut = 4000;
    const { fetch, ranges } = await served((request, response) => {
      const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      response.writeHead(start > 0 ? 206 : 200, {
        'content-length': CONTENT.length - start,
        ...(start > 0 ? { 'content-range': `bytes ${start}-${CONTENT.length - 1}/${CONTENT.length}` } : {}),
      });
      if (cut > 0) response.write(CONTENT.subarray(start, start + cut), () => void cutOff(response));
      else response.end(CONTENT.subarray(start));
    });
    const path = join(temporaryFolder(), 'file');
    // Once all that was sent is in the file: a connection that breaks takes along what was not read yet.
    const cutOff = async (response: ServerResponse) => {
      await vi.waitUntil(() => existsSync(`${path}.part`) && statSync(`${path}.part`).size === cut, 25_000);
      response.destroy();
    };
    await expect(download('https://host/f', path, { ...WANTED, fetch })).rejects.toThrow(DataError);
    expect(existsSync(path)).toBe(false);
    expect(statSync(`${path}.part`).size).toBe(4000);
    cut = 0;
    const seen: number[] = [];
    await download('https://host/f', path, { ...WANTED, fetch, progress: (p) => seen.push(p.bytes) });
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
    expect(existsSync(`${path}.part`)).toBe(false);
    expect([ranges, seen.at(-1)]).toEqual([[null, 'bytes=4000-'], CONTENT.length]);
    await download('https://host/f', path, { ...WANTED, fetch });
    expect(ranges).toHaveLength(2); // whole already: nothing is asked for
  });

  it('starts over where the server does not know ranges', async () => {
    const { fetch } = await served((_, response) => response.end(CONTENT));
    const path = join(temporaryFolder(), 'file');
    writeFileSync(`${path}.part`, 'something else');
    await download('https://host/f', path, { ...WANTED, fetch });
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
  });

  it('follows redirects, to https:// only', async () => {
    const { fetch } = await served((request, response) => {
      if (request.url === '/f') response.writeHead(302, { location: '/g' }).end();
      else if (request.url === '/plain') response.writeHead(302, { location: 'http://host/g' }).end();
      else response.end(CONTENT);
    });
    const path = join(temporaryFolder(), 'file');
    await expect(download('https://host/plain', path, { ...WANTED, fetch })).rejects.toThrow('is no https:// address');
    await expect(download('http://host/f', path, { ...WANTED, fetch })).rejects.toThrow('is no https:// address');
    await download('https://host/f', path, { ...WANTED, fetch });
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
  });

  it.each([
    ['another size', Buffer.from('short'), /has 5 bytes, not 10000/],
    ['other bytes', Buffer.from('9876543210'.repeat(1000)), /SHA-256 is [0-9a-f]{64}, not/],
  ])('keeps nothing of %s', async (_, content, message) => {
    const { fetch } = await served((__, response) => response.end(content));
    const folder = temporaryFolder();
    await expect(download('https://host/f', join(folder, 'file'), { ...WANTED, fetch })).rejects.toThrow(message);
    expect(readdirSync(folder)).toEqual([]);
  });

  const half = { ...WANTED, patience: { answerMs: 5000, pieceMs: 5000 } };

  it.each([
    ['from another byte on', 'bytes 3999-9999/10000'],
    ['that end early', 'bytes 4000-8999/10000'],
    ['of a longer file', 'bytes 4000-9999/20000'],
    ['that are not said', undefined],
  ])('refuses bytes %s, and leaves what it has', async (_, range) => {
    const { fetch } = await served((__, response) => {
      response.writeHead(206, range === undefined ? {} : { 'content-range': range }).end(CONTENT.subarray(4000));
    });
    const path = join(temporaryFolder(), 'file');
    writeFileSync(`${path}.part`, CONTENT.subarray(0, 4000));
    await expect(download('https://host/f', path, { ...half, fetch })).rejects.toThrow(
      `https://host/f answers with other bytes than were asked for: bytes 4000-9999/10000 were, it says ${range ?? 'nothing'}`,
    );
    expect(readFileSync(`${path}.part`).equals(CONTENT.subarray(0, 4000))).toBe(true);
  });

  it('refuses a part of a file where all of it was asked for, and compressed bytes', async () => {
    let headers: Record<string, string> = { 'content-range': 'bytes 0-9999/10000' };
    let status = 206;
    const { fetch } = await served((_, response) => response.writeHead(status, headers).end(CONTENT));
    const path = join(temporaryFolder(), 'file');
    await expect(download('https://host/f', path, { ...half, fetch })).rejects.toThrow('answers 206 Partial Content');
    [status, headers] = [200, { 'content-encoding': 'gzip' }];
    await expect(download('https://host/f', path, { ...half, fetch })).rejects.toThrow(
      /compressed ones \(gzip\)|incorrect header check/,
    );
  });

  it('begins anew where the server does not have the rest', async () => {
    const { fetch } = await served((request, response) => {
      if (request.headers.range === undefined) response.end(CONTENT);
      else response.writeHead(416).end();
    });
    const path = join(temporaryFolder(), 'file');
    writeFileSync(`${path}.part`, 'something else');
    await expect(download('https://host/f', path, { ...half, fetch })).rejects.toThrow(
      'does not have the bytes from 14 on; start the command again',
    );
    await download('https://host/f', path, { ...half, fetch });
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
  });

  it('cuts off a body that is too long, at once', async () => {
    let sent = 0;
    const { fetch } = await served((_, response) => {
      response.writeHead(200);
      const more = (): void => void (sent++ < 2000 && !response.destroyed && response.write(CONTENT, more));
      more();
    });
    const folder = temporaryFolder();
    await expect(download('https://host/f', join(folder, 'file'), { ...half, fetch })).rejects.toThrow(
      'https://host/f sends more than the 10000 bytes that the file has; nothing of it is kept',
    );
    expect(readdirSync(folder)).toEqual([]);
    expect(sent).toBeLessThan(2000);
  });

  it('waits for a silent server for a while only, and goes on from there', async () => {
    let silent: 'answer' | 'rest' | 'no' = 'answer';
    const { fetch, ranges } = await served((_, response) => {
      if (silent === 'answer') return;
      if (silent === 'no') {
        const headers = { 'content-range': 'bytes 3000-9999/10000' };
        response.writeHead(206, headers).end(CONTENT.subarray(3000));
      } else response.write(CONTENT.subarray(0, 3000));
    });
    const path = join(temporaryFolder(), 'file');
    const options = { ...WANTED, fetch, patience: { answerMs: 200, pieceMs: 300 } };
    await expect(download('https://host/f', path, options)).rejects.toThrow(
      'cannot load https://host/f: there was no answer within 0.2 seconds; start the command again',
    );
    silent = 'rest';
    await expect(download('https://host/f', path, options)).rejects.toThrow('nothing more arrived within 0.3 seconds');
    expect([existsSync(path), statSync(`${path}.part`).size]).toEqual([false, 3000]);
    silent = 'no';
    await download('https://host/f', path, options);
    expect(ranges.at(-1)).toBe('bytes=3000-');
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
  });

  it.each([
    ['http://host/f', /^http:\/\/host\/f is no https:\/\/ address, so nothing is loaded from it$/],
    ['file:///etc/passwd', /^file:\/\/\/etc\/passwd is no https:\/\/ address/],
    ['https://', /leads to an address that is none/],
    ['/round', /leads from address to address more than 5 times/],
  ])('does not follow a redirect to %s', async (location, message) => {
    const { fetch, ranges } = await served((_, response) => response.writeHead(302, { location }).end());
    const folder = temporaryFolder();
    await expect(download('https://host/f', join(folder, 'file'), { ...half, fetch })).rejects.toThrow(message);
    expect([readdirSync(folder), ranges.length]).toEqual([[], location === '/round' ? 6 : 1]);
  });

  it('follows redirects to https:// addresses', async () => {
    const { fetch } = await served((request, response) => {
      if (request.url === '/g') response.end(CONTENT);
      else response.writeHead(307, { location: '/g' }).end();
    });
    const path = join(temporaryFolder(), 'file');
    await download('https://host/f', path, { ...half, fetch });
    expect(readFileSync(path).equals(CONTENT)).toBe(true);
  });

  it('asks no address but https:// ones', async () => {
    const path = join(temporaryFolder(), 'file');
    await expect(download('http://localhost/f', path, WANTED)).rejects.toThrow('is no https:// address');
  });

  it('is stopped by a signal', async () => {
    const stop = new AbortController();
    const { fetch } = await served((_, response) => {
      response.writeHead(200, { 'content-length': CONTENT.length });
      response.write(CONTENT.subarray(0, 3000), () => setTimeout(() => stop.abort(), 50));
    });
    const path = join(temporaryFolder(), 'file');
    const options = { ...WANTED, fetch, signal: stop.signal };
    await expect(download('https://host/f', path, options)).rejects.toThrow(InterruptedError);
    expect(existsSync(path)).toBe(false);
  });
});

/** A small corpus of the same kind as the real ones. */
async function small(): Promise<{ definition: CorpusDefinition; archive: Buffer }> {
  const files = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`src/${i}.c`, `${'/* é */ '.repeat(i + 1)}int v${i};`]),
  );
  const archive = gzipSync(await tarOf({ ...files, 'src/readme': 'no document', 'src/empty.c': '' }));
  const definition: CorpusDefinition = {
    ...{ name: 'small', description: 'C files of a test', license: 'CC0-1.0', bytes: 3000, seed: 1, vocabSize: 300 },
    archive: {
      ...{ urls: ['https://host/a.tar.gz'], file: 'a.tar.gz', bytes: archive.length, sha256: sha256(archive) },
      elsewhere: 'from a friend',
    },
    isDocument: (path) => path.endsWith('.c'),
    textOf: (bytes) => Buffer.from(bytes).toString(),
  };
  return { definition, archive };
}

const rows = (dir: string) =>
  readdirSync(dir)
    .filter((name) => name.endsWith('.jsonl'))
    .flatMap((name) => readFileSync(join(dir, name), 'utf8').trim().split('\n'))
    .map((line) => JSON.parse(line) as { source: string; text: string });

describe('a corpus', () => {
  it('is loaded, shuffled by its seed, cut at its size, and done once', async () => {
    const { definition, archive } = await small();
    const { fetch, ranges } = await served((_, response) => response.end(archive));
    const make = (dir: string, more: Partial<MakeCorpusOptions> = {}, changed: Partial<CorpusDefinition> = {}) =>
      makeCorpus({ ...definition, ...changed }, { dir, fetch, ...more });
    const dir = join(temporaryFolder(), 'small');
    const { record, existed } = await make(dir);
    expect(existed).toBe(false);
    expect(readdirSync(dir).sort()).toEqual(['corpus.json', 'fetch.lock', 'small-00.jsonl']);
    const found = rows(dir);
    const bytes = found.map(({ text }) => Buffer.byteLength(text));
    const total = bytes.reduce((a, b) => a + b, 0);
    expect(record).toMatchObject({ documents: found.length, bytes: total, archive: { sha256: sha256(archive) } });
    expect(total).toBeGreaterThanOrEqual(3000);
    expect(total - (bytes.at(-1) ?? 0)).toBeLessThan(3000);
    expect(found[0]?.text).toMatch(/^\/\* é \*\/ .*int v\d+;$/);
    const order = found.map(({ source }) => source);
    expect(order).not.toEqual([...order].sort());
    expect(await make(dir)).toEqual({ record, existed: true });
    expect(ranges).toHaveLength(1);

    const [again, other, all] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    await make(again);
    expect(rows(again)).toEqual(found);
    await make(other, {}, { seed: 2 });
    expect(rows(other).map(({ source }) => source)).not.toEqual(order);
    await make(all, {}, { bytes: null });
    expect(rows(all)).toHaveLength(40); // all but the empty one
    expect(
      rows(all)
        .slice(0, order.length)
        .map(({ source }) => source),
    ).toEqual(order);
  });

  it('is made of a file that the user has, of that version or, if told, another one', async () => {
    const { definition, archive } = await small();
    const folder = temporaryFolder();
    const [mine, newer] = [join(folder, 'a.tar.gz'), join(folder, 'newer.tar')];
    writeFileSync(mine, archive);
    writeFileSync(newer, await tarOf({ 'x.c': 'int x;' }));
    const at = (name: string) => join(folder, name);
    const refuse = { fetch: () => Promise.reject(new Error('nothing is loaded')) };
    await makeCorpus(definition, { dir: at('one'), from: mine, ...refuse });
    expect(existsSync(mine)).toBe(true);
    await expect(makeCorpus(definition, { dir: at('two'), from: newer, ...refuse })).rejects.toThrow(
      /newer\.tar is not the a\.tar\.gz .* bytes, not \d+; get it from a friend; if any version may be taken \(--any-version\)/,
    );
    expect(existsSync(at('two/corpus.json'))).toBe(false);
    const { record } = await makeCorpus(definition, { dir: at('two'), from: newer, anyVersion: true, ...refuse });
    expect(record).toMatchObject({ documents: 1, archive: { file: 'newer.tar' } });
    await expect(makeCorpus(definition, { dir: at('two'), from: mine, ...refuse })).rejects.toThrow(StoreError);
    await expect(makeCorpus(definition, { dir: at('one'), from: mine, bytes: 10 })).rejects.toThrow(
      /holds the corpus small \(0\.003 MB\), not small \(0\.00001 MB\); choose another folder/,
    );
    await expect(makeCorpus(definition, { dir: at('three'), from: at('none') })).rejects.toThrow('there is no file');
  });

  it('says in one sentence what to put where without a network', async () => {
    const { definition } = await small();
    const dir = join(temporaryFolder(), 'out');
    const fetch = () => Promise.reject(new TypeError('fetch failed', { cause: { code: 'ENOTFOUND' } }));
    await expect(makeCorpus(definition, { dir, fetch })).rejects.toThrow(
      /cannot load https:\/\/host\/a\.tar\.gz: ENOTFOUND\. Start .* or get a\.tar\.gz \(0 MB\) from a friend, and name the file \(--from\)/,
    );
  });

  it('says so where an archive holds none of its documents', async () => {
    const { definition } = await small();
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'b.tar'), await tarOf({ readme: 'x' }));
    const from = join(folder, 'b.tar');
    await expect(makeCorpus(definition, { dir: join(folder, 'out'), from, anyVersion: true })).rejects.toThrow(
      'holds no document of the corpus small',
    );
  });
});

describe('the corpora', () => {
  it.each(FETCHED_CORPORA)('$name is pinned to bytes at https:// addresses', ({ archive, name }) => {
    expect(name).toMatch(/^[a-z0-9][a-z0-9.-]*$/);
    expect(archive.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(archive.bytes).toBeGreaterThan(1e6);
    expect(archive.urls.length).toBeGreaterThan(0);
    for (const url of archive.urls) expect(new URL(url)).toMatchObject({ protocol: 'https:' });
    for (const url of archive.urls) expect(url.endsWith(`/${archive.file}`)).toBe(true);
  });

  it('linux-6.12 takes C files of 10 to 200 kB, in UTF-8 or Latin-1', () => {
    const linux = FETCHED_CORPORA.find(({ name }) => name === 'linux-6.12') as CorpusDefinition;
    const sizes = [9_999, 10_000, 200_000, 200_001].map((size) => linux.isDocument('linux/a.c', size));
    expect([...sizes, linux.isDocument('linux/a.h', 20_000)]).toEqual([false, true, true, false, false]);
    expect(linux.textOf(Buffer.from('größe'), 'a.c')).toBe('größe');
    expect(linux.textOf(Buffer.from('größe', 'latin1'), 'a.c')).toBe('größe');
  });

  it('rfc takes page breaks out and leaves paragraphs whole', () => {
    const page = (n: number) => `\n\n\nAuthor          Standards Track       [Page ${n}]\n\f\n`;
    const header = 'RFC 1                    Title                August 2016\n\n\n';
    const text = `Title\n\n   A sentence that goes${page(1)}${header}   on here.${page(2)}${header}2.  Next\n\n\n\n   Text.\n`;
    expect(withoutPages(text)).toBe('Title\n\n   A sentence that goes\n   on here.\n\n2.  Next\n\n   Text.\n');
  });
});

describe('the command', () => {
  it('refuses names and options that do not fit', async () => {
    const unknown = await cli(['data', 'fetch', 'linux-6.1']);
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining('did you mean "linux-6.12"?')]);
    const alone = await cli(['data', 'fetch', 'rfc', '--any-version']);
    expect([alone.code, alone.stderr]).toEqual([2, expect.stringContaining('--any-version goes with --from FILE')]);
  });

  it('says what to do next', async () => {
    const folder = temporaryFolder();
    const from = join(folder, 'linux.tar');
    writeFileSync(from, await tarOf({ 'linux/a.c': 'int a; '.repeat(2000), 'linux/b.c': 'int b; '.repeat(2000) }));
    const out = join(folder, 'out');
    const { code, stdout } = await cli(['data', 'fetch', 'linux-6.12', '--from', from, '--any-version', '--out', out]);
    expect(code).toBe(0);
    expect(stdout).toContain('2 documents, 0.0 MB of text in 1 files, in shuffled order');
    const commands = stdout.split('\n').filter((line) => line.startsWith('  longsight'));
    for (const command of commands) {
      const args = command
        .trim()
        .split(' ')
        .slice(1)
        .map((word) => word.replaceAll("'", ''));
      expect((await cli(args)).code).toBe(0);
    }
    expect(existsSync(join(out, 'shards', 'manifest.json'))).toBe(true);
  });
});
