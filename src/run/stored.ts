/** The files of a folder that are named after steps. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { parseStored, readJson } from '../core/index.js';

/** Fields of records by the names that earlier builds wrote, which readers go on to know. */
const FORMER_NAMES: ReadonlyMap<string, string> = new Map([
  ['normalised', 'normalized'],
  ['normalisedVisible', 'normalizedVisible'],
]);

/** A record with its fields under the names of now. */
function withNamesOfNow(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withNamesOfNow);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, inner]) => [FORMER_NAMES.get(name) ?? name, withNamesOfNow(inner)]);
  return Object.fromEntries(entries) as unknown;
}

/**
 * Every file `PREFIXstep-N.json` of a folder as `schema` reads it, in order of steps; none if there is no folder.
 * Fields that earlier builds named otherwise have the names of now. Throws `StoreError`.
 */
export function readSteps<S extends z.ZodType<{ readonly step: number }>>(
  folder: string,
  prefix: string,
  schema: S,
  remedy = '',
): z.output<S>[] {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const own = names.filter((name) => name.startsWith(`${prefix}step-`) && name.endsWith('.json'));
  const all = own.map((name) =>
    parseStored(schema, withNamesOfNow(readJson(join(folder, name))), join(folder, name), remedy),
  );
  return all.sort((a, b) => a.step - b.step);
}
