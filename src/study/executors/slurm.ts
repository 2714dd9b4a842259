/**
 * `--executor slurm`: job arrays, submitted once and found again by any later call. Slurm says which runs have a job,
 * the study folder how far each is; a run gets a new job where it is not done and has none that may still run.
 */
import { InterruptedError, plural, textTable } from '../../core/index.js';
import { defineExecutor, type ExecutorJob, type ExecutorUnit, type Started, type UnitOutcome } from './contract.js';
import {
  accountedTasks,
  call,
  isLive,
  largestArray,
  queuedTasks,
  SlurmError,
  type ArrayTask,
} from './slurm-commands.js';
import { arraysOf, slurmOptions, type SlurmOptions } from './slurm-script.js';
import { adoptSubmissions, readSubmissions, submit, type Submission } from './slurm-submissions.js';

/** Milliseconds between two looks at Slurm. */
const LOOK_MS = 5000;
/** Milliseconds between two looks while jobs are being canceled. */
const CANCEL_LOOK_MS = 1000;

/** Submits job arrays to Slurm. */
export const slurm = defineExecutor({
  summary:
    'job arrays of Slurm, submitted by sbatch; runs are checkpointed, queued again and moved as the cluster asks',
  options: slurmOptions,
  can: ['cancel', 'follow'],
  isLocal: false,
  check: async () => void (await call('sbatch', ['--version'])),
  start: async (job, options) => (job.cancel ? cancel(job) : train(job, options)),
});

/** The last task that a run has, by the name of the run. */
type TaskOfRun = ReadonlyMap<string, ArrayTask>;

/** The tasks of submissions, by run: one that may still run before those that have ended, of which the last counts. */
async function tasksOf(submissions: readonly Submission[], isEndWanted = false): Promise<TaskOfRun> {
  const names = submissions.map(({ name }) => name);
  const tasks = await queuedTasks(names);
  const known = new Set(tasks.map(({ job, index }) => `${job}_${index}`));
  const accounts = isEndWanted ? await accountedTasks(names) : [];
  const all = [...tasks, ...accounts.filter(({ job, index }) => !known.has(`${job}_${index}`))];
  const found = new Map<string, ArrayTask>();
  for (const { name, runs } of submissions)
    for (const task of all) {
      const run = task.name === name ? runs[task.index] : undefined;
      if (run === undefined) continue;
      const before = found.get(run);
      if (before === undefined || !isLive(before)) found.set(run, task);
    }
  return found;
}

/** Submissions that have a run which is not done. */
function unfinished(submissions: readonly Submission[], units: readonly ExecutorUnit[]): Submission[] {
  const open = new Set(units.filter(({ state }) => state !== 'done').map(({ id }) => id));
  return submissions.filter(({ runs }) => runs.some((run) => open.has(run)));
}

async function train(job: ExecutorJob, options: SlurmOptions): Promise<Started> {
  const before = await adoptSubmissions(readSubmissions(job.dir), job.note);
  const units = job.units();
  const tasks = await tasksOf(unfinished(before, units));
  const wanted = new Set(job.wanted);
  const missing = units.filter(({ id, state }) => wanted.has(id) && state !== 'done' && !isLiveOf(tasks, id));
  if (missing.length > 0) await tellEnds(job, before, missing);
  const made = missing.length === 0 ? [] : await submitAll(job, missing, options);
  const all = [...before, ...made];
  const now = await tasksOf(unfinished(all, units));
  const chosen = units.filter(({ id }) => wanted.has(id));
  return {
    kind: 'handed over',
    ...told(job, chosen, now, made),
    follow: () => follow(job, all, units),
  };
}

/** Runs whose last job is told one by one. */
const MOST_TOLD = 10;

/** Says how the last jobs of runs ended that are submitted again. */
async function tellEnds(
  job: ExecutorJob,
  before: readonly Submission[],
  missing: readonly ExecutorUnit[],
): Promise<void> {
  const ids = new Set(missing.map(({ id }) => id));
  const tasks = await tasksOf(
    before.filter(({ runs }) => runs.some((run) => ids.has(run))),
    true,
  );
  const ended = missing.flatMap(({ id }) => {
    const task = tasks.get(id);
    return task === undefined ? [] : [{ id, task }];
  });
  for (const { id, task } of ended) job.event({ event: 'ended', run: id, job: task });
  for (const { id, task } of ended.slice(0, MOST_TOLD)) job.note(`${id}: submitted again after ${slurmWords(task)}`);
  if (ended.length > MOST_TOLD) job.note(`and ${ended.length - MOST_TOLD} more`);
}

/** Submits runs; those that go on from others after those. */
async function submitAll(
  job: ExecutorJob,
  missing: readonly ExecutorUnit[],
  options: SlurmOptions,
): Promise<Submission[]> {
  const runs = missing.map(({ id, resources, after }) => ({
    ...{ id, devices: resources.devices, after: after?.run ?? null },
  }));
  const made: { level: number; submission: Submission }[] = [];
  for (const { level, devices, runs: array } of arraysOf(runs, await largestArray())) {
    if (job.signal.aborted) throw new InterruptedError('stopped while submitting; the same command submits the rest');
    const after = made.flatMap((m) => (m.level === level - 1 && m.submission.job !== null ? [m.submission.job] : []));
    const batch = { study: job.name, runs: array.map(({ id }) => id), devices, after };
    const submission = await submit(job.dir, batch, options, job);
    job.event({ event: 'submitted', job: submission.job, runs: submission.runs });
    job.note(`submitted ${plural(array.length, 'run')} as job ${submission.job}`);
    made.push({ level, submission });
  }
  return made.map(({ submission }) => submission);
}

/** What a person and a program read of the runs that are wanted. */
function told(
  job: ExecutorJob,
  units: readonly ExecutorUnit[],
  tasks: TaskOfRun,
  made: readonly Submission[],
): { text: string; value: object } {
  const submitted = new Set(made.flatMap(({ runs }) => runs));
  const rows = units.map((unit) => ({ unit, task: tasks.get(unit.id) }));
  const table = rows.map(({ unit, task }) => [
    ...[unit.id, unit.state, task === undefined ? '' : `${task.job}_${task.index}`],
    ...[task?.state ?? '', task?.nodes ?? '', task?.reason ?? ''],
  ]);
  const done = units.filter(({ state }) => state === 'done').length;
  const waiting = rows.filter(({ unit }) => unit.state !== 'done' && isLiveOf(tasks, unit.id)).length;
  const summary =
    `${plural(units.length, 'run')}: ${done} done, ${waiting} with a job of Slurm` +
    `${submitted.size === 0 ? '' : `, ${submitted.size} of them submitted now`}\n` +
    `Jobs go on by themselves; the same command says how far they are, --follow waits for them, --cancel ends them. Logs: ${job.dir}/logs`;
  return {
    text: `${textTable([['id', 'run', 'job', 'job state', 'nodes', 'reason'], ...table], new Set())}\n${summary}`,
    value: {
      event: 'slurm',
      dir: job.dir,
      submitted: made.map((submission) => ({ job: submission.job, runs: submission.runs })),
      runs: rows.map(({ unit, task }) => ({ id: unit.id, state: unit.state, job: task ?? null })),
    },
  };
}

function isLiveOf(tasks: TaskOfRun, run: string): boolean {
  const task = tasks.get(run);
  return task !== undefined && isLive(task);
}

/** Looks at Slurm until no job of the runs that are wanted may run any more; a look that fails is no news. */
async function untilEnded(
  job: ExecutorJob,
  submissions: readonly Submission[],
  everyMs: number,
  seen: (tasks: TaskOfRun) => void,
): Promise<TaskOfRun> {
  let isTold = false;
  for (;;) {
    try {
      const tasks = await tasksOf(submissions);
      seen(tasks);
      isTold = false;
      if (!job.wanted.some((run) => isLiveOf(tasks, run))) return await tasksOf(submissions, true);
    } catch (error) {
      if (!(error instanceof SlurmError)) throw error;
      if (!isTold) job.note(`${error.message}; trying again`);
      isTold = true;
    }
    await rest(everyMs, job.signal);
    if (job.signal.aborted)
      throw new InterruptedError('stopped looking; jobs go on by themselves, and the same command finds them');
  }
}

function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(end, ms);
    function end(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      done();
    }
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
  });
}

async function follow(
  job: ExecutorJob,
  submissions: readonly Submission[],
  before: readonly ExecutorUnit[],
): Promise<UnitOutcome[]> {
  const doneBefore = new Set(before.filter(({ state }) => state === 'done').map(({ id }) => id));
  const last = new Map<string, string>();
  const tell = (tasks: TaskOfRun): void => {
    for (const { id, state } of job.units()) {
      const task = tasks.get(id);
      const now = `${state}${task === undefined || state === 'done' ? '' : ` (${slurmWords(task)})`}`;
      if (last.get(id) !== now && !doneBefore.has(id)) {
        job.note(`${id}: ${now}`);
        job.event({ event: 'run', run: id, state, job: task ?? null });
      }
      last.set(id, now);
    }
  };
  const tasks = await untilEnded(job, unfinished(submissions, before), LOOK_MS, tell);
  tell(tasks);
  const wanted = new Set(job.wanted);
  return job
    .units()
    .filter(({ id }) => wanted.has(id))
    .map(({ id, state, message }): UnitOutcome => {
      if (state === 'done') return { name: id, state: doneBefore.has(id) ? 'done before' : 'done' };
      const task = tasks.get(id);
      const why = task === undefined ? 'Slurm knows no job of it' : slurmWords(task);
      const isFailed = state === 'failed';
      const said = isFailed && message !== null ? message : `${state}, ${why}`;
      return { name: id, state: isFailed ? 'failed' : 'stopped', message: said };
    });
}

function slurmWords({ job, index, state, nodes, reason }: ArrayTask): string {
  const where = nodes === '' ? '' : ` on ${nodes}`;
  return `job ${job}_${index} ${state}${where}${reason === '' ? '' : `, ${reason}`}`;
}

/** Cancels every job of the study, and waits until running ones have saved their state. */
async function cancel(job: ExecutorJob): Promise<Started> {
  const submissions = await adoptSubmissions(readSubmissions(job.dir), job.note);
  const wanted = new Set(job.wanted);
  const tasks = await tasksOf(unfinished(submissions, job.units()));
  const live = [...tasks].filter(([run, task]) => wanted.has(run) && isLive(task));
  if (live.length > 0) {
    await call(
      'scancel',
      live.map(([, { job: id, index }]) => `${id}_${index}`),
    );
    job.note(`${plural(live.length, 'job')} canceled; waiting until their runs have saved their state`);
    await untilEnded(job, submissions, CANCEL_LOOK_MS, () => undefined);
  }
  const units = job.units().filter(({ id }) => wanted.has(id));
  const counts = new Map<string, number>();
  for (const { state } of units) counts.set(state, (counts.get(state) ?? 0) + 1);
  return {
    kind: 'handed over',
    text: `${plural(live.length, 'job')} canceled; ${[...counts].map(([state, n]) => `${n} ${state}`).join(', ')}. The same command without --cancel goes on.`,
    value: { event: 'canceled', dir: job.dir, canceled: live.map(([run]) => run), counts: Object.fromEntries(counts) },
  };
}
