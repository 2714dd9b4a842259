/** Fields of files that Longsight writes, described where they are defined: docs/formats.md is read off the schemas. */
import type { z } from 'zod';

/**
 * A field of a stored file with its meaning.
 *
 * @param meaning what it holds, in a phrase that stands alone
 * @param unit its unit, such as `tokens`; left out where it has none
 */
export function field<S extends z.ZodType>(schema: S, meaning: string, unit?: string): S {
  return schema.meta({ description: meaning, ...(unit === undefined ? {} : { unit }) });
}
