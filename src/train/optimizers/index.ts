export { adamwMoments, adamwScalars, applyStep, clipFactor, globalNorm, scalarInputs, scalarTensors } from './adamw.js';
export {
  MOMENTS,
  OPTIMIZER_NAMES,
  type AdamWConfig,
  type Moment,
  type OptimizerConfig,
  type OptimizerName,
  type UpdateGroup,
  type UpdateScope,
} from './definition.js';
export { orthogonalized, piecesOf } from './muon.js';
export { muonSchema, resolveMuon, type MuonConfig } from './muon-config.js';
export { layoutOf, OPTIMIZERS, optimizerOf, optimizersIn, stepInputs, stepTensors } from './table.js';
