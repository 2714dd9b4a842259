/**
 * The programs that measure on a GPU run here too, on the plugin for CPUs: they are used rarely, and what they use
 * changes.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { findPlugin } from '../../src/engine/index.js';

const { plugin } = findPlugin('cpu');
if (!plugin) console.log('the GPU benchmark is left out: no PJRT CPU plugin; run node scripts/fetch-pjrt-cpu.mjs');

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'longsight-gpu-bench-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const node = (...args: string[]): string => execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' });

describe('the GPU benchmark', () => {
  it.skipIf(!plugin)(
    'times train steps',
    () => {
      const flags = ['--platform', 'cpu', '--precision', 'f32', '--steps', '1', '--rounds', '1'];
      const line = JSON.parse(node('bench/gpu/longsight.mjs', root, 'train', 'tiny', ...flags)) as Record<
        string,
        unknown
      >;
      expect(line).not.toHaveProperty('error');
      expect(line.tokensPerSecond).toBeGreaterThan(0);
      expect(line.loss).toBeGreaterThan(0);
    },
    60_000,
  );

  it.skipIf(!plugin)(
    'times rows of several documents beside rows of one',
    () => {
      const flags = ['--platform', 'cpu', '--precision', 'f32', '--steps', '1', '--rounds', '1'];
      const tuning = { wide: { forward: { block: 64, inner: 64, numWarps: 4, numStages: 2 } } };
      const file = join(folder, 'tuning.json');
      writeFileSync(file, JSON.stringify(tuning));
      const given = ['--tuning', file];
      const line = JSON.parse(node('bench/gpu/packed.mjs', root, 'tiny', ...flags, ...given)) as Record<
        string,
        unknown
      >;
      expect(line).not.toHaveProperty('error');
      expect(line.tuning).toEqual(tuning);
      expect(line.packedOverUnpacked).toBeGreaterThan(0);
    },
    60_000,
  );

  it.skipIf(!plugin)(
    'reads prompts, decodes and answers RULER samples',
    () => {
      node('bench/gpu/prompts.mjs', root, 'prepare', folder, 'tiny');
      const text = node('bench/gpu/prompts.mjs', root, 'measure', folder, 'tiny', '--platform', 'cpu');
      const lines = text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(lines.filter((line) => 'error' in line || 'left' in line)).toEqual([]);
      const of = (part: string) => lines.filter((line) => line.part === part);
      expect(of('prompts')[0]?.promptTokensPerSecond).toBeGreaterThan(0);
      expect(of('decode')[0]?.newTokensPerSecond).toBeGreaterThan(0);
      expect(of('check')[0]?.logitsError).toBeLessThan(0.02);
      expect(of('ruler')).toHaveLength(2);
    },
    120_000,
  );

  it('writes the programs of the recurrences, with kernels and without', () => {
    node('bench/gpu/recurrences.mjs', root, folder);
    const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8')) as {
      id: string;
      form: string;
      mixer: string;
    }[];
    const formsOf = (mixer: string) => new Set(cases.filter((c) => c.mixer === mixer).map((c) => c.form));
    expect([formsOf('gdn'), formsOf('rwkv7')]).toEqual([new Set(['kernels', 'xla']), new Set(['kernels', 'xla'])]);
    const plain = /^conv\b/; // left to XLA in both forms
    for (const { id, form, mixer } of cases) {
      const text = readFileSync(join(folder, `${id}.mlir`), 'utf8');
      expect(text.includes('__gpu$xla.gpu.triton'), id).toBe(form === 'kernels' && !plain.test(mixer));
    }
  }, 60_000);
});
