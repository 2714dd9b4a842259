import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { StoreError } from '../core/index.js';
import { MetricsWriter, readMetrics } from './metrics.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-metrics-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'metrics.jsonl');

describe('MetricsWriter', () => {
  it('appends lines, drops later steps and a cut line on resuming, and starts empty otherwise', () => {
    {
      using writer = new MetricsWriter(path, null);
      for (const step of [0, 5, 10])
        writer.write({ step, tokens: step * 8, time: 1, 'train/loss': step === 5 ? NaN : 2.5 });
    }
    appendFileSync(path, '{"step":11,"tok');
    {
      using writer = new MetricsWriter(path, 5);
      writer.write({ step: 6, tokens: 48, time: 2 });
    }
    expect(readFileSync(path, 'utf8')).toBe(
      '{"step":0,"tokens":0,"time":1,"train/loss":2.5}\n' +
        '{"step":5,"tokens":40,"time":1,"train/loss":null}\n' +
        '{"step":6,"tokens":48,"time":2}\n',
    );
    new MetricsWriter(path, null)[Symbol.dispose]();
    expect(readFileSync(path, 'utf8')).toBe('');
  });

  it('names a damaged line', () => {
    writeFileSync(path, '{"step":0,"tokens":0}\nx\n');
    expect(() => new MetricsWriter(path, 5)).toThrow(StoreError);
    expect(() => new MetricsWriter(path, 5)).toThrow(/metrics\.jsonl:2 is not valid JSON: .*; remove the line$/);
    writeFileSync(path, '{"step":0,"tokens":0}\n{"step":1,"tokens":1e999}\n');
    expect(() => readMetrics(path)).toThrow('metrics.jsonl:2: tokens must be a number, got Infinity; remove the line');
    writeFileSync(path, '{"tokens":0}\n');
    expect(() => new MetricsWriter(path, 5)).toThrow(/metrics\.jsonl:1: step is missing; expected a number/);
  });
});
