/**
 * What goes over the wire between the processes of several hosts: lines of at most a stated size. A connection begins
 * with a proof that both ends know the shared secret, then carries one JSON object a line.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { ConfigError } from '../../../../core/index.js';

/**
 * `get` waits for a key up to `timeoutMs`, `after` for a value other than `seen` (`''`: any value); `try` does not
 * wait.
 */
export type Request =
  | { readonly op: 'put'; readonly key: string; readonly value: string }
  | { readonly op: 'get'; readonly key: string; readonly timeoutMs: number }
  | { readonly op: 'after'; readonly key: string; readonly seen: string; readonly timeoutMs: number }
  | { readonly op: 'try'; readonly key: string };

/** `value` in base64; absl status codes in `code`. */
export type Reply = { readonly value: string } | { readonly code: number; readonly message: string };

/** Status codes of absl, which are PJRT's. */
export const CODES = {
  invalid: 3,
  /** A wait took too long. */
  deadlineExceeded: 4,
  notFound: 5,
  /** There are more values, keys or waits than fit. */
  exhausted: 8,
  /** A host does not answer. */
  unavailable: 14,
} as const;

/** The largest line in bytes before the proof, and after it: a value of 24 MiB in base64. */
export const MAX_LINE_BYTES = { unproved: 512, proved: 2 ** 25 } as const;
/** The longest wait in milliseconds: Node's timers take no longer ones. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const MAX_KEY = 4096;
const CHALLENGE_BYTES = 32;
const NAME = 'longsight-store-4';

/** `host:port`. Throws `ConfigError`. */
export function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host !== undefined && port > 0 && port < 65_536) return { host, port };
  throw new ConfigError(`the coordinator "${address}" is no HOST:PORT, such as node0:8476 or [fd00::1]:8476`);
}

/** Whether only processes of this host reach an address. */
export const isLoopback = (host: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|::1|::ffff:127(\.\d{1,3}){3})$/.test(host);

/** A random number that is used once, as hexadecimal digits. */
export const challenge = (): string => randomBytes(CHALLENGE_BYTES).toString('hex');

/** What the two ends of a connection prove that they know the secret by; `node` counts from 0, below `nodes`. */
export interface Proof {
  readonly node: number;
  readonly nodes: number;
  /** The challenge of the end that serves. */
  readonly served: string;
  /** The challenge of the end that connects. */
  readonly connected: string;
}

/** HMAC-SHA256 of everything that was said, with the secret; `''` where none is set. */
export function prove(
  secret: string,
  end: 'serving' | 'connecting',
  { node, nodes, served, connected }: Proof,
): string {
  return createHmac('sha256', secret).update([NAME, end, node, nodes, served, connected].join(' ')).digest('hex');
}

/** Compares two proofs in a time that says nothing about where they differ. */
export const sameProof = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** The first line of the end that serves. */
export const greeting = (served: string): string => `${NAME} ${served}`;

/** The challenge in a greeting; null for a line that is none. */
export const readGreeting = (line: string): string | null =>
  /^longsight-store-4 ([0-9a-f]{64})$/.exec(line)?.[1] ?? null;

/** The answer of the end that connects. */
export const introduction = (proof: Proof, proved: string): string =>
  [proof.node, proof.nodes, proof.connected, proved].join(' ');

/** What an introduction says; null for a line that is none. */
export function readIntroduction(
  line: string,
): { node: number; nodes: number; connected: string; proof: string } | null {
  const match = /^(\d{1,6}) (\d{1,6}) ([0-9a-f]{64}) ([0-9a-f]{64})$/.exec(line);
  const [, node, nodes, connected, proof] = match ?? [];
  if (connected === undefined || proof === undefined) return null;
  return { node: Number(node), nodes: Number(nodes), connected, proof };
}

function readObject(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}

const isBase64 = (value: unknown): value is string => typeof value === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(value);
const isKey = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_KEY;
const isId = (value: unknown): value is number => Number.isSafeInteger(value);

/** Whether a wait is a whole number of milliseconds that can be waited. */
export const isTimeout = (value: unknown): boolean =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_TIMEOUT_MS;

/** How a process leaves: with its work done, or before that, which is a loss to all. */
export type Leaving = 'bye' | 'failed';

/** The request in a line; how the other end leaves for good; null for a malformed line. */
export function readRequest(line: string): { readonly id: number; readonly request: Request } | Leaving | null {
  if (line === 'bye' || line === 'failed') return line;
  const { id, op, key, value, seen, timeoutMs } = readObject(line) ?? {};
  if (!isId(id) || !isKey(key)) return null;
  if (op === 'put' && isBase64(value)) return { id, request: { op, key, value } };
  if (op === 'get' && typeof timeoutMs === 'number' && isTimeout(timeoutMs))
    return { id, request: { op, key, timeoutMs } };
  if (op === 'after' && isBase64(seen) && typeof timeoutMs === 'number' && isTimeout(timeoutMs))
    return { id, request: { op, key, seen, timeoutMs } };
  return op === 'try' ? { id, request: { op, key } } : null;
}

/** The line that tells a process which other one is lost, in words. */
export const lossLine = (lost: string): string => JSON.stringify({ lost });

/** The line by which node 0 says that it leaves with its work done. */
export const OVER = 'over';

/** The reply in a line, the loss of another process, or `OVER`; null for a malformed line. */
export function readReply(
  line: string,
): { readonly id: number; readonly reply: Reply } | { readonly lost: string } | typeof OVER | null {
  if (line === OVER) return OVER;
  const { id, value, code, message, lost } = readObject(line) ?? {};
  if (typeof lost === 'string') return { lost };
  if (!isId(id)) return null;
  if (isBase64(value)) return { id, reply: { value } };
  return typeof code === 'number' && typeof message === 'string' ? { id, reply: { code, message } } : null;
}

/**
 * Calls `line` with every line that arrives, without its end, in time linear in what arrives. A line of more bytes than
 * `limit()` says ends the connection by `tooLong`.
 */
export function onLines(socket: Socket, how: { limit(): number; line(text: string): void; tooLong(): void }): void {
  let parts: Buffer[] = [];
  let size = 0;
  socket.on('data', (chunk: Buffer) => {
    for (let from = 0; !socket.destroyed && !socket.writableEnded;) {
      const end = chunk.indexOf('\n', from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      size += part.length;
      if (size > how.limit()) return how.tooLong();
      if (part.length > 0) parts.push(part);
      if (end < 0) return;
      const text = Buffer.concat(parts).toString('utf8');
      parts = [];
      size = 0;
      from = end + 1;
      how.line(text);
    }
  });
}
