/** What is drawn of curves: smoothed, along another axis, or the seeds of a design as one line with a band. No DOM. */
import type { Curve } from './curve.js';

/** A line with, where there is one, the band around it. */
export interface Line {
  readonly id: string;
  readonly label: string;
  /** A color of the style sheet, such as `var(--c0)`. */
  readonly color: string;
  readonly dash: readonly number[];
  readonly x: Float64Array;
  readonly y: Float64Array;
  readonly band: { readonly low: Float64Array; readonly high: Float64Array } | null;
}

/** A curve's places in the chosen unit, and the line of its values. */
export interface LineData {
  readonly x: Float64Array;
  readonly y: Float64Array;
}

/**
 * The values of a curve. A bucket of many points becomes two places, its least and its largest value, so that no spike
 * is lost; smoothed, it is its mean.
 *
 * @param scale what places are multiplied by
 * @param smooth the share of the last value that the next one keeps, from 0 to below 1
 */
export function lineOf({ x, low, high, mean, perBucket, end }: Curve, scale: number, smooth: number): LineData {
  const n = x.length;
  if (smooth > 0 || perBucket === 1) {
    return { x: x.map((v) => v * scale), y: smoothed(Float64Array.from(perBucket === 1 ? low : mean), smooth) };
  }
  const [places, values] = [new Float64Array(2 * n), new Float64Array(2 * n)];
  for (let i = 0; i < n; i++) {
    const from = x[i] ?? 0;
    const to = x[i + 1] ?? end;
    // From where the line is, first to the nearer of the two; at its beginning, last to that which is nearer to what follows.
    const near = i === 0 ? (mean[1] ?? high[0] ?? 0) : (values[2 * i - 1] ?? 0);
    const isLowNearer = Math.abs(near - (low[i] ?? 0)) <= Math.abs(near - (high[i] ?? 0));
    const rises = i === 0 ? !isLowNearer : isLowNearer;
    places[2 * i] = scale * from;
    // The last bucket reaches to the last point, which moves while a run goes on.
    places[2 * i + 1] = scale * (i === n - 1 ? to : from + (to - from) / 2);
    values[2 * i] = (rises ? low[i] : high[i]) ?? 0;
    values[2 * i + 1] = (rises ? high[i] : low[i]) ?? 0;
  }
  return { x: places, y: values };
}

/** An exponential mean whose beginning is not drawn towards zero. */
function smoothed(values: Float64Array, share: number): Float64Array {
  if (share <= 0) return values;
  const out = new Float64Array(values.length);
  let [last, weight] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    last = share * last + (1 - share) * (values[i] ?? 0);
    weight = share * weight + (1 - share);
    out[i] = last / weight;
  }
  return out;
}

/** The value of a line at a place, between its neighbors; NaN outside of it. */
export function valueAt({ x, y }: { readonly x: Float64Array; readonly y: ArrayLike<number> }, place: number): number {
  const n = x.length;
  if (n === 0 || place < (x[0] ?? 0) || place > (x[n - 1] ?? 0)) return NaN;
  const i = lowerBound(x, place);
  const [x1, y1] = [x[i] ?? 0, y[i] ?? NaN];
  if (i === 0 || x1 === place) return y1;
  const [x0, y0] = [x[i - 1] ?? 0, y[i - 1] ?? NaN];
  return x1 === x0 ? y1 : y0 + ((y1 - y0) * (place - x0)) / (x1 - x0);
}

/** The first place that is not below `value`; the length where there is none. */
export function lowerBound(list: ArrayLike<number>, value: number): number {
  let [from, to] = [0, list.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((list[middle] ?? 0) < value) from = middle + 1;
    else to = middle;
  }
  return from;
}

const GRID = 300;

/** The mean of several lines with the band from the least to the largest, at the places of the one that has most. */
export function bandOf(lines: readonly LineData[]): LineData & { readonly band: Line['band'] } {
  const longest = lines.reduce((a, b) => (b.x.length > a.x.length ? b : a));
  const step = Math.max(1, Math.ceil(longest.x.length / GRID));
  const places = longest.x.filter((_, i) => i % step === 0 || i === longest.x.length - 1);
  const [y, low, high] = [places, places, places].map((list) => new Float64Array(list.length));
  if (y === undefined || low === undefined || high === undefined) throw new Error('three lists were made');
  places.forEach((place, i) => {
    let [sum, count, least, most] = [0, 0, Infinity, -Infinity];
    for (const line of lines) {
      const value = valueAt(line, place);
      if (Number.isNaN(value)) continue;
      sum += value;
      count += 1;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
    y[i] = count === 0 ? NaN : sum / count;
    low[i] = least;
    high[i] = most;
  });
  return { x: places, y, band: { low, high } };
}

/** The least and largest value of lines between two places; null where there is none, or none above zero is wanted. */
export function rangeOf(
  lines: readonly Line[],
  from: number,
  to: number,
  isLog: boolean,
): readonly [number, number] | null {
  let [least, most] = [Infinity, -Infinity];
  const take = (value: number): void => {
    if (!Number.isFinite(value) || (isLog && value <= 0)) return;
    if (value < least) least = value;
    if (value > most) most = value;
  };
  for (const { x, y, band } of lines) {
    const start = Math.max(0, lowerBound(x, from) - 1);
    const end = Math.min(x.length, lowerBound(x, to) + 1);
    for (let i = start; i < end; i++) {
      take(y[i] ?? NaN);
      if (band !== null) {
        take(band.low[i] ?? NaN);
        take(band.high[i] ?? NaN);
      }
    }
  }
  return least <= most ? [least, most] : null;
}

/** Round places on a logarithmic axis: powers of ten, with 2 and 5 times these where there are few. */
export function logTicks(least: number, most: number): number[] {
  const decades = Math.log10(most / least);
  const steps = decades > 3.5 ? [1] : decades > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const every = Math.max(1, Math.ceil(decades / 8));
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    if (power % every !== 0) continue;
    for (const step of steps) {
      const value = Number(`${step}e${power}`);
      if (value >= least * (1 - 1e-9) && value <= most * (1 + 1e-9)) ticks.push(value);
    }
  }
  return ticks;
}
