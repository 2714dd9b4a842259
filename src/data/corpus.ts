/**
 * Text on disk as two byte streams, training and held-out, read at any position with bounded memory.
 *
 * A document is a whole file, or one line of JSON Lines (its `text`). Both streams are documents joined by a byte
 * 0 after each; a document may therefore not contain one. With at least `MANY_DOCUMENTS` documents the split is by
 * document: those with the smallest SHA-256 of their text are held out, so copies of a document fall on one side. With
 * fewer, the tail of every document is held out.
 *
 * Kept in memory: about 60 bytes a document, and a cache of decoded `.jsonl` lines of at most `CACHE_BYTES`.
 */
import { createHash } from 'node:crypto';
import { closeSync, readSync } from 'node:fs';
import { present, f64At, at, DataError, Utf8Check } from '../core/index.js';
import { isBlank, textOfLine } from './json-lines.js';
import { kindOf, packingOf } from './kinds.js';
import { chunksOf, countLines, linesOf, openText } from './lines.js';
import { lastAtOrBelow } from './search.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** The two parts of a corpus: text to train on, and text that is held out for evaluation. */
export type Split = 'train' | 'heldOut';

/**
 * The number of documents from which on the split is by document; a corpus of fewer holds out the end of each document.
 */
export const MANY_DOCUMENTS = 100;

const CACHE_BYTES = 32 * 2 ** 20;
const MAX_OPEN_FILES = 32;

interface Document {
  readonly file: number;
  /** Byte range in the file: the whole file, or one line. */
  readonly begin: number;
  readonly end: number;
  /** Bytes of the text. */
  readonly size: number;
  /** The first 48 bits of the text's SHA-256. */
  readonly hash: number;
}

/** A part of a document's text that belongs to a split. */
interface Piece {
  readonly document: Document;
  readonly from: number;
  readonly to: number;
}

/** A text corpus on disk, opened as a training and a held-out stream of bytes that are read at any position. */
export class TextCorpus implements Disposable {
  /** SHA-256 over every document in order, as 64 hexadecimal digits: equal for equal text. */
  readonly fingerprint: string;
  /** The number of documents in both splits together. */
  readonly numDocuments: number;
  /** Lines whose `text` is null; they are left out. */
  readonly nullTexts: number;
  readonly #files: readonly string[];
  readonly #jsonl: readonly boolean[];
  readonly #splits: Readonly<Record<Split, Stream>>;
  readonly #open = new Map<number, number>();
  readonly #cache = new Map<Document, Uint8Array>();
  #cachedBytes = 0;

  /**
   * Reads every file once, to check it and to find its documents.
   *
   * @param files absolute paths; text, or JSON lines, by `kindOf`
   * @param heldOut fraction held out, 0 to below 1
   * @throws DataError naming file and place: unreadable, of another kind, a byte 0, no UTF-8, a line that is no JSON
   * object with
   *   a `text`
   */
  constructor(files: readonly string[], heldOut: number) {
    this.#files = files;
    this.#jsonl = files.map(isJsonl);
    const skipped = { nullTexts: 0 };
    const total = createHash('sha256');
    const documents: Document[] = [];
    files.forEach((path, file) => {
      for (const { digest, ...document } of this.#jsonl[file] === true
        ? scanLines(path, file, skipped)
        : scanFile(path, file)) {
        if (document.size === 0) continue;
        total.update(digest);
        documents.push({ ...document, hash: digest.readUIntBE(0, 6) });
      }
    });
    if (documents.length === 0) throw new DataError(`no text in ${files.join(', ')}; add files that are not empty`);
    this.nullTexts = skipped.nullTexts;
    this.numDocuments = documents.length;
    this.fingerprint = total.digest('hex');
    this.#splits = splitDocuments(documents, heldOut);
  }

  /** The bytes of a split, the separators between documents included. */
  size(split: Split): number {
    return this.#splits[split].size;
  }

  /** Fills `into` with the bytes of a split from `position` on. They must lie within its size. */
  read(split: Split, position: number, into: Uint8Array): void {
    const { pieces, starts, size } = this.#splits[split];
    if (position < 0 || position + into.length > size) {
      throw new DataError(
        `bytes ${position} to ${position + into.length} are not in the ${split} text of ${size} bytes`,
      );
    }
    let index = lastAtOrBelow(starts, position);
    for (let at = 0; at < into.length; index++) {
      const piece = present(pieces[index]);
      const inside = position + at - readF64(starts, index);
      const length = piece.to - piece.from;
      const take = Math.min(length - inside, into.length - at);
      if (take > 0) this.#readDocument(piece.document, piece.from + inside, into.subarray(at, at + take));
      at += take;
      if (at < into.length) into[at++] = 0;
    }
  }

  /**
   * The number, in a split, of the document that the byte at `position` belongs to; the separator belongs to the one
   * before it.
   */
  documentAt(split: Split, position: number): number {
    return lastAtOrBelow(this.#splits[split].starts, position);
  }

  /** Where each document of a split starts in it, and its bytes, the separator among them. */
  places(split: Split): { readonly start: number; readonly length: number }[] {
    const { pieces, starts } = this.#splits[split];
    return pieces.map(({ from, to }, i) => ({ start: readF64(starts, i), length: to - from + 1 }));
  }

  /** The documents of a split, one after another, as bytes without separators. */
  *documents(split: Split): Generator<Uint8Array> {
    for (const { document, from, to } of this.#splits[split].pieces) {
      const bytes = new Uint8Array(to - from);
      this.#readDocument(document, from, bytes);
      yield bytes;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.values()) closeSync(fd);
    this.#open.clear();
    this.#cache.clear();
    this.#cachedBytes = 0;
  }

  #readDocument(document: Document, from: number, into: Uint8Array): void {
    const path = at(this.#files, document.file);
    if (this.#jsonl[document.file] !== true) {
      this.#readFile(document.file, from, into);
      return;
    }
    let text = this.#cache.get(document);
    if (text === undefined) {
      const line = new Uint8Array(document.end - document.begin);
      this.#readFile(document.file, document.begin, line);
      text = this.#again(line, path, document.begin);
      if (text?.length !== document.size) throw changed(path);
      this.#remember(document, text);
    }
    into.set(text.subarray(from, from + into.length));
  }

  #again(line: Uint8Array, path: string, begin: number): Uint8Array | undefined {
    try {
      return bytesOfLine(line, path, begin, () => 0) ?? undefined;
    } catch (error) {
      if (error instanceof DataError) throw changed(path);
      throw error;
    }
  }

  #remember(document: Document, text: Uint8Array): void {
    for (const [oldest, bytes] of this.#cache) {
      if (this.#cachedBytes + text.length <= CACHE_BYTES) break;
      this.#cache.delete(oldest);
      this.#cachedBytes -= bytes.length;
    }
    this.#cache.set(document, text);
    this.#cachedBytes += text.length;
  }

  #readFile(file: number, position: number, into: Uint8Array): void {
    const path = at(this.#files, file);
    let fd = this.#open.get(file);
    if (fd === undefined) {
      const oldest = this.#open.entries().next().value;
      if (this.#open.size >= MAX_OPEN_FILES && oldest !== undefined) {
        closeSync(oldest[1]);
        this.#open.delete(oldest[0]);
      }
      fd = openText(path);
      this.#open.set(file, fd);
    }
    for (let at = 0; at < into.length;) {
      const got = readSync(fd, into, at, into.length - at, position + at);
      if (got === 0) throw changed(path);
      at += got;
    }
  }
}

interface Stream {
  readonly pieces: readonly Piece[];
  /** Where each piece starts in the stream. */
  readonly starts: Float64Array;
  readonly size: number;
}

function streamOf(pieces: readonly Piece[]): Stream {
  const starts = new Float64Array(pieces.length);
  let size = 0;
  pieces.forEach((piece, i) => {
    starts[i] = size;
    size += piece.to - piece.from + 1;
  });
  return { pieces, starts, size };
}

function splitDocuments(documents: readonly Document[], heldOut: number): Readonly<Record<Split, Stream>> {
  const whole = (document: Document): Piece => ({ document, from: 0, to: document.size });
  if (heldOut === 0) return { train: streamOf(documents.map(whole)), heldOut: streamOf([]) };
  if (documents.length < MANY_DOCUMENTS) {
    const cut = (d: Document) => d.size - Math.ceil(d.size * heldOut);
    const heads = documents.map((document) => ({ document, from: 0, to: cut(document) }));
    const tails = documents.map((document) => ({ document, from: cut(document), to: document.size }));
    return { train: streamOf(heads.filter((p) => p.to > 0)), heldOut: streamOf(tails) };
  }
  const smallest = documents.reduce((least, d) => Math.min(least, d.hash), Infinity);
  const threshold = Math.max(heldOut * 2 ** 48, smallest + 1);
  return {
    train: streamOf(documents.filter((d) => d.hash >= threshold).map(whole)),
    heldOut: streamOf(documents.filter((d) => d.hash < threshold).map(whole)),
  };
}

type Scanned = Omit<Document, 'hash'> & { readonly digest: Buffer };

function isJsonl(path: string): boolean {
  const prepare = 'make shards of it with "longsight data prepare", and train on those (kind: shards)';
  if (packingOf(path) !== null)
    throw new DataError(`${path} is compressed, so it is not read at any place; ${prepare}`);
  const kind = kindOf(path);
  if (kind === 'parquet') throw new DataError(`${path} is Parquet, which text sources do not read; ${prepare}`);
  return kind === 'jsonl';
}

function changed(path: string): DataError {
  return new DataError(`${path} changed while it was in use; start again, or resume with the text as it was`);
}

function* scanFile(path: string, file: number): Generator<Scanned> {
  const hash = createHash('sha256');
  let size = 0;
  let line = 1;
  const utf8 = new Utf8Check();
  const check = (at: number | null) => {
    if (at === null) return;
    throw new DataError(
      `${path}: byte ${at} is not valid UTF-8; convert the file, or make shards of it with "longsight data prepare --invalid replace"`,
      { details: { path, offset: at } },
    );
  };
  for (const chunk of chunksOf(path)) {
    const zero = chunk.indexOf(0);
    if (zero !== -1) {
      const where = line + countLines(chunk.subarray(0, zero));
      throw new DataError(
        `${path}, line ${where}: a byte 0 at offset ${size + zero}, so this is not text; leave the file out or clean it`,
        { details: { path, line: where } },
      );
    }
    check(utf8.add(chunk));
    line += countLines(chunk);
    hash.update(chunk);
    size += chunk.length;
  }
  check(utf8.add(new Uint8Array(0), true));
  yield { file, begin: 0, end: size, size, digest: hash.digest() };
}

function* scanLines(path: string, file: number, skipped: { nullTexts: number }): Generator<Scanned> {
  let number = 0;
  for (const { begin, bytes } of linesOf(path)) {
    number++;
    if (isBlank(bytes)) continue;
    const text = bytesOfLine(bytes, path, begin, () => number);
    if (text === null) {
      skipped.nullTexts++;
      continue;
    }
    const zero = text.indexOf(0);
    if (zero !== -1) {
      throw new DataError(
        `${path}, line ${number}: its text contains a character 0, which separates documents; correct or remove the line`,
        { details: { path, line: number } },
      );
    }
    const digest = createHash('sha256').update(text).digest();
    yield { file, begin, end: begin + bytes.length, size: text.length, digest };
  }
}

function bytesOfLine(bytes: Uint8Array, path: string, begin: number, line: () => number): Uint8Array | null {
  const text = textOfLine(bytes, { field: 'text', invalid: 'refuse', path, begin, line });
  return text === null ? null : Buffer.from(text);
}
