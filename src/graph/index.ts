export * from './types.js';
export * from './ops.js';
export * from './lib.js';
export {
  inline,
  makeGraph,
  nodesOf,
  rebuild,
  remat,
  scan,
  traceGraph,
  verify,
  type Named,
  type ScanResult,
} from './graph.js';
export { rotaryAt } from './rotary.js';
export { printGraph } from './print.js';
export { mixedPrecision } from './precision.js';
export { grad, vjp } from './autodiff.js';
export { COMPOSITE_OPS, DECOMPOSITIONS, isComposite, type CompositeOp, type Decomposition } from './decompose.js';
export { bandedBlock, decomposeAttention, decomposeAttentionGrad, type AttentionBlocks } from './attention.js';
export {
  expand,
  mapGraph,
  simplify,
  uniformValue,
  type DecompositionOverrides,
  type Evaluate,
  type SimplifyOptions,
} from './transform.js';
