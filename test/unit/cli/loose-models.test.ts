/** `eval` and `trace` on checkpoints outside of run folders and on models saved by Transformers. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HeadScores } from '../../../src/analysis/index.js';
import { openHfModel, openTokenizer } from '../../../src/checkpoint/index.js';
import { createReferenceEngine } from '../../../src/engine/index.js';
import { crossEntropy, input, makeGraph, reduceMean, reshape } from '../../../src/graph/index.js';
import { forward, parameterInputs } from '../../../src/model/index.js';
import { tensorFrom } from '../../../src/core/index.js';
import { cli } from '../../support/cli.js';
import { ANALYSES, type EvalRecord } from '../../../src/lab/index.js';
import { checkSettingsInEffect } from '../../../src/lab/settings-in-effect.js';

const IMPORTED = join(import.meta.dirname, '..', '..', 'data', 'retrieval-heads');

let folder: string;
let run: string;
let alone: string;

async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await cli([...args, '--json']);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout) as T;
}

async function refused(message: string, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await cli(args);
  expect(stderr).toBe(`longsight: ${message}\n`);
  expect(stdout).toBe('');
  expect(code).toBe(2);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-loose-'));
  run = join(folder, 'run');
  const file = join(folder, 'tiny.yaml');
  writeFileSync(
    file,
    'model: { hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: "swa:4 full" }\n' +
      'data: { kind: recall }\n' +
      'train: { seqLen: 32, batchSize: 4, steps: 2, lr: 1e-3, warmupSteps: 1, checkpointEvery: 2 }\n' +
      'eval: { batches: 1, trace: { length: 32 } }\nengine: reference\n',
  );
  expect((await cli(['train', file, '--out', run, '--quiet'])).code).toBe(0);
  alone = join(folder, 'a-checkpoint');
  cpSync(join(run, 'checkpoints', 'step-000002'), alone, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a checkpoint outside of a run folder', () => {
  it('is measured as a run file says, with the numbers that it has in its run, and nothing is stored', async () => {
    const config = join(run, 'config.json');
    const found = await json<{ file: string | null; record: EvalRecord }>('eval', alone, '--run', config);
    const own = JSON.parse(readFileSync(join(run, 'evals', 'step-000002.json'), 'utf8')) as EvalRecord;
    expect(found.record).toEqual(own);
    expect(found.file).toBeNull();
    const traced = await json<{ heads: HeadScores }>('trace', alone, '--run', config);
    expect(traced.heads).toEqual(
      JSON.parse(readFileSync(join(run, 'analysis', 'retrieval-heads-step-000002.json'), 'utf8')),
    );
    const out = join(folder, 'record.json');
    await json('eval', alone, '--run', config, '--out', out);
    expect(JSON.parse(readFileSync(out, 'utf8'))).toEqual(own);
  });

  it('asks for a run file, and for data that fit', async () => {
    for (const command of ['eval', 'trace']) {
      await refused(
        `${alone} lies in no run folder; name the run that says how to measure it (--run FILE: a run file, or the config.json of a run)`,
        ...[command, alone],
      );
    }
    await refused(
      `${alone} knows 64 tokens, but the data have 148; measure it on data like those that it was trained on`,
      ...['eval', alone, '--run', join(folder, 'tiny.yaml'), '--set', 'data.numKeys=100'],
    );
  });
});

describe('settings of a finished run', () => {
  const own = 'a checkpoint keeps the model that it was trained as';

  it.each([
    [['eval'], 'model.layers=full full', 'model.layers', own],
    [['trace'], 'model.ropeTheta=500', 'model.ropeTheta', own],
    [['drift'], 'model.layers=full full', 'model.layers', own],
    [['eval'], 'train.lr=1', 'train.lr', 'measuring reads no train.lr'],
    [['eval'], 'name=other', 'name', 'measuring reads no name'],
    [
      ['eval'],
      'train.stages=[{ from: 1, seqLen: 16, lr: 1 }]',
      'train.stages.0.lr',
      'measuring reads no train.stages.0.lr',
    ],
    [['trace'], 'eval.batches=2', 'eval.batches', 'tracing reads no eval.batches'],
    [['entropy'], 'eval.batches=2', 'eval.batches', 'entropy reads no eval.batches'],
    [['heads'], 'eval.needle.digits=3', 'eval.needle.digits', 'heads reads no eval.needle.digits'],
    [['probe'], 'train.batchSize=2', 'train.batchSize', 'probe reads no train.batchSize'],
    [['drift'], 'data[0].numKeys=8', 'data.0.numKeys', 'drift reads no data.0.numKeys'],
    [['mask'], 'eval.needle=true', 'eval.needle', 'mask reads no eval.needle'],
    [['constrain'], 'train.lr=1', 'train.lr', 'constrain reads no train.lr'],
  ])('%s refuses --set %s, which would have no effect', async (command, setting, key, why) => {
    const { code, stdout, stderr } = await cli([...command, run, '--set', setting]);
    expect(stderr).toContain(`longsight: ${key} (--set) has no effect on a checkpoint: ${why}; train a run with it`);
    expect([code, stdout]).toEqual([2, '']);
  });

  it('are refused by export but for the data, and of a run file as of the run', async () => {
    const out = join(folder, 'exported');
    const { stderr } = await cli(['export', run, out, '--set', 'eval.batches=2']);
    expect(stderr).toBe(
      'longsight: eval.batches (--set) has no effect on a checkpoint: exporting reads no eval.batches; train a run with it, ' +
        'or leave it out (keys that have one: data)\n',
    );
    expect(existsSync(out)).toBe(false);
    const loose = await cli(['eval', alone, '--run', join(run, 'config.json'), '--set', 'model.tieEmbeddings=true']);
    expect(loose.stderr).toContain('model.tieEmbeddings (--set) has no effect on a checkpoint');
  });

  it('are taken by an analysis that reads them', () => {
    const taken = {
      entropy: ['data', 'train.seqLen', 'seed', 'eval.precision', 'engine', 'mesh.data'],
      limits: ['eval.batches', 'eval.ar.maxCount', 'data', 'train.batchSize', 'threads'],
      masking: ['eval.ar', 'train.seqLen', 'deterministic'],
    } as const;
    for (const [kind, keys] of Object.entries(taken)) {
      const { use } = ANALYSES[kind as keyof typeof taken];
      for (const key of keys) checkSettingsInEffect([[key, 1]], use);
    }
  });

  it('take effect where they say how to measure', async () => {
    const stored = JSON.parse(readFileSync(join(run, 'evals', 'step-000002.json'), 'utf8')) as EvalRecord;
    for (const setting of ['eval.batches=2', 'data[0].numKeys=8', 'train.stages=[{ from: 1, seqLen: 16 }]']) {
      const { file, record } = await json<{ file: null; record: EvalRecord }>('eval', run, '--set', setting);
      expect(file).toBeNull();
      expect(record.loss).not.toBe(stored.loss);
    }
  });

  it('are said to be another model where a run file describes one', async () => {
    const other = join(folder, 'other.yaml');
    writeFileSync(other, readFileSync(join(folder, 'tiny.yaml'), 'utf8').replace('swa:4 full', 'swa:8 full'));
    const { code, stderr } = await cli(['eval', alone, '--run', other]);
    expect(code).toBe(0);
    expect(stderr).toContain(`${alone} is measured with its own model, not with that of ${other} (layers`);
  });

  it('need a run', async () => {
    const what = `${IMPORTED} is a model saved by Transformers, which has no run`;
    const set = ['--set', 'eval.batches=2'];
    for (const command of ['eval', 'trace', 'drift'])
      await refused(`eval.batches (--set): ${what} whose keys could be changed`, command, IMPORTED, ...set);
    await refused(`step 3 (--step): ${what} and no checkpoints; leave it out`, 'eval', IMPORTED, '--step', '3');
    await refused(
      '--run says how a run is traced; leave it out for the folder of a model saved by Transformers',
      ...['trace', IMPORTED, '--run', join(folder, 'tiny.yaml')],
    );
    await refused(
      '--length is for the folder of a model saved by Transformers; of a run, write --set eval.trace.length=16',
      ...['trace', run, '--length', '16'],
    );
  });
});

describe('a model saved by Transformers', () => {
  const LENGTH = 200;
  const text = 'A needle is easily lost in a haystack of words, and found again by few. '.repeat(30);
  const evaluate = (...args: string[]) => json<{ record: EvalRecord }>('eval', IMPORTED, '--threads', '1', ...args);

  it('gets its loss on texts by windows of its own tokens, and a needle grid', async () => {
    const file = join(folder, 'text.txt');
    writeFileSync(file, text);
    const { record } = await evaluate('--length', String(LENGTH), '--texts', file);
    const tokens = openTokenizer(IMPORTED).encode(text, { special: true });
    const windows = Math.floor((tokens.length - 1) / LENGTH);
    expect(windows).toBeGreaterThan(1);
    const losses: number[] = [];
    for (let i = 0; i < windows; i++) losses.push(await lossOf(tokens.subarray(i * LENGTH, (i + 1) * LENGTH + 1)));
    expect(record.loss).toBeCloseTo(losses.reduce((a, b) => a + b) / windows, 4);
    expect(record.needle?.lengths).toEqual([LENGTH]);
    expect(record.needle?.accuracy.flat().every((share) => share !== null && share >= 0 && share <= 1)).toBe(true);
  });

  it('has its heads traced', async () => {
    const { heads } = await json<{ heads: HeadScores }>('trace', IMPORTED, '--length', '200', '--threads', '1');
    const scores = heads.layers.flatMap((layer) => layer.heads.map((head) => head.score));
    expect(scores.length).toBeGreaterThan(0);
    expect(scores.every((score) => score >= 0 && score <= 1)).toBe(true);
    expect(Math.max(...scores)).toBeGreaterThan(0);
  });

  it('refuses samples that are too long for the texts or too short for a needle', async () => {
    const file = join(folder, 'short.txt');
    writeFileSync(file, 'short');
    await refused(
      `no text of ${file} has the 201 tokens that a sample and its last target take; give longer ones or a smaller length (--length)`,
      ...['eval', IMPORTED, '--texts', file, '--length', '200'],
    );
    const { stderr } = await cli(['trace', IMPORTED, '--length', '20']);
    expect(stderr).toMatch(
      /^longsight: a needle sample of 20 tokens is too short; the length \(--length\) must be at least \d+\n$/,
    );
  });

  /** Mean loss of one window on the reference engine. */
  async function lossOf(window: Int32Array): Promise<number> {
    const opened = openHfModel(IMPORTED);
    const { config } = opened;
    const params = parameterInputs(config);
    const [tokens, targets] = [input('tokens', 'i32', [1, LENGTH]), input('targets', 'i32', [LENGTH])];
    const logits = reshape(forward(config, params, tokens).logits, [LENGTH, config.vocabSize]);
    const loss = reduceMean(crossEntropy(logits, targets).loss);
    const engine = createReferenceEngine();
    const program = await engine.compile(makeGraph({ ...Object.fromEntries(params), tokens, targets }, { loss }));
    const uploaded = [...opened.parameters()].map(([name, t]) => [name, engine.upload(t)] as const);
    const outputs = await program.run({
      ...Object.fromEntries(uploaded),
      tokens: engine.upload(tensorFrom('i32', [1, LENGTH], window.subarray(0, LENGTH))),
      targets: engine.upload(tensorFrom('i32', [LENGTH], window.subarray(1))),
    });
    return (await engine.download(outputs['loss']!)).data[0] as number;
  }
});
