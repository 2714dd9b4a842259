/** Which tokens end a text, as a folder saved by Transformers says. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DataError, parseStored, readJson, showValue } from '../core/index.js';

const endsSchema = z.looseObject({ eos_token_id: z.unknown() });

/**
 * `eos_token_id` of `generation_config.json`, else of `config.json`: one id or several; empty if neither names any.
 *
 * @throws DataError if it is neither an id nor a list of ids
 */
export function endTokens(folder: string): number[] {
  for (const file of ['generation_config.json', 'config.json']) {
    const path = join(folder, file);
    if (!existsSync(path)) continue;
    const { eos_token_id: value } = parseStored(endsSchema, readJson(path), path);
    if (value === undefined || value === null) continue;
    const ids: unknown[] = Array.isArray(value) ? value : [value];
    if (!ids.every((id): id is number => Number.isInteger(id) && (id as number) >= 0)) {
      throw new DataError(`${path}: eos_token_id must be a token id or a list of ids, got ${showValue(value)}`, {
        details: { path },
      });
    }
    return ids;
  }
  return [];
}
