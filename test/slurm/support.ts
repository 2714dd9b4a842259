/** A Slurm cluster for a test (`cluster.sh`), the built command line on it, and what runs have left. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../support/ports.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const SCRIPT = fileURLToPath(new URL('cluster.sh', import.meta.url));

/** Why there can be no cluster here; null if there can. */
export function whyNoSlurm(): string | null {
  const has = (name: string) => spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;
  const missing = ['sbatch', 'slurmctld', 'slurmd', 'munged', 'unshare'].filter((name) => !has(name));
  if (missing.length > 0)
    return `Slurm is not installed (${missing.join(', ')}): apt-get install slurm-wlm munge, then npm run test:slurm`;
  if (process.getuid?.() !== 0) return 'the daemons of the test cluster need root';
  return null;
}

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A task of a job array: `ID_INDEX`, its job's name, state, reason and node. */
export interface Task {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly reason: string;
  readonly node: string;
  readonly restarts: number;
}

export class Cluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'longsight-slurm-'));
  readonly env: NodeJS.ProcessEnv;
  readonly #dark = new Set<'node-a' | 'node-b'>();

  constructor() {
    // A host that has lost its power counts as dead after so many seconds.
    this.env = { ...process.env, SLURM_CONF: join(this.folder, 'slurm.conf'), LONGSIGHT_LOCK_SECONDS: '8' };
    this.#script('start');
  }

  #script(...[what, ...more]: [string, ...string[]]): void {
    execFileSync(SCRIPT, [what, this.folder, ...more], { stdio: ['ignore', 'ignore', 'inherit'] });
  }

  cutPower(node: 'node-a' | 'node-b'): void {
    this.#script('down', node);
    this.#dark.add(node);
  }

  powerOn(node: 'node-a' | 'node-b'): void {
    this.#script('up', node);
    this.#dark.delete(node);
  }

  /** Whether it keeps accounts (`slurmdbd`). */
  get keepsAccounts(): boolean {
    return existsSync(join(this.folder, 'slurmdbd.conf'));
  }

  /** Kills the processes of a node whose command line has these words; the number of them. */
  kill(node: 'node-a' | 'node-b', words: string): number {
    const spaceOf = (pid: string) => readlinkSync(`/proc/${pid}/ns/uts`);
    const space = spaceOf(readFileSync(join(this.folder, `slurmd-${node}.pid`), 'utf8').trim());
    const isOne = (pid: string) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        // The program itself, not what started it.
        return spaceOf(pid) === space && command[0]?.endsWith('node') === true && command.join(' ').includes(words);
      } catch {
        return false; // ended meanwhile
      }
    };
    const found = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && isOne(name));
    for (const pid of found) process.kill(Number(pid), 'SIGKILL');
    return found.length;
  }

  /** Performs a run on two processes of this host, without Slurm, by a program of nodes; their exit codes. */
  async runNodes(program: string, study: string, run: string): Promise<(number | null)[]> {
    const port = await freePort();
    const env = { ...this.env, LONGSIGHT_COORDINATOR: `127.0.0.1:${port}`, LONGSIGHT_NODES: '2' };
    const nodes = ['0', '1'].map(async (LONGSIGHT_NODE): Promise<number | null> => {
      const how = { env: { ...env, LONGSIGHT_NODE }, stdio: 'ignore' as const };
      const child = spawn(process.execPath, [program, 'study', 'run', study, run], how);
      return new Promise((done) => child.on('close', done));
    });
    return Promise.all(nodes);
  }

  /** Has `squeue` forget jobs soon after their end. */
  forget(): void {
    this.#script('forget');
  }

  /** Starts the nodes that a test has left without power. */
  allOn(): void {
    for (const node of this.#dark) this.powerOn(node);
  }

  [Symbol.dispose](): void {
    this.#script('stop');
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** What a command of Slurm prints. */
  slurm(command: string, ...args: string[]): string {
    return execFileSync(command, args, { env: this.env, encoding: 'utf8' });
  }

  /** Whether a command of Slurm succeeds. */
  tries(command: string, ...args: string[]): boolean {
    return spawnSync(command, args, { env: this.env, stdio: 'ignore' }).status === 0;
  }

  /** All tasks of studies. */
  tasks(): Task[] {
    const text = this.slurm('squeue', '--noheader', '--array', '--states=all', '--format=%i|%j|%T|%r|%N|%A');
    return text
      .split('\n')
      .map((line) => line.trim().split('|'))
      .filter(([, name]) => name?.startsWith('longsight-') === true)
      .flatMap(([id = '', name = '', state = '', reason = '', node = '', job = '']) => {
        const shown = spawnSync('scontrol', ['show', 'job', job.includes('_') ? id : job], { env: this.env });
        if (shown.status !== 0) return []; // forgotten meanwhile
        const [, restarts = '0'] = / Restarts=(\d+)/.exec(shown.stdout.toString()) ?? [];
        return [{ id, name, state, reason, node, restarts: Number(restarts) }];
      });
  }

  /**
   * Spares requeued jobs most of the two minutes that Slurm has them wait. Not all: a node refuses a job that it has been told to kill in
   * the same second.
   */
  hurry(): void {
    const text = this.slurm('squeue', '--noheader', '--array', '--states=PENDING', '--format=%i|%r|%S');
    for (const line of text.split('\n')) {
      const [id, reason, start = ''] = line.trim().split('|');
      if (id !== undefined && reason === 'BeginTime' && new Date(start).getTime() - Date.now() > 10_000)
        spawnSync('scontrol', ['update', `JobId=${id}`, 'StartTime=now+5'], { env: this.env });
    }
  }

  start(cwd: string, ...args: string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
    const child = spawn(process.execPath, [MAIN, ...args], { cwd, env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    const text = { out: '', err: '' };
    child.stdout.on('data', (part) => (text.out += String(part)));
    child.stderr.on('data', (part) => (text.err += String(part)));
    return { child, ended: new Promise((done) => child.on('close', (code) => done({ code, ...text }))) };
  }

  longsight(cwd: string, ...args: string[]): Promise<Ended> {
    return this.start(cwd, ...args).ended;
  }
}

export async function until(condition: () => boolean, what: string, everyMs = 200, limitMs = 240_000): Promise<void> {
  const begin = performance.now();
  while (!condition()) {
    if (performance.now() - begin > limitMs) throw new Error(`waited in vain until ${what}`);
    await new Promise((done) => setTimeout(done, everyMs));
  }
}

const read = (...path: string[]): string => readFileSync(join(...path), 'utf8');

/** SHA-256 of the weights that a run has come to. */
export function weights(study: string, run: string, step: number): string {
  const folder = join(study, 'runs', run, 'checkpoints', `step-${String(step).padStart(6, '0')}`);
  return createHash('sha256')
    .update(readFileSync(join(folder, 'model.safetensors')))
    .digest('hex');
}

/** The steps whose loss a run has logged, as they stand in its metrics. */
export function loggedSteps(study: string, run: string): number[] {
  const path = join(study, 'runs', run, 'metrics.jsonl');
  if (!existsSync(path)) return [];
  const lines = read(path).split('\n');
  return lines
    .slice(0, -1) // whole lines
    .map((line) => JSON.parse(line) as Record<string, number>)
    .flatMap((line) => ('train/loss' in line ? [line['step'] ?? -1] : []));
}
