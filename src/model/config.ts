/** The resolved configuration of a model: every default filled in, every layer written out, fields checked together. */
import type { z } from 'zod';
import { at, ConfigError, nearest, parseConfig, showValue, LIMITS, append } from '../core/index.js';
import { checkCca, type CcaConfig } from './cca-config.js';
import { checkExperts, type ExpertsConfig } from './experts-config.js';
import { checkGroups, parsePattern, resolveLayer } from './pattern.js';
import { headCounts, headGroups, isShared, type HeadCounts, type LayerPlan } from './plan.js';
import { checkLayerSettings } from './layer-settings.js';
import { PRESET_NAMES, presetInput } from './presets.js';
import { checkAttentionParts, type PositionBiasConfig, type ShortConvConfig } from './position-bias-config.js';
import { resolveShared, type SharedConfig } from './shared-config.js';
import { resolveRecurrent, type RecurrentConfigs } from './recurrent-config.js';
import { checkRope, latentFields, type RopeFields } from './rope.js';
import {
  modelSchema,
  type BlockConfig,
  type HeadLayer,
  type InitScheme,
  type LocalRope,
  type QueryScaling,
  type RopeScaling,
} from './schema.js';

/** A complete, checked model configuration: plain JSON, and itself a valid input that resolves to an equal value. */
export interface ModelConfig extends RecurrentConfigs {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  /** The mixer of each layer, first to last. */
  readonly layers: readonly LayerPlan[];
  /** Query heads of the attention layers that do not say otherwise (`AttentionPlan`). */
  readonly numHeads: number;
  /** Key/value heads of the same layers; each serves `numHeads / numKvHeads` query heads. */
  readonly numKvHeads: number;
  /** Channels of a query or key/value head of the attention layers that do not say otherwise. */
  readonly headDim: number;
  /** Channels of a value head of attention; null for as many as its keys have. */
  readonly valueDim: number | null;
  /** The factor on the values of attention. */
  readonly valueScale: number;
  /** Whether each value head of attention passes an RMSNorm without weights. */
  readonly valueNorm: boolean;
  /** Channels inside the gated MLP. */
  readonly intermediateSize: number;
  /** The base of the rotary frequencies. */
  readonly ropeTheta: number;
  /** Channels of each head that rotary positions rotate, at most `headDim`. */
  readonly ropeDim: number;
  readonly ropeScaling: RopeScaling | null;
  readonly localRope: LocalRope | null;
  readonly norm: 'rms' | 'layer';
  /** The epsilon of the norms, added to the mean square (or the variance). */
  readonly rmsNormEps: number;
  /** Added to the weights of the norms: 1 where a weight of 0 stands for a gain of 1. */
  readonly normOffset: number;
  /** Whether norms, those on queries and keys too, have weights. */
  readonly normWeight: boolean;
  /** Whether the norms of the residual stream have biases. */
  readonly normBias: boolean;
  /** Positions that have a learned vector, added to the embedding; no sequence may be longer. Null for none. */
  readonly learnedPositions: number | null;
  /** Rows of the embedding behind those of the vocabulary, which no logit belongs to. */
  readonly extraTokens: number;
  /** Whether the embedding is normalized before the first layer. */
  readonly embeddingNorm: boolean;
  /** How mixer and MLP are put together: one description for all layers, or one a layer; see `blockOf`. */
  readonly block: BlockConfig | readonly BlockConfig[];
  readonly activation: 'silu' | 'gelu' | 'gelu_tanh' | 'relu' | 'relu2' | 'xielu';
  /**
   * The RMSNorm on queries and keys: none, over each head, over all heads together, or over each head that has rotary
   * positions, without weights.
   */
  readonly qkNorm: false | 'head' | 'width' | 'rope';
  /** The factor on the scores `q k`; null for `1 / sqrt(headDim)`. */
  readonly attentionScale: number | 'width' | null;
  /** The c of attention scores `c tanh(s / c)`; null for scores that are not capped. */
  readonly attentionSoftcap: number | null;
  /** How queries grow with their position; null if they do not. */
  readonly queryScaling: QueryScaling | null;
  readonly attentionBias: 'none' | 'qkv' | 'output' | 'all';
  /** Whether the MLP is gated: two projections, one of them activated and multiplied with the other. */
  readonly mlpGate: boolean;
  /** The factor on the MLP's gate before its activation. */
  readonly mlpGateScale: number;
  readonly mlpBias: boolean;
  /** Channels of the input that each layer has beside the residual stream; null for none. */
  readonly layerInputs: number | null;
  /** Whether what each layer gives is multiplied by a learned number. */
  readonly layerScale: boolean;
  /** The experts of MLPs; null where every MLP is dense. */
  readonly experts: ExpertsConfig | null;
  /**
   * Whether each sum of the residual stream is `(x + shift) factor + (y + shift) factor` with learned vectors, and the
   * embedding has such a pair too.
   */
  readonly residualAffine: boolean;
  /** The factor on the embedding of tokens. */
  readonly embeddingScale: number;
  /** A dense layer with an activation and a norm between the final norm and the output head; null for none. */
  readonly headLayer: HeadLayer | null;
  /** Whether the output head has a bias. */
  readonly headBias: boolean;
  /** The factor on the logits. */
  readonly logitScale: number;
  /** The c of logits `c tanh(logits / c)`; null for logits that are not capped. */
  readonly logitSoftcap: number | null;
  /** Compressed convolutional attention in place of plain projections to queries, keys and values; null for those. */
  readonly cca: CcaConfig | null;
  /** Positions as a bias on scores that each query computes, in every attention layer; null for none. */
  readonly positionBias: PositionBiasConfig | null;
  /** Short convolutions on keys, values, and on what attention and MLP give, in every layer; null for none. */
  readonly shortConv: ShortConvConfig | null;
  /** Whether what the MLP of each layer gives, or its experts, is multiplied by a learned number. */
  readonly mlpFactor: boolean;
  /** Blocks that several layers use with the same weights; null where no layer uses one. */
  readonly shared: SharedConfig | null;
  /**
   * Whether each head of the attention layers that do not say otherwise has a learned logit that joins the softmax's
   * denominator.
   */
  readonly sinks: boolean;
  /** Whether the heads' outputs are multiplied by a sigmoid gate of the layer's input: one a channel, or one a head. */
  readonly outputGate: boolean | 'head';
  /** Whether that gate has a bias, one a head. */
  readonly outputGateBias: boolean;
  /** What makes a factor of the output gate from its projection. */
  readonly outputGateActivation: 'sigmoid' | 'softplus';
  readonly tieEmbeddings: boolean;
  readonly init: InitScheme;
}

type Parsed = z.output<typeof modelSchema>;

/** How mixer and MLP of a layer are put together. */
export function blockOf({ block, layers }: Pick<ModelConfig, 'block' | 'layers'>, layer: number): BlockConfig {
  const own = isList(block) ? at(block, layer) : block;
  // A layer without a mixer is its MLP, whatever stands behind the mixers of others.
  return layers[layer]?.mixer === 'none' ? { ...own, mlp: true } : own;
}

const isList = <T>(value: T | readonly T[]): value is readonly T[] => Array.isArray(value);

/**
 * The complete model configuration of `input`: defaults filled in, preset and layer pattern expanded, fields checked
 * against one another.
 *
 * @param input a value of `modelSchema`, alone or over a `preset`
 * @param where what the input is called in messages
 * @throws ConfigError in one sentence: what is wrong, where, what to do
 */
export function resolveModelConfig(input: unknown, where = 'model'): ModelConfig {
  const parsed = parseConfig(modelSchema, withPreset(input, where), where);
  const { hiddenSize, numHeads } = parsed;
  const counts = { numHeads, numKvHeads: parsed.numKvHeads ?? numHeads };
  checkKvHeads(counts, where);
  const headDim = parsed.headDim ?? defaultHeadDim(hiddenSize, numHeads, where);
  const layers = checkLayerSettings(resolveLayers(parsed, counts, where), { ...parsed, ...counts, headDim }, where);
  const ropeDim = parsed.ropeDim ?? headDim;
  const block = resolveBlocks(parsed.block, layers, where);
  checkBesideMlp(parsed, block, layers.length, where);
  // Positions of latent attention depend on the widths of its section, so that sections come first.
  const sections = resolveRecurrent(parsed, layers, { ...parsed, headDim }, where);
  checkRopes({ ...parsed, mla: sections.mla, headDim, ropeDim }, layers, where);
  return {
    vocabSize: parsed.vocabSize,
    hiddenSize,
    numLayers: layers.length,
    layers,
    ...counts,
    headDim,
    valueDim: parsed.valueDim,
    valueScale: parsed.valueScale,
    valueNorm: parsed.valueNorm,
    intermediateSize: parsed.intermediateSize ?? Math.ceil((8 * hiddenSize) / 3 / 32) * 32,
    ropeTheta: parsed.ropeTheta,
    ropeDim,
    ropeScaling: parsed.ropeScaling,
    localRope: resolveLocal(parsed.localRope, ropeDim),
    norm: parsed.norm,
    rmsNormEps: parsed.rmsNormEps,
    normOffset: parsed.normOffset,
    normWeight: parsed.normWeight,
    normBias: parsed.normBias,
    learnedPositions: parsed.learnedPositions,
    extraTokens: parsed.extraTokens,
    embeddingNorm: parsed.embeddingNorm,
    block,
    activation: parsed.activation,
    qkNorm: parsed.qkNorm === true ? 'head' : parsed.qkNorm,
    attentionScale: parsed.attentionScale,
    attentionSoftcap: parsed.attentionSoftcap,
    queryScaling: parsed.queryScaling,
    attentionBias: parsed.attentionBias,
    mlpGate: parsed.mlpGate,
    mlpGateScale: parsed.mlpGateScale,
    mlpBias: parsed.mlpBias,
    layerInputs: checkInputs(parsed, where),
    layerScale: parsed.layerScale,
    experts:
      parsed.experts === null
        ? null
        : checkExperts(parsed.experts, { ...parsed, numLayers: layers.length }, `${where}.experts`),
    residualAffine: parsed.residualAffine,
    embeddingScale: parsed.embeddingScale,
    headLayer: parsed.headLayer,
    headBias: parsed.headBias,
    logitScale: parsed.logitScale,
    logitSoftcap: parsed.logitSoftcap,
    shared: resolveShared(parsed.shared, { layers, cca: parsed.cca }, where),
    cca: checkCca(parsed.cca, { headDim, qkNorm: parsed.qkNorm, kvHeads: kvHeadsOf(layers, counts) }, where),
    ...checkAttentionParts({ ...parsed, layers }, where),
    sinks: parsed.sinks,
    outputGate: parsed.outputGate,
    outputGateBias: checkGateBias(parsed, where),
    outputGateActivation: parsed.outputGateActivation,
    ...sections,
    tieEmbeddings: parsed.tieEmbeddings,
    init: parsed.init,
  };
}

/** Positions of `:local` layers; a width that is the model's anyway is left out. */
function resolveLocal(localRope: LocalRope | null, modelDim: number): LocalRope | null {
  if (localRope === null) return null;
  const { ropeDim = modelDim, ...rest } = localRope;
  return ropeDim === modelDim ? rest : { ...rest, ropeDim };
}

/** Settings of rotary positions are checked only where a head has them: a model of NoPE layers may have odd heads. */
function checkRopes(config: RopeFields, layers: readonly LayerPlan[], where: string): void {
  const turning = layers.filter((layer) => headGroups(layer).some((g) => g.rope !== false));
  const [latent, own] = [
    turning.filter(({ mixer }) => mixer === 'mla'),
    turning.filter(({ mixer }) => mixer !== 'mla'),
  ];
  if (own.length > 0) checkRope(config, own, where);
  if (latent.length === 0 || config.mla === undefined) return;
  // Of a head of latent attention only the rotary channels turn, and all of them.
  const { ropeDim } = config.mla;
  checkRope(latentFields(config, ropeDim), latent, where);
}

const kvHeadsOf = (layers: readonly LayerPlan[], model: HeadCounts): number[] =>
  layers.filter((plan) => plan.mixer === 'attention').map((plan) => headCounts(model, plan).numKvHeads);

function checkInputs({ layerInputs, activation }: Parsed, where: string): number | null {
  if (layerInputs === null || activation !== 'xielu') return layerInputs;
  throw new ConfigError(`${where}: layerInputs cannot have activation xielu, which learns; use another`, {
    details: { layerInputs, activation },
  });
}

/** The configuration with the inner width of a layer's own MLP. */
export function withMlpWidth(config: ModelConfig, layer: number): ModelConfig {
  const { mlpWidth } = blockOf(config, layer);
  return mlpWidth === undefined ? config : { ...config, intermediateSize: mlpWidth };
}

function checkGateBias({ outputGate, outputGateBias }: Parsed, where: string): boolean {
  if (!outputGateBias || outputGate !== false) return outputGateBias;
  throw new ConfigError(`${where}: outputGateBias needs an output gate; set outputGate, or leave outputGateBias out`, {
    details: { outputGate, outputGateBias },
  });
}

function withPreset(input: unknown, where: string): unknown {
  if (typeof input !== 'object' || input === null || !('preset' in input)) return input;
  const { preset, ...rest } = input;
  const base = typeof preset === 'string' ? presetInput(preset) : undefined;
  if (base !== undefined) return { ...base, ...rest };
  const near = typeof preset === 'string' ? nearest(preset, PRESET_NAMES) : undefined;
  const hint = near === undefined ? `presets are ${PRESET_NAMES.join(', ')}` : `did you mean "${near}"?`;
  throw new ConfigError(`${where}: unknown preset ${showValue(preset)}; ${hint}`, { details: { preset } });
}

function checkKvHeads({ numHeads, numKvHeads }: HeadCounts, where: string): void {
  if (numHeads % numKvHeads === 0) return;
  const fitting = divisors(numHeads).join(', ');
  throw new ConfigError(
    `${where}: numHeads ${numHeads} is not a multiple of numKvHeads ${numKvHeads}; numKvHeads may be ${fitting}`,
    { details: { numHeads, numKvHeads } },
  );
}

function defaultHeadDim(hiddenSize: number, numHeads: number, where: string): number {
  if (hiddenSize % numHeads === 0) return hiddenSize / numHeads;
  throw new ConfigError(
    `${where}: hiddenSize ${hiddenSize} is not divisible by numHeads ${numHeads}; change one of them or give headDim`,
    { details: { hiddenSize, numHeads } },
  );
}

function resolveLayers(parsed: Parsed, counts: HeadCounts, where: string): LayerPlan[] {
  const place = `${where}.layers`;
  const entries = typeof parsed.layers === 'string' ? [parsed.layers] : parsed.layers;
  const period: LayerPlan[] = [];
  for (const [i, entry] of entries.entries()) {
    append(period, layersOf(entry, typeof parsed.layers === 'string' ? place : `${place}[${i}]`, counts));
    checkLayers(period.length, where);
  }
  const numLayers = parsed.numLayers ?? period.length;
  checkLayers(numLayers, where);
  if (numLayers % period.length !== 0) {
    const below = numLayers - (numLayers % period.length);
    const multiples = below === 0 ? `${period.length}` : `${below} or ${below + period.length}`;
    throw new ConfigError(
      `${where}: numLayers ${numLayers} is not a multiple of the ${period.length} layers of the pattern, which repeats ` +
        `whole; use ${multiples}, or write all ${numLayers} layers out`,
      { details: { numLayers, period: period.length } },
    );
  }
  return Array.from({ length: numLayers }, (_, i) => at(period, i % period.length));
}

function checkLayers(numLayers: number, where: string): void {
  const { most } = LIMITS.layers;
  if (numLayers <= most) return;
  throw new ConfigError(`${where}: ${numLayers} layers are too many, a model has at most ${most}; use fewer`, {
    details: { numLayers },
  });
}

function layersOf(entry: Parsed['layers'][number], at: string, counts: HeadCounts): LayerPlan[] {
  if (typeof entry === 'string') return parsePattern(entry, at).map((layer) => resolveLayer(layer, counts, at));
  if (entry.mixer !== 'attention' && entry.mixer !== 'mla') return [entry];
  return [
    checkGroups(entry, counts, (why) => {
      throw new ConfigError(`${at}: ${why}`, { details: { layer: entry, ...counts } });
    }),
  ];
}

/** Checked against one another; a list whose entries are all equal becomes one block for all layers. */
function resolveBlocks(block: Parsed['block'], layers: readonly LayerPlan[], where: string): ModelConfig['block'] {
  const given = isList(block) ? block : [block];
  const numLayers = layers.length;
  if (isList(block) && given.length !== numLayers) {
    throw new ConfigError(
      `${where}.block has ${given.length} entries for ${numLayers} layers; give one for each, or one for all`,
      {
        details: { numLayers, entries: given.length },
      },
    );
  }
  // Patterns with layers that are MLPs alone name every block of the stack, so that the mixers are alone as well.
  const byPattern = !layers.some((plan) => plan.mixer === 'none');
  const list = given.map(({ norm, parallel, mlp = byPattern, ...factors }, i): BlockConfig => {
    const at = isList(block) ? `${where}.block[${i}]` : `${where}.block`;
    // What `blockOf` says of layers without a mixer does not depend on `mlp`.
    const own = { norm, parallel, mlp: isList(block) && layers[i]?.mixer === 'none' ? byPattern : mlp, ...factors };
    const these = isList(block) ? layers.slice(i, i + 1) : layers;
    if (own.mixerNorm === false) checkMixerNorm(own, these, at);
    if (own.norm !== 'pre' || own.parallel) checkShared(these, at);
    checkParallel(
      own,
      these.some((plan) => plan.mixer === 'none'),
      at,
    );
    return own;
  });
  const first = at(list, 0);
  return list.every((b) => JSON.stringify(b) === JSON.stringify(first)) ? first : list;
}

function checkShared(layers: readonly LayerPlan[], where: string): void {
  if (!layers.some(isShared)) return;
  throw new ConfigError(
    `${where}: layers that use a shared block have norms before mixer and MLP, and the MLP behind the mixer; set norm to pre and parallel to false`,
  );
}

/** Experts beside an MLP have norms where layers with norms before and after mixer and MLP have them. */
function checkBesideMlp({ experts }: Parsed, block: ModelConfig['block'], numLayers: number, where: string): void {
  if (experts?.besideMlp !== true) return;
  const blocks = isList(block) ? block : Array.from({ length: numLayers }, () => block);
  const wrong = blocks.findIndex(({ norm, mlp }, layer) => !experts.dense.includes(layer) && (norm !== 'both' || !mlp));
  if (wrong < 0) return;
  throw new ConfigError(
    `${where}: experts beside the MLP (besideMlp) need norm both and mlp true, which the block of layer ${wrong} has not; set them, or name the layer in experts.dense`,
    { details: { layer: wrong, block: blocks[wrong] } },
  );
}

function checkMixerNorm({ norm, parallel }: BlockConfig, layers: readonly LayerPlan[], where: string): void {
  const why =
    norm !== 'pre'
      ? `norm must be pre, not ${norm}`
      : parallel
        ? 'mixer and MLP must not be parallel'
        : layers.some(isShared)
          ? 'no layer may use a shared block'
          : null;
  if (why === null) return;
  throw new ConfigError(`${where}: where no norm stands before the mixer (mixerNorm false), ${why}`, {
    details: { norm, parallel },
  });
}

function checkParallel(block: BlockConfig, mlpAlone: boolean, where: string): void {
  const { parallel, norm, mlp, mlpSkip } = block;
  if (!parallel || (norm === 'pre' && mlp && mlpSkip === 1 && !mlpAlone)) return;
  const why =
    norm !== 'pre'
      ? `norm must be pre, not ${norm}`
      : mlpAlone
        ? 'every layer must have a mixer'
        : !mlp
          ? 'there must be an MLP'
          : 'mlpSkip has no meaning';
  throw new ConfigError(`${where}: where mixer and MLP are parallel, ${why}`, { details: { block } });
}

function divisors(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0);
}
