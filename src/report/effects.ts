/** How much of the spread of an outcome goes with each factor of a complete grid: an analysis of variance. */

import { meanOf } from '../core/index.js';

/** A run of a grid. */
export interface GridValue {
  /** The places of its levels, from 0, one for each factor. */
  readonly levels: readonly number[];
  /** What the run came to, in the unit of the outcome. */
  readonly value: number;
}

/** Shares of the sum of squares, 0 to 1, that add up to 1. */
export interface Effects {
  /** The share that goes with each factor alone. */
  readonly main: readonly number[];
  /** The share of two factors beyond what each does alone: how far the effect of one depends on the other. */
  readonly pairs: readonly { readonly a: number; readonly b: number; readonly share: number }[];
  /** The share of three and more factors together. */
  readonly higher: number;
  /** The share between seeds of one cell. */
  readonly seeds: number;
}

/**
 * The effects of a grid in which every combination of levels has equally many runs (otherwise effects mix, and the
 * answer is null); null, too, where nothing varies.
 *
 * @param sizes how many levels each factor has
 */
export function effectsOf(values: readonly GridValue[], sizes: readonly number[]): Effects | null {
  const by = (factors: readonly number[]): Map<string, number[]> => {
    const cells = new Map<string, number[]>();
    for (const { levels, value } of values) {
      const key = factors.map((f) => levels[f]).join(' ');
      const own = cells.get(key);
      if (own === undefined) cells.set(key, [value]);
      else own.push(value);
    }
    return cells;
  };
  const all = sizes.map((_, i) => i);
  const cells = [...by(all).values()];
  const combinations = sizes.reduce((product, size) => product * size, 1);
  const isComplete = cells.length === combinations && cells.every((own) => own.length === cells[0]?.length);
  if (!isComplete || values.length === 0) return null;
  const grand = meanOf(values.map(({ value }) => value));
  const squares = (groups: Iterable<readonly number[]>): number =>
    [...groups].reduce((sum, own) => sum + own.length * (meanOf(own) - grand) ** 2, 0);
  const total = values.reduce((sum, { value }) => sum + (value - grand) ** 2, 0);
  if (total <= 1e-18) return null;
  const main = all.map((f) => squares(by([f]).values()));
  const pairs = all.flatMap((a) =>
    all.slice(a + 1).map((b) => ({ a, b, share: squares(by([a, b]).values()) - (main[a] ?? 0) - (main[b] ?? 0) })),
  );
  const between = squares(cells);
  const told = [...main, ...pairs.map(({ share }) => share)].reduce((x, y) => x + y, 0);
  const of = (sum: number) => Math.max(0, sum) / total;
  return {
    main: main.map(of),
    pairs: pairs.map((pair) => ({ ...pair, share: of(pair.share) })),
    higher: of(between - told),
    seeds: of(total - between),
  };
}
