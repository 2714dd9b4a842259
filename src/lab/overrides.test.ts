import { describe, expect, it } from 'vitest';
import { messageOf } from '../../test/support/folders.js';
import { merge, parsePath, unknownName, valueAt, withValueAt } from './overrides.js';

const config = { train: { steps: 1, lr: 2 }, data: [{ weight: 1 }, { weight: 2 }] };

describe('changing values by path', () => {
  it('replaces a value and leaves the original alone', () => {
    const changed = withValueAt(config, 'train.steps', 5);
    expect(changed).toEqual({ ...config, train: { steps: 5, lr: 2 } });
    expect(config.train.steps).toBe(1);
  });

  it('reaches into lists and makes objects that are missing', () => {
    expect(withValueAt(config, 'data[1].weight', 7)).toEqual({ ...config, data: [{ weight: 1 }, { weight: 7 }] });
    expect(withValueAt(config, 'data.0.weight', 7)).toEqual({ ...config, data: [{ weight: 7 }, { weight: 2 }] });
    expect(withValueAt({}, 'eval.trace.samples', 3)).toEqual({ eval: { trace: { samples: 3 } } });
  });

  it.each([
    ['train.steps.x', 'train.steps.x: train.steps is 1, so it has no key "x"'],
    ['data[2].weight', 'data[2].weight: data is a list of 2, so "2" names no entry of it'],
    ['data.weight', 'data.weight: data is a list of 2, so "weight" names no entry of it'],
    ['train..steps', '"train..steps" is not a path; write keys joined by points, such as train.steps'],
    ['data[x]', '"data[x]" is not a path; write keys joined by points, such as train.steps'],
  ])('refuses %s', (path, message) => {
    expect(messageOf(() => withValueAt(config, path, 0))).toBe(message);
  });

  it('reads values back', () => {
    expect(valueAt(config, 'data[1].weight')).toBe(2);
    expect(valueAt(config, 'nothing.here')).toBeUndefined();
    expect(parsePath('a[0].b')).toEqual(['a', 0, 'b']);
  });
});

describe('merge', () => {
  it('merges objects key by key and replaces everything else', () => {
    expect(merge({ a: { b: 1, c: [1, 2] }, d: 1 }, { a: { c: [3] }, e: 2 })).toEqual({
      a: { b: 1, c: [3] },
      d: 1,
      e: 2,
    });
  });

  it('suggests the nearest name, or lists them', () => {
    expect(unknownName('run', 'sed-1', ['seed-1', 'other']).message).toBe(
      'unknown run "sed-1"; did you mean "seed-1"?',
    );
    expect(unknownName('run', 'zzz', ['a', 'b']).message).toBe('unknown run "zzz"; there are: a, b');
  });
});
