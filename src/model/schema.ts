/** The schema of a model configuration: help texts and defaults come from here. */
import { z } from 'zod';
import { LIMITS, sizeUpTo, realNumber } from '../core/index.js';
import { PLAIN_ACTIVATIONS } from './mixers/activations.js';
import { ccaSchema } from './cca-config.js';
import { expertsSchema } from './experts-config.js';
import { RECURRENT_MIXERS } from './mixers/table.js';
import { MOST_WINDOWS } from './plan.js';
import { positionBiasSchema, shortConvSchema } from './position-bias-config.js';
import { recurrentSections } from './recurrent-config.js';
import { sharedSchema } from './shared-config.js';

/** Descriptions come last in a chain: zod drops them under `optional` and `default`. */

/** The base of rotary wavelengths: one below 1 would make them shorter from channel to channel. */
export const rotaryBase = () => realNumber().min(1);

const headGroupSchema = z.strictObject({
  window: sizeUpTo('tokens').nullable().describe('visible keys, the query included; null for full attention'),
  windows: z
    .array(sizeUpTo('tokens').nullable())
    .min(2)
    .max(MOST_WINDOWS)
    .optional()
    .describe('the windows that it has in training (train.windows); the last is window'),
  chunk: sizeUpTo('tokens')
    .optional()
    .describe('queries see only keys of their own chunk of so many tokens; window is at most this'),
  heads: sizeUpTo('heads').describe('query heads of this group'),
  rope: z
    .union([z.boolean(), z.literal('local')])
    .default(true)
    .describe('rotary positions; local for those of localRope'),
  ropeShare: realNumber()
    .positive()
    .lt(1)
    .optional()
    .describe('share of the channels of each head that turn (default: by ropeDim)'),
  ropeTheta: rotaryBase().optional().describe('base of the rotary wavelengths (default: that of the model)'),
  temperature: z
    .enum(['log', 'learned'])
    .optional()
    .describe(
      'scores times s ln n, n being the keys that the query sees: s fixed (log) or learned for each head (learned)',
    ),
});

/** A layer written out, as resolved configurations hold it. */
const layerPlanSchema = z.discriminatedUnion('mixer', [
  z.strictObject({
    mixer: z.literal('attention').describe('softmax attention'),
    groups: z
      .array(headGroupSchema)
      .min(1)
      .max(LIMITS.heads.most)
      .describe('head groups, in the order of the query heads'),
    numHeads: sizeUpTo('heads')
      .optional()
      .describe('query heads of this layer, those of its groups together (default: numHeads of the model)'),
    numKvHeads: sizeUpTo('heads')
      .optional()
      .describe('key/value heads of this layer; divides its query heads (default: numKvHeads of the model)'),
    headDim: sizeUpTo('width').optional().describe('width of one head of this layer (default: headDim of the model)'),
    valuesAreKeys: z
      .boolean()
      .optional()
      .describe('values are what the projection to keys gives, before norms and positions (default: false)'),
    sinks: z.boolean().optional().describe('a sink logit for each of its query heads (default: sinks of the model)'),
    biasExtent: sizeUpTo('tokens')
      .optional()
      .describe('distances from 0 that have a bias in this layer (default: extent of positionBias)'),
    keysOf: z
      .int()
      .min(0)
      .max(LIMITS.layers.most)
      .optional()
      .describe('an earlier layer, counted from 0, whose keys and values this one attends to (default: own ones)'),
    beside: z
      .strictObject({
        mixer: z.enum(RECURRENT_MIXERS).describe('the mixer'),
        heads: sizeUpTo('heads').optional().describe('its heads in this layer (default: those of its section)'),
      })
      .optional()
      .describe('a recurrent mixer that reads the same input and is added to attention'),
    shared: z
      .literal(true)
      .optional()
      .describe('attention is that of a shared block, which is added to what the mixer beside it reads'),
  }),
  z.strictObject({
    mixer: z.literal('mla').describe('multi-head latent attention, with the settings of its section'),
    groups: z.array(headGroupSchema).length(1).describe('one group of all heads'),
  }),
  z.strictObject({
    mixer: z.enum(RECURRENT_MIXERS).describe('a recurrent mixer, with the settings of its section'),
  }),
  z.strictObject({ mixer: z.literal('none').describe('no mixer: the layer is an MLP alone') }),
]);

const scale = (what: string) => realNumber().default(1).describe(what);

const blockSchema = z.strictObject({
  norm: z
    .enum(['pre', 'post', 'both', 'stream'])
    .default('pre')
    .describe(
      'norms stand before mixer and MLP (pre), after them (post), both, or on the residual stream itself, so that mixer and ' +
        'MLP are added to their own normalized input (stream)',
    ),
  parallel: z
    .boolean()
    .default(false)
    .describe('mixer and MLP read the same normalized input, and both are added to it at once (norm pre only)'),
  mlp: z
    .boolean()
    .optional()
    .describe(
      'whether an MLP follows the mixer in its layer (default: true, but false where the pattern has mlp layers)',
    ),
  mlpWidth: sizeUpTo('width')
    .optional()
    .describe('inner width of the MLP of this layer (default: intermediateSize of the model)'),
  mixerNorm: z
    .literal(false)
    .optional()
    .describe('false leaves out the norm before the mixer (norm pre, not parallel, no shared block)'),
  mixerSkip: scale('factor on the residual stream where the mixer is added'),
  mixerScale: scale('factor on the mixer where it is added'),
  besideScale: scale('factor on the recurrent mixer beside attention, where mixerScale is that on attention alone'),
  mlpSkip: scale('factor on the residual stream where the MLP is added'),
  mlpScale: scale('factor on the MLP where it is added'),
});

const positive = () => realNumber().positive();

/** A factor for each pair of channels. */
const factorList = () => z.array(positive()).min(1).max(LIMITS.width.most);

const ropeScalingSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('linear').describe('all wavelengths longer'),
    factor: positive().describe('by this factor'),
  }),
  z.strictObject({
    type: z.literal('dynamic').describe('base grows with sequences longer than originalLength (dynamic NTK)'),
    factor: positive().describe('how fast'),
    originalLength: sizeUpTo('tokens').describe('tokens of the longest sequence of pretraining'),
  }),
  z.strictObject({
    type: z.literal('yarn').describe('YaRN (Peng et al. 2023): long wavelengths longer, short ones kept'),
    factor: positive().describe('by this factor'),
    originalLength: sizeUpTo('tokens').describe('tokens of the longest sequence of pretraining'),
    betaFast: positive().default(32).describe('turns over originalLength from which wavelengths are kept'),
    betaSlow: positive()
      .default(1)
      .describe('turns over originalLength below which wavelengths grow by the whole factor'),
    truncate: z.boolean().default(true).describe('round the bounds of the ramp to whole channels'),
    attentionFactor: positive()
      .optional()
      .describe('factor on rotated queries and on rotated keys (default: 0.1 ln(factor) + 1)'),
  }),
  z.strictObject({
    type: z
      .literal('longrope')
      .describe(
        'LongRoPE (Ding et al. 2024): a factor for every wavelength, others for sequences beyond originalLength',
      ),
    short: factorList().describe('factors on wavelengths of sequences up to originalLength, ropeDim / 2 of them'),
    long: factorList().describe('factors on wavelengths of longer sequences'),
    factor: positive().describe('length over originalLength, from which attentionFactor follows'),
    originalLength: sizeUpTo('tokens').describe('tokens of the longest sequence of pretraining'),
    attentionFactor: positive()
      .optional()
      .describe('factor on rotated queries and on rotated keys (default: sqrt(1 + ln(factor) / ln(originalLength)))'),
  }),
  z.strictObject({
    type: z.literal('proportional').describe('only the fastest channel pairs turn, the others stay'),
    share: realNumber()
      .min(0)
      .max(1)
      .describe('pairs that turn, as a share of all; their wavelengths are those of all'),
    factor: positive().default(1).describe('wavelengths longer by this factor'),
  }),
  z.strictObject({
    type: z.literal('llama3').describe('as Llama 3.1: long wavelengths longer, short ones kept, smooth between'),
    factor: positive().describe('by this factor'),
    lowFrequencyFactor: positive().describe(
      'turns over originalLength below which wavelengths grow by the whole factor',
    ),
    highFrequencyFactor: positive().describe('turns over originalLength above which wavelengths are kept'),
    originalLength: sizeUpTo('tokens').describe('tokens of the longest sequence of pretraining'),
  }),
]);

const localRopeSchema = z.strictObject({
  theta: rotaryBase().describe('base of the rotary wavelengths'),
  scaling: ropeScalingSchema.nullable().default(null).describe('how its wavelengths are scaled'),
  ropeDim: sizeUpTo('width').optional().describe('channels of a head that turn (default: ropeDim of the model)'),
});

const queryScalingSchema = z.strictObject({
  law: z
    .enum(['log', 'power', 'beyond'])
    .optional()
    .describe(
      '1 + beta ln(1 + floor((p + offset) / length)), or (1 + (p + offset) / length)^beta, or 1 + beta ln of (p + offset) / length ' +
        'where that is above 1 (default: log)',
    ),
  beta: realNumber().describe('how fast queries grow'),
  length: sizeUpTo('tokens').describe(
    'tokens from which they do, of log and beyond; of power the first at which they have grown by 2^beta',
  ),
  offset: z.int().min(0).max(LIMITS.tokens.most).optional().describe('added to the position (default: 0)'),
  nope: z.boolean().optional().describe('only queries without positions grow, as in Llama 4 (default: false)'),
  full: z.boolean().optional().describe('only queries that see all keys grow, as in Inkling (default: false)'),
});

const headLayerSchema = z.strictObject({
  activation: z.enum(PLAIN_ACTIVATIONS).default('gelu').describe('its activation'),
  bias: z.boolean().default(false).describe('a learned bias before the activation'),
});

const initSchema = z.discriminatedUnion('scheme', [
  z.strictObject({ scheme: z.literal('fan-in').describe('matrices N(0, 1/fan-in), embeddings N(0, 1/hiddenSize)') }),
  z.strictObject({
    scheme: z.literal('normal').describe('matrices and embeddings N(0, std^2)'),
    std: realNumber().positive().default(0.02).describe('standard deviation'),
  }),
]);

/**
 * Schema of the `model` part of a run file, without `preset` (`resolveModelConfig` puts a preset's values underneath
 * first).
 */
export const modelSchema = z.strictObject({
  vocabSize: sizeUpTo('vocabulary').default(256).describe('number of tokens; 256 for bytes'),
  hiddenSize: sizeUpTo('width').describe('width of the residual stream'),
  numLayers: z
    .int()
    .min(1)
    .optional()
    .describe('layers; the pattern repeats to fill them (default: the length of the pattern)'),
  layers: z
    .union([
      z.string(),
      z
        .array(z.union([z.string(), layerPlanSchema]))
        .min(1)
        .max(LIMITS.layers.most),
    ])
    .describe('layer pattern, such as "swa:128 full", "3*mamba2 full:nope" or "swa:8/full"; or a list of these'),
  numHeads: sizeUpTo('heads').describe('query heads; a layer may have others, as in "swa:64#6,2"'),
  numKvHeads: sizeUpTo('heads').optional().describe('key/value heads; divides numHeads (default: numHeads)'),
  headDim: sizeUpTo('width').optional().describe('width of one head (default: hiddenSize / numHeads)'),
  intermediateSize: sizeUpTo('width')
    .optional()
    .describe('inner width of the SwiGLU (default: 8/3 of hiddenSize, rounded up to a multiple of 32)'),
  valueDim: sizeUpTo('width')
    .nullable()
    .default(null)
    .describe('width of a value head of attention; null for that of its keys'),
  valueScale: scale('factor on the values of attention'),
  valueNorm: z.boolean().default(false).describe('RMSNorm without weights on each value head of attention'),
  ropeTheta: rotaryBase().default(10_000).describe('base of the rotary wavelengths'),
  ropeDim: sizeUpTo('width')
    .optional()
    .describe('channels of a head that rotary positions turn: as many from the start of each half (default: headDim)'),
  ropeScaling: ropeScalingSchema.nullable().default(null).describe('how rotary wavelengths are scaled'),
  localRope: localRopeSchema
    .nullable()
    .default(null)
    .describe('rotary base and scaling of :local layers, beside those of all others'),
  norm: z.enum(['rms', 'layer']).default('rms').describe('RMSNorm, or LayerNorm, on the residual stream'),
  rmsNormEps: realNumber().positive().default(1e-6).describe('added to the mean square (variance) in every norm'),
  normOffset: realNumber().default(0).describe('added to every norm weight; 1 stores weights as differences from 1'),
  normWeight: z.boolean().default(true).describe('learned weights of all norms, those of qkNorm too'),
  normBias: z.boolean().default(false).describe('learned biases of the norms on the residual stream'),
  learnedPositions: sizeUpTo('tokens')
    .nullable()
    .default(null)
    .describe('positions that have a learned vector, which is added to the embedding; null for none'),
  extraTokens: z
    .int()
    .min(0)
    .max(LIMITS.vocabulary.most)
    .default(0)
    .describe('rows of the embedding behind those of the vocabulary, of tokens that are read and never predicted'),
  embeddingNorm: z.boolean().default(false).describe('a norm on the embedding, before the first layer'),
  block: z
    .union([blockSchema, z.array(blockSchema).min(1).max(LIMITS.layers.most)])
    .default(() => blockSchema.parse({}))
    .describe('how mixer and MLP are put together; one for all layers, or a list with one for each'),
  activation: z
    .enum([...PLAIN_ACTIVATIONS, 'xielu'])
    .default('silu')
    .describe('activation of the gate in the MLP; relu2 is the square of relu, xielu learns two slopes a layer'),
  qkNorm: z
    .union([z.boolean(), z.enum(['head', 'width', 'rope'])])
    .default(false)
    .describe(
      'RMSNorm on queries and keys before rotary positions: on each head (true or head), on all heads together (width), or ' +
        'on each head without weights, where heads have rotary positions (rope)',
    ),
  attentionScale: z
    .union([positive(), z.literal('width')])
    .nullable()
    .default(null)
    .describe('factor on attention scores; width for 1/headDim, null for 1/sqrt(headDim)'),
  attentionSoftcap: positive()
    .nullable()
    .default(null)
    .describe('c tanh(scores / c) in place of the scaled attention scores; null for none'),
  attentionBias: z
    .enum(['none', 'qkv', 'output', 'all'])
    .default('none')
    .describe('biases of attention: on queries, keys and values (qkv), on the output projection (output), or on all'),
  mlpGate: z
    .boolean()
    .default(true)
    .describe('the MLP multiplies an activated gate with a second projection; false: it activates its one projection'),
  mlpGateScale: scale('factor on the gate of the MLP before its activation'),
  mlpBias: z.boolean().default(false).describe('biases of the MLP'),
  layerInputs: sizeUpTo('width')
    .nullable()
    .default(null)
    .describe(
      'width of a second embedding of each token for each layer, which with a projection of the first opens a gate of the stream ' +
        'behind the MLP (Gemma 4); null for none',
    ),
  layerScale: z.boolean().default(false).describe('a learned factor on what each layer gives'),
  experts: expertsSchema
    .nullable()
    .default(null)
    .describe(
      'experts in place of the MLP: a router sends each token to a few of them; null for MLPs that every token passes',
    ),
  residualAffine: z
    .boolean()
    .default(false)
    .describe(
      'learned shifts and factors a channel on the residual stream and on what is added to it, at every sum, and on the embedding',
    ),
  queryScaling: queryScalingSchema
    .nullable()
    .default(null)
    .describe('queries that grow with their position p, by one of two laws; null for none'),
  embeddingScale: scale('factor on the embedding'),
  headLayer: headLayerSchema
    .nullable()
    .default(null)
    .describe('a dense layer with an activation and a norm between the final norm and the output head; null for none'),
  headBias: z.boolean().default(false).describe('a learned bias of the output head'),
  logitScale: scale('factor on the logits'),
  logitSoftcap: positive()
    .nullable()
    .default(null)
    .describe('c tanh(logits / c) in place of the logits; null for none'),
  cca: ccaSchema
    .nullable()
    .default(null)
    .describe(
      'compressed convolutional attention (ZAYA): queries and keys through two convolutions, half of the values from the token ' +
        'before; null for plain projections',
    ),
  positionBias: positionBiasSchema
    .nullable()
    .default(null)
    .describe(
      'positions as a bias on scores: each query mixes profiles over distances, which the heads of a layer share (Inkling); null ' +
        'for none',
    ),
  shortConv: shortConvSchema
    .nullable()
    .default(null)
    .describe(
      'short convolutions, each added to what it reads: on keys, on values, on what attention gives and on what the MLP gives ' +
        '(Inkling); null for none',
    ),
  mlpFactor: z
    .boolean()
    .default(false)
    .describe('a learned factor on what the MLP of each layer gives, or its experts'),
  shared: sharedSchema
    .nullable()
    .default(null)
    .describe(
      'blocks of attention and MLP with one set of weights for several layers ("shared:full+mamba2"); null where no layer ' +
        'uses one',
    ),
  sinks: z.boolean().default(false).describe('a learned sink logit per query head in the softmax denominator'),
  outputGate: z
    .union([z.boolean(), z.literal('head')])
    .default(false)
    .describe(
      'multiply the heads by a sigmoid of a projection of the layer input, before the output projection: channel by channel ' +
        '(true), or by one number a head (head)',
    ),
  outputGateActivation: z
    .enum(['sigmoid', 'softplus'])
    .default('sigmoid')
    .describe('what makes the factor of the output gate from that projection'),
  outputGateBias: z.boolean().default(false).describe('a learned bias a head in that gate'),
  ...recurrentSections,
  tieEmbeddings: z.boolean().default(false).describe('use the embedding matrix, transposed, as the output head'),
  init: initSchema
    .default({ scheme: 'fan-in' })
    .describe(
      'initial weights; matrices that write to the residual stream are scaled by 1/sqrt of the number of mixers and MLPs',
    ),
});

/** A model configuration as a user may write it. */
export type ModelInput = z.input<typeof modelSchema>;

/** A preset's name, with any of its fields replaced. */
export type PresetModelInput = Partial<ModelInput> & { readonly preset: string };

/** How mixer and MLP of a layer are put together. */
export type BlockConfig = Readonly<Required<Omit<z.output<typeof blockSchema>, 'mlpWidth' | 'mixerNorm'>>> &
  Readonly<Pick<z.output<typeof blockSchema>, 'mlpWidth' | 'mixerNorm'>>;

/** How rotary wavelengths are scaled. */
export type RopeScaling = Readonly<z.output<typeof ropeScalingSchema>>;

/** Rotary positions of `:local` layers. */
export type LocalRope = Readonly<z.output<typeof localRopeSchema>>;

/** The dense layer in front of the output head. */
export type HeadLayer = Readonly<z.output<typeof headLayerSchema>>;

/** How queries grow with their position. */
export type QueryScaling = Readonly<z.output<typeof queryScalingSchema>>;

/** Initial weights; see `init.ts`. */
export type InitScheme = z.output<typeof initSchema>;
