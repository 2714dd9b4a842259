/** What an evaluation finds, as it is stored, and as metrics. */
import { wilson, type Interval } from '../core/index.js';

/** Recall of one range of distances. */
export interface RecallScore {
  /** Mean probability of the right value; null without targets. */
  readonly probability: number | null;
  /** Share of targets whose right value is the likeliest token; null without targets. */
  readonly accuracy: number | null;
  /** Targets. */
  readonly count: number;
}

/** Recall at distances `from` to `to`. */
export interface RecallBin extends RecallScore {
  /** Distances `from..to` in tokens, both included: from the key's last use to this use. */
  readonly from: number;
  readonly to: number;
}

/** Rows are lengths, columns depths. */
export interface NeedleGrid {
  /** `bytes`: a number in text; `recall`: a key's value in a recall sequence. */
  readonly task: 'bytes' | 'recall';
  /** Tokens, question and answer included. */
  readonly lengths: readonly number[];
  /** 0 = start of the context, 1 = right before the question. */
  readonly depths: readonly number[];
  /**
   * Share of samples whose answer is right, token for token, under greedy decoding. One teacher-forced pass decides it:
   * greedy decoding gives the whole answer exactly if each of its tokens is the likeliest after the ones before.
   */
  readonly accuracy: readonly (readonly number[])[];
  /** Mean over samples of the geometric mean, over the answer's tokens, of their teacher-forced probabilities. */
  readonly probability: readonly (readonly number[])[];
  /** Per cell. */
  readonly samples: number;
}

/** The mean of a grid, every cell alike, with its 95 % interval over all samples. */
export function needleShare({
  accuracy,
  samples,
}: Pick<NeedleGrid, 'accuracy' | 'samples'>): Interval & { value: number } {
  const cells = accuracy.flat();
  const value = cells.reduce((a, b) => a + b, 0) / cells.length;
  const count = cells.length * samples;
  return { value, ...wilson(Math.round(value * count), count) };
}

/** What an evaluation measured: the content of a file under `evals/`. */
export interface EvalRecord {
  readonly format: 1;
  readonly step: number;
  /** Training tokens seen. */
  readonly tokens: number;
  /** Held-out loss in nats, weighted as the training loss; null if nothing is held out. */
  readonly loss: number | null;
  /** The same by position in the sequence; null where a position has no weight. */
  readonly perPositionLoss: readonly (number | null)[] | null;
  readonly recall: { readonly bins: readonly RecallBin[]; readonly overall: RecallScore } | null;
  readonly needle: NeedleGrid | null;
}

/**
 * The numbers of a record under their metric names: `eval/loss`, `eval/recall/FROM-TO` (probability),
 * `eval/recall/all`, `eval/needle/accuracy` and `eval/needle/probability` (means over the grid).
 */
export function evalMetrics(record: EvalRecord): Record<string, number> {
  const metrics: Record<string, number> = {};
  const put = (name: string, value: number | null | undefined): void => {
    if (value !== null && value !== undefined) metrics[name] = value;
  };
  put('eval/loss', record.loss);
  for (const { from, to, probability } of record.recall?.bins ?? []) put(`eval/recall/${from}-${to}`, probability);
  put('eval/recall/all', record.recall?.overall.probability);
  const mean = (grid: readonly (readonly number[])[]) => {
    const cells = grid.flat();
    return cells.reduce((a, b) => a + b, 0) / cells.length;
  };
  if (record.needle) {
    put('eval/needle/accuracy', mean(record.needle.accuracy));
    put('eval/needle/probability', mean(record.needle.probability));
  }
  return metrics;
}
