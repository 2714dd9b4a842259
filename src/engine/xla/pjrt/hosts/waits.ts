/** Waits of this thread for what other processes put into the store. */
import { EngineError } from '../../../../core/index.js';
import { CODES, type Reply, type Request } from './protocol.js';

/** Milliseconds of one wait, after which the store is asked again. */
export const WAIT_MS = 3_600_000;

/** Sends a request to the store; its reply says what became of it. */
export type Ask = (request: Request) => Promise<Reply>;

/** Asks until there is a value. Throws `EngineError` where the store says that none will come. */
export async function valueOf(ask: Ask, request: Request): Promise<string> {
  for (;;) {
    const reply = await ask(request);
    if ('value' in reply) return reply.value;
    if (reply.code !== CODES.deadlineExceeded) throw new EngineError(`xla: ${reply.message}`);
  }
}

/** Waits for another process: the connection itself does not keep this one alive. */
export async function staying<T>(work: Promise<T>): Promise<T> {
  const alive = setInterval(() => undefined, WAIT_MS);
  try {
    return await work;
  } finally {
    clearInterval(alive);
  }
}
