/**
 * A thread that talks to the store for the threads that answer PJRT's callbacks, which cannot wait for a network
 * themselves.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { serveStore, StoreClient, UNAVAILABLE, type Reply, type Request } from './store.js';

/** A request of a thread that sleeps until `flag` is 1, when the reply is on its port. */
export interface Question {
  readonly request: Request;
  readonly flag: Int32Array;
}

/** What the thread that talks to the coordinator starts with. */
export interface IoData {
  readonly coordinator: string;
  readonly serves: boolean;
  readonly ports: readonly MessagePort[];
}

const { coordinator, serves, ports } = workerData as IoData;

function reply(port: MessagePort, flag: Int32Array, answer: Reply): void {
  port.postMessage(answer);
  Atomics.store(flag, 0, 1);
  Atomics.notify(flag, 0);
}

const failed = (error: unknown): Reply => ({
  code: UNAVAILABLE,
  message: error instanceof Error ? error.message : String(error),
});

const server = serves ? serveStore(coordinator) : null;
const client = (async () => {
  await server;
  return StoreClient.connect(coordinator);
})();
client.catch(() => undefined); // told to whoever asks

for (const port of ports) {
  port.on('message', ({ request, flag }: Question) => {
    client
      .then((store) => store.ask(request))
      .then(
        (answer) => reply(port, flag, answer),
        (error: unknown) => reply(port, flag, failed(error)),
      );
  });
}
parentPort?.on('message', () => process.exit());
