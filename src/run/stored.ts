/** Values as files hold them, checked by the schema that also is their type. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { readJson, StoreError } from '../core/index.js';

/**
 * `value` as `schema` reads it.
 *
 * @param where the file, or file and line, for the message
 * @param remedy what to do about a damaged file, if there is more to say than that it is damaged
 * @throws StoreError naming the first place that is wrong
 */
export function parseStored<S extends z.ZodType>(schema: S, value: unknown, where: string, remedy = ''): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const at = result.error.issues[0]?.path.join('.');
  const what = at === '' ? 'the value' : at;
  throw new StoreError(`${where} does not hold what it should: ${what} is wrong or missing${remedy}`, {
    details: { where },
    cause: result.error,
  });
}

/**
 * Every file `PREFIXstep-N.json` of a folder as `schema` reads it, in order of steps; none if there is no folder.
 * Throws `StoreError`.
 */
export function readSteps<S extends z.ZodType<{ readonly step: number }>>(
  folder: string,
  prefix: string,
  schema: S,
  remedy = '',
): z.output<S>[] {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const own = names.filter((name) => name.startsWith(`${prefix}step-`) && name.endsWith('.json'));
  const all = own.map((name) => parseStored(schema, readJson(join(folder, name)), join(folder, name), remedy));
  return all.sort((a, b) => a.step - b.step);
}
