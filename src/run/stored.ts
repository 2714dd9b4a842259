/** The files of a folder that are named after steps. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { parseStored, readJson } from '../core/index.js';

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
