/**
 * A thread whose only work is to answer PJRT's key-value callbacks. The plugin calls them from threads of its own while
 * it starts or runs a program, and the main thread may be waiting for that very call: koffi hands a callback to the
 * thread that registered it, so that must be another one. Puts and gets have a thread each: a get may wait, and what it
 * waits for may need a put.
 */
import { present } from '../../../../core/index.js';
import { parentPort, receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads';
import koffi from 'koffi';
import type { Question } from './io-worker.js';
import type { Reply, Request } from './protocol.js';

/** What the thread that serves a plugin's callbacks starts with. */
export interface CallbackData {
  readonly kinds: readonly (keyof typeof CALLBACKS)[];
  readonly port: MessagePort;
  /** Addresses of the callbacks, in the order of `kinds`. */
  readonly addresses: BigUint64Array;
  /** 1 once they are there. */
  readonly ready: Int32Array;
}

/** Words of 8 bytes in the argument structs of xla/pjrt/c/pjrt_c_api.h. */
const [KEY, KEY_SIZE] = [2, 3];
const GET = { timeout: 4, fail: 5, value: 7 } as const;
const TRY = { fail: 4, value: 6 } as const;
const PUT = { value: 4, size: 5, fail: 6 } as const;
const STRUCT_BYTES = 80;

const { kinds, port, addresses, ready } = workerData as CallbackData;
const process_ = koffi.load(null);
const malloc = process_.func('malloc', 'uintptr_t', ['size_t']) as (size: number) => number | bigint;
const symbol = process_.func('dlsym', 'uintptr_t', ['uintptr_t', 'str']) as (
  h: number,
  name: string,
) => number | bigint;
/** The plugin gives values back by calling this: the C library's own. */
const FREE = BigInt(symbol(0, 'free'));
const callbackType = koffi.proto('uintptr_t LongsightKeyValue(uintptr_t)');
const failType = koffi.proto('uintptr_t LongsightCallbackError(int, void *, size_t)');

const words = (address: number | bigint): BigUint64Array =>
  new BigUint64Array(koffi.view(BigInt(address), STRUCT_BYTES));
const bytesAt = (address: bigint, size: bigint): Buffer =>
  size === 0n ? Buffer.alloc(0) : Buffer.from(Buffer.from(koffi.view(address, Number(size))));

/** Asks the thread with the network and sleeps until it has answered. */
function ask(request: Request): Reply {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  port.postMessage({ request, flag } satisfies Question);
  Atomics.wait(flag, 0, 0);
  const answer: { message: Reply } = present(receiveMessageOnPort(port));
  return answer.message;
}

/** The plugin's error for a reply that is one; 0 for none. */
function errorOf(reply: Reply, fail: bigint): bigint {
  if ('value' in reply) return 0n;
  const text = Buffer.from(reply.message, 'utf8');
  const make = koffi.decode(words(fail)[0], failType) as (code: number, text: Buffer, size: number) => number | bigint;
  return BigInt(make(reply.code, text, text.length));
}

function hand(args: BigUint64Array, at: number, value: string): void {
  const bytes = Buffer.from(value, 'base64');
  const target = BigInt(malloc(Math.max(1, bytes.length)));
  if (bytes.length > 0) new Uint8Array(koffi.view(target, bytes.length)).set(bytes);
  args.set([target, BigInt(bytes.length), FREE], at);
}

const keyOf = (args: BigUint64Array): string => bytesAt(present(args[KEY]), present(args[KEY_SIZE])).toString('latin1');

const CALLBACKS = {
  get: (address: number | bigint): bigint => {
    const args = words(address);
    const timeoutMs = Number(BigInt.asIntN(32, present(args[GET.timeout])));
    const reply = ask({ op: 'get', key: keyOf(args), timeoutMs });
    if ('value' in reply) hand(args, GET.value, reply.value);
    return errorOf(reply, present(args[GET.fail]));
  },
  try: (address: number | bigint): bigint => {
    const args = words(address);
    const reply = ask({ op: 'try', key: keyOf(args) });
    if ('value' in reply) hand(args, TRY.value, reply.value);
    return errorOf(reply, present(args[TRY.fail]));
  },
  put: (address: number | bigint): bigint => {
    const args = words(address);
    const value = bytesAt(present(args[PUT.value]), present(args[PUT.size])).toString('base64');
    return errorOf(ask({ op: 'put', key: keyOf(args), value }), present(args[PUT.fail]));
  },
} as const;

addresses.set(kinds.map((kind) => koffi.register(CALLBACKS[kind], koffi.pointer(callbackType))));
Atomics.store(ready, 0, 1);
Atomics.notify(ready, 0);
parentPort?.on('message', () => process.exit()); // and keeps the thread alive
