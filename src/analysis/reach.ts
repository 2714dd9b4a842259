/**
 * Receptive-field limits at inference: who carries long range? The trained weights are kept, and only the full layers, or only
 * the efficient layers, see fewer keys.
 */
import { ConfigError } from '../core/index.js';
import { headGroups, type HeadGroup, type LayerPlan, type ModelConfig } from '../model/index.js';

/** `full`: heads without a window; `efficient`: heads with one; `all`: both. */
export const REACH_PARTS = ['full', 'efficient', 'all'] as const;
export type ReachPart = (typeof REACH_PARTS)[number];

/** How many query heads a part has. */
export function countHeads(model: ModelConfig, part: ReachPart): number {
  return model.layers.flatMap(headGroups).reduce((n, g) => n + (isPart(g, part) ? g.heads : 0), 0);
}

/** The parts of a model that can be limited apart from each other: its full heads and its efficient ones, where it has them. */
export function reachParts(model: ModelConfig): ReachPart[] {
  return (['full', 'efficient'] as const).filter((part) => countHeads(model, part) > 0);
}

function isPart(group: HeadGroup, part: ReachPart): boolean {
  return part === 'all' || (part === 'full') === (group.window === null);
}

/**
 * The same model with the heads of a part seeing at most `keys` keys, the query's own included. Parameters are the same.
 *
 * @throws ConfigError if the model has no such head
 */
export function limitReach(model: ModelConfig, part: ReachPart, keys: number): ModelConfig {
  if (!Number.isInteger(keys) || keys < 1) throw new ConfigError(`a reach of ${keys} keys must be a whole number >= 1`);
  if (countHeads(model, part) === 0) {
    throw new ConfigError(`the model has no ${part} heads to limit; choose another part (${REACH_PARTS.join(', ')})`);
  }
  const limited = (group: HeadGroup): HeadGroup =>
    isPart(group, part) ? { ...group, window: Math.min(group.window ?? Infinity, keys) } : group;
  return {
    ...model,
    layers: model.layers.map((plan): LayerPlan => {
      return plan.mixer === 'attention' ? { ...plan, groups: plan.groups.map(limited) } : plan;
    }),
  };
}
