/**
 * Simultaneous inference for many comparisons at once: the largest of several Student t statistics that share one
 * estimate of the variance (the maximum modulus of the multivariate t distribution; Hothorn, Bretz and Westfall 2008,
 * "Simultaneous inference in general parametric models"). All pairs of equally many values give Tukey's studentized
 * range; one comparison gives Student's t.
 */
import { f64At, i32At } from './at.js';
import { Rng } from './rng.js';

/** A comparison: the weights of some of a set of independent values of equal variance; indices of the values. */
export type Contrast = readonly (readonly [index: number, weight: number])[];

/** More digits than a verdict needs: the critical value is right to about 1 %. */
const DRAWS = 40_000;
/** So many draws are computed together. */
const AT_ONCE = 4;
/** The draws are sorted and averaged in groups, which changes nothing that can be seen and saves most of the time. */
const GROUPS = 500;

/**
 * The share of a chi-square distribution with `df` degrees of freedom that lies above `x`: the regularized upper
 * incomplete gamma function Q(df / 2, x / 2), by its series or its continued fraction (Abramowitz and Stegun 6.5.29 and
 * 6.5.31).
 */
export function chiSquareAbove(x: number, df: number): number {
  return gammaAbove(df / 2, x / 2, logGamma(df / 2));
}

/** The regularized upper incomplete gamma function Q(a, z), with the logarithm of the gamma function of `a`. */
function gammaAbove(a: number, z: number, logGammaOfA: number): number {
  if (z <= 0) return 1;
  if (z === Infinity) return 0;
  const front = Math.exp(a * Math.log(z) - z - logGammaOfA);
  return z < a + 1 ? 1 - front * lowerSeries(a, z) : front * upperFraction(a, z);
}

function lowerSeries(a: number, z: number): number {
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < 500 && term > sum * 1e-15; n++) {
    term *= z / (a + n);
    sum += term;
  }
  return sum;
}

/** Lentz's method. */
function upperFraction(a: number, z: number): number {
  const tiny = 1e-300;
  let b = z + 1 - a;
  let c = 1 / tiny;
  let d = 1 / (Math.abs(b) < tiny ? tiny : b);
  let h = d;
  for (let i = 1; i < 500; i++) {
    const an = -i * (i - a);
    b += 2;
    d = 1 / (Math.abs(an * d + b) < tiny ? tiny : an * d + b);
    c = b + an / c;
    if (Math.abs(c) < tiny) c = tiny;
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-14) break;
  }
  return h;
}

/**
 * The logarithm of the gamma function for x > 0: Stirling's series from 10 up, recurrence below (error below 1e-12).
 */
function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < 10; z++) shift += Math.log(z);
  const z2 = 1 / (z * z);
  const series = (1 / 12 - z2 * (1 / 360 - z2 * (1 / 1260 - z2 * (1 / 1680 - z2 / 1188)))) / z;
  return (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series - shift;
}

/** The distribution of the largest |t| among some comparisons. */
export class MaxT {
  readonly #largest: readonly number[];

  /**
   * Computes their correlations.
   *
   * @param contrasts the comparisons; each is scaled to variance 1
   * @param values how many independent values there are
   */
  constructor(contrasts: readonly Contrast[], values: number) {
    const scaled = contrasts.map((contrast) => {
      const norm = Math.sqrt(contrast.reduce((sum, [, weight]) => sum + weight * weight, 0));
      return {
        indices: Int32Array.from(contrast, ([index]) => index),
        weights: Float64Array.from(contrast, ([, weight]) => weight / norm),
      };
    });
    const rng = Rng.of(1, 'simultaneous');
    const drawn = new Float64Array(values);
    const z = new Float64Array(values * AT_ONCE);
    const largest = new Float64Array(DRAWS);
    for (let draw = 0; draw < DRAWS; draw += AT_ONCE) {
      for (let d = 0; d < AT_ONCE; d++) {
        rng.fillNormal(drawn);
        for (let i = 0; i < values; i++) z[i * AT_ONCE + d] = f64At(drawn, i);
      }
      // Four draws of each comparison side by side: their sums do not wait for one another.
      let [most0, most1, most2, most3] = [0, 0, 0, 0];
      for (const { indices, weights } of scaled) {
        let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
        for (let i = 0; i < indices.length; i++) {
          const weight = f64At(weights, i);
          const from = i32At(indices, i) * AT_ONCE;
          sum0 += weight * f64At(z, from);
          sum1 += weight * f64At(z, from + 1);
          sum2 += weight * f64At(z, from + 2);
          sum3 += weight * f64At(z, from + 3);
        }
        most0 = Math.max(most0, Math.abs(sum0));
        most1 = Math.max(most1, Math.abs(sum1));
        most2 = Math.max(most2, Math.abs(sum2));
        most3 = Math.max(most3, Math.abs(sum3));
      }
      largest.set([most0, most1, most2, most3], draw);
    }
    largest.sort();
    const size = DRAWS / GROUPS;
    this.#largest = Array.from({ length: GROUPS }, (_, g) => {
      const group = largest.subarray(g * size, (g + 1) * size);
      return group.reduce((a, b) => a + b, 0) / size;
    });
  }

  /** The probability that the largest |t| is above `t` though no comparison has a difference. */
  above(t: number, df: number): number {
    if (t <= 0) return 1;
    const [a, ofA] = [df / 2, logGamma(df / 2)];
    const below = (m: number) => 1 - gammaAbove(a, (df * (m / t) ** 2) / 2, ofA);
    return this.#largest.reduce((sum, m) => sum + below(m), 0) / GROUPS;
  }

  /** The value that the largest |t| stays below with probability `confidence`. */
  critical(df: number, confidence: number): number {
    let [low, high] = [0, 1];
    while (this.above(high, df) > 1 - confidence) high *= 2;
    for (let i = 0; i < 40; i++) {
      const middle = (low + high) / 2;
      if (this.above(middle, df) > 1 - confidence) low = middle;
      else high = middle;
    }
    return high;
  }
}
