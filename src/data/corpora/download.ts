/** Files from `https://` addresses: resumed where they were stopped, checked, and there only when whole. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, existsSync, fsyncSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  checkFence,
  DataError,
  fileError,
  InterruptedError,
  LongsightError,
  makeFolder,
  openPart,
  renamePath,
} from '../../core/index.js';
import { checkPlain, checkRange, request, type Answer, type RequestOptions } from '../network/https.js';
import type { PrepareProgress } from '../prepare/prepare.js';

/** What a downloaded file must be, and how its progress is told. */
export interface DownloadOptions extends RequestOptions {
  /** What the file must hold. */
  readonly bytes: number;
  readonly sha256: string;
  readonly progress?: ((progress: PrepareProgress) => void) | undefined;
}

const PART = '.part';
const STOPPED = 'the download was stopped; the same command goes on where it was';

/**
 * Loads `url` into the file `path`, which appears when it is whole and its size and SHA-256 are right. What was loaded
 * before a stop lies in `PATH.part` and is not loaded again.
 *
 * @throws DataError if the address, or one that it leads to, is not `https://`, cannot be reached, keeps silent, answers
 *   with other bytes than were asked for, or holds another file
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
    renamePath(part, path);
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
async function load(url: string, part: string, options: DownloadOptions): Promise<void> {
  const { bytes, progress } = options;
  const have = existsSync(part) ? statSync(part).size : 0;
  await request(url, have > 0 ? [have] : null, options, async (answer) => {
    const start = startOf(answer, have, bytes, url);
    if (start === null) {
      rmSync(part, { force: true });
      throw new DataError(`${url} does not have the bytes from ${have} on; start the command again, which begins anew`);
    }
    const fd = openPart(part, start === 0 ? 'anew' : 'go on');
    try {
      let done = start;
      for await (const piece of answer.body) {
        checkFence(part);
        if (done + piece.length > bytes) {
          rmSync(part, { force: true });
          throw new DataError(`${url} sends more than the ${bytes} bytes that the file has; nothing of it is kept`);
        }
        for (let at = 0; at < piece.length;) at += writeSync(fd, piece, at);
        done += piece.length;
        progress?.({ bytes: done, totalBytes: bytes, freshBytes: done - start });
      }
      fsyncSync(fd);
      if (done < bytes) {
        throw new DataError(`${url} ended after ${done} of ${bytes} bytes; the same command goes on from there`);
      }
    } finally {
      closeSync(fd);
    }
  });
}

/** The byte that an answer begins with; null if the server has no such bytes. */
function startOf(answer: Answer, have: number, bytes: number, url: string): number | null {
  const { status, statusText, headers } = answer;
  if (status === 206 && have > 0) {
    checkRange(url, answer, [have, bytes - 1], bytes);
    return have;
  }
  if (status === 416 && have > 0) return null;
  if (status !== 200) throw new DataError(`${url} answers ${status} ${statusText}`.trimEnd());
  checkPlain(url, answer);
  const length = headers.get('content-length');
  if (length !== null && Number(length) !== bytes) {
    throw new DataError(
      `what ${url} holds is another file: it has ${length} bytes, not ${bytes}; nothing of it is kept`,
    );
  }
  return 0;
}
