/** Slurm's commands, and what they print. */
import { execFile, type ExecFileException } from 'node:child_process';
import { ConfigError, StoreError, type LongsightError } from '../../core/index.js';

/** A task of a job array, as Slurm tells it. */
export interface ArrayTask {
  /** The id of the array's job. */
  readonly job: string;
  /** The index in the array. */
  readonly index: number;
  /** The name of the array's job. */
  readonly name: string;
  /** Slurm's word: `PENDING`, `RUNNING`, `TIMEOUT` and so on. */
  readonly state: string;
  /** Why it waits or ended; empty if Slurm gives no reason. */
  readonly reason: string;
  /** The nodes that it has or had; empty for none. */
  readonly nodes: string;
}

/** States after which Slurm does nothing more with a job. */
const ENDED = new Set([
  ...['BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL', 'OUT_OF_MEMORY', 'PREEMPTED'],
  ...['REVOKED', 'TIMEOUT'],
]);

/** Whether Slurm may still run a task. */
export const isLive = ({ state }: ArrayTask): boolean => !ENDED.has(state);

/** Milliseconds that a command of Slurm gets. */
const LIMIT_MS = 120_000;
/** Variables that Slurm's commands read; others that begin with SLURM_ describe the job of this process, if any. */
const READ_BY_COMMANDS = new Set(['SLURM_CONF', 'SLURM_CLUSTERS', 'SLURM_JWT', 'SLURM_CONF_SERVER']);

/** The environment for a job that is no part of the job which this process may run in. */
export function cleanEnvironment(env: Readonly<Record<string, string | undefined>>): NodeJS.ProcessEnv {
  const isKept = ([name]: [string, unknown]) => !name.startsWith('SLURM_') || READ_BY_COMMANDS.has(name);
  return Object.fromEntries(Object.entries(env).filter(isKept));
}

/** How a command of Slurm failed. */
export class SlurmError extends StoreError {}

/** The error that a failed command of Slurm becomes: in Slurm's words, the first line. */
function failure(command: string, error: ExecFileException, stderr: string): LongsightError {
  if (error.code === 'ENOENT')
    return new ConfigError(
      `the executor slurm (--executor) needs Slurm's commands, and ${command} is not there; call it on a host of the cluster from which jobs are submitted`,
    );
  const words = stderr.trim().split('\n')[0] ?? '';
  return new SlurmError(`${command} failed: ${words === '' ? error.message : words}`);
}

/**
 * What a command of Slurm prints.
 *
 * @throws ConfigError where there is no such command
 * @throws SlurmError in Slurm's words if it fails
 */
export function call(command: string, args: readonly string[]): Promise<string> {
  const options = { timeout: LIMIT_MS, maxBuffer: 2 ** 28, env: cleanEnvironment(process.env) };
  return new Promise((resolve, reject) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(failure(command, error, stderr));
    });
  });
}

/** Every task of the jobs of these names that Slurm still knows, those that ended a while ago excepted. */
export async function queuedTasks(names: readonly string[]): Promise<ArrayTask[]> {
  if (names.length === 0) return [];
  const format = '--format=%i|%j|%T|%r|%N';
  const text = await call('squeue', ['--noheader', '--array', '--states=all', `--name=${names.join(',')}`, format]);
  return parseTasks(text);
}

/** How far `sacct` looks back. */
const SINCE = '--starttime=now-60days';

/** How tasks ended that `squeue` no longer knows; none where the cluster keeps no accounts. */
export async function accountedTasks(names: readonly string[]): Promise<ArrayTask[]> {
  if (names.length === 0) return [];
  // Without --array, which Slurm 22.05 refuses: it only tells apart tasks that have not begun.
  const args = ['--noheader', '--parsable2', '--allocations', `--name=${names.join(',')}`, SINCE];
  try {
    return parseTasks(await call('sacct', [...args, '--format=JobID,JobName,State,ExitCode,NodeList']));
  } catch (error) {
    if (error instanceof SlurmError || error instanceof ConfigError) return [];
    throw error;
  }
}

/** Lines of five fields: `ARRAY_INDEX|NAME|STATE|REASON|NODES`; what is no task of an array is left out. */
export function parseTasks(text: string): ArrayTask[] {
  return text.split('\n').flatMap((line) => {
    const [id = '', name = '', state = '', reason = '', nodes = ''] = line.trim().split('|');
    const [, job, index] = /^(\d+)_(\d+)$/.exec(id) ?? [];
    if (job === undefined || index === undefined) return [];
    // sacct writes `CANCELLED by 1000`, and an exit code where squeue gives a reason.
    const [word = ''] = state.split(/[ +]/);
    const why = ['None', '0:0'].includes(reason) ? '' : reason;
    const where = nodes === 'None assigned' ? '' : nodes;
    return [{ job, index: Number(index), name, state: word, reason: why, nodes: where }];
  });
}

/** The largest number of tasks of a job array that the cluster takes. */
export async function largestArray(): Promise<number> {
  const text = await call('scontrol', ['show', 'config']);
  const [, most] = /^MaxArraySize\s*=\s*(\d+)/m.exec(text) ?? [];
  // Indices are below the number.
  return most === undefined ? 1000 : Math.max(1, Number(most));
}
