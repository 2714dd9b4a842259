/** Rotary positions by kind of layer, of classes where a kind that is null has none. */
import { headGroups, type ModelConfig } from '../../../model/index.js';
import type { Fields } from './fields.js';
import { readRopes, ropesFields, writeRopes, type RopeKind } from './rotary.js';

const KINDS: readonly RopeKind[] = ['full_attention', 'sliding_attention'];

/** Kinds of layers that have rotary positions. */
function turningKinds(fields: Fields, given: Fields | null, types: readonly string[]): ReadonlySet<RopeKind> {
  if (fields.states('rope_scaling')) fields.refuse('rope_scaling, which its class does not take');
  const used = KINDS.filter((kind) => types.includes(kind));
  for (const kind of used) {
    if (given?.states(kind) !== true) fields.refuse(`rope_parameters without ${kind}`);
    else if (given.has(kind) && given.object(kind)?.has('rope_theta') !== true)
      fields.refuse(`rope_parameters without a rope_theta of ${kind}`);
  }
  return new Set(used.filter((kind) => given?.has(kind) === true));
}

/** Rotary positions of the two kinds of layers, as a model's fields and as flags of its pattern. */
interface KindRopes {
  readonly fields: Partial<ModelConfig>;
  /** What layers of a kind have behind their window. */
  readonly flag: (windowed: boolean) => 'rope' | 'local' | 'nope';
}

/**
 * The positions of the kinds of layers that `types` names; a kind that is null in the file has none.
 *
 * @param standing `rope_parameters` where they are null or missing
 */
export function readKinds(
  fields: Fields,
  types: readonly string[],
  headDim: number,
  standing: Readonly<Record<RopeKind, Readonly<Record<string, unknown>> | null>> | null = null,
): KindRopes {
  const own = fields.object('rope_parameters');
  const given = own ?? (standing === null ? null : fields.inner('rope_parameters', standing));
  const turning = turningKinds(fields, given, types);
  const both = readRopes(fields, { full_attention: 10_000, sliding_attention: 10_000 }, null, standing, null);
  // Where one kind has no positions, those of the other are the model's.
  const [only] = turning.size === 1 ? [...turning] : [];
  const ropes = ropesFields(
    only === undefined ? both : { full_attention: both[only], sliding_attention: both[only] },
    headDim,
  );
  return {
    fields: ropes.fields,
    flag: (windowed) => {
      if (!turning.has(windowed ? 'sliding_attention' : 'full_attention')) return 'nope';
      return windowed ? ropes.sliding : 'rope';
    },
  };
}

/** `rope_parameters` by kind of layer, null for a kind whose layers have no positions. */
export function writeKinds(config: ModelConfig): Record<string, unknown> {
  const groups = config.layers.flatMap((plan) => headGroups(plan).slice(0, 1));
  const still = (windowed: boolean) => {
    const own = groups.filter(({ window }) => (window !== null) === windowed);
    return own.length > 0 && own.every(({ rope }) => rope === false);
  };
  const ropes = writeRopes(config);
  return {
    full_attention: still(false) ? null : ropes['full_attention'],
    sliding_attention: still(true) ? null : ropes['sliding_attention'],
  };
}
