/**
 * Starts what a plugin needs to work with the processes of other hosts: key-value callbacks over a store that node 0
 * serves.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import { ConfigError, EngineError } from '../../../../core/index.js';
import type { CallbackData } from './callback-worker.js';
import type { IoData } from './io-worker.js';
import { parseAddress } from './store.js';

/** One process of several that share a mesh; each sees its own devices, and the mesh spans those of all. */
export interface Hosts {
  /** This process's number, from 0. */
  readonly node: number;
  /** The number of processes. */
  readonly nodes: number;
  /** `HOST:PORT` at which node 0 serves the store; the same for all. */
  readonly coordinator: string;
}

/**
 * Addresses of C functions of the types in xla/pjrt/c/pjrt_c_api.h: `get` waits for a key, `tryGet` does not, `put`
 * stores one. They may be called from any thread.
 */
export interface KeyValueCallbacks {
  readonly get: bigint;
  readonly tryGet: bigint;
  readonly put: bigint;
  /** Ends the threads; the callbacks must not be called any more. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;

/** Throws `ConfigError` for a node that is not among the nodes, or a coordinator that is no address. */
function checkHosts({ node, nodes, coordinator }: Hosts): void {
  if (!Number.isInteger(nodes) || nodes < 1)
    throw new ConfigError(`the number of nodes must be a whole number >= 1, got ${nodes}`);
  if (!Number.isInteger(node) || node < 0 || node >= nodes) {
    throw new ConfigError(`the node must be a whole number from 0 to ${nodes - 1}, got ${node}`);
  }
  parseAddress(coordinator);
}

/**
 * The hosts that `LONGSIGHT_COORDINATOR`, `LONGSIGHT_NODES` and `LONGSIGHT_NODE` speak of; none if the first is not
 * set. Throws `ConfigError` where they do not fit together.
 */
export function hostsFromEnvironment(env: Readonly<Record<string, string | undefined>>): Hosts | undefined {
  const coordinator = env['LONGSIGHT_COORDINATOR'];
  if (coordinator === undefined || coordinator === '') return undefined;
  const number = (name: string): number => {
    const text = env[name];
    if (text !== undefined && /^\d+$/.test(text)) return Number(text);
    throw new ConfigError(`LONGSIGHT_COORDINATOR is set, so ${name} must be a whole number, got ${text ?? 'nothing'}`);
  };
  const hosts = { coordinator, node: number('LONGSIGHT_NODE'), nodes: number('LONGSIGHT_NODES') };
  checkHosts(hosts);
  return hosts;
}

/** Starts the threads. The network is asked only when a callback is called. */
export function startKeyValue(hosts: Hosts): KeyValueCallbacks {
  checkHosts(hosts);
  const channels = [new MessageChannel(), new MessageChannel()] as const;
  const near = channels.map((c) => c.port1);
  const io: IoData = { coordinator: hosts.coordinator, serves: hosts.node === 0, ports: near };
  const start = (file: string, workerData: IoData | CallbackData, transferList: readonly MessagePort[]): Worker => {
    const worker = new Worker(new URL(file, import.meta.url), { workerData, transferList: [...transferList] });
    worker.unref();
    return worker;
  };
  const workers = [start('io-worker.js', io, near)];
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
    stop: async () => {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
