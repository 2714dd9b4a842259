/** Rows of text of one length, to measure models beyond the length that they were trained on. */
import { at, Rng } from '../core/index.js';
import type { HeldOutDocument } from '../data/index.js';
import type { ArRow } from '../eval/index.js';

/** Rows of one length. */
export interface LengthRows {
  /**
   * Whether each row is of one document, or, where fewer than two of several documents are so long, rows are cut from
   * documents that follow one another without a gap, which the model reads as one text.
   */
  readonly rows: 'documents' | 'packed';
  /** The documents that rows hold any of. */
  readonly documents: number;
  readonly sequences: readonly ArRow[];
}

/**
 * At most `count` rows of `length` tokens, each with its last target. Documents come in an order drawn once; of those
 * that are long enough each gives its first row before any gives its second. The same rows for every model on the same
 * documents.
 *
 * @returns null where all documents together do not fill a row
 */
export function lengthRows(documents: readonly HeldOutDocument[], length: number, count: number): LengthRows | null {
  const drawn = Array.from(Rng.of(0, 'length').permutation(documents.length), (i) => at(documents, i));
  const long = drawn.filter((own) => own.length > length);
  // One document among others says nothing of the others, and has no interval.
  const isLong = long.length >= Math.min(2, drawn.length);
  const read = isLong ? fromDocuments(long, length, count) : packed(drawn, length, count);
  if (read.length === 0) return null;
  const named = new Set(read.flatMap(({ numbers }) => [...new Set(numbers)]));
  const sequences = read.map(({ text, numbers }): ArRow => {
    return {
      tokens: text.subarray(0, length),
      targets: text.subarray(1),
      documents: numbers.subarray(0, length),
      // The first token of another document is nothing that the text before it could tell.
      counts: (t) => numbers[t] === numbers[t + 1],
    };
  });
  return { rows: isLong ? 'documents' : 'packed', documents: named.size, sequences };
}

/** `length + 1` tokens, and the number of the document of each. */
interface Read {
  readonly text: Int32Array;
  readonly numbers: Float64Array;
}

function fromDocuments(long: readonly HeldOutDocument[], length: number, count: number): Read[] {
  const rows: Read[] = [];
  for (let turn = 0; rows.length < count; turn++) {
    const left = long.filter((own) => own.length > (turn + 1) * length).slice(0, count - rows.length);
    if (left.length === 0) break;
    for (const own of left) {
      const text = new Int32Array(length + 1);
      own.read(turn * length, text);
      rows.push({ text, numbers: new Float64Array(length + 1).fill(own.document) });
    }
  }
  return rows;
}

function packed(drawn: readonly HeldOutDocument[], length: number, count: number): Read[] {
  const size = drawn.reduce((sum, own) => sum + own.length, 0);
  const wanted = Math.min(count, Math.floor((size - 1) / length));
  if (wanted < 1) return [];
  const stream = new Int32Array(wanted * length + 1);
  const numbers = new Float64Array(stream.length);
  let place = 0;
  for (const own of drawn) {
    const take = Math.min(own.length, stream.length - place);
    if (take <= 0) break;
    own.read(0, stream.subarray(place, place + take));
    numbers.fill(own.document, place, place + take);
    place += take;
  }
  return Array.from({ length: wanted }, (_, i) => ({
    text: stream.subarray(i * length, (i + 1) * length + 1),
    numbers: numbers.subarray(i * length, (i + 1) * length + 1),
  }));
}

/** Texts of a user as documents. */
export function textDocuments(texts: readonly Int32Array[]): HeldOutDocument[] {
  return texts.map((tokens, document) => ({
    document,
    length: tokens.length,
    read: (from, into) => into.set(tokens.subarray(from, from + into.length)),
  }));
}
