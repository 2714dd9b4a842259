/**
 * The dashboard as files: the page, its program, and everything that it would ask a server for. It opens from a folder
 * or any web server.
 */
import { join } from 'node:path';
import { ConfigError, makeFolder, maxOf, minOf, namesIn, writeFileAtomic } from '../core/index.js';
import { metricTitles } from '../lab/index.js';
import { isRunFolder } from '../run/index.js';
import type { ColumnData } from './columns.js';
import { pointsIn } from './columns.js';
import { openRoots } from './folders.js';
import { Hub } from './hub.js';
import { pageShell, readPageFiles } from './page.js';
import { drawFigures } from './study-figures.js';

/** The most numbers of curves on a site, at about 8 bytes each. */
const MOST_NUMBERS = 12_000_000;
/** Lists of a column: three places, three values. */
const LISTS = 6;
const READ_MS = 3_600_000;

/** What was written. */
export interface WrittenSite {
  /** The page. */
  readonly index: string;
  /** How many runs it holds. */
  readonly runs: number;
  /** Bytes of all files. */
  readonly bytes: number;
}

/**
 * Writes the dashboard of a run or study folder as a static site.
 *
 * @param out a folder that is missing or empty, or holds such a site, which is written over
 * @throws ConfigError where `out` holds other things
 * @throws StoreError where the folder cannot be read, or the disk does not take the site
 */
export async function writeSite(folder: string, out: string): Promise<WrittenSite> {
  checkOut(out);
  const roots = openRoots([folder]);
  const page = readPageFiles();
  const hub = new Hub(roots, null, false);
  try {
    await hub.open();
    const { ids } = hub.catalog;
    await hub.store.settle(ids, READ_MS);
    await hub.look();
    const text = `window.LONGSIGHT_SITE = ${scriptJson(await siteData(hub))};\n`;
    const shell = pageShell('Longsight', { styles: ['app.css'], scripts: ['data.js', 'app.js'] });
    makeFolder(out);
    const files = { 'app.js': page['app.js'], 'app.css': page['app.css'], 'data.js': Buffer.from(text) };
    for (const [name, bytes] of Object.entries(files)) writeFileAtomic(join(out, name), bytes);
    writeFileAtomic(join(out, 'index.html'), shell);
    const bytes = Object.values(files).reduce((sum, file) => sum + file.length, Buffer.byteLength(shell));
    return { index: join(out, 'index.html'), runs: ids.length, bytes };
  } finally {
    hub.close();
  }
}

const SITE_FILES: ReadonlySet<string> = new Set(['index.html', 'data.js', 'app.js', 'app.css']);

function checkOut(out: string): void {
  const others = namesIn(out).filter((name) => !SITE_FILES.has(name));
  if (others.length > 0 || isRunFolder(out))
    throw new ConfigError(`${out} holds other things (${others[0] ?? 'a run'}); choose another folder (--site)`, {
      details: { out },
    });
}

/** Everything that the page asks for, as `SiteData` of `web/lib/source.ts` has it. */
async function siteData(hub: Hub): Promise<object> {
  const state = hub.state();
  const { designs } = state;
  const { ids } = hub.catalog;
  const columns = ids.flatMap((id) =>
    hub.store.names(id).map((name) => ({ id, name, data: hub.store.column(id, name) })),
  );
  const all = columns.reduce((sum, { data }) => sum + LISTS * (data?.n ?? 0), 0);
  const every = Math.ceil(all / MOST_NUMBERS);
  const curves = new Map<string, [string, object][]>(ids.map((id) => [id, []]));
  for (const { id, name, data } of columns) if (data != null) curves.get(id)?.push([name, listsOf(data, every)]);
  const figures = [
    ...state.studies.map(({ id }) => [id, 'study', hub.catalog.studyPath(id)] as const),
    ...ids.map((id) => [id, 'run', hub.catalog.run(id)?.found] as const),
  ].flatMap(([id, kind, found]) => {
    if (found === undefined) return [];
    if (typeof found === 'string') return [[id, drawFigures({ kind, path: found, designs, without: [] })] as const];
    return found.study === null ? [[id, drawFigures({ kind, path: found.path, designs, without: [] })] as const] : [];
  });
  const runs: [string, object][] = [];
  const heads: [string, object | null][] = [];
  for (const id of ids) {
    const path = hub.catalog.run(id)?.found.shown;
    runs.push([id, { ...(await hub.run(id)), path, holder: null, resumeArgs: [], resumeCommand: '' }]);
    heads.push([id, await hub.heads(id)]);
  }
  return {
    state: { ...state, roots: [] },
    titles: metricTitles(hub.names),
    curves: Object.fromEntries([...curves].map(([id, own]) => [id, Object.fromEntries(own)])),
    // Nothing runs where the site is looked at, and run folders lie elsewhere there.
    runs: Object.fromEntries(runs),
    heads: Object.fromEntries(heads),
    figures: Object.fromEntries(figures),
  };
}

/** A column as lists, with `every` buckets made one. */
function listsOf(data: ColumnData, every: number): object {
  const starts = Array.from({ length: Math.ceil(data.n / every) }, (_, i) => i * every);
  const places = (list: Float64Array) => starts.map((i) => short(list[i] ?? 0));
  const of = (pick: (from: number, to: number) => number) =>
    starts.map((i) => short(pick(i, Math.min(data.n, i + every))));
  const mean = (from: number, to: number): number => {
    let [sum, count] = [0, 0];
    for (let i = from; i < to; i++) {
      sum += data.sum[i] ?? 0;
      count += pointsIn(data, i);
    }
    return sum / count;
  };
  return {
    perBucket: data.perBucket * every,
    end: { step: short(data.end.step), tokens: short(data.end.tokens), time: short(data.end.time) },
    ...{ step: places(data.step), tokens: places(data.tokens), time: places(data.time) },
    low: of((from, to) => minOf([...data.low.subarray(from, to)])),
    high: of((from, to) => maxOf([...data.high.subarray(from, to)])),
    mean: of(mean),
  };
}

const short = (value: number): number => Number(value.toPrecision(7));

/** JSON that may stand in a script: what ends one there, or ends a line, is escaped. */
function scriptJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
