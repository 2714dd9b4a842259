/**
 * Rotary positions in `config.json`: `rope_parameters` of Transformers 5, `rope_theta` and `rope_scaling` of older
 * versions.
 */
import type { LocalRope, ModelConfig, RopeScaling } from '../../../model/index.js';
import type { Fields } from './fields.js';

/** Written where the configuration names no length; Transformers does not stop there. */
const DEFAULT_LONGEST = 131_072;

/** The rotary positions that a `config.json` describes. */
export interface HfRope {
  /** The base of the rotary frequencies. */
  readonly theta: number;
  readonly scaling: RopeScaling | null;
  /** The share of each head's channels that are rotated. */
  readonly fraction: number;
}

/** Layer types that may have rotary positions of their own. */
export type RopeKind = 'full_attention' | 'sliding_attention';

/**
 * The rotary positions of a model whose layers all have the same.
 *
 * @param defaultFraction part of each head that turns where the file does not say; null for classes that always turn
 * all of it
 */
export function readRope(fields: Fields, defaultTheta = 10_000, defaultFraction: number | null = null): HfRope {
  const parameters = fields.object('rope_scaling') ?? fields.object('rope_parameters');
  return ropeOf(fields, parameters, fields.positive('rope_theta', defaultTheta), defaultFraction);
}

/**
 * The rotary positions of models that have one kind for windows and one for full attention. Before Transformers 5,
 * `rope_scaling` was that of full attention alone, and `rope_local_base_freq` the base of windows.
 */
export function readRopes(fields: Fields, defaultTheta: Readonly<Record<RopeKind, number>>): Record<RopeKind, HfRope> {
  const parameters = fields.object('rope_parameters');
  const nested = parameters !== null && (parameters.has('full_attention') || parameters.has('sliding_attention'));
  const of = (kind: RopeKind, old: string): HfRope => {
    const own = nested ? parameters.object(kind) : kind === 'full_attention' ? fields.object('rope_scaling') : null;
    return ropeOf(fields, own, fields.positive(old, defaultTheta[kind]));
  };
  const { full_attention: full, sliding_attention: sliding } = defaultTheta;
  const ownBase = full !== sliding || fields.has('rope_local_base_freq');
  return {
    full_attention: of('full_attention', 'rope_theta'),
    sliding_attention: of('sliding_attention', ownBase ? 'rope_local_base_freq' : 'rope_theta'),
  };
}

/** Model fields of both kinds, and the flag that window layers take in patterns. */
export function ropesFields(
  { full_attention: full, sliding_attention: sliding }: Readonly<Record<RopeKind, HfRope>>,
  headDim: number,
): { fields: Partial<ModelConfig>; sliding: 'rope' | 'local' } {
  const same = full.theta === sliding.theta && JSON.stringify(full.scaling) === JSON.stringify(sliding.scaling);
  if (same) return { fields: ropeFields(full, headDim), sliding: 'rope' };
  const { theta, scaling } = sliding;
  return { fields: { ...ropeFields(full, headDim), localRope: { theta, scaling } }, sliding: 'local' };
}

function ropeOf(
  fields: Fields,
  parameters: Fields | null,
  theta: number,
  defaultFraction: number | null = null,
): HfRope {
  const of = (place: Fields, otherwise: number) => place.positive('partial_rotary_factor', otherwise);
  const general = of(fields, defaultFraction ?? 1);
  const fraction = parameters === null ? general : of(parameters, general);
  if (defaultFraction === null && fraction !== 1) fields.refuse(`partial_rotary_factor ${fraction}`);
  if (parameters === null) return { theta, fraction, scaling: null };
  return { theta: parameters.positive('rope_theta', theta), fraction, scaling: scalingOf(fields, parameters) };
}

function scalingOf(fields: Fields, parameters: Fields): RopeScaling | null {
  const type = parameters.text('rope_type', parameters.text('type', 'default'));
  const longest = () => fields.count('max_position_embeddings');
  const original = () =>
    fields.has('original_max_position_embeddings')
      ? fields.count('original_max_position_embeddings')
      : parameters.has('original_max_position_embeddings')
        ? parameters.count('original_max_position_embeddings')
        : longest();
  switch (type) {
    case 'default':
      return null;
    case 'linear':
      return { type, factor: parameters.positive('factor') };
    case 'dynamic':
      return { type, factor: parameters.positive('factor'), originalLength: longest() };
    case 'llama3':
      return {
        type,
        factor: parameters.positive('factor'),
        lowFrequencyFactor: parameters.positive('low_freq_factor'),
        highFrequencyFactor: parameters.positive('high_freq_factor'),
        originalLength: original(),
      };
    case 'yarn': {
      const factor = parameters.has('factor') ? parameters.positive('factor') : longest() / original();
      const attention = yarnAttention(parameters, factor);
      return {
        type,
        factor,
        originalLength: original(),
        betaFast: parameters.positive('beta_fast', 32),
        betaSlow: parameters.positive('beta_slow', 1),
        // Transformers looks for `truncate` where there is one kind of positions for all layers only.
        truncate: fields.object('rope_parameters')?.flag('truncate', true) ?? parameters.flag('truncate', true),
        ...(attention === null ? {} : { attentionFactor: attention }),
      };
    }
    default:
      fields.refuse(`rotary positions of type ${type}`);
      return null;
  }
}

/** The factor that `attention_factor`, or `mscale` and `mscale_all_dim`, name; null leaves it to the scaling factor. */
function yarnAttention(parameters: Fields, factor: number): number | null {
  if (parameters.has('attention_factor')) return parameters.positive('attention_factor');
  const [own, all] = [parameters.number('mscale', 0), parameters.number('mscale_all_dim', 0)];
  if (own === 0 || all === 0) return null;
  const of = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  return of(own) / of(all);
}

/** The model fields of rotary positions; `headDim` is the head width. */
export function ropeFields(rope: HfRope, headDim: number): Pick<ModelConfig, 'ropeTheta' | 'ropeScaling' | 'ropeDim'> {
  return { ropeTheta: rope.theta, ropeScaling: rope.scaling, ropeDim: Math.floor(headDim * rope.fraction) };
}

/** `rope_parameters` of both kinds. */
export function writeRopes(config: ModelConfig): Record<string, unknown> {
  const full = { theta: config.ropeTheta, scaling: config.ropeScaling };
  return {
    full_attention: writeRope(config, full),
    sliding_attention: writeRope(config, config.localRope ?? full),
  };
}

/**
 * `max_position_embeddings` of a model: `dynamic` scaling begins there; else what the model was trained for is not
 * known.
 */
export function longestOf({ ropeScaling: scaling }: ModelConfig): number {
  return scaling === null || scaling.type === 'linear' ? DEFAULT_LONGEST : scaling.originalLength;
}

/** `rope_parameters` of a model's rotary positions. */
export function writeRope({ headDim, ropeDim }: ModelConfig, { theta, scaling }: LocalRope): Record<string, unknown> {
  const partial = ropeDim === headDim ? {} : { partial_rotary_factor: ropeDim / headDim };
  const base = { rope_theta: theta, ...partial };
  switch (scaling?.type) {
    case undefined:
      return { rope_type: 'default', ...base };
    case 'linear':
    case 'dynamic':
      return { rope_type: scaling.type, factor: scaling.factor, ...base };
    case 'llama3':
      return {
        rope_type: 'llama3',
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalLength,
        ...base,
      };
    case 'yarn':
      return {
        rope_type: 'yarn',
        factor: scaling.factor,
        original_max_position_embeddings: scaling.originalLength,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        truncate: scaling.truncate,
        ...(scaling.attentionFactor === undefined ? {} : { attention_factor: scaling.attentionFactor }),
        ...base,
      };
  }
}
