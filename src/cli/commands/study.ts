/** `longsight study FILE` and `longsight quickstart`: designs compared. */
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { ConfigError, formatTokens, maxOf, showValue, whileHeld } from '../../core/index.js';
import { checkEngine, findAccelerators, platformOf, type EngineName } from '../../engine/index.js';
import {
  EXECUTOR_NAMES,
  EXECUTORS,
  executeStudy,
  loadStudy,
  machine,
  ON_HOST,
  openReusable,
  openStudyFolder,
  pendingRuns,
  planCapacity,
  sharedBeginnings,
  sharedTokens,
  studySchema,
  studyUnits,
  tokenBudget,
  type Executor,
  type ExecutorName,
  type Place,
  type PlannedRun,
  type RunNeeds,
  type RunOutcome,
  type SharedBeginning,
  type SharedBeginnings,
  type Started,
  type StudyPlan,
  type UnitOutcome,
} from '../../study/index.js';
import { checkRun } from '../../lab/index.js';
import type { CliContext } from '../terminal/context.js';
import { EXIT } from '../terminal/errors.js';
import {
  addEngineOptions,
  addOutputOptions,
  addReuseOption,
  addSetOption,
  addTakeOverOption,
  parseChoice,
  positiveInteger,
  type EngineFlags,
  type OutputFlags,
  type ReuseFlag,
  type SetFlag,
  type TakeOverFlag,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { givenFile } from '../terminal/preset-files.js';
import { StudyProgress } from '../terminal/progress.js';
import { describeKeys, helpText } from '../terminal/schema-help.js';
import { engineKey } from './planned-run.js';
import { repeatCommands } from './repeat.js';
import { addStudyUnits, distinctData, takeOverRuns } from './study-units.js';

/** The options of `study` and `quickstart`. */
export interface StudyFlags extends OutputFlags, EngineFlags, SetFlag, ReuseFlag, TakeOverFlag {
  readonly out?: string;
  readonly long?: boolean;
  /** Runs at a time. */
  readonly workers?: number;
  readonly devices?: string;
  /** Runs at a time on each device. */
  readonly perDevice?: number;
  /** Labels of architectures and names of runs to train now; the others stay for another call. */
  readonly only?: readonly string[];
  readonly executor?: ExecutorName;
  /** Stop the runs rather than train them. */
  readonly cancel?: boolean;
  /** Wait for runs that something else trains. */
  readonly follow?: boolean;
}

const QUICKSTART = fileURLToPath(new URL('../../../presets/studies/quickstart.yaml', import.meta.url));

/** Registers `longsight study`. */
export function addStudy(program: Command, context: CliContext): void {
  const command = program
    .command('study')
    .summary('compare designs')
    .description(
      'Trains every run of a study file (YAML) in worker processes and writes a report. Stopped at any moment, the same ' +
        'command continues: finished runs stay, unfinished ones resume, failed ones are tried again.',
    )
    .argument('<file>', 'study file (preset:studies/NAME for one of the package)');
  addExecutorOptions(addStudyOptions(command))
    .addHelpText('after', () => `\nKeys of a study file, with defaults:\n${helpText(describeKeys(studySchema))}`)
    .action((file: string, flags: StudyFlags) => runStudy(file, flags, context));
  addStudyUnits(command, context);
}

/** Registers `longsight quickstart`. */
export function addQuickstart(program: Command, context: CliContext): void {
  const command = program
    .command('quickstart')
    .summary('the study to begin with: window size and when long-range retrieval forms')
    .description(
      'Trains four small hybrids that differ in the window of their cheap layers and in positions, and shows in a report ' +
        'when each learns to retrieve over long range. Takes a few minutes on two cores.',
    );
  addStudyOptions(command).action((flags: StudyFlags) => runStudy(QUICKSTART, flags, context));
}

function addStudyOptions(command: Command): Command {
  command
    .option('--out <dir>', 'study folder (default: runs/NAME)')
    .option('--long', "also do the study's long arm")
    .option(
      '--only <list>',
      'train only these now, by label or name of run, such as swa-128,full_seed-2; the same command without it does the rest',
      (text) => text.split(',').map((name) => name.trim()),
    )
    .option('--workers <n>', 'runs side by side (default: from devices, cores and memory)', (text) =>
      positiveInteger('--workers', text),
    )
    .option('--devices <list>', 'accelerators to use: how many, or which, such as 0,2 or cuda:1 (default: all)')
    .option('--per-device <n>', 'runs that share an accelerator, for small models (default: 1)', (text) =>
      positiveInteger('--per-device', text),
    );
  return addOutputOptions(addEngineOptions(addReuseOption(addSetOption(addTakeOverOption(command)))));
}

function addExecutorOptions(command: Command): Command {
  const executors = Object.entries<Executor>(EXECUTORS).map(([name, { summary }]) => `${name} (${summary})`);
  return command
    .option(
      '--executor <name>',
      `what trains the runs: ${executors.join('; ')} (default: local; options under executors in the study file)`,
      (text) => parseChoice('--executor', EXECUTOR_NAMES, text),
    )
    .option('--follow', `wait until the runs have ended, and write the report (${namesOf('follow')})`)
    .option('--cancel', `stop the runs, with their state saved (${namesOf('cancel')})`);
}

/** The executors that take an option. */
function namesOf(ability: 'follow' | 'cancel'): string {
  const able = EXECUTOR_NAMES.filter((name) => EXECUTORS[name].can.includes(ability));
  return able.map((name) => `--executor ${name}`).join(', ');
}

/** Throws `ConfigError` for options that the executor does not take. */
function checkExecutor(name: ExecutorName, flags: StudyFlags): void {
  const executor: Executor = EXECUTORS[name];
  for (const ability of ['follow', 'cancel'] as const)
    if (flags[ability] === true && !executor.can.includes(ability))
      throw new ConfigError(`--${ability} goes with ${namesOf(ability)}, not with --executor ${name}`);
  if (flags.follow === true && flags.cancel === true)
    throw new ConfigError('--cancel stops the runs, --follow waits for them: give one of the two');
  if (executor.isLocal) return;
  const own = { '--workers': flags.workers, '--devices': flags.devices, '--per-device': flags.perDevice };
  const wrong = Object.entries(own).find(([, value]) => value !== undefined);
  if (wrong !== undefined)
    throw new ConfigError(
      `${wrong[0]} says what this host does; with --executor ${name} give executors.${name} in the study file instead`,
    );
}

async function runStudy(file: string, flags: StudyFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const executor = flags.executor ?? 'local';
  checkExecutor(executor, flags);
  const loaded = loadStudy(givenFile(file), { long: flags.long ?? false, set: flags.set });
  for (const run of distinctData(loaded)) checkRun(run.config);
  const dir = flags.out ?? join('runs', loaded.name);
  // Before anything is written.
  const chosen = chosenRuns(loaded, flags.only);
  const { check, isLocal }: Executor = EXECUTORS[executor];
  const pending = isLocal ? pendingRuns(dir, { ...loaded, runs: chosen }) : [];
  for (const name of new Set(pending.map(({ config }) => flags.engine ?? config.engine))) checkEngine(name);
  await check?.();
  const reusable = openReusable(flags.reuse ?? [], dir);
  const { takeOver } = flags;
  const { signal } = context;
  const waiting = (text: string) => output.note(text);
  const { plan, lock } = await openStudyFolder(dir, loaded, { takeOver, signal, waiting });
  const started = await whileHeld(lock, signal, async (_lock, stop) => {
    takeOverRuns(dir, plan, reusable, output);
    const begun = await startRuns(executor, dir, plan, { flags, output }, { ...context, signal: stop });
    if (begun.kind === 'ended') await reportStudy(dir, plan, begun.outcomes, output, context);
    return begun;
  });
  if (started.kind === 'ended') return;
  if (flags.follow !== true || started.follow === undefined) return output.result(started.text, started.value);
  await reportStudy(dir, plan, await started.follow(), output, context);
}

/** Has an executor take the runs that are wanted. */
async function startRuns(
  name: ExecutorName,
  dir: string,
  plan: StudyPlan,
  { flags, output }: { flags: StudyFlags; output: Output },
  context: CliContext,
): Promise<Started> {
  const chosen = chosenRuns(plan, flags.only);
  if (chosen.length < plan.runs.length)
    output.note(`${chosen.length} of ${plan.runs.length} runs: those that --only names`);
  const of = { flags, output, shared: sharedBeginnings(plan.runs) };
  const executor: Executor = EXECUTORS[name];
  const { engine, threads, takeOver, cancel } = flags;
  return executor.start(
    {
      ...{ dir: resolve(dir), name: plan.name, wanted: chosen.map((run) => run.name), cancel: cancel ?? false },
      units: () => studyUnits(dir, plan),
      command: [process.execPath, context.mainPath],
      runOptions: [
        ...(engine === undefined ? [] : ['--engine', engine]),
        ...(threads === undefined ? [] : ['--threads', String(threads)]),
        ...(takeOver === true ? ['--take-over'] : []),
      ],
      ...{ note: (text) => output.note(text), event: (value) => output.event(value), signal: context.signal },
      trainHere: () => execute(dir, { ...plan, runs: chosen }, of, context),
    },
    plan.study.executors?.[name],
  );
}

/** Writes the report of what is there, and prints its answers. */
async function reportStudy(
  dir: string,
  plan: StudyPlan,
  outcomes: readonly UnitOutcome[],
  output: Output,
  context: CliContext,
): Promise<void> {
  // Loaded now: what draws figures is large.
  const { analyzeStudyFolder, engineLine, writeReport } = await import('../../report/index.js');
  const analyzed = analyzeStudyFolder(dir);
  const report = writeReport(dir, analyzed, { folder: dir, repeat: repeatCommands(dir, plan) });
  const { groups } = analyzed.analysis;
  const answers = groups.flatMap(({ title, verdicts }) => [
    ...(title === '' ? [] : [`\n${title}`]),
    ...verdicts.filter((v) => v.topic !== 'end' && v.topic !== 'cost').map((v) => `  ${v.lead} ${v.text}`),
  ]);
  const engines = engineLine(analyzed.records.values());
  if (engines !== '') output.note(`engine ${engines}`);
  output.result([...answers, `report: ${report.html}`].join('\n'), {
    ...{ event: 'done', dir: resolve(dir), outcomes, report },
    groups: groups.map(({ arm, point, verdicts }) => ({ arm, point, verdicts })),
  });
  reportFailures(outcomes, dir, context);
}

async function execute(
  dir: string,
  plan: StudyPlan,
  { flags, output, shared }: { flags: StudyFlags; output: Output; shared: SharedBeginnings },
  context: CliContext,
): Promise<RunOutcome[]> {
  const pending = pendingRuns(dir, plan);
  const needs = needsOf(flags);
  const own = pending.flatMap(({ config }) => config.threads ?? []);
  // What runs ask for is kept free for each; --threads goes before it, as in all commands.
  const asked = { ...flags, threads: flags.threads ?? (own.length === 0 ? undefined : maxOf(own)) };
  const capacity = planCapacity(pending.map(needs), asked, machine(), findAccelerators);
  const done = plan.runs.length - pending.length;
  const tokens = plan.runs.reduce((sum, run) => sum + tokenBudget(run.config), 0);
  output.note(
    `${plan.title}: ${plan.runs.length} runs, ${formatTokens(tokens)} tokens${done > 0 ? `; ${done} ${done === 1 ? 'run' : 'runs'} done before` : ''}`,
  );
  const sharing = describeShared(plan.runs, shared);
  if (sharing !== null) output.note(sharing.text);
  if (pending.length > 0) output.note(capacity.reason);
  output.note(`folder: ${dir}`);
  const { workers, threads, perDevice, reason } = capacity;
  const devices = capacity.devices.map(({ name, kind, uuid }) => ({ name, kind, uuid }));
  const runs = plan.runs.map((run) => run.name);
  const event = { event: 'plan', dir: resolve(dir), runs, done, workers, threads, devices, perDevice, reason };
  output.event({ ...event, ...(sharing === null ? {} : { shared: sharing.runs, sharedTokens: sharing.tokens }) });
  const progress = new StudyProgress(output);
  try {
    return await executeStudy(dir, plan, {
      ...{ capacity, needs, shared, observer: progress, signal: context.signal },
      // A plugin is loaded and set once in a process: runs of another engine, mesh or thread count get another.
      processKey: (run) => engineKey(flags, run),
      workerCommand: (studyDir, run, place) => [
        process.execPath,
        context.mainPath,
        ...['worker', studyDir, run.name, '--place', placeText(place)],
        ...['--threads', String(flags.threads ?? run.config.threads ?? place.threads)],
        ...(place.memoryFraction === null ? [] : ['--memory-fraction', place.memoryFraction.toFixed(3)]),
        ...(flags.engine === undefined ? [] : ['--engine', flags.engine]),
        ...(flags.takeOver === true ? ['--take-over'] : []),
      ],
    });
  } finally {
    progress.stop();
  }
}

/** Which of these runs take over the beginning of another, and what that saves; null if none does. */
function describeShared(
  runs: readonly PlannedRun[],
  shared: SharedBeginnings,
): { text: string; runs: Record<string, SharedBeginning>; tokens: number } | null {
  const own = runs.flatMap((run) => {
    const beginning = shared.get(run.name);
    return beginning === undefined ? [] : [[run.name, beginning] as const];
  });
  if (own.length === 0) return null;
  const tokens = runs.reduce((sum, run) => sum + sharedTokens(run, shared), 0);
  const all = runs.reduce((sum, run) => sum + tokenBudget(run.config), 0);
  const trunks = new Set(own.map(([, { run }]) => run)).size;
  const text =
    `${own.length} ${own.length === 1 ? 'run goes' : 'runs go'} on from ${trunks === 1 ? 'one' : `${trunks} others`} where the learning rate ` +
    `begins to decay: ${formatTokens(tokens)} of ${formatTokens(all)} tokens (${((100 * tokens) / all).toFixed(0)} %) are trained once for several`;
  return { text, runs: Object.fromEntries(own), tokens };
}

/**
 * The runs that `--only` names, by architecture or by run; all of them without it.
 *
 * @throws ConfigError for a name that is neither
 */
function chosenRuns({ runs, architectures }: StudyPlan, only: readonly string[] | undefined): readonly PlannedRun[] {
  if (only === undefined) return runs;
  const labels = architectures.map(({ label }) => label);
  const known = new Set([...labels, ...runs.map(({ name }) => name)]);
  const wrong = only.find((name) => !known.has(name));
  if (wrong !== undefined)
    throw new ConfigError(
      `--only: ${showValue(wrong)} is no architecture or run of the study; its architectures are ${labels.join(', ')}`,
    );
  const wanted = new Set(only);
  return runs.filter(({ name, architecture }) => wanted.has(name) || wanted.has(architecture));
}

/** What runs need, by the engine that they will get here. */
function needsOf(flags: StudyFlags): (run: PlannedRun) => RunNeeds {
  // Asking for plugins takes a process each time.
  const platforms = new Map<EngineName, ReturnType<typeof platformOf>>();
  return ({ config }) => {
    const name = flags.engine ?? config.engine;
    if (!platforms.has(name)) platforms.set(name, platformOf(name));
    const platform = platforms.get(name) ?? null;
    if (platform === null || platform === 'cpu') return ON_HOST;
    const { data = 1, fsdp = 1, tensor = 1 } = config.mesh ?? {};
    return { platform, devices: data * fsdp * tensor };
  };
}

/** A place with the kind of its devices, as it is stored with a run. */
function placeText({ name, devices }: Place): string {
  const kinds = [...new Set(devices.flatMap((device) => device.kind ?? []))];
  return kinds.length === 0 ? name : `${name} (${kinds.join(', ')})`;
}

function reportFailures(outcomes: readonly UnitOutcome[], dir: string, { stderr, exitWith }: CliContext): void {
  const failed = outcomes.filter((outcome) => outcome.state === 'failed' || outcome.state === 'stopped');
  if (failed.length === 0) return;
  const listed = failed.map(
    ({ name, state, message }) => `${name} ${state}${message === undefined ? '' : ` (${message})`}`,
  );
  stderr.write(
    `longsight: ${failed.length} of ${outcomes.length} runs did not finish: ${listed.join('; ')}; ` +
      `logs are in ${join(dir, 'logs')}, and the same command tries them again\n`,
  );
  exitWith(EXIT.failed);
}
