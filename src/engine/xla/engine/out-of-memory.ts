/** What a plugin says when a device is full, and what to do about it. */
import { DeviceBusyError, entry, EngineError } from '../../../core/index.js';
import type { AcceleratorMemory } from '../../contract/accelerators.js';
import { PjrtError, RESOURCE_EXHAUSTED } from '../pjrt/api.js';
import type { MemoryStats } from '../pjrt/client.js';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * How plugins put what was asked for. XLA on GPUs: "Out of memory while trying to allocate 4770354232 bytes.", or with
 * units; its allocator: "Failed to allocate request for 2.99GiB (3206250496B) on device ordinal 0"; TPUs: "Used 12.34G
 * of 8.00G hbm".
 */
const ASKED: readonly RegExp[] = [
  /Failed to allocate request for [^(]*\((\d+)()B\)/,
  /trying to allocate ([\d.]+) ?([KMGT]?)(?:i?B|bytes)/,
  /Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm/,
  /Attempting to reserve ([\d.]+)([KMGT])/,
  /allocating ([\d.]+) ?([KMGT]?)(?:i?B|bytes)/,
];

/** Bytes that the failed request was for; null where the message does not say. */
export function bytesAsked(message: string): number | null {
  for (const pattern of ASKED) {
    const match = pattern.exec(message);
    if (match) return Math.round(Number(match[1]) * entry(UNITS, match[2] ?? ''));
  }
  return null;
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/**
 * What a plugin says where a library of the device cannot start for want of memory, or the device is given to one
 * process alone. XLA on GPUs: "BlasLt is unavailable", "Failed to create cuBLAS handle", "CUDNN_STATUS_ALLOC_FAILED";
 * CUDA: "CUDA_ERROR_DEVICE_UNAVAILABLE", "all CUDA-capable devices are busy or unavailable",
 * "CUDA_ERROR_OUT_OF_MEMORY".
 */
const STARVED =
  /BlasLt is unavailable|cublas handle|cudnn handle|(CUBLAS|CUDNN)\w*_(ALLOC_FAILED|NOT_INITIALIZED)|CUDA_ERROR_(OUT_OF_MEMORY|DEVICE_UNAVAILABLE)|busy or unavailable/i;

/** True for an error that says that the device is full, or that others leave no room on it. */
export function isFull(error: unknown): error is PjrtError {
  return error instanceof PjrtError && (error.status === RESOURCE_EXHAUSTED || STARVED.test(error.pluginMessage));
}

/** What is known of a device when it is full. */
export interface FullDevice {
  /** What this process holds; null where the plugin does not say, or has not started. */
  readonly stats: MemoryStats | null;
  /** What all processes together hold; null where nothing says it. */
  readonly device: AcceleratorMemory | null;
}

const ADVICE =
  'lower train.batchSize or train.seqLen, raise train.accumulate, set train.remat: true, or divide the model over more ' +
  'devices (mesh.fsdp)';
const BUSY_ADVICE = 'wait for them or stop them, or choose another device';
/** Others that hold less than this part of a device are not what fills it. */
const LEAST_SHARE = 0.02;

/**
 * The error that a user sees: what was asked for, what this process holds, and what to do. Memory that the process was
 * still allowed to take and did not get is held by others: then, and where a library of the device could not start, it
 * is a `DeviceBusyError`.
 */
export function outOfMemory(error: PjrtError, { stats, device }: FullDevice): EngineError {
  const bytes = bytesAsked(error.pluginMessage);
  const limit = stats?.bytesLimit ?? null;
  const free = stats === null || limit === null ? null : limit - stats.bytesInUse;
  const own = stats?.poolBytes ?? stats?.bytesInUse ?? 0;
  const others = device === null ? null : Math.max(0, device.usedBytes - own);
  const options = {
    details: { ...error.details, bytesAsked: bytes, bytesFree: free, bytesOfOthers: others, ...stats },
    cause: error,
  };
  const asked = bytes === null ? '' : `: ${gib(bytes)} asked for`;
  const said = `the plugin said: ${error.pluginMessage.split('\n')[0]}`;
  if (isBusy(error, { bytes, free, limit, pool: stats?.poolBytes ?? null, others, device })) {
    const have =
      stats === null || limit === null ? '' : `, this process holds ${gib(own)} of the ${gib(limit)} that it may take`;
    const who =
      others === null || device === null
        ? 'other processes hold the rest'
        : `other processes hold ${gib(others)} of its ${gib(device.totalBytes)}`;
    return new DeviceBusyError(`xla: the device is busy${asked}${have}, ${who}; ${BUSY_ADVICE}; ${said}`, options);
  }
  const text = `xla: the device is out of memory${asked}${haveText(bytes, free, stats)}; ${ADVICE}; ${said}`;
  return new EngineError(text, options);
}

interface Fullness {
  readonly bytes: number | null;
  readonly free: number | null;
  readonly limit: number | null;
  readonly pool: number | null;
  readonly others: number | null;
  readonly device: AcceleratorMemory | null;
}

/** Whether others are why there is no memory. */
function isBusy(error: PjrtError, { bytes, free, limit, pool, others, device }: Fullness): boolean {
  const noOthers = others !== null && device !== null && others < LEAST_SHARE * device.totalBytes;
  if (noOthers) return false;
  if (STARVED.test(error.pluginMessage)) return true;
  // Its own count says that there is room: the device did not give it.
  const allowed = bytes !== null && free !== null && bytes <= free;
  return allowed && (pool === null || limit === null ? others !== null : pool < limit);
}

/** How much this process has, without a figure that contradicts its being out of memory. */
function haveText(bytes: number | null, free: number | null, stats: MemoryStats | null): string {
  if (stats === null || free === null) return ', the plugin does not say how much is free';
  const limit = gib(free + stats.bytesInUse);
  if (bytes === null) return `, ${gib(stats.bytesInUse)} of ${limit} in use`;
  if (bytes > free) return `, ${gib(free)} of ${limit} free`;
  const largest = stats.largestFreeBytes === null ? '' : `, the largest of ${gib(stats.largestFreeBytes)}`;
  return `, ${gib(stats.bytesInUse)} of ${limit} in use and the rest in pieces that are too small${largest}`;
}
