/** Block sizes and launch parameters of the attention kernels: docs/xla.md has the measurements. */
import { at } from '../../../core/index.js';
import type { AttentionAttrs, Value } from '../../../graph/index.js';
import type { Tuning } from './window-attention.js';

/** Block sizes and launch parameters of the forward and the backward kernel. */
export interface AttentionTuning {
  readonly forward: Tuning;
  readonly backward: Tuning;
  /**
   * The backward kernel reads delta = `sum(do * o)` (FlashAttention-2's D) from an operand, rather than computing it
   * for every block of queries.
   */
  readonly givenDelta: boolean;
}

/** Windows up to this are narrow: the inner loop has few blocks. */
const NARROW = 256;

/**
 * By the attention: narrow windows, wide ones (or none), heads of more than 64 channels. Benchmarks replace entries.
 *
 * @public
 */
export const ATTENTION_TUNINGS: Record<'narrow' | 'wide' | 'broad', AttentionTuning> = {
  narrow: {
    forward: { block: 64, inner: 64, numWarps: 4, numStages: 2 },
    backward: { block: 64, inner: 64, numWarps: 4, numStages: 1 },
    givenDelta: false,
  },
  // Three stages: with two, a loop waits for the blocks that it has just asked for. Cut by time on an H200.
  wide: {
    forward: { block: 64, inner: 64, numWarps: 4, numStages: 3, lastFirst: true },
    backward: { block: 128, inner: 64, numWarps: 8, numStages: 3 },
    givenDelta: true,
  },
  // Heads of 128 channels take twice the registers.
  broad: {
    forward: { block: 128, inner: 64, numWarps: 8, numStages: 2, lastFirst: true },
    backward: { block: 64, inner: 64, numWarps: 8, numStages: 1 },
    givenDelta: true,
  },
};

/** The tuning for queries `[B,T,H,D]`. */
export function attentionTuning(q: Value, { window }: AttentionAttrs): AttentionTuning {
  if (at(q.shape, 3) > 64) return ATTENTION_TUNINGS.broad;
  return ATTENTION_TUNINGS[window !== null && window <= NARROW ? 'narrow' : 'wide'];
}

/** For heads of 256 channels a block of queries holds twice the registers again. */
const WIDEST: Tuning = { block: 64, inner: 32, numWarps: 8, numStages: 2, lastFirst: true };

/** The tuning of queries `[B,n,H,D]` on a cache: those of the forward pass without one, wide heads apart. */
export function cacheTuning(q: Value, window: number | null): Tuning {
  return at(q.shape, 3) > 128 ? WIDEST : attentionTuning(q, { window, scale: 1 }).forward;
}
