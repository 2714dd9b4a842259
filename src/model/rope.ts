/**
 * Rotary positions of a head group: how far each pair of channels turns per position, and the factor on its scores.
 *
 * The first `ropeDim / 2` channels of each half of a head turn, the others stay: models that turn the first `ropeDim`
 * channels are the same up to a permutation of the channels of queries and keys.
 */
import { at, ConfigError, fitsFloat32, LIMITS, maxOf } from '../core/index.js';
import { rotaryFrequencies } from '../graph/index.js';
import type { MlaConfig } from './mixers/mla.js';
import { headGroups, type HeadGroup, type LayerPlan } from './plan.js';
import type { LocalRope, RopeScaling } from './schema.js';

/** The rotary positions of a head group, and the factor on its attention scores. */
export interface GroupRotary {
  /** Radians that one position adds to channel pair m, `[headDim / 2]`; null without rotary positions. */
  readonly frequencies: readonly number[] | null;
  /** The factor on the scores `q k`. */
  readonly scoreScale: number;
  /**
   * Factors on the channels of turned queries, `[headDim]`, where positions scale the channels that turn and others do
   * not; they stand for those on queries and on keys. Null for none.
   */
  readonly queryFactors: readonly number[] | null;
}

/** What rotary positions depend on in a model's configuration. */
export interface RopeFields {
  readonly headDim: number;
  readonly ropeDim: number;
  /** The base of the rotary frequencies. */
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  readonly localRope: LocalRope | null;
  /** The factor on the scores `q k`; `width` for `1 / headDim`, null for `1 / sqrt(headDim)`. */
  readonly attentionScale: number | 'width' | null;
  /** The widths of latent attention, where the model has such layers. */
  readonly mla?: Pick<MlaConfig, 'nopeDim' | 'ropeDim'> | undefined;
}

/** What a head group says of its positions. */
type Positions = Pick<HeadGroup, 'rope' | 'ropeShare' | 'ropeTheta'>;

/**
 * The rotary positions of a head group on sequences of `seqLen` tokens, of which only `dynamic` and `longrope` scaling
 * take notice.
 */
export function groupRotary(config: RopeFields, group: Positions, seqLen: number): GroupRotary {
  const plain = plainScale(config.attentionScale, config.headDim);
  if (group.rope === false) return { frequencies: null, scoreScale: plain, queryFactors: null };
  const { theta, scaling, ropeDim } = ropeOf(config, group);
  const turning = scaledFrequencies(ropeDim, theta, scaling, seqLen);
  const still = Array.from({ length: (config.headDim - ropeDim) / 2 }, () => 0);
  const frequencies = [...turning, ...still];
  const factor = attentionFactor(scaling) ** 2;
  if (still.length === 0 || factor === 1) return { frequencies, scoreScale: plain * factor, queryFactors: null };
  const half = [...turning.map(() => factor), ...still.map(() => 1)];
  return { frequencies, scoreScale: plain, queryFactors: [...half, ...half] };
}

/** The factor on the scores of heads of so many channels, without what positions add to it. */
export function plainScale(attentionScale: RopeFields['attentionScale'], channels: number): number {
  return attentionScale === 'width' ? 1 / channels : (attentionScale ?? 1 / Math.sqrt(channels));
}

/** The rotary positions of latent attention: of its rotary channels alone. */
export interface LatentRotary extends Omit<GroupRotary, 'queryFactors'> {
  /** The factor on the rotary channels of queries, which stands for one on those of queries and of keys. */
  readonly queryFactor: number;
}

/** The fields of positions of latent attention: its `ropeDim` rotary channels are a head of their own and all turn. */
export function latentFields<F extends RopeFields>(config: F, ropeDim: number): F {
  const { localRope: local } = config;
  const localRope = local === null ? null : { theta: local.theta, scaling: local.scaling };
  return { ...config, headDim: ropeDim, ropeDim, localRope };
}

/** The rotary positions of latent attention on sequences of `seqLen` tokens; YaRN's factor is on turned channels. */
export function latentRotary(
  config: RopeFields,
  { nopeDim, ropeDim }: Pick<MlaConfig, 'nopeDim' | 'ropeDim'>,
  group: Positions,
  seqLen: number,
): LatentRotary {
  const { frequencies } = groupRotary(latentFields(config, ropeDim), group, seqLen);
  const scoreScale = plainScale(config.attentionScale, nopeDim + ropeDim);
  const queryFactor = group.rope === false ? 1 : attentionFactor(ropeOf(config, group).scaling) ** 2;
  return { frequencies, scoreScale, queryFactor };
}

/**
 * Throws `ConfigError` if positions of up to `maxLength` tokens depend on how many there are, so that keys cannot be
 * kept.
 */
export function checkCached(config: RopeFields, plan: LayerPlan, maxLength: number): void {
  for (const group of headGroups(plan)) {
    const scaling = group.rope === false ? null : ropeOf(config, group).scaling;
    if (!byLength(scaling) || maxLength <= scaling.originalLength) continue;
    const when = scaling.type === 'dynamic' ? 'with every token' : 'once';
    throw new ConfigError(
      `rotary positions scaled as ${scaling.type} change all keys ${when} beyond ${scaling.originalLength}, so that a cache of ` +
        `${maxLength} tokens cannot keep them; generate up to ${scaling.originalLength} tokens`,
      { details: { maxLength, scaling } },
    );
  }
}

/** The fields of positions of one layer, whose heads may have a width of their own. */
export function layerFields<F extends RopeFields>(config: F, plan: LayerPlan): F {
  return plan.mixer !== 'attention' || plan.headDim === undefined ? config : { ...config, headDim: plan.headDim };
}

/** The factor on the scores of every query head of an attention layer, in order. */
export function scoreScales(config: RopeFields, plan: LayerPlan, seqLen: number): readonly number[] {
  return headGroups(plan).flatMap((group) => {
    const { scoreScale } =
      plan.mixer === 'mla' && config.mla !== undefined
        ? latentRotary(config, config.mla, group, seqLen)
        : groupRotary(layerFields(config, plan), group, seqLen);
    return Array.from({ length: group.heads }, () => scoreScale);
  });
}

/** Throws `ConfigError` where the rotary fields do not fit one another. */
export function checkRope(config: RopeFields, layers: readonly LayerPlan[], where: string): void {
  const widths = new Map<number, LayerPlan[]>();
  for (const plan of layers) {
    const { headDim } = layerFields(config, plan);
    widths.set(headDim, [...(widths.get(headDim) ?? []), plan]);
  }
  for (const [headDim, own] of widths) checkWidth({ ...config, headDim }, own, headDim === config.headDim, where);
}

/** The same for layers whose heads are of one width; `all` if it is the model's, which its fields must fit anyway. */
function checkWidth(config: RopeFields, layers: readonly LayerPlan[], all: boolean, where: string): void {
  // Every kind of positions that some layer has is checked once, those that no layer has never.
  const { headDim } = config;
  const fail = (what: string, details: object): never => {
    throw new ConfigError(`${where}: ${what}`, { details: { ...details } });
  };
  if (headDim % 2 !== 0) {
    fail(
      `headDim ${headDim} is odd, but rotary positions turn pairs of channels; use an even headDim or :nope layers`,
      { headDim },
    );
  }
  const fitting = (dim: number, name: string) => {
    if (dim % 2 === 0 && dim <= headDim) return;
    fail(`${name} ${dim} must be even and at most headDim ${headDim}`, { headDim, [name]: dim });
  };
  const groups = layers.flatMap(headGroups).filter(({ rope }) => rope !== false);
  const has = (kind: HeadGroup['rope']) => groups.some(({ rope }) => rope === kind);
  const own = config.localRope?.ropeDim;
  if (all || has(true) || own === undefined) fitting(config.ropeDim, 'ropeDim');
  if (own !== undefined && (all || has('local'))) fitting(own, 'localRope.ropeDim');
  if (has('local') && config.localRope === null) fail(':local layers need localRope', {});
  const kinds = new Map(groups.map((group) => [JSON.stringify([group.rope, group.ropeShare, group.ropeTheta]), group]));
  for (const group of kinds.values()) {
    const { theta, scaling, ropeDim } = ropeOf(config, group);
    if (group.ropeShare !== undefined && (!Number.isInteger(ropeDim) || ropeDim % 2 !== 0)) {
      fail(
        `rope=${group.ropeShare} would turn ${ropeDim} of the ${headDim} channels of a head, and pairs of them turn; choose a share ` +
          'that makes an even number of them',
        { headDim, ropeShare: group.ropeShare },
      );
    }
    if (scaling?.type === 'dynamic' && ropeDim <= 2) fail(`dynamic ropeScaling needs a ropeDim above 2`, { ropeDim });
    if (scaling?.type === 'llama3' && scaling.highFrequencyFactor <= scaling.lowFrequencyFactor) {
      fail('highFrequencyFactor of llama3 ropeScaling must be above lowFrequencyFactor', { scaling });
    }
    if (scaling?.type === 'yarn' && theta === 1) fail('yarn ropeScaling needs a ropeTheta above 1', {});
    if (scaling?.type === 'longrope') {
      const wrong = (['short', 'long'] as const).find((name) => scaling[name].length !== ropeDim / 2);
      if (wrong !== undefined)
        fail(`longrope ropeScaling needs ${ropeDim / 2} factors in ${wrong}, one for each pair of ropeDim ${ropeDim}`, {
          ropeDim,
        });
      if (scaling.originalLength === 1) fail('longrope ropeScaling needs an originalLength above 1', {});
    }
    checkRotation(groupRotary(config, group, 1), fail);
  }
}

/** Calls `fail` where scores or angles leave float32, in which models compute. */
function checkRotation({ frequencies, scoreScale }: GroupRotary, fail: (what: string, details: object) => never): void {
  const fastest = maxOf(frequencies ?? [0]);
  if (!fitsFloat32(scoreScale)) {
    fail(`scores times ${scoreScale} are beyond float32; choose an attentionFactor near 1`, { scoreScale });
  }
  // Positions go up to the longest sequence that any configuration may have.
  if (!fitsFloat32(fastest * LIMITS.tokens.most)) {
    fail(
      `rotary positions turn by ${fastest} radians a token, which float32 cannot count; choose another factor of ropeScaling`,
      { fastest },
    );
  }
}

/** Base, scaling and turning channels of the rotary positions of a head group: its own, else those of its kind. */
function ropeOf(
  { ropeTheta, ropeScaling, localRope, ropeDim, headDim }: RopeFields,
  group: Positions,
): { theta: number; scaling: RopeScaling | null; ropeDim: number } {
  const local = group.rope === 'local' ? localRope : null;
  const { theta, scaling } = local ?? { theta: ropeTheta, scaling: ropeScaling };
  return {
    theta: group.ropeTheta ?? theta,
    scaling,
    ropeDim: group.ropeShare === undefined ? (local?.ropeDim ?? ropeDim) : group.ropeShare * headDim,
  };
}

/** Whether positions depend on how many tokens a sequence has. */
const byLength = (scaling: RopeScaling | null): scaling is Extract<RopeScaling, { type: 'dynamic' | 'longrope' }> =>
  scaling?.type === 'dynamic' || (scaling?.type === 'longrope' && scaling.short.some((f, m) => f !== scaling.long[m]));

/**
 * Throws `ConfigError` where rows of `tokens` tokens hold several documents and positions depend on the length of each.
 */
export function checkPacked(config: RopeFields, groups: readonly Positions[], tokens: number): void {
  for (const group of groups) {
    const scaling = group.rope === false ? null : ropeOf(config, group).scaling;
    if (!byLength(scaling) || tokens <= scaling.originalLength) continue;
    throw new ConfigError(
      `rotary positions scaled as ${scaling.type} depend on the length of a document beyond ${scaling.originalLength} tokens, and ` +
        `rows of ${tokens} tokens hold several documents; use rows of up to ${scaling.originalLength} tokens, or one document a row`,
      { details: { tokens, scaling } },
    );
  }
}

function attentionFactor(scaling: RopeScaling | null): number {
  if (scaling?.type === 'longrope') {
    const { factor, originalLength } = scaling;
    return scaling.attentionFactor ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalLength)));
  }
  if (scaling?.type !== 'yarn') return 1;
  return scaling.attentionFactor ?? (scaling.factor <= 1 ? 1 : 0.1 * Math.log(scaling.factor) + 1);
}

function scaledFrequencies(dim: number, theta: number, scaling: RopeScaling | null, seqLen: number): number[] {
  const plain = rotaryFrequencies(dim, theta);
  switch (scaling?.type) {
    case undefined:
      return plain;
    case 'linear':
      return plain.map((f) => f / scaling.factor);
    case 'longrope': {
      const factors = seqLen > scaling.originalLength ? scaling.long : scaling.short;
      return plain.map((f, m) => f / at(factors, m));
    }
    case 'proportional': {
      const turning = Math.floor((scaling.share * dim) / 2);
      return plain.map((f, m) => (m < turning ? f / scaling.factor : 0));
    }
    case 'dynamic': {
      const { factor, originalLength } = scaling;
      const growth = (factor * Math.max(seqLen, originalLength)) / originalLength - (factor - 1);
      return rotaryFrequencies(dim, theta * growth ** (dim / (dim - 2)));
    }
    case 'yarn': {
      const [low, high] = yarnRamp(dim, theta, scaling);
      return plain.map((f, m) => {
        const stretched = Math.min(1, Math.max(0, (m - low) / (high - low)));
        return (f / scaling.factor) * stretched + f * (1 - stretched);
      });
    }
    case 'llama3': {
      const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalLength } = scaling;
      return plain.map((f) => {
        const turns = (originalLength * f) / (2 * Math.PI);
        const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
        return (f / factor) * (1 - kept) + f * kept;
      });
    }
  }
}

/** The channel pairs between which YaRN goes from kept to stretched wavelengths. */
function yarnRamp(dim: number, theta: number, scaling: Extract<RopeScaling, { type: 'yarn' }>): [number, number] {
  const { originalLength, betaFast, betaSlow, truncate } = scaling;
  const pairOf = (turns: number) => (dim * Math.log(originalLength / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [from, to] = [pairOf(betaFast), pairOf(betaSlow)];
  const low = Math.max(0, truncate ? Math.floor(from) : from);
  const high = Math.min(dim - 1, truncate ? Math.ceil(to) : to);
  return [low, low === high ? high + 0.001 : high];
}
