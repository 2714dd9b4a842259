/**
 * LongPPL (Fang et al. 2024, PKU-ML/LongPPL): perplexity over the tokens that need a long context. A token is key if,
 * to an evaluator model, the long context raises its log-likelihood by more than `alpha` over a short one, to more than
 * `beta`.
 *
 * The short context of a token is a window that starts at a multiple of `stride` and ends with it, `trunc .. trunc +
 * stride - 1` tokens before it. As published, the first window starts at token 0, where short and long context are the
 * same: tokens `trunc .. trunc + stride - 1` can never be key. Losses are float32 log-softmaxes.
 */
import { present, i32At, f64At, ConfigError, DataError, clip } from '../core/index.js';
import { SequenceScorer, type LoadedModel } from '../loaded/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;
const readF64 = f64At;

/** The settings of LongPPL (Fang et al. 2024). */
export interface LongPplSettings {
  /** Tokens of context at least, in the short contexts. */
  readonly trunc: number;
  /** Tokens by which the short window moves. */
  readonly stride: number;
  /** Least gain in log-likelihood, nats. */
  readonly alpha: number;
  /** Least log-likelihood with the long context, nats. */
  readonly beta: number;
}

/** The settings of the published script. */
export const PUBLISHED_LONGPPL: LongPplSettings = { trunc: 4096, stride: 1024, alpha: 2, beta: -2 };

/** A window of tokens `start` to before `end` that is scored on its own. */
export interface ShortWindow {
  readonly start: number;
  readonly end: number;
  /** First token whose loss is taken from this window; the rest of it is context. */
  readonly scoredFrom: number;
}

/** The windows of short contexts over a text of `length` tokens; empty if it is no longer than `trunc`. */
export function shortWindows(length: number, { trunc, stride }: LongPplSettings): ShortWindow[] {
  const windows: ShortWindow[] = [];
  for (let start = 0; start + trunc < length; start += stride) {
    windows.push({ start, end: Math.min(length, start + trunc + stride), scoredFrom: start + trunc });
  }
  return windows;
}

/** Losses of every token but the first, in nats: entry `i - 1` is that of token `i`. */
export async function textLosses(model: LoadedModel, tokens: Int32Array): Promise<Float64Array> {
  const [losses] = await windowLosses(model, [tokens]);
  return present(losses);
}

/** Losses of pieces of one length. */
async function windowLosses(model: LoadedModel, pieces: readonly Int32Array[]): Promise<Float64Array[]> {
  const count = (pieces[0]?.length ?? 0) - 1;
  const samples = pieces.map((tokens) => ({
    tokens,
    positions: Array.from({ length: count }, (_, i) => i),
    targets: Array.from({ length: count }, (_, i) => readI32(tokens, i + 1)),
  }));
  const scorer = await SequenceScorer.create(model, samples);
  try {
    return (await scorer.score(model.tensors)).map((s) => s.loss);
  } finally {
    await scorer.dispose();
  }
}

/** Losses of tokens `trunc ..` of a text, each with its short context; entry 0 is that of token `trunc`. */
export async function shortLosses(
  loaded: LoadedModel,
  tokens: Int32Array,
  settings: LongPplSettings,
): Promise<Float64Array> {
  const windows = shortWindows(tokens.length, settings);
  const losses = new Float64Array(Math.max(0, tokens.length - settings.trunc));
  // The last window may be shorter and is scored by itself.
  const whole = windows.filter((w) => w.end - w.start === settings.trunc + settings.stride);
  const groups = [whole, windows.filter((w) => !whole.includes(w))].filter((g) => g.length > 0);
  for (const group of groups) {
    const own = await windowLosses(
      loaded,
      group.map((w) => tokens.subarray(w.start, w.end)),
    );
    group.forEach((w, i) => {
      for (let t = w.scoredFrom; t < w.end; t++) {
        losses[t - settings.trunc] = present(own[i]?.[t - w.start - 1]);
      }
    });
  }
  return losses;
}

/**
 * Which tokens are key: `[length]`, 1 or 0.
 *
 * @param long losses of tokens 1 .. with the whole text before them
 * @param short losses of tokens `trunc ..` with their short contexts
 */
export function keyTokens(long: Float64Array, short: Float64Array, settings: LongPplSettings): Uint8Array {
  const { trunc, alpha, beta } = settings;
  const key = new Uint8Array(long.length + 1);
  short.forEach((loss, i) => {
    const own = readF64(long, trunc + i - 1);
    if (loss - own > alpha && -own > beta) key[trunc + i] = 1;
  });
  return key;
}

/** Key tokens of a text by an evaluator model. */
export async function findKeyTokens(
  evaluator: LoadedModel,
  tokens: Int32Array,
  settings: LongPplSettings,
): Promise<Uint8Array> {
  checkSettings(settings);
  if (tokens.length <= settings.trunc) return new Uint8Array(tokens.length);
  const long = await textLosses(evaluator, tokens);
  return keyTokens(long, await shortLosses(evaluator, tokens, settings), settings);
}

function checkSettings({ trunc, stride }: LongPplSettings): void {
  if (Number.isInteger(trunc) && trunc >= 1 && Number.isInteger(stride) && stride >= 1) return;
  throw new ConfigError(`LongPPL windows need whole numbers >= 1, got trunc ${trunc} and stride ${stride}`);
}

/** Half-open character spans of a text. */
export type CharSpan = readonly [number, number];

/** Spans of the key tokens, those that touch joined; a token without a character of its own has none. */
export function keySpans(key: Uint8Array, spans: readonly CharSpan[]): CharSpan[] {
  const joined: [number, number][] = [];
  spans.forEach(([start, end], i) => {
    if (key[i] !== 1 || start === end) return;
    const last = joined.at(-1);
    if (last?.[1] === start) last[1] = end;
    else joined.push([start, end]);
  });
  return joined;
}

/** Tokens that lie wholly inside a key span; those that straddle an edge are not key. */
export function tokensInSpans(spans: readonly CharSpan[], key: readonly CharSpan[]): Uint8Array {
  return Uint8Array.from(spans, ([start, end]) => (key.some(([a, b]) => a <= start && end <= b) ? 1 : 0));
}

/** Key spans as text, `[0, 4];[9, 12]`, as LongPPL stores them. */
export function formatSpans(spans: readonly CharSpan[]): string {
  return spans.map(([a, b]) => `[${a}, ${b}]`).join(';');
}

/**
 * Reads character spans such as `[3, 7]; [12, 20]`.
 * @throws DataError if the text is not a list of spans
 */
export function parseSpans(text: string, where: string): CharSpan[] {
  const parts = text
    .trim()
    .split(';')
    .filter((p) => p.trim() !== '');
  return parts.map((part) => {
    const match = /^\s*\[(\d+),\s*(\d+)\]\s*$/.exec(part);
    const [start, end] = [Number(match?.[1]), Number(match?.[2])];
    if (!(start < end)) {
      throw new DataError(
        `${where}: "${clip(part.trim())}" is no span of characters; write [START, END];[START, END]`,
        {
          details: { where, part },
        },
      );
    }
    return [start, end] as const;
  });
}

/** Perplexity over all tokens, and over key tokens. */
export interface PplScore {
  /** The perplexity over key tokens; null if there are none. */
  readonly longPpl: number | null;
  /** The perplexity over all tokens. */
  readonly ppl: number;
  /** Key tokens, and all tokens that have a loss. */
  readonly keyTokens: number;
  readonly tokens: number;
}

/**
 * Perplexities of a text from its losses (entry `i - 1` of token `i`). A key first token has no loss and is left out.
 */
export function perplexities(losses: Float64Array, key: Uint8Array): PplScore {
  let [sum, keySum, keyCount] = [0, 0, 0];
  losses.forEach((loss, i) => {
    sum += loss;
    if (key[i + 1] !== 1) return;
    keySum += loss;
    keyCount += 1;
  });
  return {
    longPpl: keyCount === 0 ? null : Math.exp(keySum / keyCount),
    ppl: Math.exp(sum / losses.length),
    keyTokens: keyCount,
    tokens: losses.length,
  };
}

/** Perplexities of a corpus: means of log-perplexities weighted by the tokens of each text. */
export function corpusPerplexities(scores: readonly PplScore[]): PplScore {
  const weighted = (of: (s: PplScore) => number | null, count: (s: PplScore) => number): [number, number] =>
    scores.reduce<[number, number]>(
      ([sum, n], s) => {
        const value = of(s);
        return value === null ? [sum, n] : [sum + count(s) * Math.log(value), n + count(s)];
      },
      [0, 0],
    );
  const [keySum, keyCount] = weighted(
    (s) => s.longPpl,
    (s) => s.keyTokens,
  );
  const [sum, tokens] = weighted(
    (s) => s.ppl,
    (s) => s.tokens,
  );
  return {
    longPpl: keyCount === 0 ? null : Math.exp(keySum / keyCount),
    ppl: Math.exp(sum / tokens),
    keyTokens: keyCount,
    tokens,
  };
}
