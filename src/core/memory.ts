/** How much memory there is. */
import { totalmem } from 'node:os';

/** The machine's memory, or the part of it that this process is allowed, in bytes. */
export function memoryOfProcess(): number {
  const allowed = process.constrainedMemory();
  return allowed > 0 ? Math.min(allowed, totalmem()) : totalmem();
}
