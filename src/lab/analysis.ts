/**
 * What an analysis is: one definition from which its command, flags, help, table, CSV, place in `analyze`, file in
 * the run folder, figure and line in the documentation derive. A new one is a file in `analyses/` and a line in
 * `analyses/index.ts`.
 */
import { z } from 'zod';
import { parseConfig, type CsvCell, type Undescribed } from '../core/index.js';
import { hasFinding, writeFinding } from '../run/index.js';
import { optionIdentity } from './analysis-options.js';
import type { Figure } from './figures.js';
import { originOf, type OpenedModel } from './open-model.js';
import { analysisUse, type CheckpointUse } from './settings-in-effect.js';

/** What a person reads of a result: a title, a table below it, and a remark at the end. */
export interface Printed {
  readonly title: string;
  readonly head?: readonly string[];
  readonly rows?: readonly (readonly string[])[];
  /** Columns from this one on are set right. */
  readonly right?: number;
  readonly remark?: string;
  /** What programs get with `--json` (default: the whole record). */
  readonly value?: object;
}

/** A table for programs. */
export interface CsvTable {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly CsvCell[])[];
}

/** What a measurement may use and tell. */
export interface AnalysisContext {
  readonly signal?: AbortSignal | undefined;
  /** Called with one sentence about what was left out, and why. */
  readonly note?: (text: string) => void;
}

/** Fields of every finding: the checkpoint that it is about. */
const at = { step: z.number(), tokens: z.number() };

/** The schema of a finding as a run folder holds it; fields that it does not name are kept. */
type FindingSchema<Shape extends z.core.$ZodShape> = z.ZodObject<typeof at & Shape, z.core.$loose>;

/**
 * An analysis as it is written down. `O` are its options, `F` the fields of its result that reports read, `R` its
 * result, `K` what is kept of it, `D` the description of that.
 */
interface Definition<O extends z.core.$ZodShape, F extends z.core.$ZodShape, R, S, K, D> {
  /** The name of its command. */
  readonly command: string;
  /** One line of `longsight --help`. */
  readonly summary: string;
  /** What the command does, for its own help. */
  readonly description: string;
  /** The question that it answers, for the documentation. */
  readonly question: string;
  /** What it needs beside a model: texts, needle samples, or its weights alone. */
  readonly needs: 'text' | 'needles' | 'weights';
  /**
   * Keys of a run's configuration, as `--set` names them, that it reads beside those of the sequences, the precision
   * and the engine; of an analysis of weights, all that it reads. Other settings are refused by name.
   */
  readonly reads?: readonly string[];
  /** Which checkpoints of a run the command measures, and which `analyze` does; `asked`: the last, if it is named. */
  readonly checkpoints: { readonly command: 'all' | 'newest'; readonly analyze: 'all' | 'last' | 'asked' | 'none' };
  /** Options, each described: flags and their help. */
  readonly options: O;
  /** What reports read of a result; null for results that are not kept in run folders. */
  readonly result: F;
  /**
   * Every field of what is kept and given to programs, each with words (`field`), for docs/formats.md. Where it
   * lacks a field, or has one that is not there, the table of analyses does not compile (`described`).
   */
  readonly fields: D;
  /** Options that a model decides where nobody gave them. What is found keeps the fingerprint of these. */
  resolve?(model: OpenedModel, options: z.output<z.ZodObject<O>>): z.output<z.ZodObject<O>>;
  /** Whether a result with these options is kept in the run folder (default: always). */
  keeps?(options: z.output<z.ZodObject<O>>): boolean;
  /** The model that others are compared with. */
  reference?(models: readonly OpenedModel[], options: z.output<z.ZodObject<O>>): OpenedModel;
  /** Work that is done once for all checkpoints, before the first is measured. */
  begin?(task: {
    readonly models: readonly OpenedModel[];
    readonly options: z.output<z.ZodObject<O>>;
    readonly reference: OpenedModel | null;
    readonly context: AnalysisContext;
  }): S | Promise<S>;
  measure(
    model: OpenedModel,
    options: z.output<z.ZodObject<O>>,
    task: { readonly shared: S | undefined; readonly reference: OpenedModel | null; readonly context: AnalysisContext },
  ): R | Promise<R>;
  /** What is kept in run folders and given to programs with `--json`, which `fields` describes. */
  record(result: R): K;
  /** What people read; `name` is that of the model. */
  print(result: R, name: string): Printed | readonly Printed[];
  /** The same numbers as a table; `at` is the checkpoint, null for models without one. */
  csv(result: R, at: Pick<OpenedModel, 'step' | 'tokens'>): CsvTable;
  /** Files that the command writes where an option names them, beside what it prints and keeps. */
  writes?(result: R, model: OpenedModel, options: z.output<z.ZodObject<O>>): readonly TextFile[];
  /** The figures of a report: one, or some that each show the findings of their kind. */
  readonly figure?: Figure<z.output<FindingSchema<F>>> | readonly Figure<z.output<FindingSchema<F>>>[];
}

/** A text and the path that it is written to. */
interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** A result with the ways to show it. */
export interface Measured<R, K = object> {
  readonly result: R;
  /** What is kept in run folders and given to programs. */
  readonly record: K;
  print(): readonly Printed[];
  csv(): CsvTable;
  /** Files that options ask for. */
  files(): readonly TextFile[];
}

/** An analysis with its options read, on the models of one command or run. */
export interface AnalysisSession<R, K = object> {
  /** Whether results are kept in the run folder. */
  readonly keeps: boolean;
  /** What a finding about a model is made from: weights, data, options and reference. */
  origin(model: OpenedModel): string;
  measure(model: OpenedModel): Promise<Measured<R, K>>;
}

/**
 * An analysis of the table `ANALYSES`. `R` is its result, `F` what reports read of it, `K` what is kept of it, `D` the
 * description of that.
 */
export interface Analysis<R extends object, F extends z.ZodType, K = object, D = z.ZodObject> extends Pick<
  Definition<z.core.$ZodShape, z.core.$ZodShape, R, unknown, object, z.ZodObject>,
  'command' | 'summary' | 'description' | 'question' | 'needs' | 'checkpoints'
> {
  readonly options: z.ZodObject;
  /** Which settings (`--set`) of a run have an effect on it. */
  readonly use: CheckpointUse;
  readonly finding: F;
  /** Every field of what is kept and given to programs, with its meaning. */
  readonly fields: D;
  readonly figures: readonly Figure<z.output<F>>[];
  /** Reads options, those not given by default. Throws `ConfigError` naming one that is wrong. */
  start(models: readonly OpenedModel[], given?: object, context?: AnalysisContext): AnalysisSession<R, K>;
}

/** Completes the definition of an analysis. */
export function defineAnalysis<
  O extends z.core.$ZodShape,
  F extends z.core.$ZodShape,
  R extends { readonly [K in keyof F]: unknown },
  K extends object,
  D extends z.ZodObject,
  S = undefined,
>(definition: Definition<O, F, R, S, K, D>): Analysis<R, FindingSchema<F>, K, D> {
  const { figure = [], reads = [], result, ...rest } = definition;
  const options = z.strictObject(definition.options);
  return {
    ...rest,
    options,
    use: analysisUse(definition.command, definition.needs, reads),
    finding: z.looseObject({ ...at, ...result }),
    figures: [figure].flat(),
    start: (models, given = {}, context = {}) => {
      const chosen = parseConfig(options, given, definition.command);
      const reference = definition.reference?.(models, chosen) ?? null;
      const chosenFor = (model: OpenedModel) => definition.resolve?.(model, chosen) ?? chosen;
      let begun: Promise<S | undefined> | null = null;
      return {
        keeps: definition.keeps?.(chosen) ?? true,
        origin: (model) => originOf(model, reference, optionIdentity(options, chosenFor(model))),
        measure: async (model) => {
          begun ??= Promise.resolve(definition.begin?.({ models, options: chosen, reference, context }));
          const found = await definition.measure(model, chosenFor(model), { shared: await begun, reference, context });
          return {
            result: found,
            record: definition.record(found),
            print: () => [definition.print(found, model.name)].flat(),
            csv: () => definition.csv(found, model),
            files: () => definition.writes?.(found, model, chosen) ?? [],
          };
        },
      };
    },
  };
}

/** The analyses of a table whose fields do not describe what they keep, with those that differ. */
type Wrong<T> = {
  readonly [Kind in keyof T]: T[Kind] extends Analysis<infer _R, infer _F, infer K, infer D extends z.ZodObject>
    ? [Undescribed<D, K>] extends [never]
      ? unknown
      : { readonly 'fields without a description, or not there': Undescribed<D, K> }
    : never;
};

/** A table of analyses as it is. It compiles where `fields` of each has every field of what is kept, and no other. */
export function described<T extends Readonly<Record<string, unknown>>>(table: T & Wrong<T>): T {
  return table;
}

/**
 * Measures one model: `await measure(ANALYSES.entropy, model, { samples: 8 })`.
 *
 * @param options as the command of the analysis takes them; defaults stand in for those that are not given
 * @throws ConfigError for wrong options, or where the model lacks what the analysis needs
 */
export async function measure<R extends object, F extends z.ZodType>(
  analysis: Analysis<R, F>,
  model: OpenedModel,
  options: object = {},
): Promise<R> {
  return (await analysis.start([model], options).measure(model)).result;
}

/** Whether a run folder holds what a session would measure: the same, something made otherwise, or nothing. */
export function keptAs(kind: string, session: AnalysisSession<object>, model: OpenedModel): 'same' | 'other' | 'none' {
  const { run, step } = model;
  return run === null || step === null ? 'none' : hasFinding(run.dir, kind, step, session.origin(model));
}

/**
 * Writes a result into the run folder of its model, where reports read it. Returns the file; null for imported
 * models.
 */
export function keep(
  kind: string,
  session: AnalysisSession<object>,
  model: OpenedModel,
  record: object,
): string | null {
  const { run, step, tokens } = model;
  if (run === null || step === null || !session.keeps) return null;
  const finding = { step, tokens, ...record, of: session.origin(model) };
  return writeFinding(run.dir, kind, finding);
}

/** A number for a table; `-` where there is none. */
export const show = (value: number | null | undefined, digits = 3): string =>
  value === null || value === undefined ? '-' : value.toFixed(digits);

/** Heads as `LAYER:HEAD`. */
export const headNames = (heads: readonly { readonly layer: number; readonly head: number }[]): string =>
  heads.map((h) => `${h.layer}:${h.head}`).join(' ');
