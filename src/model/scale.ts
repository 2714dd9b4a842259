/**
 * A design at another size: as wide and as deep as a number of parameters asks for, with heads as wide as before. Width
 * and depth grow together, so that their ratio stays; layers repeat as they did.
 */
import { at, ConfigError, formatTokens, gcd, LIMITS } from '../core/index.js';
import { blockOf, resolveModelConfig, type ModelConfig } from './config.js';
import { modelCost } from './cost.js';
import { SECTION_NAMES, SECTIONS } from './mixers/table.js';
import { headCounts, headGroups, type LayerPlan } from './plan.js';

/** The shortest stretch of layers that a model repeats; all of its layers where it repeats none. */
export function layerPeriod({ layers }: Pick<ModelConfig, 'layers'>): number {
  const names = layers.map((plan) => JSON.stringify(plan));
  for (let n = 1; n <= names.length / 2; n++)
    if (names.length % n === 0 && names.every((name, i) => name === names[i % n])) return n;
  return names.length;
}

const isList = <T>(value: T | readonly T[]): value is readonly T[] => Array.isArray(value);

/** Why the depth of a model is what it is; null where its layers may be repeated more or less often. */
function fixedDepth({ block, layers, experts, lightning }: ModelConfig): string | null {
  if (isList(block)) return 'its blocks are one a layer';
  if (layers.some((plan) => plan.mixer === 'attention' && plan.keysOf !== undefined)) return 'layers share keys';
  if (experts !== null && experts.dense.length > 0) return 'single layers are dense';
  return lightning?.rates === undefined ? null : 'decays are one list a layer';
}

/** What has a width of its own that no rule here covers; null for nothing. */
function unscalable({ shared, cca, layerInputs, lightning }: ModelConfig): string | null {
  if (shared !== null) return 'shared blocks';
  if (cca !== null) return 'compressed convolutional attention';
  if (layerInputs !== null) return 'inputs of layers';
  return lightning?.rates === undefined ? null : 'decay rates of single heads';
}

/** Counts of heads of a layer, times `by`. */
function grownLayer(plan: LayerPlan, by: (count: number) => number): LayerPlan {
  if (plan.mixer === 'none' || plan.mixer === 'mla')
    return plan.mixer === 'none' ? plan : { ...plan, groups: plan.groups.map((g) => ({ ...g, heads: by(g.heads) })) };
  if (plan.mixer !== 'attention') return plan.heads === undefined ? plan : { ...plan, heads: by(plan.heads) };
  const { numHeads, numKvHeads, beside } = plan;
  return {
    ...plan,
    groups: plan.groups.map((group) => ({ ...group, heads: by(group.heads) })),
    ...(numHeads === undefined ? {} : { numHeads: by(numHeads) }),
    ...(numKvHeads === undefined ? {} : { numKvHeads: by(numKvHeads) }),
    ...(beside?.heads === undefined ? {} : { beside: { ...beside, heads: by(beside.heads) } }),
  };
}

/** Everything that grows with the width and must stay whole: counts of heads, widths of sections, the width itself. */
function wholeNumbers(config: ModelConfig): number[] {
  const counts: number[] = [config.hiddenSize, config.numHeads, config.numKvHeads];
  const note = (count: number) => {
    counts.push(count);
    return count;
  };
  config.layers.forEach((plan) => grownLayer(plan, note));
  // A group of heads has whole key/value heads.
  for (const plan of config.layers) {
    const { numHeads, numKvHeads } = headCounts(config, plan);
    headGroups(plan).forEach(({ heads }) => note((heads * numKvHeads) / numHeads));
  }
  grownSections(config, note);
  return counts;
}

/** The sections of mixers with their fields that grow times `by`. */
function grownSections(config: ModelConfig, by: (count: number) => number): Record<string, unknown> {
  return Object.fromEntries(
    SECTION_NAMES.flatMap((name) => {
      const section: Readonly<Record<string, unknown>> | undefined = config[name];
      if (section === undefined) return [];
      const fields: readonly string[] = SECTIONS[name].grows;
      const grown = fields.flatMap((field) => {
        const value = section[field];
        return typeof value === 'number' ? [[field, by(value)] as const] : [];
      });
      return [[name, { ...section, ...Object.fromEntries(grown) }] as const];
    }),
  );
}

/** How wide and deep a design is made. */
interface Shape {
  readonly numLayers: number;
  /** The width is `parts / of` of what it was. */
  readonly parts: number;
  readonly of: number;
}

/** The design in another shape. Throws `ConfigError` where its parts do not fit one another there. */
function reshaped(config: ModelConfig, { numLayers, parts, of }: Shape): ModelConfig {
  const whole = (count: number) => (count / of) * parts;
  const wide = (width: number) => Math.max(1, Math.round((width * parts) / of));
  const { layers, block, experts } = config;
  const period = layerPeriod(config);
  const grown = Array.from({ length: numLayers }, (_, i) =>
    grownLayer(at(layers, numLayers === layers.length ? i : i % period), whole),
  );
  const widened = isList(block)
    ? block.map((own) => (own.mlpWidth === undefined ? own : { ...own, mlpWidth: wide(own.mlpWidth) }))
    : block.mlpWidth === undefined
      ? block
      : { ...block, mlpWidth: wide(block.mlpWidth) };
  return resolveModelConfig({
    ...config,
    ...{ hiddenSize: whole(config.hiddenSize), numLayers, layers: grown, block: widened },
    ...{ numHeads: whole(config.numHeads), numKvHeads: whole(config.numKvHeads) },
    intermediateSize: wide(config.intermediateSize),
    experts: experts === null ? null : { ...experts, intermediateSize: wide(experts.intermediateSize) },
    ...grownSections(config, whole),
  });
}

const parametersOf = (config: ModelConfig): number => modelCost(config, 1).parameters.total;

/** How much of its width the MLP of a scaled design may gain or lose, so that the number of parameters is met. */
const MLP_ROOM = 0.35;

/** A shape with an MLP of a width of its own. */
interface Fitted extends Shape {
  readonly width: number;
}

function fitted(config: ModelConfig, shape: Fitted): ModelConfig {
  return { ...reshaped(config, shape), intermediateSize: shape.width };
}

/**
 * Parameters of a shape. Those of a deep one follow from two shallow ones, as all periods beyond have as many:
 * a search over shapes of thousands of layers would build them all.
 */
function parametersIn(config: ModelConfig, shape: Shape, width: number | null, step: number): number {
  const count = (numLayers: number) => {
    const own = { ...shape, numLayers };
    return parametersOf(width === null ? reshaped(config, own) : fitted(config, { ...own, width }));
  };
  const [few, more] = [2 * step, 3 * step];
  if (fixedDepth(config) !== null || shape.numLayers <= more) return count(shape.numLayers);
  const least = count(more);
  return least + ((shape.numLayers - more) / step) * (least - count(few));
}

/** A shape with the MLP's width that comes nearest to a number of parameters, where that is near its own. */
function matched(config: ModelConfig, shape: Shape, parameters: number, step: number): Fitted {
  const shallow = fixedDepth(config) === null ? { ...shape, numLayers: step } : shape;
  const { intermediateSize: width, experts, block, layers } = reshaped(config, shallow);
  const ownWidths = isList(block) ? block.some((own) => own.mlpWidth !== undefined) : block.mlpWidth !== undefined;
  if (experts !== null || ownWidths || !layers.some((_, layer) => blockOf(config, layer).mlp))
    return { ...shape, width };
  const now = parametersIn(config, shape, width, step);
  const perChannel = parametersIn(config, shape, width + 1, step) - now;
  const wanted = Math.round(width + (parameters - now) / perChannel);
  const least = Math.max(1, Math.ceil((1 - MLP_ROOM) * width));
  return { ...shape, width: Math.min(Math.floor((1 + MLP_ROOM) * width), Math.max(least, wanted)) };
}

/** How much a ratio of depth to width that is not the measured one counts, against parameters that are missed. */
const SHAPE_WEIGHT = 0.1;

/** A shape whose parameters are off by more than this factor is not of the size asked for. */
const NEAR = 1.25;

/**
 * A design with about as many parameters as are asked for. Its layers repeat as before, the depth a multiple of
 * `step`; heads, states and latents stay as wide, and there are more of them; the vocabulary stays. Of all such shapes
 * it is the one nearest to the parameters and to the measured ratio of depth to width; the width of the MLP makes up
 * for what is missed, by up to a third.
 *
 * @param parameters all of them, embeddings included
 * @param step layers that the depth is a multiple of (default: those that the design repeats)
 * @throws ConfigError where the design has parts whose widths follow no rule here, or no shape of it has
 *   within a quarter as many parameters
 */
export function scaledModel(config: ModelConfig, parameters: number, step = layerPeriod(config)): ModelConfig {
  const odd = unscalable(config);
  if (odd !== null)
    throw new ConfigError(`a model with ${odd} is not scaled to other sizes; leave the number of parameters out`);
  const { length } = config.layers;
  const of = wholeNumbers(config).reduce((a, b) => gcd(a, b));
  const ratio = parameters / parametersOf(config);
  const ideal = (length * Math.cbrt(ratio)) / step;
  const depths =
    fixedDepth(config) === null
      ? [-2, -1, 0, 1, 2, 3, 4]
          .map((i) => step * Math.max(1, Math.floor(ideal) + i))
          .filter((n) => n <= LIMITS.layers.most)
      : [length];
  const most = Math.floor((LIMITS.width.most * of) / (4 * Math.max(config.hiddenSize, config.intermediateSize)));
  const shapes = [...new Set(depths)].flatMap((numLayers) => {
    // The first width whose parameters are at least as many, and the one before it.
    let [low, high] = [1, most];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (parametersIn(config, { numLayers, parts: middle, of }, null, step) >= parameters) high = middle;
      else low = middle + 1;
    }
    return [...new Set([Math.max(1, low - 1), low])].map((parts) => {
      const shape = matched(config, { numLayers, parts, of }, parameters, step);
      const missed = Math.abs(Math.log(parametersIn(config, shape, shape.width, step) / parameters));
      const bent = Math.abs(Math.log((numLayers / length) * (of / parts)));
      return { shape, score: missed + SHAPE_WEIGHT * bent };
    });
  });
  const [best] = shapes.sort((a, b) => a.score - b.score);
  if (best === undefined) throw new ConfigError(`no depth of the design has ${parameters} parameters; ask for fewer`);
  const model = fitted(config, best.shape);
  const nearest = parametersOf(model);
  if (Math.max(nearest / parameters, parameters / nearest) > NEAR)
    throw new ConfigError(
      `no shape of it has about ${formatTokens(parameters)} parameters (the nearest has ${formatTokens(nearest)}); ask for ${nearest > parameters ? 'more' : 'fewer'}`,
    );
  return model;
}
