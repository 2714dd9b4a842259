/**
 * The op catalog: the definition of every op, assembled from the families. "Primitives" are elementary; "composites"
 * have a meaning that an engine may have a better kernel for, a decomposition into primitives and a derivative rule of
 * their own.
 */
import { CACHE } from './attention/cache.js';
import { ATTENTION } from './attention/op.js';
import { GATE } from './composites/gate.js';
import { build } from './ir/emit.js';
import { LEAVES } from './ir/leaves.js';
import type { OpDefinition, OpName, OpSignatures, Value } from './ir/types.js';
import { LOSS } from './composites/loss.js';
import { NORM } from './composites/norm.js';
import { CONTROL, ELEMENTWISE, INDEXING, LAYOUT, REDUCE } from './primitives/index.js';
import { RECURRENCE } from './recurrence/type.js';
import { ROTARY } from './composites/rotary.js';
import { ROUTE } from './composites/route.js';

/** The definition of every op: type rule, precision, locality, merging. */
export const OPS: { readonly [K in OpName]: OpDefinition<K> } = {
  ...LEAVES,
  ...ELEMENTWISE,
  ...LAYOUT,
  ...REDUCE,
  ...INDEXING,
  ...CONTROL,
  ...LOSS,
  ...NORM,
  ...ROTARY,
  ...GATE,
  ...ROUTE,
  ...ATTENTION,
  ...CACHE,
  ...RECURRENCE,
};

/** Builds a node of any op by its name. Throws `ShapeError` or `DTypeError` where the inputs do not fit. */
export function emit<K extends OpName>(
  op: K,
  inputs: readonly Value[],
  attrs: OpSignatures[K]['attrs'],
): OpSignatures[K]['outputs'] {
  return build<K>(OPS[op], inputs, attrs);
}
