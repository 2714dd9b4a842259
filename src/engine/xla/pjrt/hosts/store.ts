/**
 * The key-value store by which the processes of several hosts find one another: the process of node 0 serves it over
 * TCP. Who connects proves first that he knows the shared secret; what follows is neither encrypted nor protected
 * against somebody who can change it on its way.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { EngineError } from '../../../../core/index.js';
import {
  challenge,
  CODES,
  greeting,
  isLoopback,
  lossLine,
  MAX_LINE_BYTES,
  OVER,
  onLines,
  parseAddress,
  prove,
  readIntroduction,
  readRequest,
  sameProof,
  type Leaving,
  type Reply,
  type Request,
} from './protocol.js';
import { checkHosts, type Hosts } from './hosts.js';

/** Milliseconds that a connection may take to prove that it knows the secret. */
const PROOF_MS = 10_000;
/** Connections that have not proved anything yet; one more ends the oldest. */
const MAX_UNPROVED = 64;
/** Milliseconds without a word after which a host is asked whether it is still there. */
const KEEP_ALIVE_MS = 15_000;
const MAX_WAITS = 10_000;
const MAX_KEYS = 1_000_000;
const MAX_STORED_BYTES = 2 ** 29;
/** Refused connections that are reported one by one. */
const REPORTED_REFUSALS = 10;
const SHOWN_KEY = 200;
const SHOWN_NODES = 8;

/** A process that has proved that it knows the secret. */
interface Peer {
  readonly node: number;
  readonly socket: Socket;
  /** What drops each of its waits, with a reply or none. */
  readonly waits: Set<(reply: Reply | null) => void>;
  /** Whether it has said that it leaves. */
  left: boolean;
}

/** What serving a store takes beside the hosts. */
export interface ServeOptions {
  /** Milliseconds after which nodes that have not come are named. */
  readonly nameAbsentMs?: number;
  /** Milliseconds after which the others are told that nodes have not come. */
  readonly giveUpMs?: number;
}

const NAME_ABSENT_MS = 30_000;
const GIVE_UP_MS = 300_000;

/** A store that is served. */
export interface StoreServer {
  /** The port that it listens at. */
  readonly port: number;
  /** Ends all connections, saying first that the work is done where it is. */
  close(how: Leaving): Promise<void>;
}

/** The values, and who waits for them. */
class Store {
  readonly #values = new Map<string, string>();
  readonly #waiting = new Map<string, Set<(reply: Reply) => void>>();
  #bytes = 0;
  /** Who is lost, in words; null while all that came are there. */
  #gone: string | null = null;

  answer(peer: Peer, request: Request, reply: (reply: Reply) => void): void {
    if (request.op === 'put') return reply(this.#put(request.key, request.value));
    const value = this.#values.get(request.key);
    if (value !== undefined && !(request.op === 'after' && request.seen === value)) return reply({ value });
    const key = request.key.slice(0, SHOWN_KEY);
    if (request.op === 'try') return reply({ code: CODES.notFound, message: `no key ${key}` });
    if (this.#gone !== null) return reply(this.#isGone(this.#gone));
    if (peer.waits.size >= MAX_WAITS) return reply({ code: CODES.exhausted, message: `more than ${MAX_WAITS} waits` });
    this.#wait(peer, request.key, request.timeoutMs, reply);
  }

  /** Ends every wait: what a process that is lost has not put will not come. */
  lose(what: string, peers: Iterable<Peer>): void {
    this.#gone = what;
    for (const { waits } of peers) for (const end of [...waits]) end(this.#isGone(what));
  }

  #isGone(what: string): Reply {
    return { code: CODES.unavailable, message: `${what}; start the run again on all nodes` };
  }

  #put(key: string, value: string): Reply {
    const grown = this.#bytes + value.length - (this.#values.get(key)?.length ?? 0);
    if (grown > MAX_STORED_BYTES || (this.#values.size >= MAX_KEYS && !this.#values.has(key))) {
      return { code: CODES.exhausted, message: `the store is full: ${this.#values.size} keys, ${this.#bytes} bytes` };
    }
    this.#bytes = grown;
    this.#values.set(key, value);
    for (const wake of this.#waiting.get(key) ?? []) wake({ value });
    return { value: '' };
  }

  constructor(private readonly absent: () => readonly number[]) {}

  #wait(peer: Peer, key: string, timeoutMs: number, reply: (reply: Reply) => void): void {
    const wakes = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, wakes);
    const end = (answer: Reply | null): void => {
      clearTimeout(timer);
      wakes.delete(end);
      if (wakes.size === 0) this.#waiting.delete(key);
      peer.waits.delete(end);
      if (answer !== null) reply(answer);
    };
    const late = (): void => {
      const absent = this.absent();
      const who = absent.length === 0 ? '' : `; ${nodesInWords(absent)} not come`;
      end({ code: CODES.deadlineExceeded, message: `no key ${key.slice(0, SHOWN_KEY)} within ${timeoutMs} ms${who}` });
    };
    const timer = setTimeout(late, timeoutMs);
    wakes.add(end);
    peer.waits.add(end);
  }
}

/** `node 1 has` or `nodes 1, 2 and 40 more have`. */
function nodesInWords(nodes: readonly number[]): string {
  const more = nodes.length > SHOWN_NODES ? ` and ${nodes.length - SHOWN_NODES} more` : '';
  return `${nodes.length === 1 ? 'node' : 'nodes'} ${nodes.slice(0, SHOWN_NODES).join(', ')}${more} ${nodes.length === 1 ? 'has' : 'have'}`;
}

/** Who may connect, and what is reported about them. */
class Door {
  readonly #store = new Store(() => this.#absent());
  readonly #peers = new Map<number, Peer>();
  readonly #unproved = new Set<Socket>();
  readonly #timers: readonly NodeJS.Timeout[];
  #refusals = 0;

  constructor(
    private readonly hosts: Hosts,
    private readonly say: (message: string) => void,
    { nameAbsentMs = NAME_ABSENT_MS, giveUpMs = GIVE_UP_MS }: ServeOptions,
  ) {
    const named = (after: (absent: readonly number[]) => void, ms: number) =>
      setTimeout(() => {
        const absent = this.#absent();
        if (absent.length > 0) after(absent);
      }, ms);
    this.#timers = [
      named((absent) => this.say(`${nodesInWords(absent)} not come yet`), nameAbsentMs),
      named(
        (absent) => this.#tell(`${nodesInWords(absent)} not come within ${Math.round(giveUpMs / 1000)} s`),
        giveUpMs,
      ),
    ];
  }

  /** Nodes that have not proved themselves yet. */
  #absent(): number[] {
    return Array.from({ length: this.hosts.nodes }, (_, node) => node).filter((node) => !this.#peers.has(node));
  }

  open(socket: Socket): void {
    let peer: Peer | null = null;
    const served = challenge();
    const from = socket.remoteAddress ?? 'an address that is not known';
    this.#unproved.add(socket);
    const [oldest] = this.#unproved;
    if (this.#unproved.size > MAX_UNPROVED) oldest?.destroy();
    const timer = setTimeout(() => this.#refuse(socket, from, 'it did not say who it is'), PROOF_MS);
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(timer);
      this.#unproved.delete(socket);
      if (peer !== null) this.#lose(peer, from);
    });
    onLines(socket, {
      limit: () => (peer === null ? MAX_LINE_BYTES.unproved : MAX_LINE_BYTES.proved),
      tooLong: () => this.#end(socket, peer, from, 'sent a line that is too long'),
      line: (line) => {
        if (peer !== null) return this.#serve(peer, line, from);
        peer = this.#introduced(socket, line, served, from);
        if (peer === null) return;
        clearTimeout(timer);
        this.#unproved.delete(socket);
        this.#peers.set(peer.node, peer);
      },
    });
    socket.write(`${greeting(served)}\n`);
  }

  close(how: Leaving): void {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const { socket } of this.#peers.values()) {
      if (how === 'bye' && !socket.writableEnded) socket.write(`${OVER}\n`);
      socket.destroySoon();
    }
    for (const socket of this.#unproved) socket.destroy();
  }

  /** The process that a line introduces; null, and the connection ends, where it may not come in. */
  #introduced(socket: Socket, line: string, served: string, from: string): Peer | null {
    const found = readIntroduction(line);
    if (found === null) return this.#refuse(socket, from, 'it does not speak as a node does');
    const { secret = '', nodes } = this.hosts;
    if (!sameProof(found.proof, prove(secret, 'connecting', { ...found, served }))) {
      return this.#refuse(socket, from, 'its shared secret is another one');
    }
    const { node } = found;
    if (found.nodes !== nodes || node >= nodes) {
      return this.#refuse(socket, from, `it is node ${node} of ${found.nodes}, and there are ${nodes} nodes`);
    }
    const before = this.#peers.get(node);
    if (before !== undefined && !before.left) {
      const state = before.socket.destroyed ? 'was here and is gone: start all nodes again' : 'is here already';
      return this.#refuse(socket, from, `node ${node} ${state}`);
    }
    socket.write(`${prove(secret, 'serving', { ...found, served })}\n`);
    return { node, socket, waits: new Set(), left: false };
  }

  #refuse(socket: Socket, from: string, why: string): null {
    socket.end(`refused: ${why}\n`, () => socket.destroySoon());
    this.#refusals++;
    if (this.#refusals <= REPORTED_REFUSALS) this.say(`a connection from ${from} was ended: ${why}`);
    if (this.#refusals === REPORTED_REFUSALS) this.say('further connections that are ended are not reported');
    return null;
  }

  #end(socket: Socket, peer: Peer | null, from: string, why: string): void {
    if (peer === null) return void this.#refuse(socket, from, `it ${why}`);
    this.say(`node ${peer.node} (${from}) ${why}; its connection was ended`);
    socket.destroy();
  }

  #serve(peer: Peer, line: string, from: string): void {
    const found = readRequest(line);
    if (found === null) return this.#end(peer.socket, peer, from, 'sent a line that is no request');
    if (found === 'bye' || found === 'failed') {
      peer.left = true;
      peer.socket.end();
      if (found === 'failed') this.#tell(`node ${peer.node} (${from}) has failed`);
      return;
    }
    this.#store.answer(peer, found.request, (reply) => {
      peer.socket.write(`${JSON.stringify({ id: found.id, ...reply })}\n`);
    });
  }

  #lose(peer: Peer, from: string): void {
    for (const end of [...peer.waits]) end(null);
    if (peer.left) return;
    this.#tell(`node ${peer.node} (${from}) is gone`);
  }

  /** Tells all that are there of a loss after which the work cannot go on. */
  #tell(what: string): void {
    this.say(what);
    // Before the waits end: what a process makes of those is not how it ends then.
    for (const { left, socket } of this.#peers.values()) if (!left) socket.write(`${lossLine(what)}\n`);
    this.#store.lose(what, this.#peers.values());
  }
}

/**
 * Serves a store until it is closed; says where, and who is refused or gone.
 *
 * @throws EngineError if the address cannot be listened at
 */
export function serveStore(
  hosts: Hosts,
  say: (message: string) => void,
  options: ServeOptions = {},
): Promise<StoreServer> {
  checkHosts(hosts);
  const door = new Door(hosts, say, options);
  const server = createServer((socket) => door.open(socket));
  const { host, port } = parseAddress(hosts.coordinator);
  const close = (how: Leaving): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    door.close(how);
    return closed;
  };
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown) =>
      reject(new EngineError(`xla: cannot serve the key-value store at ${hosts.coordinator}: ${why}`, { cause }));
    server.once('error', (cause) => fail(cause.message, cause));
    server.listen(port, host, () => {
      const bound = boundTo(server);
      const open = !isLoopback(bound.address);
      if (open && hosts.secret === undefined) {
        server.close();
        return fail(`${host} is ${bound.address} here, which other hosts can reach, and there is no shared secret`);
      }
      say(
        `node 0 serves the key-value store of ${hosts.nodes} nodes at ${bound.address}, port ${bound.port}, which ` +
          `${open ? 'other hosts' : 'only this host'} can reach; ${hosts.secret === undefined ? 'no' : 'a'} shared secret is asked for`,
      );
      resolve({ port: bound.port, close });
    });
  });
}

function boundTo(server: Server): { readonly address: string; readonly port: number } {
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound : { address: String(bound), port: 0 };
}
