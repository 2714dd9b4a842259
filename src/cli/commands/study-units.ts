/**
 * `longsight study plan`, `run`, `status` and `report`: the runs of a study as units that any scheduler starts, kills
 * and starts again. A claim is a run's own lock, so that any number of processes on any number of hosts share a folder.
 */
import { join, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import {
  ConfigError,
  DeviceBusyError,
  formatTokens,
  got,
  InterruptedError,
  list,
  StoppedTogetherError,
  LockHeldError,
  LockLostError,
  plural,
  present,
  showValue,
} from '../../core/index.js';
import { checkRun, unknownName } from '../../lab/index.js';
import {
  heedParent,
  isStudyFolder,
  loadStudy,
  nextRun,
  openReusable,
  openStudyFolder,
  readPlan,
  removeSpentBranches,
  reuseRuns,
  sharedBeginnings,
  studyUnits,
  trainingFlops,
  unitNow,
  waitsFor,
  type NextRun,
  type PlannedRun,
  type ReusableStudies,
  type ReusedRun,
  type StudyPlan,
  type Unit,
} from '../../study/index.js';
import type { CliContext } from '../terminal/context.js';
import { EXIT } from '../terminal/errors.js';
import {
  addEngineOptions,
  addOutputOptions,
  addReuseOption,
  addSetOption,
  addTakeOverOption,
  parseContext,
  positiveNumber,
  type EngineFlags,
  type OutputFlags,
  type ReuseFlag,
  type SetFlag,
  type TakeOverFlag,
} from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';
import { givenFile } from '../terminal/preset-files.js';
import { RunProgress } from '../terminal/progress.js';
import { KeptEngine, performPlanned } from './planned-run.js';
import { StayingChild } from './staying-child.js';

/** Registers the subcommands of `longsight study`. */
export function addStudyUnits(study: Command, context: CliContext): void {
  study.enablePositionalOptions().helpCommand(false);
  const plan = study
    .command('plan')
    .summary('write a study folder without training, for schedulers')
    .description(
      'Checks a study file, writes its folder, and lists its runs: ids, engines and devices, and what goes on from what. ' +
        'Nothing is trained. The same command adds to a folder what the file has got since. FLOPs are those of training, matrix ' +
        'products with a multiply-add as 2; --flops-per-second says what time they take.',
    )
    .argument('<file>', 'study file (preset:studies/NAME for one of the package)')
    .option('--out <dir>', 'study folder (default: runs/NAME)')
    .option('--long', "also plan the study's long arm")
    .option(
      '--flops-per-second <n>',
      'training FLOPs a second of one device, evaluations and all, such as a study before came to: estimates its time',
      (text) => positiveNumber('--flops-per-second', text),
    );
  addOutputOptions(addReuseOption(addSetOption(addTakeOverOption(plan)))).action((file: string, flags: PlanFlags) =>
    planStudy(file, flags, context),
  );
  const run = study
    .command('run')
    .summary('train runs of a planned study in this process')
    .description(
      'Trains runs of a study folder, each from where it is; runs that are done stay as they are. Any number of these commands, on any ' +
        'host that sees the folder, may work at once: no run is trained twice. Without an id or --shard it takes every run that ' +
        `is free, one after another. SIGTERM and SIGUSR1 save the state and end with exit code ${EXIT.again}. Exit codes: ` +
        `${EXIT.ok} done, ${EXIT.failed} failed, ${EXIT.usage} wrong input, ${EXIT.again} try again (stopped, claimed by another ` +
        `process, device busy, or waiting for another run), ${EXIT.interrupted} stopped by Ctrl-C.`,
    )
    .argument('<folder>', 'study folder')
    .argument('[ids...]', 'names of runs')
    .option('--shard <i/n>', 'every n-th run from the i-th on, i from 0: for schedulers that know an index only', shard)
    .addOption(new Option('--stays', 'wait for further runs from the process that started this one').hideHelp());
  addOutputOptions(addEngineOptions(addTakeOverOption(run))).action((dir: string, ids: string[], flags: RunFlags) =>
    runUnits(dir, ids, flags, context),
  );
  addOutputOptions(
    study
      .command('status')
      .summary('how far a study is, and who works on what')
      .description('Lists every run of a study folder: its state, how far it is, and the process that works on it.')
      .argument('<folder>', 'study folder'),
  ).action((dir: string, flags: OutputFlags) => showStatus(dir, flags, context));
  addOutputOptions(
    study
      .command('report')
      .summary('write the report of a study folder')
      .description('Writes report.html, report.json and report.csv of a study folder, finished or not.')
      .argument('<folder>', 'study folder')
      .option('--out <dir>', 'where the files go (default: the folder itself)')
      .option('--context <tokens>', 'length that cache bytes are told for, such as 4k or 1M (default: 64k)', (text) =>
        parseContext('--context', text),
      ),
  ).action(async (dir: string, flags: OutputFlags & { readonly out?: string; readonly context?: number }) => {
    requireStudy(dir);
    // Loaded now: what draws figures is large.
    await (await import('./report.js')).report(dir, flags, context);
  });
}

interface PlanFlags extends OutputFlags, SetFlag, ReuseFlag, TakeOverFlag {
  readonly out?: string;
  readonly long?: boolean;
  readonly flopsPerSecond?: number;
}

interface RunFlags extends OutputFlags, EngineFlags, TakeOverFlag {
  readonly shard?: Shard;
  /** What `study run` starts for several runs: the process stays for those that it is given. */
  readonly stays?: boolean;
}

/** Every `of`-th run from `index` on. */
interface Shard {
  readonly index: number;
  readonly of: number;
}

function shard(text: string): Shard {
  const [, index, of] = /^(\d{1,9})\/(\d{1,9})$/.exec(text) ?? [];
  const found = { index: Number(index), of: Number(of) };
  if (index === undefined || found.index >= found.of)
    throw new ConfigError(`--shard ${showValue(text)}: give i/n with i from 0 to n - 1, such as 0/4`);
  return found;
}

async function planStudy(file: string, flags: PlanFlags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  const loaded = loadStudy(givenFile(file), { long: flags.long ?? false, set: flags.set });
  for (const run of distinctData(loaded)) checkRun(run.config);
  const dir = flags.out ?? join('runs', loaded.name);
  const reusable = openReusable(flags.reuse ?? [], dir);
  const waiting = (text: string) => output.note(text);
  const { plan, lock } = await openStudyFolder(dir, loaded, {
    ...{ takeOver: flags.takeOver, signal: context.signal, waiting },
  });
  try {
    takeOverRuns(dir, plan, reusable, output);
  } finally {
    lock.release();
  }
  const units = studyUnits(dir, plan);
  const flops = new Map(plan.runs.map(({ name, config }) => [name, trainingFlops(config)]));
  const runs = units.map((unit) => ({ ...unit, trainFlops: got(flops, unit.id) }));
  const rows = runs.map((unit) => [
    ...[String(unit.index), unit.id, unit.resources.engine, String(unit.resources.devices)],
    ...[
      formatTokens(unit.budget),
      formatFlops(unit.trainFlops),
      unit.after === null ? '' : `${unit.after.run} at step ${unit.after.step}`,
      unit.state,
    ],
  ]);
  const head = ['', 'id', 'engine', 'devices', 'tokens', 'FLOPs', 'goes on from', 'state'];
  const total = runs.reduce((sum, run) => sum + run.trainFlops, 0);
  const { flopsPerSecond } = flags;
  const seconds = flopsPerSecond === undefined ? null : total / flopsPerSecond;
  const time = seconds === null ? '' : `, about ${(seconds / 60).toFixed(1)} minutes on one device`;
  output.result(
    `${textTable([head, ...rows], new Set([0, 3, 4, 5]))}\n${plural(units.length, 'run')}, ${formatFlops(total)} training FLOPs${time}; study folder: ${dir}`,
    { event: 'plan', dir: resolve(dir), trainFlops: total, seconds, runs },
  );
}

/** Copies the runs that other studies have trained, and says which. */
export function takeOverRuns(dir: string, plan: StudyPlan, studies: ReusableStudies, output: Output): void {
  if (studies.length === 0) return;
  const { reused, left } = reuseRuns(dir, plan, studies);
  const named = ({ run, study, from }: Pick<ReusedRun, 'run' | 'study' | 'from'>) =>
    run === from ? `${run} (${study})` : `${run} (${from} of ${study})`;
  output.note(
    reused.length === 0
      ? 'no run of the other studies is copied: none is finished and the same as one that has not begun here'
      : `${plural(reused.length, 'run')} copied from other studies: ${reused.map(named).join(', ')}`,
  );
  const unsure = reused.filter(({ isDataCompared }) => !isDataCompared);
  if (unsure.length > 0)
    output.note(
      `whether the data are what ${unsure.length === reused.length ? 'they' : list(unsure.map(({ run }) => run))} were trained on is not known: there is no checkpoint that says it`,
    );
  for (const run of left) output.note(`${named(run)} is not copied: ${run.why}`);
  output.event({ event: 'reused', runs: reused, left });
}

/** `1.13e+17`. */
const formatFlops = (flops: number): string => flops.toExponential(2);

/** One run for each combination of data and measurements: the others ask for the same files. */
export function distinctData(plan: StudyPlan): PlannedRun[] {
  const key = ({ config }: PlannedRun) => JSON.stringify([config.data, config.eval, config.train.seqLen]);
  return [...new Map(plan.runs.map((run) => [key(run), run])).values()];
}

function requireStudy(dir: string): void {
  if (!isStudyFolder(dir))
    throw new ConfigError(`${dir} is no study folder; make one with longsight study plan FILE --out ${dir}`);
}

function showStatus(dir: string, flags: OutputFlags, context: CliContext): void {
  requireStudy(dir);
  const units = studyUnits(dir, readPlan(dir));
  const rows = units.map((unit) => [
    unit.id,
    unit.state,
    `${Math.floor((100 * unit.step) / unit.steps)} %`,
    `${unit.step}/${unit.steps}`,
    unit.holder === null ? '' : `process ${unit.holder.pid} on ${unit.holder.host}`,
    unit.state === 'waiting' && unit.after !== null
      ? `for step ${unit.after.step} of ${unit.after.run}`
      : (unit.message ?? ''),
  ]);
  const counts = new Map<string, number>();
  for (const { state } of units) counts.set(state, (counts.get(state) ?? 0) + 1);
  const summary = [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
  new Output(context, flags).result(
    `${textTable([['id', 'state', 'done', 'step', 'worked on by', ''], ...rows], new Set([2, 3]))}\n${summary}`,
    { event: 'status', dir: resolve(dir), counts: Object.fromEntries(counts), runs: units },
  );
}

async function runUnits(dir: string, ids: string[], flags: RunFlags, context: CliContext): Promise<void> {
  requireStudy(dir);
  const plan = readPlan(dir);
  const names = plan.runs.map((run) => run.name);
  const wrong = ids.find((id) => !names.includes(id));
  if (wrong !== undefined) throw unknownName('run', wrong, names);
  if (ids.length > 0 && flags.shard !== undefined)
    throw new ConfigError('--shard goes without names of runs: it says itself which they are');
  const preempted = preemption(context, flags.stays === true);
  try {
    const [only] = ids;
    const code =
      only !== undefined && ids.length === 1
        ? await runOne(dir, plan, only, flags, { ...context, signal: preempted.signal }, preempted)
        : await runSeveral(dir, plan, ids, flags, context, preempted);
    context.exitWith(code);
  } finally {
    preempted.forget();
  }
}

/** Whether a scheduler wants the process gone. */
interface Preemption {
  readonly signal: AbortSignal;
  /** A signal of schedulers came, not Ctrl-C. */
  readonly isAsked: () => boolean;
  readonly forget: () => void;
}

/**
 * Hears what asks for the process.
 *
 * @param isChild whether the process that started this one may ask it to stop, too
 */
function preemption({ signal, isPreempted }: CliContext, isChild: boolean): Preemption {
  const own = new AbortController();
  const ask = () =>
    own.abort(new InterruptedError('stopped by the process that started this one, with its state saved'));
  const forgetParent = isChild ? heedParent(ask) : undefined;
  return {
    signal: AbortSignal.any([signal, own.signal]),
    isAsked: () => own.signal.aborted || isPreempted(),
    forget: () => forgetParent?.(),
  };
}

/** One run; with `--stays` also those that the process which started this one gives it afterwards. */
async function runOne(
  dir: string,
  plan: StudyPlan,
  first: string,
  flags: RunFlags,
  context: CliContext,
  preempted: Preemption,
): Promise<number> {
  const engine = new KeptEngine(flags);
  try {
    let next: NextRun | null = { run: first, sinceMs: 0 };
    let code: number = EXIT.ok;
    while (next !== null && code === EXIT.ok) {
      const { run: name, sinceMs } = next;
      const run = present(plan.runs.find((planned) => planned.name === name));
      code = await runUnit(dir, plan, { run, engine, sinceMs }, flags, context, preempted);
      next = flags.stays === true && code === EXIT.ok ? await nextRun(context.signal) : null;
    }
    return code;
  } finally {
    await engine.dispose();
  }
}

async function runUnit(
  dir: string,
  plan: StudyPlan,
  { run, engine, sinceMs }: { readonly run: PlannedRun; readonly engine: KeptEngine; readonly sinceMs: number },
  flags: RunFlags,
  context: CliContext,
  preempted: Preemption,
): Promise<number> {
  const output = new Output(context, flags);
  const again = (why: string): number => {
    context.stderr.write(`longsight: ${run.name}: ${why}\n`);
    output.event({ event: 'again', run: run.name, why });
    return EXIT.again;
  };
  const shared = sharedBeginnings(plan.runs);
  const now = () => unitNow(dir, run, plan.runs.indexOf(run), shared);
  const done = (unit: Unit) =>
    output.result(`${run.name}: done, ${unit.step} steps`, { event: 'done', run: run.name, unit });
  const before = now();
  if (before.state === 'done') {
    done(before);
    return EXIT.ok;
  }
  const missing = waitsFor(dir, run.name, shared);
  if (missing !== null)
    return again(`it goes on from step ${missing.step} of ${missing.run}, which is not trained yet; run that first`);
  const progress = new RunProgress(output);
  try {
    await performPlanned({
      ...{ study: dir, run, shared, engine, sinceMs, takeOver: flags.takeOver, signal: context.signal },
      note: (text) => progress.note(text),
      progress: (step) => progress.step(step),
      evaluated: (record) => progress.evaluated(record),
    });
  } catch (error) {
    progress.stop();
    // What time may mend is for the scheduler to try again; everything else is an error like any other.
    const isLater =
      error instanceof LockHeldError ||
      error instanceof LockLostError ||
      error instanceof DeviceBusyError ||
      error instanceof StoppedTogetherError;
    if (isLater || (error instanceof InterruptedError && preempted.isAsked())) return again(error.message);
    throw error;
  }
  progress.stop();
  removeSpentBranches(dir, shared);
  done(now());
  return EXIT.ok;
}

/**
 * Runs one after another, in a process beside this one that stays as long as runs succeed and ask for the same engine:
 * a device is free again when its process has ended.
 */
async function runSeveral(
  dir: string,
  plan: StudyPlan,
  ids: readonly string[],
  flags: RunFlags,
  context: CliContext,
  preempted: Preemption,
): Promise<number> {
  const shared = sharedBeginnings(plan.runs);
  const wanted = new Set(ids);
  const own = plan.runs.filter(({ name }, i) => {
    if (flags.shard !== undefined) return i % flags.shard.of === flags.shard.index;
    return wanted.size === 0 || wanted.has(name);
  });
  // Runs whose states others go on from come first.
  const trainers = new Set([...shared.values()].map(({ run }) => run));
  const queue = [...own].sort((a, b) => Number(trainers.has(b.name)) - Number(trainers.has(a.name)));
  const isAnyFree = flags.shard === undefined && wanted.size === 0;
  const codes = new Map<string, number>();
  const stateOf = (run: PlannedRun) => unitNow(dir, run, plan.runs.indexOf(run), shared).state;
  const child = new StayingChild(dir, flags, context.mainPath, preempted.signal);
  try {
    for (const run of queue) {
      if (preempted.signal.aborted) break;
      if (isAnyFree && ['running', 'done'].includes(stateOf(run))) continue;
      const code = await child.perform(run);
      // A process that was asked to stop between two runs ends well without the second.
      codes.set(run.name, code === EXIT.ok && stateOf(run) !== 'done' ? EXIT.again : code);
    }
  } finally {
    await child.end();
  }
  if (preempted.signal.aborted) return preempted.isAsked() ? EXIT.again : EXIT.interrupted;
  const failed = [...codes].filter(([, code]) => code !== EXIT.ok && code !== EXIT.again).map(([name]) => name);
  // What others work on by now is left to them, unless it was asked for by name.
  const isLeft = (run: PlannedRun) => isAnyFree && ['running', 'done'].includes(stateOf(run));
  const later = queue.filter((run) => codes.get(run.name) === EXIT.again && !isLeft(run)).map(({ name }) => name);
  if (failed.length > 0)
    context.stderr.write(`longsight: ${plural(failed.length, 'run')} failed: ${failed.join(', ')}\n`);
  if (later.length > 0)
    context.stderr.write(`longsight: ${plural(later.length, 'run')} to be tried again: ${later.join(', ')}\n`);
  if (failed.length > 0) return EXIT.failed;
  return later.length > 0 ? EXIT.again : EXIT.ok;
}
