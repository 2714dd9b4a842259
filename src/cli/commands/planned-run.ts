/** One run of a study folder, performed in this process: what workers of a study and `longsight study run` do. */
import { canonicalJson } from '../../core/index.js';
import { createEngine, type Engine } from '../../engine/index.js';
import { engineChoice, performRun, type PerformOptions } from '../../lab/index.js';
import { branchSteps, runFolder, type PlannedRun, type SharedBeginnings } from '../../study/index.js';
import type { EngineFlags } from '../terminal/options.js';

/** What runs must have in common to be performed by one process after another: the engine, in all its settings. */
export function engineKey(flags: EngineFlags, { config }: Pick<PlannedRun, 'config'>): string {
  return canonicalJson([flags.engine ?? config.engine, engineChoice(flags, config)]);
}

/** The engine of a process that performs runs one after another, with the programs that they have compiled. */
export class KeptEngine {
  readonly #flags: EngineFlags;
  readonly #memoryFraction: number | undefined;
  #made: { readonly key: string; readonly engine: Engine } | null = null;

  /**
   * Makes no engine yet: the first run says which.
   *
   * @param memoryFraction part of the device's memory that it may take; undefined for what it takes by itself
   */
  constructor(flags: EngineFlags, memoryFraction?: number) {
    this.#flags = flags;
    this.#memoryFraction = memoryFraction;
  }

  /** The engine that a run asks for: that of the run before, where it asks for the same. */
  async of(run: Pick<PlannedRun, 'config'>): Promise<Engine> {
    const key = engineKey(this.#flags, run);
    if (this.#made?.key === key) return this.#made.engine;
    await this.dispose();
    const engine = createEngine(this.#flags.engine ?? run.config.engine, {
      ...engineChoice(this.#flags, run.config),
      ...(this.#memoryFraction === undefined ? {} : { memoryFraction: this.#memoryFraction }),
      keepsPrograms: 'alike',
    });
    this.#made = { key, engine };
    return engine;
  }

  /** Frees the memory of every tensor of a run that has ended. */
  clear(): void {
    this.#made?.engine.clear?.();
  }

  async dispose(): Promise<void> {
    const made = this.#made;
    this.#made = null;
    await made?.engine.dispose();
  }
}

/** A run of a study folder, and how it is performed. */
export interface PlannedRunOptions extends Pick<
  PerformOptions,
  'takeOver' | 'place' | 'signal' | 'note' | 'progress' | 'evaluated' | 'sinceMs'
> {
  readonly study: string;
  readonly run: PlannedRun;
  readonly shared: SharedBeginnings;
  /** Where the engine comes from; the caller disposes it. */
  readonly engine: KeptEngine;
}

/**
 * Trains a run of a study to its end, from where it is: its own last checkpoint, the beginning that another run trained
 * for it, or its start. Throws as `performRun` does.
 */
export async function performPlanned({
  study,
  run,
  shared,
  engine: kept,
  ...options
}: PlannedRunOptions): Promise<void> {
  const { name, config } = run;
  const engine = await kept.of(run);
  const beginning = shared.get(name);
  try {
    await performRun({
      ...{ dir: runFolder(study, name), run: config, engine, resume: 'auto' },
      branchAt: branchSteps(name, shared),
      ...(beginning === undefined
        ? {}
        : { branch: { dir: runFolder(study, beginning.run), name: beginning.run, step: beginning.step } }),
      ...options,
    });
  } finally {
    kept.clear();
  }
}
