/** Which tokens end a text, as a folder saved by Transformers says. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, readJson, showValue } from '../core/index.js';

/**
 * `eos_token_id` of `generation_config.json`, else of `config.json`: one id or several; empty if neither names any.
 *
 * @throws DataError if it is neither an id nor a list of ids
 */
export function endTokens(folder: string): number[] {
  for (const file of ['generation_config.json', 'config.json']) {
    const path = join(folder, file);
    if (!existsSync(path)) continue;
    const value = (readJson(path) as { eos_token_id?: unknown }).eos_token_id;
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
