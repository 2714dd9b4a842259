/**
 * Folders in which this thread may change state only while its process holds their lock. What writes a file of state
 * calls `checkFence` right before the write becomes visible.
 */
import { resolve, sep } from 'node:path';

/** A folder whose lock is held here, and what throws once it no longer is. */
export interface Fence {
  readonly folder: string;
  readonly check: () => void;
}

const fences = new Set<Fence>();

/** Has every write below a folder check its lock; returns what ends that. */
export function raiseFence(fence: Fence): () => void {
  const absolute = { ...fence, folder: resolve(fence.folder) };
  fences.add(absolute);
  return () => fences.delete(absolute);
}

/** Whether this thread's process holds, or held, the lock of a folder that a path is or lies in. */
export function isFenced(path: string): boolean {
  const absolute = resolve(path);
  return [...fences].some(({ folder }) => isWithin(absolute, folder));
}

const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);

/**
 * To be called right before a file of state is changed, renamed or removed.
 *
 * @throws LockLostError if the path lies in a folder whose lock this process held and has lost
 */
export function checkFence(path: string): void {
  if (fences.size === 0) return;
  const absolute = resolve(path);
  for (const { folder, check } of fences) if (isWithin(absolute, folder)) check();
}
