/** Parquet files that are read in ranges from an https:// address. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { InterruptedError } from '../../src/core/index.js';
import { prepareShards, type PrepareOptions } from '../../src/data/index.js';
import { temporaryFolder } from '../support/folders.js';

const DATA = join(import.meta.dirname, '..', 'data');
let dir = '';
beforeEach(() => {
  dir = join(temporaryFolder(), 'out');
});

const prepare = (files: readonly string[], more: Partial<PrepareOptions> = {}) =>
  prepareShards({
    ...{ files, tokenizerFolder: join(DATA, 'tokenizer', 'variants', 'gpt2'), dir, workers: 1 },
    ...more,
  });
describe('Parquet by URL', () => {
  const BYTES = readFileSync(join(DATA, 'parquet', 'snappy.parquet'));

  interface Part {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: Buffer;
  }

  /** Requests to `https://host/` are answered with the bytes asked for, changed by `spoil` from the second one on. */
  function serve(spoil: (part: Required<Part>, first: number, last: number) => Part = (part) => part): string[] {
    const asked: string[] = [];
    vi.stubGlobal('fetch', (url: string, { headers }: { headers: Record<string, string> }) => {
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers['range'] ?? '') ?? [];
      expect([url, headers['accept-encoding']]).toEqual(['https://host/data.parquet', 'identity']);
      const [first, last] = [Number(from), Number(to)];
      const body = BYTES.subarray(first, last + 1);
      const part = { status: 206, headers: { 'content-range': `bytes ${first}-${last}/${BYTES.length}` }, body };
      asked.push(`${first}-${last}`);
      const changed = { ...part, ...(asked.length === 1 ? {} : spoil(part, first, last)) };
      return Promise.resolve(
        new Response(new Uint8Array(changed.body), { status: changed.status, headers: changed.headers }),
      );
    });
    onTestFinished(() => void vi.unstubAllGlobals());
    return asked;
  }
  const prepareUrl = () => prepare(['https://host/data.parquet'], { field: 'content' });

  it('is read in ranges from an https:// address', async () => {
    const asked = serve();
    const { manifest } = await prepareUrl();
    expect(manifest.train.documents).toBe(38);
    expect(asked[0]).toBe('0-0');
    expect(asked.length).toBeGreaterThan(1);
  });

  it.each<[string, Parameters<typeof serve>[0], RegExp]>([
    [
      'other bytes',
      (_, a, z) => ({ headers: { 'content-range': `bytes ${a + 1}-${z}/${BYTES.length}` } }),
      /other bytes than/,
    ],
    [
      'a longer file',
      (_, a, z) => ({ headers: { 'content-range': `bytes ${a}-${z}/99999999` } }),
      /other bytes than were/,
    ],
    ['the whole file', () => ({ status: 200, body: BYTES }), /answers 200/],
    ['too much', ({ body }) => ({ body: Buffer.concat([body, body]) }), /sends more than the \d+ bytes/],
    ['too little', ({ body }) => ({ body: body.subarray(1) }), /ended after \d+ of the \d+ bytes/],
    ['a newer file', ({ headers }) => ({ headers: { ...headers, etag: '"2"' } }), /has changed while it was read/],
    ['an error', () => ({ status: 503 }), /https:\/\/host\/data\.parquet answers 503/],
  ])('is refused where the server answers with %s', async (_, spoil, message) => {
    serve(spoil);
    await expect(prepareUrl()).rejects.toThrow(message);
    expect(existsSync(dir)).toBe(false);
  });

  it('is refused from other addresses, from servers without ranges, and when told to stop', async () => {
    await expect(prepare(['http://127.0.0.1:9/data.parquet'], { field: 'content' })).rejects.toThrow(
      'http://127.0.0.1:9/data.parquet is no https:// address, so nothing is loaded from it',
    );
    vi.stubGlobal('fetch', () => Promise.resolve(new Response(new Uint8Array(BYTES))));
    onTestFinished(() => void vi.unstubAllGlobals());
    await expect(prepareUrl()).rejects.toThrow('the server of https://host/data.parquet gives whole files only');
    vi.stubGlobal('fetch', (__: string, { signal }: { signal: AbortSignal }) => {
      return new Promise((___, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))));
    });
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 50);
    const stopped = prepare(['https://host/data.parquet'], { field: 'content', signal: stop.signal });
    await expect(stopped).rejects.toThrow(InterruptedError);
    expect(existsSync(dir)).toBe(false);
  });
});
