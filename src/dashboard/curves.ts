/** Curves as bytes: a head in JSON, then the numbers, which a page reads without copying. */
import { append } from '../core/index.js';
import type { CurvesHeader, CurvesRequest, CurveHeader } from './api.js';
import { coarser, pointsIn, type ColumnData } from './columns.js';
import type { MetricsStore } from './metrics-store.js';

interface Packed {
  readonly head: CurveHeader;
  readonly data: ColumnData;
}

/** Milliseconds of reading columns after which an answer leaves the other runs to the next one. */
const ANSWER_MS = 400;

/**
 * The curves that are there, and which runs are still to be read. Where `sampled` is asked for, what a look at the
 * files of those has found stands for them.
 *
 * @param ms milliseconds after which the other runs count as unseen; at least one run is answered
 */
export function curvesOf(store: MetricsStore, asked: Omit<CurvesRequest, 'range'>, ms = ANSWER_MS): Buffer {
  const { metrics, axis, runs, most, sampled } = asked;
  const curves: Packed[] = [];
  const [pending, unseen]: [string[], string[]] = [[], []];
  const since = performance.now();
  for (const [i, run] of runs.entries()) {
    // A disk that has not read the columns lately takes seconds for those of a thousand runs.
    if (i > 0 && performance.now() - since >= ms) {
      for (const list of [pending, unseen]) append(list, runs.slice(i));
      break;
    }
    const own = metrics.map((metric) => {
      const known = store.column(run, metric);
      return { metric, known, early: known === undefined && sampled ? store.early(run, metric) : null };
    });
    if (own.some(({ known }) => known === undefined)) pending.push(run);
    if (own.some(({ early }) => early === undefined)) unseen.push(run);
    for (const { metric, known, early } of own) {
      const data = known ?? early?.data;
      const how = { axis, sampled: early?.sampled === true };
      if (data != null) curves.push(packedCurve(run, metric, { ...how, data: coarser(data, most) }));
    }
  }
  return packed(curves, { pending, unseen }, axis);
}

/** The points of curves in a part of the axis; runs of which that is too much to read are left out. */
export async function detailOf(
  store: MetricsStore,
  { metrics, axis, runs }: CurvesRequest,
  [from, to]: readonly [number, number],
): Promise<Buffer> {
  const curves: Packed[] = [];
  for (const run of runs) {
    const found = await store.detail(run, metrics, { axis, from, to });
    for (const [metric, data] of found ?? []) curves.push(packedCurve(run, metric, { axis, data, sampled: false }));
  }
  return packed(curves, { pending: [], unseen: [] }, axis);
}

function packedCurve(
  run: string,
  metric: string,
  {
    axis,
    data,
    sampled,
  }: { readonly axis: CurvesRequest['axis']; readonly data: ColumnData; readonly sampled: boolean },
): Packed {
  return { head: { run, metric, n: data.n, perBucket: data.perBucket, end: data.end[axis], sampled }, data };
}

/** A length of four bytes, the head in JSON, and the numbers from the next multiple of 8 on. */
function packed(curves: readonly Packed[], missing: Omit<CurvesHeader, 'curves'>, axis: CurvesRequest['axis']): Buffer {
  const header: CurvesHeader = { curves: curves.map(({ head }) => head), ...missing };
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8 * Math.ceil((4 + text.length) / 8));
  start.writeUInt32LE(text.length, 0);
  text.copy(start, 4);
  return Buffer.concat([start, ...curves.map(({ data }) => numbersOf(data, axis))]);
}

/** Places as float64; least, largest and mean values as float32, padded to a multiple of 8 bytes. */
function numbersOf(data: ColumnData, axis: CurvesRequest['axis']): Uint8Array {
  const { n, low, high, sum } = data;
  const places = data[axis];
  const bytes = new ArrayBuffer(8 * n + 8 * Math.ceil((12 * n) / 8));
  new Float64Array(bytes, 0, n).set(places);
  const values = new Float32Array(bytes, 8 * n, 3 * n);
  values.set(low, 0);
  values.set(high, n);
  for (let i = 0; i < n; i++) values[2 * n + i] = (sum[i] ?? 0) / pointsIn(data, i);
  return new Uint8Array(bytes);
}
