/**
 * Fingerprints: what tells contents apart wherever something is reused, resumed or named. Equal contents have equal
 * fingerprints, different ones do not (SHA-256); paths, times of change and order of keys play no part.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { canonicalJson } from './canonical.js';
import { fileError } from './files.js';

/** Bytes of a file that are read at a time: memory does not grow with the file. */
const PIECE_BYTES = 4 * 2 ** 20;

/** SHA-256 of a value's canonical text (`canonicalJson`), as 64 hexadecimal digits. */
export function fingerprint(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}

/** SHA-256 of bytes, as 64 hexadecimal digits. */
export function fingerprintBytes(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * SHA-256 of a file's bytes, as 64 hexadecimal digits. Reads the file once from front to back, 4 MiB at a time.
 *
 * @throws StoreError if the file cannot be read
 */
export function fingerprintFile(path: string): string {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    for (let n = readSync(fd, piece); n > 0; n = readSync(fd, piece)) hash.update(piece.subarray(0, n));
  } catch (cause) {
    throw fileError('read', path, cause);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return hash.digest('hex');
}
