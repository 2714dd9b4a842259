import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { PredictionFile, sampleScore, scoreTask } from '../../../src/eval/index.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-scores-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const prediction = (pred: string, ...outputs: string[]) => ({ index: 0, pred, outputs });

describe('scores', () => {
  it('count the references that a prediction contains, whatever the case of letters', () => {
    expect(sampleScore(prediction(' it is Abc and 12.', 'aBC', '12', '13', '14'), 'all')).toBe(0.5);
    expect(sampleScore(prediction('art', 'a', 'b'), 'part')).toBe(1);
    expect(sampleScore(prediction('', 'a'), 'part')).toBe(0);
    // Control characters become line breaks, so that they do not join or part words unseen.
    expect(sampleScore(prediction('\u0000\ta\u0001b\n', 'a\nb'), 'all')).toBe(1);
  });

  it('are means in percent with an interval, stricter ones and empty answers beside', () => {
    const rows = [
      prediction('1, 2', '1', '2'),
      prediction('1', '1', '2'),
      prediction(' ', '1', '2'),
      prediction('9', '1', '2'),
    ];
    // Shares 1, .5, 0, 0: 1.5 of 4, for which Wilson gives 0.0919 to 0.7806.
    expect(scoreTask(rows, 'all')).toEqual({ score: 37.5, low: 9.19, high: 78.06, exact: 25, samples: 4, empty: 1 });
    expect(scoreTask(rows, 'part')).toMatchObject({ score: 50, exact: 25 });
    expect(scoreTask([prediction('2 and 1.', '1', '2')], 'all')).toMatchObject({
      score: 100,
      exact: 100,
      low: 20.65,
      high: 100,
    });
    // Of two wrong answers no interval of width zero follows.
    expect(scoreTask([prediction('3', '1'), prediction('4', '1')], 'all')).toMatchObject({
      score: 0,
      low: 0,
      high: 65.76,
    });
    expect(scoreTask([prediction('1 2 3', '1', '2')], 'all')).toMatchObject({ score: 100, exact: 0 });
  });
});

describe('a file of predictions', () => {
  it('keeps whole rows and drops one that a kill has cut off', () => {
    const path = join(folder, 'a.jsonl');
    const row = (index: number) => ({ index, pred: 'x\ny', outputs: ['x'], length: 3, truncation: false });
    const file = new PredictionFile(path);
    file.add([row(0), row(1)]);
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"index": 2, "pr`);
    const again = new PredictionFile(path);
    expect(again.rows).toEqual([row(0), row(1)]);
    again.add([row(2)]);
    expect(new PredictionFile(path).rows.map((r) => r.index)).toEqual([0, 1, 2]);
    writeFileSync(path, 'no json\n');
    expect(() => new PredictionFile(path)).toThrow(`${path}:1 is not valid JSON`);
  });
});
