/** What attention layers have of their own beside their heads: checks against one another and the rest of the model. */
import { ConfigError } from '../core/index.js';
import { headCounts, isShared, type AttentionPlan, type HeadCounts, type LayerPlan } from './plan.js';

/** The model's own settings that those of layers stand beside. */
interface Surroundings extends HeadCounts {
  readonly headDim: number;
  readonly valueDim: number | null;
  readonly sinks: boolean;
  /** What is set of compressed convolutional attention, which has no such settings. */
  readonly cca: object | null;
  readonly positionBias: { readonly extent: number } | null;
}

/**
 * The layers without settings that are the model's anyway.
 *
 * @throws ConfigError in one sentence naming the layer at fault
 */
export function checkLayerSettings(layers: readonly LayerPlan[], model: Surroundings, where: string): LayerPlan[] {
  return layers.map((plan, layer) => {
    if (plan.mixer !== 'attention') return plan;
    const why = problemOf(plan, layers.slice(0, layer), model);
    if (why !== null) throw new ConfigError(`${where}: layer ${layer} ${why}`, { details: { layer, plan } });
    const { headDim, sinks, valuesAreKeys, biasExtent, ...rest } = plan;
    return {
      ...rest,
      ...(headDim === undefined || headDim === model.headDim ? {} : { headDim }),
      ...(valuesAreKeys === true ? { valuesAreKeys } : {}),
      ...(sinks === undefined || sinks === model.sinks ? {} : { sinks }),
      ...(biasExtent === undefined || biasExtent === model.positionBias?.extent ? {} : { biasExtent }),
    };
  });
}

function problemOf(plan: AttentionPlan, before: readonly LayerPlan[], model: Surroundings): string | null {
  const { headDim = model.headDim, valuesAreKeys = false, keysOf } = plan;
  const own = headDim !== model.headDim || valuesAreKeys || keysOf !== undefined;
  if (own && model.cca !== null) return 'has settings that cca has no place for; leave out width, values and keys';
  if ((own || plan.sinks !== undefined || model.valueDim !== null) && isShared(plan))
    return "uses a shared block, whose heads are the model's; leave out width, values, sinks, keys and valueDim";
  if (plan.biasExtent !== undefined && model.positionBias === null)
    return `has biases of ${plan.biasExtent} distances, and the model has no positionBias; give it, or leave bias out`;
  if (valuesAreKeys && model.valueDim !== null && model.valueDim !== headDim)
    return `takes the projection to keys for values, whose width is ${model.valueDim}, not ${headDim}; leave valueDim out`;
  if (keysOf === undefined) return null;
  if (valuesAreKeys) return `has keys and values of layer ${keysOf}; leave values=keys to that one`;
  const source = before[keysOf];
  if (source?.mixer !== 'attention' || isShared(source))
    return `takes keys of layer ${keysOf}, which is no attention layer before it`;
  if (source.keysOf !== undefined) return `takes keys of layer ${keysOf}, which takes those of layer ${source.keysOf}`;
  const [ours, theirs] = [headCounts(model, plan).numKvHeads, headCounts(model, source).numKvHeads];
  const width = source.headDim ?? model.headDim;
  if (ours === theirs && headDim === width) return null;
  return `takes keys of layer ${keysOf}, which has ${theirs} key/value heads of ${width} channels, not ${ours} of ${headDim}`;
}
