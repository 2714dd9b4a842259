/**
 * Documents of text, JSONL and Parquet files as pieces of text, read in bounded memory and from any chunk of a file, so
 * that several workers share a file.
 *
 * A document is a whole text file, a line of JSON Lines, or a row of a `.parquet` file.
 */
import { createHash } from 'node:crypto';
import { closeSync, readSync, statSync } from 'node:fs';
import { firstCut, lastCut } from '../checkpoint/index.js';
import { present, at, u8At, DataError, decodeUtf8, wholeCharacters, type InvalidText } from '../core/index.js';
import { invalidByte, isBlank, textOfLine } from './json-lines.js';
import { kindOf, packingOf, type InputKind, type Packing } from './kinds.js';
import { lineNumber, linesOf, lineStart, openText } from './lines.js';
import { openParquet } from './parquet.js';
import { unpackFile } from './unpack.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readU8 = u8At;

export type { InputKind } from './kinds.js';

/** A file of documents, looked at but not opened. */
export interface Input {
  readonly path: string;
  readonly kind: InputKind;
  /** The size of the file in bytes. */
  readonly bytes: number;
  /** Row groups of a Parquet file; 0 for others. */
  readonly groups: number;
  /** The file as it was named, where `path` is what was unpacked from it. */
  readonly source?: string;
}

/** A file as it is named, perhaps compressed: its size and kind are then not known before it is unpacked. */
export type ListedInput = Input | { readonly path: string; readonly bytes: number; readonly packing: Packing };

/**
 * A part of an input that one chunk of work reads: bytes of text (whole characters), bytes in which lines start, or
 * Parquet row groups.
 */
export interface Range {
  /** The index of the input among those of the work. */
  readonly input: number;
  /** The first byte, or the first row group of a Parquet file. */
  readonly begin: number;
  /** The byte or row group after the last. */
  readonly end: number;
}

/** How documents are read from files. */
export interface ReadOptions {
  /** The key or column that holds the text. */
  readonly field: string;
  /** What happens to bytes that are no UTF-8: an error, or U+FFFD in their place. */
  readonly invalid: InvalidText;
  /** Whether texts may be cut into pieces; if not, a document comes in one. */
  readonly cut: boolean;
  /** Ends what is asked of a server. */
  readonly signal?: AbortSignal | undefined;
}

/** A piece of a document's text, in order. */
export interface Piece {
  readonly text: string;
  /** Whether this piece is the first of its document. */
  readonly first: boolean;
  /** Whether this piece is the last of its document. */
  readonly last: boolean;
  /**
   * The document's place between 0 and 1 that decides its split: the first 48 bits of the SHA-256 of its first 64 KiB,
   * over 2^48.
   */
  readonly hash: number;
  /** The bytes of the file that were read to get this piece, for progress. */
  readonly bytes: number;
}

const PIECE_BYTES = 2 ** 20;
/** A text without a place to cut may be this long. */
const MAX_UNCUT_BYTES = 64 * 2 ** 20;
const HASHED_BYTES = 64 * 2 ** 10;

/**
 * Looks at files: kinds by their ending or beginning, sizes. Compressed files are not opened.
 *
 * @throws DataError if one is missing, of a kind that cannot be read, or a Parquet file without the field
 * @throws InterruptedError if the signal aborts
 */
export async function listInputs(
  paths: readonly string[],
  field: string,
  signal?: AbortSignal,
): Promise<ListedInput[]> {
  const inputs: ListedInput[] = [];
  for (const path of paths) {
    const packing = packingOf(path);
    inputs.push(packing === null ? await describe(path, field, signal) : { path, bytes: sizeOf(path), packing });
  }
  return inputs;
}

/**
 * The files that are read: those that are listed, and what the compressed ones hold, unpacked into `folder`.
 *
 * @throws DataError if a compressed file is damaged, or holds what cannot be read
 * @throws InterruptedError if the signal aborts
 */
export async function unpackInputs(
  listed: readonly ListedInput[],
  field: string,
  folder: string,
  signal?: AbortSignal,
): Promise<Input[]> {
  const inputs: Input[] = [];
  for (const input of listed) {
    if (!('packing' in input)) {
      inputs.push(input);
      continue;
    }
    const path = await unpackFile(input.path, input.packing, folder, signal);
    const source = input.path;
    const unpacked = await describe(path, field, signal).catch((error: unknown) => {
      throw asNamed(error, { path, source });
    });
    inputs.push({ ...unpacked, source });
  }
  return inputs;
}

async function describe(path: string, field: string, signal?: AbortSignal): Promise<Input> {
  // The ending alone may refuse a file, whether it is there or not; a look into it needs one.
  if (!/\.parquet\b/i.test(path) && !path.includes('://')) sizeOf(path);
  const kind = kindOf(path);
  if (kind !== 'parquet') return { path, kind, bytes: sizeOf(path), groups: 0 };
  const { bytes, groups } = await openParquet(path, field, { signal });
  return { path, kind, bytes, groups: groups.length };
}

function sizeOf(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new DataError(`text file ${path} does not exist; correct its name`);
  return stat.size;
}

/** An error about what was unpacked, as one about the file as it was named. */
function asNamed(error: unknown, { path, source }: Pick<Input, 'path' | 'source'>): unknown {
  if (source === undefined || !(error instanceof DataError)) return error;
  return new DataError(error.message.replaceAll(path, `${source} (unpacked)`), {
    details: error.details,
    cause: error,
  });
}

/**
 * Cuts files into chunks of about `chunkBytes`: the same chunks for the same files and options, whoever reads them.
 * A text file that must not be cut is one chunk; so is every row group of a Parquet file.
 */
export function planChunks(inputs: readonly Input[], chunkBytes: number, cut: boolean): Range[][] {
  const chunks: Range[][] = [];
  let open: Range[] = [];
  let openBytes = 0;
  const close = () => {
    if (open.length > 0) chunks.push(open);
    open = [];
    openBytes = 0;
  };
  inputs.forEach(({ kind, bytes, groups }, input) => {
    if (kind === 'parquet') {
      close();
      for (let group = 0; group < groups; group++) chunks.push([{ input, begin: group, end: group + 1 }]);
      return;
    }
    if (bytes === 0) return;
    if (bytes <= chunkBytes || (kind === 'text' && !cut)) {
      if (openBytes + bytes > chunkBytes) close();
      open.push({ input, begin: 0, end: bytes });
      openBytes += bytes;
      return;
    }
    close();
    for (let begin = 0; begin < bytes; begin += chunkBytes) {
      chunks.push([{ input, begin, end: Math.min(bytes, begin + chunkBytes) }]);
    }
  });
  close();
  return chunks;
}

/** A count of documents that `readRange` left out. */
export interface Skipped {
  /** Documents whose text is null. */
  nullTexts: number;
}

/** The pieces of a range, in order. Empty documents are left out; so are null ones, which are counted in `skipped`. */
export async function* readRange(
  inputs: readonly Input[],
  range: Range,
  options: ReadOptions,
  skipped: Skipped,
): AsyncGenerator<Piece> {
  const input = at(inputs, range.input);
  try {
    switch (input.kind) {
      case 'text':
        yield* options.cut ? cutText(input, range, options) : wholeText(input, options);
        return;
      case 'jsonl':
        yield* readLines(input.path, range, options, skipped);
        return;
      case 'parquet':
        yield* readGroups(input, range, options, skipped);
    }
  } catch (error) {
    throw asNamed(error, input);
  }
}

async function* readGroups(input: Input, range: Range, options: ReadOptions, skipped: Skipped): AsyncGenerator<Piece> {
  const file = await openParquet(input.path, options.field, { signal: options.signal });
  const bytes = input.bytes / Math.max(1, input.groups);
  for (let group = range.begin; group < range.end; group++) {
    const all = await file.read(group, options.invalid);
    const texts = all.filter((text): text is string => text !== null && text !== '');
    skipped.nullTexts += all.filter((text) => text === null).length;
    for (const text of texts) yield* piecesOf(text, hashOf(Buffer.from(text)), bytes / texts.length);
  }
}

/** A text held in memory, as one piece. */
function* piecesOf(text: string, hash: number, bytes: number): Generator<Piece> {
  yield { text, first: true, last: true, hash, bytes };
}

function hashOf(utf8: Uint8Array): number {
  return createHash('sha256').update(utf8.subarray(0, HASHED_BYTES)).digest().readUIntBE(0, 6) / 2 ** 48;
}

function* readLines(
  path: string,
  { begin, end }: Range,
  { field, invalid }: ReadOptions,
  skipped: Skipped,
): Generator<Piece> {
  for (const line of linesOf(path, lineStart(path, begin))) {
    if (line.begin >= end) return;
    const { bytes } = line;
    if (isBlank(bytes)) continue;
    const at = line.begin;
    const text = textOfLine(bytes, { field, invalid, path, begin: at, line: () => lineNumber(path, at) });
    if (text === null) skipped.nullTexts++;
    else if (text !== '') yield* piecesOf(text, hashOf(Buffer.from(text)), bytes.length + 1);
  }
}

/**
 * Bytes as text. Throws `DataError` with the offset of the first byte that is no UTF-8, unless it is to be replaced.
 */
function decode(bytes: Uint8Array, path: string, offset: number, { invalid }: ReadOptions): string {
  return decodeUtf8(bytes, invalid, (at) => invalidByte(path, offset + at));
}

function* wholeText({ path, bytes }: Input, options: ReadOptions): Generator<Piece> {
  if (bytes > MAX_UNCUT_BYTES) {
    throw new DataError(
      `${path}: a document of ${bytes} bytes cannot be encoded in pieces by this tokenizer, and only ${MAX_UNCUT_BYTES} ` +
        'bytes are held at once; split the file, or use a byte-level tokenizer',
      { details: { path, bytes } },
    );
  }
  const text = decode(readBytes(path, 0, bytes), path, 0, options);
  yield* piecesOf(text, hashOf(Buffer.from(text)), bytes);
}

function readBytes(path: string, from: number, size: number): Buffer {
  const fd = openText(path);
  try {
    const buffer = Buffer.alloc(size);
    let at = 0;
    while (at < size) {
      const got = readSync(fd, buffer, at, size - at, from + at);
      if (got === 0) break;
      at += got;
    }
    return buffer.subarray(0, at);
  } finally {
    closeSync(fd);
  }
}

/** A text file, or a part of one that starts and ends where it may be cut. */
function* cutText({ path, bytes: size }: Input, { begin, end }: Range, options: ReadOptions): Generator<Piece> {
  const from = cutFrom(path, begin, size);
  const to = cutFrom(path, end, size);
  const hash = hashOf(readBytes(path, 0, HASHED_BYTES));
  let held: Buffer = Buffer.alloc(0);
  let at = from;
  for (let next = from; next < to;) {
    // Where there was no place to cut, twice as much is looked at.
    const read = readBytes(path, next, Math.min(Math.max(PIECE_BYTES, held.length), to - next));
    if (read.length === 0) throw new DataError(`${path} became shorter while it was read; start again`);
    next += read.length;
    held = held.length === 0 ? read : Buffer.concat([held, read]);
    const final = next >= to;
    const whole = final ? held.length : wholeCharacters(held);
    const text = decode(held.subarray(0, whole), path, at, options);
    const cut = final ? text.length : lastCut(text);
    if (cut === 0 && !final) {
      if (held.length < MAX_UNCUT_BYTES) continue;
      throw new DataError(
        `${path}: the text from byte ${at} on has no place to cut it (a space or line feed between words) within ` +
          `${MAX_UNCUT_BYTES} bytes; split the document`,
        { details: { path, offset: at } },
      );
    }
    const piece = cut === text.length ? text : text.slice(0, cut);
    const used = final ? held.length : heldUpTo(held, whole, text, cut, options);
    yield { text: piece, first: at === 0, last: final && to === size, hash, bytes: used };
    held = held.subarray(used);
    at += used;
  }
}

/** Bytes of the first `cut` units of `text`, which `held[0, whole)` was decoded to. */
function heldUpTo(held: Buffer, whole: number, text: string, cut: number, { invalid }: ReadOptions): number {
  const rest = text.slice(cut);
  if (invalid === 'refuse') return whole - Buffer.byteLength(rest);
  // Replaced bytes have other lengths: the cut is found as the same number of spaces and line feeds from the end.
  return whole - bytesOfTail(held.subarray(0, whole), rest);
}

/** How many bytes at the end of `bytes` decode to `tail`, which starts at a space or after a line feed. */
function bytesOfTail(bytes: Buffer, tail: string): number {
  const isBreak = (unit: number) => unit === 0x20 || unit === 0x0a;
  let breaks = 0;
  for (let i = 0; i < tail.length; i++) if (isBreak(tail.charCodeAt(i))) breaks++;
  const withFirst = isBreak(tail.charCodeAt(0));
  let at = bytes.length;
  // A tail that starts with its break ends there; another starts right after the break before its own.
  for (let left = withFirst ? breaks : breaks + 1; left > 0;) {
    at--;
    if (isBreak(present(bytes[at]))) left--;
  }
  return bytes.length - (withFirst ? at : at + 1);
}

/** The first place from about byte `at` on where the text may be cut; the ends of the file are such places. */
function cutFrom(path: string, at: number, size: number): number {
  if (at === 0 || at >= size) return Math.min(at, size);
  const windowBytes = 64 * 2 ** 10;
  for (let start = at - 4; start < size; start += windowBytes) {
    // Windows overlap, so that a place on the border of two is seen.
    const window = readBytes(path, Math.max(0, start), windowBytes + 16);
    const skip = Math.max(0, start) === 0 ? 0 : leadingContinuation(window);
    const text = window.subarray(skip).toString('utf8');
    const found = firstCut(text);
    if (found > 0) return Math.max(0, start) + skip + bytesUpTo(window.subarray(skip), text, found);
  }
  return size;
}

function leadingContinuation(bytes: Uint8Array): number {
  let skip = 0;
  while (skip < 3 && skip < bytes.length && (readU8(bytes, skip) & 0xc0) === 0x80) skip++;
  return skip;
}

/**
 * Bytes before unit `cut` of `text`, counted by its spaces and line feeds, so that bytes that are no UTF-8 do no harm.
 */
function bytesUpTo(bytes: Uint8Array, text: string, cut: number): number {
  const tail = text.slice(cut);
  return bytes.length - bytesOfTail(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), tail);
}
