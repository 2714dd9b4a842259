/** Associative recall on text: against Transformers, on token shards with and without resets, on bytes, and its counts on disk. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseConfig, Rng } from '../../../src/core/index.js';
import { DataConfigSchema, openData, prepareShards, type OpenedData } from '../../../src/data/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { evalMetrics, evalSchema, evalText, evalWords, Measurement, planMeasures } from '../../../src/lab/index.js';
import { arLimits } from '../../../src/lab/ar-runs.js';
import { readFindings, resolveRunConfig, type EvalRecord, type LimitRow } from '../../../src/lab/index.js';
import { uploadParameters } from '../../../src/loaded/index.js';
import { initialParameters, resolveModelConfig } from '../../../src/model/index.js';
import { cli } from '../../support/cli.js';
import { messageOf } from '../../support/folders.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const AT = { step: 1, tokens: 2 };
const engine = createReferenceEngine();
const folder = mkdtempSync(join(tmpdir(), 'longsight-ar-'));
const shards = join(folder, 'shards');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Programs in which a few names of their own come back. */
function program(seed: number): string {
  const rng = Rng.of(seed, 'program');
  const names = Array.from({ length: 5 }, () => Array.from({ length: 6 }, () => 'abcdefghij'[rng.int(10)]).join(''));
  const name = () => names[rng.int(names.length)];
  return Array.from({ length: 25 }, () => `${name()} = ${name()}(${name()});`).join('\n');
}

beforeAll(async () => {
  const lines = Array.from({ length: 150 }, (_, i) => JSON.stringify({ text: program(i) }));
  writeFileSync(join(folder, 'a.jsonl'), lines.join('\n'));
  const tokenizerFolder = join(DATA, 'tokenizer');
  const files = [join(folder, 'a.jsonl')];
  await prepareShards({ files, tokenizerFolder, dir: shards, chunkBytes: 4096, heldOut: 0.1, workers: 1 });
});

function open(data: unknown, seqLen: number): OpenedData {
  return openData(parseConfig(DataConfigSchema, data, 'data'), { seqLen, seed: 1, baseDir: folder });
}

async function measure(data: OpenedData, ar: unknown, notes: string[] = []): Promise<EvalRecord> {
  const model = resolveModelConfig({
    ...{ vocabSize: Math.max(256, data.vocabSize), hiddenSize: 8, numHeads: 2, intermediateSize: 8, layers: 'full' },
  });
  const config = evalSchema.parse({ batches: 2, needle: false, trace: false, ...(ar === undefined ? {} : { ar }) });
  const note = (text: string) => notes.push(text);
  const measurement = await Measurement.create({ engine, model, data, config, batchSize: 2, note });
  const record = await measurement.evaluate(uploadParameters(engine, initialParameters(model, 1)), AT, 'light');
  await measurement.dispose();
  return record;
}

describe('associative recall of a model saved by Transformers', () => {
  it('has the hits of an independent implementation, and its losses', async () => {
    const expected = JSON.parse(readFileSync(join(DATA, 'ar', 'expected.json'), 'utf8')) as Record<
      string,
      { targets: number; loss: number; hits: number }
    >;
    const texts = join(DATA, 'ar', 'texts.jsonl');
    const args = ['--texts', texts, '--length', '128', '--threads', '1', '--json'];
    const { stdout } = await cli(['eval', join(DATA, 'retrieval-heads'), ...args]);
    const { ar } = (
      JSON.parse(stdout.split('\n').find((line) => line.includes('"eval"')) ?? '') as {
        record: EvalRecord;
      }
    ).record;
    expect(ar).toMatchObject({ documents: 6, maxCount: 4, order: 2, countedIn: 'texts' });
    const found = {
      all: ar?.all,
      fresh: ar?.fresh,
      'far onset': ar?.far.onset,
      'far inside': ar?.far.inside,
      ...Object.fromEntries(
        (ar?.bins ?? []).flatMap(({ to, onset, inside }) => [
          [`${to} onset`, onset],
          [`${to} inside`, inside],
        ]),
      ),
    };
    expect(Object.keys(found).sort()).toEqual(Object.keys(expected).sort());
    for (const [name, { targets, loss, hits }] of Object.entries(expected)) {
      const own = found[name as keyof typeof found];
      expect([name, own?.targets]).toEqual([name, targets]);
      expect(Math.abs((own?.loss ?? NaN) - loss), name).toBeLessThan(1e-3);
      expect(Math.round((own?.accuracy ?? NaN) * targets), name).toBe(hits);
    }
  }, 120_000);
});

describe('associative recall in a run', () => {
  it('is measured on token shards unless switched off, with documents apart whether rows reset or not', async () => {
    using reset = open({ kind: 'shards', path: 'shards' }, 96);
    using joined = open({ kind: 'shards', path: 'shards', resets: false }, 96);
    const [a, b] = [await measure(reset, undefined), await measure(joined, undefined)];
    // The same rows, so the same targets and hits; the model reads across documents in the one, not in the other.
    const counts = ({ ar }: EvalRecord) =>
      [ar?.all, ar?.fresh, ...(ar?.bins ?? []).map((bin) => bin.all)].map((s) => s?.targets);
    expect(counts(a)).toEqual(counts(b));
    expect(a.ar?.all.targets).toBeGreaterThan(300);
    expect(a.ar?.bins.map(({ to }) => to)).toEqual([16, 64, 96]);
    expect(a.ar?.far).toMatchObject({ from: 73, to: 96 });
    // A row of 96 has 96 targets, less those that begin a document.
    expect(a.ar?.all.targets).toBeLessThan(4 * 96);
    const hits = ({ ar }: EvalRecord) => (ar?.bins ?? []).reduce((sum, bin) => sum + bin.all.targets, 0);
    expect(hits(a)).toBeGreaterThan(0);
    const { lossLow, loss, lossHigh } = a.ar?.all ?? {};
    expect([lossLow, loss, lossHigh]).toEqual([lossLow, loss, lossHigh].sort((x, y) => (x ?? 0) - (y ?? 0)));
    expect(evalMetrics(a)['eval/ar/all/loss']).toBe(loss);
    expect(evalText(a)).toContain('new grams');
    expect(evalWords(a)).toContain('held-out loss');
    expect((await measure(joined, false)).ar).toBeUndefined();
    // Rare is what occurs little in training: without a limit more counts, with none less.
    const every = await measure(joined, { maxCount: 1e9 });
    const none = await measure(joined, { maxCount: 0 });
    expect(hits(every)).toBeGreaterThan(hits(b) + 50);
    expect(hits(none)).toBeLessThanOrEqual(hits(b));
  });

  it('counts grams once, beside the shards, and refuses damaged counts by name', async () => {
    const anew = async (notes: string[] = []) => {
      using data = open({ kind: 'shards', path: 'shards' }, 96);
      return measure(data, true, notes);
    };
    const kept = () => readdirSync(shards).filter((name) => name.endsWith('.counts'));
    const file = join(shards, kept()[0] ?? '');
    const before = readFileSync(file);
    const notes: string[] = [];
    using data = open({ kind: 'shards', path: 'shards' }, 96);
    const { ar } = await measure(data, true, notes);
    expect(notes).toEqual([]);
    rmSync(file);
    // The hits in held-out batches are known as long as the data are open.
    expect((await measure(data, true, notes)).ar).toEqual(ar);
    expect(notes).toEqual([]);
    expect((await anew(notes)).ar).toEqual(ar);
    expect(notes).toEqual([expect.stringContaining('counting how often grams of 2 tokens occur')]);
    expect(readFileSync(file).equals(before)).toBe(true);
    const damaged = Buffer.from(before);
    damaged[60] = (damaged[60] ?? 0) ^ 1;
    writeFileSync(file, damaged);
    await expect(anew()).rejects.toThrow(`${file} does not have the checksum in its header; delete the file`);
    writeFileSync(file, before.subarray(0, 40));
    await expect(anew()).rejects.toThrow(`${file} does not start as a file of gram counts does`);
    writeFileSync(file, before);
  });

  it.skipIf(process.getuid?.() === 0)('counts anew where the folder cannot be written, and says so', async () => {
    using data = open({ kind: 'shards', path: 'shards' }, 96);
    for (const name of readdirSync(shards)) if (name.endsWith('.counts')) rmSync(join(shards, name));
    chmodSync(shards, 0o500);
    const notes: string[] = [];
    expect((await measure(data, true, notes)).ar).toBeDefined();
    expect(notes.at(-1)).toContain('the counts are not kept');
    chmodSync(shards, 0o700);
  });

  it('is measured on bytes where that is asked for, by grams of six', async () => {
    using data = open({ kind: 'text', files: 'a.jsonl', heldOut: 0.2 }, 128);
    expect(planMeasures({ data, config: evalSchema.parse({}) }, ['ar']).plans.size).toBe(0);
    const { ar } = await measure(data, true);
    expect(ar).toMatchObject({ order: 6, countedIn: 'training' });
    expect(ar?.bins.at(-1)?.all.targets).toBeGreaterThan(10);
  });

  it('is refused where nothing is held out as text', () => {
    using data = open({ kind: 'recall' }, 32);
    expect(planMeasures({ data, config: evalSchema.parse({}) }, ['ar']).plans.size).toBe(0);
    expect(messageOf(() => planMeasures({ data, config: evalSchema.parse({ ar: true }) }))).toBe(
      'eval.ar: the data hold no text out; use text or token shards with held-out documents',
    );
  });
});

describe('who carries associative recall', () => {
  it('is asked under limits that rows are long enough for, and recurrent layers can be afforded under', () => {
    const limits = (layers: string, seqLen: number, part: 'full' | 'efficient') => {
      const run = resolveRunConfig({
        model: { vocabSize: 256, hiddenSize: 16, numHeads: 2, layers },
        data: { kind: 'text', files: 'a.jsonl' },
        train: { seqLen, batchSize: 1, steps: 1 },
      });
      return arLimits({ run: { dir: '', run }, step: 1, config: run.model }, part);
    };
    const all = [16, 64, 128, 256, 512, 1024, 2048];
    expect(limits('swa:128 full', 4096, 'full')).toEqual(all);
    expect(limits('swa:128 full', 4096, 'efficient')).toEqual(all);
    expect(limits('gdn full', 4096, 'full')).toEqual(all);
    expect(limits('gdn full', 4096, 'efficient')).toEqual([16, 64]);
    expect(limits('swa:8 full', 65, 'full')).toEqual([16, 64]);
    expect(limits('swa:8 full', 64, 'full')).toEqual([16]);
    expect(limits('swa:8 full', 16, 'full')).toEqual([1]);
  });

  it('is asked by limits of reach and by masking heads, on the held-out text of the run', async () => {
    const run = join(folder, 'run.yaml');
    writeFileSync(
      run,
      [
        "model: { hiddenSize: 16, numHeads: 2, intermediateSize: 16, layers: 'swa:16 full' }",
        'data: { kind: shards, path: shards }',
        'train: { seqLen: 96, batchSize: 4, steps: 2, checkpointEvery: 2, evalEvery: 2 }',
        'eval: { batches: 6, needle: false, trace: false, ar: { maxCount: 1000000 } }',
      ].join('\n'),
    );
    const dir = join(folder, 'run');
    const json = async (...args: string[]) => {
      const { code, stdout, stderr } = await cli([...args, '--threads', '1', '--json']);
      expect([code, stderr]).toEqual([0, '']);
      return stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    };
    await json('train', run, '--out', dir);
    const own = JSON.parse(readFileSync(join(dir, 'evals', 'step-000002.json'), 'utf8')) as EvalRecord;
    // Asked for nothing else, limits measure associative recall, under limits that are the ends of its bins.
    const csv = join(folder, 'limits.csv');
    const [limited] = await json('constrain', dir, '--csv', csv);
    const rows = limited?.['rows'] as LimitRow[];
    const named = rows.map(({ part, keys }) => [part, keys]);
    expect(named).toEqual([
      [null, null],
      ...['full', 'efficient'].flatMap((part) => [16, 64].map((keys) => [part, keys])),
    ]);
    // The first row limits nothing: it is the run's own evaluation, whole.
    expect(rows[0]).toMatchObject({ loss: own.loss, recall: [], needleAccuracy: null });
    expect(rows[0]?.ar).toEqual({
      ...{ from: 73, to: 96, ...own.ar?.far.all },
      bins: own.ar?.bins.map(({ from, to, all: { targets, accuracy, loss } }) => ({
        from,
        to,
        targets,
        accuracy,
        loss,
      })),
    });
    const lines = readFileSync(csv, 'utf8').trim().split('\r\n');
    expect(lines).toHaveLength(6);
    expect(lines[0]).toContain('ar_far_accuracy,ar_far_loss');
    expect(lines[1]).toContain(`,${own.ar?.bins[0]?.all.accuracy},${own.ar?.bins[0]?.all.loss}`);
    expect((await cli(['constrain', dir, '--keys', '16', '--threads', '1'])).stdout).toMatch(
      /AR beyond 72 \(95 %\).*its loss[\s\S]*Top-1 accuracy of associative recall by distance:\n +limited +keys +1-16/,
    );
    // The window of the efficient layers shows 16 keys: limits of 16 and 17 change nothing, one of 15 does.
    const [edges] = await json('constrain', dir, '--part', 'efficient', '--keys', '15,16,17');
    const [whole, below, same, above] = edges?.['rows'] as LimitRow[];
    const numbers = ({ loss, ar }: LimitRow) => ({ loss, ar });
    expect(numbers(same as LimitRow)).toEqual(numbers(whole as LimitRow));
    expect(numbers(above as LimitRow)).toEqual(numbers(whole as LimitRow));
    expect(below?.loss).not.toBe(whole?.loss);
    const [all] = await json('constrain', dir, '--measure', 'all', '--keys', '4');
    expect((all?.['rows'] as LimitRow[])[0]).toMatchObject({ loss: own.loss });
    // As many hits as the run's own evaluation has far ones are those: with no head off, it is that evaluation.
    const far = own.ar?.far.all;
    const wanted = String(far?.targets);
    const [masked] = await json('mask', dir, '--heads', '1:0', '--samples', wanted, '--draws', '1');
    expect(masked).toMatchObject({ measure: 'ar', chosenBy: 'given', heads: [{ layer: 1, head: 0 }] });
    const baseline = masked?.['baseline'] as Record<string, number>;
    expect(baseline).toMatchObject({ from: 73, samples: far?.targets, accuracy: far?.accuracy });
    expect(baseline['loss']).toBeCloseTo(far?.loss ?? NaN, 4);
    const off = masked?.['masked'] as Record<string, number>;
    expect(off['samples']).toBe(far?.targets);
    expect(off['loss']).not.toBe(baseline['loss']);
    expect(off['allLoss']).not.toBe(baseline['allLoss']);
    // Unless they are named, heads are chosen by their attention on what hits copy: the window shows none of it.
    const [found] = await json('mask', dir, '--top', '1', '--samples', '20', '--draws', '2');
    expect(found).toMatchObject({ measure: 'ar', chosenBy: 'attention', heads: [{ layer: 1 }] });
    const draws = (found?.['random'] as { heads: object[] }[]).map(({ heads }) => heads);
    expect(draws.every((heads) => heads.length === 1)).toBe(true);
    // `analyze` asks for the same, without a flag, and the report shows it; needles are asked for by name.
    const analyze = (...flags: string[]) => json('analyze', dir, '--only', 'limits,masking', ...flags);
    expect((await analyze()).at(-1)).toMatchObject({ event: 'analyze', skipped: [] });
    const findings = readFindings(dir);
    expect(findings.limits.at(-1)?.rows[0]?.ar?.from).toBe(73);
    expect(findings.masking.at(-1)).toMatchObject({ measure: 'ar' });
    expect((await analyze()).at(-1)).toMatchObject({ kept: [], before: 2 });
    expect((await cli(['report', dir, '--quiet'])).code).toBe(0);
    const page = readFileSync(join(dir, 'report.html'), 'utf8');
    for (const title of ['who carries associative recall', 'Far associative recall with heads switched off'])
      expect(page).toContain(title);
    expect(page).not.toContain('Needle accuracy with heads');
    // All that the run measures, under the limits of that; masking has no such choice, and is there already.
    expect((await analyze('--measure', 'all')).at(-1)).toMatchObject({ before: 1, skipped: [] });
    expect(
      readFindings(dir)
        .limits.at(-1)
        ?.rows.map(({ keys }) => keys),
    ).toEqual([null, 4, 16, 64, 4, 16, 64]);
    expect((await cli(['analyze', dir, '--measure', 'recal'])).stderr).toContain(
      '--measure must be one of all, ar, needle',
    );
    const refused = await cli(['constrain', join(DATA, 'retrieval-heads'), '--measure', 'ar']);
    expect([refused.code, refused.stderr]).toEqual([
      2,
      'longsight: the measure ar is of the held-out data of a run; leave texts (--texts) out, and name a run\n',
    ]);
  }, 120_000);
});
