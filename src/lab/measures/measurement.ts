/** Everything that a run is measured by, compiled once and taken at every checkpoint on the same held-out data. */
import { allPending, InOrder, pending, settled, type Pending } from '../../core/index.js';
import type { OpenedData } from '../../data/index.js';
import type { Engine, TensorMap } from '../../engine/index.js';
import { HeldOutScores } from '../../eval/index.js';
import type { ModelConfig } from '../../model/index.js';
import type { EvalConfig } from './config.js';
import type { PlanRequest, PrepareContext, PreparedMeasure, TrainingPoint } from './define.js';
import type { EvalRecord } from './record.js';
import { MEASURE_NAMES, MEASURES, type MeasureName } from './table.js';

/** A measure of the table as a function of any plan: its name has chosen the one that the plan is for. */
interface AnyMeasure {
  readonly options: { parse(value: unknown): unknown } | null;
  readonly stored: 'record' | { readonly finding: string };
  readonly absent: object | null;
  readonly when: 'always' | 'checkpoints';
  plan(request: PlanRequest<unknown>): unknown;
  prepare(plan: unknown, context: PrepareContext): Promise<PreparedMeasure<object>>;
}

const measureOf = (name: MeasureName): AnyMeasure => MEASURES[name];

/** What a configuration and its data come to. */
export interface MeasurePlans {
  /** What each measure will do; nothing for those that are not taken. */
  readonly plans: ReadonlyMap<MeasureName, unknown>;
  /** What is left out although nothing switched it off, and why; one sentence each. */
  readonly notes: readonly string[];
}

/**
 * Plans every measure; those that are neither switched on nor off are taken where the data allow. Compiles nothing.
 *
 * @param only the measures that are wanted; all unless given
 * @throws ConfigError where something is asked for that the data cannot give
 */
export function planMeasures(
  { data, config }: { readonly data: OpenedData; readonly config: EvalConfig },
  only: readonly MeasureName[] = MEASURE_NAMES,
): MeasurePlans {
  const notes: string[] = [...data.notes];
  const settings = config as Readonly<Record<string, unknown>>;
  const plans = only.flatMap((name): [MeasureName, unknown][] => {
    const measure = measureOf(name);
    const setting = settings[name];
    if (setting === false) return [];
    const options = measure.options?.parse(typeof setting === 'object' ? setting : {});
    const asked = setting !== undefined;
    const plan = measure.plan({ data, options, asked, shared: config, settings, note: (text) => notes.push(text) });
    return plan === null ? [] : [[name, plan]];
  });
  return { plans: new Map(plans), notes };
}

/** What a run is measured with. */
export interface MeasurementOptions {
  readonly engine: Engine;
  readonly model: ModelConfig;
  /** The run's data; their length of sequences is that of evaluations. */
  readonly data: OpenedData;
  readonly config: EvalConfig;
  /** Sequences of a batch unless the configuration says. */
  readonly batchSize: number;
  /** The measures that are wanted (default: all). */
  readonly only?: readonly MeasureName[];
  /**
   * Called with one sentence about each thing that is left out although nothing switched it off, or that takes long.
   */
  readonly note?: (text: string) => void;
}

/** A finding that a measure made, with the kind that its file is named for. */
export interface MeasuredFinding {
  readonly kind: string;
  readonly value: TrainingPoint;
}

const known = <T>(result: T): Pending<T> =>
  pending(
    () => Promise.resolve(),
    () => result,
  );

/** The measures of one run on an engine. */
export class Measurement {
  readonly #scores: HeldOutScores;
  readonly #prepared: ReadonlyMap<MeasureName, Promise<PreparedMeasure<object>>>;
  /** What goes on while evaluations are started. */
  readonly #later: InOrder;
  /** What is not measured although nothing switched it off, and why. */
  readonly notes: readonly string[];

  private constructor(
    scores: HeldOutScores,
    prepared: ReadonlyMap<MeasureName, Promise<PreparedMeasure<object>>>,
    later: InOrder,
    notes: readonly string[],
  ) {
    this.#scores = scores;
    this.#prepared = prepared;
    this.#later = later;
    this.notes = notes;
  }

  /**
   * Compiles what is measured and draws the held-out data. It is the same for every run on the same data and options,
   * whatever the run's seed.
   *
   * @throws ConfigError if something is asked for that the data or the model cannot give
   */
  static async create(options: MeasurementOptions): Promise<Measurement> {
    const { engine, model, data, config, note = () => {} } = options;
    const { plans, notes } = planMeasures(options, options.only);
    for (const text of notes) note(text);
    const batchSize = config.batchSize ?? options.batchSize;
    const scores = new HeldOutScores({ engine, model, data, batchSize });
    const behind = new InOrder();
    const context: PrepareContext = {
      ...{ engine, model, data, shared: config, batchSize, scores, note },
      later: (work) => behind.add(work),
    };
    const prepared = new Map<MeasureName, Promise<PreparedMeasure<object>>>();
    // An engine that compiles beside the host compiles all of it at once; what only checkpoints need comes last and is
    // not waited for.
    const beside = engine.hints.runsAhead > 1;
    const [first, later] = (['always', 'checkpoints'] as const).map((when) =>
      [...plans].filter(([name]) => measureOf(name).when === when),
    );
    for (const [name, plan] of [...(first ?? []), ...(later ?? [])]) {
      const made = measureOf(name).prepare(plan, context);
      made.catch(() => undefined); // thrown where it is waited for
      prepared.set(name, made);
      if (!beside) await made;
    }
    const measurement = new Measurement(scores, prepared, behind, notes);
    try {
      for (const [name] of first ?? []) await prepared.get(name);
    } catch (error) {
      await measurement.dispose(); // the engine may be disposed of then
      throw error;
    }
    return measurement;
  }

  /**
   * Starts to measure a model. Once the promise settles, the engine has been given all that reads its parameters.
   *
   * @param tensors its parameters on the engine, perhaps among others; they are left as they are
   * @param parts `light` leaves out what is measured at checkpoints only
   */
  async start(tensors: TensorMap, at: TrainingPoint, parts: 'all' | 'light' = 'all'): Promise<Pending<EvalRecord>> {
    this.#scores.next();
    const started: Pending<object>[] = [];
    for (const name of MEASURE_NAMES) {
      const { stored, when, absent } = measureOf(name);
      if (stored !== 'record') continue;
      const prepared = parts === 'all' || when === 'always' ? this.#prepared.get(name) : undefined;
      started.push(prepared === undefined ? known({ ...absent }) : await (await prepared).start(tensors, at));
    }
    this.#scores.next();
    const all = allPending(started);
    const head = { format: 1 as const, step: at.step, tokens: at.tokens };
    const record = () => all.result().reduce<object>((before, part) => ({ ...before, ...part }), head) as EvalRecord;
    return pending(all.numbers, record);
  }

  /** Measures a model and waits for the record; see `start`. */
  async evaluate(...of: Parameters<Measurement['start']>): Promise<EvalRecord> {
    return settled(await this.start(...of));
  }

  /** Starts to measure what is stored beside the record: findings of measures that have files of their own. */
  async startFindings(tensors: TensorMap, at: TrainingPoint): Promise<Pending<MeasuredFinding[]>> {
    const found: Pending<MeasuredFinding>[] = [];
    for (const [name, prepared] of this.#prepared) {
      const { stored } = measureOf(name);
      if (stored === 'record') continue;
      const own = await (await prepared).start(tensors, at);
      found.push(pending(own.numbers, () => ({ kind: stored.finding, value: own.result() as TrainingPoint })));
    }
    return allPending(found);
  }

  /** What is stored beside the record, waited for; see `startFindings`. */
  async findings(...of: Parameters<Measurement['startFindings']>): Promise<MeasuredFinding[]> {
    return settled(await this.startFindings(...of));
  }

  async dispose(): Promise<void> {
    await this.#later.ended(); // it reads the data, which may be closed after this
    await this.#scores.dispose();
    for (const prepared of this.#prepared.values()) await (await prepared.catch(() => undefined))?.dispose();
  }
}
