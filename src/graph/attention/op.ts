/** The op function of attention. */
import { build } from '../ir/emit.js';
import type { Value } from '../ir/types.js';
import { ATTENTION, type AttentionAttrs } from './type.js';

/**
 * Causal attention with grouped queries: q `[B,T,H,D]`, k `[B,T,G,D]`, v `[B,T,G,E]` with G dividing H (query head h
 * uses key head `floor(h / (H/G))`), sinks `[H]` or null, and segments, the document of each token (i32 `[B,T]`, a new
 * one wherever the id changes): a query then sees only keys of its own document. Returns o `[B,T,H,E]` and the
 * log-sum-exp `[B,H,T]`, which is a statistic for the derivative and for analyses: asking for its own derivative
 * throws.
 */
export function attention(
  q: Value,
  k: Value,
  v: Value,
  options: Omit<AttentionAttrs, 'segments'> & { readonly sinks?: Value | null; readonly segments?: Value | null },
): { readonly out: Value; readonly lse: Value } {
  const { window, scale, sinks = null, segments = null } = options;
  const attrs = segments ? { window, scale, segments: true } : { window, scale };
  const optional = [sinks, segments].filter((x) => x !== null);
  const [out, lse] = build(ATTENTION.attention, [q, k, v, ...optional], attrs);
  return { out, lse };
}
