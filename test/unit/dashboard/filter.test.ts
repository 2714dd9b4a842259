/** The language of the dashboard's filter, and addresses that hold a view. */
import { describe, expect, it } from 'vitest';
import type { RunRow } from '../../../src/dashboard/api.js';
import { compareValues, parseFilter } from '../../../web/lib/filter.js';
import { bandOf, lineOf, logTicks } from '../../../web/lib/lines.js';
import { parseRoute, printRoute, toView } from '../../../web/lib/route.js';

const row = (name: string, more: Partial<RunRow>): RunRow => ({
  ...{ id: name, name, folder: `runs/${name}`, study: null, design: 'swa:8 full', layers: 'swa:8 full', seed: 1 },
  ...{ state: 'done', message: null, step: 10, steps: 10, tokens: 100, budget: 100, seconds: 1, eta: null },
  ...{ tokPerSec: 1, engine: 'onnx', device: 'cpu', startedAt: null, parameters: 5, flopsPerToken: 1, last: {} },
  ...more,
});

const rows = [
  row('small_seed-1', { last: { 'eval/loss': 1.5 } }),
  row('small_seed-2', { seed: 2, state: 'running', tokens: 50, last: { 'eval/loss': 2.5 } }),
  row('Full attention', { design: 'full', layers: 'full', engine: 'xla' }),
];
const config = {
  'train.lr': { values: [0.001, 0.002], of: [0, 1, 1] },
  'train.schedule': { values: ['cosine', 'wsd'], of: [0, 0, 1] },
  'train.remat': { values: [true, false], of: [0, -1, 1] },
};

const found = (text: string): string[] => {
  const { matches } = parseFilter(text, config);
  return rows.filter((r, at) => matches(r, at)).map(({ name }) => name);
};

const [A, B, C] = ['small_seed-1', 'small_seed-2', 'Full attention'];

describe('the filter', () => {
  it.each([
    ['', [A, B, C]],
    ['SMALL', [A, B]],
    ['-small', [C]],
    ['"full att"', [C]],
    ['small seed-2', [B]],
    ['state=running', [B]],
    ['state=running,done', [A, B, C]],
    ['state!=done', [B]],
    ['seed=1', [A, C]],
    ['train.lr=0.001', [A]],
    ['train.lr=1e-3', [A]],
    ['lr>0.001', [B, C]],
    ['lr>=0.001 -lr=0.001', [B, C]],
    ['schedule~cos', [A, B]],
    ['remat=true', [A]],
    ['remat=false', [C]],
    ['eval/loss<2', [A]],
    ['progress<60', [B]],
    ['engine=xla lr=0.002', [C]],
    ['layers="swa:8 full"', [A, B]],
  ])('%s', (text, wanted) => {
    expect(parseFilter(text, config).problem).toBeNull();
    expect(found(text)).toEqual(wanted);
  });

  it('says what it does not understand, and shows what the rest lets through', () => {
    expect(parseFilter('nokey=1', config).problem).toBe('no run has a key "nokey"');
    expect(parseFilter('seed=', config).problem).toBe('"seed=" lacks a value');
    expect(parseFilter('constructor=1 __proto__=2', config).problem).toMatch(/"constructor".*"__proto__"/);
    expect(found('nokey=1 state=running')).toEqual([B]);
  });

  it('orders numbers by size, names by the numbers in them, and what is missing last', () => {
    expect([10, 9, null, 2].sort(compareValues)).toEqual([2, 9, 10, null]);
    expect(['run-10', 'run-9'].sort(compareValues)).toEqual(['run-9', 'run-10']);
  });
});

describe('a logarithmic axis', () => {
  it.each([
    [1, 1000, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]],
    [3, 3e5, [10, 100, 1000, 10_000, 100_000]],
    [1e-12, 1e3, [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1, 100]],
    [3.2, 4.5, [4]],
  ])('from %d to %d has round places', (least, most, wanted) => {
    expect(logTicks(least, most)).toEqual(wanted);
  });
});

describe('lines', () => {
  const curve = (values: readonly number[], perBucket = 1, high = values) => ({
    ...{
      run: 'r',
      metric: 'm',
      perBucket,
      end: 10 * values.length - 3,
      most: 256,
      sampled: false,
      x: Float64Array.from(values, (_, i) => 10 * i),
    },
    low: Float32Array.from(values),
    high: Float32Array.from(high),
    mean: Float32Array.from(values, (v, i) => (v + (high[i] ?? v)) / 2),
  });

  it('show the least and the largest value of every stretch', () => {
    const { x, y } = lineOf(curve([1, 2, 3], 4, [5, 6, 7]), 2, 0);
    expect([...x]).toEqual([0, 10, 20, 30, 40, 54]);
    expect([...y].sort()).toEqual([1, 2, 3, 5, 6, 7]);
  });

  it.each([
    [
      [4, 2, 1],
      [9, 3, 2],
      [9, 4, 3, 2, 2, 1],
    ],
    [
      [1, 5, 7],
      [4, 6, 8],
      [1, 4, 5, 6, 7, 8],
    ],
    [[1], [4], [1, 4]],
  ])('begin where they come from: %j to %j', (low, high, wanted) => {
    expect([...lineOf(curve(low, 4, high), 1, 0).y]).toEqual(wanted);
  });

  it('are smoothed from their first value on, and stay what they are where they are constant', () => {
    expect([...lineOf(curve([3, 3, 3]), 1, 0.9).y].map((v) => Number(v.toFixed(9)))).toEqual([3, 3, 3]);
    const { y } = lineOf(curve([0, 1]), 1, 0.5);
    expect(y[1]).toBeCloseTo(2 / 3, 12);
  });

  it('of seeds become their mean with a band from the least to the largest, over the places that each has', () => {
    const [a, b] = [lineOf(curve([0, 2, 4]), 1, 0), lineOf(curve([2, 4]), 1, 0)];
    const { x, y, band } = bandOf([a, b]);
    expect([...x]).toEqual([0, 10, 20]);
    expect([[...y], [...(band?.low ?? [])], [...(band?.high ?? [])]]).toEqual([
      [1, 3, 4],
      [0, 2, 4],
      [2, 4, 4],
    ]);
  });
});

describe('addresses', () => {
  it('hold a view with its settings, whatever these are', () => {
    const params = { q: 'a=b & "c" #/é', m: 'train/loss' };
    expect(parseRoute(printRoute({ view: 'curves', params }))).toEqual({ view: 'curves', params });
  });

  it('that are not understood are the table of runs', () => {
    for (const text of ['', '#', '#/nothing?x=1', '#/__proto__']) expect(parseRoute(text).view).toBe('runs');
  });

  it('of another view keep the filter and the choice of runs, and nothing else', () => {
    const route = { view: 'curves', params: { q: 'a', hide: 'x', smooth: '0.5' } } as const;
    expect(toView(route, 'heads', { t: '1' })).toEqual({ view: 'heads', params: { q: 'a', hide: 'x', t: '1' } });
  });
});
