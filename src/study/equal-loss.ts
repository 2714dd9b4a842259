/**
 * Associative recall of several runs at equal loss elsewhere: does a design recall late, or does it learn everything
 * late?
 *
 * Training lowers two things at once: the loss of tokens whose bigram is new in its document, for which there is
 * nothing to recall, and the errors of recall. A run's recall as a function of the first says how much it recalls for
 * what it has learned otherwise, whatever the tokens that this took.
 */
import { maxOf, minOf, type Interval } from '../core/index.js';
import type { ArSummary } from '../lab/index.js';

type Course = ArSummary['course'];

/** A run's mean far accuracy over the range of losses that all compared runs went through. */
export interface RecallAtEqualLoss {
  /** The range: losses of tokens whose bigram is new, in nats. */
  readonly range: Interval;
  /** Mean far top-1 accuracy over the range, 0 to 1, in the order of the runs. */
  readonly values: readonly number[];
}

/**
 * Far accuracy at equal loss. The range begins, from above, where the first run reached `threshold`, and ends at the
 * smallest loss that every run got to.
 *
 * @param courses a run's evaluations each
 * @param threshold top-1 accuracy, 0 to 1
 * @returns null where no run got to the threshold, or where some run was never in the range
 */
export function recallAtEqualLoss(courses: readonly Course[], threshold: number): RecallAtEqualLoss | null {
  const falling = courses.map(fallingPart);
  if (falling.length === 0 || falling.some((course) => course.length < 2)) return null;
  const reached = falling.flatMap((course) => course.find((point) => point.accuracy >= threshold)?.freshLoss ?? []);
  if (reached.length === 0) return null;
  const high = Math.min(maxOf(reached), minOf(falling.map((course) => course[0]?.freshLoss ?? -Infinity)));
  const low = maxOf(falling.map((course) => course.at(-1)?.freshLoss ?? Infinity));
  if (!(low < high)) return null;
  return { range: { low, high }, values: falling.map((course) => meanBetween(course, low, high)) };
}

/** The evaluations at which the loss was lower than at every one before. */
function fallingPart(course: Course): Course {
  let least = Infinity;
  return course.filter(({ freshLoss }) => {
    if (!(freshLoss < least)) return false;
    least = freshLoss;
    return true;
  });
}

/** The mean over losses from `low` to `high` of the accuracy, linear between evaluations. */
function meanBetween(course: Course, low: number, high: number): number {
  let area = 0;
  course.slice(1).forEach((after, i) => {
    const before = course[i] ?? after;
    const from = Math.min(before.freshLoss, high);
    const to = Math.max(after.freshLoss, low);
    if (to >= from) return;
    const at = (loss: number) =>
      before.accuracy +
      ((before.freshLoss - loss) / (before.freshLoss - after.freshLoss)) * (after.accuracy - before.accuracy);
    area += ((at(from) + at(to)) / 2) * (from - to);
  });
  return area / (high - low);
}
