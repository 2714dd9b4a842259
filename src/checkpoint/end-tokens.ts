/** Which tokens end a text, as a folder saved by Transformers says. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DataError, parseStored, readJson, showValue } from '../core/index.js';

const ends = { eos_token_id: z.unknown().optional() };
const endsSchema = z.looseObject({ ...ends, text_config: z.looseObject(ends).nullish() });

/**
 * `eos_token_id` of `generation_config.json`, else of `config.json` or its `text_config`: one id or several; empty if
 * none of them names any.
 *
 * @throws DataError if it is neither an id nor a list of ids
 */
export function endTokens(folder: string): number[] {
  for (const file of ['generation_config.json', 'config.json']) {
    const path = join(folder, file);
    if (!existsSync(path)) continue;
    const { eos_token_id: own, text_config: text } = parseStored(endsSchema, readJson(path), path);
    const value = own ?? text?.eos_token_id;
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
