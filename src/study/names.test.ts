import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../core/index.js';
import { distinctNames, runNamer, slug } from './names.js';

describe('slug', () => {
  it.each([
    ['swa:8 + full', 'swa-8-full'],
    ['Full', 'full'],
    ['../..', 'x'],
    ['1e-3', '1e-3'],
    ['…', 'x'],
  ])('%j is %j', (text, expected) => {
    expect(slug(text)).toBe(expected);
  });
});

const path = fc.array(fc.constantFrom('train', 'model', 'data[0]', 'lr', 'Lr', 'layers', 'a-b', 'a', 'b'), {
  minLength: 1,
  maxLength: 3,
});
/** Values that a YAML file can hold, and many that look alike. */
const value = fc.oneof(
  fc.constantFrom(
    1,
    -1,
    '1',
    '-1',
    'minus 1',
    'swa:8 full',
    'swa:8/full',
    'SWA:8 full',
    'é',
    'è',
    '',
    [1, 2],
    [12],
    ['1', 2],
  ),
  fc.double(),
  fc.string({ maxLength: 300, unit: 'grapheme' }),
  fc.jsonValue({ maxDepth: 2 }),
);
const grid = fc.dictionary(
  path.map((keys) => keys.join('.')),
  fc.uniqueArray(value, { minLength: 1, maxLength: 4, selector: canonicalJson }),
  { maxKeys: 3, noNullPrototype: true },
);
const labels = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 80, unit: 'grapheme' }), {
  minLength: 1,
  maxLength: 3,
});

function pointsOf(all: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown>[] {
  return Object.entries(all).reduce<Record<string, unknown>[]>(
    (points, [key, values]) => points.flatMap((point) => values.map((v) => ({ ...point, [key]: v }))),
    [{}],
  );
}

describe('names of runs', () => {
  it('are never shared, not even without regard to case, and are file names everywhere', () => {
    fc.assert(
      fc.property(labels, grid, (architectures, settings) => {
        const nameOf = runNamer(architectures, settings);
        const runs = architectures.flatMap((architecture) =>
          [false, true].flatMap((long) =>
            pointsOf(settings).flatMap((point) => [1, 20].map((seed) => ({ architecture, long, point, seed }))),
          ),
        );
        const names = runs.map(nameOf);
        expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(runs.length);
        for (const name of names) {
          expect(name).toMatch(/^[a-z0-9][a-z0-9._-]*_seed-[0-9]+$/);
          expect(Buffer.byteLength(`${name}.log.4194304.tmp`)).toBeLessThanOrEqual(255);
        }
        // Equal runs have equal names, in whatever order the settings' values are listed.
        const reversed = Object.fromEntries(Object.entries(settings).map(([key, all]) => [key, all.toReversed()]));
        const again = runNamer(architectures.toReversed(), reversed);
        expect(structuredClone(runs).map(again)).toEqual(names);
      }),
      { numRuns: 200 },
    );
  });

  it('are plain where nothing clashes', () => {
    const nameOf = runNamer(['Small window'], { 'train.lr': [0.001, 0.01], 'model.layers': ['swa:8 full'] });
    const point = { 'train.lr': 0.001, 'model.layers': 'swa:8 full' };
    expect(nameOf({ architecture: 'Small window', long: true, point, seed: 3 })).toBe(
      'small-window_long_lr-0.001_layers-swa-8-full_seed-3',
    );
  });

  it('tell paths of one last key apart by more keys', () => {
    const nameOf = runNamer(['a'], { 'data[0].weight': [1], 'data[1].weight': [2] });
    const point = { 'data[0].weight': 1, 'data[1].weight': 2 };
    expect(nameOf({ architecture: 'a', long: false, point, seed: 1 })).toBe('a_data-0-weight-1_data-1-weight-2_seed-1');
  });
});

describe('distinct names', () => {
  it('take the first spelling that nothing shares, else a fingerprint', () => {
    const names = distinctNames(['Ab', 'ab', 'c'], (text) => [text]);
    expect([...names.values()].sort()).toEqual([
      expect.stringMatching(/^Ab-[0-9a-f]{8}$/),
      expect.stringMatching(/^ab-[0-9a-f]{8}$/),
      'c',
    ]);
  });
});
