/**
 * Heartbeats of the locks that this process holds. They come from a thread of their own, so that a computation or a
 * compilation that keeps the main thread busy does not look like death; a process that is frozen has none.
 */
import type * as FileSystem from 'node:fs';
import { Worker, type MessagePort } from 'node:worker_threads';

/** A lock file that is kept alive. */
export interface Beating {
  readonly path: string;
  /** Text that the file holds while it is this process's. */
  readonly token: string;
  /** The place of the count of heartbeats in the file, in bytes. */
  readonly offset: number;
  /** How many digits the count has. */
  readonly digits: number;
  /** Milliseconds between two heartbeats. */
  readonly everyMs: number;
  /** One 32-bit integer, set to 1 once the file is no longer this process's. */
  readonly lost: SharedArrayBuffer;
}

type Request = { readonly start: Beating } | { readonly stop: string };

/** The thread's program. It is passed on as text: it may use nothing from outside of it. */
function beat(fs: typeof FileSystem, port: MessagePort): void {
  const timers = new Map<string, NodeJS.Timeout>();
  const isLost = ({ path, token, offset, digits }: Beating, count: number): boolean => {
    let fd: number | undefined;
    try {
      fd = fs.openSync(path, 'r+');
      if (!fs.readFileSync(fd, 'utf8').includes(token)) return true;
      fs.writeSync(fd, String(count).padStart(digits, '0'), offset);
    } catch (cause) {
      // Anything else, such as a server that does not answer, may pass: the next heartbeat tries again.
      return cause instanceof Error && 'code' in cause && ['ENOENT', 'ENOTDIR', 'ESTALE'].includes(String(cause.code));
    } finally {
      // Closing is what sends a write to a file server.
      if (fd !== undefined) fs.closeSync(fd);
    }
    return false;
  };
  const stop = (path: string): void => {
    clearInterval(timers.get(path));
    timers.delete(path);
  };
  port.on('message', (request: Request) => {
    if ('stop' in request) return stop(request.stop);
    const { start } = request;
    let count = 0;
    const look = (): void => {
      if (!isLost(start, ++count)) return;
      stop(start.path);
      Atomics.store(new Int32Array(start.lost), 0, 1);
      port.postMessage(start.path);
    };
    timers.set(start.path, setInterval(look, start.everyMs));
  });
}

const PROGRAM = `(${beat.toString()})(require('node:fs'), require('node:worker_threads').parentPort);`;

let thread: Worker | undefined;
const beating = new Map<string, { readonly start: Beating; readonly told: () => void }>();

/**
 * Keeps a lock file alive until the returned function is called.
 *
 * @param told called, on the event loop, when the file is found to be another's
 */
export function keepAlive(start: Beating, told: () => void): () => void {
  beating.set(start.path, { start, told });
  thread ??= startThread();
  post({ start });
  return () => {
    beating.delete(start.path);
    post({ stop: start.path });
  };
}

function post(request: Request): void {
  thread?.postMessage(request);
}

function startThread(): Worker {
  // No arguments of the process's: what it loads or how it reads its input is no concern of the thread.
  const worker = new Worker(PROGRAM, { eval: true, execArgv: [] });
  worker.on('message', (path: string) => beating.get(path)?.told());
  worker.on('error', () => {
    thread = startThread();
    for (const { start } of beating.values()) post({ start });
  });
  worker.unref();
  return worker;
}
