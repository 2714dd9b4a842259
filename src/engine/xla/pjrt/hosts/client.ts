/** The end of a process that asks the store of node 0. */
import { createConnection, type Socket } from 'node:net';
import { EngineError } from '../../../../core/index.js';
import {
  challenge,
  CODES,
  introduction,
  isTimeout,
  MAX_LINE_BYTES,
  OVER,
  onLines,
  parseAddress,
  prove,
  readGreeting,
  readReply,
  sameProof,
  type Leaving,
  type Reply,
  type Request,
} from './protocol.js';
import type { Hosts } from './hosts.js';

const CONNECT_RETRY_MS = 200;
/** How long a process waits for node 0 to serve. */
const CONNECT_TIMEOUT_MS = 300_000;
/** Milliseconds within which node 0 answers, beside the time that a request asks it to wait. */
const ANSWER_MS = 60_000;
const KEEP_ALIVE_MS = 15_000;

interface Pending {
  readonly resolve: (reply: Reply) => void;
  readonly timer: NodeJS.Timeout;
}

/** Something that trying again does not change. */
export class Refused extends EngineError {}

/** A connection to a store; `ask` may be called any number of times at once. */
export class StoreClient {
  readonly #pending = new Map<number, Pending>();
  readonly #gone: string;
  #next = 0;
  /** Why node 0 was given up; null while it is there. */
  #lost: string | null = null;

  private constructor(
    private readonly socket: Socket,
    coordinator: string,
    private readonly lost: (why: string) => void,
  ) {
    this.#gone = `node 0 (${coordinator}) is gone; start the run again on all nodes`;
    onLines(socket, {
      limit: () => MAX_LINE_BYTES.proved,
      tooLong: () => this.#lose(`node 0 (${coordinator}) sent a line that is too long`),
      line: (line) => {
        const found = readReply(line);
        if (found === null) return this.#lose(`node 0 (${coordinator}) sent a line that is no reply`);
        if (found === OVER) return void (this.#lost ??= `node 0 (${coordinator}) has left`);
        if ('lost' in found) return this.lost(`${found.lost}; start the run again on all nodes`);
        this.#settle(found.id, found.reply);
      },
    });
    socket.on('close', () => this.#lose(this.#gone));
  }

  /**
   * Connects, waiting for node 0 to be there.
   *
   * @param lost told once another node is lost, or node 0 itself: the work cannot go on
   * @throws EngineError if it does not come, refuses this process, or does not know the secret
   */
  static async connect(
    hosts: Hosts,
    lost: (why: string) => void = () => undefined,
    timeoutMs = CONNECT_TIMEOUT_MS,
  ): Promise<StoreClient> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      try {
        return new StoreClient(await open(hosts), hosts.coordinator, lost);
      } catch (cause) {
        if (cause instanceof Refused) throw cause;
        if (performance.now() > end) {
          throw new EngineError(
            `xla: node 0 does not answer at ${hosts.coordinator}; start it, or correct the coordinator`,
            { cause },
          );
        }
        await new Promise((done) => setTimeout(done, CONNECT_RETRY_MS));
      }
    }
  }

  /** Sends a request; its reply says what became of it, whatever happens. */
  ask(request: Request): Promise<Reply> {
    if (this.socket.destroyed) this.#lose(this.#gone);
    if (this.#lost !== null) return Promise.resolve({ code: CODES.unavailable, message: this.#lost });
    const timeoutMs = 'timeoutMs' in request ? request.timeoutMs : 0;
    if (!isTimeout(timeoutMs)) {
      const message = `a wait of ${String(timeoutMs)} ms is no whole number from 0 to 2147483647`;
      return Promise.resolve({ code: CODES.invalid, message });
    }
    const line = JSON.stringify({ id: this.#next, ...request });
    if (line.length > MAX_LINE_BYTES.proved) {
      return Promise.resolve({ code: CODES.invalid, message: `a value of ${line.length} bytes is too large` });
    }
    return new Promise((resolve) => {
      const id = this.#next++;
      // Timers take no longer waits than requests do.
      const wait = Math.min(2 ** 31 - 1, ANSWER_MS + timeoutMs);
      const timer = setTimeout(() => this.#lose(this.#gone), wait);
      this.#pending.set(id, { resolve, timer });
      this.socket.write(`${line}\n`);
    });
  }

  /** Tells node 0 how this process leaves, and ends the connection. */
  close(how: Leaving = 'bye'): Promise<void> {
    this.#lost ??= 'this node has left';
    return new Promise((resolve) => {
      if (this.socket.destroyed) return resolve();
      this.socket.once('close', () => resolve());
      this.socket.end(`${how}\n`);
      setTimeout(() => this.socket.destroy(), 1000).unref();
    });
  }

  #settle(id: number, reply: Reply): void {
    const pending = this.#pending.get(id);
    clearTimeout(pending?.timer);
    this.#pending.delete(id);
    pending?.resolve(reply);
  }

  #lose(why: string): void {
    if (this.#lost === null) this.lost(why);
    this.#lost ??= why;
    this.socket.destroy();
    for (const id of [...this.#pending.keys()]) this.#settle(id, { code: CODES.unavailable, message: this.#lost });
  }
}

/** A connection on which both ends have proved that they know the secret. */
function open({ coordinator, node, nodes, secret = '' }: Hosts): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(parseAddress(coordinator));
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    const refuse = (why: string) => fail(new Refused(`xla: node 0 (${coordinator}) refuses node ${node}: ${why}`));
    let proof: Parameters<typeof prove>[2] | null = null;
    const line = (text: string): void => {
      if (proof === null) {
        const served = readGreeting(text);
        if (served === null) return refuse('what answers there is no store of Longsight');
        proof = { node, nodes, served, connected: challenge() };
        socket.write(`${introduction(proof, prove(secret, 'connecting', proof))}\n`);
        return;
      }
      if (text.startsWith('refused: ')) return refuse(text.slice('refused: '.length));
      if (!sameProof(text, prove(secret, 'serving', proof))) return refuse('it does not know the shared secret');
      clearTimeout(timer);
      socket.removeAllListeners('data').removeAllListeners('close');
      resolve(socket);
    };
    const timer = setTimeout(() => fail(new Error('no answer')), ANSWER_MS);
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on('error', fail).on('close', () => {
      clearTimeout(timer);
      fail(new Error('the connection was ended'));
    });
    onLines(socket, {
      limit: () => MAX_LINE_BYTES.unproved,
      line,
      tooLong: () => refuse('it sent a line that is too long'),
    });
  });
}
