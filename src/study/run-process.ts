/** A process that performs runs one after another, as the process that started it sees it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { ended, type Ending } from './worker-process.js';
import { messageSchema, type WorkerCommand } from './worker.js';

/** How a process is started, and what it may be used for. */
export interface RunProcessOptions {
  readonly command: readonly [string, ...string[]];
  /** Standard input, output and error. */
  readonly stdio: readonly ('ignore' | 'inherit' | number)[];
  readonly env?: Readonly<Record<string, string>>;
  /** What the runs that it may be given have in common: those of another key get another process. */
  readonly key: string;
}

/** Milliseconds that a process without work gets to end by itself. */
const END_MS = 10_000;

/** A process that was started with a run and may be given others when that is done; if one fails it ends by itself. */
export class RunProcess {
  readonly key: string;
  readonly #child: ChildProcess;
  readonly #gone: Promise<Ending>;
  #isGone = false;
  #heard: (message: unknown) => void = () => undefined;

  constructor({ command: [program, ...args], stdio, env, key }: RunProcessOptions) {
    this.key = key;
    this.#child = spawn(program, args, { stdio: [...stdio, 'ipc'], env: { ...process.env, ...env } });
    this.#child.on('message', (message) => this.#heard(message));
    this.#gone = ended(this.#child).then((ending) => {
      this.#isGone = true;
      return ending;
    });
  }

  /** The process's id; undefined if it did not start. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Whether it has ended, or cannot be given anything any more. */
  get isGone(): boolean {
    return this.#isGone || !this.#child.connected;
  }

  /**
   * Waits until the run at hand is done and the process ready for another, or the process has ended.
   *
   * @param hear gets the other messages that it sends meanwhile
   * @returns null if it is ready for another run
   */
  performed(hear: (message: unknown) => void = () => undefined): Promise<Ending | null> {
    return new Promise((resolve) => {
      this.#heard = (message) => {
        if (messageSchema.safeParse(message).data?.type === 'done') resolve(null);
        else hear(message);
      };
      void this.#gone.then(resolve);
    });
  }

  /** Gives it a run, to print to a log of its own unless that is null. */
  give(run: string, log: string | null): void {
    this.#send({ type: 'run', run, log });
  }

  /** Asks it to save its state and end. */
  stop(): void {
    this.#send({ type: 'stop' });
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends a process that has no run at hand, and waits until it is gone and what it held is free. */
  async end(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    const killer = setTimeout(() => this.kill('SIGKILL'), END_MS);
    await this.#gone;
    clearTimeout(killer);
  }

  #send(command: WorkerCommand): void {
    if (this.#child.connected) this.#child.send(command, () => undefined);
  }
}
