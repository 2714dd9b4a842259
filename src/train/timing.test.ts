import { describe, expect, it } from 'vitest';
import { formatTiming, RunClock, shareBeside } from './timing.js';

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

describe('RunClock', () => {
  it('adds phases up, counts the rest as other, and goes on where an earlier process stopped', async () => {
    const clock = new RunClock(performance.now() - 100);
    clock.continue({ start: 2, steps: 10, total: 12.5, other: 0.5 });
    clock.add('steps', 250);
    await expect(clock.time('evaluations', () => pause(30).then(() => 7))).resolves.toBe(7);
    await expect(clock.time('traces', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    const timing = clock.timing();
    expect(timing.start).toBeGreaterThanOrEqual(2.1);
    expect(timing.steps).toBe(10.25);
    expect(timing.evaluations).toBeGreaterThanOrEqual(0.025);
    expect(timing.total).toBeGreaterThanOrEqual(12.6);
    expect(timing.checkpoints).toBe(0);
  });

  it('tells the share of the time that was no training step', () => {
    expect(shareBeside({ total: 100, steps: 90, firstStep: 2 })).toBeCloseTo(0.08);
    expect(shareBeside({})).toBeNull();
  });

  it('reads as one line', () => {
    const timing = {
      start: 1.94,
      compile: 3,
      firstStep: 0.2,
      steps: 75.4,
      evaluations: 0.7,
      traces: 0.04,
      total: 81.24,
    };
    expect(formatTiming(timing)).toBe('81.2 s, training steps 93.1 %; start 1.9 s, compiling 3.0 s, evaluations 0.7 s');
  });
});
