/**
 * Longsight as a library: define a hybrid-attention model, train it, measure it, compare, and exchange it with Hugging
 * Face.
 *
 * This module holds the names that most programs begin with. Everything else is public too, by layer: `longsight/core`,
 * `longsight/graph`, `longsight/engine`, `longsight/model`, `longsight/checkpoint`, `longsight/data`, `longsight/run`,
 * `longsight/loaded`, `longsight/generate`, `longsight/train`, `longsight/eval`, `longsight/analysis`, `longsight/lab`,
 * `longsight/study`, `longsight/report` and `longsight/dashboard`.
 */

// Define a model, and say what it costs.
export {
  initialParameters,
  modelCost,
  parsePattern,
  PRESET_NAMES,
  printPattern,
  resolveModelConfig,
  type HostParameters,
  type ModelConfig,
  type ModelCost,
  type ModelInput,
} from './model/index.js';

// Open what computes.
export {
  createEngine,
  ENGINE_NAMES,
  type DeviceTensor,
  type Engine,
  type EngineName,
  type TensorMap,
} from './engine/index.js';

// Train a run into a folder, and read its checkpoints.
export { loadRunFile, performRun, resolveRunConfig, type FullRunConfig, type PerformOptions } from './lab/index.js';
export { Trainer, type TrainResult } from './train/index.js';
export { findCheckpoint, listCheckpoints, type Checkpoint } from './run/index.js';
export { openData, type DataSource, type OpenedData } from './data/index.js';

// Open a model by its path; measure checkpoints and models.
export { ANALYSES, measure, openModel, type OpenedModel } from './lab/index.js';
export { evaluateCheckpoint, traceCheckpoint } from './lab/index.js';
export {
  attentionEntropy,
  copyHeads,
  gradientInfluence,
  HeadTracer,
  maskHeads,
  textLosses,
  weightDrift,
  type HeadScores,
  type TraceSample,
} from './analysis/index.js';
export { loadModel, uploadParameters, type LoadedModel } from './loaded/index.js';
export { scoreChoices } from './eval/index.js';
export type { EvalRecord } from './lab/index.js';

// Generate text.
export { Decoder, generate, type GenerateOptions, type GenerateResult, type Sampling } from './generate/index.js';

// Exchange models with Hugging Face Transformers.
export {
  byteTokenizer,
  exportHfModel,
  inspectHfModel,
  openHfModel,
  openTokenizer,
  type HfModel,
  type TextTokenizer,
} from './checkpoint/index.js';

// Build graphs of one's own.
export { forward, parameterInputs } from './model/index.js';
export { grad, input, makeGraph, type Graph, type Value } from './graph/index.js';

// Compare designs in a study.
export { loadStudy, readRun, type RunRecord, type StudyPlan } from './study/index.js';

// Tensors on the host, and errors with exit codes.
export { LongsightError, tensorFrom, toNumbers, type HostTensor } from './core/index.js';
