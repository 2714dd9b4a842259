/** The sections of recurrent mixers in a model's configuration, as users write them and resolved. */
import type { z } from 'zod';
import type { MixerModel, RecurrentDefinition } from './mixers/definition.js';
import { RECURRENT, RECURRENT_MIXERS, type RecurrentMixer, type SectionOf } from './mixers/table.js';
import { recurrentMixers, type LayerPlan } from './plan.js';

/** A section for each recurrent mixer that the model's layers use. */
export type RecurrentConfigs = { readonly [M in RecurrentMixer]?: SectionOf<M> };

type Definitions = typeof RECURRENT;
type Sections = { readonly [M in RecurrentMixer]?: z.output<Definitions[M]['schema']> | undefined };

/** Optional schemas of all sections, by mixer; sections of mixers that no layer uses are checked and left out. */
export const recurrentSections = Object.fromEntries(
  Object.entries(RECURRENT).map(([mixer, { schema, summary }]) => [mixer, schema.optional().describe(summary)]),
) as { readonly [M in RecurrentMixer]: z.ZodOptional<Definitions[M]['schema']> };

/**
 * The sections of the mixers that `layers` use, defaults filled in.
 *
 * @throws ConfigError if widths or head counts of a section, used or not, do not fit one another
 */
export function resolveRecurrent(
  sections: Sections,
  layers: readonly LayerPlan[],
  model: MixerModel,
  where: string,
): RecurrentConfigs {
  const used = new Set<string>(layers.flatMap((plan) => recurrentMixers(plan)));
  const entries = RECURRENT_MIXERS.flatMap((mixer) => {
    const given = sections[mixer];
    if (given === undefined && !used.has(mixer)) return [];
    const definition = RECURRENT[mixer] as unknown as RecurrentDefinition<z.ZodType, object>;
    const resolved = definition.resolve(given ?? definition.schema.parse({}), model, `${where}.${mixer}`);
    return used.has(mixer) ? [[mixer, resolved] as const] : [];
  });
  return Object.fromEntries(entries);
}
