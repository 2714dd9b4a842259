/** The op functions of every family: each takes values (and plain attributes), checks them and returns new values. */
export * from './primitives/index.js';
export { cacheAttention, cacheWrite } from './attention/cache.js';
export { attention } from './attention/op.js';
export { distanceAttention, distanceBiases } from './attention/relative.js';
export { swiglu } from './composites/gate.js';
export { crossEntropy, softmax } from './composites/loss.js';
export { rmsNorm } from './composites/norm.js';
export { routeRows } from './composites/route.js';
export { rotary, rotaryAt, rotaryFrequencies } from './composites/rotary.js';
export * from './recurrence/op.js';
