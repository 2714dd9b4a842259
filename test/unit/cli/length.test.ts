/** `longsight length` against plain loops over the documents, and against `longsight eval` on the same texts. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { present, Rng, tensorFrom, toNumbers } from '../../../src/core/index.js';
import { createReferenceEngine, evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import { ANALYSES, evaluateOnTexts, measure, openModel } from '../../../src/lab/index.js';
import { lengthRows, textDocuments } from '../../../src/lab/length-rows.js';
import { forward, parameterInputs } from '../../../src/model/index.js';
import { cli } from '../../support/cli.js';

const TRAINED = 24;
const EDGES = [TRAINED - 1, TRAINED, TRAINED + 1];
/** More rows than there are. */
const ALL = 10_000;

let folder: string;
let run: string;
let texts: string[];

/** Texts of repeated words, 10 to 60 bytes. */
function someTexts(count: number, seed: number): string[] {
  const rng = Rng.of(seed, 'length-test');
  const words = ['alpha', 'bravo', 'carbon', 'delta', 'x', 'yy', 'echoes'];
  return Array.from({ length: count }, () => {
    const size = 10 + rng.int(51);
    let text = '';
    while (text.length < size) text += `${present(words[rng.int(words.length)])} `;
    return text.slice(0, size);
  });
}

const file = (name: string, all: readonly string[]): string => {
  const path = join(folder, name);
  writeFileSync(path, all.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  return path;
};

/** A tiny run in a new folder. */
async function trained(name: string, layers: string): Promise<string> {
  const config = join(folder, `${name}.yaml`);
  const dir = join(folder, name);
  writeFileSync(
    config,
    `model: { hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: "${layers}" }\n` +
      `data: { kind: text, files: ${join(folder, 'all.jsonl')}, heldOut: 0.3 }\n` +
      `train: { seqLen: ${TRAINED}, batchSize: 4, steps: 2, lr: 1e-2, warmupSteps: 1, evalEvery: 2, checkpointEvery: 2 }\n` +
      'eval: { batches: 1, ar: { maxCount: 9 }, needle: false, trace: false }\nengine: onnx\nthreads: 1\n',
  );
  const { code, stderr } = await cli(['train', config, '--out', dir, '--quiet']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return dir;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-length-'));
  texts = someTexts(130, 1);
  file('all.jsonl', texts);
  run = await trained('run', 'swa:6 full');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Losses and hits of every target, one row at a time, in float64. */
function plainScores(dir: string, rows: readonly (readonly number[])[]): { loss: number; hit: boolean }[][] {
  const model = openModel(dir);
  const { config } = model;
  const held = model.parameters();
  return rows.map((row) => {
    const tokens = input('tokens', 'i32', [1, row.length - 1]);
    const values = parameterInputs(config, 'f64');
    const { logits } = forward(config, values, tokens, {});
    const given = Object.fromEntries([...held].map(([name, t]) => [name, tensorFrom('f64', t.shape, toNumbers(t))]));
    const found = evaluateReference(makeGraph({ ...Object.fromEntries(values), tokens }, { logits }), {
      ...given,
      tokens: tensorFrom('i32', [1, row.length - 1], row.slice(0, -1)),
    });
    const all = toNumbers(present(found['logits']));
    const V = config.vocabSize;
    return row.slice(1).map((target, t) => {
      const own = all.subarray(t * V, (t + 1) * V);
      const most = Math.max(...own);
      const sum = own.reduce((s, x) => s + Math.exp(x - most), 0);
      return { loss: most + Math.log(sum) - present(own[target]), hit: own.indexOf(most) === target };
    });
  });
}

/** Held-out and training documents, as the split is described: by the first 48 bits of their SHA-256. */
function split(): { readonly heldOut: string[]; readonly training: string[] } {
  const isHeldOut = (text: string) => createHash('sha256').update(text).digest().readUIntBE(0, 6) < 0.3 * 2 ** 48;
  return { heldOut: texts.filter(isHeldOut), training: texts.filter((text) => !isHeldOut(text)) };
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe('longsight length', () => {
  it.each(EDGES)('at %i tokens gives what plain loops over the held-out documents give', async (length) => {
    const { heldOut, training } = split();
    // A document ends with a byte 0; every row has a target behind its last token.
    const rows = heldOut.flatMap((text) => {
      const bytes = [...Buffer.from(text), 0];
      const count = Math.floor((bytes.length - 1) / length);
      return Array.from({ length: count }, (_, i) => bytes.slice(i * length, (i + 1) * length + 1));
    });
    const scores = plainScores(run, rows);
    const model = openModel(run, { engine: createReferenceEngine() });
    const found = await measure(ANALYSES.length, model, { lengths: [length], samples: ALL });
    const [at] = found.lengths;
    expect([found.trained, at?.rows, at?.sequences]).toEqual([TRAINED, 'documents', rows.length]);
    expect(at?.documents).toBe(heldOut.filter((text) => text.length >= length).length);
    const { positions, ar, name } = present(at?.variants[0]);
    const edges = length > TRAINED ? [16, TRAINED, length] : [16, length];
    expect(positions.map(({ to }) => to)).toEqual(edges);
    expect(name).toBe('as trained');
    for (const { from, to, all } of positions) {
      const own = scores.flatMap((row) => row.slice(from - 1, to));
      expect(all.targets).toBe(own.length);
      expect(Math.abs(present(all.loss) - mean(own.map((s) => s.loss)))).toBeLessThan(1e-6);
      expect(all.accuracy).toBe(own.filter((s) => s.hit).length / own.length);
      expect(present(all.lossLow)).toBeLessThan(present(all.loss));
      expect(present(all.lossHigh)).toBeGreaterThan(present(all.loss));
    }
    // Grams of six bytes that came before in the row and occur at most nine times in the training documents.
    const occurrences = (gram: string): number =>
      training.reduce((n, text) => n + [...text].filter((_, i) => text.startsWith(gram, i)).length, 0);
    const hits = rows.flatMap((row, r) => {
      const text = String.fromCharCode(...row);
      return [...text].flatMap((_, end) => {
        const gram = text.slice(end - 5, end + 1);
        const before = end < 6 ? -1 : text.lastIndexOf(gram, end - 6);
        if (before < 0 || occurrences(gram) > 9) return [];
        return [{ distance: end - 5 - before, ...present(scores[r]?.[end - 1]) }];
      });
    });
    expect(hits.length).toBeGreaterThan(5);
    for (const { from, to, all } of [...present(ar).bins, present(ar).far]) {
      const own = hits.filter(({ distance }) => distance >= from && distance <= to);
      expect([from, to, all.targets]).toEqual([from, to, own.length]);
      if (own.length === 0) continue;
      expect(all.accuracy).toBe(own.filter((s) => s.hit).length / own.length);
      expect(Math.abs(present(all.loss) - mean(own.map((s) => s.loss)))).toBeLessThan(1e-6);
    }
    expect(ar?.far.from).toBe(length > TRAINED ? TRAINED + 1 : Math.floor(0.75 * length) + 1);
  });

  it.each(EDGES)('at %i tokens agrees with eval on texts of one window each', async (length) => {
    const own = file(
      `texts-${length}.jsonl`,
      someTexts(40, 2).filter((text) => text.length > length && text.length <= 2 * length),
    );
    const model = openModel(run, { threads: 1 });
    try {
      const found = await measure(ANALYSES.length, model, { lengths: [length], texts: own, samples: ALL });
      const { record } = await evaluateOnTexts(model, { texts: own, length, note: () => undefined });
      const { positions, ar, all } = present(found.lengths[0]?.variants[0]);
      expect(Math.abs(present(all.loss) - present(record.loss))).toBeLessThan(1e-6);
      for (const { from, to, all: bin } of positions) {
        const losses = present(record.perPositionLoss)
          .slice(from - 1, to)
          .map(present);
        expect(Math.abs(present(bin.loss) - mean(losses))).toBeLessThan(1e-6);
      }
      const told = present(record.ar);
      const counted = ({ targets, accuracy }: { targets: number; accuracy: number | null }) => [targets, accuracy];
      expect([ar?.documents, ar?.countedIn]).toEqual([told.documents, 'training']);
      for (const what of ['all', 'fresh'] as const) expect(counted(present(ar)[what])).toEqual(counted(told[what]));
      if (length <= TRAINED) {
        expect(ar?.bins.map((bin) => counted(bin.all))).toEqual(told.bins.map((bin) => counted(bin.all)));
      }
    } finally {
      await model.dispose();
    }
  });

  it('measures the same weights under changed positions', async () => {
    const model = openModel(run, { threads: 1 });
    const nope = openModel(await trained('nope', 'swa:6 full:nope'), { threads: 1 });
    try {
      const options = { lengths: [20, 40], samples: 6, ropeTheta: [500, 500], yarn: [4] };
      const { lengths } = await measure(ANALYSES.length, model, options);
      const names = ['as trained', 'base 500', 'YaRN 4'];
      for (const { variants } of lengths) {
        expect(variants.map((own) => own.name)).toEqual(names);
        expect(new Set(variants.map((own) => own.all.loss)).size).toBe(3);
      }
      const grown = await measure(ANALYSES.length, nope, { ...options, temperature: ['log', 'grow'], fitting: true });
      const losses = grown.lengths.map(({ variants }) => variants.map((own) => own.all.loss));
      expect(grown.lengths[0]?.variants.map((own) => own.name)).toEqual([
        ...['as trained', 'temperature log', 'temperature grow'],
      ]);
      // Rows within the length trained on do not grow.
      expect([losses[0]?.[2] === losses[0]?.[0], losses[1]?.[2] === losses[1]?.[0]]).toEqual([true, false]);
      await expect(measure(ANALYSES.length, nope, options)).rejects.toThrow(/base 500 would change nothing/);
    } finally {
      await model.dispose();
      await nope.dispose();
    }
  });

  it('keeps what it found for the report, and says how rows were packed and what was left out', async () => {
    const long = await cli(['length', run, '--lengths', '61', '--samples', '2', '--csv', join(folder, 'rows.csv')]);
    expect([long.code, long.stdout]).toEqual([
      0,
      expect.stringMatching(/fewer than two documents are so long: 2 rows packed from/),
    ]);
    expect(readFileSync(join(folder, 'rows.csv'), 'utf8')).toMatch(/^2,61,packed,as trained,position,1,16,\d+,/m);
    const args = ['analyze', run, '--only', 'length', '--lengths', '20,30', '--temperature', 'log', '--yarn', '2'];
    const first = await cli(args);
    expect([first.code, first.stderr]).toEqual([0, expect.stringMatching(/temperature log left out: .*\(NoPE\)/)]);
    expect((await cli(args)).stderr).toContain('1 measurements, 1 there already');
    expect((await cli(['report', run])).code).toBe(0);
    const report = readFileSync(join(run, 'report.html'), 'utf8');
    expect(report).toContain('Associative recall by distance beyond the trained length');
    expect(report).toMatch(/At 30 tokens \(\d+ rows from \d+ documents, one document in each\)/);
    expect(report).toContain('aria-label="Loss by position beyond the trained length, YaRN 2"');
  });

  it.each([
    [['--lengths', '100k'], /fewer than a row of 102400 with its last target; name shorter lengths/],
    [['--lengths', '0'], /--lengths must be tokens/],
    [[], /fewer than a row of 4096/],
    [['--lengths', '20', '--temperature', 'log'], /no heads without rotary positions/],
    [['--lengths', '20', '--temperature', 'hot'], /--temperature must be some of log, grow/],
    [['--lengths', '20', '--yarn', '1'], /--yarn 1: write numbers/],
    [['--lengths', '20', '--needles', '1'], /the length \(--lengths\) must be at least/],
    [['--lengths', '20', '--texts', '.'], /\. is not a plain file/],
  ])('refuses %j in one sentence', async (args, message) => {
    const before = readdirSync(run, { recursive: true }).length;
    const { code, stdout, stderr } = await cli(['length', run, ...args]);
    expect([code, stdout]).toEqual([2, '']);
    const said = stderr.trim().split('\n');
    expect(said.at(-1)).toMatch(message);
    // Before anything that takes long.
    expect(said.filter((line) => line.startsWith('counting'))).toEqual([]);
    expect(readdirSync(run, { recursive: true })).toHaveLength(before);
  });

  it('says of a run without text that it reads none, not to name texts', async () => {
    const config = join(folder, 'recall.yaml');
    const small = 'model: { hiddenSize: 16, numHeads: 2, layers: full }\ndata: { kind: recall }\n';
    const brief = 'train: { seqLen: 64, batchSize: 1, steps: 1 }\neval: { batches: 1, needle: false, trace: false }\n';
    writeFileSync(config, `${small}${brief}engine: onnx\nthreads: 1\n`);
    const recall = join(folder, 'recall');
    expect((await cli(['train', config, '--out', recall, '--quiet'])).code).toBe(0);
    const { code, stderr } = await cli(['length', recall, '--lengths', '20']);
    expect([code, stderr]).toEqual([
      2,
      `longsight: ${recall} was not trained on text, so it cannot read texts; name another model\n`,
    ]);
  });

  it('leaves its options to itself', async () => {
    const { code, stderr } = await cli(['analyze', run, '--yarn', '2']);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/--yarn is of length, .*--only length/)]);
    expect(existsSync(join(run, 'analysis', 'entropy-step-000002.json'))).toBe(false);
  });
});

describe('rows of one length', () => {
  const documents = textDocuments(
    [9, 10, 11, 21, 4].map((n, d) => Int32Array.from({ length: n }, (_, i) => 100 * d + i)),
  );

  it('come from documents that are long enough, first rows first', () => {
    // Ten tokens and a last target: documents of 11 and 21, of which the second has two rows.
    const { rows, documents: count, sequences } = present(lengthRows(documents, 10, 9));
    expect([rows, count]).toEqual(['documents', 2]);
    const starts = sequences.map(({ tokens }) => tokens[0]);
    expect(new Set(starts.slice(0, 2))).toEqual(new Set([200, 300]));
    expect(starts.slice(2)).toEqual([310]);
    for (const { tokens, targets, counts } of sequences) {
      expect([...targets]).toEqual(Array.from(tokens, (id) => id + 1));
      expect(counts(9)).toBe(true);
    }
    expect(present(lengthRows(documents, 10, 1)).sequences).toHaveLength(1);
  });

  it('are packed only where fewer than two documents are long enough, if there are more than one', () => {
    // The second longest has 11 tokens, a row of ten and its last target.
    expect(present(lengthRows(documents, 10, 9)).rows).toBe('documents');
    expect(present(lengthRows(documents, 11, 9)).rows).toBe('packed');
    expect(present(lengthRows(documents.slice(3, 4), 20, 9)).rows).toBe('documents');
    expect(lengthRows(documents.slice(3, 4), 21, 9)).toBeNull();
    const { rows, sequences } = present(lengthRows(documents, 21, 9));
    // 55 tokens in all: two rows of 21 and a last target.
    expect([rows, sequences.length]).toEqual(['packed', 2]);
    const stream = sequences.flatMap(({ tokens }) => [...tokens]);
    const starts = stream.filter((id) => id % 100 === 0);
    expect(new Set(starts).size).toBe(starts.length);
    stream.forEach((id, i) => {
      const before = stream[i - 1];
      if (before !== undefined) expect(id === before + 1 || id % 100 === 0).toBe(true);
    });
    for (const { tokens, targets, documents: of, counts } of sequences) {
      tokens.forEach((id, t) => {
        expect(of?.[t]).toBe(Math.floor(id / 100));
        expect(counts(t)).toBe(Math.floor((targets[t] ?? 0) / 100) === of?.[t]);
      });
    }
  });

  it('are none where all documents together are too short', () => {
    expect(lengthRows(documents, 54, 9)?.sequences).toHaveLength(1);
    expect(lengthRows(documents, 55, 9)).toBeNull();
  });
});
