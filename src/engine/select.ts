/** Which engine runs, and why. */
import { existsSync } from 'node:fs';
import { ConfigError } from '../core/index.js';
import type { Engine, MeshShape } from './contract/engine.js';
import { hiddenCuda } from './contract/accelerators.js';
import { keepingPrograms, type KeptPrograms } from './kept-programs.js';
import type { Hardware } from './definitions/hardware.js';
import { ENGINES, type EngineName } from './definitions/table.js';
import { hostsFromEnvironment } from './xla/pjrt/hosts/hosts.js';
import { findPlugin, type Platform } from './xla/pjrt/discover.js';

const isEngineName = (name: string): name is EngineName => Object.hasOwn(ENGINES, name);

/** The names that `--engine` takes. */
export const ENGINE_NAMES: readonly EngineName[] = Object.keys(ENGINES).filter(isEngineName);

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

/** The platform that an engine of that name computes on here; null for those that need no plugin. */
export function platformOf(name: EngineName, hardware: Hardware = THIS_HOST): Platform | null {
  return ENGINES[name].platform(hardware);
}

/**
 * Looks whether an engine of that name can be made here, as far as files say it: nothing is loaded or started.
 *
 * @throws ConfigError or EngineError that says what is missing and how it is installed
 */
export function checkEngine(name: EngineName, hardware: Hardware = THIS_HOST): void {
  ENGINES[name].check(hardware);
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
  const { keepsPrograms, ...asked } = options;
  if (!isEngineName(name)) {
    throw new ConfigError(`unknown engine "${String(name)}"; choose one of ${ENGINE_NAMES.join(', ')}`);
  }
  const engine = ENGINES[name].make({ ...asked, hosts: hostsFromEnvironment(process.env), hardware });
  return keepsPrograms === undefined ? engine : keepingPrograms(engine, keepsPrograms);
}
