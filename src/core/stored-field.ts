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

/** What stands in a field, in words; one for each member of a union. */
type Kind<T> = T extends readonly (infer E)[]
  ? `list of ${Kind<E>}`
  : T extends string
    ? 'text'
    : T extends number
      ? 'number'
      : T extends boolean
        ? 'true or false'
        : T extends null
          ? 'null'
          : T extends undefined
            ? never
            : 'keys and values';

/** Every field of a value by its path, with what stands in it; those of lists are those of what they hold. */
type FieldPath<T> = T extends readonly (infer E)[]
  ? FieldPath<E>
  : T extends object
    ? { [K in keyof T & string]-?: `${K}: ${Kind<T[K]>}` | `${K}.${FieldPath<T[K]>}` }[keyof T & string]
    : never;

/**
 * The fields of a value that a schema does not have, however deep, or has with other types, and those of the schema
 * that are not there: texts of path and type; `never` where there are none. Which may be left out is not compared.
 */
export type Undescribed<S extends z.ZodType, T> =
  Exclude<FieldPath<T>, FieldPath<z.output<S>>> | Exclude<FieldPath<z.output<S>>, FieldPath<T>>;

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
