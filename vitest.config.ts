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

// Tiers: `unit` (all but whole runs), `conformance` (every op on every engine), `train` (whole runs, killed and resumed), `browser`
// (the dashboard in Chromium, where there is one), `torture`
// (commands killed, starved of disk and raced; a tenth of its trials unless LONGSIGHT_TORTURE=full), and, when asked for, `slurm` (studies on
// a Slurm cluster that the tests start on this machine).
// Files of the unit tier share their worker's modules (loading them anew for each file took a quarter of the tier's time); nothing here
// keeps state in a module.
const tier = (name: string, include: string[], exclude: string[], timeoutMs: number, isolate = true) => ({
  plugins: [bindImports],
  test: {
    ...{ name, include, exclude, testTimeout: timeoutMs, hookTimeout: timeoutMs, isolate },
    // The runner's own second is short on a busy machine: what is polled for may take nearly all of a test's time.
    expect: { poll: { timeout: 0.8 * timeoutMs } },
  },
});

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      tier('unit', ['src/**/*.test.ts', 'test/unit/**/*.test.ts'], [], 120_000, false),
      tier('conformance', ['test/conformance/**/*.test.ts'], [], 300_000),
      tier('browser', ['test/browser/**/*.test.ts'], [], 120_000),
      tier('train', ['test/train/**/*.test.ts'], [], 600_000),
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
