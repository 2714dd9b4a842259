/** What computes bf16 programs on CUDA, in words; stored with runs. */
import type { CompileScope } from './program.js';
import type { Mesh } from '../mesh/sharding.js';
import { WIDEST_WINDOW } from '../passes/fuse.js';

/** Says in words which kernels compute attention and recurrences, for a run's record. */
export function kernelsInUse(
  { size, axes }: Mesh,
  { cudnn, tileKernels }: Pick<CompileScope, 'cudnn' | 'tileKernels'>,
): string {
  const rest = cudnn ? 'cuDNN' : 'XLA';
  if (!tileKernels) return `bf16 attention by ${rest}`;
  const divided = axes.tensor > 1;
  const ours = `windows up to ${WIDEST_WINDOW}, norms, rotary${divided ? '' : ', loss'} and recurrences`;
  const where = size > 1 ? ' on each device' : '';
  const loss = divided ? ', loss by XLA, for logits lie divided over tensor' : '';
  return `bf16 ${ours} by tile kernels${where}, other attention by ${rest}${loss}`;
}
