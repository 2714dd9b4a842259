/** Curves as bytes: a head in JSON, then the numbers, which a page reads without copying. */
import type { CurvesHeader, CurvesRequest, CurveHeader } from './api.js';
import { coarser, pointsIn, type ColumnData } from './columns.js';
import type { MetricsStore } from './metrics-store.js';

interface Packed {
  readonly head: CurveHeader;
  readonly data: ColumnData;
}

/** Milliseconds in which files that are not read are looked through for a metric; of those after it a few lines are. */
const EARLY_MS = 100;

/**
 * The curves that are there, and which runs are still to be read. Where `sampled` is asked for, the curves of those are
 * looked for in their files: all points of the first ones, a few of the others.
 */
export function curvesOf(store: MetricsStore, asked: Omit<CurvesRequest, 'range'>): Buffer {
  const { metrics, axis, runs, most, sampled } = asked;
  const curves: Packed[] = [];
  const pending: string[] = [];
  const since = performance.now();
  for (const run of runs) {
    const own = metrics.map((metric) => [metric, store.column(run, metric)] as const);
    if (own.some(([, data]) => data === undefined)) pending.push(run);
    for (const [metric, known] of own) {
      const isWanted = known === undefined && sampled;
      const early = isWanted ? store.early(run, metric, performance.now() - since < EARLY_MS) : null;
      const data = known ?? early?.data;
      const how = { axis, sampled: early?.sampled === true };
      if (data != null) curves.push(packedCurve(run, metric, { ...how, data: coarser(data, most) }));
    }
  }
  return packed(curves, pending, axis);
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
  return packed(curves, [], axis);
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
function packed(curves: readonly Packed[], pending: readonly string[], axis: CurvesRequest['axis']): Buffer {
  const header: CurvesHeader = { curves: curves.map(({ head }) => head), pending };
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
