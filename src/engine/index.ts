export * from './engine.js';
export { BATCH_SHARDING, fittingSharding } from './mesh.js';
export { createReferenceEngine, evaluateConstant, evaluateReference } from './reference/engine.js';
export { createOnnxEngine, type OnnxOptions } from './onnx/engine.js';
export { lowerToOnnx } from './onnx/lower.js';
export { createXlaEngine, type XlaEngine, type XlaEngineOptions } from './xla/engine.js';
export { deviceUse, type DeviceSpan, type DeviceUse } from './xla/trace.js';
export { hostsFromEnvironment, type Hosts } from './xla/hosts/callbacks.js';
export { lowerToStableHlo } from './xla/stablehlo/lower.js';
export { cacheFolder, findPlugin, type Platform, type Plugin } from './xla/pjrt/discover.js';
export {
  ENGINE_NAMES,
  chooseAccelerator,
  createEngine,
  xlaPlatforms,
  type EngineChoice,
  type EngineName,
  type Hardware,
} from './select.js';
