/** Metrics for other tools: event files as TensorBoard's own writer makes them, tables as independent readers read them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetReadObjects } from 'hyparquet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseCsv } from '../../src/core/index.js';
import { exportLogs } from '../../src/run/index.js';
import { makeRun } from '../support/run-folders.js';

/** The lines that scripts/make-tensorboard-reference.py writes. */
const LINES = [
  `{"step":1,"tokens":100,"time":0.5,"train/loss":2.25,"eval/über":-0.001}`,
  `{"step":300,"tokens":3000000000,"time":12.75,"train/loss":null}`,
  `{"step":${2 ** 40},"tokens":${2 ** 50},"time":1000000,"train/loss":0,"${'x'.repeat(200)}":1e30}`,
];

describe('exported metrics', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'longsight-export-'));
    makeRun(join(folder, 'runs', 'study', 'a'), { name: 'a' });
    writeFileSync(join(folder, 'runs', 'study', 'a', 'metrics.jsonl'), `${LINES.join('\n')}\n{"step":9`);
    makeRun(join(folder, 'runs', '=b'), { name: 'b', lines: 0 });
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const rows = (run: string) =>
    LINES.flatMap((line) => {
      const { step, tokens, time, ...metrics } = JSON.parse(line) as Record<string, number>;
      return Object.entries(metrics).map(([metric, value]) => ({ run, step, tokens, time, metric, value }));
    });

  it("are event files to the byte as TensorBoard's writer writes them", () => {
    const out = join(folder, 'out');
    const done = exportLogs(join(folder, 'runs'), 'tensorboard', out);
    expect([done.runs, done.values]).toEqual([2, 5]);
    const own = readFileSync(join(out, 'study', 'a', 'events.out.tfevents.1767323045.longsight'));
    const wanted = readFileSync(join(import.meta.dirname, '../data/log-export/events.bin'));
    expect(own.toString('hex')).toBe(wanted.toString('hex'));
  });

  it('are Parquet files with a row for each value', async () => {
    const out = join(folder, 'out');
    exportLogs(join(folder, 'runs'), 'parquet', out);
    const read = async (path: string) => {
      const bytes = readFileSync(join(out, path));
      const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
      return (await parquetReadObjects({ file })).map((row) => ({
        ...row,
        ...{ step: Number(row['step']), tokens: Number(row['tokens']) },
      }));
    };
    expect(await read('study/a.parquet')).toEqual(rows('study/a'));
    expect(await read('=b.parquet')).toEqual([]);
  });

  it('are CSV files with a row for each value', () => {
    const out = join(folder, 'out');
    exportLogs(join(folder, 'runs', 'study', 'a'), 'csv', out);
    const [head, ...cells] = parseCsv(readFileSync(join(out, 'a.csv'), 'utf8'), 'a.csv').map((row) => row.cells);
    expect(head).toEqual(['run', 'step', 'tokens', 'time', 'metric', 'value']);
    const texts = rows('a').map(({ run, step, tokens, time, metric, value }) =>
      [run, step, tokens, time, metric, value ?? ''].map(String),
    );
    expect(cells).toEqual(texts);
  });

  it('are refused where nothing is to be had, or something would be lost', () => {
    expect(() => exportLogs(join(folder, 'none'), 'csv', join(folder, 'out'))).toThrow(/none cannot be read/);
    rmSync(join(folder, 'runs'), { recursive: true });
    expect(() => exportLogs(folder, 'csv', join(folder, 'out'))).toThrow(/holds no run; give the folder of a run/);
    makeRun(join(folder, 'runs', 'a'), { name: 'a' });
    expect(() => exportLogs(join(folder, 'runs'), 'csv', join(folder, 'runs'))).toThrow(/is not empty; choose another/);
    writeFileSync(join(folder, 'runs', 'a', 'metrics.jsonl'), '{"step":1,"tokens":2,"note":"x"}\n');
    expect(() => exportLogs(join(folder, 'runs'), 'csv', join(folder, 'out'))).toThrow(
      /"note" of measurement 1 is neither a number nor null; remove the line/,
    );
  });
});
