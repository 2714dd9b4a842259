/**
 * Decays per key channel (Kimi Delta Attention): products `sum_k x_rk y_sk exp(b_rk - b_sk)` by halves. A block of
 * tokens in its second half meets those in the first across the middle: the decay up to the middle and the decay from
 * it are both at most 1, so nothing overflows, whatever the gates, and `log2 C` levels of matrix products remain.
 */
import { at, dims } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import { chunkEnds, maskedDecay, type Chunks, type Rounding } from './chunks.js';
import { joinHalves, lowerQuarters, splitHalves } from './inverse.js';

/** Between blocks of m tokens, two of which meet. */
interface Level {
  readonly m: number;
  /** From the middle to each token of the second half, its own decay included, `[..,C/2m,m,K]`. */
  readonly after: Value;
  /** From each token of the first half to the middle, `[..,C/2m,m,K]`. */
  readonly before: Value;
  /** Whether the tokens belong to one document, bool `[..,C/2m,m,m]`. */
  readonly same: Value | null;
}

/** The decays of chunks, per key channel. */
export interface ChannelDecays {
  readonly levels: readonly Level[];
  /** `[..,C,K]`: from the start of the chunk to each token, its own included. */
  readonly enter: Value;
  /** `[..,C,K]`: from each token to the end of the chunk. */
  readonly leave: Value;
  /** `[..,K]`: over the whole chunk. */
  readonly keep: Value;
}

/** The decays of chunks by key channel, from log decays `[..,C,K]`. */
export function channelDecays(g: Value, runs: Value | null, chunks: Chunks): ChannelDecays {
  const { C } = chunks;
  const [lead, K] = [g.shape.slice(0, 3), at(g.shape, 4)];
  const levels: Level[] = [];
  // Of each block: sums from its start to each token (own included), and from behind each token to its end.
  let prefix = L.reshape(g, [...lead, C, 1, K]);
  let suffix = L.full(g.dtype, prefix.shape, 0);
  const document = runs && ((m: number): Value => L.reshape(runs, [...runs.shape.slice(0, 3), C / m, m]));
  for (let m = 1; m < C; m *= 2) {
    const [[p1, p2], [s1, s2]] = [splitHalves(prefix), splitHalves(suffix)];
    const [d1, d2] = document ? splitHalves(document(m)) : [null, null];
    const same = d1 && d2 && L.eq(L.reshape(d2, [...d2.shape, 1]), L.reshape(d1, [...d1.shape.slice(0, -1), 1, m]));
    levels.push({ m, after: L.exp(p2), before: L.exp(s1), same });
    const total = (p: Value): Value => L.sliceAxis(p, 4, m - 1, m);
    prefix = joinHalves(p1, L.add(p2, total(p1)));
    suffix = joinHalves(L.add(s1, total(p2)), s2);
  }
  const shape = [...lead, C, K];
  const [from, to] = [L.reshape(prefix, shape), L.reshape(suffix, shape)];
  const ends = runs && chunkEnds(runs, chunks);
  const keep = maskedDecay(L.sliceAxis(from, 3, C - 1, C), ends && ends.last, ends && ends.before);
  return {
    levels,
    enter: maskedDecay(from, runs, ends && ends.before),
    leave: maskedDecay(to, runs, ends && ends.last),
    keep: L.reshape(keep, [...lead, K]),
  };
}

/** `[..,C,K]` in the halves of blocks of 2m tokens: first, second, `[..,C/2m,m,K]` each. */
function halvesOf(x: Value, m: number): [Value, Value] {
  const [a, b, c, C, K] = dims(x, 5);
  return splitHalves(L.reshape(x, [a, b, c, C / m, m, K]));
}

const masked = (x: Value, same: Value | null): Value => (same ? L.select(same, x, 0) : x);

/** The lower left quarters (see `lowerQuarters`) of `sum_k x_rk y_sk exp(b_rk - b_sk)`, x and y `[..,C,K]`. */
export function channelQuarters(x: Value, y: Value, { levels }: ChannelDecays, round: Rounding): Value[] {
  return levels.map(({ m, after, before, same }) => {
    const [[, rows], [columns]] = [halvesOf(x, m), halvesOf(y, m)];
    return masked(L.matmulTransposed(round(L.mul(rows, after)), round(L.mul(columns, before))), same);
  });
}

/** What goes through the decays of a level: from each token of the first halves, to each of the second. */
interface LevelTerms {
  readonly m: number;
  readonly before: Value;
  readonly after: Value;
}

/**
 * The gradients of x and y from that of the strictly lower triangle of `channelQuarters`' matrix, `d [..,C,C]`, and the
 * terms of each level, `[..,C/2m,m,K]`.
 */
export function channelGradients(
  d: Value,
  x: Value,
  y: Value,
  { levels }: ChannelDecays,
  round: Rounding,
): { readonly dx: Value; readonly dy: Value; readonly through: readonly LevelTerms[] } {
  const corners = lowerQuarters(d);
  const through: LevelTerms[] = [];
  const terms = levels.map(({ m, after, before, same }, i) => {
    const [[, rows], [columns]] = [halvesOf(x, m), halvesOf(y, m)];
    const corner = round(masked(at(corners, i), same));
    const dRows = L.mul(L.matmul(corner, round(L.mul(columns, before))), after);
    const dColumns = L.mul(L.transposedMatmul(corner, round(L.mul(rows, after))), before);
    through.push({ m, before: L.mul(columns, dColumns), after: L.mul(rows, dRows) });
    const none = L.full(x.dtype, rows.shape, 0);
    return [joinHalves(none, dRows), joinHalves(dColumns, none)].map((v) => L.reshape(v, x.shape)) as [Value, Value];
  });
  const sum = (side: 0 | 1): Value =>
    terms.map((t) => t[side]).reduce((a, b) => L.add(a, b), L.full(x.dtype, x.shape, 0));
  return { dx: sum(0), dy: sum(1), through };
}

/**
 * The gradient of the log decays `[..,C,K]`, as `tokenDecayGradient` has it for each token: backwards through the sums
 * of `channelDecays`, so that only what passes a token is added up for it. `enter` and `leave` are `[..,C,K]`, `keep`
 * is `[..,K]`.
 */
export function channelDecayGradient(
  through: readonly LevelTerms[],
  { enter, leave, keep }: { readonly enter: Value; readonly leave: Value; readonly keep: Value },
  { C }: Chunks,
): Value {
  const [lead, K] = [enter.shape.slice(0, 3), at(enter.shape, 4)];
  const atEnd = (x: Value, m: number): Value => L.padAxis(x, 4, m - 1, 0);
  // Cotangents of the sums from the start of blocks of 2m tokens to each token, and from behind each to the end.
  let prefix = L.add(L.reshape(enter, [...lead, 1, C, K]), atEnd(L.reshape(keep, [...lead, 1, 1, K]), C));
  let suffix = L.reshape(leave, [...lead, 1, C, K]);
  for (let m = C / 2; m >= 1; m /= 2) {
    const level = through.filter((terms) => terms.m === m);
    const [p1, p2] = L.split(prefix, 4, [m, m]) as [Value, Value];
    const [s1, s2] = L.split(suffix, 4, [m, m]) as [Value, Value];
    const first = L.add(p1, atEnd(L.reduceSum(p2, [4], true), m));
    const second = level.reduce((sum, { after }) => L.add(sum, after), L.add(p2, atEnd(L.reduceSum(s1, [4], true), m)));
    const ahead = level.reduce((sum, { before }) => L.add(sum, before), s1);
    const blocks = [...lead, C / m, m, K];
    prefix = L.reshape(joinHalves(first, second), blocks);
    suffix = L.reshape(joinHalves(ahead, s2), blocks);
  }
  return L.reshape(prefix, enter.shape);
}
