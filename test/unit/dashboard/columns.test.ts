/** Curves of metrics files: what is read of lines as they are written, and what a bounded number of buckets keeps. */
import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CurvesHeader } from '../../../src/dashboard/api.js';
import { Column, MAX_BUCKETS, pointsIn } from '../../../src/dashboard/columns.js';
import { CurvesAnswer } from '../../../src/dashboard/curves.js';
import { LineScanner, type LineSink } from '../../../src/dashboard/line-scanner.js';
import { MetricsFile } from '../../../src/dashboard/metrics-file.js';
import { readRange } from '../../../src/dashboard/range-reader.js';
import { MetricsStore } from '../../../src/dashboard/metrics-store.js';
import { indexFile } from '../../../src/dashboard/indexing.js';
import { ColumnCache } from '../../../src/dashboard/column-cache.js';
import { earlyCurves } from '../../../src/dashboard/sampler.js';

/** Takes lines down as objects. */
class Lines implements LineSink {
  readonly names: string[] = [];
  readonly lines: Record<string, number>[] = [];
  indexOf(name: string): number {
    if (!this.names.includes(name)) this.names.push(name);
    return this.names.indexOf(name);
  }
  line(step: number, tokens: number, time: number, indices: Int32Array, values: Float64Array, count: number): void {
    const own = Array.from({ length: count }, (_, i) => [this.names[indices[i] ?? 0] ?? '', values[i] ?? NaN] as const);
    this.lines.push({ step, tokens, time, ...Object.fromEntries(own) });
  }
}

function scan(text: string): { readonly lines: Record<string, number>[]; readonly bad: number; readonly rest: string } {
  const sink = new Lines();
  const scanner = new LineScanner(sink);
  const bytes = Buffer.from(text);
  const end = scanner.scan(bytes, 0, bytes.length);
  return { lines: sink.lines, bad: scanner.bad, rest: bytes.toString('utf8', end) };
}

describe('lines of metrics', () => {
  it('are read as JSON.parse reads them, to the last bits of a float64', () => {
    const number = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer(),
      fc.float({ noNaN: true, noDefaultInfinity: true }),
    );
    const name = fc.string().filter((n) => !['step', 'tokens', 'time', '__proto__'].includes(n));
    const line = fc.record({
      step: fc.nat(),
      tokens: fc.nat(),
      time: fc.nat(),
      own: fc.dictionary(name, number, { maxKeys: 5 }),
    });
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (wanted) => {
        const objects = wanted.map(({ own, ...place }) => ({ ...place, ...own }));
        const { lines, bad, rest } = scan(objects.map((o) => `${JSON.stringify(o)}\n`).join(''));
        expect([bad, rest, lines.length]).toEqual([0, '', objects.length]);
        objects.forEach((object, i) => {
          const parsed = JSON.parse(JSON.stringify(object)) as Record<string, number>;
          for (const [key, value] of Object.entries(parsed)) {
            const error = Math.abs((lines[i]?.[key] ?? NaN) - value);
            expect(error, key).toBeLessThanOrEqual(4e-16 * Math.abs(value));
          }
        });
      }),
    );
  });

  it('leave a last line without its end for later, and what is null or no number out', () => {
    const { lines, bad, rest } = scan('{"step":1,"tokens":2,"time":3,"a":null,"b":0.5}\n{"step":2,"tok');
    expect(lines).toEqual([{ step: 1, tokens: 2, time: 3, b: 0.5 }]);
    expect([bad, rest]).toEqual([0, '{"step":2,"tok']);
  });

  it.each([
    ['with blanks', '{ "step": 1, "tokens": 2, "a": 3 }', { step: 1, tokens: 2, time: 0, a: 3 }],
    ['with an escaped name', '{"step":1,"tokens":2,"a\\"b":3}', { step: 1, tokens: 2, time: 0, 'a"b': 3 }],
    [
      'with a name that is there twice',
      '{"step":1,"tokens":2,"a":3,"b":4,"a":5}',
      { step: 1, tokens: 2, time: 0, a: 5, b: 4 },
    ],
    [
      'with a text and a list',
      '{"step":1,"tokens":2,"a":"x","l":[1,{"step":9}],"b":3}',
      { step: 1, tokens: 2, time: 0, b: 3 },
    ],
  ])('are read in other forms: %s', (_, text, wanted) => {
    expect(scan(`${text}\n`).lines).toEqual([wanted]);
  });

  it.each([
    ...['nonsense', '[1]', '{"step":1}', '{"step":1,"tokens":2,"a":}', '{"step":1,"tokens":2,"a":1-2}', '\u0000'],
    ...['{"step":1,"tokens":2,"a":1,}', '{"step":1,"tokens":2,"a":01}', '{"step":1,"tokens":2,"a":1.}'],
  ])('that are no measurements are counted and passed over: %j', (text) => {
    const { lines, bad } = scan(`${text}\n{"step":1,"tokens":2,"a":1}\n`);
    expect([lines.length, bad]).toEqual([1, 1]);
  });
});

describe('a column', () => {
  it('keeps the least, largest and mean value of every stretch, however many points there are', () => {
    const count = 10_000;
    const values = Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i) + (i === 7777 ? 100 : 0)));
    const column = new Column();
    values.forEach((value, i) => column.push(i, 10 * i, i / 2, value));
    const data = column.data();
    expect(data.n).toBeLessThanOrEqual(MAX_BUCKETS);
    expect(data.n).toBeGreaterThan(MAX_BUCKETS / 2 - 1);
    let at = 0;
    for (let i = 0; i < data.n; i++) {
      const own = values.slice(at, at + pointsIn(data, i));
      expect([data.step[i], data.tokens[i], data.time[i]]).toEqual([at, 10 * at, at / 2]);
      expect([data.low[i], data.high[i]]).toEqual([Math.min(...own), Math.max(...own)]);
      expect(data.sum[i]).toBeCloseTo(
        own.reduce((a, b) => a + b, 0),
        9,
      );
      at += own.length;
    }
    expect(at).toBe(count);
    expect(data.end).toEqual({ step: count - 1, tokens: 10 * (count - 1), time: (count - 1) / 2 });
    expect(Math.max(...data.high)).toBeGreaterThan(99);
  });
});

describe('a column in fewer buckets', () => {
  /** The curves of an answer, as the page reads them. */
  function curvesIn(bytes: Buffer) {
    const length = bytes.readUInt32LE(0);
    const { curves } = JSON.parse(bytes.toString('utf8', 4, 4 + length)) as CurvesHeader;
    let at = bytes.byteOffset + 8 * Math.ceil((4 + length) / 8);
    return curves.map((head) => {
      const own = bytes.buffer.slice(at, (at += 8 * head.n + 8 * Math.ceil((12 * head.n) / 8)));
      const values = (i: number) => [...new Float32Array(own, 8 * head.n + 4 * head.n * i, head.n)];
      return { head, x: [...new Float64Array(own, 0, head.n)], low: values(0), high: values(1), mean: values(2) };
    });
  }

  const counts = [1, 2, 3, 7, 8, 9, 64, 256, 257, 10_000];
  it.each([1, 7, 8, 9, Infinity])('keeps extremes, means and places: at most %s', (most) => {
    for (const [axis, scale] of [['step', 1] as const, ['tokens', 10] as const, ['time', 0.5] as const]) {
      const answer = new CurvesAnswer(axis, most);
      for (const count of counts) {
        const column = new Column();
        for (let i = 0; i < count; i++) column.push(i, 10 * i, i / 2, Math.fround(Math.sin(3 * i)));
        answer.add(column.data(), { run: String(count), metric: 'm', sampled: false });
      }
      const curves = curvesIn(answer.bytes({ pending: [], unseen: [] }));
      expect(curves.map(({ head }) => head.run)).toEqual(counts.map(String));
      curves.forEach(({ head, x, low, high, mean }, c) => {
        const count = counts[c] ?? 0;
        const wanted = Math.min(most, MAX_BUCKETS);
        expect([head.n, head.end]).toEqual([Math.ceil(count / head.perBucket), scale * (count - 1)]);
        // As fine as is wanted: half as many points to one would be too many buckets, or is what there is.
        expect(head.n).toBeLessThanOrEqual(wanted);
        if (head.perBucket > 1) expect(Math.ceil((2 * count) / head.perBucket)).toBeGreaterThan(wanted);
        for (let i = 0; i < head.n; i++) {
          const first = i * head.perBucket;
          const own = Array.from({ length: Math.min(head.perBucket, count - first) }, (_, k) =>
            Math.fround(Math.sin(3 * (first + k))),
          );
          expect([x[i], low[i], high[i]]).toEqual([scale * first, Math.min(...own), Math.max(...own)]);
          expect(mean[i]).toBeCloseTo(own.reduce((sum, value) => sum + value, 0) / own.length, 6);
        }
      });
    }
  });
});

describe('metrics files', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'longsight-metrics-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const line = (step: number, value: number) =>
    `${JSON.stringify({ step, tokens: 10 * step, time: step, loss: value })}\n`;
  const read = (file: MetricsFile): string => {
    for (;;) {
      const came = file.advance();
      if (came !== 'more') return came;
    }
  };

  it('are read on from where they were, each line once', () => {
    const path = join(folder, 'metrics.jsonl');
    writeFileSync(path, line(1, 5) + line(2, 4).slice(0, 9));
    const file = new MetricsFile(path);
    expect(read(file)).toBe('done');
    expect(file.column('loss')?.n).toBe(1);
    appendFileSync(path, line(2, 4).slice(9) + line(3, 3));
    expect(read(file)).toBe('done');
    expect([...(file.column('loss')?.low ?? [])]).toEqual([5, 4, 3]);
  });

  it('that were written anew, or lost what was read, are told apart', () => {
    const path = join(folder, 'metrics.jsonl');
    writeFileSync(path, line(1, 5) + line(2, 4));
    const file = new MetricsFile(path);
    read(file);
    truncateSync(path, line(1, 5).length);
    expect(read(file)).toBe('replaced');
    const again = new MetricsFile(path);
    read(again);
    writeFileSync(`${path}.new`, line(1, 9) + line(2, 8) + line(3, 7));
    renameSync(`${path}.new`, path);
    expect(read(again)).toBe('replaced');
    rmSync(path);
    expect(read(again)).toBe('gone');
  });

  it('are read point by point where a part of them is asked for, and only there', () => {
    const path = join(folder, 'metrics.jsonl');
    const filler = '"x":1,'.repeat(60);
    const long = (step: number) => line(step, Math.fround(Math.sin(step))).replace('"loss"', `${filler}"loss"`);
    writeFileSync(path, Array.from({ length: 20_000 }, (_, i) => long(i)).join('') + '{"step":20000,"tok');
    const ranges = [
      [15_000, 15_100],
      [0, 3],
      [19_990, 30_000],
      [5, 5],
    ] as const;
    for (const [from, to] of ranges) {
      const reading = readRange(path, ['loss', 'none'], { axis: 'step', from, to });
      let [chunks, result] = [0, reading.next()];
      for (; result.done !== true; chunks++) result = reading.next();
      const steps = Array.from({ length: Math.min(to, 19_999) - from + 1 }, (_, i) => from + i);
      const loss = result.value?.get('loss');
      expect([...(loss?.step ?? [])]).toEqual(steps);
      expect([...(loss?.low ?? [])]).toEqual(steps.map((step) => Math.fround(Math.sin(step))));
      expect(chunks).toBeLessThanOrEqual(4);
      expect(result.value?.has('none')).toBe(false);
    }
  });

  it('that are large leave columns in a cache, from which the next start goes on without reading them again', async () => {
    const path = join(folder, 'metrics.jsonl');
    const cache = join(folder, 'cache');
    const lines = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => line(from + i, 1 / (1 + from + i))).join('');
    writeFileSync(path, lines(0, 20_000));
    const first = new MetricsStore(cache, () => undefined);
    first.add('run', path);
    await first.settle(['run'], 10_000);
    const before = first.column('run', 'loss');
    first.close();
    const second = new MetricsStore(cache, () => undefined);
    second.add('run', path);
    await second.settle(['run'], 10_000);
    expect(second.column('run', 'loss')).toEqual(before);
    appendFileSync(path, lines(20_000, 20_010));
    second.poll('run');
    await second.settle(['run'], 10_000);
    const grown = second.column('run', 'loss');
    const points = (data: typeof grown) =>
      data == null ? 0 : Array.from({ length: data.n }, (_, i) => pointsIn(data, i)).reduce((a, b) => a + b, 0);
    expect([points(before), points(grown)]).toEqual([20_000, 20_010]);
    second.close();
  });

  const many = (count: number): string =>
    Array.from(
      { length: count },
      (_, i) => `${JSON.stringify({ step: i, tokens: 10 * i, time: i, loss: i, other: -i })}\n`,
    ).join('');

  it('that have not changed are known at the next start, at once', async () => {
    const path = join(folder, 'metrics.jsonl');
    const cache = join(folder, 'cache');
    writeFileSync(path, many(5000));
    const first = new MetricsStore(cache, () => undefined);
    first.add('run', path);
    await first.settle(['run'], 10_000);
    const before = first.column('run', 'other');
    first.close();
    const read: string[] = [];
    const second = new MetricsStore(cache, (id) => read.push(id));
    second.add('run', path);
    // At once: no waiting.
    expect([read, second.progress, second.names('run')]).toEqual([['run'], { done: 1, all: 1 }, ['loss', 'other']]);
    const [other, loss] = ['other', 'loss'].map((metric) => second.column('run', metric));
    expect(other).toEqual(before);
    expect(loss?.high).toEqual(before?.low.map((value) => -value));
    second.close();
  });

  const flipped = (bytes: Buffer, at: number) => Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));

  it.each([
    ['cut off', (bytes: Buffer) => bytes.subarray(0, bytes.length - 9)],
    [
      'of zeros in its numbers',
      (bytes: Buffer) => Buffer.concat([bytes.subarray(0, bytes.length - 4096), Buffer.alloc(4096)]),
    ],
    ['of another byte in its texts', (bytes: Buffer) => flipped(bytes, 60)],
    ['of another byte in its numbers of columns', (bytes: Buffer) => flipped(bytes, 40 + bytes.readUInt32LE(8))],
    ['of zeros', (bytes: Buffer) => Buffer.alloc(bytes.length)],
    ['gone', () => null],
  ])('are read again where the file of columns is %s', async (_, damage) => {
    const path = join(folder, 'metrics.jsonl');
    const cache = join(folder, 'cache');
    writeFileSync(path, many(5000));
    const first = new MetricsStore(cache, () => undefined);
    first.add('run', path);
    await first.settle(['run'], 10_000);
    const before = first.column('run', 'other');
    first.close();
    const file = join(cache, 'run.columns');
    const damaged = damage(readFileSync(file));
    if (damaged === null) rmSync(file);
    else writeFileSync(file, damaged);
    const second = new MetricsStore(cache, () => undefined);
    second.add('run', path);
    expect(second.column('run', 'other')).toBeUndefined();
    await second.settle(['run'], 10_000);
    expect(second.column('run', 'other')).toEqual(before);
    second.close();
  });

  it('leave the same columns whether a thread reads them or the server', () => {
    const path = join(folder, 'metrics.jsonl');
    writeFileSync(path, many(3000) + '{"step":9000,"tokens":1,"new":4}\n{"step":90');
    const cache = join(folder, 'x.columns');
    expect(indexFile({ path, cache })).toBe(true);
    const file = new MetricsFile(path);
    read(file);
    const stored = ColumnCache.open(cache);
    expect(stored?.columns()).toEqual(file.columns());
    expect(stored?.names).toEqual(['loss', 'other', 'new']);
    expect(indexFile({ path: join(folder, 'none'), cache })).toBe(false);
  });

  it('are sampled over their whole length before they are read', async () => {
    const path = join(folder, 'metrics.jsonl');
    const sampled = async (lines = 48, file = path) => earlyCurves(file, ['loss', 'none', 'step'], { whole: 0, lines });
    writeFileSync(path, many(40_000));
    for (const lines of [2, 24, 48]) {
      const found = await sampled(lines);
      const loss = found?.get('loss')?.data;
      expect(found?.get('loss')?.sampled).toBe(true);
      expect(loss?.n).toBe(lines);
      expect([loss?.low[0], loss?.low.at(-1)]).toEqual([0, 39_999]);
      // Each is a point of the file, in the order of steps.
      loss?.step.forEach((step, i) => {
        expect([loss.low[i], loss.tokens[i]]).toEqual([step, 10 * step]);
        if (i > 0) expect(step).toBeGreaterThan(loss.step[i - 1] ?? 0);
      });
      expect(found?.get('none')).toEqual({ data: null, sampled: true });
      expect(found?.get('step')).toEqual({ data: null, sampled: false });
    }
    // No larger than the places that would be read of it: all of it is.
    writeFileSync(path, many(3).slice(0, -5));
    const short = (await sampled())?.get('loss');
    expect([[...(short?.data?.low ?? [])], short?.sampled]).toEqual([[0, 1], false]);
    writeFileSync(path, '');
    expect((await sampled())?.get('loss')).toEqual({ data: null, sampled: false });
    expect(await sampled(48, join(folder, 'none'))).toBeNull();
  });

  it('are sampled where lines are longer than what is read for one at first', async () => {
    const path = join(folder, 'metrics.jsonl');
    const lines = Array.from(
      { length: 30 },
      (_, i) => `{"step":${i},"tokens":${10 * i},"loss":${i},"text":"${'y'.repeat(i % 2 === 0 ? 50_000 : 10)}"}\n`,
    );
    writeFileSync(path, `${lines.join('')}{"step":30,"tok`);
    const loss = (await earlyCurves(path, ['loss'], { whole: 0, lines: 40 }))?.get('loss');
    expect(loss?.sampled).toBe(true);
    // Of places in a long line the next one is found, and none twice.
    expect([...(loss?.data?.low ?? [])]).toEqual([...(loss?.data?.step ?? [])]);
    expect([...(loss?.data?.step ?? [])]).toEqual([...new Set(loss?.data?.step)]);
    expect([loss?.data?.step[0], loss?.data?.step.at(-1)]).toEqual([0, 29]);
    expect(loss?.data?.n).toBeGreaterThan(14);
  });
});
