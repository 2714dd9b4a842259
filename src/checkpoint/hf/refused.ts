/** Hybrid types of Transformers that are not read, with what their models have. */

/**
 * By `model_type`, what a model of it has that is not all in Longsight's models; docs/hugging-face-types.md says what
 * it would take.
 */
export const REFUSED_TYPES: ReadonlyMap<string, string> = new Map([
  ['blt', 'bytes pooled into patches by a second model, with cross-attention between them and hashed byte n-grams'],
  [
    'deepseek_v4',
    'attention over compressed keys picked by an indexer, low-rank queries and outputs, hyper-connections, experts (some routed by token)',
  ],
  [
    'doge',
    'scores biased by what keys say (a dynamic mask, cut to the largest), weighted residuals, experts where is_moe',
  ],
  [
    'dory',
    'updates that interpolate on the unit sphere (norms without weights, learned rates), layers run in loops, a learned scale per logit',
  ],
  ['dots3_note', 'latent attention (MLA), keys picked by an indexer, a gate per head, experts'],
  ['dots3_note_text', 'latent attention (MLA), keys picked by an indexer, a gate per head, experts'],
  [
    'gemma3n',
    'several residual streams (AltUp), low-rank residuals (LAuReL), embeddings per layer, keys and values shared between layers, sparse activations',
  ],
  [
    'gemma3n_text',
    'several residual streams (AltUp), low-rank residuals (LAuReL), embeddings per layer, keys and values shared between layers, sparse activations',
  ],
  ['gemma4_assistant', 'keys and values of another model, for which it drafts; attention in both directions'],
  ['gemma4_unified_assistant', 'keys and values of another model, for which it drafts; attention in both directions'],
  ['hy_v4', 'latent attention (MLA), keys picked by an indexer, hyper-connections, experts'],
  [
    'inkling2_loop_text',
    'sinks that each query computes, convolutions whose taps depend on the input, clipped norms, residuals that attend to earlier blocks, layers run in loops',
  ],
  [
    'inkling2_text',
    'sinks that each query computes, convolutions whose taps depend on the input, clipped norms, residuals that attend to earlier blocks',
  ],
  ['qwen4_exp', 'blocks of keys picked by an indexer, gated hyper-connections, embeddings of hashed n-grams, experts'],
  [
    'qwen4_exp_text',
    'blocks of keys picked by an indexer, gated hyper-connections, embeddings of hashed n-grams, experts',
  ],
  ['reformer', 'attention among hashed buckets, local attention by chunks, axial positions, reversible layers'],
  ['rwkv', 'the recurrence of RWKV (a weighted mean per channel), with token shifts'],
]);
