/** Figures and comparisons of a study or of one run, made by the modules that make its report. */
import { LongsightError } from '../core/index.js';
import {
  analyzeRunFolder,
  analyzeStudyFolder,
  comparedMeasures,
  findingInWords,
  reportParts,
  type Analyzed,
} from '../report/index.js';
import type { ComparedPair, FiguresAnswer } from './api.js';

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
    group.pairs.map((pair) => {
      const { a, b } = pair;
      const measures = comparedMeasures(pair).map((own) => ({
        ...{ measure: own.measure, seeds: own.seeds, verdict: findingInWords(own, { a, b }) },
        difference: own.amount === '' ? '' : `${b} ${own.isRatio ? '/' : '−'} ${a}: ${own.amount}`,
        isShown: own.finding === 'a' || own.finding === 'b',
      }));
      return { a, b, group: group.title, measures };
    }),
  );
}
