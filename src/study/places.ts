/** Where a study's runs go: accelerators, each to one run or to a few at a time, and the host's cores. */
import { at, entry, ConfigError } from '../core/index.js';
import type { Accelerator } from '../engine/index.js';
import { chooseParallelism, type Machine } from './parallelism.js';

/** What one run needs. */
export interface RunNeeds {
  /** The platform of its devices; null for a run that computes on the host's cores. */
  readonly platform: Accelerator['platform'] | null;
  /** How many devices it divides itself over; 1 without a mesh. */
  readonly devices: number;
}

/** Needs of a run on the host's cores. */
export const ON_HOST: RunNeeds = { platform: null, devices: 1 };

/** What a study may use at once. */
export interface Capacity {
  readonly devices: readonly Accelerator[];
  /** Runs that share a device. */
  readonly perDevice: number;
  /** Runs on the host's cores at once. */
  readonly workers: number;
  /** Threads of each of those. */
  readonly threads: number;
  /** Runs at once in all, whatever else is free. */
  readonly most: number;
  /** Why these numbers, for people. */
  readonly reason: string;
}

/** Where a run goes. */
export interface Place {
  /** The place's name, such as `cuda:1`, `cuda:0+cuda:1`, or `cpu`. */
  readonly name: string;
  readonly devices: readonly Accelerator[];
  /** Threads of the run's engine. */
  readonly threads: number;
  /** Part of each device's memory that the run may take; null for what the plugin takes by itself. */
  readonly memoryFraction: number | null;
  /** What its process needs in its environment to see these devices alone. */
  readonly env: Readonly<Record<string, string>>;
}

/** Which devices and how many workers a user asks for. */
export interface AskedPlaces {
  readonly workers?: number | undefined;
  /** Threads of each worker's engine. */
  readonly threads?: number | undefined;
  /** `2`: the first two; `0,3`, `cuda:1` or `GPU-...`: these. */
  readonly devices?: string | undefined;
  /** Runs at a time on each device. */
  readonly perDevice?: number | undefined;
}

/** The part of a device's memory that processes which share it take together: contexts and libraries need the rest. */
const SHARED_MEMORY = 0.85;

/**
 * What the runs that are still to do may use: every accelerator, one run at a time each unless told, for those that
 * compute on one; cores and memory for the others.
 *
 * @param find the accelerators of this process; called only if a run needs one
 * @throws ConfigError for numbers and devices that make no sense here, in one sentence
 */
export function planCapacity(
  runs: readonly RunNeeds[],
  asked: AskedPlaces,
  machine: Machine,
  find: () => readonly Accelerator[],
): Capacity {
  const onHost = runs.filter((run) => run.platform === null).length;
  const onDevices = runs.filter((run) => run.platform !== null);
  if (onDevices.length === 0) {
    if (runs.length > 0) refuseDeviceOptions(asked);
    return {
      devices: [],
      perDevice: 1,
      most: Infinity,
      ...chooseParallelism(onHost, { workers: asked.workers, threads: asked.threads }, machine),
    };
  }
  const perDevice = asked.perDevice ?? 1;
  const devices = pickDevices(onDevices, asked, find());
  for (const { platform, devices: wanted } of onDevices) checkEnough(platform, wanted, devices, perDevice);
  // A core for each process that feeds a device; without runs for the host there is nothing more to divide.
  const feeding = Math.min(onDevices.length, devices.length * perDevice);
  const cores = Math.max(1, machine.cores - feeding);
  const host = chooseParallelism(onHost, { threads: asked.threads }, { ...machine, cores });
  const workers = onHost === 0 ? 0 : host.workers;
  checkWorkers(asked.workers, feeding + Math.min(workers, onHost), devices, perDevice);
  const parts = [devicesReason(devices, perDevice), ...(workers === 0 ? [] : [host.reason])];
  return {
    ...{ devices, perDevice, workers, threads: host.threads },
    most: asked.workers ?? Infinity,
    reason: `${parts.join('; ')}${asked.workers === undefined ? '' : `; at most ${plural(asked.workers, 'run')} at once, as asked`}`,
  };
}

function refuseDeviceOptions({ devices, perDevice }: AskedPlaces): void {
  const option =
    devices !== undefined
      ? `devices ${devices} (--devices)`
      : perDevice === undefined
        ? null
        : `${perDevice} a device (--per-device)`;
  if (option === null) return;
  throw new ConfigError(
    `${option}: no run of this study computes on an accelerator here; leave it out, or choose an engine of an accelerator (--engine xla:cuda)`,
  );
}

function pickDevices(runs: readonly RunNeeds[], { devices }: AskedPlaces, all: readonly Accelerator[]): Accelerator[] {
  const platforms = new Set(runs.map((run) => run.platform));
  const usable = all.filter((device) => platforms.has(device.platform));
  const named = usable.map((d) => d.name).join(', ');
  const there = usable.length === 0 ? 'none is here' : `here ${usable.length === 1 ? 'is' : 'are'} ${named}`;
  if (devices === undefined) return usable;
  if (/^\d+$/.test(devices.trim())) {
    const count = Number(devices);
    if (count >= 1 && count <= usable.length) return usable.slice(0, count);
    throw new ConfigError(
      `devices ${devices} (--devices): ${there}; give a number of devices up to that, or a list such as 0,1`,
    );
  }
  const picked = devices
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => {
      const fits = usable.filter((d, i) => d.name === text || String(i) === text || isUuid(d, text));
      if (fits.length === 1) return at(fits, 0);
      throw new ConfigError(
        `devices ${devices} (--devices): "${text}" names ${fits.length === 0 ? 'no device' : 'several devices'}; ${there}`,
      );
    });
  const twice = picked.find((d, i) => picked.indexOf(d) !== i);
  if (twice)
    throw new ConfigError(
      `devices ${devices} (--devices): ${twice.name} is listed twice; runs share one by their number a device (--per-device)`,
    );
  if (picked.length === 0) throw new ConfigError(`devices ${devices} (--devices): name at least one device; ${there}`);
  return picked;
}

const isUuid = ({ uuid }: Accelerator, text: string): boolean =>
  /^(GPU|MIG)-/i.test(text) && uuid !== null && uuid.toLowerCase().startsWith(text.toLowerCase());

function checkEnough(
  platform: RunNeeds['platform'],
  wanted: number,
  devices: readonly Accelerator[],
  perDevice: number,
): void {
  const own = devices.filter((device) => device.platform === platform).length;
  if (own === 0)
    throw new ConfigError(`a run needs a ${platform} device, and none is here; choose another engine (--engine)`);
  if (wanted > 1 && perDevice > 1) {
    throw new ConfigError(
      `${perDevice} runs a device (--per-device) are for runs on one device each, and a run has a mesh of ${wanted}; leave it out`,
    );
  }
  if (platform !== 'tpu' && wanted > own) {
    throw new ConfigError(
      `a run has a mesh of ${plural(wanted, 'device')}, and the study may use ${own}; make the mesh smaller or add devices`,
    );
  }
}

function checkWorkers(
  workers: number | undefined,
  places: number,
  devices: readonly Accelerator[],
  perDevice: number,
): void {
  if (workers === undefined || workers <= places) return;
  throw new ConfigError(
    `workers ${workers} (--workers): there is room for ${plural(places, 'run')} at once (${plural(devices.length, 'device')}, ` +
      `${plural(perDevice, 'run')} on each); share devices (--per-device), or leave the number of workers out`,
  );
}

function devicesReason(devices: readonly Accelerator[], perDevice: number): string {
  const kinds = [...new Set(devices.map((d) => d.kind ?? d.platform))].join(', ');
  const names = devices.map((d) => d.name).join(', ');
  const share =
    perDevice === 1 ? 'one run at a time on each' : `${perDevice} runs at a time on each, which share its memory`;
  return `${names} (${kinds}): ${share}`;
}

function plural(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}

/** Gives places out and takes them back. A device that cannot be used is set aside until the study is started again. */
export class Places {
  readonly #capacity: Capacity;
  /** Runs on each device that is in use at all. */
  readonly #load = new Map<Accelerator, number>();
  readonly #aside = new Map<Accelerator, string>();
  #onHost = 0;
  #taken = 0;

  constructor(capacity: Capacity) {
    this.#capacity = capacity;
  }

  /** A place for a run, or null while none is free. */
  take({ platform, devices }: RunNeeds): Place | null {
    const { most, workers, threads, perDevice } = this.#capacity;
    if (this.#taken >= most) return null;
    if (platform === null) {
      if (this.#onHost >= workers) return null;
      this.#onHost += 1;
      this.#taken += 1;
      return { name: 'cpu', devices: [], threads, memoryFraction: null, env: {} };
    }
    const wanted = platform === 'tpu' ? 1 : devices;
    const usable = this.#usable(platform).filter(
      (d) => this.#loadOf(d) < perDevice && (wanted === 1 || this.#loadOf(d) === 0),
    );
    // The least loaded first, in their order.
    const chosen = usable.toSorted((a, b) => this.#loadOf(a) - this.#loadOf(b)).slice(0, wanted);
    if (chosen.length < wanted) return null;
    for (const device of chosen) this.#load.set(device, this.#loadOf(device) + 1);
    this.#taken += 1;
    const memoryFraction = perDevice === 1 ? null : SHARED_MEMORY / perDevice;
    const name = chosen.map((d) => d.name).join('+');
    return { name, devices: chosen, threads, memoryFraction, env: environmentOf(chosen) };
  }

  giveBack({ devices }: Place): void {
    this.#taken -= 1;
    if (devices.length === 0) this.#onHost -= 1;
    for (const device of devices) this.#load.set(device, this.#loadOf(device) - 1);
  }

  /** Gives a place's devices to no further run. */
  setAside({ devices }: Place, why: string): void {
    for (const device of devices) this.#aside.set(device, why);
  }

  /** Why a run can have no place any more; null as long as it can. */
  refusal({ platform, devices }: RunNeeds): string | null {
    if (platform === null || this.#usable(platform).length >= (platform === 'tpu' ? 1 : devices)) return null;
    const reasons = [...this.#aside].map(([device, why]) => `${device.name}: ${why}`);
    return `no device is left for it (${reasons.join('; ')})`;
  }

  #usable(platform: Accelerator['platform']): Accelerator[] {
    return this.#capacity.devices.filter((d) => d.platform === platform && !this.#aside.has(d));
  }

  #loadOf(device: Accelerator): number {
    return this.#load.get(device) ?? 0;
  }
}

/** The environment in which all of some devices are seen: their own variables, lists joined. */
function environmentOf(devices: readonly Accelerator[]): Record<string, string> {
  const all: Record<string, string> = {};
  for (const [name, value] of devices.flatMap((d) => Object.entries(d.env))) {
    all[name] = name in all ? `${entry(all, name)},${value}` : value;
  }
  return all;
}
