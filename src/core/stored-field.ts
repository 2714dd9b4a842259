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

/** A file that Longsight writes into a folder, as docs/formats.md describes it. */
export interface FileFormat {
  /** Its path from the folder; words in capitals stand for names and numbers. */
  readonly path: string;
  /** What kind of file it is, such as `JSON`. */
  readonly type: string;
  /** What it holds, in a phrase. */
  readonly holds: string;
  /** Its fields, each with words (`field`); null for files without fields of our own. */
  readonly fields: z.ZodType | null;
  /** Fields at its top that stand on another page, and a sentence that links there. */
  readonly elsewhere?: { readonly fields: readonly string[]; readonly where: string };
  /** Columns of a table, or places of a file in bytes, with what they hold. */
  readonly parts?: { readonly head: readonly [string, string]; readonly rows: readonly (readonly [string, string])[] };
}
