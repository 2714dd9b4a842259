/** Compressed files, unpacked in bounded memory. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { messageOf, AtomicFile, DataError, InterruptedError, LongsightError, removePath } from '../core/index.js';
import { unpackedName, type Packing } from './kinds.js';
import { unzstd } from './zstd.js';

/**
 * Unpacks a file into `folder`; one that was unpacked there before, from the same file, is taken as it is.
 *
 * @returns the path of what was unpacked
 * @throws DataError if the file is damaged or ends early
 * @throws InterruptedError if the signal aborts
 */
export async function unpackFile(
  path: string,
  packing: Packing,
  folder: string,
  signal?: AbortSignal,
): Promise<string> {
  const { size, mtimeMs } = statSync(path);
  const id = createHash('sha256')
    .update(JSON.stringify([path, size, mtimeMs]))
    .digest('hex')
    .slice(0, 16);
  const target = join(folder, `${id}-${basename(unpackedName(path))}`);
  if (existsSync(target)) return target;
  if (size === 0) throw new DataError(`${path} is empty, which no ${packing} file is; make it again`);
  using file = new AtomicFile(target);
  try {
    for await (const part of PARTS[packing](path)) {
      if (signal?.aborted === true) throw new InterruptedError('unpacking was stopped; start the same command again');
      file.write(part);
    }
  } catch (cause) {
    if (cause instanceof LongsightError) throw cause;
    throw new DataError(`cannot unpack ${path} (${packing}): ${messageOf(cause)}; make or fetch the file again`, {
      details: { path },
      cause,
    });
  }
  file.commit();
  return target;
}

/** Removes what `unpackFile` left in a folder. */
export function removeUnpacked(folder: string): void {
  removePath(folder);
}

const PARTS: Readonly<Record<Packing, (path: string) => AsyncGenerator<Uint8Array>>> = { gzip, zstd: unzstd };

/** All members of a gzip file, one after another. */
async function* gzip(path: string): AsyncGenerator<Uint8Array> {
  const source = createReadStream(path);
  const gunzip = createGunzip();
  source.on('error', (error) => gunzip.destroy(error));
  yield* source.pipe(gunzip) as AsyncIterable<Uint8Array>;
  // Node takes what follows the last member for garbage and says nothing.
  const { size } = statSync(path);
  if (gunzip.bytesWritten < size) throw new Error(`${size - gunzip.bytesWritten} bytes follow its end`);
}
