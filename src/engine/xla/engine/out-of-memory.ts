/** What a plugin says when a device is full, and what to do about it. */
import { EngineError } from '../../../core/index.js';
import type { PjrtError } from '../pjrt/api.js';
import type { MemoryStats } from '../pjrt/client.js';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * How plugins put what was asked for. XLA on GPUs: "Out of memory while trying to allocate 4770354232 bytes.", or with units;
 * its allocator: "Failed to allocate request for 2.99GiB (3206250496B) on device ordinal 0"; TPUs: "Used 12.34G of 8.00G hbm".
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
    if (match) return Math.round(Number(match[1]) * (UNITS[match[2] ?? ''] as number));
  }
  return null;
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** The error that a user sees: what was asked, what is free, which field to lower. */
export function outOfMemory(error: PjrtError, stats: MemoryStats | null): EngineError {
  const bytes = bytesAsked(error.pluginMessage);
  const asked = bytes === null ? '' : `: ${gib(bytes)} asked for`;
  const limit = stats?.bytesLimit ?? null;
  const free = stats === null || limit === null ? null : limit - stats.bytesInUse;
  const have =
    free === null || limit === null
      ? ', the plugin does not say how much is free'
      : `, ${gib(free)} of ${gib(limit)} free`;
  return new EngineError(
    `xla: the device is out of memory${asked}${have}; lower train.batchSize or train.seqLen, raise train.accumulate, set ` +
      `train.remat: true, or divide the model over more devices (mesh.fsdp); the plugin said: ` +
      `${error.pluginMessage.split('\n')[0]}`,
    { details: { ...error.details, bytesAsked: bytes, bytesFree: free, ...stats }, cause: error },
  );
}
