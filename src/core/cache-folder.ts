/** Where what can be made again is kept. */
import { isAbsolute, join, resolve } from 'node:path';
import { homeFolder } from './trust.js';

/**
 * Our cache folder: `LONGSIGHT_CACHE`, else `XDG_CACHE_HOME/longsight`, else `~/.cache/longsight`. An empty variable
 * counts as none, and so does a relative `XDG_CACHE_HOME`.
 */
export function cacheFolder(env: Readonly<Record<string, string | undefined>>): string {
  const [own, shared] = [env['LONGSIGHT_CACHE'] ?? '', env['XDG_CACHE_HOME'] ?? ''];
  if (own !== '') return resolve(own);
  return join(isAbsolute(shared) ? shared : join(homeFolder(env), '.cache'), 'longsight');
}
