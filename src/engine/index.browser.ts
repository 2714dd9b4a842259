/** What needs no Node: programs for browsers get this in place of `index.ts`. */
export * from './contract/engine.js';
export { BATCH_SHARDING, fittingSharding } from './contract/mesh.js';
export { createReferenceEngine, evaluateConstant, evaluateReference } from './reference/engine.js';
export { lowerToOnnx } from './onnx/lower.js';
export { inFloat32, inPrecision, measuringPrecision, type Precision } from './precision.js';
export { withStoredWeights } from './stored-weights.js';
export { createWebOnnxEngine, type WebRuntime } from './onnx/web.js';
