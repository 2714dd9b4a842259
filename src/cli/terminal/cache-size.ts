/** How commands speak of what decoding keeps: in which elements, and how many bytes. */
import { formatBytes, formatCount } from '../../core/index.js';
import { modelCost, type ModelConfig, type ModelCost } from '../../model/index.js';

/** Bytes of an element of the cache, by dtype: bf16 as with `--precision bf16`, or f32. */
export const CACHE_BYTES = { bf16: 2, f32: 4 } as const;

/** What a cache is held in. */
export type CacheDtype = keyof typeof CACHE_BYTES;

/** Every dtype of caches, by name. */
export const CACHE_DTYPES: readonly CacheDtype[] = ['bf16', 'f32'];

/** A row of a table for people: the context and the dtype, the bytes exactly and in units. */
export function cacheRow(
  model: ModelConfig,
  { seqLen, cacheBytes }: Pick<ModelCost, 'seqLen' | 'cacheBytes'>,
  dtype: CacheDtype,
): [string, string] {
  const units = cacheBytes < 1024 ? '' : ` (${formatBytes(cacheBytes)})`;
  const elements = dtype === 'bf16' && keepsExact(model) ? 'bf16, recurrent states f32' : dtype;
  return [`cache bytes at ${formatCount(seqLen)} tokens, ${elements}`, `${formatCount(cacheBytes)}${units}`];
}

/** Whether some states stay in f32 in a cache of bf16. */
function keepsExact(model: ModelConfig): boolean {
  const [half = 0, whole = 0] = [CACHE_BYTES.bf16, CACHE_BYTES.f32].map(
    (cacheElementBytes) => modelCost(model, 1, { cacheElementBytes }).cacheBytes,
  );
  return 2 * half !== whole;
}
