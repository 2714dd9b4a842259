export {
  loadModel,
  parametersFor,
  uploadParameters,
  withConfig,
  type LoadedModel,
  type ModelOnEngine,
} from './loaded-model.js';
