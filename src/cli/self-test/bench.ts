/** What the checks of the self-test work with: a temporary folder, and the program itself in processes of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InterruptedError } from '../../core/index.js';
import type { EngineName } from '../../engine/index.js';
import { contentsOfRun } from './run-contents.js';

/** How a process ended. */
export interface Ending {
  /** The exit status, from 0 to 255; null for a process that a signal ended. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a check needs to know. */
export interface BenchOptions {
  /** A folder that is there and empty; it is removed after the checks. */
  readonly folder: string;
  /** The script that starts the command line. */
  readonly mainPath: string;
  /** The engine that trains. */
  readonly engine: EngineName;
  /** Threads of the engine (default: as many as it takes). */
  readonly threads?: number | undefined;
  /** Ends every process. */
  readonly signal: AbortSignal;
}

/** The most characters that are kept of what a process prints. */
const KEPT = 100_000;

/** A run that takes a second or two and is checkpointed all the time. */
const RUN = {
  deterministic: true,
  model: { hiddenSize: 16, layers: 'swa:4 full', numHeads: 2, intermediateSize: 32 },
  data: { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 },
  train: {
    ...{ seqLen: 16, batchSize: 4, steps: 48, lr: 0.01, warmupSteps: 2 },
    ...{ logEvery: 2, evalEvery: 24, checkpointEvery: 8 },
  },
  eval: { batches: 1, trace: false },
} as const;

/** The file in a run folder that says that the first checkpoint of `RUN` is whole. */
const FIRST_CHECKPOINT = join('checkpoints', 'step-000008', 'state.json');

/** Starts processes, and ends all that are left when it is disposed. */
export class Bench implements Disposable {
  readonly folder: string;
  /** The run file of a small training. */
  readonly runFile: string;
  readonly mainPath: string;
  readonly engine: EngineName;
  readonly signal: AbortSignal;
  readonly #children = new Set<ChildProcess>();
  readonly #end = (): void => this[Symbol.dispose]();
  #whole: Promise<string> | null = null;

  constructor({ folder, mainPath, engine, threads, signal }: BenchOptions) {
    this.folder = folder;
    this.mainPath = mainPath;
    this.engine = engine;
    this.signal = signal;
    this.runFile = join(folder, 'run.yaml');
    writeFileSync(this.runFile, JSON.stringify({ ...RUN, engine, threads }));
    signal.addEventListener('abort', this.#end, { once: true });
  }

  /** Starts a program in the temporary folder. */
  start(command: string, args: readonly string[]): { readonly child: ChildProcess; readonly ended: Promise<Ending> } {
    this.signal.throwIfAborted();
    // A mesh over several hosts is not what is tested.
    const env = { ...process.env, LONGSIGHT_COORDINATOR: '' };
    const child = spawn(command, args, { cwd: this.folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.add(child);
    const text = { stdout: '', stderr: '' };
    const keep = (key: 'stdout' | 'stderr') => (chunk: Buffer) =>
      (text[key] = (text[key] + chunk.toString()).slice(-KEPT));
    child.stdout.on('data', keep('stdout'));
    child.stderr.on('data', keep('stderr'));
    const ended = new Promise<Ending>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) => {
        this.#children.delete(child);
        if (this.signal.aborted) reject(new InterruptedError('the self-test was stopped'));
        else resolve({ code, ...text });
      });
    });
    ended.catch(() => undefined); // whoever waits is told
    return { child, ended };
  }

  /** Starts a script of this package. */
  script(path: string, args: readonly string[]): ReturnType<Bench['start']> {
    return this.start(process.execPath, [path, ...args]);
  }

  /** Starts the small training in a run folder, or goes on with it if it has begun. */
  train(out: string): ReturnType<Bench['start']> {
    return this.script(this.mainPath, trainArguments(this.runFile, out));
  }

  /** What the training leaves when nothing stops it, computed once. */
  whole(): Promise<string> {
    return (this.#whole ??= this.#trainWhole());
  }

  async #trainWhole(): Promise<string> {
    const out = join(this.folder, 'whole');
    const { code, stderr } = await this.train(out).ended;
    if (code !== 0) throw new Error(`a small training failed: ${lastLine(stderr)}`);
    return contentsOfRun(out);
  }

  [Symbol.dispose](): void {
    this.signal.removeEventListener('abort', this.#end);
    for (const child of this.#children) child.kill('SIGKILL');
  }
}

/** What begins the training of a run file in a folder, or goes on with it. */
export function trainArguments(runFile: string, out: string): string[] {
  const begun = existsSync(join(out, 'config.json'));
  return ['train', runFile, '--out', out, '--quiet', ...(begun ? ['--resume'] : [])];
}

/** Whether a run has its first checkpoint. */
export const hasCheckpoint = (out: string): boolean => existsSync(join(out, FIRST_CHECKPOINT));

/** The last line of what a process printed. */
export const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

/** Waits in steps of some milliseconds until something holds, or a process has ended. */
export async function until(holds: () => boolean, ended: Promise<unknown>, stepMs = 4): Promise<boolean> {
  let over = false;
  const end = (): void => void (over = true);
  ended.then(end, end);
  while (!over && !holds()) await new Promise((done) => setTimeout(done, stepMs));
  return !over;
}
