/**
 * The xla engine: graphs as StableHLO text, compiled and run by a PJRT plugin (CUDA, TPU, CPU), on one device or a
 * mesh. `run` starts a program and returns; only `download` waits.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalJson, ConfigError, EngineError, cacheFolder } from '../../../core/index.js';
import type { Graph } from '../../../graph/index.js';
import { checkDonation } from '../../contract/check.js';
import type { CompileOptions, DeviceTensor, Engine, EngineInfo, Executable, MeshShape } from '../../contract/engine.js';
import { deviceOf, fetch, isHere, memoryOf, place, type Core } from './devices.js';
import { Gatherer } from './gather.js';
import { isFull, outOfMemory } from './out-of-memory.js';
import { startKeyValue, type KeyValueCallbacks } from '../pjrt/hosts/callbacks.js';
import type { Hosts } from '../pjrt/hosts/hosts.js';
import { exchange } from '../pjrt/hosts/exchange.js';
import { shareStop } from '../pjrt/hosts/shared-stop.js';
import { BufferPool } from './memory.js';
import { PjrtError, type PjrtApi } from '../pjrt/api.js';
import { ProgramCache } from '../pjrt/cache.js';
import { PjrtClient, type ClientOption, type Device, type MemoryStats } from '../pjrt/client.js';
import { requirePlugin, type Platform } from '../pjrt/discover.js';
import type { Collective } from '../pjrt/hlo.js';
import { kernelSupport, kernelsInUse } from './kernels-in-use.js';
import { addXlaFlags, cudaFolderFlag, loadPlugin } from '../pjrt/load.js';
import { PluginProfiler } from '../pjrt/profiler.js';
import type { XlaOptions } from '../pjrt/proto.js';
import { XlaExecutable, lowering, type CompileScope } from './program.js';
import { checkSharding, meshOf, type Mesh } from '../mesh/sharding.js';
import { XlaTensor, ownTensor } from './tensor.js';
import { deviceSpans, type DeviceSpan } from './trace.js';

/** How the XLA engine is created. */
export interface XlaEngineOptions {
  readonly platform?: Platform;
  /** The plugin's file; searched for if left out. */
  readonly plugin?: string | undefined;
  /** Why this engine was taken; stored with runs. */
  readonly reason?: string;
  /** Devices to use; default the first, or as many as the mesh has. */
  readonly mesh?: MeshShape;
  /** Values for the plugin's client, such as `memory_fraction`; see `docs/xla.md`. */
  readonly clientOptions?: Readonly<Record<string, ClientOption>>;
  /** This process and the others of a mesh over several hosts; all of them run the same programs in the same order. */
  readonly hosts?: Hosts | undefined;
  /** XLA debug options of every program compiled. */
  readonly xlaOptions?: XlaOptions;
  /** Flags added to XLA_FLAGS before the plugin loads. */
  readonly xlaFlags?: readonly string[];
  /** Use cuDNN's attention where it fits; default on CUDA. */
  readonly cudnn?: boolean;
  /** Use the tile kernels of `kernels/` where they fit; default on CUDA. */
  readonly tileKernels?: boolean;
  /** The same bits on every run, on GPUs too; slower. Default no. */
  readonly deterministic?: boolean;
  /** Folder of compiled programs, or null for none; default `xla` in the cache folder. */
  readonly cache?: string | null;
  /** Where messages go; default standard error. */
  readonly say?: (message: string) => void;
}

/** What this engine can do beyond `Engine`. */
export interface XlaEngine extends Engine {
  /** The text that `compile` hands to XLA. */
  lower(graph: Graph, options?: CompileOptions): string;
  /** Frees a tensor's memory now instead of when it is garbage. */
  release(tensor: DeviceTensor): void;
  /** What a program that this engine compiled sends between devices each time it runs; nothing on one device. */
  collectives(program: Executable): readonly Collective[];
  /** The memory in use on one device of the mesh (default: the first); null where the plugin does not keep count. */
  memoryStats(place?: number): MemoryStats | null;
  /**
   * Records what the devices run until `stop`, which gives it. Throws `EngineError` where the plugin has no profiler.
   */
  profile(): { stop(): DeviceSpan[] };
  readonly mesh: Mesh;
  readonly devices: readonly Device[];
  /** How long the last `compile` took, and whether its program came from the cache. */
  readonly lastCompile: { readonly seconds: number; readonly cached: boolean } | null;
}

/**
 * Options that measure faster than XLA's defaults for transformer steps on NVIDIA GPUs: `docs/xla.md` has the numbers.
 */
const CUDA_OPTIONS: XlaOptions = { xla_gpu_enable_triton_gemm: false };

/** Kernels that sum in a fixed order, and the same kernels whenever a program is compiled. */
const DETERMINISTIC_OPTIONS: XlaOptions = { xla_gpu_exclude_nondeterministic_ops: true, xla_gpu_autotune_level: 0 };

/** Enough that a device never waits for the host, few enough that a stop or a failure is noticed soon. */
const RUNS_AHEAD = 4;

/** Picks the mesh's devices. Throws `ConfigError` where there are too few. */
function pickDevices(client: PjrtClient, mesh: Mesh): readonly Device[] {
  const { devices } = client;
  const chosen = devices.slice(0, mesh.size);
  if (devices.length >= mesh.size && chosen.some((d) => d.own)) return chosen;
  if (devices.length >= mesh.size) {
    throw new ConfigError(
      `the mesh of ${mesh.size} devices leaves this process without one: all processes together have ${devices.length}; ` +
        'make the mesh larger or start fewer processes',
      { details: { mesh: mesh.axes, devices: devices.length } },
    );
  }
  const { data, fsdp, tensor } = mesh.axes;
  throw new ConfigError(
    `the mesh needs ${mesh.size} devices (data ${data} x fsdp ${fsdp} x tensor ${tensor}), and ${client.platform} has ` +
      `${devices.length}; make the mesh smaller or add devices`,
    { details: { mesh: mesh.axes, devices: devices.length } },
  );
}

/** CPU plugins make as many virtual devices as a client option says; those that know no such option go by XLA_FLAGS. */
function startClient(
  api: PjrtApi,
  { platform, mesh, hosts }: { platform: Platform; mesh: Mesh; hosts: Hosts | undefined },
  given: Readonly<Record<string, ClientOption>>,
  keyValue: KeyValueCallbacks | null,
): PjrtClient {
  const options = hosts ? { node_id: hosts.node, num_nodes: hosts.nodes, ...given } : given;
  if (platform !== 'cpu' || mesh.size === 1) return PjrtClient.create(api, options, keyValue);
  try {
    return PjrtClient.create(api, { cpu_device_count: mesh.size / (hosts?.nodes ?? 1), ...options }, keyValue);
  } catch (error) {
    if (error instanceof PjrtError && /cpu_device_count/.test(error.pluginMessage))
      return PjrtClient.create(api, options, keyValue);
    throw error;
  }
}

/**
 * A device that others hold is said as that. What fails here is a loss to the processes of other hosts, and ends the
 * threads of the callbacks, which would keep this process alive.
 */
function starting<T>(platform: Platform, keyValue: KeyValueCallbacks | null, start: () => T): T {
  try {
    return start();
  } catch (error) {
    void keyValue?.stop('failed');
    if (!isFull(error)) throw error;
    throw outOfMemory(error, { stats: null, device: memoryOf(platform, 0) });
  }
}

/**
 * Another build of a plugin under the same name is another plugin. The file is known by size, place on the disk and
 * times; that of the last change (ctime) moves whenever its content does, and no copying tool sets it back, so that
 * hundreds of megabytes need not be hashed at every start.
 */
function pluginStamp(path: string, version: string): string {
  const { size, ino, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
  return canonicalJson([path, size, ino, mtimeNs, ctimeNs, version]);
}

/**
 * The engine on a PJRT plugin. Throws `ConfigError` where no plugin is found or the mesh does not fit the devices,
 * `EngineError` where the plugin does not load or start.
 */
export function createXlaEngine(options: XlaEngineOptions = {}): XlaEngine {
  const { platform = 'cpu', say = (message: string) => process.stderr.write(`xla: ${message}\n`) } = options;
  const mesh = meshOf(options.mesh ?? {});
  const plugin = requirePlugin(platform, { path: options.plugin });
  const forced = platform === 'cpu' && mesh.size > 1 ? [`--xla_force_host_platform_device_count=${mesh.size}`] : [];
  const flags = addXlaFlags([...(options.xlaFlags ?? []), ...forced, ...cudaFolderFlag(plugin)]);
  const api = loadPlugin(plugin);
  const { hosts } = options;
  const keyValue = hosts ? startKeyValue(hosts) : null;
  const { client, devices } = starting(platform, keyValue, () => {
    const client = startClient(api, { platform, mesh, hosts }, options.clientOptions ?? {}, keyValue);
    return { client, devices: pickDevices(client, mesh) };
  });
  const own = devices.flatMap((device, i) => (device.own ? [i] : []));
  const core: Core = { client, mesh, devices, own, pool: new BufferPool() };
  const version = `PJRT ${api.version.major}.${api.version.minor}, ${client.platformVersion}`;
  const folder = options.cache === undefined ? join(cacheFolder(process.env), 'xla') : options.cache;
  const deterministic = options.deterministic === true && platform === 'cuda';
  const xlaOptions = {
    ...(platform === 'cuda' ? CUDA_OPTIONS : {}),
    ...(deterministic ? DETERMINISTIC_OPTIONS : {}),
    ...options.xlaOptions,
  };
  let lastCompile: XlaEngine['lastCompile'] = null;
  const scope: CompileScope = {
    core,
    // Programs over several hosts are not kept: each host would have to find the same entry.
    cache: folder === null || hosts ? null : ProgramCache.open(folder, say),
    plugin: pluginStamp(plugin.path, version),
    flags,
    xlaOptions,
    cudnn: options.cudnn ?? platform === 'cuda',
    tileKernels: options.tileKernels ?? platform === 'cuda',
    deterministic,
    compiled: (how) => (lastCompile = how),
  };
  const programs = new Set<XlaExecutable>();
  const gatherer = new Gatherer({
    compile: (graph, sharding) => XlaExecutable.create(graph, scope, { shardings: { x: sharding } }),
    fetch: (tensor) => fetch(core, tensor),
    release: (tensor) => core.pool.release(tensor),
  });
  const settings = [
    `${plugin.path} (${plugin.reason})`,
    `${core.devices.length} x ${core.devices[0]?.kind ?? 'no device'}`,
    ...(hosts ? [`node ${hosts.node} of ${hosts.nodes}, coordinator ${hosts.coordinator}`] : []),
    ...(flags === '' ? [] : [`XLA_FLAGS ${flags}`]),
    ...Object.entries(xlaOptions).map(([k, v]) => `${k}=${v}`),
    ...(platform === 'cuda' ? [kernelsInUse(mesh, scope)] : []),
  ];
  const info: EngineInfo = {
    name: 'xla',
    library: `XLA ${client.platform}, ${version}`,
    threads: 1,
    reason: `${options.reason ?? 'asked for'}; ${settings.join('; ')}`,
    ...(mesh.size > 1 ? { mesh: mesh.axes } : {}),
  };
  const work = { isUnderWay: false, runs: 0, exchanges: 0 };
  return {
    info,
    kernels: kernelSupport(mesh, scope),
    hints: { momentElements: 0, runsAhead: RUNS_AHEAD, accelerator: platform !== 'cpu' },
    mesh,
    devices: core.devices,
    get lastCompile() {
      return lastCompile;
    },
    lower: (graph, compile = {}) => lowering(scope, graph, compile),
    compile: async (graph, compile = {}) => {
      checkDonation(graph, compile);
      const program = await XlaExecutable.create(graph, scope, compile);
      for (const before of programs) if (before.disposed) programs.delete(before);
      programs.add(program);
      return program;
    },
    upload: (tensor, sharding) => {
      if (sharding) checkSharding(mesh, sharding, tensor.shape, 'a tensor');
      const result = new XlaTensor(tensor.dtype, tensor.shape, { host: tensor });
      if (mesh.size === 1 || sharding) place(core, result, sharding ?? []);
      return result;
    },
    download: async (tensor) => {
      const own = ownTensor(tensor, 'the tensor');
      if (own.host === null && !isHere(core, own)) return gatherer.download(own);
      return own.host === null ? fetch(core, own) : { ...own.host, data: own.host.data.slice() };
    },
    release: (tensor) => {
      const own = ownTensor(tensor, 'the tensor');
      own.state = 'released';
      core.pool.release(own);
    },
    clear: () => core.pool.clear(),
    collectives: (program) => {
      if (!(program instanceof XlaExecutable)) throw new EngineError('xla: the program belongs to another engine');
      return program.collectives();
    },
    memoryStats: (at = 0) => client.memoryStats(deviceOf(core, at)),
    profile: () => {
      const profiler = new PluginProfiler(api);
      return { stop: () => deviceSpans(profiler.stop()) };
    },
    ...(keyValue === null ? {} : { atWork: (isAtWork) => void (work.isUnderWay = isAtWork) }),
    ...(keyValue === null || !hosts || hosts.nodes === 1
      ? {}
      : {
          shareStop: (from, to) =>
            shareStop({ hosts, ask: (request) => keyValue.ask(request), run: work.runs++, from, to }),
          exchange: (text) =>
            exchange({ hosts, ask: (request) => keyValue.ask(request), number: work.exchanges++, text }),
        }),
    dispose: async () => {
      // Said first: the others may wait for this process for ever, and so may what follows for them.
      if (work.isUnderWay) await keyValue?.stop('failed');
      await gatherer.dispose();
      for (const program of programs) await program.dispose();
      core.pool.clear();
      client[Symbol.dispose]();
      if (!work.isUnderWay) await keyValue?.stop('bye');
    },
  };
}
