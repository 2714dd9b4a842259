/**
 * Weights of one model as the start of another: parameters go by their names. The layers' mixers, windows and positions
 * may differ; everything else must be the same, so that what is taken over still means what it meant.
 */
import { canonicalJson, at, ConfigError, formatShape, sameShape, showValue } from '../core/index.js';
import type { ModelConfig } from './config.js';
import { headGroups } from './plan.js';
import { plainScale } from './rope.js';
import { parameterSpecs } from './params.js';
import { printLayer } from './pattern.js';
import { SECTION_NAMES } from './mixers/table.js';
import type { ParamSpec } from './mixers/spec.js';

/** What becomes of the parameters of two models when the one starts from the other. */
export interface WeightTransfer {
  /** Names of the parameters that are taken over. */
  readonly kept: readonly string[];
  /** Names of the parameters that the source does not have and that start as in a new model. */
  readonly fresh: readonly string[];
  /** Names of the source's parameters that have no place. */
  readonly left: readonly string[];
}

/** Fields of attention: they may differ, and what parameters come or go with them is said. */
const ATTENTION_PARTS = [
  ...(['qkNorm', 'attentionBias', 'sinks', 'outputGate', 'outputGateBias', 'cca', 'positionBias'] as const),
] as const;
/** Fields of positions, which have no parameters. */
const POSITIONS = ['ropeTheta', 'ropeDim', 'ropeScaling', 'localRope', 'queryScaling'] as const;
/** The fields that may differ beside the sections of recurrent mixers; `init` says how new parameters start. */
const MAY_DIFFER: ReadonlySet<string> = new Set<keyof ModelConfig>([
  ...['layers' as const, 'init' as const],
  ...ATTENTION_PARTS,
  ...POSITIONS,
]);
/** Fields that mean nothing to a model without attention. */
const OF_ATTENTION: ReadonlySet<string> = new Set<keyof ModelConfig>([
  'numHeads',
  'numKvHeads',
  'headDim',
  'attentionScale',
]);

/**
 * What is taken over where a model of configuration `target` starts from the weights of one of `source`.
 *
 * A layer with another mixer than the source's starts with a new mixer, and a mixer that gains or loses parts (norms of
 * queries and keys, biases, sinks, gates) with new ones or without them; all other parameters must be in both models,
 * of the same shapes.
 *
 * @param name what the source is called in messages
 * @throws ConfigError in one sentence naming the tensor or the field at fault
 */
export function planTransfer(source: ModelConfig, target: ModelConfig, name: string): WeightTransfer {
  const [found, wanted] = [specsByName(source), specsByName(target)];
  if (source.vocabSize !== target.vocabSize) {
    throw new ConfigError(
      `${name} knows ${source.vocabSize} tokens, and model.vocabSize is ${target.vocabSize}; they must be the same: leave model.vocabSize out, or start from a model of this vocabulary`,
      { details: { source: source.vocabSize, target: target.vocabSize } },
    );
  }
  const mixerChanges = (layer: number | null) =>
    layer !== null && source.layers[layer]?.mixer !== target.layers[layer]?.mixer;
  const isNew = (spec: ParamSpec) => spec.part === 'mixer' && mixerChanges(spec.layer);
  const kept: string[] = [];
  const fresh: string[] = [];
  for (const spec of wanted.values()) {
    const own = found.get(spec.name);
    if (isNew(spec) || (own === undefined && spec.part === 'mixer')) fresh.push(spec.name);
    else if (own === undefined) throw lacking(name, spec, source, target);
    else if (sameShape(own.shape, spec.shape)) kept.push(spec.name);
    else throw otherShape(name, own, spec);
  }
  const taken = new Set(kept);
  const left: string[] = [];
  for (const spec of found.values()) {
    if (taken.has(spec.name)) continue;
    if (spec.part !== 'mixer') throw without(name, spec, source, target);
    left.push(spec.name);
  }
  checkFields(source, target, name);
  return { kept, fresh, left };
}

function specsByName(config: ModelConfig): ReadonlyMap<string, ParamSpec> {
  return new Map(parameterSpecs(config).map((spec) => [spec.name, spec]));
}

function otherShape(name: string, own: ParamSpec, spec: ParamSpec): ConfigError {
  return new ConfigError(
    `tensor ${spec.name} is ${formatShape(own.shape)} in ${name} and ${formatShape(spec.shape)} in the model; give the model the sizes of that one, or leave them out`,
    { details: { tensor: spec.name, source: own.shape, target: spec.shape } },
  );
}

function lacking(name: string, spec: ParamSpec, source: ModelConfig, target: ModelConfig): ConfigError {
  return new ConfigError(`${name} has no tensor ${spec.name}, which the model needs${layerCounts(source, target)}`, {
    details: { tensor: spec.name },
  });
}

function without(name: string, spec: ParamSpec, source: ModelConfig, target: ModelConfig): ConfigError {
  return new ConfigError(
    `the model has no place for tensor ${spec.name} of ${name}${layerCounts(source, target)}; only mixers may be other ones`,
    { details: { tensor: spec.name } },
  );
}

function layerCounts(source: ModelConfig, target: ModelConfig): string {
  if (source.numLayers === target.numLayers) return '';
  return ` (${source.numLayers} layers there, ${target.numLayers} here)`;
}

/** Throws `ConfigError` naming the first field that changes what the taken weights mean. */
function checkFields(source: ModelConfig, target: ModelConfig, name: string): void {
  const attends = [source, target].every(({ layers }) => layers.some((plan) => headGroups(plan).length > 0));
  const sections = new Set<string>(SECTION_NAMES);
  const [a, b] = [comparable(source), comparable(target)];
  for (const field of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (MAY_DIFFER.has(field) || (!attends && OF_ATTENTION.has(field))) continue;
    const [theirs, ours] = [a[field], b[field]];
    // A section that only one of the two has is that of a mixer which comes or goes.
    if (sections.has(field) && (theirs === undefined || ours === undefined)) continue;
    // The order of keys means nothing: that of a section changes where it is resolved again.
    if (canonicalJson(theirs ?? null) === canonicalJson(ours ?? null)) continue;
    throw new ConfigError(
      `model.${field} is ${showValue(ours)}, and ${showValue(theirs)} in ${name}: its weights would mean something else; leave model.${field} out`,
      { details: { field, source: theirs, target: ours } },
    );
  }
}

/** The fields that decide what weights mean; that is not the number of tokens that a mixer works on at once. */
function comparable(config: ModelConfig): Readonly<Record<string, unknown>> {
  const sections = SECTION_NAMES.flatMap((mixer) => {
    const section = config[mixer];
    return section === undefined ? [] : [[mixer, { ...section, chunk: null }] as const];
  });
  const attentionScale = plainScale(config.attentionScale, config.headDim);
  // What training adds to the loss is no part of the model.
  const experts = config.experts === null ? null : { ...config.experts, balanceLoss: 0, routerZLoss: 0 };
  return { ...config, ...Object.fromEntries(sections), attentionScale, experts };
}

/** The layers that differ between two models of as many layers, such as `layer 0: full, now swa:128`. */
export function layerChanges(source: ModelConfig, target: ModelConfig): string[] {
  return target.layers.flatMap((plan, layer) => {
    const [before, now] = [printLayer(at(source.layers, layer)), printLayer(plan)];
    return before === now ? [] : [`layer ${layer}: ${before}, now ${now}`];
  });
}
