/** The recurrences and the convolution in primitives: which file holds which. */
import type { Decomposition } from '../ir/rules.js';
import { decomposeCausalConv } from './conv.js';
import { decomposeDeltaRule, decomposeDeltaRuleGrad } from './delta.js';
import { decomposeLinearRecurrence, decomposeLinearRecurrenceGrad } from './linear.js';
import type { RECURRENCE } from './type.js';

/** Decompositions of the recurrences, their gradients and the convolution. */
export const RECURRENCE_DECOMPOSITIONS: { readonly [K in keyof typeof RECURRENCE]: Decomposition<K> } = {
  linearRecurrence: decomposeLinearRecurrence,
  linearRecurrenceGrad: decomposeLinearRecurrenceGrad,
  deltaRule: decomposeDeltaRule,
  deltaRuleGrad: decomposeDeltaRuleGrad,
  causalConv: decomposeCausalConv,
};
