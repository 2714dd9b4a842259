/**
 * The compiled programs of steps. Where windows move, each model of the steps has a program of its own, made once; with
 * accumulation the update is common to all.
 */
import { present } from '../core/index.js';
import type { Engine, Executable, Sharding } from '../engine/index.js';
import type { ModelConfig } from '../model/index.js';
import {
  applyProgram,
  stepProgram,
  sumProgram,
  type Program,
  type StepConfig,
  type StepOptions,
} from './step-programs.js';

/** What programs are made from. */
export interface ProgramSource {
  readonly engine: Engine;
  /** The models of steps: they differ in windows alone. */
  readonly models: readonly ModelConfig[];
  readonly config: StepConfig;
  readonly options: StepOptions;
  /** How inputs and outputs lie on a mesh, by name. */
  readonly shardings: Readonly<Record<string, Sharding>>;
}

/** The programs of a step, as one accumulates or not. */
export interface StepPrograms {
  /** The whole step, or with accumulation the update from the sum that `sum` builds. */
  readonly main: Executable;
  /** Only with accumulation. */
  readonly sum: Executable | null;
}

/** Programs of steps by the index of their model. */
export class CompiledSteps {
  readonly #source: ProgramSource;
  /** With accumulation the update. */
  readonly #apply: Promise<Executable> | null;
  readonly #own = new Map<number, Promise<Executable>>();

  /** Begins to compile the programs of the models `first`. */
  constructor(source: ProgramSource, first: readonly number[]) {
    this.#source = source;
    const { models, config, options } = source;
    this.#apply = config.accumulate > 1 ? this.#compile(applyProgram(present(models[0]), config, options)) : null;
    for (const index of first) void this.#begin(index);
  }

  /** Whether the programs of a model are made or being made. */
  has(index: number): boolean {
    return this.#own.has(index);
  }

  /**
   * Waits until all programs that were begun are there; gives those of the first. Throws what the engine's `compile`
   * throws.
   */
  async ready(): Promise<StepPrograms> {
    await Promise.all([this.#apply, ...this.#own.values()]);
    const [first] = this.#own.keys();
    return this.of(present(first));
  }

  /** Makes the programs of one model in place of those that are there. */
  async replace(index: number): Promise<void> {
    const before = [...this.#own.values()];
    this.#own.clear();
    for (const program of before) await (await program).dispose();
    await this.#begin(index);
  }

  /** The programs of a step of one model, which are made now if they are not there. */
  async of(index: number): Promise<StepPrograms> {
    const own = await (this.#own.get(index) ?? this.#begin(index));
    const apply = await this.#apply;
    return apply === null ? { main: own, sum: null } : { main: apply, sum: own };
  }

  /** Frees all programs. */
  async dispose(): Promise<void> {
    for (const program of [this.#apply, ...this.#own.values()]) {
      await (await program?.catch(() => null))?.dispose();
    }
  }

  #begin(index: number): Promise<Executable> {
    const { models, config, options } = this.#source;
    const make = config.accumulate > 1 ? sumProgram : stepProgram;
    const program = this.#compile(make(present(models[index]), config, options));
    this.#own.set(index, program);
    return program;
  }

  #compile({ graph, donate }: Program): Promise<Executable> {
    const { engine, shardings } = this.#source;
    const program = engine.compile(graph, { donate, shardings });
    program.catch(() => undefined); // thrown to whoever waits for it
    return program;
  }
}
