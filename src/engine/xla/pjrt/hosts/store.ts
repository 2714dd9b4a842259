/**
 * The key-value store by which the processes of several hosts find one another: the process of node 0 serves it over
 * TCP, one JSON object a line, values in base64. Like PJRT's own it is for trusted networks: whoever reaches the port
 * can read and write.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { present, EngineError } from '../../../../core/index.js';

/** `get` waits for a key up to `timeoutMs`; `try` does not wait. */
export type Request =
  | { readonly op: 'put'; readonly key: string; readonly value: string }
  | { readonly op: 'get'; readonly key: string; readonly timeoutMs: number }
  | { readonly op: 'try'; readonly key: string };

/** `value` in base64; absl status codes in `code`. */
export type Reply = { readonly value: string } | { readonly code: number; readonly message: string };

/** PJRT's error code for a wait that took too long. */
const DEADLINE_EXCEEDED = 4;
/** PJRT's error code for a key that is not there. */
const NOT_FOUND = 5;
/** PJRT's error code for a host that does not answer. */
export const UNAVAILABLE = 14;

const CONNECT_RETRY_MS = 200;
/** How long a process waits for node 0 to serve. */
const CONNECT_TIMEOUT_MS = 300_000;

/** `host:port`. Throws `EngineError`. */
export function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(.+):(\d{1,5})$/.exec(address);
  const port = Number(match?.[2]);
  if (match?.[1] !== undefined && port > 0 && port < 65_536) return { host: match[1].replace(/^\[|\]$/g, ''), port };
  throw new EngineError(`the coordinator "${address}" is no HOST:PORT, such as node0:8476`);
}

/** Calls `line` with every line that arrives. */
function onLines(socket: Socket, line: (text: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8').on('data', (chunk) => {
    const lines = (rest + String(chunk)).split('\n');
    rest = present(lines.pop());
    lines.forEach(line);
  });
}

/** Serves a store until it is closed. */
export function serveStore(address: string): Promise<Server> {
  const values = new Map<string, string>();
  const waiting = new Map<string, Set<(value: string) => void>>();
  const answer = (request: Request, reply: (reply: Reply) => void): void => {
    if (request.op === 'put') {
      values.set(request.key, request.value);
      for (const wake of waiting.get(request.key) ?? []) wake(request.value);
      waiting.delete(request.key);
      return reply({ value: '' });
    }
    const value = values.get(request.key);
    if (value !== undefined) return reply({ value });
    if (request.op === 'try') return reply({ code: NOT_FOUND, message: `no key ${request.key}` });
    const wakes = waiting.get(request.key) ?? new Set();
    waiting.set(request.key, wakes);
    const wake = (found: string): void => {
      clearTimeout(timer);
      reply({ value: found });
    };
    const timer = setTimeout(() => {
      wakes.delete(wake);
      reply({ code: DEADLINE_EXCEEDED, message: `no key ${request.key} within ${request.timeoutMs} ms` });
    }, request.timeoutMs);
    wakes.add(wake);
  };
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    onLines(socket, (text) => {
      const { id, ...request } = JSON.parse(text) as Request & { readonly id: number };
      answer(request, (reply) => socket.write(`${JSON.stringify({ id, ...reply })}\n`));
    });
  });
  const { host, port } = parseAddress(address);
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new EngineError(`xla: cannot serve the key-value store at ${address}: ${cause.message}`, { cause }));
    });
    server.listen(port, host, () => resolve(server));
  });
}

/** A connection to a store; `ask` may be called any number of times at once. */
export class StoreClient {
  readonly #pending = new Map<number, (reply: Reply) => void>();
  #next = 0;

  private constructor(private readonly socket: Socket) {
    onLines(socket, (text) => {
      const { id, ...reply } = JSON.parse(text) as Reply & { readonly id: number };
      this.#pending.get(id)?.(reply);
      this.#pending.delete(id);
    });
    socket.on('close', () => {
      for (const reply of this.#pending.values()) reply({ code: UNAVAILABLE, message: 'node 0 is gone' });
      this.#pending.clear();
    });
  }

  /** Connects, waiting for node 0 to be there. Throws `EngineError` if it does not come. */
  static async connect(address: string, timeoutMs = CONNECT_TIMEOUT_MS): Promise<StoreClient> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      try {
        return new StoreClient(await open(address));
      } catch (cause) {
        if (performance.now() > end) {
          throw new EngineError(`xla: node 0 does not answer at ${address}; start it, or correct the coordinator`, {
            cause,
          });
        }
        await new Promise((done) => setTimeout(done, CONNECT_RETRY_MS));
      }
    }
  }

  ask(request: Request): Promise<Reply> {
    if (this.socket.destroyed) return Promise.resolve({ code: UNAVAILABLE, message: 'node 0 is gone' });
    return new Promise((resolve) => {
      const id = this.#next++;
      this.#pending.set(id, resolve);
      this.socket.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  close(): void {
    this.socket.destroy();
  }
}

function open(address: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(parseAddress(address));
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject).on('error', () => socket.destroy());
      resolve(socket);
    });
  });
}
