/** What the training of a run costs. */
import { last } from '../core/index.js';
import { modelCost } from '../model/index.js';
import { stagesOf, tokensPerStep, windowShares, type RunConfig } from '../train/index.js';

/** How much of something a training has spent after so many tokens. */
export interface Spent {
  /** Training tokens. */
  readonly tokens: number;
  /** FLOPs or seconds, from the start of the training. */
  readonly cost: number;
}

/**
 * FLOPs of the matrix products of a training: none at its start, and what is spent at the end of each stage. Between
 * two of these they grow evenly with the tokens; windows that move are counted at their mean over the training.
 */
export function flopsSpent(run: RunConfig): readonly Spent[] {
  const spent: Spent[] = [{ tokens: 0, cost: 0 }];
  for (const { model, train, from, to } of stagesOf(run)) {
    const { trainFlops } = modelCost(model, train.seqLen, { windowShares: windowShares(train) });
    const [before, tokens] = [last(spent), (to - from) * tokensPerStep(train)];
    spent.push({ tokens: before.tokens + tokens, cost: before.cost + tokens * trainFlops });
  }
  return spent;
}

/** FLOPs of the matrix products of a whole training: of every stage at its length, a mean over windows that move. */
export function trainingFlops(run: RunConfig): number {
  return last(flopsSpent(run)).cost;
}
