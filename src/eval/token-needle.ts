/** Needle samples for models with a tokenizer: the text of byte needles, cut into the model's own tokens. */
import type { TextTokenizer } from '../checkpoint/index.js';
import { ConfigError, Rng, maxOf } from '../core/index.js';
import { byteNeedle, minByteNeedleLength, type ByteNeedleOptions, type NeedleSample } from '../data/index.js';
import type { NeedleTask } from './needle-task.js';

/** Values drawn at most for one whose answer has as many tokens as the others'. */
const MAX_DRAWS = 200;

/** A needle sample as text: what stands before the answer, the answer, and where the value lies in the haystack. */
interface TextSample {
  readonly text: string;
  /** Characters `[start, end)` of the value inside the needle, and where the answer starts. */
  readonly value: readonly [number, number];
  readonly answer: number;
  /** Characters `[start, end)` of the whole needle. */
  readonly needle: readonly [number, number];
}

function textSample(rng: Rng, options: ByteNeedleOptions, place: { length: number; depth: number }): TextSample {
  const sample = byteNeedle(rng, options, place);
  // The wording, the haystack and the value are ASCII, so that bytes are characters.
  const text = Buffer.from(Uint8Array.from(sample.tokens)).toString('latin1');
  return { text, value: sample.needleSpan, answer: sample.queryPosition + 1, needle: sample.contextSpan };
}

/** The tokens that hold any of the characters `[start, end)`. */
function tokensOver(
  spans: readonly (readonly [number, number])[],
  [start, end]: readonly [number, number],
): [number, number] {
  const first = spans.findIndex(([, to]) => to > start);
  let last = first;
  while (last + 1 < spans.length && (spans[last + 1]?.[0] ?? Infinity) < end) last += 1;
  return [first, last + 1];
}

/** A text sample in tokens, `before` (such as a beginning-of-text token) first. */
function tokenize(sample: TextSample, tokenizer: TextTokenizer, before: Int32Array, depth: number): NeedleSample {
  const { ids, spans } = tokenizer.encodeWithSpans(sample.text);
  const shift = ([a, b]: readonly [number, number]): [number, number] => [a + before.length, b + before.length];
  const [answerAt] = tokensOver(spans, [sample.answer, sample.text.length]);
  return {
    tokens: Int32Array.from([...before, ...ids]),
    needleSpan: shift(tokensOver(spans, sample.value)),
    contextSpan: shift(tokensOver(spans, sample.needle)),
    queryPosition: before.length + answerAt - 1,
    answer: ids.subarray(answerAt),
    depth,
    length: before.length + ids.length,
  };
}

/**
 * The sample without `count` tokens of its haystack: from its start, or from behind the needle where that lies there.
 */
function withoutTokens(sample: NeedleSample, count: number, head: number): NeedleSample {
  if (count === 0) return sample;
  const [from, to] = sample.contextSpan;
  const inFront = from - head >= count;
  const at = inFront ? head : to;
  const move = (i: number): number => (i >= at + count ? i - count : i);
  const tokens = Int32Array.from([...sample.tokens.subarray(0, at), ...sample.tokens.subarray(at + count)]);
  return {
    ...sample,
    tokens,
    needleSpan: [move(sample.needleSpan[0]), move(sample.needleSpan[1])],
    contextSpan: [move(from), move(to)],
    queryPosition: sample.queryPosition - count,
    length: tokens.length,
  };
}

/**
 * Needles in a noise haystack in the tokens of `tokenizer`; samples have exactly the asked-for length, and answers
 * equally many tokens.
 *
 * @throws DataError if the tokenizer changes texts, so that the needle's place is unknown
 */
export function tokenNeedleTask(tokenizer: TextTokenizer, options: ByteNeedleOptions): NeedleTask {
  if (options.haystack !== 'noise') {
    throw new ConfigError('needles for a model with a tokenizer are hidden in noise; leave haystack: text out');
  }
  const before = tokenizer.encode('', { special: true });
  const head = before.length;
  const shortest = minByteNeedleLength(options);
  const made = (rng: Rng, bytes: number, depth: number, value: string | undefined) =>
    tokenize(
      textSample(rng, options, { length: bytes, depth, ...(value === undefined ? {} : { value }) }),
      tokenizer,
      before,
      depth,
    );
  const typical = Array.from({ length: 16 }, (_, i) => made(Rng.of(i, 'token-needle'), shortest, 0, undefined));
  const answerTokens = mostCommon(typical.map((s) => s.answer.length));
  // Room for the haystack's own tokens to be cut back to the length that is asked for.
  const minLength = maxOf(typical.map((s) => s.length)) + 64;
  return {
    task: 'bytes',
    minLength,
    draw: (rng, { length, depth, value }) => {
      for (let draw = 0; draw < (value === undefined ? MAX_DRAWS : 1); draw++) {
        const seed = rng.int(2 ** 31);
        const least = minByteNeedleLength({ ...options, digits: value?.length ?? options.digits });
        const sample = lengthened((bytes) => made(Rng.of(seed, 'token-needle'), bytes, depth, value), least, length);
        if (value !== undefined || sample.answer.length === answerTokens)
          return withoutTokens(sample, sample.length - length, head);
      }
      throw new ConfigError(
        `no number of ${options.digits} digits has ${answerTokens} tokens in ${MAX_DRAWS} draws; choose other digits`,
      );
    },
  };
}

/** The first sample of at least `length` tokens, its bytes growing. */
function lengthened(make: (bytes: number) => NeedleSample, least: number, length: number): NeedleSample {
  let bytes = least;
  for (;;) {
    const sample = make(bytes);
    if (sample.length >= length) return sample;
    bytes = Math.max(bytes + 32, Math.ceil((bytes * (length + 4)) / sample.length));
  }
}

function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const v of values) counts.set(v, (counts.get(v) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 1;
}
