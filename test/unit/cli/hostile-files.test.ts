/** Files that once got a stack trace, a hang, or code of the current folder run: one sentence and exit code 2, at once. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { endTokens, openTokenizer } from '../../../src/checkpoint/index.js';
import { PredictionFile } from '../../../src/eval/index.js';
import { findAccelerators, xlaPlatforms } from '../../../src/engine/index.js';
import { oneLine } from '../../../src/core/index.js';
import { cli } from '../../support/cli.js';
import { messageOf } from '../../support/folders.js';

const HF = join(import.meta.dirname, '..', '..', 'data', 'hf');
const MODEL = join(import.meta.dirname, '..', '..', 'data', 'texts', 'model');
let folder: string;
const put = (name: string, text: string): string => {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
  return path;
};

async function refused(message: RegExp, ...args: string[]): Promise<void> {
  const { code, stderr, stdout } = await cli(args);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr.length).toBeLessThan(500);
  expect([code, stdout]).toEqual([2, '']);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-hostile-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('files that are not what they should be', () => {
  it('hold null, or objects for answers, where questions should be', async () => {
    await refused(/null\.jsonl:1 must be a JSON object, got null/, 'choice', MODEL, put('null.jsonl', 'null\n'));
    const object = { context: 'c', choices: { text: ['a', 'b'], label: ['A', 'B'] }, answer: { toString: 1 } };
    const file = put('object.jsonl', `${JSON.stringify(object)}\n`);
    await refused(
      /object\.jsonl:1: answer must be a string or a number or true or false, got an object/,
      'choice',
      MODEL,
      file,
    );
  });

  it('hold null where samples should be', async () => {
    const file = put('samples.jsonl', 'null\n');
    const out = join(folder, 'out');
    await refused(
      /samples\.jsonl:1 must be a JSON object, got null/,
      ...['ruler', 'run', MODEL, '--out', out, '--data', file, '--lengths', '64', '--max-tokens', '2'],
    );
    expect(existsSync(out)).toBe(false);
  });

  it('hold a number where the text of a prediction should be', () => {
    const row = { index: 0, pred: 5, outputs: ['b'], length: 3, truncation: false };
    const path = put('predictions.jsonl', `${JSON.stringify(row)}\n`);
    expect(messageOf(() => new PredictionFile(path))).toBe(
      `${path}:1: pred must be a string, got 5; remove the file to make it again`,
    );
    const nothing = put('nothing.jsonl', 'null\n');
    expect(messageOf(() => new PredictionFile(nothing))).toMatch(
      /nothing\.jsonl:1 must be a JSON object, got null; remove the file to make it again/,
    );
  });

  it('nest a model type ever deeper', async () => {
    const deep = put('deep/config.json', `{"model_type":${'['.repeat(3000)}${']'.repeat(3000)}}`);
    await refused(/nests lists and objects deeper than 500 levels/, 'inspect', join(deep, '..'));
  });

  it('ask for more layers or heads than there is room for in a list', async () => {
    const config = readFileSync(join(HF, 'granite', 'config.json'), 'utf8');
    const put1 = (change: object) => put('big/config.json', JSON.stringify({ ...JSON.parse(config), ...change }));
    put1({ num_hidden_layers: 9e15, layer_types: undefined });
    await refused(
      /num_hidden_layers is 9000000000000000, which is not a whole number <= 10000/,
      'inspect',
      join(folder, 'big'),
    );
    put1({ num_attention_heads: 1e9 });
    await refused(
      /num_attention_heads is 1000000000, which is not a whole number <= 100000/,
      'inspect',
      join(folder, 'big'),
    );
  });

  it('hold null where the settings of a tokenizer should be', () => {
    const tokenizer = join(folder, 'tokenizer');
    cpSync(join(HF, '..', 'tokenizer'), tokenizer, { recursive: true });
    const settings = put('tokenizer/tokenizer_config.json', 'null');
    expect(messageOf(() => openTokenizer(tokenizer))).toBe(`${settings}: the value must be an object, got null`);
    const ends = put('tokenizer/generation_config.json', 'null');
    expect(messageOf(() => endTokens(tokenizer))).toBe(`${ends}: the value must be an object, got null`);
  });

  it('ask for more layers or runs than memory holds', async () => {
    const model = '{ vocabSize: 64, hiddenSize: 16, numHeads: 2, layers: full, numLayers: 100000 }';
    const rest = 'data: { kind: recall }\ntrain: { steps: 1, seqLen: 16, batchSize: 1 }\n';
    const run = put('run.yaml', `model: ${model}\n${rest}`);
    await refused(/100000 layers are too many, a model has at most 10000/, 'train', run, '--out', join(folder, 'r'));
    await refused(/100000 layers are too many/, 'cost', put('model.yaml', `${model}\n`));
    const ten = '[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]';
    const grid = ['lr', 'steps', 'batchSize', 'warmupSteps', 'beta1'].map((key) => `  train.${key}: ${ten}`).join('\n');
    const base = `base:\n  model: { hiddenSize: 16, numHeads: 2 }\n  ${rest.trim().replace('\n', '\n  ')}`;
    const study = put('study.yaml', `name: g\n${base}\narchitectures: { full: full }\nseeds: [1]\ngrid:\n${grid}\n`);
    await refused(/100000 runs are too many, a study has at most 10000/, 'study', study, '--out', join(folder, 's'));
  });
});

describe('messages that quote a file', () => {
  it('stay on one line, without control characters', async () => {
    const model = join(folder, 'torn');
    mkdirSync(model);
    writeFileSync(join(model, 'config.json'), '{\n "a": x\u001b[31m\r\n}\n');
    const { code, stderr } = await cli(['inspect', model]);
    expect(code).not.toBe(0);
    // eslint-disable-next-line no-control-regex
    expect(stderr).toMatch(/^longsight: [^\x00-\x1f]*torn\/config\.json is not valid JSON: [^\x00-\x1f]*\n$/);
    expect(oneLine('a\n  b\u001b\u0085')).toBe('a b\\u001b\\u0085');
  });
});

describe('doctor', () => {
  it('runs nothing of the current folder', async () => {
    const trap = join(folder, 'trap');
    put('trap/json.py', "open('RAN', 'w').write('ran')\n");
    const script = '#!/bin/sh\ntouch RAN\n';
    for (const name of ['python3', 'nvidia-smi']) writeFileSync(join(trap, name), script, { mode: 0o755 });
    const before = process.cwd();
    vi.stubEnv('PATH', `:.:${process.env['PATH'] ?? ''}`);
    // Vitest's workers are processes, so that the folder may be changed.
    process.chdir(trap);
    try {
      expect((await cli(['doctor', '--engine', 'reference'])).code).toBe(0);
      expect(xlaPlatforms()).toEqual(expect.any(Array));
      findAccelerators();
    } finally {
      process.chdir(before);
      vi.unstubAllEnvs();
    }
    expect(readdirSync(trap).sort()).toEqual(['json.py', 'nvidia-smi', 'python3']);
  });
});
