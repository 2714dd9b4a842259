/** Files from `https://` addresses: resumed where they were stopped, checked, and there only when whole. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, at, DataError, fileError, InterruptedError, LongsightError, makeFolder } from '../../core/index.js';
import type { PrepareProgress } from '../prepare/prepare.js';

/** What a downloaded file must be, and how its progress is told. */
export interface DownloadOptions {
  /** What the file must hold. */
  readonly bytes: number;
  readonly sha256: string;
  readonly signal?: AbortSignal | undefined;
  readonly progress?: ((progress: PrepareProgress) => void) | undefined;
  /** How requests are made (default: Node's own). */
  readonly fetch?: typeof fetch | undefined;
}

const MAX_REDIRECTS = 5;
const PART = '.part';
const STOPPED = 'the download was stopped; the same command goes on where it was';

/**
 * Loads `url` into the file `path`, which appears when it is whole and its size and SHA-256 are right. What was loaded
 * before a stop lies in `PATH.part` and is not loaded again.
 *
 * @throws DataError if the address is not `https://`, cannot be reached, or holds other bytes
 * @throws StoreError if the disk does not take them
 * @throws InterruptedError if the signal aborts
 */
export async function download(url: string, path: string, options: DownloadOptions): Promise<void> {
  if (existsSync(path) && (await checkFile(path, options)) === null) return;
  const part = `${path}${PART}`;
  try {
    makeFolder(dirname(path));
    if (existsSync(part) && statSync(part).size > options.bytes) rmSync(part);
    if (!existsSync(part) || statSync(part).size < options.bytes) await load(url, part, options);
    const wrong = await checkFile(part, options);
    if (wrong !== null) {
      rmSync(part, { force: true });
      throw new DataError(`what ${url} holds is another file: ${wrong}; nothing of it is kept`, { details: { url } });
    }
    renameSync(part, path);
  } catch (cause) {
    if (options.signal?.aborted === true) throw new InterruptedError(STOPPED, { cause });
    throw cause instanceof LongsightError ? cause : fileError('write', path, cause);
  }
}

/** What is wrong with a file that should have this size and SHA-256, in a few words; null if nothing is. */
export async function checkFile(
  path: string,
  { bytes, sha256 }: Pick<DownloadOptions, 'bytes' | 'sha256'>,
): Promise<string | null> {
  const { size } = statSync(path);
  if (size !== bytes) return `it has ${size} bytes, not ${bytes}`;
  const found = await sha256OfFile(path);
  return found === sha256 ? null : `its SHA-256 is ${found}, not ${sha256}`;
}

/** SHA-256 of a file's bytes, as 64 hexadecimal digits, read in pieces. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path) as AsyncIterable<Uint8Array>) hash.update(piece);
  return hash.digest('hex');
}

/** Appends what is missing of the file. */
async function load(url: string, part: string, { bytes, signal, progress, fetch }: DownloadOptions): Promise<void> {
  const have = existsSync(part) ? statSync(part).size : 0;
  const headers: Record<string, string> = have > 0 ? { range: `bytes=${have}-` } : {};
  const response = await request(url, headers, signal, fetch ?? globalThis.fetch);
  const start = startOf(response, have, bytes, url);
  const fd = openSync(part, start === 0 ? 'w' : 'a');
  try {
    let done = start;
    for await (const piece of bodyOf(response, url)) {
      for (let at = 0; at < piece.length;) at += writeSync(fd, piece, at);
      done += piece.length;
      if (done > bytes) throw new DataError(`${url} holds more than the ${bytes} bytes that it should`);
      progress?.({ bytes: done, totalBytes: bytes, freshBytes: done - start });
    }
    fsyncSync(fd);
    if (done < bytes) {
      throw new DataError(`${url} ended after ${done} of ${bytes} bytes; the same command goes on from there`);
    }
  } finally {
    closeSync(fd);
  }
}

async function request(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
  fetch: typeof globalThis.fetch,
): Promise<Response> {
  let at = url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    if (!at.startsWith('https://')) throw new DataError(`${at} is no https:// address, so nothing is loaded from it`);
    let response: Response;
    try {
      response = await fetch(at, { headers, redirect: 'manual', ...(signal === undefined ? {} : { signal }) });
    } catch (cause) {
      throw unreachable(at, cause);
    }
    const location = response.headers.get('location');
    if (response.status < 300 || response.status >= 400 || location === null) return response;
    at = new URL(location, at).href;
  }
  throw new DataError(`${url} leads from address to address more than ${MAX_REDIRECTS} times`);
}

/** The byte that an answer begins with. */
function startOf(response: Response, have: number, bytes: number, url: string): number {
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
    if (range !== null && Number(range[1]) === have && [String(bytes), '*'].includes(at(range, 2))) return have;
    throw new DataError(`${url} answers with other bytes than were asked for; remove the .part file and start again`);
  }
  if (response.status !== 200)
    throw new DataError(`${url} answers ${response.status} ${response.statusText}`.trimEnd());
  const length = response.headers.get('content-length');
  if (length !== null && response.headers.get('content-encoding') === null && Number(length) !== bytes) {
    throw new DataError(
      `what ${url} holds is another file: it has ${length} bytes, not ${bytes}; nothing of it is kept`,
    );
  }
  return 0;
}

async function* bodyOf(response: Response, url: string): AsyncGenerator<Uint8Array> {
  try {
    yield* (response.body ?? []) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw unreachable(url, cause);
  }
}

function unreachable(url: string, cause: unknown): DataError {
  const inner = (cause as Error).cause;
  const code = (inner as NodeJS.ErrnoException | undefined)?.code;
  const why = code ?? (inner instanceof Error ? inner.message : messageOf(cause));
  return new DataError(`cannot load ${url}: ${why}`, { details: { url, code: code ?? null }, cause });
}
