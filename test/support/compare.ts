/** The one comparator of the tests. */
import { formatShape, sameShape, toNumbers, type HostTensor } from '../../src/core/index.js';

export interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

export interface WorstError {
  /** Largest |a - b| / (atol + rtol |b|); at most 1 passes. */
  readonly ratio: number;
  readonly absolute: number;
  readonly index: number;
}

/** The worst element by tolerance. NaN must meet NaN and infinities must be equal; else the ratio is infinite. */
function worstError(actual: HostTensor, expected: HostTensor, tolerance: Tolerance): WorstError {
  if (actual.dtype !== expected.dtype || !sameShape(actual.shape, expected.shape)) {
    throw new Error(
      `got ${actual.dtype}${formatShape(actual.shape)}, expected ${expected.dtype}${formatShape(expected.shape)}`,
    );
  }
  const [a, b] = [toNumbers(actual), toNumbers(expected)];
  let worst: WorstError = { ratio: 0, absolute: 0, index: -1 };
  a.forEach((x, i) => {
    const y = b[i] as number;
    const equal = Object.is(x, y) || x === y;
    const absolute = equal ? 0 : Math.abs(x - y);
    const ratio = equal
      ? 0
      : Number.isFinite(absolute)
        ? absolute / (tolerance.atol + tolerance.rtol * Math.abs(y))
        : Infinity;
    if (ratio > worst.ratio) worst = { ratio, absolute, index: i };
  });
  return worst;
}

/** Throws with the worst index, both values and the tolerance unless all elements are close. Returns the worst error. */
export function expectClose(
  actual: HostTensor,
  expected: HostTensor,
  tolerance: Tolerance,
  what = 'tensor',
): WorstError {
  const worst = worstError(actual, expected, tolerance);
  if (worst.ratio <= 1) return worst;
  const [x, y] = [toNumbers(actual)[worst.index], toNumbers(expected)[worst.index]];
  throw new Error(
    `${what}: element ${worst.index} of ${formatShape(actual.shape)} is ${x}, expected ${y} ` +
      `(off by ${worst.absolute.toExponential(2)}, allowed rtol ${tolerance.rtol}, atol ${tolerance.atol})`,
  );
}
