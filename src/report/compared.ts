/** The measures of two designs side by side, as text: for the tables of reports and of the dashboard. */
import { capitalized, formatRange, significant } from '../core/index.js';
import { formatCrossing, formatCrossings } from '../lab/index.js';
import {
  formatCost,
  type ComparisonFinding as Finding,
  type PairComparison,
  type PairedNumber,
} from '../study/index.js';

/** One measure of a pair of designs, compared seed by seed. */
export interface ComparedMeasure {
  /** Where it stands in the comparison. */
  readonly key: keyof PairComparison;
  readonly measure: string;
  /** What both designs came to: the range over seeds. */
  readonly a: string;
  readonly b: string;
  /** What the rule says of it; see `findingInWords`. */
  readonly finding: Finding;
  /** Whether tokens are compared, by their ratio b / a; else numbers by their difference b − a. */
  readonly isRatio: boolean;
  /** The ratio or difference with its interval; empty where it is not known. */
  readonly amount: string;
  /** The values of each seed. */
  readonly seeds: readonly { readonly seed: number; readonly a: string; readonly b: string }[];
}

const VERDICTS = { none: 'none shown', few: 'too few seeds to say', unknown: 'one seed, not judged' } as const;

/** What the rule says of a measure, in words: in which design it is earlier or smaller, or why that is not said. */
export function findingInWords(
  { finding, isRatio }: Pick<ComparedMeasure, 'finding' | 'isRatio'>,
  names: Readonly<Record<'a' | 'b', string>>,
): string {
  if (finding !== 'a' && finding !== 'b') return VERDICTS[finding];
  return `${isRatio ? 'earlier' : 'smaller'} in ${names[finding]}`;
}

/** Tokens to thresholds first, then plain numbers. */
export function comparedMeasures(pair: PairComparison): ComparedMeasure[] {
  return [...crossingsOf(pair), ...numbersOf(pair), ...costsOf(pair)];
}

/** Tokens to thresholds: a ratio with its interval, and where each seed got there. */
function crossingsOf(pair: PairComparison): ComparedMeasure[] {
  const recalled = (pair.arTokensAt ?? [{ threshold: null, tokens: pair.arTokens }]).map(({ threshold, tokens }) => {
    const name = `Tokens until far associative recall${threshold === null ? ' forms' : ` is at ${threshold}`}`;
    return ['arTokens', name, tokens] as const;
  });
  const losses = (pair.lossTokensAt ?? []).map(
    ({ threshold, tokens }) =>
      ['lossTokensAt', `Tokens until held-out loss is at most ${threshold} nats`, tokens] as const,
  );
  const formed = ['tokensToThreshold', 'Tokens until far recall forms', pair.tokensToThreshold] as const;
  return [...losses, formed, ...recalled].flatMap(([key, measure, compared]) => {
    if (compared === null) return [];
    const { ratio, finding, values } = compared;
    const most = ratio?.high == null ? 'no upper end' : significant(ratio.high);
    const estimate = ratio?.estimate == null ? '' : `${significant(ratio.estimate)} `;
    return {
      ...{ key, measure, finding, isRatio: true },
      a: formatCrossings(values.map((v) => v.a)),
      b: formatCrossings(values.map((v) => v.b)),
      seeds: values.map(({ seed, a, b }) => ({ seed, a: formatCrossing(a), b: formatCrossing(b) })),
      amount: ratio === null ? '' : `${estimate}(${significant(ratio.low)} to ${most})`,
    };
  });
}

const NUMBERS = [
  ['finalLoss', 'Held-out loss at the end'],
  ['arAccuracy', 'Far associative recall, top-1, at the end'],
  ['arAtEqualLoss', 'Far associative recall, top-1, at equal loss of new bigrams'],
  ['arLoss', 'Far associative recall, loss, at the end'],
  ['freshLoss', 'Loss of new bigrams at the end'],
  ['farRecall', 'Far recall at the end'],
  ['meanFarRecall', 'Far recall, mean over tokens'],
  ['nearRecall', 'Near recall at the end'],
  ['needleAccuracy', 'Needle accuracy at the end'],
] as const satisfies readonly (readonly [keyof PairComparison, string])[];

/** What the designs came to for the same FLOPs, and in the same time. */
function costsOf({ atEqualCost = [] }: PairComparison): ComparedMeasure[] {
  return atEqualCost.flatMap((own) => {
    const after = `after ${formatCost(own)}`;
    const [far, loss] = [
      own.far === null ? [] : [numberOf('atEqualCost', `${capitalized(own.farName)} ${after}`, own.far)],
      own.loss === null ? [] : [numberOf('atEqualCost', `Held-out loss ${after}`, own.loss)],
    ];
    return [...far, ...loss];
  });
}

/** Plain numbers: the mean difference with its interval, and each seed's two values. */
function numbersOf(pair: PairComparison): ComparedMeasure[] {
  return NUMBERS.flatMap(([key, measure]) => {
    const compared = pair[key];
    return compared === null ? [] : [numberOf(key, measure, compared)];
  });
}

function numberOf(key: keyof PairComparison, measure: string, compared: PairedNumber): ComparedMeasure {
  const { finding, interval, meanDifference, values } = compared;
  const band = interval === null ? '' : ` (${significant(interval.low)} to ${significant(interval.high)})`;
  const range = (of: (v: (typeof values)[number]) => number) => formatRange(values.map(of), (x) => x.toFixed(2));
  return {
    ...{ key, measure, finding, isRatio: false },
    ...{ a: range((v) => v.a), b: range((v) => v.b) },
    amount: meanDifference === null ? '' : `${significant(meanDifference)}${band}`,
    seeds: values.map(({ seed, a, b }) => ({ seed, a: significant(a), b: significant(b) })),
  };
}
