/**
 * Starts what a plugin needs to work with the processes of other hosts: key-value callbacks over a store that node 0
 * serves.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import { EngineError } from '../../../../core/index.js';
import type { CallbackData } from './callback-worker.js';
import { checkHosts, type Hosts } from './hosts.js';
import type { Answered, Asked, IoData } from './io-worker.js';
import type { Leaving, Reply, Request } from './protocol.js';

/**
 * Addresses of C functions of the types in xla/pjrt/c/pjrt_c_api.h: `get` waits for a key, `tryGet` does not, `put`
 * stores one. They may be called from any thread.
 */
export interface KeyValueCallbacks {
  readonly get: bigint;
  readonly tryGet: bigint;
  readonly put: bigint;
  /** Asks the store from the thread that started this. What it waits for does not keep the process alive. */
  ask(request: Request): Promise<Reply>;
  /** Tells node 0 how this process leaves and ends the threads; the callbacks must not be called any more. */
  stop(how: Leaving): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;
/** How long a process takes at most to say that it leaves. */
const LEAVE_TIMEOUT_MS = 3_000;

/** Starts the threads. The network is asked only when a callback is called. */
export function startKeyValue(hosts: Hosts): KeyValueCallbacks {
  checkHosts(hosts);
  const channels = [new MessageChannel(), new MessageChannel()] as const;
  const near = channels.map((c) => c.port1);
  const io: IoData = { hosts, ports: near };
  const start = (file: string, workerData: IoData | CallbackData, transferList: readonly MessagePort[]): Worker => {
    const worker = new Worker(new URL(file, import.meta.url), { workerData, transferList: [...transferList] });
    worker.unref();
    return worker;
  };
  const network = start('io-worker.js', io, near);
  const asking = new Asking(network);
  const workers = [network];
  const [puts, gets] = [['put', 'try'], ['get']] as const;
  const addresses = [puts, gets].map((kinds, i) => {
    const port = channels[i as 0 | 1].port2;
    const shared = {
      addresses: new BigUint64Array(new SharedArrayBuffer(8 * kinds.length)),
      ready: new Int32Array(new SharedArrayBuffer(4)),
    };
    workers.push(start('callback-worker.js', { kinds: [...kinds], port, ...shared }, [port]));
    if (Atomics.wait(shared.ready, 0, 0, START_TIMEOUT_MS) === 'timed-out') {
      throw new EngineError('xla: the threads that answer key-value callbacks did not start');
    }
    return shared.addresses;
  });
  const [[put, tryGet], [get]] = addresses.map((a) => [...a]) as [[bigint, bigint], [bigint]];
  return {
    ...{ get, tryGet, put },
    ask: (request) => asking.ask(request),
    stop: async (how) => {
      await leave(network, how);
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

/** Requests of this thread, which goes on meanwhile, to the thread with the network. */
class Asking {
  readonly #pending = new Map<number, (reply: Reply) => void>();
  #next = 0;

  constructor(private readonly network: Worker) {
    network.on('message', ({ id, answer }: Answered) => {
      this.#pending.get(id)?.(answer);
      this.#pending.delete(id);
    });
  }

  ask(request: Request): Promise<Reply> {
    return new Promise((resolve) => {
      const id = this.#next++;
      this.#pending.set(id, resolve);
      this.network.postMessage({ id, request } satisfies Asked);
    });
  }
}

/** Lets the thread with the network tell node 0 that this process leaves. */
async function leave(network: Worker, how: Leaving): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const left = new Promise((resolve) => network.once('exit', resolve));
  const late = new Promise((resolve) => (timer = setTimeout(resolve, LEAVE_TIMEOUT_MS)));
  network.postMessage(how);
  await Promise.race([left, late]);
  clearTimeout(timer);
}
