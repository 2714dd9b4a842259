/**
 * Every op and its derivative in bfloat16 on the plugin for CPUs; the same checks, of every case, run on GPUs
 * (`bench/gpu/run.sh bf16`).
 */
import { expect, it } from 'vitest';
import { createXlaEngine, findPlugin } from '../../src/engine/index.js';
import type { OpName } from '../../src/graph/index.js';
import { checkOps, type Finding } from '../gpu/ops.js';
import { OP_CASES } from '../support/cases.js';

/**
 * XLA compiles seconds for each case of these. Theirs are all compared in float32 on the same plugin (`engines.test.ts`); here
 * each kind of input, path and window has a case that takes it, with the conversions that bf16 adds.
 */
const ONLY: Partial<Record<OpName, readonly string[]>> = {
  attention: [
    'full, grouped queries, values of another width',
    'full, several query blocks',
    'window 16',
    'window over several causal blocks',
    'one token',
    'sinks, window',
    'softcap and sinks, window',
  ],
  linearRecurrence: [
    'one token, state handed in',
    'a ragged last chunk',
    'constant decay, whole chunks',
    'two groups of heads, packed documents',
    'more chunks than one product takes',
    'decay of e^-20',
  ],
  deltaRule: [
    'one token, state handed in',
    'value heads share keys',
    'write strength 2',
    'packed documents',
    'channels: a ragged last chunk',
    'channels: packed documents',
    'keys of removal: one token, state handed in',
    'keys of removal: packed documents',
  ],
};

const { plugin } = findPlugin('cpu');
if (!plugin) console.log('bf16 is left out: no PJRT CPU plugin; run node scripts/fetch-pjrt-cpu.mjs');

it.skipIf(!plugin)(
  'computes every op and derivative in bf16',
  async () => {
    for (const [op, names] of Object.entries(ONLY) as [OpName, readonly string[]][])
      expect(OP_CASES[op].map(({ name }) => name)).toEqual(expect.arrayContaining([...names]));
    const engine = createXlaEngine({ platform: 'cpu', cache: null });
    const findings: Finding[] = [];
    const failures: string[] = [];
    await checkOps(
      engine,
      'bf16',
      (finding) => findings.push(finding),
      (check, error) => failures.push(`${check}: ${error.message}`),
      ONLY,
    );
    await engine.dispose();
    const rows = findings.map(({ check, worst }) => `${check.padEnd(40)} ${worst.toExponential(1)}`);
    console.log([`worst absolute error of ${engine.info.library}, by op`, ...rows].join('\n'));
    expect(failures).toEqual([]);
    expect(findings.filter(({ ratio }) => ratio > 1)).toEqual([]);
    expect(findings.length).toBeGreaterThan(90);
  },
  900_000,
);
