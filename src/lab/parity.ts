/** An imported model against the values that the program it came from computed with it. */
import { join } from 'node:path';
import {
  compareWithExpected,
  PARITY_GRADIENT_TOLERANCE,
  PARITY_TOLERANCE,
  type ParityOptions,
  type ParityResult,
} from '../analysis/index.js';
import { openHfModel, readSafetensors } from '../checkpoint/index.js';
import { createOnnxEngine, type Engine } from '../engine/index.js';
import { loadModel } from '../loaded/index.js';
import type { WeightsHeld } from './open-model.js';

/** The largest relative differences that pass: of values, and of gradient norms. */
export type ParityTolerances = Required<Pick<ParityOptions, 'tolerance' | 'gradientTolerance'>>;

/** The differences that pass where nothing else is asked for. */
export const PARITY_TOLERANCES: ParityTolerances = {
  tolerance: PARITY_TOLERANCE,
  gradientTolerance: PARITY_GRADIENT_TOLERANCE,
};

/**
 * Opens a model saved by Transformers and the values expected of it; what it returns compares the two on an engine.
 *
 * @param folder the folder of the model
 * @param file the expected values (default: `expected.safetensors` in the folder)
 * @param held what the weights are held in
 * @throws ConfigError or DataError if the model or the file cannot be read
 */
export function openParity(
  folder: string,
  file = join(folder, 'expected.safetensors'),
  held: WeightsHeld = 'stored',
): (engine: Engine, tolerances?: ParityTolerances) => Promise<ParityResult> {
  const { config, weights, parts, inMemory, hiddenStates, sinksInMaps } = openHfModel(folder);
  const expected = readSafetensors(file);
  const type = held === 'float32' ? 'f32' : undefined;
  return (engine, tolerances = PARITY_TOLERANCES) =>
    compareWithExpected(loadModel(engine, config, weights(type), { source: folder }), expected, {
      ...tolerances,
      // onnxruntime's float64 is the reference engine's to 1e-12, and a thousand times faster.
      float64: () => createOnnxEngine({ threads: engine.info.threads, reason: 'float64' }),
      ...{ tensors: parts, aliases: inMemory, hiddenStates, sinksInMaps },
    });
}
