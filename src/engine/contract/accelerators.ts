/**
 * Which accelerators a process may use, seen without loading a plugin: by `nvidia-smi` where it is there, else by the
 * driver's device files, both narrowed by `CUDA_VISIBLE_DEVICES` as CUDA itself reads it.
 */
import { at, findProgram } from '../../core/index.js';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

/** A platform whose devices the xla engine drives and that has devices of its own. */
type AcceleratorPlatform = 'cuda' | 'tpu';

/** Memory of a device in bytes, as far as all processes together are concerned. */
export interface AcceleratorMemory {
  readonly totalBytes: number;
  readonly usedBytes: number;
}

/** One device that a process can be given for itself. */
export interface Accelerator {
  readonly platform: AcceleratorPlatform | 'cpu';
  /** Platform and place among the devices that this process may use, from 0, such as `cuda:1`. */
  readonly name: string;
  /** The driver's identifier, such as `GPU-5f3a...`; null where it is not known. */
  readonly uuid: string | null;
  /** The model of the device, such as `NVIDIA H200`; null where it is not known. */
  readonly kind: string | null;
  readonly memory: AcceleratorMemory | null;
  /** What a process needs in its environment to see this device alone. */
  readonly env: Readonly<Record<string, string>>;
}

/** What of the outside world is looked at; given by tests. */
export interface AcceleratorHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Names in a folder; none if there is no such folder. */
  list(folder: string): readonly string[];
  /** What `nvidia-smi` prints for these arguments; null where it cannot be run. */
  nvidiaSmi(args: readonly string[]): string | null;
}

/** Milliseconds that `nvidia-smi` may take: without a persistent driver it starts the devices first. */
const SMI_TIMEOUT_MS = 30_000;

/** This machine, as the search for accelerators sees it. */
const REAL_HOST: AcceleratorHost = {
  env: process.env,
  list: (folder) => (existsSync(folder) ? readdirSync(folder) : []),
  nvidiaSmi: (args) => {
    const program = findProgram('nvidia-smi', process.env);
    if (program === null) return null;
    try {
      const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore'];
      return execFileSync(program, [...args], { encoding: 'utf8', stdio, timeout: SMI_TIMEOUT_MS });
    } catch {
      return null;
    }
  },
};

/** A device before the environment has its say. */
interface Found {
  /** The number that `nvidia-smi` and, on hosts of one kind of device, CUDA give it. */
  readonly index: number;
  readonly uuid: string | null;
  readonly kind: string | null;
  readonly memory: AcceleratorMemory | null;
}

/**
 * Why no CUDA device can be used although a driver may have some: `CUDA_VISIBLE_DEVICES` is empty or begins with what
 * names no device (`-1`, `none`), at which CUDA stops reading. Null where it hides nothing.
 */
export function hiddenCuda(env: AcceleratorHost['env']): string | null {
  const value = env['CUDA_VISIBLE_DEVICES'];
  if (value === undefined || isToken(at(value.split(','), 0).trim())) return null;
  return `CUDA_VISIBLE_DEVICES is "${value}", which hides every device`;
}

const isToken = (text: string): boolean => /^\d+$/.test(text) || /^(GPU|MIG)-/i.test(text);

/** The CUDA devices of this process in CUDA's order, then, as one, the TPU chips of the host. */
export function findAccelerators(host: AcceleratorHost = REAL_HOST): readonly Accelerator[] {
  return [...cudaDevices(host), ...tpuDevices(host)];
}

function cudaDevices(host: AcceleratorHost): Accelerator[] {
  const files = host.list('/dev');
  const numbered = files.filter((name) => /^nvidia\d+$/.test(name)).length;
  const present = numbered > 0 || files.includes('nvidiactl') || files.includes('dxg');
  if (!present || hiddenCuda(host.env) !== null) return [];
  const reported = askSmi(host);
  // Without nvidia-smi the driver's files count; a driver that has one file for all (WSL) is taken to have one device.
  const found = reported ?? Array.from({ length: Math.max(1, numbered) }, (_, i) => unknownDevice(i));
  return visible(host.env, found).map(({ token, device }, i) => ({
    platform: 'cuda',
    name: `cuda:${i}`,
    uuid: device.uuid,
    kind: device.kind,
    memory: device.memory,
    env: { CUDA_VISIBLE_DEVICES: token },
  }));
}

const unknownDevice = (index: number): Found => ({ index, uuid: null, kind: null, memory: null });

/**
 * The devices that `CUDA_VISIBLE_DEVICES` leaves, each with what names it alone: read up to the first entry that names
 * none.
 */
function visible(
  { CUDA_VISIBLE_DEVICES: value, CUDA_DEVICE_ORDER: order }: AcceleratorHost['env'],
  found: readonly Found[],
): { readonly token: string; readonly device: Found }[] {
  if (value === undefined) return found.map((device) => ({ token: device.uuid ?? String(device.index), device }));
  // CUDA numbers the fastest device first by default: where kinds differ, its numbers need not be the driver's.
  const sameOrder = order === 'PCI_BUS_ID' || new Set(found.map((d) => d.kind)).size <= 1;
  const result: { token: string; device: Found }[] = [];
  for (const token of value.split(',').map((t) => t.trim())) {
    const device = named(token, found);
    if (device === undefined) break;
    if (result.some((r) => r.token === token)) continue;
    result.push({ token, device: sameOrder || !/^\d+$/.test(token) ? device : unknownDevice(device.index) });
  }
  return result;
}

function named(token: string, found: readonly Found[]): Found | undefined {
  if (/^\d+$/.test(token)) return found.find((d) => d.index === Number(token));
  if (!isToken(token)) return undefined;
  const known = found.filter((d) => d.uuid !== null);
  if (known.length === 0) return { ...unknownDevice(0), uuid: token };
  // A beginning is enough as long as it fits one device only.
  const fits = known.filter((d) => d.uuid?.toLowerCase().startsWith(token.toLowerCase()));
  return fits.length === 1 ? fits[0] : undefined;
}

/**
 * What `nvidia-smi` knows; parts of a device that is divided (MIG) stand for the device. Null where it does not answer.
 */
function askSmi(host: AcceleratorHost): Found[] | null {
  const listed = host.nvidiaSmi(['-L']);
  if (listed === null) return null;
  const memory = memoryByUuid(
    host.nvidiaSmi(['--query-gpu=uuid,memory.total,memory.used', '--format=csv,noheader,nounits']),
  );
  const found: Found[] = [];
  let whole: Found | null = null;
  for (const line of listed.split('\n')) {
    const gpu = /^GPU (\d+): (.*) \(UUID: (GPU-[^)]+)\)/.exec(line);
    const part = /^\s+(MIG \S+).*\(UUID: (MIG-[^)]+)\)/.exec(line);
    if (gpu) {
      const uuid = at(gpu, 3);
      whole = { index: Number(gpu[1]), kind: at(gpu, 2), uuid, memory: memory.get(uuid) ?? null };
      found.push(whole);
    } else if (part && whole) {
      if (found.at(-1) === whole) found.pop();
      found.push({ index: whole.index, kind: `${whole.kind} ${part[1]}`, uuid: at(part, 2), memory: null });
    }
  }
  return found.length === 0 ? null : found;
}

function memoryByUuid(csv: string | null): Map<string, AcceleratorMemory> {
  const MIB = 2 ** 20;
  const rows = (csv ?? '').split('\n').map((line) => line.split(',').map((cell) => cell.trim()));
  return new Map(
    rows.flatMap(([uuid = '', total, used]) => {
      const [totalBytes, usedBytes] = [Number(total) * MIB, Number(used) * MIB];
      return Number.isFinite(totalBytes + usedBytes) && uuid !== '' ? [[uuid, { totalBytes, usedBytes }] as const] : [];
    }),
  );
}

/** The chips of a TPU host work as one: they are not given out one by one. */
function tpuDevices(host: AcceleratorHost): Accelerator[] {
  const present = host.list('/dev').includes('accel0') || host.list('/dev/vfio').includes('0');
  return present ? [{ platform: 'tpu', name: 'tpu:0', uuid: null, kind: null, memory: null, env: {} }] : [];
}
