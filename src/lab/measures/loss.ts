/** `loss`: held-out loss, in all and by position in the sequence. */
import { z } from 'zod';
import { at, field, pending } from '../../core/index.js';
import type { RecallOptions } from '../../data/index.js';
import type { Scores } from '../../loaded/index.js';
import type { Point } from '../../run/index.js';
import {
  defineMeasure,
  whileCompiling,
  type PrepareContext,
  type SharedEvalConfig,
  type SummaryView,
} from './define.js';
import { crossing, type Crossing } from './series.js';

const schema = z.object({
  loss: field(
    z.number().nullable(),
    'held-out loss, weighted as the training loss; null if nothing is held out',
    'nats per token',
  ),
  perPositionLoss: field(
    z.array(z.number().nullable()).nullish(),
    'the same by position in the sequence, first position first; null where a position has no weight',
    'nats per token',
  ),
});

/** What a run's held-out loss came to. */
export interface LossSummary {
  /** Held-out loss at the last measurement, nats per token. */
  readonly finalLoss: number | null;
  /** When the loss was first at most each threshold, in nats, that the study asks for; left out for none. */
  readonly lossTokens?: readonly { readonly threshold: number; readonly crossing: Crossing | null }[];
}

/** The thresholds of held-out loss, in nats, that a study asks for, descending; empty where it asks for none. */
export function lossThresholds({ lossThreshold = [] }: Pick<SummaryView, 'lossThreshold'>): readonly number[] {
  return typeof lossThreshold === 'number' ? [lossThreshold] : lossThreshold;
}

function lossCrossings(losses: readonly Point[], thresholds: readonly number[]): Pick<LossSummary, 'lossTokens'> {
  if (thresholds.length === 0) return {};
  // Crossings are of what rises.
  const rising = losses.map((point) => ({ ...point, value: -point.value }));
  return { lossTokens: thresholds.map((threshold) => ({ threshold, crossing: crossing(rising, -threshold) })) };
}

/** When a run's loss was first at most a threshold that its study asks for; null where it was not measured. */
export function lossCrossing({ lossTokens }: Pick<LossSummary, 'lossTokens'>, threshold: number): Crossing | null {
  return lossTokens?.find((own) => own.threshold === threshold)?.crossing ?? null;
}

/** What the loss is measured on. */
export interface LossPlan {
  readonly shared: SharedEvalConfig;
  /**
   * The recall stream's options where it alone is the data: its sequences are scored for recall and for the loss at
   * once.
   */
  readonly recall: RecallOptions | null;
}

/** The held-out loss. */
export const lossMeasure = defineMeasure({
  options: null,
  about: 'held-out loss in nats',
  stored: 'record',
  schema,
  absent: { loss: null, perPositionLoss: null },
  when: 'always',
  plan: ({ data, shared, settings }): LossPlan | null => {
    const heldOut = data.heldOut();
    const scored = heldOut?.isRecall === true && settings['recall'] !== false;
    return heldOut === null ? null : { shared, recall: scored ? data.recall : null };
  },
  prepare: async ({ shared, recall }, context) => {
    const [, batches] = await Promise.all([
      context.scores.compile(),
      whileCompiling(() => Array.from({ length: shared.batches }, (_, i) => batchOf(context, recall, i))),
    ]);
    return {
      start: async (tensors) => {
        const started = await context.scores.start(
          tensors,
          batches.map(({ batch }) => batch),
        );
        return pending(started.numbers, () => {
          const losses = new LossTally(context.data.train.seqLen);
          started.result().forEach((scores, i) => losses.add(scores, at(batches, i).weights));
          return { loss: losses.mean(), perPositionLoss: shared.perPosition ? losses.perPosition() : null };
        });
      },
      dispose: async () => {},
    };
  },
  metrics: ({ loss }) => ({ 'eval/loss': loss }),
  metricWords: {
    'eval/loss': {
      title: 'Held-out loss',
      unit: 'nats per token',
      range: '0 and more',
      meaning: 'held-out loss, weighted as the training loss',
    },
  },
  reference: {
    title: 'Held-out loss',
    measures:
      'How badly the model predicts the next token of sequences that training never sees. The sequences are the same at ' +
      'every evaluation, for every run and every seed. Perplexity is e to the power of it.',
    formula:
      'Sum over the held-out tokens of weight times -ln(probability of the right token), divided by the sum of the weights. ' +
      'Weights are those of training; the recall stream has `targetWeight` and `otherWeight`. By position, ' +
      'the sums run over the tokens at that place of their sequences.',
    unit: 'nats per token',
    range: '0 and more; a model that knows nothing has ln(size of the vocabulary)',
    interval: 'None in a run. Designs are compared over seeds ([method](method.md#when-a-difference-counts)).',
    source:
      'The cross-entropy of language models. Computed in `src/lab/measures/loss.ts` from the scores of `src/eval/held-out-scores.ts`.',
  },
  forReaders: {
    task: null,
    terms: {
      'held-out loss':
        'How badly the next token of unseen sequences is predicted: the mean of −log(probability), in nats. Lower is better.',
      nat: 'The unit of loss: 0.69 nats less make the right token twice as probable.',
    },
  },
  words: ({ loss }) => (loss === null ? null : `held-out loss ${loss.toFixed(4)}`),
  event: ({ loss }) => ({ loss }),
  text: ({ loss }) => (loss === null ? null : `held-out loss  ${loss.toFixed(4)} nats`),
  summarize: ({ metrics, results }, view): LossSummary => ({
    finalLoss: metrics.get('eval/loss')?.at(-1)?.value ?? results.at(-1)?.loss ?? null,
    ...lossCrossings(metrics.get('eval/loss') ?? [], lossThresholds(view)),
  }),
  csv: () => [{ name: 'final_loss', of: ({ finalLoss }) => finalLoss }],
  cells: () => [{ name: 'loss (nats)', of: ({ finalLoss }) => finalLoss?.toFixed(4) ?? '–' }],
  figures: [
    {
      ...{ order: 80, draw: 'curves', heading: 'Held-out loss, while training' },
      caption:
        'How well the next token of unseen sequences is predicted: the mean of −log(probability), in nats; lower is better. ' +
        'The axis is cut where the first steps lie far above all others.',
      plot: {
        title: 'Held-out loss',
        yLabel: 'loss (nats per token)',
        isCut: true,
        isMain: true,
        series: ({ metrics }) => metrics.get('eval/loss') ?? metrics.get('train/loss') ?? [],
      },
    },
    {
      ...{ order: 81, draw: 'crossings' },
      views: (view) => lossThresholds(view).map((lossThreshold) => ({ ...view, lossThreshold })),
      heading: (view) => `Tokens until held-out loss is at most ${lossThresholds(view).join(', ')} nats`,
      label: (view) => `Tokens until held-out loss is at most ${lossThresholds(view).join(', ')} nats`,
      caption: () => 'Held-out loss at the evaluations',
      of: (summary, view) => lossCrossing(summary, lossThresholds(view)[0] ?? 0),
    },
    { order: 90, draw: 'loss by position' },
  ],
  outcome: null,
});

function batchOf({ scores }: PrepareContext, recall: RecallOptions | null, index: number) {
  if (recall === null) {
    const batch = scores.stream(index);
    return { batch, weights: batch.host.weights };
  }
  const batch = scores.recall(recall, index);
  const { targetWeight, otherWeight } = recall;
  return { batch, weights: Float32Array.from(batch.host.distances, (d) => (d === 0 ? otherWeight : targetWeight)) };
}

/** Weighted losses, in all and by position. */
class LossTally {
  readonly #seqLen: number;
  readonly #loss: Float64Array;
  readonly #weight: Float64Array;

  constructor(seqLen: number) {
    this.#seqLen = seqLen;
    this.#loss = new Float64Array(seqLen);
    this.#weight = new Float64Array(seqLen);
  }

  add({ loss }: Scores, weights: Float32Array): void {
    const [sums, total] = [this.#loss, this.#weight];
    for (let i = 0, t = 0; i < weights.length; i++) {
      const weight = weights[i] ?? 0;
      sums[t] = (sums[t] ?? 0) + weight * (loss[i] ?? 0);
      total[t] = (total[t] ?? 0) + weight;
      t = t + 1 === this.#seqLen ? 0 : t + 1;
    }
  }

  mean(): number | null {
    const total = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
    const weight = total(this.#weight);
    return weight === 0 ? null : total(this.#loss) / weight;
  }

  /** The mean loss at each position; null without any weight. */
  perPosition(): (number | null)[] | null {
    if (this.#weight.every((w) => w === 0)) return null;
    return Array.from(this.#loss, (sum, t) => (this.#weight[t] === 0 ? null : sum / (this.#weight[t] ?? 1)));
  }
}
