export {
  loadModel,
  parametersFor,
  uploadParameters,
  withConfig,
  type LoadedModel,
  type ModelOnEngine,
} from './loaded-model.js';
export {
  answerScore,
  Scorer,
  startedOn,
  uploadForScores,
  type AnswerScore,
  type ScorerBatch,
  type ScorerControls,
  type ScorerOptions,
  type Scores,
} from './scorer.js';
