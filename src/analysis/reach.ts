/**
 * Receptive-field limits at inference: who carries long range? The trained weights are kept, and only the full layers,
 * or only the efficient layers, see fewer keys.
 */
import { ConfigError } from '../core/index.js';
import { headGroups, recurrentMixers, type HeadGroup, type LayerPlan, type ModelConfig } from '../model/index.js';

/** `full`: heads without a window; `efficient`: heads with one and recurrent layers; `all`: both. */
export const REACH_PARTS = ['full', 'efficient', 'all'] as const;
/** Which layers' reach is limited. */
export type ReachPart = (typeof REACH_PARTS)[number];

/** Whether a model has heads or layers of a part. */
export function hasPart(model: ModelConfig, part: ReachPart): boolean {
  return model.layers.some(
    (plan) => headGroups(plan).some((g) => isPart(g, part)) || (recurrentMixers(plan).length > 0 && part !== 'full'),
  );
}

/**
 * The parts of a model that can be limited apart from each other: the full one and the efficient one, where it has
 * them.
 */
export function reachParts(model: ModelConfig): ReachPart[] {
  return (['full', 'efficient'] as const).filter((part) => hasPart(model, part));
}

function isPart(group: HeadGroup, part: ReachPart): boolean {
  return part === 'all' || (part === 'full') === (group.window === null);
}

/** The layers with heads that see all keys before a query, counted from 0. */
export function fullLayers({ layers }: Pick<ModelConfig, 'layers'>): number[] {
  return layers.flatMap((plan, layer) => (headGroups(plan).some((group) => isPart(group, 'full')) ? [layer] : []));
}

/**
 * The same model with the heads of a part seeing at most `keys` keys, the query's own included, and its recurrent
 * layers remembering at most as many tokens. Parameters are the same.
 *
 * @param only the layers that are limited, counted from 0 (default: all)
 * @throws ConfigError if the model has no such part
 */
export function limitReach(model: ModelConfig, part: ReachPart, keys: number, only?: readonly number[]): ModelConfig {
  if (!Number.isInteger(keys) || keys < 1) throw new ConfigError(`a reach of ${keys} keys must be a whole number >= 1`);
  if (!hasPart(model, part)) {
    throw new ConfigError(`the model has no ${part} layers to limit; choose another part (${REACH_PARTS.join(', ')})`);
  }
  const limited = (group: HeadGroup): HeadGroup => {
    if (!isPart(group, part)) return group;
    // The windows of its training are not those of the limited model.
    const { windows: _, ...rest } = group;
    return { ...rest, window: Math.min(group.window ?? Infinity, keys) };
  };
  const reachOf = ({ reach = Infinity }: { readonly reach?: number }) => Math.min(reach, keys);
  return {
    ...model,
    layers: model.layers.map((plan, layer): LayerPlan => {
      if (only !== undefined && !only.includes(layer)) return plan;
      if (plan.mixer === 'attention') {
        const { beside } = plan;
        const forgets =
          beside === undefined || part === 'full' ? {} : { beside: { ...beside, reach: reachOf(beside) } };
        return { ...plan, groups: plan.groups.map(limited), ...forgets };
      }
      if (plan.mixer === 'mla') return { ...plan, groups: plan.groups.map(limited) };
      return part === 'full' || plan.mixer === 'none' ? plan : { ...plan, reach: reachOf(plan) };
    }),
  };
}

/**
 * The same model with a second branch in each of its full heads that sees at most `keys` keys, the query's own
 * included; `ForwardOptions.gates` says how the two are mixed. Parameters are the same.
 *
 * @throws ConfigError if the model has no full heads
 */
export function branchFullHeads(model: ModelConfig, keys: number): ModelConfig {
  // Refuses what cannot be limited either.
  limitReach(model, 'full', keys);
  const branched = (group: HeadGroup): HeadGroup => (isPart(group, 'full') ? { ...group, branch: keys } : group);
  return {
    ...model,
    layers: model.layers.map((plan): LayerPlan =>
      plan.mixer === 'attention' || plan.mixer === 'mla' ? { ...plan, groups: plan.groups.map(branched) } : plan,
    ),
  };
}
