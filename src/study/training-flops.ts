/** What the training of a run costs. */
import { modelCost } from '../model/index.js';
import { stagesOf, tokensPerStep, windowShares, type RunConfig } from '../train/index.js';

/** FLOPs of the matrix products of a whole training: of every stage at its length, a mean over windows that move. */
export function trainingFlops(run: RunConfig): number {
  return stagesOf(run).reduce((sum, { model, train, from, to }) => {
    const { trainFlops } = modelCost(model, train.seqLen, { windowShares: windowShares(train) });
    return sum + (to - from) * tokensPerStep(train) * trainFlops;
  }, 0);
}
