/** The sections of mixers in a model's configuration, as users write them and resolved. */
import type { z } from 'zod';
import type { MixerModel, RecurrentDefinition } from './mixers/definition.js';
import { SECTIONS, SECTION_NAMES, type SectionName, type SectionOf } from './mixers/table.js';
import { sectionsOf, type LayerPlan } from './plan.js';

/** A section for each mixer with settings of its own that the model's layers use. */
export type RecurrentConfigs = { readonly [M in SectionName]?: SectionOf<M> };

type Definitions = typeof SECTIONS;
type Sections = { readonly [M in SectionName]?: z.output<Definitions[M]['schema']> | undefined };

/** Optional schemas of all sections, by mixer; sections of mixers that no layer uses are checked and left out. */
export const recurrentSections = Object.fromEntries(
  Object.entries(SECTIONS).map(([mixer, { schema, summary }]) => [mixer, schema.optional().describe(summary)]),
) as { readonly [M in SectionName]: z.ZodOptional<Definitions[M]['schema']> };

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
  const used = new Set<string>(layers.flatMap((plan) => sectionsOf(plan)));
  const entries = SECTION_NAMES.flatMap((mixer) => {
    const given = sections[mixer];
    if (given === undefined && !used.has(mixer)) return [];
    const definition = SECTIONS[mixer] as unknown as Pick<RecurrentDefinition<z.ZodType, object>, 'schema' | 'resolve'>;
    const resolved = definition.resolve(given ?? definition.schema.parse({}), model, `${where}.${mixer}`);
    return used.has(mixer) ? [[mixer, resolved] as const] : [];
  });
  return Object.fromEntries(entries);
}
