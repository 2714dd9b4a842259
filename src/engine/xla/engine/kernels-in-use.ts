/** What computes bf16 programs on CUDA, in words; stored with runs. Said by the kernels themselves. */
import type { CompileScope } from './program.js';
import type { Mesh } from '../mesh/sharding.js';
import { TILE_KERNELS } from '../passes/fuse.js';
import { RECURRENCES_TAKEN } from '../stablehlo/recurrence.js';

/** Says in words which kernels compute attention and recurrences, for a run's record. */
export function kernelsInUse(
  { size, axes }: Mesh,
  { cudnn, tileKernels }: Pick<CompileScope, 'cudnn' | 'tileKernels'>,
): string {
  const rest = cudnn ? 'cuDNN' : 'XLA';
  if (!tileKernels) return `bf16 attention by ${rest}`;
  const dividesHeads = axes.tensor > 1;
  const taken = TILE_KERNELS.flatMap((family) => family.takes({ dividesHeads }) ?? []);
  const ours = `${taken.join(', ')} and ${RECURRENCES_TAKEN}`;
  const where = size > 1 ? ' on each device' : '';
  const loss = dividesHeads ? ', loss by XLA, for logits lie divided over tensor' : '';
  return `bf16 ${ours} by tile kernels${where}, other attention by ${rest}${loss}, what none of these takes in XLA's general form`;
}
