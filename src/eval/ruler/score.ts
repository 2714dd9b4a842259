/**
 * Scores of RULER predictions, as NVIDIA/RULER has them (`scripts/eval/synthetic/constants.py`), and stricter ones
 * beside.
 */
import { wilson } from '../../core/index.js';
import type { Scoring } from '../../data/index.js';

/** An answer, and the references that it is compared with. */
export interface Prediction {
  /** The sample's number. */
  readonly index: number;
  readonly pred: string;
  readonly outputs: readonly string[];
}

/** The score of a RULER task, from 0 to 100. */
export interface RulerScore {
  /**
   * 0 to 100, rounded to 2 decimals as RULER does: the mean share of references found (`all`), or of samples with any
   * (`part`).
   */
  readonly score: number;
  /**
   * 0 to 100: 95 % interval of the score (Wilson 1927), over samples; wider than needed where samples have parts of
   * references.
   */
  readonly low: number;
  /** The upper end of the interval, 0 to 100. */
  readonly high: number;
  /** 0 to 100: the parts of the prediction, split at commas, spaces and "and", are the references and nothing else. */
  readonly exact: number;
  readonly samples: number;
  /** Predictions without any text. */
  readonly empty: number;
}

/** A prediction as it is compared: control characters are line breaks, outer white space goes. */
export function cleaned(pred: string): string {
  return Array.from(pred.trim(), (c) => (c < ' ' ? '\n' : c))
    .join('')
    .trim();
}

/** The share of references that a prediction contains, or whether it contains any; letters' case does not count. */
export function sampleScore({ pred, outputs }: Prediction, scoring: Scoring): number {
  const text = cleaned(pred).toLowerCase();
  const found = outputs.filter((o) => text.includes(o.toLowerCase())).length;
  return scoring === 'all' ? found / outputs.length : found > 0 ? 1 : 0;
}

function isExact({ pred, outputs }: Prediction, scoring: Scoring): boolean {
  const text = cleaned(pred).toLowerCase().replace(/\.$/, '');
  const wanted = outputs.map((o) => o.toLowerCase());
  if (scoring === 'part') return wanted.includes(text);
  const parts = new Set(text.split(/[\s,]+/).filter((p) => p !== '' && p !== 'and'));
  return parts.size === new Set(wanted).size && wanted.every((w) => parts.has(w));
}

const rounded = (x: number): number => Math.round(x * 100) / 100;

/** The score of a task's predictions, at least one. */
export function scoreTask(predictions: readonly Prediction[], scoring: Scoring): RulerScore {
  const n = predictions.length;
  const sum = predictions.reduce((total, p) => total + sampleScore(p, scoring), 0);
  const { low, high } = wilson(sum, n);
  return {
    score: rounded((100 * sum) / n),
    ...{ low: rounded(100 * low), high: rounded(100 * high) },
    exact: rounded((100 * predictions.filter((p) => isExact(p, scoring)).length) / n),
    samples: n,
    empty: predictions.filter((p) => cleaned(p.pred) === '').length,
  };
}
