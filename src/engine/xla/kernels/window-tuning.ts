/** How the attention kernels are cut and launched: docs/xla.md has the measurements. */
import type { AttentionAttrs, Value } from '../../../graph/index.js';
import type { Tuning } from './window-attention.js';

export interface AttentionTuning {
  readonly forward: Tuning;
  readonly backward: Tuning;
  /**
   * Whether the backward kernel is given `sum(do * o)`, rather than computing it wherever it meets a block of queries.
   */
  readonly givenDelta: boolean;
}

/** Windows up to this are narrow: a block meets few others. */
const NARROW = 256;

const NARROW_TUNING: AttentionTuning = {
  forward: { block: 64, inner: 64, numWarps: 4, numStages: 2 },
  backward: { block: 64, inner: 64, numWarps: 4, numStages: 1 },
  givenDelta: false,
};

const WIDE_TUNING: AttentionTuning = {
  forward: { block: 128, inner: 64, numWarps: 4, numStages: 3, lastFirst: true },
  backward: { block: 64, inner: 64, numWarps: 4, numStages: 2 },
  givenDelta: true,
};

/** Heads of 128 channels take twice the registers. */
const BROAD_TUNING: AttentionTuning = {
  forward: { block: 128, inner: 64, numWarps: 8, numStages: 2, lastFirst: true },
  backward: { block: 64, inner: 64, numWarps: 8, numStages: 1 },
  givenDelta: true,
};

/** The tuning for queries `[B,T,H,D]`. */
export function attentionTuning(q: Value, { window }: AttentionAttrs): AttentionTuning {
  if ((q.shape[3] as number) > 64) return BROAD_TUNING;
  return window !== null && window <= NARROW ? NARROW_TUNING : WIDE_TUNING;
}
