/** What commands on models share: how they are named, and what is said of the engine and of lengths after the work. */
import type { Command } from 'commander';
import { createEngine, type Engine } from '../../engine/index.js';
import { engineChoice, type FullRunConfig, type OpenedModel } from '../../lab/index.js';
import {
  addMeasuringOptions,
  addOutputOptions,
  addSetOption,
  addWindowOption,
  wholeNumber,
  type EngineFlags,
  type OutputFlags,
  type PrecisionFlag,
  type SetFlag,
  type WindowFlag,
} from './options.js';
import type { Output } from './output.js';

/** Flags of commands that analyze models. */
export interface AnalysisFlags extends OutputFlags, EngineFlags, PrecisionFlag, SetFlag, WindowFlag {
  readonly step?: number;
  readonly csv?: string;
}

/** How help texts describe the argument that names a model. */
export const MODEL_ARGUMENT = 'run folder, checkpoint folder, or folder of a model saved by Transformers';

/** How help texts call an imported model. */
export const IMPORTED_MODEL = 'the folder of a model saved by Transformers';

/** Adds the options that every analysis has. */
export function addAnalysisOptions(command: Command): Command {
  const all = command
    .option('--step <n>', 'the checkpoint of this step', (text) => wholeNumber('--step', text))
    .option('--csv <file>', 'also write the result as CSV');
  return addOutputOptions(addWindowOption(addMeasuringOptions(addSetOption(all))));
}

/**
 * Runs `work` on opened models, which are disposed after it; then tells people which engine it was, and why, and
 * warns where a model was asked beyond the length that it was trained on. Not before: input that is refused gets one
 * sentence.
 */
export async function withModels<T>(
  models: readonly [OpenedModel, ...OpenedModel[]],
  output: Output,
  work: () => Promise<T>,
): Promise<T> {
  try {
    const result = await work();
    const beyond = models.map((model) => model.beyondTraining()).find((text) => text !== null);
    if (beyond !== undefined && beyond !== null) output.warn(beyond);
    const engine = models[0].engineInUse;
    if (engine !== null) noteEngine(engine, output);
    return result;
  } finally {
    await models[0].dispose();
  }
}

/** The same with an engine alone, as a run (null: none) or the flags say. */
export async function withEngine<T>(
  run: FullRunConfig | null,
  flags: EngineFlags,
  output: Output,
  work: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = createEngine(flags.engine ?? run?.engine ?? 'auto', engineChoice(flags, run ?? {}));
  try {
    const result = await work(engine);
    noteEngine(engine, output);
    return result;
  } finally {
    await engine.dispose();
  }
}

function noteEngine({ info }: Engine, output: Output): void {
  output.note(`engine ${info.name} (${info.reason})`);
}
