export * from './ir/types.js';
export type { Cotangent, Decomposition, DerivativeRule, Pullback } from './ir/rules.js';
export { copyNode } from './ir/emit.js';
export {
  inline,
  makeGraph,
  mapGraph,
  nodesOf,
  rebuild,
  traceGraph,
  verify,
  type Named,
  type Visit,
} from './ir/graph.js';
export { printGraph } from './ir/print.js';
export * from './ops.js';
export { OPS, emit } from './definitions.js';
export type { AttentionAttrs } from './attention/op.js';
export type { DistanceBias } from './attention/relative.js';
export { cacheBlocks, type CacheAttentionAttrs } from './attention/cache.js';
export type { CausalConvAttrs, DeltaRuleAttrs, RecurrenceAttrs, SelectiveScanAttrs } from './recurrence/type.js';
export { angleTable, rotatePairs, sineOf, type RotaryAttrs } from './composites/rotary.js';
export { mixedPrecision } from './precision.js';
export { grad, vjp } from './autodiff.js';
export { COMPOSITE_OPS, DECOMPOSITIONS, isComposite, type CompositeOp } from './decompositions.js';
export { decomposeAttention, decomposeAttentionGrad, type AttentionBlocks } from './attention/decompose.js';
export { bandedBlock } from './attention/banded.js';
export { softcapped } from './attention/softcap.js';
export { expand, type DecompositionOverrides } from './expand.js';
export { uniformValue } from './ir/leaves.js';
export { simplify, type Evaluate, type SimplifyOptions } from './simplify.js';
