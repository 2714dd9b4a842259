/** How commands speak of what decoding keeps: in which elements, and how many bytes. */
import { Option } from 'commander';
import { formatBytes, formatCount } from '../../core/index.js';
import {
  CACHE_BYTES,
  CACHE_DTYPES,
  modelCost,
  type CacheDtype,
  type ModelConfig,
  type ModelCost,
} from '../../model/index.js';
import { parseChoice } from './options.js';

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

/** `--cache-dtype`: what a cache is held in; bf16 unless told. */
export function cacheDtypeOption(): Option {
  return new Option(
    '--cache-dtype <name>',
    'what the cache is held in: bf16, as with --precision bf16, or f32; recurrent states are f32 in both',
  )
    .argParser((text) => parseChoice('--cache-dtype', CACHE_DTYPES, text))
    .default('bf16' satisfies CacheDtype);
}
