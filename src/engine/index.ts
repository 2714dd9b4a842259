export * from './index.browser.js';
export { createOnnxEngine, type OnnxOptions } from './onnx/engine.js';
export { createXlaEngine, type XlaEngine, type XlaEngineOptions } from './xla/engine/engine.js';
export { kernelsNotUsed } from './xla/engine/kernels-in-use.js';
export { deviceUse, type DeviceSpan, type DeviceUse } from './xla/engine/trace.js';
export {
  findAccelerators,
  hiddenCuda,
  type Accelerator,
  type AcceleratorHost,
  type AcceleratorMemory,
} from './contract/accelerators.js';
export { hostsFromEnvironment, type Hosts } from './xla/pjrt/hosts/hosts.js';
export { lowerToStableHlo } from './xla/stablehlo/lower.js';
export { findPlugin, type Platform, type Plugin } from './xla/pjrt/discover.js';
export {
  ENGINE_NAMES,
  checkEngine,
  createEngine,
  platformOf,
  whyNoCuda,
  xlaPlatforms,
  type EngineChoice,
} from './select.js';
export { chooseAccelerator, type Hardware } from './definitions/hardware.js';
export { ENGINES, type EngineName } from './definitions/table.js';
