import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vitest/config';

/**
 * Binds what a module imports by name once, as it is loaded. The test runner turns an import into an object that is asked at every use,
 * through one getter for each `export *` on the way: half of the time of the float64 reference. Nothing here imports in circles, and
 * nothing exports what it changes later, so that what is bound is what would be looked up.
 */
const bindImports: Plugin = {
  name: 'bind-imports',
  enforce: 'post',
  transform(code, id) {
    if (!/\.ts$/.test(id) || id.includes('node_modules')) return null;
    let bound = 0;
    let out = code;
    for (const node of this.parse(code).body.toReversed()) {
      if (node.type !== 'ImportDeclaration') continue;
      if (!node.source.value.startsWith('.')) continue;
      const names = node.specifiers.flatMap((s) =>
        s.type === 'ImportSpecifier' && s.imported.type === 'Identifier'
          ? [[s.imported.name, s.local.name] as const]
          : [],
      );
      if (names.length === 0 || names.length < node.specifiers.length) continue;
      const own = names.map(([imported, local]) => ({ imported, local, alias: `__bound_${bound++}` }));
      const text =
        `import { ${own.map(({ imported, alias }) => `${imported} as ${alias}`).join(', ')} } from ${node.source.raw}; ` +
        `const ${own.map(({ local, alias }) => `${local} = ${alias}`).join(', ')};`;
      // As many lines as before, so that places in stacks stay what they are.
      const lines = code.slice(node.start, node.end).split('\n').length - 1;
      out = out.slice(0, node.start) + text + '\n'.repeat(lines) + out.slice(node.end);
    }
    return { code: out, map: null };
  },
};

/** What a file of the unit tier imports nothing of: the engines, the command line, the compiler, processes and threads. */
const RUNS_THINGS =
  /^(?:import|export|\}) .*'(?:(?:\.\.?\/)+(?:.*\/)?(?:engine\/index|support\/(?:cli|engines))\.js|node:child_process|node:worker_threads|typescript)';$/m;

/** Test files beside the sources and in `test/unit` that import one of these. */
const integration = ['src', 'test/unit'].flatMap((folder) =>
  readdirSync(join(import.meta.dirname, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name).replaceAll('\\', '/'))
    .filter(
      (name) => name.endsWith('.test.ts') && RUNS_THINGS.test(readFileSync(join(import.meta.dirname, name), 'utf8')),
    ),
);

/** Temporary folders lie in memory where a machine has room for that (Linux): what lives for a test is not waited for on a disk. */
function inMemory(): { readonly TMPDIR?: string } {
  const shared = '/dev/shm';
  try {
    const { bavail, bsize } = statfsSync(shared);
    return bavail * bsize >= 8e9 ? { TMPDIR: shared } : {};
  } catch {
    return {};
  }
}
const env = process.env['TMPDIR'] === undefined ? inMemory() : {};

/**
 * XLA's CPU backend leaves LLVM's optimizations out, which take longer than what they speed up where a program runs a few times. What
 * Longsight hands to XLA, and how XLA divides it, stays the same; the tier `conformance-ops` compares every op with them.
 */
const QUICK_COMPILE = process.env['XLA_FLAGS'] === undefined ? { XLA_FLAGS: '--xla_backend_optimization_level=0' } : {};
/** Environment variables of a tier. What is killed and starved is asked what it leaves on a disk. */
const environmentOf = (name: string) => ({
  ...(name === 'torture' ? {} : env),
  ...(name === 'train' || name === 'conformance' ? QUICK_COMPILE : {}),
});

const OPS = 'test/conformance/engines.test.ts';

// Tiers: `unit` (functions called with values), `integration` (files beside these that compute with an engine, call the command line or the
// compiler, or start processes: what a file imports decides), `conformance` (models and recurrences on every engine) and `conformance-ops` (every op), `train` (whole runs, killed and resumed), `browser`
// (the dashboard in Chromium, where there is one), `torture`
// (commands killed, starved of disk and raced; a tenth of its trials unless LONGSIGHT_TORTURE=full), and, when asked for, `slurm` (studies on
// a Slurm cluster that the tests start on this machine).
// Files of `unit`, `integration`, `conformance` and `train` share their worker's modules (loading them anew for each file took a quarter of the time of
// the first two); nothing here keeps state in a module.
const tier = (name: string, include: string[], exclude: string[], timeoutMs: number, isolate = true) => ({
  plugins: [bindImports],
  test: {
    ...{ name, include, exclude, testTimeout: timeoutMs, hookTimeout: timeoutMs, isolate },
    env: environmentOf(name),
    // Only these start the command line in processes of its own.
    globalSetup: ['train', 'torture', 'browser'].includes(name) ? ['test/support/bundled-cli.ts'] : [],
    // The runner's own second is short on a busy machine: what is polled for may take nearly all of a test's time.
    expect: { poll: { timeout: 0.8 * timeoutMs } },
  },
});

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    // Room for short-lived objects: plans and numbers of the reference engine. Of the files that make most, collecting takes 2 to 12 % less.
    execArgv: ['--max-semi-space-size=64'],
    projects: [
      tier('unit', ['src/**/*.test.ts', 'test/unit/**/*.test.ts'], integration, 120_000, false),
      tier('integration', integration, [], 120_000, false),
      tier('conformance', ['test/conformance/**/*.test.ts'], [OPS], 300_000, false),
      tier('conformance-ops', [OPS], [], 300_000),
      tier('browser', ['test/browser/**/*.test.ts'], [], 120_000),
      tier('train', ['test/train/**/*.test.ts'], [], 600_000, false),
      ...(process.env['LONGSIGHT_SLURM'] === '1' ? [tier('slurm', ['test/slurm/**/*.test.ts'], [], 900_000)] : []),
      tier(
        'torture',
        ['test/torture/**/*.test.ts'],
        [],
        process.env['LONGSIGHT_TORTURE'] === 'full' ? 3_600_000 : 300_000,
      ),
    ],
  },
});
