/** `longsight analyze`: every analysis of a run or a study, kept where the report reads it. */
import type { Command } from 'commander';
import { weightDrift } from '../../analysis/index.js';
import { ConfigError, DataError, refuseHubName } from '../../core/index.js';
import { createEngine, inPrecision, type Engine } from '../../engine/index.js';
import { precisionOf } from '../../lab/index.js';
import { isStudyFolder, readFindings, readPlan, runFolder, type FindingKind } from '../../study/index.js';
import type { CliContext } from '../context.js';
import { addEngineOptions, addOutputOptions, type EngineFlags, type OutputFlags } from '../options.js';
import { Output } from '../output.js';
import { engineChoice } from '../commands/train.js';
import { LIMIT_DEFAULTS, measureLimits } from './constrain.js';
import { referenceName } from './drift.js';
import { ENTROPY_DEFAULTS, measureEntropy } from './entropy.js';
import { INFLUENCE_DEFAULTS, measureInfluence } from './influence.js';
import { MASK_DEFAULTS, measureMask } from './mask.js';
import { measureProbes, PROBE_DEFAULTS } from './probe.js';
import { keepFinding, originOf, openSubjects, parseChoice, parseCounts, type Subject } from './subject.js';
import { hasFinding, isRunFolder, readStatus } from '../../run/index.js';

/** The analyses that need nothing but the run, in order. LongPPL at every checkpoint needs texts that users choose. */
const ANALYSES = ['entropy', 'drift', 'limits', 'masking', 'probes', 'influence'] as const satisfies FindingKind[];
type AnalysisName = (typeof ANALYSES)[number];

/** What is measured at every checkpoint; the rest at the last one. */
const EVERY_CHECKPOINT: ReadonlySet<AnalysisName> = new Set(['entropy', 'drift']);

interface Flags extends OutputFlags, EngineFlags {
  readonly only?: AnalysisName[];
  readonly again?: boolean;
  readonly keys?: readonly number[];
}

/** Registers `longsight analyze`. */
export function addAnalyze(program: Command, context: CliContext): void {
  const command = program
    .command('analyze')
    .summary('all analyses of a run or a study, for its report')
    .description(
      `Measures ${ANALYSES.join(', ')} with the defaults of their own commands (entropy and drift at every checkpoint, the ` +
        'others at the last) and keeps the results in the run folders; then `longsight report` shows them. What is there ' +
        'already, made from the same weights and data, is left, so that a stopped command goes on where it was.',
    )
    .argument('<folder>', 'run or study folder')
    .option('--only <list>', `some of ${ANALYSES.join(', ')}, with commas`, (text) =>
      text.split(',').map((part) => parseChoice('--only', ANALYSES, part.trim())),
    )
    .option('--keys <list>', `limits of reach, in visible keys (default: ${LIMIT_DEFAULTS.keys.join()})`, (t) =>
      parseCounts('--keys', t),
    )
    .option('--again', 'measure anew what is there');
  addOutputOptions(addEngineOptions(command)).action((folder: string, flags: Flags) => analyze(folder, flags, context));
}

interface Task {
  readonly run: string;
  readonly kind: AnalysisName;
  readonly subject: Subject;
  /** The run's last checkpoint. */
  readonly last: Subject;
}

async function analyze(folder: string, flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const kinds = flags.only ?? ANALYSES;
  const all = runFoldersOf(folder).flatMap(({ name, dir }) => tasksOf(name, dir, kinds));
  const there = new Map(all.map((task) => [task, keptAs(task, flags.keys)]));
  const tasks = all.filter((task) => flags.again === true || there.get(task) !== 'same');
  const stale = flags.again === true ? 0 : tasks.filter((task) => there.get(task) === 'other').length;
  const anew = stale === 0 ? '' : `, ${stale} to measure anew (made from other weights or data, or with other --keys)`;
  output.note(`${all.length} measurements, ${all.length - tasks.length} there already${anew}`);
  const skipped: { run: string; kind: AnalysisName; step: number | null; why: string }[] = [];
  const [begin, files] = [performance.now(), [] as string[]];
  const engines = new Engines(flags);
  try {
    for (const [i, task] of tasks.entries()) {
      context.signal.throwIfAborted();
      const { run, kind, subject } = task;
      const seconds = (performance.now() - begin) / 1000;
      const left = i === 0 ? '' : `, ${Math.ceil((seconds / i) * (tasks.length - i))} s left`;
      output.note(`[${i + 1}/${tasks.length}${left}] ${run}: ${kind} at step ${subject.step}`);
      output.event({ event: 'progress', done: i, of: tasks.length, run, kind, step: subject.step });
      try {
        const found = await measure(await engines.of(subject), task, flags, context.signal);
        const file = keepFinding(subject, { set: [] }, kind, found, referenceOf(task));
        if (file !== null) files.push(file);
      } catch (error) {
        // What a run cannot give (no held-out data, no needles) is said, and the rest goes on.
        if (!(error instanceof ConfigError || error instanceof DataError)) throw error;
        skipped.push({ run, kind, step: subject.step, why: error.message });
      }
    }
  } finally {
    await engines.dispose();
  }
  const lines = [...new Set(skipped.map(({ kind, why }) => `${kind} left out: ${why}`))];
  output.result([`${files.length} measurements kept; \`longsight report ${folder}\` shows them`, ...lines].join('\n'), {
    ...{ event: 'analyze', folder, kept: files, skipped },
    before: all.length - tasks.length,
  });
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

function tasksOf(run: string, dir: string, kinds: readonly AnalysisName[]): Task[] {
  const subjects = openSubjects(dir, { set: [] });
  const last = subjects.at(-1) as Subject;
  return kinds.flatMap((kind) =>
    (EVERY_CHECKPOINT.has(kind) ? subjects : [last]).map((subject) => ({ run, kind, subject, last })),
  );
}

/** Whether a measurement is there, made from the same weights and data, and with the limits that are asked for. */
function keptAs(task: Task, keys: readonly number[] | undefined): 'same' | 'other' | 'none' {
  const { run, step } = task.subject;
  if (run === null || step === null) return 'none';
  const found = hasFinding(run.dir, task.kind, step, originOf(task.subject, referenceOf(task)));
  if (found !== 'same' || task.kind !== 'limits' || keys === undefined) return found;
  const rows = readFindings(run.dir).limits.find((f) => f.step === step)?.rows ?? [];
  const limits = new Set(rows.flatMap((row) => (row.keys === null ? [] : [row.keys])));
  return limits.size === keys.length && keys.every((k) => limits.has(k)) ? 'same' : 'other';
}

const referenceOf = ({ kind, last }: Task): Subject | null => (kind === 'drift' ? last : null);

async function measure(engine: Engine, task: Task, flags: Flags, signal: AbortSignal): Promise<object> {
  const { kind, subject, last } = task;
  switch (kind) {
    case 'entropy':
      return measureEntropy(engine, subject, ENTROPY_DEFAULTS);
    case 'drift':
      return {
        reference: referenceName(last),
        ...weightDrift(subject.model, subject.parameters(), last.parameters()),
      };
    case 'limits':
      return measureLimits(engine, subject, { ...LIMIT_DEFAULTS, keys: flags.keys ?? LIMIT_DEFAULTS.keys }, signal);
    case 'masking':
      return measureMask(engine, subject, MASK_DEFAULTS);
    case 'probes':
      return { probes: await measureProbes(engine, subject, PROBE_DEFAULTS) };
    case 'influence':
      return measureInfluence(engine, subject, INFLUENCE_DEFAULTS);
  }
}

/** One engine for all runs that ask for the same one. */
class Engines {
  readonly #flags: EngineFlags;
  readonly #made = new Map<string, Engine>();

  constructor(flags: EngineFlags) {
    this.#flags = flags;
  }

  async of({ run }: Subject): Promise<Engine> {
    const name = this.#flags.engine ?? run?.run.engine ?? 'auto';
    const options = engineChoice(this.#flags, run?.run ?? {});
    const key = JSON.stringify([name, options]);
    const engine = this.#made.get(key) ?? createEngine(name, options);
    this.#made.set(key, engine);
    return run === null ? engine : inPrecision(engine, precisionOf(run.run, engine));
  }

  async dispose(): Promise<void> {
    for (const engine of this.#made.values()) await engine.dispose();
  }
}
