/** Curves as bytes: a head in JSON, then the numbers, which a page reads without copying. */
import { append } from '../core/index.js';
import type { CurveHeader, CurvesHeader, CurvesRequest } from './api.js';
import { mergedOf, pointsIn, type ColumnData } from './columns.js';
import type { MetricsStore } from './metrics-store.js';

/** Milliseconds of reading columns after which an answer leaves the other runs to the next one. */
const ANSWER_MS = 400;
/** The same for an answer that is wanted as soon as there is a curve. */
const SOON_MS = 20;
/** Bytes that an answer has room for at first. */
const FIRST_ROOM = 1 << 16;

/**
 * The curves that are there, and which runs are still to be read. Where `sampled` is asked for, what a look at the
 * files of those has found stands for them.
 *
 * @param ms milliseconds after which the other runs count as unseen; at least one run is answered
 */
export function curvesOf(
  store: MetricsStore,
  asked: Omit<CurvesRequest, 'range'>,
  ms = asked.soon === true ? SOON_MS : ANSWER_MS,
): Buffer {
  const { metrics, axis, runs, most, sampled } = asked;
  const answer = new CurvesAnswer(axis, most);
  const [pending, unseen]: [string[], string[]] = [[], []];
  const since = performance.now();
  for (const [i, run] of runs.entries()) {
    // A disk that has not read the columns lately takes seconds for those of a thousand runs.
    if (i > 0 && performance.now() - since >= ms) {
      for (const list of [pending, unseen]) append(list, runs.slice(i));
      break;
    }
    let [isPending, isUnseen] = [false, false];
    for (const metric of metrics) {
      const known = store.peek(run, metric);
      const early = known === undefined && sampled ? store.early(run, metric) : null;
      isPending ||= known === undefined;
      isUnseen ||= early === undefined;
      const data = known ?? early?.data;
      if (data != null) answer.add(data, { run, metric, sampled: early?.sampled === true });
    }
    if (isPending) pending.push(run);
    if (isUnseen) unseen.push(run);
  }
  return answer.bytes({ pending, unseen });
}

/** The points of curves in a part of the axis; runs of which that is too much to read are left out. */
export async function detailOf(
  store: MetricsStore,
  { metrics, axis, runs }: CurvesRequest,
  [from, to]: readonly [number, number],
): Promise<Buffer> {
  const answer = new CurvesAnswer(axis, Infinity);
  for (const run of runs) {
    const found = await store.detail(run, metrics, { axis, from, to });
    for (const [metric, data] of found ?? []) answer.add(data, { run, metric, sampled: false });
  }
  return answer.bytes({ pending: [], unseen: [] });
}

/**
 * An answer that is written curve by curve into one piece of memory: a thousand curves of pieces of their own keep the
 * collector of memory busy for longer than it takes to read them.
 */
export class CurvesAnswer {
  readonly #axis: CurvesRequest['axis'];
  readonly #most: number;
  readonly #heads: CurveHeader[] = [];
  #length = 0;
  #places = new Float64Array(FIRST_ROOM / 8);
  #values = new Float32Array(this.#places.buffer);

  /**
   * Begins an answer without curves.
   *
   * @param most the most buckets of a curve: neighbors are merged, 2, 4, 8, ... to one
   */
  constructor(axis: CurvesRequest['axis'], most: number) {
    this.#axis = axis;
    this.#most = most;
  }

  /** Adds a curve: places as float64; least, largest and mean values as float32; filled up to a multiple of 8 bytes. */
  add(data: ColumnData, { run, metric, sampled }: Pick<CurveHeader, 'run' | 'metric' | 'sampled'>): void {
    const { perBucket, low, high, sum } = data;
    const factor = mergedOf(data.n, this.#most);
    const n = Math.ceil(data.n / factor);
    const end = this.#length + 8 * n + 8 * Math.ceil((12 * n) / 8);
    this.#makeRoom(end);
    const [places, values, all] = [this.#places, this.#values, data[this.#axis]];
    const [first, own] = [this.#length / 8, this.#length / 4 + 2 * n];
    for (let i = 0; i < n; i++) {
      const from = i * factor;
      const to = Math.min(data.n, from + factor);
      let least = Infinity;
      let largest = -Infinity;
      let total = 0;
      let points = 0;
      for (let k = from; k < to; k++) {
        least = Math.min(least, low[k] ?? Infinity);
        largest = Math.max(largest, high[k] ?? -Infinity);
        total += sum[k] ?? 0;
        points += pointsIn(data, k);
      }
      places[first + i] = all[from] ?? 0;
      values[own + i] = least;
      values[own + n + i] = largest;
      values[own + 2 * n + i] = total / points;
    }
    this.#length = end;
    this.#heads.push({ run, metric, n, perBucket: perBucket * factor, end: data.end[this.#axis], sampled });
  }

  /** A length of four bytes, the head in JSON, and the numbers from the next multiple of 8 on. */
  bytes(missing: Omit<CurvesHeader, 'curves'>): Buffer {
    const header: CurvesHeader = { curves: this.#heads, ...missing };
    const text = Buffer.from(JSON.stringify(header));
    const start = Buffer.alloc(8 * Math.ceil((4 + text.length) / 8));
    start.writeUInt32LE(text.length, 0);
    text.copy(start, 4);
    return Buffer.concat([start, new Uint8Array(this.#places.buffer, 0, this.#length)]);
  }

  #makeRoom(length: number): void {
    if (length <= 8 * this.#places.length) return;
    const wider = new Float64Array(Math.max(2 * this.#places.length, length / 8));
    wider.set(this.#places);
    this.#places = wider;
    this.#values = new Float32Array(wider.buffer);
  }
}
