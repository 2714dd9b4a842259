/**
 * Bundles the command line of `dist`, where `dist` has changed: a process that loads a thousand modules one by one needs twice the time to
 * start. Vitest calls this before the tiers whose tests start processes. What is bundled is what the package has; that its modules are
 * found one by one is tested by those who take `DIST_MAIN`, and by scripts/check-package.mjs.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'vite';
import { BUNDLED, DIST_MAIN } from './main.js';

const ROOT = join(import.meta.dirname, '../..');
const DIST = join(ROOT, 'dist');
/** The program and its threads, by their places in `dist`, which they keep. */
const ENTRIES = ['cli/main', 'data/prepare/worker', 'dashboard/figures-worker', 'dashboard/index-worker'];
/** Programs of the tests that start many times. */
const PROGRAMS = { child: 'test/train/child.mjs', 'lock-racer': 'test/torture/lock-racer.mjs' };

/** Gives modules the places that they have in `dist`, where what they read lies; the program and its threads have new ones. */
const places: Plugin = {
  name: 'places',
  transform(code, id) {
    const name = relative(DIST, id).replaceAll('\\', '/');
    if (!code.includes('import.meta.url') || name === 'cli/main.js') return null;
    const here = JSON.stringify(pathToFileURL(id).href);
    const bundled = JSON.stringify(pathToFileURL(join(BUNDLED, name)).href);
    const isThread = /new URL\('\.\/(worker|figures-worker|index-worker)\.js', import\.meta\.url\)/g;
    return {
      code: code
        .replace(isThread, (_, thread: string) => `new URL('./${thread}.js', ${bundled})`)
        .replaceAll('import.meta.url', here),
      map: null,
    };
  },
};

/** What tells builds apart: the path, size and time of change of each file, and the packages. */
function version(): string {
  const hash = createHash('sha256').update(readFileSync(join(ROOT, 'package-lock.json')));
  hash.update(readFileSync(import.meta.filename));
  for (const file of Object.values(PROGRAMS)) hash.update(readFileSync(join(ROOT, file)));
  for (const name of readdirSync(DIST, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!name.endsWith('.js')) continue;
    const { size, mtimeMs } = statSync(join(DIST, name));
    hash.update(`${name} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

export default async function bundle(): Promise<void> {
  if (!existsSync(DIST_MAIN)) {
    console.log('tests that start the command line need it built: npm run build:js && npm run build:web');
    return;
  }
  const now = version();
  const stamp = join(BUNDLED, '.version');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return;
  const fresh = `${BUNDLED}.${process.pid}`;
  await build({
    root: ROOT,
    configFile: false,
    publicDir: false,
    logLevel: 'warn',
    plugins: [places],
    ssr: { noExternal: true, external: ['onnxruntime-node', 'koffi'] },
    build: {
      ...{ outDir: fresh, ssr: true, target: 'node20', minify: false, reportCompressedSize: false },
      rolldownOptions: {
        input: {
          ...Object.fromEntries(ENTRIES.map((name) => [name, join(DIST, `${name}.js`)])),
          ...Object.fromEntries(Object.entries(PROGRAMS).map(([name, file]) => [`tests/${name}`, join(ROOT, file)])),
        },
        output: {
          ...{ entryFileNames: '[name].js', chunkFileNames: 'chunks/[name]-[hash].js' },
          // Without comments and blanks it is read sooner; names stay.
          minify: { mangle: false, compress: false },
        },
      },
    },
  });
  writeFileSync(join(fresh, '.version'), now);
  rmSync(BUNDLED, { recursive: true, force: true });
  try {
    renameSync(fresh, BUNDLED);
  } catch (cause) {
    // Another run of tests has put the same there since.
    if (readFileSync(stamp, 'utf8') !== now) throw cause;
    rmSync(fresh, { recursive: true });
  }
}
