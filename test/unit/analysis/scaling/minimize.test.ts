import { describe, expect, it } from 'vitest';
import { minimize, type Problem } from '../../../../src/analysis/scaling/index.js';

const unbounded = (n: number) => ({ lower: Array<number>(n).fill(-Infinity), upper: Array<number>(n).fill(Infinity) });

/** A problem from a function, its gradient by complex-free central differences in extended steps: for tests only. */
function problem(f: (x: readonly number[]) => number, bounds: { lower: number[]; upper: number[] }): Problem {
  return {
    ...bounds,
    evaluate: (x) => ({
      value: f(x),
      gradient: x.map((v, i) => {
        const h = 1e-5 * Math.max(1, Math.abs(v));
        const at = (d: number) => f(x.map((w, j) => (j === i ? w + d : w)));
        // Fourth order: the error is far below the tolerances here.
        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      }),
    }),
  };
}

const rosenbrock = (x: readonly number[]) => {
  const [a, b] = x as [number, number];
  return 100 * (b - a * a) ** 2 + (1 - a) ** 2;
};
const beale = (x: readonly number[]) => {
  const [a, b] = x as [number, number];
  return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b * b) ** 2 + (2.625 - a + a * b ** 3) ** 2;
};
const wood = (x: readonly number[]) => {
  const [a, b, c, d] = x as [number, number, number, number];
  return (
    100 * (b - a * a) ** 2 +
    (1 - a) ** 2 +
    90 * (d - c * c) ** 2 +
    (1 - c) ** 2 +
    10.1 * ((b - 1) ** 2 + (d - 1) ** 2) +
    19.8 * (b - 1) * (d - 1)
  );
};
const hs3 = (x: readonly number[]) => (x[1] as number) + 1e-5 * ((x[1] as number) - (x[0] as number)) ** 2;
const hs4 = (x: readonly number[]) => ((x[0] as number) + 1) ** 3 / 3 + (x[1] as number);
const hs5 = (x: readonly number[]) => {
  const [a, b] = x as [number, number];
  return Math.sin(a + b) + (a - b) ** 2 - 1.5 * a + 2.5 * b + 1;
};
const hs45 = (x: readonly number[]) => 2 - x.reduce((p, v) => p * v, 1) / 120;

interface Case {
  readonly name: string;
  readonly f: (x: readonly number[]) => number;
  readonly start: number[];
  readonly bounds: { lower: number[]; upper: number[] };
  readonly value: number;
  readonly x?: number[];
}

const INF = Infinity;
/** Published optima: Moré, Garbow and Hillstrom (1981); HSn are problems of Hock and Schittkowski (1981). */
const CASES: readonly Case[] = [
  { name: 'Rosenbrock', f: rosenbrock, start: [-1.2, 1], bounds: unbounded(2), value: 0, x: [1, 1] },
  { name: 'Beale', f: beale, start: [1, 1], bounds: unbounded(2), value: 0, x: [3, 0.5] },
  { name: 'Wood', f: wood, start: [-3, -1, -3, -1], bounds: unbounded(4), value: 0, x: [1, 1, 1, 1] },
  {
    name: 'Rosenbrock with x <= 0.8',
    f: rosenbrock,
    start: [-1.2, 1],
    bounds: { lower: [-INF, -INF], upper: [0.8, INF] },
    value: 0.04,
    x: [0.8, 0.64],
  },
  {
    name: 'Beale with y <= 0.4',
    f: beale,
    start: [1, 0],
    // Along y = 0.4 the function is a parabola in x.
    bounds: { lower: [-INF, -INF], upper: [INF, 0.4] },
    value: 14.203125 - 5.247 ** 2 / 1.941696,
    x: [5.247 / 1.941696, 0.4],
  },
  {
    name: 'HS1',
    f: rosenbrock,
    start: [-2, 1],
    bounds: { lower: [-INF, -1.5], upper: [INF, INF] },
    value: 0,
    x: [1, 1],
  },
  {
    name: 'HS2',
    f: rosenbrock,
    start: [2, 3],
    bounds: { lower: [-INF, 1.5], upper: [INF, INF] },
    value: 0.0504261879,
    x: [1.224371, 1.5],
  },
  { name: 'HS3', f: hs3, start: [10, 1], bounds: { lower: [-INF, 0], upper: [INF, INF] }, value: 0, x: [0, 0] },
  {
    name: 'HS4',
    f: hs4,
    start: [1.125, 0.125],
    bounds: { lower: [1, 0], upper: [INF, INF] },
    value: 8 / 3,
    x: [1, 0],
  },
  {
    name: 'HS5',
    f: hs5,
    start: [0, 0],
    bounds: { lower: [-1.5, -3], upper: [4, 3] },
    value: -Math.sqrt(3) / 2 - Math.PI / 3,
    x: [0.5 - Math.PI / 3, -0.5 - Math.PI / 3],
  },
  {
    name: 'HS38',
    f: wood,
    start: [-3, -1, -3, -1],
    bounds: { lower: Array<number>(4).fill(-10), upper: Array<number>(4).fill(10) },
    value: 0,
    x: [1, 1, 1, 1],
  },
  {
    name: 'HS45',
    f: hs45,
    start: [2, 2, 2, 2, 2],
    bounds: { lower: [0, 0, 0, 0, 0], upper: [1, 2, 3, 4, 5] },
    value: 1,
    x: [1, 2, 3, 4, 5],
  },
];

describe('minimize', () => {
  it.each(CASES)('finds the published optimum of $name', ({ f, start, bounds, value, x }) => {
    const found = minimize(problem(f, bounds), start);
    expect(found.value).toBeCloseTo(value, 8);
    expect(found.converged).toBe(true);
    x?.forEach((v, i) => expect(found.x[i]).toBeCloseTo(v, 4));
    found.x.forEach((v, i) => {
      expect(v).toBeGreaterThanOrEqual(bounds.lower[i] as number);
      expect(v).toBeLessThanOrEqual(bounds.upper[i] as number);
    });
  });

  it('says which variables ended on a bound, and leaves a bound on which it started', () => {
    const bounds = { lower: [0, -1], upper: [10, 10] };
    const bowl = problem((x) => ((x[0] as number) - 3) ** 2 + ((x[1] as number) + 2) ** 2, bounds);
    const found = minimize(bowl, [0, -1]);
    expect(found.x[0]).toBeCloseTo(3, 8);
    expect(found).toMatchObject({ onBound: [null, 'lower'], converged: true });
  });

  it('minimizes a sum of near-kinks: the median under a Huber loss with a tiny delta', () => {
    const data = [1, 2, 4, 8, 16];
    const delta = 1e-4;
    const found = minimize(
      {
        lower: [-INF],
        upper: [INF],
        evaluate: ([m]) => {
          const r = data.map((v) => (m as number) - v);
          const value = r.reduce(
            (s, e) => s + (Math.abs(e) < delta ? (e * e) / 2 : delta * (Math.abs(e) - delta / 2)) / delta,
            0,
          );
          return { value, gradient: [r.reduce((s, e) => s + Math.max(-1, Math.min(1, e / delta)), 0)] };
        },
      },
      [100],
    );
    expect(found.x[0]).toBeCloseTo(4, 3);
  });

  it('refuses crossed bounds and a start without a finite value', () => {
    const f = problem((x) => x[0] as number, { lower: [1], upper: [0] });
    expect(() => minimize(f, [0])).toThrow('bound 1 of variable 0 lies above its upper bound 0');
    const nan = problem(() => NaN, unbounded(1));
    expect(() => minimize(nan, [0])).toThrow('the function is NaN at the start');
  });
});
