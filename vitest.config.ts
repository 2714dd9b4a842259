import { defineConfig } from 'vitest/config';

// Tiers: `unit` (under a minute), `conformance` (every op on every engine), `train` (whole runs, killed and resumed), `browser`
// (the dashboard in Chromium, where there is one), `torture`
// (commands killed, starved of disk and raced; a tenth of its trials unless LONGSIGHT_TORTURE=full), and, when asked for, `slurm` (studies on
// a Slurm cluster that the tests start on this machine).
// Files of the unit tier share their worker's modules (loading them anew for each file took a quarter of the tier's time); nothing here
// keeps state in a module.
const tier = (name: string, include: string[], exclude: string[], timeoutMs: number, isolate = true) => ({
  test: { name, include, exclude, testTimeout: timeoutMs, hookTimeout: timeoutMs, isolate },
});

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      tier('unit', ['src/**/*.test.ts', 'test/unit/**/*.test.ts'], [], 30_000, false),
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
