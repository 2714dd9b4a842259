/** Which engine runs, and why. */
import { existsSync } from 'node:fs';
import { ConfigError } from '../core/index.js';
import type { Engine, MeshShape } from './contract/engine.js';
import { hiddenCuda } from './contract/accelerators.js';
import { keepingPrograms, type KeptPrograms } from './kept-programs.js';
import { createOnnxEngine } from './onnx/engine.js';
import { createReferenceEngine } from './reference/engine.js';
import { createXlaEngine } from './xla/engine/engine.js';
import { hostsFromEnvironment, type Hosts } from './xla/pjrt/hosts/hosts.js';
import { findPlugin, type Platform } from './xla/pjrt/discover.js';

/** The names that `--engine` takes. */
export const ENGINE_NAMES = ['auto', 'onnx', 'xla', 'xla:cuda', 'xla:tpu', 'xla:cpu', 'reference'] as const;
/** One of `ENGINE_NAMES`. */
export type EngineName = (typeof ENGINE_NAMES)[number];

/** What is asked of an engine when it is created. */
export interface EngineChoice {
  /** Worker threads of the CPU engine. */
  readonly threads?: number;
  /** The device mesh of the xla engine (default: one device). */
  readonly mesh?: MeshShape;
  /** The same bits on every run, on accelerators too, where that costs speed; CPU engines always give them. */
  readonly deterministic?: boolean;
  /**
   * Part of a device's memory that this process may take, more than 0 and at most 1; the plugin's own default if left
   * out.
   */
  readonly memoryFraction?: number;
  /**
   * Keeps programs that are given back for the next that compiles the same: `many` for work on many checkpoints,
   * `alike` for runs one after another.
   */
  readonly keepsPrograms?: KeptPrograms;
}

/** What there is to choose from; for tests. */
export interface Hardware {
  /** Whether the host has a device of the platform. */
  hasDevice(platform: Platform): boolean;
  /** Whether a plugin of the platform is installed. */
  hasPlugin(platform: Platform): boolean;
  /**
   * Why the platform's devices cannot be used although the host may have some, in words; null if nothing hides them.
   */
  hides?(platform: Platform): string | null;
}

/** Files that exist where a driver has a device. */
const DEVICE_FILES: Readonly<Record<'cuda' | 'tpu', readonly string[]>> = {
  cuda: ['/dev/nvidia0', '/dev/nvidiactl', '/dev/dxg'],
  tpu: ['/dev/accel0', '/dev/vfio/0'],
};

/** This machine, as the choice of an engine sees it. */
const THIS_HOST: Hardware = {
  hasDevice: (platform) => platform === 'cpu' || DEVICE_FILES[platform].some((path) => existsSync(path)),
  hasPlugin: (platform) => findPlugin(platform).plugin !== null,
  hides: (platform) => (platform === 'cuda' ? hiddenCuda(process.env) : null),
};

/** The platforms that the xla engine can run on here: a device and a plugin are there. */
export function xlaPlatforms(hardware: Hardware = THIS_HOST): readonly Platform[] {
  return (['cuda', 'tpu', 'cpu'] as const).filter(
    (p) => hardware.hasDevice(p) && (hardware.hides?.(p) ?? null) === null && hardware.hasPlugin(p),
  );
}

/** Why the xla engine cannot use a CUDA device here, in words; null if it can. */
export function whyNoCuda(hardware: Hardware = THIS_HOST): string | null {
  if (!hardware.hasDevice('cuda')) return 'this machine has no CUDA device';
  return hardware.hides?.('cuda') ?? (hardware.hasPlugin('cuda') ? null : 'there is no PJRT plugin for CUDA');
}

/** The accelerator of this host that can be used, with the reason for the answer. */
export function chooseAccelerator(hardware: Hardware): { readonly platform: Platform | null; readonly why: string } {
  let hidden: string | null = null;
  for (const platform of ['cuda', 'tpu'] as const) {
    if (!hardware.hasDevice(platform)) continue;
    hidden ??= hardware.hides?.(platform) ?? null;
    if ((hardware.hides?.(platform) ?? null) !== null) continue;
    if (hardware.hasPlugin(platform))
      return { platform, why: `there are a ${platform} device and a PJRT plugin for it` };
    return { platform: null, why: `there is a ${platform} device but no PJRT plugin for it` };
  }
  return { platform: null, why: hidden ?? 'there is no accelerator' };
}

/** The platform that an engine of that name computes on here; null for those that need no plugin. */
export function platformOf(name: EngineName, hardware: Hardware = THIS_HOST): Platform | null {
  switch (name) {
    case 'auto':
      return chooseAccelerator(hardware).platform;
    case 'xla':
      return chooseAccelerator(hardware).platform ?? 'cpu';
    case 'xla:cuda':
      return 'cuda';
    case 'xla:tpu':
      return 'tpu';
    case 'xla:cpu':
      return 'cpu';
    case 'onnx':
    case 'reference':
      return null;
  }
}

/**
 * Makes the engine of that name. `auto` takes xla on an accelerator where a device and its plugin are there, else onnx;
 * `xla` takes the accelerator, else XLA's CPU plugin. `info.reason` says what was taken and why. Throws `ConfigError`
 * for an unknown name, thread count or mesh, and where a plugin that was asked for is missing.
 */
export function createEngine(
  name: EngineName = 'auto',
  options: EngineChoice = {},
  hardware: Hardware = THIS_HOST,
): Engine {
  const engine = makeEngine(name, options, hardware);
  return options.keepsPrograms === undefined ? engine : keepingPrograms(engine, options.keepsPrograms);
}

function makeEngine(name: EngineName, options: EngineChoice, hardware: Hardware): Engine {
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const devices = {
    ...(options.mesh === undefined ? {} : { mesh: options.mesh }),
    ...(options.deterministic === undefined ? {} : { deterministic: options.deterministic }),
    hosts: hostsFromEnvironment(process.env),
    ...(options.memoryFraction === undefined
      ? {}
      : { clientOptions: { memory_fraction: { float: options.memoryFraction } } }),
  };
  // Not refused: a run of a mesh is measured on the host, too.
  const noMesh = meshLeftOut(options.mesh);
  switch (name) {
    case 'auto': {
      const { platform, why } = chooseAccelerator(hardware);
      if (platform) return createXlaEngine({ platform, ...devices, reason: `auto: ${why}` });
      refuseHosts('onnx', devices.hosts);
      return createOnnxEngine({
        ...threads,
        reason: `auto: the CPU engine that comes with the package; ${why}${noMesh}`,
      });
    }
    case 'onnx':
      refuseHosts(name, devices.hosts);
      return createOnnxEngine({ ...threads, reason: `asked for${noMesh}` });
    case 'xla': {
      const { platform, why } = chooseAccelerator(hardware);
      return createXlaEngine({ platform: platform ?? 'cpu', ...devices, reason: `xla asked for: ${why}` });
    }
    case 'xla:cuda':
      refuseHidden('cuda', hardware);
      return createXlaEngine({ platform: 'cuda', ...devices });
    case 'xla:tpu':
      return createXlaEngine({ platform: 'tpu', ...devices });
    case 'xla:cpu':
      return createXlaEngine({ platform: 'cpu', ...devices });
    case 'reference':
      refuseHosts(name, devices.hosts);
      return createReferenceEngine(`asked for${noMesh}`);
    default:
      throw new ConfigError(`unknown engine "${String(name)}"; choose one of ${ENGINE_NAMES.join(', ')}`);
  }
}

/** What engines of one device say of a mesh of several; nothing where there is none. */
function meshLeftOut({ data = 1, fsdp = 1, tensor = 1 }: MeshShape = {}): string {
  const devices = data * fsdp * tensor;
  return devices === 1 ? '' : `; the mesh of ${devices} devices is left out, which only xla engines have`;
}

/** Processes of engines that know no others would each do the whole work. */
function refuseHosts(name: EngineName, hosts: Hosts | undefined): void {
  if (hosts === undefined || hosts.nodes === 1) return;
  throw new ConfigError(
    `LONGSIGHT_COORDINATOR makes this process one of ${hosts.nodes} that share a run, which the engine ${name} cannot do; ` +
      'unset it, or choose an accelerator (--engine xla)',
  );
}

function refuseHidden(platform: Platform, hardware: Hardware): void {
  const hidden = hardware.hides?.(platform) ?? null;
  if (hidden === null) return;
  throw new ConfigError(`${hidden}; name the devices to use there, or unset it, or choose another engine`);
}
