/** Training that starts from the weights of another model. */
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exportHfModel, readSafetensors } from '../../src/checkpoint/index.js';
import { readJson } from '../../src/core/index.js';
import { createReferenceEngine } from '../../src/engine/index.js';
import {
  loadRunFile,
  parseYaml,
  performRun,
  resolveRunConfig,
  toYaml,
  type FullRunConfig,
} from '../../src/lab/index.js';
import { analyzeStudyFolder, overview } from '../../src/report/report.js';
import { openCheckpoint } from '../../src/run/index.js';
import { expandStudy, loadStudy, openStudyFolder } from '../../src/study/index.js';
import { messageOf } from '../support/folders.js';
import { temporaryFolder, TINY_TRAIN } from './support.js';

const engine = createReferenceEngine();
const MODEL = { hiddenSize: 8, layers: 'full', numLayers: 2, numHeads: 2, intermediateSize: 16 };
const RECALL = { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 };
const EVAL = { batches: 2, needle: false, trace: false, recall: false };

interface Parts {
  readonly model?: object;
  readonly train?: object;
  readonly data?: object;
}

const configOf = ({ model, train, data = RECALL }: Parts): FullRunConfig =>
  resolveRunConfig({
    seed: 1,
    ...(model === undefined ? {} : { model }),
    data,
    train: { ...TINY_TRAIN, ...train },
    eval: EVAL,
  });

/** Trains a run in a fresh folder; gives the folder and what was noted. */
async function trained(run: FullRunConfig, resume: 'no' | 'yes' = 'no', dir = join(temporaryFolder(), 'run')) {
  const notes: string[] = [];
  await performRun({ dir, run, engine, resume, note: (text) => notes.push(text) });
  return { dir, notes };
}

/** A text of bytes that repeats itself, with enough of it to hold some out. */
function textFile(): string {
  const path = join(temporaryFolder(), 'text.txt');
  writeFileSync(path, Array.from({ length: 400 }, (_, i) => `line ${i * 7919} of text\n`).join(''));
  return path;
}

interface Line {
  readonly step: number;
  readonly 'eval/loss'?: number;
}

const evalLoss = (dir: string, step: number): number => {
  const lines = readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  const found = lines.map((line) => JSON.parse(line) as Line).find((l) => l.step === step && 'eval/loss' in l);
  return found?.['eval/loss'] ?? NaN;
};

const parameters = (dir: string, step = 12) =>
  readSafetensors(join(dir, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'));

describe('train.init', () => {
  it('starts with the loss that the source ended with, from a run, a checkpoint and an export', async () => {
    const source = await trained(configOf({ model: MODEL }));
    const last = evalLoss(source.dir, 12);
    expect(last).toBeLessThan(evalLoss(source.dir, 0));
    const checkpoint = join(source.dir, 'checkpoints/step-000012');
    const opened = openCheckpoint(checkpoint);
    const exported = join(temporaryFolder(), 'hf');
    await exportHfModel(exported, opened.state.model, opened.parameters());
    for (const folder of [source.dir, checkpoint, exported]) {
      const { dir, notes } = await trained(configOf({ train: { init: folder, steps: 1, warmupSteps: 0 } }));
      expect(evalLoss(dir, 0)).toBe(last);
      expect(notes.join('\n')).toContain('15 tensors taken over; the optimizer starts anew');
    }
  });

  it('starts from the checkpoint of the step that is named', async () => {
    const source = await trained(configOf({ model: MODEL }));
    const { dir } = await trained(
      configOf({ train: { init: { folder: source.dir, step: 10 }, steps: 1, warmupSteps: 0 } }),
    );
    expect(evalLoss(dir, 0)).not.toBe(evalLoss(source.dir, 12));
    const { run } = readJson(join(dir, 'config.json')) as { run: { train: { init: { folder: string } } } };
    expect(run.train.init.folder).toBe(join(source.dir, 'checkpoints/step-000010'));
  });

  it('swaps windows and positions in place, starts new mixers anew, and records and says all of it', async () => {
    const source = await trained(configOf({ model: MODEL }));
    const change = { layers: 'lightning full:nope', ropeTheta: 500 };
    const { dir, notes } = await trained(
      configOf({ model: change, train: { init: source.dir, steps: 1, warmupSteps: 0, lr: 1e-30 } }),
    );
    const [before, after] = [parameters(source.dir), parameters(dir, 1)];
    const same = (name: string) => JSON.stringify(after[name]?.data) === JSON.stringify(before[name]?.data);
    expect(same('layers.1.attn.wqkv')).toBe(true);
    expect(same('layers.0.mlp.wgateup')).toBe(true);
    const fresh = ['wqkv', 'norm.weight', 'wgate', 'wo'].map((part) => `layers.0.lightning.${part}`);
    const stored = readJson(join(dir, 'config.json')) as { initial: unknown };
    expect(stored.initial).toEqual({ kept: 13, fresh, left: ['layers.0.attn.wqkv', 'layers.0.attn.wo'] });
    expect(notes).toContain('changed in place: layer 0: full, now lightning; layer 1: full, now full:nope');
    expect(notes).toContain(`start anew, as the source has none that fit: ${fresh.join(', ')}`);
    expect(notes).toContain('left out, as the model has no place for them: layers.0.attn.wqkv, layers.0.attn.wo');
  });

  it('goes on without the source, repeats only from the same weights, and takes them wherever they lie', async () => {
    const source = await trained(configOf({ model: MODEL }));
    const run = configOf({ train: { init: source.dir } });
    const { dir } = await trained(run);
    const moved = join(temporaryFolder(), 'moved');
    renameSync(source.dir, moved);
    // Resumed: finished, and from its own last checkpoint.
    await trained(run, 'yes', dir);
    rmSync(join(dir, 'checkpoints/step-000012'), { recursive: true });
    await trained(loadRunFile(join(dir, 'config.json')), 'yes', dir);
    await trained(configOf({ train: { init: moved } }), 'yes', dir);
    // Made again: not without the source, and not from other weights.
    const again = loadRunFile(join(dir, 'config.json'));
    const target = join(temporaryFolder(), 'again');
    await expect(trained(again, 'no', target)).rejects.toThrow(/there is no folder .*step-000012; name a run/);
    cpSync(join(moved, 'checkpoints/step-000010'), join(source.dir, 'checkpoints/step-000012'), { recursive: true });
    await expect(trained(again, 'no', target)).rejects.toThrow(
      /the weights in .* have changed since the run was planned/,
    );
    expect(existsSync(target)).toBe(false);
  });

  it('refuses what does not fit before anything is written, by name', async () => {
    const source = await trained(configOf({ model: MODEL }));
    const refusal = (parts: Parts, init: unknown = source.dir) =>
      messageOf(() => configOf({ ...parts, train: { init } }));
    expect(refusal({ model: { hiddenSize: 16 } })).toMatch(
      /tensor embed.weight is .* in .*step-000012 and .* in the model/,
    );
    expect(refusal({ model: { activation: 'gelu' } })).toMatch(/model.activation is "gelu"/);
    expect(refusal({ data: { ...RECALL, numKeys: 2, numValues: 6 } })).toMatch(
      /the tokens of .* are synthetic \(4 keys, 4 values and 4 fillers\), and those of the data are synthetic \(2 keys/,
    );
    expect(refusal({ data: { kind: 'text', files: textFile() } })).toMatch(
      /smaller than the 256 tokens of the data; start from/,
    );
    expect(refusal({}, '/nowhere')).toMatch(/there is no folder \/nowhere; name a run/);
    expect(refusal({}, { folder: source.dir, step: 7 })).toMatch(/has no checkpoint of step 7; there are: 5, 10, 12/);
    expect(messageOf(() => configOf({ train: {} }))).toMatch(/model is missing; expected an object/);
  });

  it('knows that the bytes of an exported tokenizer are the bytes of texts', async () => {
    const data = { kind: 'text', files: textFile() };
    const source = await trained(configOf({ model: MODEL, data, train: { steps: 2, warmupSteps: 0 } }));
    const opened = openCheckpoint(join(source.dir, 'checkpoints/step-000002'));
    const exported = join(temporaryFolder(), 'hf');
    await exportHfModel(exported, opened.state.model, opened.parameters(), { tokenizer: 'bytes' });
    expect(configOf({ data, train: { init: exported } }).model).toEqual({
      ...opened.state.model,
      init: { scheme: 'fan-in' },
    });
    const path = join(exported, 'tokenizer.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"normalizer":null', '"normalizer":{"type":"Lowercase"}'));
    expect(messageOf(() => configOf({ data, train: { init: exported } }))).toMatch(
      /the tokens of .* are those of .*tokenizer.json, and those of the data are bytes; train on data of the same tokenizer/,
    );
  });

  it('is had by single designs of a study, checked as the study is planned, and named in reports', async () => {
    const source = await trained(configOf({ model: MODEL }));
    const at = source.dir.slice(0, -'run'.length);
    const text = toYaml({
      name: 'healed',
      base: { model: MODEL, data: RECALL, train: { ...TINY_TRAIN, steps: 2, warmupSteps: 0 }, eval: EVAL },
      architectures: {
        full: 'full',
        healed: { layers: 'swa:4 full:nope', train: { init: 'run' } },
      },
      seeds: [1],
    });
    const plan = expandStudy(parseYaml(text, join(at, 's.yaml')));
    const [full, healed] = plan.runs.map(({ config }) => config.train.init);
    expect(full).toBeUndefined();
    expect(healed?.folder).toBe(join(source.dir, 'checkpoints/step-000012'));
    const dir = join(temporaryFolder(), 'study');
    (await openStudyFolder(dir, plan)).lock.release();
    expect(loadStudy(join(dir, 'study.yaml')).runs).toEqual(plan.runs);
    for (const run of plan.runs) await trained(run.config, 'no', join(dir, 'runs', run.name));
    expect(overview(analyzeStudyFolder(dir))).toContain(
      `1 of them start from the weights of ${join(source.dir, 'checkpoints/step-000012')}.`,
    );
    const refused = (change: string, by: string) =>
      messageOf(() => expandStudy(parseYaml(text.replace(change, by), join(at, 's.yaml'))));
    expect(refused('hiddenSize: 8', 'hiddenSize: 16')).toMatch(
      /s.yaml:\d+: run healed_seed-1: .*tensor embed.weight is/,
    );
    expect(refused('init: run', 'lr: 1')).toMatch(
      /architectures.healed.train may hold init, optimizer, muon and windows only/,
    );
  });
});
