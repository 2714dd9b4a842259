/** What traced heads say: the strongest of them, and how few they are. */
import { headSparsity, RETRIEVAL_HEAD_SCORE, type HeadScores, type HeadSparsity } from '../analysis/index.js';

type LayerScores = HeadScores['layers'][number];

/** One head among the strongest. */
type StrongHead = LayerScores['heads'][number] & Pick<LayerScores, 'layer' | 'label'>;

/** What a trace says of a model's heads. */
export interface TracedHeads {
  /** The heads with the highest scores, highest first. */
  readonly strongest: readonly StrongHead[];
  readonly sparsity: HeadSparsity;
  /** The score that makes a head a retrieval head. */
  readonly cut: number;
}

/**
 * The strongest heads of a trace, and how the scores are spread over all.
 *
 * @param top how many of the strongest
 */
export function tracedHeads({ layers }: HeadScores, top: number): TracedHeads {
  const heads = layers.flatMap(({ layer, label, heads: list }) => list.map((head) => ({ layer, label, ...head })));
  const strongest = heads.sort((a, b) => b.score - a.score).slice(0, top);
  return { strongest, sparsity: headSparsity(layers), cut: RETRIEVAL_HEAD_SCORE };
}
