/**
 * The xla engine: graphs as StableHLO text, compiled and run by a PJRT plugin (CUDA, TPU, CPU), on one device or a mesh.
 * `run` starts a program and returns; only `download` waits.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, DTYPE_BYTES, EngineError, sizeOf, type HostTensor } from '../../core/index.js';
import type { Graph } from '../../graph/index.js';
import { checkDonation, checkInputs } from '../check.js';
import type {
  CompileOptions,
  DeviceTensor,
  Engine,
  EngineInfo,
  Executable,
  MeshShape,
  Sharding,
  TensorMap,
} from '../engine.js';
import { BufferPool } from './memory.js';
import { PjrtError, RESOURCE_EXHAUSTED, type PjrtApi } from './pjrt/api.js';
import { ProgramCache, cacheName } from './pjrt/cache.js';
import { PjrtClient, type ClientOption, type Device, type MemoryStats, type PjrtExecutable } from './pjrt/client.js';
import { cacheFolder, requirePlugin, type Platform } from './pjrt/discover.js';
import { collectivesOf, type Collective } from './pjrt/hlo.js';
import { addXlaFlags, loadPlugin } from './pjrt/load.js';
import { compileOptions, type XlaOptions } from './pjrt/proto.js';
import { cutShard, joinShards } from './place.js';
import { lowerToStableHlo } from './stablehlo/lower.js';
import { checkSharding, meshOf, partsOf, shardingKey, type Mesh } from './stablehlo/sharding.js';
import { XlaTensor, ownTensor, type Placement } from './tensor.js';

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
  /** XLA debug options of every program compiled. */
  readonly xlaOptions?: XlaOptions;
  /** Flags added to XLA_FLAGS before the plugin loads. */
  readonly xlaFlags?: readonly string[];
  /** Use cuDNN's attention where it fits; default on CUDA. */
  readonly cudnn?: boolean;
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
  /** Of the first device; null where the plugin does not keep count. */
  memoryStats(): MemoryStats | null;
  readonly mesh: Mesh;
  readonly devices: readonly Device[];
  /** Of the last `compile`. */
  readonly lastCompile: { readonly seconds: number; readonly cached: boolean } | null;
}

/** Options that measure faster than XLA's defaults for transformer steps on NVIDIA GPUs: `docs/xla.md` has the numbers. */
const CUDA_OPTIONS: XlaOptions = { xla_gpu_enable_triton_gemm: false };

/** Enough that a device never waits for the host, few enough that a stop or a failure is noticed soon. */
const RUNS_AHEAD = 4;

const GIB = 2 ** 30;
const gib = (bytes: number): string => `${(bytes / GIB).toFixed(2)} GiB`;

interface Core {
  readonly client: PjrtClient;
  readonly devices: readonly Device[];
  readonly mesh: Mesh;
  readonly pool: BufferPool;
}

/** Says what was asked, what there is, and what to lower. */
function outOfMemory(error: PjrtError, core: Core): EngineError {
  const stats = core.client.memoryStats(core.devices[0] as Device);
  const have =
    stats === null
      ? 'the plugin does not say how much is free'
      : `${gib(stats.bytesInUse)} in use${stats.bytesLimit === null ? '' : ` of ${gib(stats.bytesLimit)}`}`;
  return new EngineError(
    `xla: out of device memory (${have}): ${error.pluginMessage.split('\n')[0]}; lower train.batchSize or train.seqLen, ` +
      'raise train.accumulate, or set train.remat: true',
    { details: { ...error.details, ...stats }, cause: error },
  );
}

/** Runs `action`; when the device is full, frees garbage and tries once more. */
function withMemory<T>(core: Core, action: () => T): T {
  const full = (error: unknown): error is PjrtError =>
    error instanceof PjrtError && error.status === RESOURCE_EXHAUSTED;
  try {
    return action();
  } catch (error) {
    if (!full(error)) throw error;
    core.pool.sweep();
    try {
      return action();
    } catch (second) {
      throw full(second) ? outOfMemory(second, core) : second;
    }
  }
}

/** Puts host data on the devices as `sharding` says. */
function placeHost(core: Core, tensor: HostTensor, sharding: Sharding): Placement {
  const buffers = core.devices.map((device, i) =>
    withMemory(core, () => core.client.upload(cutShard(tensor, core.mesh, sharding, i), device)),
  );
  return { sharding, buffers };
}

const bytesOf = (t: DeviceTensor): number => sizeOf(t.shape) * DTYPE_BYTES[t.dtype];

function adopt(core: Core, tensor: XlaTensor, placement: Placement): void {
  tensor.placement = placement;
  core.pool.adopt(tensor, placement.buffers, bytesOf(tensor));
}

/** The buffers of a tensor where they lie as a program wants them. */
function buffersFor(core: Core, tensor: XlaTensor, sharding: Sharding, name: string): Placement {
  const rank = tensor.shape.length;
  if (tensor.placement === null) {
    adopt(core, tensor, placeHost(core, tensor.host as HostTensor, sharding));
    tensor.host = null;
  }
  const placement = tensor.placement as unknown as Placement;
  if (shardingKey(placement.sharding, rank) !== shardingKey(sharding, rank)) {
    throw new EngineError(
      `xla: input "${name}" lies on the mesh as ${shardingKey(placement.sharding, rank)}, the program wants ` +
        `${shardingKey(sharding, rank)}; download it and upload it anew`,
    );
  }
  return placement;
}

class XlaExecutable implements Executable {
  #native: PjrtExecutable | null;

  constructor(
    readonly graph: Graph,
    native: PjrtExecutable,
    private readonly core: Core,
    private readonly options: CompileOptions,
  ) {
    this.#native = native;
  }

  async run(inputs: TensorMap): Promise<TensorMap> {
    const native = this.#native;
    if (!native) throw new EngineError('xla: this program was disposed of');
    const { core, graph, options } = this;
    const { donate = {}, shardings = {} } = options;
    checkInputs('xla', graph, inputs);
    const tensors = graph.inputs.map(({ name }) => ownTensor(inputs[name] as DeviceTensor, `input "${name}"`));
    this.#refuseTwice(tensors);
    core.pool.maybeSweep();
    const placements = graph.inputs.map(({ name }, i) =>
      buffersFor(core, tensors[i] as XlaTensor, shardings[name] ?? [], name),
    );
    const lists = core.devices.map((_, d) => placements.map((p) => p.buffers[d] as Placement['buffers'][number]));
    const results = withMemory(core, () => native.execute(lists, graph.outputs.length));
    graph.inputs.forEach(({ name }, i) => {
      if (donate[name] === undefined) return;
      const tensor = tensors[i] as XlaTensor;
      tensor.state = 'donated';
      core.pool.release(tensor);
    });
    return Object.fromEntries(
      graph.outputs.map(({ name, value }, i) => {
        const buffers = results.map((list) => list[i] as Placement['buffers'][number]);
        const placement = { sharding: shardings[name] ?? [], buffers };
        const tensor = new XlaTensor(value.dtype, value.shape, { placement });
        adopt(core, tensor, placement);
        return [name, tensor];
      }),
    );
  }

  collectives(): readonly Collective[] {
    if (!this.#native) throw new EngineError('xla: this program was disposed of');
    return collectivesOf(this.#native.optimizedProgram());
  }

  /** A tensor that is donated must not also be another input of the same run. */
  #refuseTwice(tensors: readonly XlaTensor[]): void {
    const donated = new Set(Object.keys(this.options.donate ?? {}));
    const seen = new Map<XlaTensor, string>();
    this.graph.inputs.forEach(({ name }, i) => {
      const tensor = tensors[i] as XlaTensor;
      const other = seen.get(tensor);
      if (other !== undefined && (donated.has(name) || donated.has(other))) {
        throw new EngineError(`xla: inputs "${other}" and "${name}" are one tensor, which is donated; upload it twice`);
      }
      seen.set(tensor, name);
    });
  }

  async dispose(): Promise<void> {
    const native = this.#native;
    this.#native = null;
    native?.[Symbol.dispose]();
  }
}

interface CompileScope {
  readonly core: Core;
  readonly cache: ProgramCache | null;
  readonly plugin: string;
  readonly flags: string;
  readonly xlaOptions: XlaOptions;
  readonly cudnn: boolean;
}

/** From the cache if it is there, else compiled and put there. */
async function compileText(scope: CompileScope, text: string): Promise<{ native: PjrtExecutable; cached: boolean }> {
  const { core, cache } = scope;
  const options = compileOptions(
    core.devices.map((d) => d.id),
    scope.xlaOptions,
  );
  const device = core.devices.map((d) => d.kind).join(',');
  const name = cacheName({ program: text, options, plugin: scope.plugin, device, flags: scope.flags });
  const stored = cache?.read(name) ?? null;
  if (cache && stored) {
    try {
      return { native: await core.client.deserialize(stored), cached: true };
    } catch (error) {
      cache.discard(name, error instanceof Error ? error.message : String(error));
    }
  }
  try {
    const native = await core.client.compile(text, options);
    if (cache) cache.write(name, native.serialize());
    return { native, cached: false };
  } catch (error) {
    if (error instanceof PjrtError && error.status === RESOURCE_EXHAUSTED) throw outOfMemory(error, core);
    throw error;
  }
}

function lowering(scope: CompileScope, graph: Graph, { donate = {}, shardings = {} }: CompileOptions): string {
  const { mesh } = scope.core;
  for (const { name, value } of [...graph.inputs, ...graph.outputs]) {
    const sharding = shardings[name];
    if (sharding) checkSharding(mesh, sharding, value.shape, `"${name}"`);
  }
  return lowerToStableHlo(graph, { donate, shardings, cudnn: scope.cudnn, mesh: mesh.size > 1 ? mesh : null });
}

/** Picks the mesh's devices. Throws `ConfigError` where there are too few. */
function pickDevices(client: PjrtClient, mesh: Mesh): readonly Device[] {
  const { devices } = client;
  if (devices.length >= mesh.size) return devices.slice(0, mesh.size);
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
  platform: Platform,
  mesh: Mesh,
  given: Readonly<Record<string, ClientOption>>,
): PjrtClient {
  if (platform !== 'cpu' || mesh.size === 1) return PjrtClient.create(api, given);
  try {
    return PjrtClient.create(api, { cpu_device_count: mesh.size, ...given });
  } catch (error) {
    if (error instanceof PjrtError && /cpu_device_count/.test(error.pluginMessage))
      return PjrtClient.create(api, given);
    throw error;
  }
}

/** Plugin file, size and time: another build under the same name is another plugin. */
function pluginStamp(path: string, version: string): string {
  const { size, mtimeMs } = statSync(path);
  return `${path}:${size}:${Math.round(mtimeMs)}:${version}`;
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
  const flags = addXlaFlags([...(options.xlaFlags ?? []), ...forced]);
  const api = loadPlugin(plugin);
  const client = startClient(api, platform, mesh, options.clientOptions ?? {});
  const core: Core = { client, mesh, devices: pickDevices(client, mesh), pool: new BufferPool() };
  const version = `PJRT ${api.version.major}.${api.version.minor}, ${client.platformVersion}`;
  const folder = options.cache === undefined ? join(cacheFolder(process.env), 'xla') : options.cache;
  const xlaOptions = { ...(platform === 'cuda' ? CUDA_OPTIONS : {}), ...options.xlaOptions };
  const scope: CompileScope = {
    core,
    cache: folder === null ? null : new ProgramCache(folder, say),
    plugin: pluginStamp(plugin.path, version),
    flags,
    xlaOptions,
    cudnn: options.cudnn ?? platform === 'cuda',
  };
  const programs = new Set<Executable>();
  let lastCompile: XlaEngine['lastCompile'] = null;
  const settings = [
    `${plugin.path} (${plugin.reason})`,
    `${core.devices.length} x ${core.devices[0]?.kind ?? 'no device'}`,
    ...(flags === '' ? [] : [`XLA_FLAGS ${flags}`]),
    ...Object.entries(xlaOptions).map(([k, v]) => `${k}=${v}`),
  ];
  const info: EngineInfo = {
    name: 'xla',
    library: `XLA ${client.platform}, ${version}`,
    threads: 1,
    reason: `${options.reason ?? 'asked for'}; ${settings.join('; ')}`,
    ...(mesh.size > 1 ? { mesh: mesh.axes } : {}),
  };
  return {
    info,
    hints: { splitProjections: false, runsAhead: RUNS_AHEAD },
    mesh,
    devices: core.devices,
    get lastCompile() {
      return lastCompile;
    },
    lower: (graph, compile = {}) => lowering(scope, graph, compile),
    compile: async (graph, compile = {}) => {
      checkDonation(graph, compile);
      const begin = performance.now();
      const { native, cached } = await compileText(scope, lowering(scope, graph, compile));
      lastCompile = { seconds: (performance.now() - begin) / 1000, cached };
      const program = new XlaExecutable(graph, native, core, compile);
      programs.add(program);
      return program;
    },
    upload: (tensor) => {
      const result = new XlaTensor(tensor.dtype, tensor.shape, { host: tensor });
      if (mesh.size === 1) {
        adopt(core, result, placeHost(core, tensor, []));
        result.host = null;
      }
      return result;
    },
    download: async (tensor) => downloadTensor(core, ownTensor(tensor, 'the tensor')),
    release: (tensor) => {
      const own = ownTensor(tensor, 'the tensor');
      own.state = 'released';
      core.pool.release(own);
    },
    collectives: (program) => {
      if (!(program instanceof XlaExecutable)) throw new EngineError('xla: the program belongs to another engine');
      return program.collectives();
    },
    memoryStats: () => client.memoryStats(core.devices[0] as Device),
    dispose: async () => {
      for (const program of programs) await program.dispose();
      core.pool.dispose();
      client[Symbol.dispose]();
    },
  };
}

async function downloadTensor(core: Core, tensor: XlaTensor): Promise<HostTensor> {
  const { dtype, shape, placement, host } = tensor;
  if (placement === null) return { ...(host as HostTensor), data: (host as HostTensor).data.slice() };
  const parts = partsOf(core.mesh, placement.sharding, shape.length);
  const get = (i: number, part: readonly number[]): Promise<HostTensor> =>
    core.client.download(placement.buffers[i] as Placement['buffers'][number], dtype, part);
  if (parts.every((n) => n === 1)) return get(0, shape);
  const local = shape.map((d, i) => d / (parts[i] as number));
  const shards = await Promise.all(core.devices.map((_, i) => get(i, local)));
  return joinShards(shards, core.mesh, placement.sharding, shape);
}
