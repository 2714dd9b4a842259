/** Every op and its derivative in bfloat16 on the plugin for CPUs; the same checks run on GPUs (`bench/gpu/run.sh bf16`). */
import { expect, it } from 'vitest';
import { createXlaEngine, findPlugin } from '../../src/engine/index.js';
import { checkOps, type Finding } from '../gpu/ops.js';

const { plugin } = findPlugin('cpu');
if (!plugin) console.log('bf16 is left out: no PJRT CPU plugin; run node scripts/fetch-pjrt-cpu.mjs');

it.skipIf(!plugin)(
  'computes every op and derivative in bf16',
  async () => {
    const engine = createXlaEngine({ platform: 'cpu', cache: null });
    const findings: Finding[] = [];
    const failures: string[] = [];
    await checkOps(
      engine,
      'bf16',
      (finding) => findings.push(finding),
      (check, error) => failures.push(`${check}: ${error.message}`),
    );
    await engine.dispose();
    const rows = findings.map(({ check, worst }) => `${check.padEnd(40)} ${worst.toExponential(1)}`);
    console.log([`worst absolute error of ${engine.info.library}, by op`, ...rows].join('\n'));
    expect(failures).toEqual([]);
    expect(findings.filter(({ ratio }) => ratio > 1)).toEqual([]);
    expect(findings.length).toBeGreaterThan(100);
  },
  900_000,
);
