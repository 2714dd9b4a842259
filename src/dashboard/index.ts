/** The dashboard: run and study folders, live, in a browser. */
import type { WrittenSite } from './site.js';

export { serveDashboard, type DashboardOptions, type ServedDashboard } from './server.js';
export { servePlayground, writePlayground, type ServedPlayground, type WrittenPlayground } from './playground.js';
export type { WrittenSite } from './site.js';

/**
 * Writes the dashboard of a run or study folder as a static site.
 *
 * @param out a folder that is missing or empty, or holds such a site, which is written over
 * @throws ConfigError where `out` holds other things
 * @throws StoreError where the folder cannot be read, or the disk does not take the site
 */
export async function writeSite(folder: string, out: string): Promise<WrittenSite> {
  // What draws figures is loaded where figures are drawn: a server begins without it.
  return (await import('./site.js')).writeSite(folder, out);
}
