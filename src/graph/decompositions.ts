/** Every composite in terms of primitives (and simpler composites), assembled from the families. */
import { CACHE_DECOMPOSITIONS } from './attention/cache.js';
import { ATTENTION_DECOMPOSITIONS } from './attention/decompose.js';
import { GATE_DECOMPOSITIONS } from './composites/gate.js';
import { inline } from './ir/graph.js';
import type { Decomposition } from './ir/rules.js';
import type { OpName } from './ir/types.js';
import { LOSS_DECOMPOSITIONS } from './composites/loss.js';
import { NORM_DECOMPOSITIONS } from './composites/norm.js';
import { RECURRENCE_DECOMPOSITIONS } from './recurrence/rules.js';
import { ROTARY_DECOMPOSITIONS } from './composites/rotary.js';
import { ROUTE_DECOMPOSITIONS } from './composites/route.js';

const remat: Decomposition<'remat'> = (inputs, { body }) => inline(body, inputs);

const TABLE = {
  ...LOSS_DECOMPOSITIONS,
  ...NORM_DECOMPOSITIONS,
  ...ROTARY_DECOMPOSITIONS,
  ...GATE_DECOMPOSITIONS,
  ...ROUTE_DECOMPOSITIONS,
  ...ATTENTION_DECOMPOSITIONS,
  ...CACHE_DECOMPOSITIONS,
  ...RECURRENCE_DECOMPOSITIONS,
  remat,
};

/**
 * The name of an op that has a decomposition. An op without one is a primitive: every engine has to have a rule for it.
 */
export type CompositeOp = keyof typeof TABLE & OpName;

/** The decomposition of every composite, by default. */
export const DECOMPOSITIONS: { readonly [K in CompositeOp]: Decomposition<K> } = TABLE;

/** The names of all composites. */
export const COMPOSITE_OPS = Object.keys(TABLE) as readonly CompositeOp[];

/** Whether an op has a decomposition into primitives. */
export function isComposite(op: OpName): op is CompositeOp {
  return op in TABLE;
}
