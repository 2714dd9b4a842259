/** Files of archives, one after another in bounded memory: Debian packages, tar, and both inside of one another. */
import { createReadStream } from 'node:fs';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';
import { AtomicFile, DataError, removePath } from '../../core/index.js';

type Bytes = AsyncIterable<Uint8Array>;

/** A file of an archive; its bytes can be read once, before the next file is asked for. */
export interface ArchiveFile {
  /** Path in the archive that holds it, folders included. */
  readonly path: string;
  /** The file's size in bytes. */
  readonly size: number;
  bytes(): Promise<Uint8Array>;
}

/** Readers by ending, longest first. */
const READERS: readonly (readonly [string, (bytes: Bytes) => AsyncGenerator<Entry>])[] = [
  ['.deb', debFiles],
  ['.tar.xz', (bytes) => tarFiles(unxz(bytes))],
  ['.tar.gz', (bytes) => tarFiles(gunzip(bytes))],
  ['.tar', tarFiles],
];

interface Entry {
  readonly path: string;
  readonly size: number;
  readonly content: Bytes;
}

const readerOf = (name: string) => READERS.find(([ending]) => name.endsWith(ending))?.[1];

/**
 * The files of an archive, then those of archives inside of it.
 *
 * @param name its file name, which says what it is: `.deb`, `.tar`, `.tar.gz` or `.tar.xz`
 * @param folder where archives inside of it are put meanwhile; they are removed again
 * @throws DataError if it is of no such kind, or its content is not what the name says
 */
export async function* archiveFiles(name: string, bytes: Bytes, folder: string): AsyncGenerator<ArchiveFile> {
  const reader = readerOf(name);
  if (reader === undefined) {
    throw new DataError(`${name} is no archive that is read; give a ${READERS.map(([e]) => e).join(', ')} file`);
  }
  // One after another, not one inside of the other: xz-decompress unpacks one stream at a time.
  const inner: string[] = [];
  try {
    for await (const { path, size, content } of reader(bytes)) {
      if (readerOf(path) === undefined) yield { path, size, bytes: () => collect(content) };
      else inner.push(await keep(content, join(folder, `${inner.length}-${basename(path)}`)));
    }
    for (const path of inner) {
      yield* archiveFiles(basename(path), createReadStream(path), join(folder, `${basename(path)}.inner`));
    }
  } finally {
    for (const path of inner) removePath(path);
  }
}

/** Writes an archive of an archive to a file. */
async function keep(content: Bytes, path: string): Promise<string> {
  using file = new AtomicFile(path);
  for await (const piece of content) file.write(piece);
  file.commit();
  return path;
}

async function* tarFiles(bytes: Bytes): AsyncGenerator<Entry> {
  const { default: tar } = await import('tar-stream');
  const extract = tar.extract();
  const source = Readable.from(bytes);
  source.on('error', (error) => extract.destroy(error));
  source.pipe(extract);
  try {
    for await (const entry of extract) {
      const { name, size, type } = entry.header;
      if (type === 'file') yield { path: name, size, content: entry as unknown as Bytes };
      entry.resume();
    }
  } finally {
    source.destroy();
  }
}

async function collect(bytes: Bytes): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of bytes) parts.push(part);
  return Buffer.concat(parts);
}

const AR_MAGIC = '!<arch>\n';
const AR_HEADER_BYTES = 60;

/** A Debian package is an `ar` archive whose member `data.tar.*` holds the files. */
async function* debFiles(bytes: Bytes): AsyncGenerator<Entry> {
  const reader = new ByteReader(bytes);
  if ((await reader.text(AR_MAGIC.length)) !== AR_MAGIC) throw new DataError('it is no Debian package (ar archive)');
  for (;;) {
    const header = await reader.text(AR_HEADER_BYTES);
    if (header.length === 0) return;
    const name = header.slice(0, 16).trimEnd().replace(/\/$/, '');
    const size = Number(header.slice(48, 58));
    if (header.length < AR_HEADER_BYTES || !Number.isInteger(size)) throw new DataError('it is damaged or ends early');
    const content = reader.take(size);
    const data = name.startsWith('data.tar') ? readerOf(name) : undefined;
    if (data !== undefined) yield* data(content);
    for await (const _ of content); // what was not read
    if (size % 2 === 1) await reader.text(1);
  }
}

/** Takes counted bytes from a stream of pieces. */
class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(bytes: Bytes) {
    this.#source = bytes[Symbol.asyncIterator]();
  }

  /** The next `count` bytes in pieces; throws `DataError` if the stream ends before. */
  async *take(count: number): AsyncGenerator<Uint8Array> {
    for (let left = count; left > 0;) {
      if (this.#rest.length === 0 && !(await this.#fill())) throw new DataError('it is damaged or ends early');
      const piece = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  /** Up to `count` bytes, a character each; fewer at the end of the stream. */
  async text(count: number): Promise<string> {
    let text = '';
    while (text.length < count && (this.#rest.length > 0 || (await this.#fill()))) {
      const piece = this.#rest.subarray(0, count - text.length);
      this.#rest = this.#rest.subarray(piece.length);
      text += Buffer.from(piece).toString('latin1');
    }
    return text;
  }

  async #fill(): Promise<boolean> {
    const next = await this.#source.next();
    if (next.done === true) return false;
    this.#rest = next.value;
    return next.value.length > 0 || this.#fill();
  }
}

/** Unpacks .xz. */
async function* unxz(bytes: Bytes): AsyncGenerator<Uint8Array> {
  const { default: xz } = await import('xz-decompress');
  const source = ReadableStream.from(bytes) as unknown as globalThis.ReadableStream<Uint8Array>;
  yield* new xz.XzReadableStream(source) as unknown as Bytes;
}

async function* gunzip(bytes: Bytes): AsyncGenerator<Uint8Array> {
  const unpack = createGunzip();
  const source = Readable.from(bytes);
  source.on('error', (error) => unpack.destroy(error));
  yield* source.pipe(unpack);
}
