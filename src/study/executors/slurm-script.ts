/** What a Slurm job array of a study runs: the script, and the options of `sbatch` for it. */
import { z } from 'zod';
import { ConfigError, maxOf, showValue } from '../../core/index.js';

/** Options that the executor sets itself, with what asks for the same in its own words. */
const OWN: Readonly<Record<string, string>> = {
  '--array': 'limit',
  '-a': 'limit',
  '--job-name': '',
  '-J': '',
  '--parsable': '',
  '--output': '',
  '-o': '',
  '--open-mode': '',
  '--requeue': '',
  '--no-requeue': '',
  '--signal': 'graceSeconds',
  '--nodes': 'nodes',
  '-N': 'nodes',
  '--ntasks': 'nodes',
  '-n': 'nodes',
  '--ntasks-per-node': 'nodes',
  '--gpus-per-task': 'gpusPerTask',
  '--cpus-per-task': 'cpusPerTask',
  '-c': 'cpusPerTask',
  '--partition': 'partition',
  '-p': 'partition',
  '--time': 'time',
  '-t': 'time',
  '--wrap': '',
  '--wait': '',
  '-W': '',
  '--test-only': '',
  '--dependency': '',
  '-d': '',
};

/** The name of an option of `sbatch`: `--mem` of `--mem=4G`, `-A` of `-Alab`. */
const nameOf = (option: string): string =>
  option.startsWith('--') ? (option.split('=')[0] ?? option) : option.slice(0, 2);

/** The option of `OWN` that `sbatch` takes a shortened option for; the same name if there is none. */
function fullName(name: string): string {
  const isShortened = /^--[a-z]/.test(name) && !(name in OWN) && name !== '--gpus';
  return (isShortened ? Object.keys(OWN).find((own) => own.startsWith(name)) : undefined) ?? name;
}

const freeOption = z.string().superRefine((option, context) => {
  if (!/^--?[A-Za-z]/.test(option))
    context.addIssue({
      code: 'custom',
      message: `must begin with - or --, such as --mem=16G, got ${showValue(option)}`,
    });
  const name = nameOf(option);
  if (/\s/.test(name) || /^-\w\s/.test(option))
    context.addIssue({
      code: 'custom',
      message: `an option and its value are one word, such as --mem=16G or -Alab, got ${showValue(option)}`,
    });
  const full = fullName(name);
  const own = OWN[full];
  if (own !== undefined)
    context.addIssue({
      code: 'custom',
      message: `${name}${full === name ? '' : `, short for ${full},`} is set by longsight${own === '' ? '' : `; use ${own}`}`,
    });
});

/** One line without what a shell or sbatch would read as more than a word. */
const word = z.string().regex(/^[^\s,'"$`\\]+$/, 'must be one word');

/** `executors.slurm` of a study file. */
export const slurmOptions = z.strictObject({
  partition: z.string().min(1).optional().describe('partitions, with commas between (default: that of the cluster)'),
  time: z
    .union([z.int().min(1), z.string().regex(/^\d+(-\d+)?(:\d+){0,2}$/, 'minutes, or such as 4:00:00 or 1-12')])
    .optional()
    .describe('time limit of a run: minutes, or such as 4:00:00; a run that meets it goes on in the next turn'),
  gpusPerTask: z
    .int()
    .min(0)
    .optional()
    .describe('GPUs of a run on each of its nodes (default: the devices of its mesh; none for runs without one)'),
  cpusPerTask: z.int().min(1).optional().describe('CPUs of a run on each of its nodes (default: that of the cluster)'),
  nodes: z.int().min(1).default(1).describe('nodes that a run spans; more than one needs an accelerator and a mesh'),
  limit: z.int().min(1).optional().describe('runs at once (default: as many as the cluster gives)'),
  graceSeconds: z
    .int()
    .min(1)
    .max(65_535)
    .default(120)
    .describe('seconds before the time limit at which a run saves its state and is queued again'),
  retries: z
    .int()
    .min(0)
    .default(2)
    .describe(
      'times that a run is queued again whose process was killed (out of memory, a crash, a node of several lost)',
    ),
  options: z
    .array(freeOption)
    .default([])
    .describe('further options of sbatch, such as --account=lab or --mem=16G, one a line'),
  setup: z.array(z.string()).default([]).describe('lines of shell before a run starts, such as module load cuda'),
  command: z
    .array(word)
    .min(1)
    .optional()
    .describe('what starts longsight on the nodes (default: node and the package by which the study was submitted)'),
});

/** `executors.slurm`, defaults filled in. */
export type SlurmOptions = z.output<typeof slurmOptions>;

/** A job array that is to be submitted. */
export interface ArrayJob {
  readonly name: string;
  /** The study folder, as an absolute path. */
  readonly dir: string;
  /** The folder of the submission, which holds the list of runs, one a line, and the script. */
  readonly folder: string;
  readonly runs: readonly string[];
  /** Devices that each run takes, over all of its nodes. */
  readonly devices: number;
  /** Job ids that must have ended before. */
  readonly after: readonly string[];
}

/** The file of a submission that lists its runs, one a line. */
export const RUNS_FILE = 'runs.txt';
/** The file of a submission that holds its script. */
export const SCRIPT_FILE = 'job.sh';
/** The file of a submission that holds the secret which the nodes of a run share. */
export const SECRET_FILE = 'secret';

/**
 * The arguments of `sbatch` for a job array.
 *
 * @throws ConfigError if the devices of a run do not divide over its nodes
 */
export function sbatchArguments(job: ArrayJob, options: SlurmOptions): string[] {
  const { nodes, limit, partition, time, cpusPerTask, graceSeconds } = options;
  const gpus = options.gpusPerTask ?? (job.devices > 1 ? job.devices / nodes : 0);
  if (!Number.isInteger(gpus))
    throw new ConfigError(
      `executors.slurm.nodes: ${job.devices} devices of a mesh do not divide over ${nodes} nodes; change one of the two`,
    );
  return [
    ...['--parsable', `--job-name=${job.name}`, '--requeue'],
    `--array=0-${job.runs.length - 1}${limit === undefined ? '' : `%${limit}`}`,
    ...[`--output=${job.folder}/%a.log`, '--open-mode=append', `--signal=B:USR1@${graceSeconds}`],
    ...[`--nodes=${nodes}`, `--ntasks=${nodes}`, '--ntasks-per-node=1'],
    ...(gpus === 0 ? [] : [`--gpus-per-task=${gpus}`]),
    ...(cpusPerTask === undefined ? [] : [`--cpus-per-task=${cpusPerTask}`]),
    ...(partition === undefined ? [] : [`--partition=${partition}`]),
    ...(time === undefined ? [] : [`--time=${time}`]),
    ...(job.after.length === 0 ? [] : [`--dependency=afterany:${job.after.join(':')}`]),
    ...options.options,
    `${job.folder}/${SCRIPT_FILE}`,
  ];
}

/** Text as one word of a POSIX shell. */
export const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

const SEVERAL_NODES = `
# One process on each node; the first serves the store by which they find one another.
LONGSIGHT_COORDINATOR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((10240 + SLURM_JOB_ID % 20000))"
export LONGSIGHT_COORDINATOR LONGSIGHT_NODES="$SLURM_NNODES" LONGSIGHT_COORDINATOR_SECRET_FILE="$submission/${SECRET_FILE}"`;

/** The script of a job array, for bash: each task trains the run that its index names. */
export function arrayScript(
  { dir, folder }: Pick<ArrayJob, 'dir' | 'folder'>,
  { nodes, setup, command, retries }: SlurmOptions,
  here: { readonly command: readonly string[]; readonly runOptions: readonly string[] },
): string {
  const words = [...(command ?? here.command), 'study', 'run'].map(shellWord).join(' ');
  // The paths come first, so that what follows needs no quotes whatever they are.
  const start = `${words} "$study" "$run" ${here.runOptions.map(shellWord).join(' ')}`.trimEnd();
  const node = `sh -c 'LONGSIGHT_NODE=$SLURM_NODEID exec "$@"' sh `;
  return `#!/bin/bash
# Written by longsight study --executor slurm: task i of the array trains run i of ${RUNS_FILE}.
step= asked= leave=
# Again and again: what comes before the run listens is lost.
tell() { while kill -USR1 "$step" 2>/dev/null; do sleep 5; done; }
# Slurm sends SIGTERM to the step itself, which srun would kill on a second one.
trap 'asked=1' TERM
trap 'asked=1 leave=1; if [ -n "$step" ]; then tell >/dev/null 2>&1 & fi' USR1
study=${shellWord(dir)}
submission=${shellWord(folder)}
run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$submission/${RUNS_FILE}")
if [ -z "$run" ]; then
  echo "longsight: $submission/${RUNS_FILE} has no line for task $SLURM_ARRAY_TASK_ID" >&2
  exit 2
fi
mkdir -p "$study/logs"
${setup.join('\n')}${nodes > 1 ? SEVERAL_NODES : ''}
# Steps do not take this from the job by themselves.
if [ -n "$SLURM_CPUS_PER_TASK" ]; then export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"; fi

# A step of its own: Slurm sends SIGTERM to steps where a preempted job has time left, not to this script.
srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 ${nodes > 1 ? node : ''}${start} >>"$study/logs/$run.log" 2>&1 &
step=$!
if [ -n "$leave" ]; then tell >/dev/null 2>&1 & fi
while :; do
  asked=
  wait "$step"
  code=$?
  if [ -z "$asked" ]; then break; fi
done

# A signal that comes before srun listens ends it; then nothing is lost either.
if [ -n "$leave" ] && [ "$code" -gt 128 ]; then code=75; fi

# Killed by something else: tried again, but not for ever.
if [ "$code" -gt 128 ]; then
  killed="$submission/$SLURM_ARRAY_TASK_ID.killed"
  touch "$killed"
  if [ "$(wc -l <"$killed")" -lt ${retries} ]; then
    echo "code $code on $SLURM_JOB_NODELIST" >>"$killed"
    code=75
  fi
fi

# 75: its state is saved, or it waits for something. A job that Slurm ends itself (canceled, requeued) is no longer RUNNING.
if [ "$code" -eq 75 ] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
`;
}

/** Runs that may be one array: as many devices each, and what they go on from is in an array before. */
export function arraysOf<T extends { readonly id: string; readonly devices: number; readonly after: string | null }>(
  runs: readonly T[],
  largest: number,
): readonly { readonly level: number; readonly devices: number; readonly runs: readonly T[] }[] {
  const byId = new Map(runs.map((run) => [run.id, run]));
  const levelOf = (run: T): number => {
    const before = run.after === null ? undefined : byId.get(run.after);
    return before === undefined ? 0 : 1 + levelOf(before);
  };
  const levels = runs.map(levelOf);
  const found: { level: number; devices: number; runs: T[] }[] = [];
  for (let level = 0; level <= maxOf([0, ...levels]); level++)
    runs.forEach((run, i) => {
      if (levels[i] !== level) return;
      const open = found.find((a) => a.level === level && a.devices === run.devices && a.runs.length < largest);
      if (open === undefined) found.push({ level, devices: run.devices, runs: [run] });
      else open.runs.push(run);
    });
  return found;
}
