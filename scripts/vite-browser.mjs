/**
 * A Vite plugin: in programs for browsers a module `NAME.browser.ts` stands in place of `NAME.ts` beside it, except where it
 * asks for that one itself.
 */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** The plugin, for `plugins` and `worker.plugins` of a Vite configuration. */
export function browserModules() {
  return {
    name: 'longsight-browser-modules',
    enforce: 'pre',
    resolveId(source, importer) {
      if (importer === undefined || !/^\.{1,2}\/.*\.js$/.test(source)) return null;
      const wanted = resolve(dirname(importer), source).replace(/\.js$/, '');
      const own = `${wanted}.browser.ts`;
      if (existsSync(own) && importer !== own) return own;
      return existsSync(`${wanted}.ts`) ? `${wanted}.ts` : null;
    },
  };
}
