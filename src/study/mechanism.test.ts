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

  it('is judged by far associative recall at the widest limit that hides what far hits copy from', () => {
    const run = (seed: number, accuracy: Readonly<Record<string, number>>) => {
      const dir = temporaryFolder();
      writeFakeRun(dir, { name: `run-${seed}`, pattern: 'swa-8', seed, formsAt: 0.5e6, text: true });
      const rows = Object.entries(accuracy).map(([name, value]) => {
        const [part, keys] = name === 'whole' ? [null, null] : [name.split(' ')[0], Number(name.split(' ')[1])];
        // Needles say the opposite, and count for nothing beside associative recall.
        const ar = { from: 1025, to: 4096, targets: 500, accuracy: value, loss: 5 - value, bins: [] };
        return { part, keys, loss: 1, longPpl: null, needleAccuracy: part === 'efficient' ? 0 : 1, recall: [], ar };
      });
      writeFinding(dir, 'limits', { step: 600, tokens: 600 * 4096, rows } as { step: number });
      return readRun(dir);
    };
    const of = (scale: number) => ({
      whole: 0.3 * scale,
      ...{ 'full 16': 0.01, 'full 512': 0.02, 'full 1024': 0.05 * scale, 'full 2048': 0.2 * scale },
      ...{ 'efficient 16': 0.01, 'efficient 512': 0.29 * scale, 'efficient 1024': 0.3 * scale },
      'efficient 2048': 0.3 * scale,
    });
    const context = { ...CONTEXT, far: [], chance: null };
    const found = carrierVerdict('design', [run(1, of(1)), run(2, of(1.1)), run(3, of(0.9))], context);
    expect(found).toMatchObject({ outcome: 'shown', lead: 'design: the full layers carry long range.' });
    // Lost: 0.25, 0.275 and 0.225 against 0 in every seed. Their differences have a standard deviation of 0.025, so the mean
    // of 0.25 has the interval 0.25 +- 4.3027 * 0.025 / sqrt(3) (Student's t with 2 degrees of freedom) = 0.188 to 0.312.
    expect(found?.text).toMatch(
      new RegExp(
        '^The far associative recall is 0\\.27 to 0\\.33 without a limit\\. With at most 1024 visible keys it is 0\\.0[45] to ' +
          '0\\.0[56] where the full layers are limited, and 0\\.27 to 0\\.33 where the efficient ones are \\(3 seeds\\)\\. So many keys show ' +
          'nothing that hits 1025 tokens back or more copy from\\. Limiting the full layers costs 0\\.18[789] to 0\\.31[123] more, with 95 % ' +
          'confidence\\. Half of it or more is gone in the full layers at 1024 keys, in the efficient ones at 16 keys\\.$',
      ),
    );
    // One seed is not judged; with two that hardly agree there are too few; without recall there is nothing to carry.
    expect(carrierVerdict('design', [run(1, of(1))], context)?.outcome).toBe('open');
    const torn = { ...of(1), 'full 1024': 0.27 };
    expect(carrierVerdict('design', [run(1, of(1)), run(2, torn)], context)?.outcome).toBe('few');
    const nothing = carrierVerdict('design', [run(1, of(0.05)), run(2, of(0.05))], context);
    expect(nothing?.lead).toMatch(/nothing to carry/);
    expect(nothing?.text).not.toContain('is gone');
    // Limits that are all wider than the nearest far hit: the tightest of them, and no word of what it hides.
    const wide = { whole: 0.3, 'full 2048': 0.1, 'full 3000': 0.2, 'efficient 2048': 0.3, 'efficient 3000': 0.3 };
    const far = carrierVerdict('design', [run(1, wide), run(2, wide), run(3, wide)], context);
    expect(far?.text).toContain('With at most 2048 visible keys');
    expect(far?.text).not.toContain('show nothing');
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
      /influence-step-000007\.json: target is missing; expected a string/,
    );
  });
});
