/** How often a model finds needles: one teacher-forced pass over samples. */
import { wilson } from '../core/index.js';
import type { NeedleSample } from '../data/index.js';
import { answerScore, answerTargets, SequenceScorer, type LoadedModel, type SampleScore } from '../loaded/index.js';

/** How well a model answers needle samples. */
export interface NeedleScore {
  /** Share of samples whose whole answer greedy decoding gives. */
  readonly accuracy: number;
  /** Wilson interval of the accuracy, 95 %. */
  readonly low: number;
  /** The upper end of the accuracy's 95 % interval. */
  readonly high: number;
  /** Mean over samples of the geometric mean of the answer tokens' probabilities. */
  readonly probability: number;
  readonly samples: number;
}

/** Accuracy and mean loss over scored needle samples. */
export function needleScore(scores: readonly SampleScore[]): NeedleScore {
  const answers = scores.map(answerScore);
  const right = answers.filter((answer) => answer.right).length;
  return {
    accuracy: right / scores.length,
    ...wilson(right, scores.length),
    probability: answers.reduce((sum, { probability }) => sum + probability, 0) / scores.length,
    samples: scores.length,
  };
}

/**
 * How well a model answers needle samples.
 *
 * @param samples their answers have equally many tokens
 */
export async function scoreNeedles(model: LoadedModel, samples: readonly NeedleSample[]): Promise<NeedleScore> {
  const scorer = await SequenceScorer.create(model, samples.map(answerTargets));
  try {
    return needleScore(await scorer.score(model.tensors));
  } finally {
    await scorer.dispose();
  }
}
