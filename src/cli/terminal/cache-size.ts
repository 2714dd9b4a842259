/** How commands speak of what decoding keeps: in which elements, and how many bytes. */
import { formatBytes, formatCount } from '../../core/index.js';
import { CACHE_BYTES, modelCost, type CacheDtype, type ModelConfig, type ModelCost } from '../../model/index.js';

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
