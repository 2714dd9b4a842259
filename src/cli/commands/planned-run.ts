/** One run of a study folder, performed in this process: what workers of a study and `longsight study run` do. */
import { createEngine } from '../../engine/index.js';
import { engineChoice, performRun, type PerformOptions } from '../../lab/index.js';
import { branchSteps, runFolder, type PlannedRun, type SharedBeginnings } from '../../study/index.js';
import type { EngineFlags } from '../terminal/options.js';

/** A run of a study folder, and how it is performed. */
export interface PlannedRunOptions extends Pick<
  PerformOptions,
  'takeOver' | 'place' | 'signal' | 'note' | 'progress' | 'evaluated'
> {
  readonly study: string;
  readonly run: PlannedRun;
  readonly shared: SharedBeginnings;
  readonly flags: EngineFlags;
  /** Part of the device's memory that the engine may take; undefined for what it takes by itself. */
  readonly memoryFraction?: number | undefined;
}

/**
 * Trains a run of a study to its end, from where it is: its own last checkpoint, the beginning that another run trained
 * for it, or its start. Throws as `performRun` does.
 */
export async function performPlanned({
  study,
  run: { name, config },
  shared,
  flags,
  memoryFraction,
  ...options
}: PlannedRunOptions): Promise<void> {
  const engine = createEngine(flags.engine ?? config.engine, {
    ...engineChoice(flags, config),
    ...(memoryFraction === undefined ? {} : { memoryFraction }),
  });
  const beginning = shared.get(name);
  try {
    await performRun({
      ...{ dir: runFolder(study, name), run: config, engine, resume: 'auto', sinceMs: 0 },
      branchAt: branchSteps(name, shared),
      ...(beginning === undefined
        ? {}
        : { branch: { dir: runFolder(study, beginning.run), name: beginning.run, step: beginning.step } }),
      ...options,
    });
  } finally {
    await engine.dispose();
  }
}
