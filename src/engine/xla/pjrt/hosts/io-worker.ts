/**
 * A thread that talks to the store for the threads that answer PJRT's callbacks, which cannot wait for a network
 * themselves. Where another node is lost it ends the process, whose main thread may wait for that node for ever.
 */
import { writeSync } from 'node:fs';
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { messageOf } from '../../../../core/index.js';
import koffi from 'koffi';
import { Refused, StoreClient } from './client.js';
import type { Hosts } from './hosts.js';
import { CODES, type Leaving, type Reply, type Request } from './protocol.js';
import { serveStore } from './store.js';

/** A request of a thread that sleeps until `flag` is 1, when the reply is on its port. */
export interface Question {
  readonly request: Request;
  readonly flag: Int32Array;
}

/** A request of the thread that started this one, which does not sleep. */
export interface Asked {
  /** Counts from 0 in a process. */
  readonly id: number;
  readonly request: Request;
}

/** The reply to the request of that number. */
export interface Answered {
  /** The number of the request that is answered, from 0. */
  readonly id: number;
  readonly answer: Reply;
}

/** What the thread that talks to the coordinator starts with. */
export interface IoData {
  readonly hosts: Hosts;
  readonly ports: readonly MessagePort[];
}

const { hosts, ports } = workerData as IoData;

function reply(port: MessagePort, flag: Int32Array, answer: Reply): void {
  port.postMessage(answer);
  Atomics.store(flag, 0, 1);
  Atomics.notify(flag, 0);
}

/** To standard error at once: the main thread may be waiting inside of the plugin. */
function say(message: string): void {
  try {
    writeSync(2, `xla: ${message}\n`);
  } catch {
    // Nobody reads it any more.
  }
}

/** `EX_TEMPFAIL`: the same command on all nodes goes on from the last checkpoint. */
const AGAIN = 75;
const exit: (code: number) => void = koffi.load(null).func('_exit', 'void', ['int']);

/** Ends the whole process, whatever its main thread waits for; what it was about to write is not there. */
function endProcess(why: string): void {
  say(`${why.replace(/^xla: /, '')}; this node ends with code ${AGAIN}`);
  exit(AGAIN);
}

const server = hosts.node === 0 ? serveStore(hosts, say) : null;
let connected: StoreClient | null = null;
const client = (async () => {
  await server;
  return (connected = await StoreClient.connect(hosts, endProcess));
})();
client.catch((error: unknown) => {
  // A refusal and an address that cannot be served are reported to whoever asks: the same command would not do later.
  if (hosts.node !== 0 && !(error instanceof Refused)) endProcess(messageOf(error));
});

for (const port of ports) {
  port.on('message', ({ request, flag }: Question) => {
    void answerTo(request).then((answer) => reply(port, flag, answer));
  });
}

function answerTo(request: Request): Promise<Reply> {
  return client
    .then((store) => store.ask(request))
    .catch((error: unknown) => ({ code: CODES.unavailable, message: messageOf(error) }));
}

/** A request, or how this process leaves. */
parentPort?.on('message', (message: Asked | Leaving) => {
  if (typeof message !== 'string') {
    const { id, request } = message;
    void answerTo(request).then((answer) => parentPort?.postMessage({ id, answer } satisfies Answered));
    return;
  }
  const how = message;
  const leave = async (): Promise<void> => {
    await connected?.close(how);
    await (await server)?.close(how);
  };
  leave().then(
    () => process.exit(),
    () => process.exit(),
  );
});
