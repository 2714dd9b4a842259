import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine } from '../../../src/engine/index.js';
import { performRun, readFindings } from '../../../src/lab/index.js';
import { loadStudy, openStudyFolder, runFolder } from '../../../src/study/index.js';
import { cli } from '../../support/cli.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const TABLE = join(DATA, 'scaling', 'swa128_longppl.tsv');
const MODEL = join(DATA, 'retrieval-heads');
const OTHER = join(DATA, 'analysis', 'ckpt_b');
const PROMPTS = join(DATA, 'analysis', 'niah.jsonl');

let folder: string;
let run: string;

/**
 * One JSON object a line. Two files of tests share the machine, so imported models get one thread, as the runs here
 * have.
 */
async function json(...args: string[]): Promise<Record<string, unknown>[]> {
  const threads = args.includes(MODEL) ? ['--threads', '1'] : [];
  const { code, stdout, stderr } = await cli([...args, ...threads, '--json']);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function refused(message: string | RegExp, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await cli(args);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stdout).toBe('');
  expect(code).toBe(2);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-analyses-'));
  run = join(folder, 'run');
  const file = join(folder, 'tiny.yaml');
  writeFileSync(
    file,
    'model: { hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: "swa:4 full" }\n' +
      'data: { kind: recall }\n' +
      'train: { seqLen: 32, batchSize: 4, steps: 4, lr: 1e-3, warmupSteps: 1, evalEvery: 2, checkpointEvery: 2 }\n' +
      'eval: { batches: 1, trace: false }\nengine: onnx\nthreads: 1\n',
  );
  const { code, stderr } = await cli(['train', file, '--out', run, '--quiet']);
  expect(stderr).toBe('');
  expect(code).toBe(0);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('longsight fit', () => {
  it('prints the law, intervals, warnings and predictions, and writes CSV', async () => {
    const csv = join(folder, 'fit.csv');
    const args = [
      'fit',
      TABLE,
      '--longppl',
      '--compat',
      '--hold-out',
      '--resamples',
      '20',
      '--no-profiles',
      '--csv',
      csv,
    ];
    const { code, stdout } = await cli([...args, '--at', '1e9:1e11', '--flops', '1e20', '--iso', '1.5']);
    expect(code).toBe(0);
    expect(stdout).toContain('warning: alpha sits on its upper bound 0.3');
    expect(stdout).toContain('objective 2.0172e-4');
    expect(stdout).toMatch(/S4 .*held-out/);
    const lines = readFileSync(csv, 'utf8').trim().split('\r\n');
    expect(lines[0]).toBe('model_size,n,tokens,y,predicted,low,high,split');
    expect(lines).toHaveLength(24);
    const [result] = await json(...args, '--at', '1e9:1e11');
    expect(result).toMatchObject({ event: 'fit', compat: true, fit: { form: 'no_constant', points: 17 } });
    expect(result?.['at']).toHaveLength(1);
    expect(Object.keys(result?.['bootstrap'] as object)).toEqual(['resamples', 'coverage', 'intervals']);
  });

  it('refuses tables that are short or lack columns, and bad options', async () => {
    const bad = join(folder, 'bad.csv');
    writeFileSync(bad, 'model_size,n,loss\na,1,2\n');
    await refused(/column token_multiplier missing/, 'fit', bad);
    writeFileSync(bad, 'model_size,token_multiplier,n,loss\na,20n,100,0\n');
    await refused(/bad\.csv:2: loss is 0/, 'fit', bad);
    writeFileSync(bad, 'model_size,token_multiplier,n,loss\na,20n,100,3\n');
    await refused(/at least five points/, 'fit', bad);
    await refused(/cannot read .*nothing\.tsv/, 'fit', join(folder, 'nothing.tsv'));
    await refused(/--form must be one of no_constant, default/, 'fit', TABLE, '--form', 'cubic');
    await refused(/--at 5: write parameters and tokens/, 'fit', TABLE, '--at', '5');
    await refused(/--flops must be positive/, 'fit', TABLE, '--flops', '-1');
  });
});

describe('commands on heads', () => {
  it('entropy: all checkpoints of a run, or an imported model on texts', async () => {
    const csv = join(folder, 'entropy.csv');
    const steps = await json('entropy', run, '--samples', '3', '--csv', csv);
    expect(steps.map((s) => s['step'])).toEqual([2, 4]);
    expect(readFileSync(csv, 'utf8').trim().split('\r\n')).toHaveLength(1 + 2 * 4);
    const [imported] = await json('entropy', MODEL, '--texts', PROMPTS, '--heads', '1:0,3:2', '--samples', '2');
    expect(imported?.['heads']).toHaveLength(0 + 2);
    const { stdout } = await cli(['entropy', run, '--step', '2', '--samples', '2']);
    expect(stdout).toMatch(/step 2\n.*of visible/);
    await refused(/there is no head 7:0/, 'entropy', run, '--heads', '7:0');
    await refused(/write LAYER:HEAD/, 'entropy', run, '--heads', 'first');
    await refused(/name texts \(--texts FILE\)/, 'entropy', MODEL);
    await refused(/was not trained on text/, 'entropy', run, '--texts', PROMPTS);
    await refused(/neither a run folder/, 'entropy', folder);
  });

  it('drift: checkpoints of a run from its last, or two imported models', async () => {
    const steps = await json('drift', run);
    expect(steps.map((s) => s['reference'])).toEqual([4, 4]);
    expect((steps[0] as { qkRel: number }).qkRel).toBeGreaterThan(0);
    expect(steps[1]).toMatchObject({ qkRel: 0 });
    const csv = join(folder, 'drift.csv');
    const [pair] = await json('drift', OTHER, '--reference', MODEL, '--heads', '1:3', '--csv', csv);
    expect((pair as { qkL2: number }).qkL2).toBeCloseTo(13.8841, 3);
    expect(readFileSync(csv, 'utf8')).toContain('qk_rel_l2');
    await refused(/is a single model/, 'drift', MODEL);
    await refused(/are different models: layers\.0\.attn\.wqkv/, 'drift', MODEL, '--reference', run);
  });

  it('heads: by copying, and as the study scores them', async () => {
    const copied = await json('heads', run, '--samples', '6');
    expect(copied).toHaveLength(2);
    expect(copied[0]).toMatchObject({ definition: 'copy-frequency', samples: 6 });
    const args = ['heads', MODEL, '--definition', 'published', '--prompts', PROMPTS];
    const [published] = await json(...args);
    expect(published).toMatchObject({ samplesUsed: 12, samplesMissingNeedle: 0, queryFromEnd: 2 });
    const { stdout } = await cli([...args, '--top', '1']);
    expect(stdout).toMatch(/12 prompts, 0 without their needle, 0 cut\n.*\n1:3 +full:nope +0\.077/);
    await refused(/needs prompts/, 'heads', MODEL, '--definition', 'published');
    const [imported] = await json('heads', MODEL, '--samples', '4', '--length', '300');
    expect(imported).toMatchObject({ definition: 'copy-frequency', samples: 4 });
    await refused(/has no tokenizer\.json, so no needle/, 'heads', OTHER);
    await refused(/a needle sample of 20 tokens is too short/, 'heads', MODEL, '--length', '20');
    await refused(/has no tokenizer\.json/, 'heads', OTHER, '--definition', 'published', '--prompts', PROMPTS);
  });

  it('mask: chosen heads and random ones', async () => {
    const csv = join(folder, 'mask.csv');
    const [result] = await json('mask', run, '--heads', '1:0', '--draws', '2', '--samples', '6', '--csv', csv);
    expect(result).toMatchObject({ event: 'mask', mode: 'zero', heads: [{ layer: 1, head: 0 }] });
    expect(readFileSync(csv, 'utf8').trim().split('\r\n')).toHaveLength(5);
    const strongest = await cli(['mask', run, '--top', '1', '--mode', 'mean', '--samples', '6']);
    expect(strongest.stdout).toContain('the chosen heads lose');
    await refused(/there is no head 1:9/, 'mask', run, '--heads', '1:9');
    await refused(/--mode must be one of uniform, zero, mean/, 'mask', run, '--mode', 'soft');
    await refused(/the length \(--length\) must be at least 3/, 'mask', run, '--length', '2');
  });
});

describe('commands on models', () => {
  it('constrain: parts of a run, or an imported model on texts', async () => {
    const csv = join(folder, 'constrain.csv');
    const [result] = await json('constrain', run, '--keys', '2,4', '--csv', csv);
    const rows = result?.['rows'] as { part: string | null; keys: number | null; loss: number }[];
    expect(rows.map((r) => [r.part, r.keys])).toEqual([
      [null, null],
      ['full', 2],
      ['full', 4],
      ['efficient', 2],
      ['efficient', 4],
    ]);
    // The windows are of four keys already.
    expect(rows[4]?.loss).toBe(rows[0]?.loss);
    expect(rows[1]?.loss).not.toBe(rows[0]?.loss);
    expect(readFileSync(csv, 'utf8')).toMatch(
      /^part,keys,loss,longppl,recall_1_16,recall_17_32,needle_accuracy,needle_low,needle_high\r\n/,
    );
    const [imported] = await json(
      'constrain',
      MODEL,
      '--texts',
      PROMPTS,
      '--samples',
      '2',
      '--part',
      'full',
      '--keys',
      '8',
      '--needles',
      '4',
      '--length',
      '300',
    );
    expect(imported?.['rows']).toMatchObject([
      { part: null, recall: [] },
      { part: 'full', keys: 8 },
    ]);
    const [whole, limited] = imported?.['rows'] as { loss: number; needleAccuracy: number }[];
    expect(whole?.loss).not.toBe(limited?.loss);
    expect(whole?.needleAccuracy).toBeGreaterThanOrEqual(0);
    expect(imported?.['longPpl']).toMatchObject({ alpha: 2, beta: -2 });
    expect(imported?.['file']).toBeNull();
    expect(readFindings(run).limits.at(-1)?.rows).toHaveLength(5);
    await refused(/--keys must be a whole number/, 'constrain', run, '--keys', '0');
    await refused(/--part must be one of/, 'constrain', run, '--part', 'half');
  });

  it('probe: every layer, both kinds', async () => {
    const results = await json('probe', run, '--samples', '40', '--classes', '2');
    expect(results.map((r) => r['kind'])).toEqual(['residual', 'delta']);
    expect(results[0]?.['layers']).toHaveLength(2);
    const { stdout } = await cli(['probe', run, '--samples', '40', '--kind', 'delta', '--classes', '2']);
    expect(stdout).toMatch(/delta, 2 classes \(chance 0\.500\)/);
    await refused(/the classes \(--classes\) must be 2 to 16/, 'probe', run, '--classes', '17');
    await refused(/--kind must be one of residual, delta/, 'probe', run, '--kind', 'both');
  });

  it('influence: a curve by distance', async () => {
    const csv = join(folder, 'influence.csv');
    const args = ['influence', MODEL, '--texts', PROMPTS, '--max-tokens', '160', '--samples', '12'];
    const [result] = await json(...args, '--csv', csv);
    // The study's own script on the same texts.
    expect((result?.['mean'] as number[])[1]).toBeCloseTo(29.8327, 2);
    expect(readFileSync(csv, 'utf8').trim().split('\r\n')).toHaveLength(161);
    expect(await json('influence', run, '--target', 'loss', '--last', '3', '--samples', '2')).toHaveLength(2);
    await refused(/the target averages over 99/, 'influence', run, '--last', '99');
    await refused(/--target must be one of/, 'influence', run, '--target', 'sum');
  });

  it('longppl: by an evaluator, and by stored spans', async () => {
    const spans = join(folder, 'spans.txt');
    const texts = ['--texts', PROMPTS, '--samples', '2'];
    const settings = ['--trunc', '32', '--stride', '16', '--alpha', '0.05', '--beta', '-20'];
    const [found] = await json('longppl', MODEL, ...texts, '--evaluator', MODEL, ...settings, '--save-spans', spans);
    expect(found?.['keyTokens']).toBeGreaterThan(0);
    const [read] = await json('longppl', MODEL, ...texts, '--spans', spans);
    expect(read?.['longPpl']).toBeCloseTo(found?.['longPpl'] as number, 9);
    expect(read).toMatchObject({ keyTokens: found?.['keyTokens'], settings: { spans } });
    // Contexts longer than the texts leave nothing to compare.
    const { stdout } = await cli(['longppl', MODEL, ...texts]);
    expect(stdout).toContain('LongPPL - (no key token)');
    writeFileSync(spans, '[1, 5]\n');
    await refused(/has spans for 1 texts, but there are 2/, 'longppl', MODEL, ...texts, '--spans', spans);
    writeFileSync(spans, 'x\n[1, 5]\n');
    await refused(/spans\.txt:1: "x" is no span/, 'longppl', MODEL, ...texts, '--spans', spans);
    await refused(/--alpha must be a number/, 'longppl', MODEL, ...texts, '--alpha', 'two');
  });
});

describe('longsight analyze', () => {
  it('keeps every analysis of a run for its report, and goes on where it was', async () => {
    const [first] = await json('analyze', run, '--only', 'entropy,drift,limits', '--keys', '2').then((all) =>
      all.filter((e) => e['event'] === 'analyze'),
    );
    // Entropy and drift at both checkpoints, limits at the last; some were there from single commands.
    expect((first?.['kept'] as string[]).length + (first?.['before'] as number)).toBe(5);
    const found = readFindings(run);
    expect(found.entropy.map((f) => f.step)).toEqual([2, 4]);
    expect(found.drift.map((f) => f.qkRel)).toEqual([expect.any(Number), 0]);
    const again = await json('analyze', run, '--only', 'entropy,drift,limits', '--keys', '2');
    expect(again.at(-1)).toMatchObject({ event: 'analyze', kept: [], before: 5 });
    // Made from other weights, as far as anyone can tell: measured anew.
    const path = join(run, 'analysis', 'entropy-step-000004.json');
    const finding = JSON.parse(readFileSync(path, 'utf8')) as { of: string };
    writeFileSync(path, JSON.stringify({ ...finding, of: 'other' }));
    const anew = await json('analyze', run, '--only', 'entropy');
    expect(anew.at(-1)).toMatchObject({ event: 'analyze', kept: [path], before: 1 });
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ step: 4, of: finding.of });
    const { code, stderr } = await cli(['report', run, '--quiet']);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const page = readFileSync(join(run, 'report.html'), 'utf8');
    for (const title of ['Limits of reach', 'Attention entropy', 'Distance of query and key weights'])
      expect(page).toContain(title);
  });

  it('measures anew what a single command kept with other options, and says which', async () => {
    const path = join(run, 'analysis', 'entropy-step-000004.json');
    await json('entropy', run, '--step', '4', '--tail', '2');
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ tailQueries: 2 });
    const { code, stderr } = await cli(['analyze', run, '--only', 'entropy']);
    expect(stderr).toContain('2 measurements, 1 there already, 1 to measure anew (entropy: made from other weights');
    expect(code).toBe(0);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ tailQueries: 4 });
    // The same options as the defaults of the command, written out, are the same finding.
    await json('entropy', run, '--step', '4', '--tail', '4', '--samples', '64');
    expect((await json('analyze', run, '--only', 'entropy')).at(-1)).toMatchObject({ kept: [], before: 2 });
  });

  it('measures the runs of a study that have checkpoints, and says which have none', async () => {
    const file = join(folder, 'two.yaml');
    writeFileSync(
      file,
      'name: two\narchitectures: { full: { hiddenSize: 16, numHeads: 2, layers: full } }\nseeds: [1, 2]\n' +
        'base: { data: { kind: recall }, engine: onnx, threads: 1, train: { steps: 2, seqLen: 32, batchSize: 2 }, ' +
        'eval: { batches: 1, needle: false, trace: false } }\n',
    );
    const plan = loadStudy(file);
    const dir = join(folder, 'two');
    (await openStudyFolder(dir, plan)).lock.release();
    mkdirSync(join(dir, 'runs'), { recursive: true });
    const engine = createEngine('onnx', { threads: 1 });
    for (const { name, config } of plan.runs)
      await performRun({ dir: runFolder(dir, name), run: config, engine, resume: 'no' });
    await engine.dispose();
    rmSync(join(dir, 'runs', 'full_seed-1', 'checkpoints'), { recursive: true });
    const { code, stderr } = await cli(['analyze', dir, '--only', 'entropy']);
    expect(stderr).toContain('no checkpoints, so that what was measured of them stays as it is: full_seed-1');
    expect(stderr).toMatch(/1 measurements, 0 there already/);
    expect(code).toBe(0);
    rmSync(join(dir, 'runs', 'full_seed-2', 'checkpoints'), { recursive: true });
    await refused(/full_seed-1 has no checkpoint/, 'analyze', dir, '--only', 'entropy');
  });

  it('leaves out what is about heads where a model has none, and its report is written', async () => {
    const file = join(folder, 'recurrent.yaml');
    writeFileSync(
      file,
      'model: { hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: gdn }\ndata: { kind: recall }\n' +
        'train: { seqLen: 32, batchSize: 4, steps: 2, checkpointEvery: 1 }\neval: { batches: 1 }\nengine: onnx\nthreads: 1\n',
    );
    const dir = join(folder, 'recurrent');
    expect((await cli(['train', file, '--out', dir])).code).toBe(0);
    for (const command of ['heads', 'entropy', 'drift', 'mask', 'attention-distance'])
      await refused('the model has no attention, so it has no head to measure', command, dir);
    const [all] = (await json('analyze', dir)).slice(-1);
    const left = ['masking', 'entropy', 'attention-distance', 'drift'];
    expect(new Set((all?.['skipped'] as { kind: string }[]).map(({ kind }) => kind))).toEqual(new Set(left));
    const { stdout } = await cli(['analyze', dir, '--only', 'entropy']);
    expect(stdout).toContain(`entropy left out of ${dir}: the model has no attention`);
    expect((await cli(['report', dir, '--quiet'])).code).toBe(0);
  });

  it('warns where a checkpoint is asked beyond the length that it was trained on', async () => {
    const file = join(folder, 'short.yaml');
    writeFileSync(
      file,
      'model: { hiddenSize: 16, numHeads: 2, layers: "swa:4 full" }\ndata: { kind: recall }\nengine: onnx\nthreads: 1\n' +
        'train: { steps: 2, seqLen: 32, batchSize: 2 }\neval: { batches: 1, needle: { lengths: [64], samples: 1 }, trace: false }\n',
    );
    const dir = join(folder, 'short');
    expect((await cli(['train', file, '--out', dir])).stderr).not.toContain('warning');
    const warning = 'was trained on sequences of up to 32 tokens, and is asked to read up to 64: what it does';
    for (const args of [
      ['analyze', dir, '--only', 'limits', '--keys', '2'],
      ['constrain', dir, '--keys', '2'],
    ]) {
      const { code, stderr } = await cli(args);
      expect(stderr).toContain(warning);
      expect(code).toBe(0);
    }
  });

  it('says what a run cannot give, and refuses what is no run', async () => {
    const all = await json('analyze', run, '--only', 'influence');
    // Sequences of 32 tokens are long enough for the last 20.
    expect(all.at(-1)).toMatchObject({ event: 'analyze', skipped: [] });
    await refused(/neither a study folder \(study\.json\) nor a run folder/, 'analyze', folder);
    await refused(/--only must be one of/, 'analyze', run, '--only', 'everything');
  });
});

describe('analyses of a run on text', () => {
  let text: string;

  beforeAll(async () => {
    text = join(folder, 'text-run');
    const file = join(folder, 'text.yaml');
    const words = ['the cheap layers', 'look back', 'a few tokens', 'and the full ones', 'as far as they like'];
    const lines = Array.from({ length: 400 }, (_, i) => `${words[i % 5]} ${words[(i * 3) % 5]} ${(i * 7919) % 1000}.`);
    writeFileSync(join(folder, 'text.txt'), lines.join('\n'));
    writeFileSync(
      file,
      'model: { vocabSize: 256, hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: "gdn full", gdn: { numHeads: 2, keyDim: 8, valueDim: 8 } }\n' +
        `data: { kind: text, files: [${JSON.stringify(join(folder, 'text.txt'))}] }\n` +
        'train: { seqLen: 256, batchSize: 2, steps: 2, lr: 1e-3, warmupSteps: 1, evalEvery: 2, checkpointEvery: 2 }\n' +
        'eval: { batches: 1, trace: false, needle: { samples: 2, depths: [0, 1] } }\nengine: onnx\nthreads: 1\n',
    );
    const { code, stderr } = await cli(['train', file, '--out', text, '--quiet']);
    expect(stderr).toBe('');
    expect(code).toBe(0);
  });

  it('limits windows and recurrent memory, with LongPPL over the tokens that are key to the whole model', async () => {
    const args = ['constrain', text, '--keys', '4', '--samples', '2', '--trunc', '64', '--stride', '32'];
    const [result] = await json(...args);
    const rows = result?.['rows'] as { part: string; loss: number; longPpl: number | null; needleAccuracy: number }[];
    expect(rows.map((r) => r.part)).toEqual([null, 'full', 'efficient']);
    expect(new Set(rows.map((r) => r.loss)).size).toBe(3);
    const { keyTokens } = result?.['longPpl'] as { keyTokens: number };
    // Two steps of training teach nothing that needs a long context: without key tokens there is no LongPPL.
    expect(rows[0]?.longPpl === null).toBe(keyTokens === 0);
    expect(result?.['longPpl']).toMatchObject({ trunc: 64, stride: 32 });
  });

  it('probes, masks and follows gradients', async () => {
    const [probed] = await json('probe', text, '--samples', '16', '--classes', '2', '--difficulty', 'hard');
    expect(probed).toMatchObject({ kind: 'residual', classes: 2 });
    expect(probed?.['layers']).toHaveLength(2);
    const [masked] = await json('mask', text, '--heads', '1:1', '--mode', 'mean', '--draws', '1', '--samples', '4');
    expect(masked).toMatchObject({ heads: [{ layer: 1, head: 1 }] });
    await refused(/there is no head 0:0/, 'mask', text, '--heads', '0:0');
    const [curve] = await json('influence', text, '--samples', '2', '--target', 'loss');
    expect(curve?.['mean']).toHaveLength(256);
  });
});
