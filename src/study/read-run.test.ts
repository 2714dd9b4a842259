import { appendFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeFakeRun } from '../../test/support/fake-study.js';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { StoreError } from '../core/index.js';
import { readMetrics, readStatus } from '../run/index.js';
import { readRun } from './read-run.js';

function fakeRun(): string {
  const dir = join(temporaryFolder(), 'run');
  writeFakeRun(dir, { name: 'demo', pattern: 'swa-8', seed: 1, formsAt: 1e6 });
  return dir;
}

describe('reading a run folder', () => {
  it('gives its configuration, series, evaluations and head scores in order', () => {
    const run = readRun(fakeRun());
    expect(run).toMatchObject({ name: 'demo', seed: 1, status: { state: 'done', step: 600 } });
    expect(run.metrics.get('eval/loss')).toHaveLength(24);
    expect(run.metrics.get('eval/recall/65-128')?.at(-1)?.tokens).toBe(600 * 4096);
    expect(run.metrics.has('time')).toBe(false);
    expect(run.evals.map((e) => e.step)).toEqual([100, 200, 300, 400, 500, 600]);
    expect(run.heads.at(-1)?.layers.map((l) => l.label)).toEqual(['swa:8', 'full', 'swa:8', 'full']);
  });

  it('leaves out a last line that was being written', () => {
    const dir = fakeRun();
    const path = join(dir, 'metrics.jsonl');
    const before = readMetrics(path).series.get('eval/loss')?.length;
    appendFileSync(path, '{"step": 601, "tokens": 5, "eval/lo');
    expect(readMetrics(path).series.get('eval/loss')).toHaveLength(before ?? -1);
  });

  it('leaves out values that are not numbers', () => {
    const path = join(temporaryFolder(), 'm.jsonl');
    writeFileSync(path, '{"step": 1, "tokens": 2, "a": null, "b": "x", "c": 3}\n');
    expect([...readMetrics(path).series]).toEqual([['c', [{ tokens: 2, value: 3 }]]]);
  });

  it.each([
    ['not json\n', /m\.jsonl:2 is not valid JSON: .*; remove the line$/],
    ['{"step": 1}\n', /m\.jsonl:2: tokens is missing; expected a number; remove the line$/],
  ])('names the damaged line %j', (line, message) => {
    const path = join(temporaryFolder(), 'm.jsonl');
    writeFileSync(path, `{"step": 1, "tokens": 2}\n${line}`);
    expect(() => readMetrics(path)).toThrow(StoreError);
    expect(messageOf(() => readMetrics(path))).toMatch(message);
  });

  it('says what is missing', () => {
    const dir = fakeRun();
    expect(messageOf(() => readRun(join(dir, 'nowhere')))).toBe(`there is no run folder ${join(dir, 'nowhere')}`);
    expect(messageOf(() => readRun(join(dir, 'evals')))).toBe(
      `${join(dir, 'evals')} is not a run folder: it has no config.json`,
    );
    writeFileSync(join(dir, 'config.json'), '{"run": {"seed": "x"}}');
    expect(messageOf(() => readRun(dir))).toBe(
      `${join(dir, 'config.json')}: run.seed must be a number, got "x"; run.model is missing; expected a value; run.train is missing; expected an object`,
    );
  });

  it('takes a run without a status as running', () => {
    const dir = fakeRun();
    rmSync(join(dir, 'status.json'));
    expect(readStatus(dir)).toBeNull();
    expect(readRun(dir).status.state).toBe('running');
  });
});
