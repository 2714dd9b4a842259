/** One run of a study folder, performed in this process: what workers of a study and `longsight study run` do. */
import { canonicalJson } from '../../core/index.js';
import { createEngine, hostsFromEnvironment, type Engine } from '../../engine/index.js';
import { engineChoice, performRun, type PerformOptions } from '../../lab/index.js';
import { branchSteps, nodePlace, removeNodeFolder, type PlannedRun, type SharedBeginnings } from '../../study/index.js';
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
  const node = hostsFromEnvironment(process.env)?.node ?? 0;
  // Before the engine, which waits for the other nodes: none of them goes on until this one knows where from.
  const { dir, branch } = nodePlace(study, name, shared, node);
  const engine = await kept.of(run);
  try {
    await performRun({
      ...{ dir, run: config, engine, resume: 'auto' },
      branchAt: node === 0 ? branchSteps(name, shared) : [],
      ...(branch === undefined ? {} : { branch }),
      ...options,
    });
  } finally {
    kept.clear();
  }
  if (node > 0) removeNodeFolder(study, name, node);
}
