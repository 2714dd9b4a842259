/** What computes bf16 programs on CUDA, in words; stored with runs. */
import type { CompileScope } from './program.js';
import type { Mesh } from '../mesh/sharding.js';
import { WIDEST_PACKED_HEAD, WIDEST_WINDOW } from '../passes/attention-fit.js';
import { RECURRENCE_LIMITS } from '../stablehlo/recurrence.js';

/** Says in words which kernels compute attention and recurrences, for a run's record. */
export function kernelsInUse(
  { size, axes }: Mesh,
  { cudnn, tileKernels }: Pick<CompileScope, 'cudnn' | 'tileKernels'>,
): string {
  const rest = cudnn ? 'cuDNN' : 'XLA';
  if (!tileKernels) return `bf16 attention by ${rest}`;
  const divided = axes.tensor > 1;
  const { chunk, width } = RECURRENCE_LIMITS;
  const recurrences = `recurrences (multiples of ${chunk} tokens, heads of up to ${width} channels)`;
  const ours = `windows up to ${WIDEST_WINDOW}, attention in packed documents (heads of up to ${WIDEST_PACKED_HEAD} channels), norms, rotary${divided ? '' : ', loss'} and ${recurrences}`;
  const where = size > 1 ? ' on each device' : '';
  const loss = divided ? ', loss by XLA, for logits lie divided over tensor' : '';
  return `bf16 ${ours} by tile kernels${where}, other attention by ${rest}${loss}, what none of these takes in XLA's general form`;
}
