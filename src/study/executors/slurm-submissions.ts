/**
 * The job arrays of a study, as its folder keeps them: `slurm/N/` holds what was submitted as the N-th (the list of
 * runs, the script, the job's name and, once Slurm has said it, its id). The name is written before Slurm hears of the
 * job and no other job has it, so that a process which goes on after a kill finds what was submitted.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import {
  field,
  makeFolder,
  namesIn,
  parseHolder,
  processOf,
  readJson,
  stateOf,
  StoreError,
  tryToRemove,
  writeFileAtomic,
  writeJsonAtomic,
} from '../../core/index.js';
import { cleanEnvironment, queuedTasks } from './slurm-commands.js';
import {
  arrayScript,
  RUNS_FILE,
  sbatchArguments,
  SCRIPT_FILE,
  SECRET_FILE,
  type SlurmOptions,
} from './slurm-script.js';

const FOLDER = 'slurm';
const FILE = 'submission.json';
/** Names the process that submits, from before Slurm hears of the job until its id is known. */
const SUBMITTING_FILE = 'submitting.json';
/** Milliseconds that a submitting process of a killed call gets to end. */
const SUBMITTING_MS = 120_000;

/** The schema of `submission.json`. */
export const submissionSchema = z.object({
  format: field(z.literal(1), 'version of the format'),
  name: field(z.string(), 'name of the job, which no other job has'),
  runs: field(z.array(z.string()), 'names of the runs; task i trains the i-th'),
  job: field(z.string().nullable(), 'id of the job; null until Slurm has said it'),
});

/** A job array of a study. */
export interface Submission {
  /** The number of the submission, from 1 in their order. */
  readonly number: number;
  readonly folder: string;
  readonly name: string;
  /** Task i trains the i-th. */
  readonly runs: readonly string[];
  readonly job: string | null;
}

/** Runs that are submitted together. */
export interface Batch {
  readonly study: string;
  readonly runs: readonly string[];
  /** The number of devices that each run takes, over all of its nodes. */
  readonly devices: number;
  /** Job ids that must have ended before. */
  readonly after: readonly string[];
}

/** What the submissions of a study folder have been, oldest first. */
export function readSubmissions(dir: string): Submission[] {
  const root = join(dir, FOLDER);
  if (!existsSync(root)) return [];
  const numbers = namesIn(root)
    .filter((name) => /^[1-9]\d*$/.test(name))
    .map(Number);
  return numbers
    .sort((a, b) => a - b)
    .flatMap((number) => {
      const folder = join(root, String(number));
      const path = join(folder, FILE);
      if (!existsSync(path)) return []; // not submitted yet
      const { success, data } = submissionSchema.safeParse(readJson(path));
      if (!success)
        throw new StoreError(`${path} is not what longsight has submitted; remove ${folder} if no job of it runs`);
      const { name, runs, job } = data;
      return [{ number, folder, name, runs, job }];
    });
}

function store({ folder, name, runs }: Submission, job: string | null): void {
  writeJsonAtomic(join(folder, FILE), { format: 1, name, runs, job });
}

/**
 * Finds the jobs of submissions whose id was not written down, because the process that submitted them was killed.
 * Waits for what such a process has left at work.
 *
 * @returns the submissions that have a job
 */
export async function adoptSubmissions(
  submissions: readonly Submission[],
  note: (text: string) => void,
): Promise<Submission[]> {
  const open = submissions.filter(({ job }) => job === null);
  for (const { folder } of open) await submittingEnds(folder);
  const tasks = await queuedTasks(open.map(({ name }) => name));
  return submissions.flatMap((submission) => {
    if (submission.job !== null) return [submission];
    const job = tasks.find(({ name }) => name === submission.name)?.job;
    if (job === undefined) return []; // never submitted, or over for so long that Slurm has forgotten it
    store(submission, job);
    note(`job ${job} was submitted by an earlier call, which was killed before it could say so`);
    return [{ ...submission, job }];
  });
}

/** Waits until nobody is about to submit; a process that cannot be seen from here gets a fixed time. */
async function submittingEnds(folder: string): Promise<void> {
  const path = join(folder, SUBMITTING_FILE);
  const begin = performance.now();
  while (existsSync(path) && performance.now() - begin < SUBMITTING_MS) {
    const holder = parseHolder(readFileSync(path, 'utf8'));
    if (holder === null || stateOf(holder) === 'gone') break;
    await new Promise((done) => setTimeout(done, 200));
  }
  tryToRemove(path);
}

/**
 * Submits a job array. At every moment the folder says enough to find its job: the name is written first, then the
 * process that will submit, which only begins once it is told to.
 *
 * @throws StoreError in Slurm's words if it takes no such job
 */
export async function submit(
  dir: string,
  batch: Batch,
  options: SlurmOptions,
  here: Parameters<typeof arrayScript>[2],
): Promise<Submission> {
  const number = (readNumbers(dir).at(-1) ?? 0) + 1;
  const folder = join(dir, FOLDER, String(number));
  const name = `longsight-${batch.study}-${randomBytes(8).toString('hex')}`;
  const job = { name, dir, folder, ...batch };
  const args = sbatchArguments(job, options);
  makeFolder(folder);
  writeFileAtomic(join(folder, RUNS_FILE), batch.runs.map((run) => `${run}\n`).join(''));
  writeFileAtomic(join(folder, SCRIPT_FILE), arrayScript(job, options, here));
  if (options.nodes > 1)
    writeFileSync(join(folder, SECRET_FILE), `${randomBytes(32).toString('hex')}\n`, { flag: 'wx', mode: 0o600 });
  const submission = { number, folder, name, runs: batch.runs, job: null };
  store(submission, null);
  const said = await sbatch(folder, args);
  // Slurm may have taken a job whose submission failed: its answer came too late.
  const id = said.id ?? (await queuedTasks([name]))[0]?.job;
  if (id === undefined) {
    tryToRemove(join(folder, FILE));
    throw new StoreError(`sbatch failed: ${said.words}`);
  }
  store(submission, id);
  return { ...submission, job: id };
}

function readNumbers(dir: string): number[] {
  const root = join(dir, FOLDER);
  if (!existsSync(root)) return [];
  const names = namesIn(root).filter((name) => /^[1-9]\d*$/.test(name));
  return names.map(Number).sort((a, b) => a - b);
}

/** Runs `sbatch`; gives the job's id, or its words where it failed. */
async function sbatch(folder: string, args: readonly string[]): Promise<{ id: string | undefined; words: string }> {
  const note = join(folder, SUBMITTING_FILE);
  // The shell becomes sbatch, with the same number, once it is told to; it ends without a word if this process is gone.
  const child = spawn('sh', ['-c', 'read -r go && exec sbatch "$@" </dev/null', 'sh', ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: cleanEnvironment(process.env),
  });
  const text = { out: '', err: '' };
  child.stdout.on('data', (part: Buffer) => (text.out += part.toString()));
  child.stderr.on('data', (part: Buffer) => (text.err += part.toString()));
  const ended = new Promise<void>((done) => {
    child.on('error', (error) => {
      text.err ||= error.message;
      done();
    });
    child.on('close', () => done());
  });
  if (child.pid !== undefined) writeJsonAtomic(note, processOf(child.pid));
  child.stdin.on('error', () => undefined); // it says itself why it ended
  child.stdin.end('go\n');
  await ended;
  tryToRemove(note);
  // `--parsable` prints the id, and behind a semicolon the cluster.
  const [, id] = /^(\d+)(;|$)/m.exec(text.out.trim()) ?? [];
  return { id, words: text.err.trim().split('\n')[0] ?? 'it said nothing' };
}
