export * from './config.js';
export { expertsOf, type ExpertsConfig } from './experts-config.js';
export type { Routing } from './experts.js';
export * from './cost.js';
export { layerPeriod, scaledModel } from './scale.js';
export * from './decode.js';
export { meanGroupKeys } from './attention.js';
export * from './forward.js';
export { hasSinks, headSizes, sinksName, type HeadSizes } from './heads.js';
export * from './init.js';
export { lightningSlopes } from './mixers/lightning.js';
export type { ChunkPlace, StateRoom, StateSpec } from './mixer.js';
export * from './params.js';
export * from './pattern.js';
export * from './plan.js';
export * from './presets.js';
export { routingLoss, routingNumbers, type RoutingNumbers } from './routing-loss.js';
export type { RecurrentConfigs } from './recurrent-config.js';
export { PLAIN_ACTIVATIONS } from './mixers/activations.js';
export * from './mixers/table.js';
export * from './param-inits.js';
export { groupRotary, latentRotary, plainScale, scoreScales, type GroupRotary } from './rope.js';
export {
  modelSchema,
  rotaryBase,
  type BlockConfig,
  type HeadLayer,
  type InitScheme,
  type ModelInput,
  type PresetModelInput,
  type QueryScaling,
  type RopeScaling,
  type LocalRope,
} from './schema.js';
export * from './mixers/spec.js';
export { layerChanges, planTransfer, type WeightTransfer } from './transfer.js';
export { TapReader, type QueriesAndKeys, type Tap, type TapSite } from './tap.js';
export * from './windows.js';
