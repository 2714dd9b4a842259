/** Figures and comparisons of a study or of one run, made by the modules that make its report. */
import { LongsightError, significant } from '../core/index.js';
import { formatCrossing } from '../lab/index.js';
import { analyzeRunFolder, analyzeStudyFolder, reportParts, type Analyzed } from '../report/index.js';
import type { PairComparison } from '../study/index.js';
import type { ComparedMeasure, ComparedPair, FiguresAnswer } from './api.js';

/** What is drawn: a study or a run, by its folder. */
export interface FiguresTask {
  readonly kind: 'study' | 'run';
  readonly path: string;
  /** All designs of the dashboard in the order from which they have their colors. */
  readonly designs: readonly string[];
  /** Names of runs that laws are fitted without. */
  readonly without: readonly string[];
}

/** Reads a folder and draws everything that its report would hold. */
export function drawFigures({ kind, path, designs, without }: FiguresTask): FiguresAnswer {
  try {
    const analyzed = kind === 'study' ? analyzeStudyFolder(path) : analyzeRunFolder(path);
    const { overview, ...sections } = reportParts(analyzed, { designs, without });
    const { title, question } = analyzed.analysis;
    const fitted = analyzed.analysis.groups.flatMap(({ runs }) => runs.map(({ name }) => name));
    return { title, overview, question, sections, pairs: pairsOf(analyzed), fitted, problem: null };
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    return { title: '', overview: '', question: null, sections: {}, pairs: [], fitted: [], problem: error.message };
  }
}

function pairsOf({ analysis }: Analyzed): ComparedPair[] {
  return analysis.groups.flatMap((group) =>
    group.pairs.map((pair) => ({
      ...{ a: pair.a, b: pair.b, group: group.title },
      measures: [...crossingsOf(pair), ...numbersOf(pair)],
    })),
  );
}

const VERDICTS = {
  none: 'none shown',
  few: 'too few seeds to say',
  unknown: 'not judged',
} as const;

type Finding = 'a' | 'b' | keyof typeof VERDICTS;

const verdict = (finding: Finding, words: Readonly<Record<'a' | 'b', string>>): string =>
  finding === 'a' || finding === 'b' ? words[finding] : VERDICTS[finding];

const isShown = (finding: Finding): boolean => finding === 'a' || finding === 'b';

/** Tokens to thresholds: a ratio with its interval, and where each seed got there. */
function crossingsOf(pair: PairComparison): ComparedMeasure[] {
  const named = [
    ['Tokens until far recall forms', pair.tokensToThreshold] as const,
    ...(pair.arTokensAt ?? [{ threshold: null, tokens: pair.arTokens }]).map(
      ({ threshold, tokens }) =>
        [
          `Tokens until far associative recall${threshold === null ? ' forms' : ` is at ${threshold}`}`,
          tokens,
        ] as const,
    ),
  ];
  const losses = (pair.lossTokensAt ?? []).map(
    ({ threshold, tokens }) => [`Tokens until held-out loss is at most ${threshold} nats`, tokens] as const,
  );
  return [...losses, ...named].flatMap(([measure, compared]) => {
    if (compared === null) return [];
    const { ratio, finding, values } = compared;
    const most = ratio?.high == null ? 'no upper end' : significant(ratio.high);
    const estimate = ratio?.estimate == null ? '' : `${significant(ratio.estimate)} `;
    const seeds = values.map(({ seed, a, b }) => ({ seed, a: formatCrossing(a), b: formatCrossing(b) }));
    return {
      ...{ measure, seeds, isShown: isShown(finding) },
      verdict: verdict(finding, { a: `earlier in ${pair.a}`, b: `earlier in ${pair.b}` }),
      difference: ratio === null ? '' : `${pair.b} / ${pair.a}: ${estimate}(${significant(ratio.low)} to ${most})`,
    };
  });
}

const NUMBERS = {
  finalLoss: 'Held-out loss at the end',
  arAccuracy: 'Far associative recall, top-1, at the end',
  arLoss: 'Far associative recall, loss, at the end',
  freshLoss: 'Loss of new bigrams at the end',
  arAtEqualLoss: 'Far associative recall, top-1, at equal loss of new bigrams',
  farRecall: 'Far recall at the end',
  meanFarRecall: 'Far recall, mean over tokens',
  nearRecall: 'Near recall at the end',
  needleAccuracy: 'Needle accuracy at the end',
} as const satisfies Partial<Record<keyof PairComparison, string>>;

/** Plain numbers: the mean difference with its interval, and each seed's two values. */
function numbersOf(pair: PairComparison): ComparedMeasure[] {
  const names: readonly (keyof typeof NUMBERS)[] = [
    ...(['finalLoss', 'arAccuracy', 'arAtEqualLoss', 'arLoss', 'freshLoss'] as const),
    ...(['farRecall', 'meanFarRecall', 'nearRecall', 'needleAccuracy'] as const),
  ];
  return names.flatMap((name) => {
    const compared = pair[name];
    if (compared === null) return [];
    const { finding, interval, meanDifference, values } = compared;
    const band = interval === null ? '' : ` (${significant(interval.low)} to ${significant(interval.high)})`;
    return {
      measure: NUMBERS[name],
      verdict: verdict(finding, { a: `smaller in ${pair.a}`, b: `smaller in ${pair.b}` }),
      isShown: isShown(finding),
      difference: meanDifference === null ? '' : `${pair.b} − ${pair.a}: ${significant(meanDifference)}${band}`,
      seeds: values.map(({ seed, a, b }) => ({ seed, a: significant(a), b: significant(b) })),
    };
  });
}
