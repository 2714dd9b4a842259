/** A study: a grid of architectures, seeds and further settings, written as YAML and expanded into named runs. */
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { canonicalJson, ConfigError, isPlain, LIMITS, list, realNumber, type Plain } from '../core/index.js';
import { absolutePaths } from '../data/index.js';
import {
  AR_THRESHOLD,
  merge,
  parseYamlConfig,
  parsePath,
  readYamlFile,
  resolveRunConfig,
  runSchema,
  unknownName,
  withValueAt,
  type FullRunConfig,
  type Setting,
  type YamlFile,
} from '../lab/index.js';
import { printPeriod } from '../model/index.js';
import { trainingTokens } from '../train/index.js';
import { executorsSchema } from './executors/table.js';
import { runNamer, type NamedRunParts } from './names.js';

const label = z.string().min(1).max(80);
const settings = z
  .record(z.string(), z.unknown())
  .describe('values by dotted path of the run configuration, such as train.steps: 7000');

/** A share of 1 that designs may or may not get to. */
const share = realNumber().gt(0).lt(1);

const lossValue = realNumber().positive();

/** The options `compare` of a study file: how designs are compared. */
export const compareSchema = z.strictObject({
  threshold: realNumber()
    .gt(0)
    .lt(1)
    .default(0.9)
    .describe('recall counts as formed when the mean probability of the right value reaches this'),
  arThreshold: z
    .union([
      share,
      z
        .array(share)
        .min(1)
        .refine((values) => values.every((v, i) => i === 0 || v > (values[i - 1] ?? 0)), { message: 'must ascend' }),
    ])
    .optional()
    .describe(
      'associative recall counts as formed when top-1 accuracy at long range reaches this; several in a list, ascending ' +
        `(default: ${AR_THRESHOLD})`,
    ),
  lossThreshold: z
    .union([
      lossValue,
      z
        .array(lossValue)
        .min(1)
        .refine((values) => values.every((v, i) => i === 0 || v < (values[i - 1] ?? 0)), { message: 'must descend' }),
    ])
    .optional()
    .describe(
      'compare the tokens until held-out loss, in nats a token, is at most this; several in a list, descending (default: not compared)',
    ),
  pairs: z
    .array(z.tuple([label, label]))
    .optional()
    .describe('pairs of architectures to compare (default: every pair)'),
  minRecallDifference: realNumber()
    .min(0)
    .default(0.02)
    .describe('differences of recall probability up to this count as none'),
  minLossDifference: realNumber()
    .min(0)
    .default(0.01)
    .describe('differences of loss, in nats, up to this count as none'),
});

/** Names that become files and folders, those of studies and of runs in stored plans: they lead nowhere else. */
export const fileNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'letters, digits, ".", "_" and "-" only');

/** The schema of a study file. */
export const studySchema = z.strictObject({
  name: fileNameSchema.describe('names the study folder'),
  title: z.string().optional().describe('title of the report (default: the name)'),
  question: z.string().optional().describe('what the study asks; opens the report'),
  base: z
    .union([z.string(), z.record(z.string(), z.unknown())])
    .describe('the run configuration that all runs share, or the path of a run file next to this one'),
  set: settings
    .optional()
    .describe('values by dotted path that replace those of the base, in all runs: train.steps: 7000'),
  architectures: z
    .record(label, z.union([z.string(), z.record(z.string(), z.unknown())]))
    .describe(
      'by label: a layer pattern, or fields of the model configuration to replace; `train: { init: FOLDER }` beside them ' +
        'starts the runs of the design from the weights there, `train: { optimizer: muon }` trains them by that optimizer',
    ),
  seeds: z.array(z.int().min(0)).min(1).describe('seeds of initial weights and data; comparisons are paired over them'),
  seedsFor: z
    .record(label, z.array(z.int().min(0)).min(1))
    .optional()
    .describe(
      'by label: seeds of single architectures in place of `seeds`; pairs are compared over the seeds that both have',
    ),
  grid: z
    .record(z.string(), z.array(z.unknown()).min(1))
    .default({})
    .describe('further settings to vary: values by dotted path, such as train.steps: [600, 1200]'),
  long: z
    .strictObject({
      architectures: z.array(label).min(1).optional().describe('labels that take part (default: all)'),
      seeds: z.array(z.int().min(0)).min(1).optional().describe('seeds of this arm (default: those of the study)'),
      set: settings,
    })
    .optional()
    .describe('a second arm of longer runs, done with --long only'),
  compare: compareSchema.prefault({}).describe('how the report compares designs'),
  executors: executorsSchema.optional().describe('what trains the runs, by what `--executor` takes'),
});

/** A study file, defaults filled in. */
type StudyInput = z.output<typeof studySchema>;
/** How designs are compared, defaults filled in. */
export type CompareOptions = z.output<typeof compareSchema>;
/** The part of a study that a run belongs to. */
export type Arm = 'main' | 'long';

/** A run of a study, resolved. */
export interface PlannedRun {
  /** Unique in the study; also the run's folder. */
  readonly name: string;
  readonly arm: Arm;
  readonly architecture: string;
  readonly seed: number;
  /** The grid settings of this run; runs are compared with each other within one point of the grid. */
  readonly point: Plain;
  readonly config: FullRunConfig;
}

/** A study expanded into its runs. */
export interface StudyPlan {
  readonly format: 1;
  readonly name: string;
  readonly title: string;
  readonly question: string | null;
  readonly compare: CompareOptions;
  /** The study as asked for, its base written out; with `set`, enough to repeat it. */
  readonly study: StudyInput;
  readonly set: readonly Setting[];
  /** The architectures, in the order of the file. */
  readonly architectures: readonly { readonly label: string; readonly layers: string }[];
  readonly runs: readonly PlannedRun[];
}

/** Which runs of a study file are planned. */
export interface LoadOptions {
  /** Include the `long` arm. */
  readonly long?: boolean;
  /** Settings laid over every run: dotted path and value. */
  readonly set?: readonly Setting[];
}

/**
 * Reads and expands a study file.
 *
 * @throws ConfigError naming the file and line, the run or the path at fault
 */
export function loadStudy(path: string, options: LoadOptions = {}): StudyPlan {
  return expandStudy(readYamlFile(path), options);
}

/** The runs of a parsed study file; see `loadStudy`. */
export function expandStudy(file: YamlFile, options: LoadOptions = {}): StudyPlan {
  const study = parseYamlConfig(studySchema, file);
  const studyDir = dirname(resolve(file.path));
  const base = readBase(study.base, file);
  const labels = file.keysAt(['architectures']).filter((label) => Object.hasOwn(study.architectures, label));
  checkStudy(study, labels, file, options.long ?? false);
  checkPaths(study, file, options.set ?? []);
  checkOverlaps(study, file, options);
  const set = absoluteSettings(options.set ?? [], studyDir);
  const context = { study, base, studyDir, file, set, nameOf: runNamer(labels, study.grid) };
  const runs = arms(study, labels, options.long ?? false).flatMap((arm) =>
    gridPoints(study.grid).flatMap((point) =>
      arm.architectures.flatMap((architecture) =>
        arm.seedsOf(architecture).map((seed) => expandRun(context, arm, architecture, seed, point)),
      ),
    ),
  );
  checkRuns(runs, file);
  return {
    format: 1,
    name: study.name,
    title: study.title ?? study.name,
    question: study.question ?? null,
    compare: study.compare,
    study: repeatable({ ...study, base }, studyDir),
    set,
    architectures: labels.map((text) => ({ label: text, layers: layersOf(runs, text) })),
    runs,
  };
}

/** Settings name keys of a run. Throws `ConfigError` for keys of the study file, `base.train.steps` above all. */
function checkPaths(study: StudyInput, file: YamlFile, set: readonly Setting[]): void {
  const lineOf = (keys: readonly string[]) => `${file.path}:${file.lineOf(keys)}: ${keys.join('.')}`;
  const paths = [
    ...set.map(([path]) => ({ path, where: `${path} (--set)` })),
    ...Object.keys(study.grid).map((path) => ({ path, where: lineOf(['grid', path]) })),
    ...Object.keys(study.set ?? {}).map((path) => ({ path, where: lineOf(['set', path]) })),
    ...Object.keys(study.long?.set ?? {}).map((path) => ({ path, where: lineOf(['long', 'set', path]) })),
  ];
  for (const { path, where } of paths) {
    const [first, ...rest] = parsePath(path);
    if (first === 'seed' || first === 'name') {
      const what =
        first === 'seed' ? 'seeds are listed under "seeds"' : 'runs are named after architecture, settings and seed';
      throw new ConfigError(`${where}: a study gives every run its ${first}; ${what}`, { details: { path } });
    }
    if (typeof first !== 'string' || first in runSchema.shape || !(first in studySchema.shape)) continue;
    const key = first === 'base' && rest.length > 0 ? path.slice('base.'.length) : undefined;
    const hint =
      key === undefined ? `"${first}" is a key of the study file; change it there` : `did you mean "${key}"?`;
    throw new ConfigError(`${where}: settings name keys of a run, such as train.steps; ${hint}`, { details: { path } });
  }
}

/**
 * No setting replaces one that the grid varies, under whatever spelling: runs would go by values that they do not have.
 */
function checkOverlaps(study: StudyInput, file: YamlFile, { set = [], long = false }: LoadOptions): void {
  const grid = Object.keys(study.grid).map((path) => ({ path, parts: parsePath(path) }));
  const within = (a: readonly unknown[], b: readonly unknown[]) => a.every((part, i) => i >= b.length || part === b[i]);
  const refuse = (where: string, path: string, varied: string): never => {
    throw new ConfigError(`${where} changes what the grid varies as ${varied}; change the grid, or take ${path} away`, {
      details: { path, varied },
    });
  };
  const check = (path: string, others: typeof grid, where: () => string) => {
    const parts = parsePath(path);
    const other = others.find((entry) => within(parts, entry.parts));
    if (other !== undefined) refuse(where(), path, other.path);
  };
  const lineOf = (keys: readonly string[]) => `${file.path}:${file.lineOf(keys)}: ${keys.join('.')}`;
  grid.forEach(({ path }, i) => check(path, grid.slice(0, i), () => lineOf(['grid', path])));
  for (const path of long ? Object.keys(study.long?.set ?? {}) : [])
    check(path, grid, () => lineOf(['long', 'set', path]));
  for (const [path] of set) check(path, grid, () => `${path} (--set)`);
}

interface ArmPlan {
  readonly arm: Arm;
  readonly architectures: readonly string[];
  readonly seedsOf: (architecture: string) => readonly number[];
  readonly set: Plain;
}

function arms(study: StudyInput, labels: readonly string[], long: boolean): ArmPlan[] {
  const own = new Map(Object.entries(study.seedsFor ?? {}));
  const seedsOf = (label: string) => own.get(label) ?? study.seeds;
  const main: ArmPlan = { arm: 'main', architectures: labels, seedsOf, set: {} };
  if (!long || study.long === undefined) return [main];
  const { architectures = labels, seeds, set } = study.long;
  return [main, { arm: 'long', architectures, seedsOf: seeds === undefined ? seedsOf : () => seeds, set }];
}

interface Context {
  readonly study: StudyInput;
  readonly base: Plain;
  /** Where relative paths of the study file's own settings start. */
  readonly studyDir: string;
  readonly file: YamlFile;
  readonly set: readonly Setting[];
  readonly nameOf: (run: NamedRunParts) => string;
}

function expandRun(context: Context, arm: ArmPlan, architecture: string, seed: number, point: Plain): PlannedRun {
  const { study, base, studyDir, file } = context;
  const { model, train } = designOf(study.architectures[architecture], file, architecture, studyDir);
  const name = context.nameOf({ architecture, long: arm.arm === 'long', point, seed });
  const settings = [study.set ?? {}, point, arm.set].flatMap((values) => Object.entries(values));
  const own = absoluteSettings(settings, studyDir);
  const changes = [...own, ...context.set];
  const input = changes.reduce<unknown>(
    (config, [path, value]) => withValueAt(config, path, value),
    merge(base, { name, seed, model, ...(train === undefined ? {} : { train }) }),
  );
  const where = `${file.path}:${file.lineOf(['architectures', architecture])}: run ${name}`;
  const config = resolveRunConfig(input, { where, baseDir: studyDir });
  return { name, arm: arm.arm, architecture, seed, point, config };
}

/** What belongs to a design beside its model: what its runs start from, and what updates its weights. */
const DESIGN_TRAIN_KEYS: readonly string[] = ['init', 'optimizer', 'muon', 'windows'];

/** An architecture of a study file: fields of the model, and of training those of `DESIGN_TRAIN_KEYS`. */
function designOf(
  given: StudyInput['architectures'][string] | undefined,
  file: YamlFile,
  label: string,
  studyDir: string,
): { readonly model: Plain; readonly train: Plain | undefined } {
  if (typeof given === 'string') return { model: { layers: given }, train: undefined };
  const { train, ...model } = given ?? {};
  if (train === undefined) return { model, train };
  if (!isPlain(train) || Object.keys(train).some((key) => !DESIGN_TRAIN_KEYS.includes(key))) {
    throw new ConfigError(
      `${file.path}:${file.lineOf(['architectures', label])}: architectures.${label}.train may hold ` +
        `${list(DESIGN_TRAIN_KEYS)} only, as designs are compared under the same training; vary other settings in grid`,
    );
  }
  return { model, train: absolutePaths(train, ['train'], studyDir) as Plain };
}

/** The base configuration, its paths absolute: relative ones start at the file that has them. */
function readBase(base: StudyInput['base'], file: YamlFile): Plain {
  const path = typeof base === 'string' ? resolve(dirname(file.path), base) : resolve(file.path);
  const value = typeof base === 'string' ? readYamlFile(path).value : base;
  const absolute = absolutePaths(value, [], dirname(path));
  if (!isPlain(absolute)) throw new ConfigError(`${path} must hold a run configuration (keys and values)`);
  return absolute;
}

function absoluteSettings(settings: readonly Setting[], dir: string): Setting[] {
  return settings.map(([path, value]) => [path, absolutePaths(value, parsePath(path), dir)]);
}

/** A study that is the same wherever its file lies. */
function repeatable(study: StudyInput, dir: string): StudyInput {
  const grid = Object.entries(study.grid).map(([path, values]) => [path, absolutePaths(values, parsePath(path), dir)]);
  const absolute = (values: Plain) => Object.fromEntries(absoluteSettings(Object.entries(values), dir));
  const architectures = Object.entries(study.architectures).map(([label, given]) =>
    typeof given === 'string' || given['train'] === undefined
      ? [label, given]
      : [label, { ...given, train: absolutePaths(given['train'], ['train'], dir) }],
  );
  return {
    ...study,
    architectures: Object.fromEntries(architectures) as StudyInput['architectures'],
    grid: Object.fromEntries(grid) as StudyInput['grid'],
    ...(study.set === undefined ? {} : { set: absolute(study.set) }),
    ...(study.long === undefined ? {} : { long: { ...study.long, set: absolute(study.long.set) } }),
  };
}

function checkStudy(study: StudyInput, labels: readonly string[], file: YamlFile, long: boolean): void {
  const fail = (keys: readonly PropertyKey[], message: string): never => {
    throw new ConfigError(`${file.path}:${file.lineOf(keys)}: ${message}`, { details: { path: file.path } });
  };
  const known = (name: string, keys: readonly PropertyKey[]) => {
    if (!labels.includes(name)) fail(keys, unknownName('architecture', name, labels).message);
  };
  if (labels.length === 0) fail(['architectures'], 'architectures is empty; name at least one design');
  if (long && study.long === undefined) fail([], 'the study has no `long` arm, which was asked for (--long)');
  const twice = <T>(values: readonly T[]) => values.find((value, i) => values.indexOf(value) !== i);
  for (const [keys, seeds] of [
    [['seeds'], study.seeds],
    [['long', 'seeds'], study.long?.seeds ?? []],
    ...Object.entries(study.seedsFor ?? {}).map(([name, seeds]) => [['seedsFor', name], seeds] as const),
  ] as const) {
    const seed = twice(seeds);
    if (seed !== undefined) fail(keys, `seed ${seed} is listed twice`);
  }
  // Letters that are composed and those with marks of their own look alike, and are one name on some file systems.
  const lower = labels.map((name) => name.normalize('NFC').toLowerCase());
  const clash = twice(lower);
  if (clash !== undefined) {
    const both = labels.filter((_, i) => lower[i] === clash);
    fail(
      ['architectures', both[1] ?? ''],
      `architectures "${both.join('" and "')}" look alike, or would share one folder; rename one`,
    );
  }
  Object.keys(study.seedsFor ?? {}).forEach((name) => known(name, ['seedsFor', name]));
  study.long?.architectures?.forEach((name, i) => known(name, ['long', 'architectures', i]));
  study.compare.pairs?.forEach((pair, i) => pair.forEach((name) => known(name, ['compare', 'pairs', i])));
  for (const path of Object.keys(study.grid)) parsePath(path);
  const points = Object.values(study.grid).reduce((n, values) => n * values.length, 1);
  const runs = points * labels.reduce((n, name) => n + (study.seedsFor?.[name] ?? study.seeds).length, 0);
  if (runs > LIMITS.runs.most) {
    fail(
      ['grid'],
      `${runs} runs are too many, a study has at most ${LIMITS.runs.most}; leave values, architectures or seeds out`,
    );
  }
}

function checkRuns(runs: readonly PlannedRun[], file: YamlFile): void {
  const seen = new Map<string, PlannedRun>();
  for (const run of runs) {
    const key = canonicalJson([run.arm, { ...run.config, name: undefined }]);
    const same = seen.get(key);
    if (same !== undefined)
      throw new ConfigError(`${file.path}: runs ${same.name} and ${run.name} are the same; drop one of the two`);
    seen.set(key, run);
  }
}

function layersOf(runs: readonly PlannedRun[], architecture: string): string {
  const run = runs.find((r) => r.architecture === architecture);
  return run === undefined ? '' : printPeriod(run.config.model.layers);
}

/** Every combination of one value per path, first path slowest; one empty point for an empty grid. */
function gridPoints(grid: Readonly<Record<string, readonly unknown[]>>): Plain[] {
  return Object.entries(grid).reduce<Plain[]>(
    (points, [path, values]) => points.flatMap((point) => values.map((value) => ({ ...point, [path]: value }))),
    [{}],
  );
}

/** Tokens that a run trains on. */
export function tokenBudget({ train }: { readonly train: Parameters<typeof trainingTokens>[0] }): number {
  return trainingTokens(train);
}
