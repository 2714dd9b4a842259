/**
 * Differences between designs, paired over seeds, with simultaneous intervals for all pairs of a family.
 *
 * A measured value is an interval: two equal ends where it is exact, the last evaluation before and the first after
 * where it is the place of a crossing, no upper end where a run stopped before it. Values are taken as design + seed +
 * noise, with one size of noise for all designs (the randomized block model), so every design helps to say how much
 * seeds scatter.
 */
import { at, got, fingerprint, MaxT, type Contrast, type Interval } from '../core/index.js';

/** One run's value of one measure; it lies from `low` to `high`. */
export interface Cell {
  readonly design: string;
  readonly seed: number;
  readonly low: number;
  readonly high: number;
}

/** What is known of b - a, the mean over seeds. */
export interface PairedDifference {
  /** Seeds that both designs have. */
  readonly seeds: readonly number[];
  /** The estimate from the middles of the measured intervals; null where an end is open. */
  readonly estimate: number | null;
  /** 95 % interval, simultaneous for all pairs of the family; null where seeds or degrees of freedom are missing. */
  readonly interval: Interval | null;
  /** Degrees of freedom of the noise. */
  readonly df: number;
  /**
   * Every seed differs in the same direction by more than the measurement resolves: 1 for b > a, -1 for b < a, else 0.
   */
  readonly lean: -1 | 0 | 1;
}

const ERROR = 0.05;
const LEAST_PAIRED_DF = 2;

/**
 * The differences of a family of pairs in one measure.
 *
 * @param cells values of all designs, those outside of the pairs too: they help to estimate the noise
 * @param pairs the family; if no design differed from another, an interval of any of them would leave out 0 in 5 % of
 * studies
 * @param resolution how much two exact values must differ to lean
 * @param families so many families are judged together: each may err in that share of 5 % (Bonferroni), whatever they
 * have to do with one another
 */
export function pairedDifferences(
  cells: readonly Cell[],
  pairs: readonly (readonly [string, string])[],
  resolution: number,
  families = 1,
): PairedDifference[] {
  const matched = pairs.map(([a, b]) => match(cells, a, b));
  const family = familyOf(matched);
  const additive = additiveNoise(cells.filter(isFinite2));
  const within = withinNoise(cells.filter(isFinite2));
  return matched.map((both) => {
    const n = both.length;
    const low = mean(both.map(({ a, b }) => b.low - a.high));
    const high = mean(both.map(({ a, b }) => b.high - a.low));
    const closed = both.every(({ a, b }) => isFinite2(a) && isFinite2(b));
    // Where a run stopped before its crossing, or pairing leaves one degree of freedom, seeds count as unpaired.
    const { variance, df } = closed && additive.df >= LEAST_PAIRED_DF ? additive : within;
    const base = {
      seeds: both.map(({ a }) => a.seed),
      estimate: n > 0 && closed ? (low + high) / 2 : null,
      lean: leanOf(both, resolution),
    };
    if (n < 2 || df < 1 || family === null) return { ...base, interval: null, df: n < 2 ? 0 : df };
    const noise = Math.max(variance, closed ? ownVariance(both) : 0, gridVariance(both));
    const half = criticalValue(family, df, 1 - ERROR / families) * Math.sqrt((2 * noise) / n);
    return { ...base, interval: { low: low - half, high: high + half }, df };
  });
}

interface Both {
  readonly a: Cell;
  readonly b: Cell;
}

const isFinite2 = ({ low, high }: Cell): boolean => Number.isFinite(low) && Number.isFinite(high);
const middle = ({ low, high }: Cell): number => (low + high) / 2;
const mean = (values: readonly number[]): number => values.reduce((x, y) => x + y, 0) / values.length;

function match(cells: readonly Cell[], first: string, second: string): Both[] {
  return cells.flatMap((a) => {
    const b = a.design === first ? cells.find((c) => c.design === second && c.seed === a.seed) : undefined;
    return b === undefined ? [] : [{ a, b }];
  });
}

function leanOf(both: readonly Both[], resolution: number): -1 | 0 | 1 {
  if (both.length === 0) return 0;
  const exact = ({ a, b }: Both) => a.low === a.high && b.low === b.high;
  const beyond = (gap: number, pair: Both) => (exact(pair) ? gap > resolution : gap >= 0);
  if (both.every((pair) => beyond(pair.b.low - pair.a.high, pair))) return 1;
  return both.every((pair) => beyond(pair.a.low - pair.b.high, pair)) ? -1 : 0;
}

interface Noise {
  readonly variance: number;
  readonly df: number;
}

/** Noise around design + seed, by least squares (alternating means converge to it). */
function additiveNoise(cells: readonly Cell[]): Noise {
  const residual = cells.map(middle);
  const groups = [groupIndices(cells, (c) => c.design), groupIndices(cells, (c) => String(c.seed))];
  for (let round = 0; round < 200; round++) {
    let moved = 0;
    for (const group of groups.flat()) {
      const shift = mean(group.map((i) => at(residual, i)));
      for (const i of group) residual[i] = at(residual, i) - shift;
      moved = Math.max(moved, Math.abs(shift));
    }
    if (moved < 1e-13) break;
  }
  const [designs = [], seeds = []] = groups;
  const df = cells.length - (designs.length + seeds.length - components(cells));
  return { variance: df > 0 ? sumOfSquares(residual) / df : 0, df };
}

/** Noise around each design's mean, seeds unpaired. */
function withinNoise(cells: readonly Cell[]): Noise {
  const groups = groupIndices(cells, (c) => c.design).map((group) => group.map((i) => middle(at(cells, i))));
  const df = groups.reduce((n, group) => n + group.length - 1, 0);
  const squares = groups.map((group) => sumOfSquares(group.map((x) => x - mean(group))));
  return { variance: df > 0 ? squares.reduce((x, y) => x + y, 0) / df : 0, df };
}

const sumOfSquares = (values: readonly number[]): number => values.reduce((sum, x) => sum + x * x, 0);

function groupIndices(cells: readonly Cell[], key: (cell: Cell) => string): number[][] {
  const groups = new Map<string, number[]>();
  cells.forEach((cell, i) => groups.set(key(cell), [...(groups.get(key(cell)) ?? []), i]));
  return [...groups.values()];
}

/** Connected parts of designs and seeds, joined by cells. */
function components(cells: readonly Cell[]): number {
  const parent = new Map<string, string>();
  const root = (x: string): string => {
    const up = parent.get(x) ?? x;
    return up === x ? x : root(up);
  };
  for (const { design, seed } of cells) parent.set(root(`seed ${seed}`), root(`design ${design}`));
  const all = cells.flatMap(({ design, seed }) => [`design ${design}`, `seed ${seed}`]);
  return new Set(all.map(root)).size;
}

/** A pair that scatters more than the designs do on the whole is judged by its own scatter. */
function ownVariance(both: readonly Both[]): number {
  const gaps = both.map(({ a, b }) => middle(b) - middle(a));
  const center = mean(gaps);
  return sumOfSquares(gaps.map((gap) => gap - center)) / (gaps.length - 1) / 2;
}

/** What evaluations at intervals hide: values that fall into one interval scatter by its width over the root of 12. */
function gridVariance(both: readonly Both[]): number {
  const widths = both.flatMap(({ a, b }) => [a, b]).filter(isFinite2);
  return widths.length === 0 ? 0 : mean(widths.map(({ low, high }) => (high - low) ** 2 / 12));
}

interface Family {
  readonly contrasts: readonly Contrast[];
  readonly values: number;
}

/** The pairs that can be judged as contrasts of their cells; null if there is none. */
function familyOf(matched: readonly (readonly Both[])[]): Family | null {
  const index = new Map<string, number>();
  const at = ({ design, seed }: Cell) => {
    const key = `${design} ${seed}`;
    if (!index.has(key)) index.set(key, index.size);
    return got(index, key);
  };
  const contrasts = matched
    .filter((both) => both.length >= 2)
    .map((both) => both.flatMap(({ a, b }) => [[at(b), 1] as const, [at(a), -1] as const]));
  return contrasts.length === 0 ? null : { contrasts, values: index.size };
}

const distributions = new Map<string, { readonly distribution: MaxT; readonly critical: Map<string, number> }>();

function criticalValue(family: Family, df: number, confidence: number): number {
  const key = fingerprint(family);
  let known = distributions.get(key);
  if (known === undefined) {
    known = { distribution: new MaxT(family.contrasts, family.values), critical: new Map() };
    distributions.set(key, known);
  }
  const asked = `${df} ${confidence}`;
  const value = known.critical.get(asked) ?? known.distribution.critical(df, confidence);
  known.critical.set(asked, value);
  return value;
}
