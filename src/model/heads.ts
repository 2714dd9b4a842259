/** The widths of the heads of a layer, which are not the same in all kinds of attention. */
import type { ModelConfig } from './config.js';
import { mlaKeyDim } from './mixers/mla.js';
import { attends, headCounts, type LayerPlan } from './plan.js';

/** The sizes of the queries, keys and values that attention of a layer meets. */
export interface HeadSizes {
  /** Heads of queries. */
  readonly numHeads: number;
  /** Heads of keys and values; each serves `numHeads / numKvHeads` query heads. */
  readonly numKvHeads: number;
  /** Channels of a query, and of a key, of one head. */
  readonly keyDim: number;
  /** Channels of a value of one head, and of what a head gives. */
  readonly valueDim: number;
}

/** The sizes of heads of a layer: own counts or those of the model. Heads of latent attention have their own keys. */
export function headSizes(config: ModelConfig, plan: LayerPlan): HeadSizes {
  const { mla } = config;
  const counts = headCounts(config, plan);
  if (plan.mixer !== 'mla' || mla === undefined) {
    const keyDim = (plan.mixer === 'attention' ? plan.headDim : undefined) ?? config.headDim;
    return { ...counts, keyDim, valueDim: config.valueDim ?? keyDim };
  }
  return { ...counts, numKvHeads: counts.numHeads, keyDim: mlaKeyDim(mla), valueDim: mla.valueDim };
}

/** Whether the heads of an attention layer have sink logits. */
export function hasSinks({ sinks }: Pick<ModelConfig, 'sinks'>, plan: LayerPlan): boolean {
  return attends(plan) && ((plan.mixer === 'attention' ? plan.sinks : undefined) ?? sinks);
}

/** The name of the sink logits of a layer's heads. */
export function sinksName(plan: LayerPlan, layer: number): string {
  return `layers.${layer}.${plan.mixer === 'mla' ? 'mla' : 'attn'}.sinks`;
}
