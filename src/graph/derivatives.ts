/** The derivative rule of every op, assembled from the families. */
import { CACHE_DERIVATIVES } from './attention/cache.js';
import { ATTENTION_DERIVATIVES } from './attention/decompose.js';
import { GATE_DERIVATIVES } from './composites/gate.js';
import type { DerivativeRule } from './ir/rules.js';
import type { OpName } from './ir/types.js';
import { LOSS_DERIVATIVES } from './composites/loss.js';
import { NORM_DERIVATIVES } from './composites/norm.js';
import { CONTROL_DERIVATIVES } from './primitives/control-derivatives.js';
import { ELEMENTWISE_DERIVATIVES } from './primitives/elementwise-derivatives.js';
import { STRUCTURE_DERIVATIVES } from './primitives/structure-derivatives.js';
import { RECURRENCE_DERIVATIVES } from './recurrence/rules.js';
import { ROTARY_DERIVATIVES } from './composites/rotary.js';
import { ROUTE_DERIVATIVES } from './composites/route.js';

/** The derivative rule of every op. Rules run only where at least one cotangent is not zero. */
export const DERIVATIVE_RULES: { readonly [K in OpName]: DerivativeRule<K> } = {
  ...CONTROL_DERIVATIVES,
  ...ELEMENTWISE_DERIVATIVES,
  ...STRUCTURE_DERIVATIVES,
  ...LOSS_DERIVATIVES,
  ...NORM_DERIVATIVES,
  ...ROTARY_DERIVATIVES,
  ...GATE_DERIVATIVES,
  ...ROUTE_DERIVATIVES,
  ...ATTENTION_DERIVATIVES,
  ...CACHE_DERIVATIVES,
  ...RECURRENCE_DERIVATIVES,
};
