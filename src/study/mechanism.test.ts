import { describe, expect, it } from 'vitest';
import { writeFakeRun } from '../../test/support/fake-study.js';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { findingPath, writeFinding } from '../run/index.js';
import { readFindings } from '../lab/index.js';
import { carrierVerdict, strongestHeads } from './mechanism.js';
import { compareSchema } from './plan.js';
import { readRun, type RunRecord } from './read-run.js';
import { writeFileSync } from 'node:fs';

const CONTEXT = { far: [{ from: 65, to: 128 }], chance: 1 / 16, compare: compareSchema.parse({}) };

/** A run whose far recall ends at `[whole, full limited, efficient limited]`. */
function runWith(seed: number, [whole, full, efficient]: readonly [number, number, number]): RunRecord {
  const dir = temporaryFolder();
  writeFakeRun(dir, { name: `run-${seed}`, pattern: 'swa-8', seed, formsAt: 0.5e6 });
  const row = (part: 'full' | 'efficient' | null, probability: number) => ({
    ...{ part, keys: part === null ? null : 8, loss: 1, longPpl: null, needleAccuracy: null },
    recall: [
      { from: 1, to: 16, probability: 1 },
      { from: 65, to: 128, probability },
    ],
  });
  const rows = [row(null, whole), row('full', full), row('efficient', efficient)];
  writeFinding(dir, 'limits', { step: 600, tokens: 600 * 4096, rows } as { step: number });
  return readRun(dir);
}

const verdict = (...runs: readonly (readonly [number, number, number])[]) =>
  carrierVerdict(
    'design',
    runs.map((values, i) => runWith(i + 1, values)),
    CONTEXT,
  );

describe('who carries long range', () => {
  it('is the part whose limit costs more in every seed', () => {
    expect(verdict([0.99, 0.06, 0.98], [0.98, 0.07, 0.97])).toMatchObject({
      outcome: 'shown',
      lead: 'design: the full layers carry long range.',
      text:
        'The far recall is 0.98 to 0.99 without a limit. With at most 8 visible keys it is 0.06 to 0.07 where the full ' +
        'layers are limited, and 0.97 to 0.98 where the efficient ones are (2 seeds).',
    });
    expect(verdict([0.99, 0.98, 0.5], [0.98, 0.97, 0.4])?.lead).toBe(
      'design: limiting the efficient layers costs more.',
    );
  });

  it('is not judged from one seed, and not shown where seeds disagree or nothing is lost', () => {
    expect(verdict([0.99, 0.06, 0.98])).toMatchObject({ outcome: 'open' });
    expect(verdict([0.99, 0.06, 0.98], [0.99, 0.98, 0.1])).toMatchObject({ outcome: 'none' });
    expect(verdict([0.98, 0.98, 0.98], [0.97, 0.97, 0.97])?.lead).toMatch(/neither limit costs anything/);
    // Guessing is at 0.0625: what a limit changes below twice that means nothing.
    expect(verdict([0.09, 0.05, 0.08], [0.08, 0.05, 0.07])).toMatchObject({
      outcome: 'none',
      lead: 'design: no long-range retrieval, so there is nothing to carry.',
    });
  });

  it('has no answer where nothing was limited', () => {
    const dir = temporaryFolder();
    writeFakeRun(dir, { name: 'run', pattern: 'swa-8', seed: 1, formsAt: 0.5e6 });
    expect(carrierVerdict('design', [readRun(dir)], CONTEXT)).toBeNull();
  });
});

describe('findings', () => {
  it('choose the heads that end strongest', () => {
    const dir = temporaryFolder();
    writeFakeRun(dir, { name: 'run', pattern: 'swa-8', seed: 1, formsAt: 0.5e6 });
    const heads = strongestHeads(readRun(dir));
    expect(heads.size).toBe(4);
    // The fake run's retrieval head.
    expect(heads).toContain('1:1');
  });

  it('name the file that is damaged', () => {
    const dir = temporaryFolder();
    writeFinding(dir, 'influence', { step: 7, tokens: 1, target: 'loss', mean: [1, null], floor: null } as {
      step: number;
    });
    expect(readFindings(dir).influence).toMatchObject([{ step: 7, mean: [1, null] }]);
    writeFileSync(findingPath(dir, 'influence', 7), '{"step": 7, "tokens": 1}');
    expect(messageOf(() => readFindings(dir))).toMatch(
      /influence-step-000007\.json does not hold what it should: target/,
    );
  });
});
