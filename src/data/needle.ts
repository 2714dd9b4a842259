/**
 * Needle samples: a fact put at a known depth of a long context, and a question about it at the end.
 *
 * The wording of the byte form follows the single-needle task of RULER (NVIDIA/RULER, `scripts/data/synthetic`). The
 * needle's place is known from building the sample and never searched for, so neither separators nor chance repeats
 * count as needle.
 */
import { z } from 'zod';
import { at, ConfigError, type Rng, maxOf } from '../core/index.js';
import type { TextCorpus } from './corpus.js';
import { recallSequence, type RecallOptions } from './recall.js';

/** A long context with a needle at a known place, a question about it, and the answer. */
export interface NeedleSample {
  /** i32 [length]: context, question and answer. */
  readonly tokens: Int32Array;
  /** [start, end) of the answer's tokens inside the needle: what a retrieval head attends to from `queryPosition`. */
  readonly needleSpan: readonly [number, number];
  /** [start, end) of the whole needle: the sentence, or key and value. */
  readonly contextSpan: readonly [number, number];
  /** The last position of the question. `answer[i]` is what position `queryPosition + i` should predict. */
  readonly queryPosition: number;
  /** i32 [answer length]; the tokens after `queryPosition` repeat all but the last of it. */
  readonly answer: Int32Array;
  /** The depth that was asked for, from 0 (start of the context) to 1 (right before the question). */
  readonly depth: number;
  /** Tokens of the whole sample, the answer included. */
  readonly length: number;
}

/** Where the needle of a sample is to be, and optionally what it says. */
export interface NeedlePlace {
  /** Tokens of the sample. */
  readonly length: number;
  /** The depth of the needle, from 0 (start of the context) to 1 (right before the question). */
  readonly depth: number;
  /** What the needle hides (ASCII digits); a random number if absent. */
  readonly value?: string;
}

/** Options of byte-level needle samples as a run's configuration gives them. */
export const ByteNeedleSchema = z.strictObject({
  digits: z.int().min(1).max(12).default(5).describe('digits of the number to be found'),
  haystack: z
    .enum(['noise', 'text'])
    .default('noise')
    .describe('noise: one repeated line; text: a random window of the held-out text'),
});
/** Options of byte-level needle samples, with defaults filled in. */
export type ByteNeedleOptions = z.output<typeof ByteNeedleSchema>;

const NOISE = 'The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n';

const KEYS: readonly string[] = (
  'amber birch cedar delta ember fjord grove harbor island jasper kettle lantern ' +
  'meadow nectar orchid pebble quartz ribbon saddle timber umbrella velvet willow zephyr'
).split(' ');

/** A needle may move this many bytes to the end of a sentence, however short the text. */
const MIN_REACH = 32;

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function draw<T>(rng: Rng, items: readonly T[]): T {
  return at(items, rng.int(items.length));
}

/** The fewest bytes that a byte needle sample can have, whatever key is drawn. */
export function minByteNeedleLength(options: ByteNeedleOptions): number {
  const longest = maxOf(KEYS.map((k) => k.length));
  const { needle, question } = phrase('k'.repeat(longest), '0'.repeat(options.digits));
  return needle.length + question.length + options.digits;
}

function phrase(key: string, value: string): { needle: string; question: string } {
  return {
    needle: `One of the special magic numbers for ${key} is: ${value}.\n`,
    question:
      `\nWhat is the special magic number for ${key} mentioned in the text? ` +
      `The special magic number for ${key} mentioned in the text is: `,
  };
}

/**
 * A needle sample in bytes of exactly `length` tokens. The needle goes behind the sentence or line end nearest to
 * `depth` of the haystack (exactly there if none is near).
 *
 * @param depth 0 to 1
 * @param corpus where a `text` haystack comes from: its held-out part, or its training part if nothing is held out
 * @param value what is hidden (ASCII digits), in place of a random number
 * @throws ConfigError if `length` is too short, or `text` is asked for without (enough) text
 */
export function byteNeedle(
  rng: Rng,
  options: ByteNeedleOptions,
  { length, depth, corpus, value: given }: NeedlePlace & { readonly corpus?: TextCorpus | undefined },
): NeedleSample {
  const minimum = minByteNeedleLength({ ...options, digits: given?.length ?? options.digits });
  if (length < minimum) {
    throw new ConfigError(`a needle sample of ${length} bytes is too short; it needs at least ${minimum}`);
  }
  const key = draw(rng, KEYS);
  const value = given ?? randomDigits(rng, options.digits);
  const { needle, question } = phrase(key, value);
  const room = length - needle.length - question.length - value.length;
  const haystack = options.haystack === 'noise' ? noiseHaystack(room) : textHaystack(rng, corpus, room);
  const at = nearestBreak(haystack, Math.round(depth * room));
  const tokens = new Int32Array(length);
  tokens.set(haystack.subarray(0, at), 0);
  tokens.set(bytesOf(needle), at);
  tokens.set(haystack.subarray(at), at + needle.length);
  tokens.set(bytesOf(question + value), room + needle.length);
  const start = at + needle.indexOf(value + '.\n');
  return {
    tokens,
    needleSpan: [start, start + value.length],
    contextSpan: [at, at + needle.length],
    queryPosition: length - value.length - 1,
    answer: Int32Array.from(bytesOf(value)),
    depth,
    length,
  };
}

function randomDigits(rng: Rng, count: number): string {
  let value = String(1 + rng.int(9));
  while (value.length < count) value += String(rng.int(10));
  return value;
}

function noiseHaystack(room: number): Uint8Array {
  return bytesOf(NOISE.repeat(Math.ceil(room / NOISE.length)).slice(0, room));
}

function textHaystack(rng: Rng, corpus: TextCorpus | undefined, room: number): Uint8Array {
  const split = corpus !== undefined && corpus.size('heldOut') > 0 ? 'heldOut' : 'train';
  const size = corpus?.size(split) ?? 0;
  if (corpus === undefined || size < room) {
    throw new ConfigError(`a text haystack of ${room} bytes needs as much text, got ${size}; use haystack: noise`);
  }
  const bytes = new Uint8Array(room);
  corpus.read(split, rng.int(size - room + 1), bytes);
  return bytes;
}

/**
 * The position nearest to `wanted` that follows a newline, a document end, or a full stop and a space; `wanted` itself
 * if there is none within a twentieth of the text.
 */
function nearestBreak(text: Uint8Array, wanted: number): number {
  const isBreak = (at: number): boolean => {
    if (at === 0 || at === text.length) return true;
    const before = text[at - 1];
    return before === 0x0a || before === 0 || (before === 0x20 && text[at - 2] === 0x2e);
  };
  const reach = Math.max(MIN_REACH, Math.floor(text.length / 20));
  for (let step = 0; step <= reach; step++) {
    if (wanted - step >= 0 && isBreak(wanted - step)) return wanted - step;
    if (wanted + step <= text.length && isBreak(wanted + step)) return wanted + step;
  }
  return wanted;
}

/** The fewest tokens of a recall needle sample: key, value, key. */
export const MIN_RECALL_NEEDLE_LENGTH = 3;

/**
 * A needle sample of the recall task with exactly `length` tokens: a recall sequence in which one key and its value
 * occur once, at `depth`, and the key again as the last token. The haystack never uses that key.
 *
 * @param depth 0 to 1: how far into the haystack, rounded to the nearest place that does not part a key from its value
 * @throws ConfigError if `length` is below 3
 */
export function recallNeedle(
  rng: Rng,
  options: RecallOptions,
  { length, depth }: { length: number; depth: number },
): NeedleSample {
  if (length < MIN_RECALL_NEEDLE_LENGTH) {
    throw new ConfigError(`a recall needle sample of ${length} tokens is too short; it needs at least 3`);
  }
  const { numKeys, numValues } = options;
  const key = rng.int(numKeys);
  const value = numKeys + rng.int(numValues);
  const room = length - 3;
  const haystack = recallSequence(rng, options, room + 1, key).tokens;
  const isKey = (token: number | undefined) => token !== undefined && token < numKeys;
  // A key at the end would lose its value; the haystack then starts one token later and ends with that value.
  const body = isKey(haystack[room - 1]) ? haystack.subarray(1) : haystack.subarray(0, room);
  const wanted = Math.round(depth * room);
  const at = isKey(body[wanted - 1]) ? wanted + 1 : wanted;
  const tokens = new Int32Array(length);
  tokens.set(body.subarray(0, at), 0);
  tokens.set([key, value], at);
  tokens.set(body.subarray(at), at + 2);
  tokens[length - 1] = key;
  return {
    tokens,
    needleSpan: [at + 1, at + 2],
    contextSpan: [at, at + 2],
    queryPosition: length - 1,
    answer: Int32Array.of(value),
    depth,
    length,
  };
}
