/** `longsight analyze`: every analysis of a run or a study, kept where the report reads it. */
import type { Command } from 'commander';
import { z } from 'zod';
import { ConfigError, DataError, listed, refuseHubName } from '../../core/index.js';
import { createEngine, type Engine } from '../../engine/index.js';
import {
  ANALYSES,
  engineChoice,
  FINDING_KINDS,
  keep,
  keptAs,
  openModels,
  runOf,
  unwrapOption,
  type Analysis,
  type AnalysisSession,
  type FindingKind,
  type FullRunConfig,
  type OpenedModel,
} from '../../lab/index.js';
import { isRunFolder, listCheckpoints, readStatus } from '../../run/index.js';
import { isStudyFolder, readPlan, runFolder } from '../../study/index.js';
import type { CliContext } from '../terminal/context.js';
import {
  addEngineOptions,
  addOutputOptions,
  parseChoice,
  parseCounts,
  type EngineFlags,
  type OutputFlags,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { addOption, flagOf } from './command.js';

const TABLE: Readonly<Record<FindingKind, Analysis<object, z.ZodType>>> = ANALYSES;

/** The analyses that need nothing but the run, in order. LongPPL at every checkpoint needs texts that users choose. */
const KINDS = FINDING_KINDS.filter((kind) => TABLE[kind].checkpoints.analyze !== 'none');

/** Those that are made only where they are named, and those that are made unless some are. */
const ASKED = KINDS.filter((kind) => TABLE[kind].checkpoints.analyze === 'asked');
const USUAL = KINDS.filter((kind) => TABLE[kind].checkpoints.analyze !== 'asked');

/** Options of `length` that `analyze` has, with what they are read by. */
const LENGTH_OPTIONS = ['lengths', 'ropeTheta', 'yarn', 'temperature'] as const;

/** The measures that an analysis can ask for; none of one that has no choice. */
function measuresOf(kind: FindingKind): string[] {
  const option: unknown = TABLE[kind].options.shape['measure'];
  const inner = option instanceof z.ZodType ? unwrapOption(option).inner : null;
  return inner instanceof z.ZodEnum ? inner.options.map(String) : [];
}

/** The analyses that have a choice, and what they can ask for. */
const MEASURING = KINDS.filter((kind) => measuresOf(kind).length > 0);
const MEASURES = [...new Set(MEASURING.flatMap(measuresOf))];

interface Flags extends OutputFlags, EngineFlags {
  readonly only?: FindingKind[];
  readonly again?: boolean;
  readonly keys?: readonly number[];
  readonly measure?: string;
  readonly lengths?: unknown;
  readonly ropeTheta?: unknown;
  readonly yarn?: unknown;
  readonly temperature?: unknown;
}

/** Registers `longsight analyze`. */
export function addAnalyze(program: Command, context: CliContext): void {
  const each = KINDS.filter((kind) => TABLE[kind].checkpoints.analyze === 'all');
  const command = program
    .command('analyze')
    .summary('all analyses of a run or a study, for its report')
    .description(
      `Measures ${USUAL.join(', ')} with the defaults of their own commands (${each.join(', ')} at every checkpoint, the ` +
        `others at the last), or what --only names, such as ${ASKED.join(', ')}, and keeps the results in the run folders; ` +
        'then `longsight report` shows them. What is there ' +
        'already, made from the same weights and data with the same options, is left, so that a stopped command goes on ' +
        'where it was.',
    )
    .argument('<folder>', 'run or study folder')
    .option('--only <list>', `some of ${KINDS.join(', ')}, with commas`, (text) =>
      text.split(',').map((part) => parseChoice('--only', KINDS, part.trim())),
    )
    .option('--keys <list>', 'limits of reach, in visible keys (default: those of constrain)', (t) =>
      parseCounts('--keys', t),
    )
    .option(
      '--measure <name>',
      `what ${MEASURING.join(' and ')} ask for: ${MEASURES.join(', ')} (default: ar of runs that measure it on text, else all ` +
        'that the run measures, and needles)',
      (text) => parseChoice('--measure', MEASURES, text),
    )
    .option('--again', 'measure anew what is there');
  for (const key of LENGTH_OPTIONS) {
    const schema: unknown = ANALYSES.length.options.shape[key];
    if (schema instanceof z.ZodType) addOption(command, key, schema, 'of length: ');
  }
  addOutputOptions(addEngineOptions(command)).action((folder: string, flags: Flags) => analyze(folder, flags, context));
}

interface Task {
  readonly run: string;
  readonly kind: FindingKind;
  readonly model: OpenedModel;
  readonly session: AnalysisSession<object>;
}

async function analyze(folder: string, flags: Flags, context: CliContext): Promise<void> {
  const idle = LENGTH_OPTIONS.find((key) => flags[key] !== undefined && flags.only?.includes('length') !== true);
  if (idle !== undefined)
    throw new ConfigError(`${flagOf(idle)} is of length, which is measured where it is named (--only length)`);
  const output = new Output(context, flags);
  const engines = new Engines(flags);
  const all = measurable(folder, output).flatMap(({ name, dir }) =>
    tasksOf(name, dir, flags, { engines, context, output }),
  );
  const there = new Map(all.map((task) => [task, keptAs(task.kind, task.session, task.model)]));
  const tasks = all.filter((task) => flags.again === true || there.get(task) !== 'same');
  const stale = flags.again === true ? [] : tasks.filter((task) => there.get(task) === 'other');
  const kinds = [...new Set(stale.map(({ kind }) => kind))].join(', ');
  const anew =
    stale.length === 0
      ? ''
      : `, ${stale.length} to measure anew (${kinds}: made from other weights or data, or with other options)`;
  output.note(`${all.length} measurements, ${all.length - tasks.length} there already${anew}`);
  const skipped: { run: string; kind: FindingKind; step: number | null; why: string }[] = [];
  const [begin, files] = [performance.now(), [] as string[]];
  const spent = new Map<FindingKind, { seconds: number; count: number }>();
  try {
    for (const [i, { run, kind, model, session }] of tasks.entries()) {
      context.signal.throwIfAborted();
      const seconds = (performance.now() - begin) / 1000;
      const left = i === 0 ? '' : `, ${Math.ceil((seconds / i) * (tasks.length - i))} s left`;
      output.note(`[${i + 1}/${tasks.length}${left}] ${run}: ${kind} at step ${model.step}`);
      output.event({ event: 'progress', done: i, of: tasks.length, run, kind, step: model.step });
      const since = performance.now();
      try {
        const { record } = await session.measure(model);
        const file = keep(kind, session, model, record);
        if (file !== null) files.push(file);
        const beyond = model.beyondTraining();
        if (beyond !== null) output.warn(beyond);
      } catch (error) {
        // What a run cannot give (no held-out data, no needles) is said, and the rest goes on.
        if (!(error instanceof ConfigError || error instanceof DataError)) throw error;
        skipped.push({ run, kind, step: model.step, why: error.message });
      } finally {
        model.release();
        const { seconds: before, count } = spent.get(kind) ?? { seconds: 0, count: 0 };
        spent.set(kind, { seconds: before + (performance.now() - since) / 1000, count: count + 1 });
      }
    }
  } finally {
    await engines.dispose();
  }
  const runs = (kind: FindingKind, why: string): string =>
    listed([...new Set(skipped.filter((s) => s.kind === kind && s.why === why).map(({ run }) => run))]);
  const lines = [...new Set(skipped.map(({ kind, why }) => `${kind} left out of ${runs(kind, why)}: ${why}`))];
  const times = [...spent].map(([kind, { seconds, count }]) => `${kind} ${(seconds / count).toFixed(1)} s`);
  if (times.length > 0) output.note(`mean time of a measurement: ${times.join(', ')}`);
  output.result([`${files.length} measurements kept; \`longsight report ${folder}\` shows them`, ...lines].join('\n'), {
    ...{ event: 'analyze', folder, kept: files, skipped, spent: Object.fromEntries(spent) },
    before: all.length - tasks.length,
  });
}

/**
 * The runs to measure. Runs of a study whose checkpoints were removed keep the measurements that they have, which is
 * said; a run alone, or a study without any checkpoint, is refused where its models are opened.
 */
function measurable(folder: string, output: Output): { name: string; dir: string }[] {
  const runs = runFoldersOf(folder);
  const left = runs.filter(({ dir }) => listCheckpoints(dir).length > 0);
  if (left.length === 0) return runs;
  const without = runs.filter((run) => !left.includes(run)).map(({ name }) => name);
  if (without.length > 0)
    output.warn(`no checkpoints, so that what was measured of them stays as it is: ${listed(without)}`);
  return left;
}

/** Finished runs of a study, or the run itself. Throws `ConfigError` if the folder is neither. */
function runFoldersOf(folder: string): { name: string; dir: string }[] {
  if (isStudyFolder(folder)) {
    const runs = readPlan(folder).runs.map(({ name }) => ({ name, dir: runFolder(folder, name) }));
    return runs.filter(({ dir }) => isRunFolder(dir) && readStatus(dir)?.state === 'done');
  }
  if (isRunFolder(folder)) return [{ name: folder, dir: folder }];
  refuseHubName(folder);
  throw new ConfigError(`${folder} is neither a study folder (study.json) nor a run folder (config.json)`);
}

function tasksOf(
  name: string,
  dir: string,
  flags: Flags,
  { engines, context, output }: { engines: Engines; context: CliContext; output: Output },
): Task[] {
  const { run } = runOf(dir);
  const models = openModels(dir, { engine: () => engines.of(run) });
  const about = { signal: context.signal, note: (text: string) => output.note(text) };
  return (flags.only ?? USUAL).flatMap((kind) => {
    const session = TABLE[kind].start(models, optionsOf(kind, flags), about);
    const measured = TABLE[kind].checkpoints.analyze === 'all' ? models : models.slice(-1);
    return measured.map((model) => ({ run: name, kind, model, session }));
  });
}

/** What flags say of an analysis; where it cannot ask for the measure that is named, its default holds. */
function optionsOf(kind: FindingKind, flags: Flags): object {
  const { keys, measure } = flags;
  const given = LENGTH_OPTIONS.flatMap((key) => (flags[key] === undefined ? [] : [[key, flags[key]] as const]));
  return {
    // Designs of a study have different layers.
    ...(kind === 'length' ? { ...Object.fromEntries(given), fitting: true } : {}),
    ...(kind === 'limits' && keys !== undefined ? { keys } : {}),
    ...(measure !== undefined && measuresOf(kind).includes(measure) ? { measure } : {}),
  };
}

/** One engine for all runs that ask for the same one. */
class Engines {
  readonly #flags: EngineFlags;
  readonly #made = new Map<string, Engine>();

  constructor(flags: EngineFlags) {
    this.#flags = flags;
  }

  of(run: FullRunConfig): Engine {
    const name = this.#flags.engine ?? run.engine;
    const options = engineChoice(this.#flags, run);
    const key = JSON.stringify([name, options]);
    // Seeds of one design, and checkpoints of one run, are measured by the same programs.
    const engine = this.#made.get(key) ?? createEngine(name, { ...options, keepsPrograms: 'many' });
    this.#made.set(key, engine);
    return engine;
  }

  async dispose(): Promise<void> {
    for (const engine of this.#made.values()) await engine.dispose();
  }
}
