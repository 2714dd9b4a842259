/**
 * Layer-wise probes: can the class of the needle be read from the state of the last token, layer by layer? (evaluation
 * `src/probing` of thunlp/rethinking-hybrid-attention: features standardized on the training part, one-against-rest
 * logistic regression with C = 0.1 and a penalized intercept, a stratified split of 80 to 20.)
 */
import { at, f64At, ConfigError, Rng, wilson } from '../../core/index.js';
import { fitOneVsRest, predictClasses, type LogisticOptions } from './logistic.js';
import type { Features } from './rows.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** `residual`: the stream after a layer; `delta`: what the layer added to it. */
export const PROBE_KINDS = ['residual', 'delta'] as const;
/** The kind of classifier that a probe is. */
export type ProbeKind = (typeof PROBE_KINDS)[number];

/** How samples are split and the probe is fitted. */
export interface ProbeOptions extends LogisticOptions {
  /** Share of samples for testing. */
  readonly testShare?: number;
  readonly seed?: number;
}

/** The accuracy of a probe on test samples. */
export interface ProbeScore {
  /** Share of test samples whose class is the likeliest. */
  readonly accuracy: number;
  /** Test samples whose class is the likeliest. */
  readonly correct: number;
  /** The number of test samples. */
  readonly tested: number;
  /** Wilson score interval, 95 %; it counts the chance of the test samples, not of the split. */
  readonly low: number;
  /** The upper end of the accuracy's interval. */
  readonly high: number;
}

/** Indices of the samples to fit on, `train`, and to test on, `test`. */
export interface Split {
  readonly train: readonly number[];
  readonly test: readonly number[];
}

/**
 * A split in which every class has its share on both sides, to within one sample.
 *
 * @throws ConfigError if a class has fewer than two samples or a side would be empty
 */
export function stratifiedSplit(labels: ArrayLike<number>, classes: number, testShare: number, seed: number): Split {
  const rng = Rng.of(seed, 'probe', 'split');
  const members = Array.from({ length: classes }, (): number[] => []);
  for (let i = 0; i < labels.length; i++) members[at(labels, i)]?.push(i);
  const few = members.findIndex((m) => m.length < 2);
  if (few >= 0) {
    throw new ConfigError(`class ${few} has ${members[few]?.length} samples; a split needs two of every class`);
  }
  const wanted = Math.ceil(testShare * labels.length);
  if (wanted < 1 || wanted >= labels.length) {
    throw new ConfigError(`a test share of ${testShare} leaves ${labels.length} samples no training or no test part`);
  }
  // Whole parts first, then one more to the classes with the largest rests.
  const exact = members.map((m) => (m.length * wanted) / labels.length);
  const counts = exact.map(Math.floor);
  const byRest = exact.map((e, k) => ({ k, rest: e - Math.floor(e) })).sort((a, b) => b.rest - a.rest || a.k - b.k);
  const missing = wanted - counts.reduce((a, b) => a + b, 0);
  for (const { k } of byRest.slice(0, missing)) counts[k] = at(counts, k) + 1;
  const [train, test]: [number[], number[]] = [[], []];
  members.forEach((own, k) => {
    const order = rng.permutation(own.length);
    order.forEach((place, i) => (i < at(counts, k) ? test : train).push(at(own, place)));
  });
  const ascending = (a: number, b: number) => a - b;
  return { train: train.sort(ascending), test: test.sort(ascending) };
}

/**
 * Rows of `features`, every column minus its mean and divided by its deviation over the rows in `by` (1 if it has
 * none).
 */
export function standardize(features: Features, by: readonly number[]): Features {
  const { data, rows, width } = features;
  const [mean, deviation] = [new Float64Array(width), new Float64Array(width)];
  for (let j = 0; j < width; j++) {
    let [sum, squares] = [0, 0];
    for (const i of by) sum += readF64(data, i * width + j);
    const m = sum / by.length;
    for (const i of by) squares += (readF64(data, i * width + j) - m) ** 2;
    const sd = Math.sqrt(squares / by.length);
    mean[j] = m;
    // A column that only rounding moves is constant.
    deviation[j] = sd > 10 * Number.EPSILON * Math.abs(m) ? sd : 1;
  }
  const out = new Float64Array(rows * width);
  for (let i = 0; i < rows * width; i++) {
    out[i] = (readF64(data, i) - readF64(mean, i % width)) / readF64(deviation, i % width);
  }
  return { data: out, rows, width };
}

/** The chosen rows. */
export function takeRows({ data, width }: Features, indices: readonly number[]): Features {
  const out = new Float64Array(indices.length * width);
  indices.forEach((i, r) => out.set(data.subarray(i * width, (i + 1) * width), r * width));
  return { data: out, rows: indices.length, width };
}

/** Fits a probe on the training part of a split and scores it on the test part. */
export function scoreProbe(
  features: Features,
  labels: ArrayLike<number>,
  classes: number,
  split: Split,
  options: LogisticOptions = {},
): ProbeScore {
  const scaled = standardize(features, split.train);
  const of = (indices: readonly number[]) => indices.map((i) => at(labels, i));
  const model = fitOneVsRest(takeRows(scaled, split.train), of(split.train), classes, options);
  const predicted = predictClasses(model, takeRows(scaled, split.test));
  const truth = of(split.test);
  const correct = truth.filter((k, i) => k === predicted[i]).length;
  const tested = truth.length;
  return { accuracy: correct / tested, correct, tested, ...wilson(correct, tested) };
}
