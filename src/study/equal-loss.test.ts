import { describe, expect, it } from 'vitest';
import { recallAtEqualLoss } from './equal-loss.js';

/** A run that recalls `share` of what 5 nats less its loss gives, and learns at `speed`. */
const run = (share: number, speed: number) =>
  Array.from({ length: 21 }, (_, i) => {
    const learned = Math.min(2.5, 0.1 * i * speed);
    return { tokens: 1000 * i, freshLoss: 5 - learned, accuracy: 0.2 * learned * share };
  });

describe('associative recall at equal loss', () => {
  it('does not tell a design that learns everything later from one that learns it sooner', () => {
    const found = recallAtEqualLoss([run(1, 1), run(1, 0.5)], 0.1);
    expect(found?.range.low).toBeCloseTo(4, 10); // where the slow one ends
    expect(found?.range.high).toBeCloseTo(4.5, 10); // accuracy 0.1 first at 0.5 nats below the start
    expect(found?.values[0]).toBeCloseTo(0.15, 10); // the mean of 0.1 and 0.2
    expect(found?.values[1]).toBeCloseTo(0.15, 10);
  });

  it('tells one that recalls less for the same loss', () => {
    const found = recallAtEqualLoss([run(1, 1), run(0.8, 1)], 0.1);
    expect((found?.values[1] ?? NaN) / (found?.values[0] ?? NaN)).toBeCloseTo(0.8, 10);
  });

  it('leaves out evaluations at which the loss rose', () => {
    const course = run(1, 1);
    const risen = [...course.slice(0, 8), { tokens: 7500, freshLoss: 4.9, accuracy: 0.9 }, ...course.slice(8)];
    expect(recallAtEqualLoss([risen, course], 0.1)).toEqual(recallAtEqualLoss([course, course], 0.1));
  });

  it.each([
    ['no run got to the threshold', [run(1, 1), run(1, 1)], 0.9],
    ['a run was never in the range', [run(1, 1), run(1, 1).slice(0, 3)], 0.1],
    ['a run has one evaluation', [run(1, 1), run(1, 1).slice(0, 1)], 0.1],
    ['there is no run', [], 0.1],
  ])('is not there where %s', (_, courses, threshold) => {
    expect(recallAtEqualLoss(courses, threshold)).toBeNull();
  });
});
