import { describe, expect, it } from 'vitest';
import { messageOf } from '../../test/support/folders.js';
import { etaSeconds, formatDuration } from './eta.js';
import { chooseParallelism, machine } from './parallelism.js';

const GB = 1e9;

describe('chooseParallelism', () => {
  it.each([
    [8, {}, { cores: 2, freeBytes: 16 * GB }, 2, 1],
    [1, {}, { cores: 2, freeBytes: 16 * GB }, 1, 2],
    [8, {}, { cores: 1, freeBytes: 16 * GB }, 1, 1],
    [8, {}, { cores: 16, freeBytes: 100 * GB }, 8, 2],
    [2, {}, { cores: 64, freeBytes: 100 * GB }, 2, 4],
    [8, {}, { cores: 16, freeBytes: 4 * GB }, 2, 4],
    [8, { threads: 2 }, { cores: 8, freeBytes: 100 * GB }, 4, 2],
    [8, { workers: 3 }, { cores: 2, freeBytes: 1 * GB }, 3, 1],
    [0, {}, { cores: 2, freeBytes: 16 * GB }, 1, 2],
  ])('%i runs, asked %j, on %j: %i workers of %i threads', (runs, asked, at, workers, threads) => {
    expect(chooseParallelism(runs, asked, at)).toMatchObject({ workers, threads });
  });

  it('gives its reason', () => {
    expect(chooseParallelism(8, {}, { cores: 2, freeBytes: 16 * GB }).reason).toMatch(
      /^2 workers × 1 thread on 2 cores/,
    );
    expect(chooseParallelism(8, {}, { cores: 8, freeBytes: 3 * GB }).reason).toMatch(/free memory allows 2 workers/);
  });

  it('refuses numbers that make no sense', () => {
    expect(messageOf(() => chooseParallelism(1, { workers: 0 }, machine()))).toBe(
      '--workers must be a whole number of at least 1, got 0',
    );
  });

  it('reads nothing else of a command line', () => {
    const flags = { workers: 1, threads: 1, set: [['train.steps', 3]], out: 'x' };
    expect(chooseParallelism(2, flags, machine())).toMatchObject({ workers: 1, threads: 1 });
  });

  it('knows this machine', () => {
    const { cores, freeBytes } = machine();
    expect(cores).toBeGreaterThanOrEqual(1);
    expect(freeBytes).toBeGreaterThan(0);
  });
});

describe('etaSeconds', () => {
  it('gives free workers the next run in the queue', () => {
    expect(etaSeconds([100, 50], [60], 2, 1)).toBe(110);
    expect(etaSeconds([100], [], 4, 2)).toBe(50);
    expect(etaSeconds([], [10, 10, 10], 2, 1)).toBe(20);
  });

  it('says nothing before a speed is known', () => {
    expect(etaSeconds([100], [], 1, null)).toBeNull();
    expect(etaSeconds([100], [], 1, 0)).toBeNull();
  });

  it.each([
    [0, '0 s'],
    [59.4, '59 s'],
    [60, '1 min 00 s'],
    [3599, '59 min 59 s'],
    [7384, '2 h 03 min'],
  ])('%f seconds read %j', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});
