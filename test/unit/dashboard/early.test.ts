/** Curves of one metric of a file that is still to be read: the same points as `JSON.parse` of its lines finds. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CurvesHeader } from '../../../src/dashboard/api.js';
import { Column } from '../../../src/dashboard/columns.js';
import { curvesOf } from '../../../src/dashboard/curves.js';
import { MetricsFile } from '../../../src/dashboard/metrics-file.js';
import { MetricsStore } from '../../../src/dashboard/metrics-store.js';
import { earlyCurves } from '../../../src/dashboard/sampler.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-early-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('a metric that is asked for before its file is read', () => {
  const ALL = { whole: 1 << 30, lines: 48 };
  const METRIC = 'eval.ar.0';
  /** The column that `JSON.parse` of every whole line gives. */
  function parsedColumn(text: string, metric: string): Column {
    const column = new Column();
    for (const line of text.split('\n').slice(0, -1)) {
      let value: unknown;
      try {
        value = JSON.parse(line);
      } catch {
        continue;
      }
      if (typeof value !== 'object' || value === null) continue;
      const { step, tokens, time, ...own } = value as Record<string, unknown>;
      const number = Object.hasOwn(own, metric) ? own[metric] : null;
      if (typeof step !== 'number' || typeof tokens !== 'number' || typeof number !== 'number') continue;
      if (Number.isFinite(number)) column.push(step, tokens, typeof time === 'number' ? time : 0, number);
    }
    return column;
  }
  /** All forms of lines that a file may have; `x` stands for a number. */
  const FORMS = [
    ...[
      `{"step":x,"tokens":x,"time":x,"loss":x,"${METRIC}":x}`,
      `{"step":x,"tokens":x,"time":x,"${METRIC}":x,"loss":x}`,
    ],
    ...[`{"${METRIC}":x,"tokens":x,"step":x}`, '{"step":x,"tokens":x,"time":x,"loss":x}', '', '{}', '[x]', 'x', 'null'],
    ...[
      `{ "step": x, "tokens": x, "${METRIC}": x }`,
      `{"step":x,"tokens":x,"${METRIC}":x}\r`,
      `{"step":x,"${METRIC}":x}`,
    ],
    ...[`{"step":x,"tokens":x,"eval":{"${METRIC}":x}}`, `{"step":x,"tokens":x,"list":[{"${METRIC}":x}],"${METRIC}":x}`],
    ...[`{"step":x,"tokens":x,"eval":{"ar":{"0":x}}}`, `{"step":x,"tokens":x,"note":"${METRIC}","${METRIC}":x}`],
    ...[`{"step":x,"tokens":x,"note":"\\"${METRIC}\\":7","loss":x}`, `{"step":x,"tokens":x,"eval\\u002ear.0":x}`],
    ...[`{"step":x,"tokens":x,"${METRIC}":NaN}`, `{"step":x,"tokens":x,"${METRIC}":x,"loss":NaN}`],
    ...[`{"step":x,"tokens":x,"loss":-Infinity,"${METRIC}":x}`, `{"step":x,"tokens":x,"${METRIC}":null,"loss":x}`],
    ...[
      `{"step":x,"tokens":x,"${METRIC}":"x"}`,
      `{"step":x,"tokens":x,"${METRIC}":1e999}`,
      `{"step":null,"tokens":x,"${METRIC}":x}`,
    ],
    ...[`{"step":x,"tokens":x,"${METRIC}":x,"${METRIC}":x}`, `{"step":x,"tokens":x,"time":null,"${METRIC}":x}`],
    ...[
      `{"step":x,"tokens":x,"${METRIC}":x`,
      `"step":x,"tokens":x,"${METRIC}":x}`,
      `{"step":x,"tokens":x,"loss":x "${METRIC}":x}`,
      `{"step":x,"tokens":x,"${METRIC}":x}}`,
    ],
    ...[
      `{"step":x,"tokens":x,"NaN/Infinity":x,"${METRIC}":x}`,
      `{"step":x,"tokens":x,"my ${METRIC}":x,"${METRIC}.more":x}`,
    ],
    ...[
      `{"step":x,"tokens":x,"${METRIC}":-x}`,
      `{"step":x,"tokens":x,"${METRIC}":xE-2}`,
      `{"step":x,"tokens":x,"${METRIC}":x:x}`,
    ],
  ];

  it('has the points that JSON.parse finds, whatever its lines are like', async () => {
    const path = join(folder, 'metrics.jsonl');
    // Of few bits, so that sums are the same in any order of rounding.
    const number = fc.integer({ min: -4000, max: 4000 }).map((n) => String(Math.abs(n) / 8));
    const line = fc.tuple(fc.constantFrom(...FORMS), fc.array(number, { minLength: 8, maxLength: 8 }));
    const lines = fc.array(line, { minLength: 1, maxLength: 40 });
    const metrics = [METRIC, 'loss', 'NaN/Infinity', 'step'];
    await fc.assert(
      fc.asyncProperty(lines, fc.boolean(), async (all, isWhole) => {
        const text = all.map(([form, numbers]) => filled(form, numbers)).join('\n') + (isWhole ? '\n' : '');
        writeFileSync(path, text);
        const found = await earlyCurves(path, metrics, ALL);
        for (const metric of metrics) {
          const wanted = parsedColumn(text, metric).data();
          const early = found?.get(metric);
          expect(early).toEqual({ data: wanted.n === 0 ? null : wanted, sampled: false });
          const file = new MetricsFile(path);
          while (file.advance() === 'more');
          expect(file.column(metric)).toEqual(early?.data);
        }
      }),
      { numRuns: 60 },
    );
  });

  /** A form with its numbers. */
  function filled(form: string, numbers: readonly string[]): string {
    let i = 0;
    return form.replace(/(?<=[:[-])x|(?<=")x(?=")|^x/g, () => numbers[i++ % numbers.length] ?? '0');
  }

  it('is found in files of several chunks, where it comes late and rarely, and longer lines than a chunk', async () => {
    const path = join(folder, 'metrics.jsonl');
    const rare = (i: number) => (i > 20_000 && i % 777 === 0 ? `,"rare":${i / 2}` : '');
    const lines = Array.from(
      { length: 40_000 },
      (_, i) => `{"step":${i},"tokens":${10 * i},"time":${i / 4},"loss":${i % 7}${rare(i)}}\n`,
    );
    const long = `{"step":40000,"tokens":1,"text":"${'y'.repeat(3 << 20)}","loss":9}\n`;
    const text = `${lines.join('')}${long}{"step":40001,"tokens":2,"loss":8}\n{"step":40002,"to`;
    writeFileSync(path, text);
    const found = await earlyCurves(path, ['loss', 'rare'], ALL);
    for (const metric of ['loss', 'rare'])
      expect(found?.get(metric)).toEqual({ data: parsedColumn(text, metric).data(), sampled: false });
  });

  it('is answered with all of its points, as the read file is then', async () => {
    const path = join(folder, 'metrics.jsonl');
    const lines = Array.from(
      { length: 3000 },
      (_, i) => `{"step":${i},"tokens":${10 * i},"time":${i},"loss":${i / 8}}\n`,
    );
    writeFileSync(path, lines.join(''));
    const store = new MetricsStore(null, () => undefined);
    store.add('run', path);
    const asked = { metrics: ['loss', 'none'], axis: 'step', runs: ['run'], most: 256, sampled: true } as const;
    expect(headOf(curvesOf(store, asked))[0]).toEqual({ curves: [], pending: ['run'], unseen: ['run'] });
    await store.look(asked.runs, asked.metrics, asked);
    const [before, first] = headOf(curvesOf(store, asked));
    expect(before.curves).toEqual([{ run: 'run', metric: 'loss', n: 188, perBucket: 16, end: 2999, sampled: false }]);
    expect([before.pending, before.unseen]).toEqual([['run'], []]);
    await store.settle(['run'], 60_000);
    const [after, second] = headOf(curvesOf(store, asked));
    expect(after).toEqual({ curves: before.curves, pending: [], unseen: [] });
    expect(second).toEqual(first);
    expect(store.early('run', 'loss')).toBeNull();
    store.close();
  });

  it('is looked for in many files behind an answer that does not wait for all of them', async () => {
    const runs = Array.from({ length: 7 }, (_, i) => `run-${i}`);
    const store = new MetricsStore(null, () => undefined);
    for (const run of runs) {
      writeFileSync(join(folder, run), '{"step":1,"tokens":2,"loss":3,"other":4}\n');
      store.add(run, join(folder, run));
    }
    const headFor = (metric: string) =>
      headOf(curvesOf(store, { metrics: [metric], axis: 'step', runs, most: 64, sampled: true }))[0];
    const looking = store.look(runs, ['loss'], { most: 64, ms: 0 });
    // Nothing waits for a disk.
    expect(headFor('loss')).toEqual({ curves: [], pending: runs, unseen: runs });
    await looking;
    await vi.waitFor(() => expect(headFor('loss').unseen).toEqual([]), { timeout: 60_000 });
    expect(headFor('loss').curves.map(({ run, n }) => [run, n])).toEqual(runs.map((run) => [run, 1]));
    expect(headFor('loss').pending).toEqual(runs);
    // Something else that is asked for meanwhile comes first.
    expect(headFor('other').unseen).toEqual(runs);
    void store.look(runs, ['none'], { most: 64, ms: 0 });
    await store.look(runs, ['other'], { most: 64, ms: 60_000 });
    expect([headFor('other').unseen.length < runs.length, headFor('other').curves.length > 0]).toEqual([true, true]);
    await store.look(runs, ['other', 'none', 'loss'], { most: 64, ms: 60_000 });
    expect([headFor('other').unseen, headFor('none').unseen, headFor('none').curves]).toEqual([[], [], []]);
    store.close();
  });

  it('is answered as soon as there is a curve where that is asked for', async () => {
    const runs = Array.from({ length: 30 }, (_, i) => `soon-${i}`);
    const store = new MetricsStore(null, () => undefined);
    for (const run of runs) {
      writeFileSync(join(folder, run), '{"step":1,"tokens":2,"loss":3}\n'.repeat(run === 'soon-0' ? 1 : 2));
      store.add(run, join(folder, run));
    }
    const asked = { metrics: ['loss'], axis: 'step', runs, most: 64, sampled: true, soon: true } as const;
    const given = async () => {
      await store.look(runs, asked.metrics, { ...asked, ms: 60_000 });
      return headOf(curvesOf(store, asked, 60_000))[0];
    };
    const first = await given();
    expect([first.curves.length > 0, first.unseen.length > 0]).toEqual([true, true]);
    expect(first.unseen.length).toBe(runs.length - first.curves.length);
    // Nor does it wait for others where one is read.
    await store.settle(['soon-29'], 60_000);
    const looking = store.look(runs, ['none'], { ...asked, ms: 60_000 });
    const timer = await Promise.race([looking.then(() => 'at once'), new Promise((done) => setTimeout(done, 5000))]);
    expect(timer).toBe('at once');
    store.close();
  });

  it('is answered run by run where columns are read slowly, each time of one more at least', async () => {
    const runs = ['a', 'b', 'c'];
    const store = new MetricsStore(null, () => undefined);
    for (const run of runs) {
      writeFileSync(join(folder, run), '{"step":1,"tokens":2,"loss":3}\n');
      store.add(run, join(folder, run));
    }
    await store.settle(runs, 60_000);
    const [all] = headOf(curvesOf(store, { metrics: ['loss'], axis: 'step', runs, most: 64, sampled: false }, 60_000));
    expect([all.curves.length, all.pending, all.unseen]).toEqual([3, [], []]);
    const came = [];
    for (let left: readonly string[] = runs; left.length > 0;) {
      const asked = { metrics: ['loss'], axis: 'step', runs: left, most: 64, sampled: false } as const;
      const [{ curves, pending, unseen }] = headOf(curvesOf(store, asked, 0));
      expect([pending, unseen]).toEqual([left.slice(1), left.slice(1)]);
      came.push(...curves);
      left = unseen;
    }
    expect(came).toEqual(all.curves);
    store.close();
  });

  /** The head of an answer, and the numbers behind it. */
  function headOf(bytes: Buffer): [CurvesHeader, Buffer] {
    const length = bytes.readUInt32LE(0);
    const head = JSON.parse(bytes.toString('utf8', 4, 4 + length)) as CurvesHeader;
    return [head, bytes.subarray(8 * Math.ceil((4 + length) / 8))];
  }
});
