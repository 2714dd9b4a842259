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

/** What a class takes where `config.json` does not say. */
export interface RopeDefaults {
  /** The base of the rotary frequencies. */
  readonly theta?: number;
  /** The share of each head's channels that turns; null (the default) for classes that always turn all of them. */
  readonly fraction?: number | null;
  /** `rope_parameters` where they are null or missing. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** Whether a `partial_rotary_factor` beside `rope_parameters` is passed over. */
  readonly fixedFraction?: boolean;
}

/** Names of layer types under which classes of several kinds of positions nest them. */
const NESTED = ['full_attention', 'sliding_attention', 'linear_attention', 'chunked_attention'];

/** `rope_scaling` of older versions where it says anything, else `rope_parameters`. */
export function ropeParameters(fields: Fields): Fields | null {
  const [old, own] = [fields.object('rope_scaling'), fields.object('rope_parameters')];
  return old !== null && Object.keys(old.values).length > 0 ? old : own;
}

/** The rotary positions of a model whose layers all have the same. */
export function readRope(fields: Fields, defaults: RopeDefaults = {}): HfRope {
  const standing = defaults.parameters === undefined ? null : fields.inner('rope_parameters', defaults.parameters);
  const parameters = ropeParameters(fields) ?? standing;
  for (const kind of NESTED)
    if (parameters?.states(kind) === true) fields.refuse(`rope_parameters by layer type (${kind})`);
  return ropeOf(fields, { parameters, outer: parameters, topOriginal: true }, 'rope_theta', defaults);
}

/**
 * The rotary positions of models that have one kind for windows and one for full attention. Before Transformers 5,
 * `rope_scaling` was that of full attention alone; it is put over what `rope_parameters` says.
 *
 * @param defaultTheta the bases where the file names none
 * @param windowBase the field of the base of windows in older files; null if there was none
 * @param standing `rope_parameters` where they are null or missing
 * @param fullBase the field of the base of full attention beside `rope_parameters`; null if the class takes none
 * @param fraction the share of channels that turns where a kind names no `partial_rotary_factor`; null if none counts
 */
export function readRopes(
  fields: Fields,
  defaultTheta: Readonly<Record<RopeKind, number>>,
  windowBase: string | null,
  standing: Readonly<Record<RopeKind, Readonly<Record<string, unknown>> | null>> | null = null,
  fullBase: string | null = 'rope_theta',
  fraction: number | null = null,
): Record<RopeKind, HfRope> {
  const given = fields.object('rope_parameters');
  const outer = given ?? (standing === null ? null : fields.inner('rope_parameters', standing));
  const old = fields.object('rope_scaling');
  const of = (kind: RopeKind, base: string | null): HfRope => {
    const own = outer?.object(kind) ?? null;
    const over = kind === 'full_attention' ? old : null;
    if (over !== null && outer !== null && own === null)
      fields.refuse('rope_scaling beside rope_parameters without full_attention');
    // What older files call "type" counts only where nothing is called "rope_type".
    const plain = outer === null ? fields.inner('rope_parameters', { rope_type: 'default' }) : null;
    const parameters = over === null ? own : (own ?? plain ?? over).over(over);
    // Transformers puts a share beside them into the positions of all kinds once one kind is of another type.
    if (
      fraction !== null &&
      parameters !== null &&
      ropeTypeOf(parameters) !== 'default' &&
      fields.has('partial_rotary_factor')
    )
      fields.refuse(`partial_rotary_factor beside positions of type ${ropeTypeOf(parameters)}`);
    // Positions of other types than the class's own turn all channels where they do not say.
    const share = parameters !== null && ropeTypeOf(parameters) !== 'default' && fraction !== null ? 1 : fraction;
    const defaults = { theta: defaultTheta[kind], ...(share === null ? {} : { fraction: share, fixedFraction: true }) };
    return ropeOf(fields, { parameters, outer, topOriginal: false }, base, defaults);
  };
  return { full_attention: of('full_attention', fullBase), sliding_attention: of('sliding_attention', windowBase) };
}

/** Refuses positions of a kind of layer that do not say all that such a class asks for, and those of older versions. */
export function requireRopes(fields: Fields, types: readonly string[]): void {
  const old = fields.object('rope_scaling');
  if (old !== null && Object.keys(old.values).length > 0) fields.refuse('rope_scaling beside positions by layer type');
  const given = fields.object('rope_parameters');
  if (given === null) return;
  for (const kind of ['full_attention', 'sliding_attention']) {
    if (!types.includes(kind)) continue;
    const own = given.object(kind);
    if (own?.has('rope_theta') !== true) fields.refuse(`rope_parameters without a rope_theta of ${kind}`);
  }
}

/** Model fields of both kinds, and the flag that window layers take in patterns. */
export function ropesFields(
  { full_attention: full, sliding_attention: sliding }: Readonly<Record<RopeKind, HfRope>>,
  headDim: number,
): { fields: Partial<ModelConfig>; sliding: 'rope' | 'local' } {
  const [ours, theirs] = [ropeFields(full, headDim), ropeFields(sliding, headDim)];
  if (JSON.stringify(ours) === JSON.stringify(theirs)) return { fields: ours, sliding: 'rope' };
  const own = theirs.ropeDim === ours.ropeDim ? {} : { ropeDim: theirs.ropeDim };
  const localRope = { theta: theirs.ropeTheta, scaling: theirs.ropeScaling, ...own };
  return { fields: { ...ours, localRope }, sliding: 'local' };
}

/** Where the settings of one kind of positions stand. */
interface RopePlaces {
  readonly parameters: Fields | null;
  /** The object that holds `truncate`: `rope_parameters` itself, not one of a layer type within. */
  readonly outer: Fields | null;
  /** Whether `original_max_position_embeddings` beside `rope_parameters` comes before that within. */
  readonly topOriginal: boolean;
}

function ropeOf(fields: Fields, places: RopePlaces, base: string | null, defaults: RopeDefaults): HfRope {
  const { theta: byClass = 10_000, fraction: fractionByClass = null, fixedFraction = false } = defaults;
  const { parameters } = places;
  const theta =
    parameters?.states('rope_theta') === true
      ? parameters.positive('rope_theta')
      : base !== null && fields.states(base)
        ? fields.positive(base)
        : byClass;
  const proportional = parameters !== null && ropeTypeOf(parameters) === 'proportional';
  const stated =
    proportional && parameters.states('partial_rotary_factor')
      ? parameters.number('partial_rotary_factor', 1)
      : fractionOf(fields, parameters, fractionByClass ?? 1, fixedFraction);
  // These positions take the share for themselves, and turn all channels.
  const share = proportional && fractionByClass === null ? 1 : stated;
  // By these such classes turn channels of whole heads, where we turn those of the share alone.
  if (share < 1 && proportional)
    fields.refuse(`rotary positions of type proportional beside a partial_rotary_factor of ${share}`);
  if (fractionByClass === null && share !== 1) fields.refuse(`partial_rotary_factor ${share}`);
  const scaling = parameters === null ? null : scalingOf(fields, parameters, places, stated);
  return { theta, fraction: share, scaling };
}

/** The share of channels that turns: of the positions themselves, beside them (null is all), or by the class. */
function fractionOf(fields: Fields, parameters: Fields | null, byClass: number, fixed: boolean): number {
  const name = 'partial_rotary_factor';
  if (parameters?.has(name) === true) return parameters.positive(name);
  const beside = fields.value(name);
  if (fixed || beside === undefined) return byClass;
  return beside === null ? 1 : fields.positive(name);
}

/** The type of scaled positions; what older files call "type" counts where nothing is called "rope_type". */
export const ropeTypeOf = (parameters: Fields): string =>
  parameters.text('rope_type', parameters.text('type', 'default'));

function scalingOf(
  fields: Fields,
  parameters: Fields,
  { outer, topOriginal }: RopePlaces,
  share: number,
): RopeScaling | null {
  const type = ropeTypeOf(parameters);
  const longest = () => fields.count('max_position_embeddings');
  const original = () => {
    const name = 'original_max_position_embeddings';
    if (topOriginal && fields.value(name) !== undefined) return fields.count(name);
    return parameters.states(name) ? parameters.count(name) : longest();
  };
  const nonzero = (name: string, otherwise: number) =>
    parameters.has(name) && parameters.number(name) !== 0 ? parameters.positive(name) : otherwise;
  switch (type) {
    case 'default':
      return null;
    case 'linear':
      return { type, factor: parameters.positive('factor') };
    case 'proportional':
      return { type, share, factor: parameters.positive('factor', 1) };
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
    case 'longrope': {
      const [short, long] = [
        parameters.list<number>('short_factor', 'number'),
        parameters.list<number>('long_factor', 'number'),
      ];
      if (short.length === 0 || long.length === 0) {
        fields.refuse(
          `rotary positions of type longrope without ${short.length === 0 ? 'short_factor' : 'long_factor'}`,
        );
        return null;
      }
      return {
        type,
        short,
        long,
        factor: parameters.has('factor') ? parameters.positive('factor') : longest() / original(),
        originalLength: original(),
        ...(parameters.has('attention_factor') ? { attentionFactor: parameters.positive('attention_factor') } : {}),
      };
    }
    case 'yarn': {
      const unstated = parameters.states('factor') && !parameters.has('factor');
      const factor = unstated ? longest() / original() : parameters.positive('factor');
      const attention = yarnAttention(parameters, factor);
      return {
        type,
        factor,
        originalLength: original(),
        betaFast: nonzero('beta_fast', 32),
        betaSlow: nonzero('beta_slow', 1),
        // Null is false here, and missing is true.
        truncate: outer?.states('truncate') === true ? outer.has('truncate') && outer.flag('truncate') : true,
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
  const of0 = (name: string) => (parameters.has(name) ? parameters.number(name) : 0);
  const [own, all] = [of0('mscale'), of0('mscale_all_dim')];
  if (own === 0 || all === 0) return null;
  const of = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  return of(own) / of(all);
}

/** The model fields of rotary positions; `headDim` is the head width. */
export function ropeFields(rope: HfRope, headDim: number): Pick<ModelConfig, 'ropeTheta' | 'ropeScaling' | 'ropeDim'> {
  return { ropeTheta: rope.theta, ropeScaling: rope.scaling, ropeDim: Math.floor(headDim * rope.fraction) };
}

/** `rope_parameters` of both kinds. */
export function writeRopes(config: ModelConfig): Record<RopeKind, Record<string, unknown>> {
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
export function longestOf({ ropeScaling, localRope }: ModelConfig): number {
  const scaling = localRope?.scaling?.type === 'dynamic' ? localRope.scaling : ropeScaling;
  if (scaling?.type === 'longrope') return Math.max(1, Math.round(scaling.factor * scaling.originalLength));
  return scaling !== null && 'originalLength' in scaling ? scaling.originalLength : DEFAULT_LONGEST;
}

/** The share of a head's channels that gives `dim` of them again where readers round the product down. */
export function shareOfChannels(dim: number, headDim: number): number {
  const share = dim / headDim;
  return Math.floor(headDim * share) < dim ? share * (1 + Number.EPSILON) : share;
}

/** `rope_parameters` of a model's rotary positions. */
export function writeRope(config: ModelConfig, { theta, scaling, ropeDim: own }: LocalRope): Record<string, unknown> {
  const { headDim } = config;
  const ropeDim = own ?? config.ropeDim;
  const partial = ropeDim === headDim ? {} : { partial_rotary_factor: shareOfChannels(ropeDim, headDim) };
  // Fields of a type are written where they are not what readers take for missing ones.
  const base = { rope_theta: theta, ...partial };
  switch (scaling?.type) {
    case undefined:
      return { rope_type: 'default', ...base };
    case 'linear':
    case 'dynamic':
      return { rope_type: scaling.type, factor: scaling.factor, ...base };
    case 'proportional':
      return {
        rope_type: 'proportional',
        partial_rotary_factor: scaling.share,
        ...(scaling.factor === 1 ? {} : { factor: scaling.factor }),
        ...base,
      };
    case 'longrope':
      return {
        rope_type: 'longrope',
        short_factor: scaling.short,
        long_factor: scaling.long,
        factor: scaling.factor,
        original_max_position_embeddings: scaling.originalLength,
        ...(scaling.attentionFactor === undefined ? {} : { attention_factor: scaling.attentionFactor }),
        ...base,
      };
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
