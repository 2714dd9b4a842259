/** Which composites have kernels on accelerators, where they fit. */
import { isComposite, type Node } from '../../../graph/index.js';
import type { CompositeTable } from '../../contract/composites.js';

/** The kernels of each composite that is kept for them; the tile kernels of the others are put in by a pass before. */
export const COMPOSITES = {
  remat: null,
  softmax: null,
  rmsNorm: null,
  rmsNormGrad: null,
  rotary: null,
  swiglu: null,
  swigluGrad: null,
  routeRows: null,
  crossEntropy: null,
  crossEntropyGrad: null,
  attention: 'attention',
  attentionGrad: 'attention',
  cacheWrite: 'always',
  cacheAttention: null,
  linearRecurrence: 'recurrence',
  linearRecurrenceGrad: 'recurrence',
  deltaRule: 'recurrence',
  deltaRuleGrad: 'recurrence',
  selectiveScan: 'selectiveScan',
  selectiveScanGrad: 'selectiveScan',
  causalConv: null,
} as const satisfies CompositeTable<'attention' | 'recurrence' | 'selectiveScan' | 'always'>;

type Table = typeof COMPOSITES;
type Kept = NonNullable<Table[keyof Table]>;

/** The composites that are kept for kernels of one kind. */
export type KeptFor<T extends Kept> = { [K in keyof Table]: Table[K] extends T ? K : never }[keyof Table];

/** Whether a node is a composite that is kept for kernels of one kind. */
export function isKeptFor<T extends Kept>(kind: T, node: Node): node is Node<KeptFor<T>> {
  return isComposite(node.op) && COMPOSITES[node.op] === kind;
}
