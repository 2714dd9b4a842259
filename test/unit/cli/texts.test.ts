/** What commands make of texts: special tokens, places, tokenizers that do not fit. Right values are those of Transformers. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../../support/cli.js';

const DATA = join(import.meta.dirname, '..', '..', 'data', 'texts');
const QUESTIONS = join(DATA, 'end-token', 'questions.jsonl');
const FALLBACK = join(DATA, 'fallback');
const FALLBACK_TEXT = join(FALLBACK, 'text.jsonl');
const folder = mkdtempSync(join(tmpdir(), 'longsight-texts-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The tiny model with another tokenizer. */
function modelWith(tokenizer: string): string {
  const path = join(folder, tokenizer);
  cpSync(join(DATA, 'model'), path, { recursive: true });
  cpSync(join(DATA, tokenizer, 'tokenizer.json'), join(path, 'tokenizer.json'));
  return path;
}

async function events(...args: string[]): Promise<Readonly<Record<string, unknown>>[]> {
  const { code, stdout, stderr } = await cli([...args, '--json', '--threads', '1']);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
const event = async (name: string, ...args: string[]) => (await events(...args)).find((e) => e['event'] === name);

async function logLikelihoods(model: string, questions: string): Promise<number[][]> {
  const out = join(folder, 'choices.jsonl');
  await events('choice', model, questions, '--out', out);
  const rows = readFileSync(out, 'utf8').trim().split('\n');
  return rows.map((row) =>
    (JSON.parse(row) as { choices: { logLikelihood: number }[] }).choices.map((c) => c.logLikelihood),
  );
}

function expectClose(found: readonly (readonly number[])[], wanted: readonly (readonly number[])[]): void {
  expect(found.map((row) => row.length)).toEqual(wanted.map((row) => row.length));
  wanted.forEach((row, i) => row.forEach((value, k) => expect(found[i]?.[k]).toBeCloseTo(value, 3)));
}

describe('questions with a context', () => {
  it('are asked after it', async () => {
    const file = join(folder, 'passages.jsonl');
    const context = 'The fox is brown. The dog is lazy.';
    const rows = [
      { context, question: 'Which animal is lazy?', choices: ['fox', 'dog'], answer: 1 },
      { context, question: 'Which animal is brown?', choices: ['fox', 'dog'], answer: 0 },
    ];
    writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const wanted = [
      [-5.41559, -7.29765],
      [-6.6446, -7.93342],
    ];
    expectClose(await logLikelihoods(join(DATA, 'model'), file), wanted);
  });
});

describe('a tokenizer that ends texts with a token', () => {
  it('scores choices behind an open context', async () => {
    const wanted = [
      [-7.7562, -19.2327, -7.3044, -27.9786],
      [-23.2202, -5.9039, -15.0855],
    ];
    expectClose(await logLikelihoods(modelWith('end-token'), QUESTIONS), wanted);
  });

  it('continues prompts that have not ended', async () => {
    const ids = async (model: string) =>
      (await event('generate', 'generate', model, '--prompt', 'the quick', '--max-tokens', '1'))?.['promptIds'];
    const found = (await ids(modelWith('end-token'))) as number[];
    expect(found.length).toBeGreaterThan(0);
    expect(found).not.toContain(0);
  });
});

describe('the loss of a text', () => {
  it('is the same whatever measures it, the beginning token in front', async () => {
    const { losses, tokens } = await lossesOf(FALLBACK, FALLBACK_TEXT);
    expect(tokens).toBe(480);
    for (const loss of losses) expect(loss).toBeCloseTo(7.08044, 4);
  });

  it('is given for added tokens of spaces, with key tokens', async () => {
    const [text, model] = [join(DATA, 'space-runs', 'text.txt'), modelWith('space-runs')];
    const found = await event('longppl', 'longppl', model, '--texts', text, '--trunc', '8', '--stride', '4');
    expect(found?.['ppl']).toBeCloseTo(950.0802, 2);
    const easy = ['--trunc', '8', '--stride', '4', '--alpha', '0', '--beta', '-30'];
    const keyed = await event('longppl', 'longppl', model, '--texts', text, ...easy);
    expect(keyed?.['keyTokens']).toBeGreaterThan(0);
    const { losses } = await lossesOf(model, text);
    for (const loss of losses) expect(loss).toBeCloseTo(Math.log(950.0802), 4);
  });

  /** By `longppl`, `eval` in one window, `constrain` and `choice`. */
  async function lossesOf(model: string, file: string): Promise<{ losses: number[]; tokens: number }> {
    const plain = await event('longppl', 'longppl', model, '--texts', file, '--trunc', '8', '--stride', '4');
    const tokens = plain?.['scoredTokens'] as number;
    const evaluated = await event('eval', 'eval', model, '--texts', file, '--length', String(tokens));
    const limited = await event('constrain', 'constrain', model, '--texts', file, '--keys', '4', '--needles', '2');
    const losses = [
      Math.log(plain?.['ppl'] as number),
      (evaluated?.['record'] as { loss: number }).loss,
      (limited?.['rows'] as { loss: number }[])[0]?.loss as number,
    ];
    return { losses, tokens };
  }
});

describe('a tokenizer with byte fallback', () => {
  it('gets its loss by windows, and needles', async () => {
    const found = await event('eval', 'eval', FALLBACK, '--texts', FALLBACK_TEXT, '--length', '256');
    const record = found?.['record'] as { loss: number; needle: { lengths: number[] } };
    expect(record.loss).toBeCloseTo(7.0852, 4);
    expect(record.needle.lengths).toEqual([256]);
  });

  it.each([
    ['trace', ['--length', '240']],
    ['heads', ['--length', '240', '--samples', '4']],
    ['mask', ['--length', '240', '--samples', '4', '--draws', '1', '--top', '1']],
    ['probe', ['--length', '240', '--samples', '40', '--classes', '2']],
  ])('is open to %s', async (command, flags) => {
    expect((await events(command, FALLBACK, ...flags)).length).toBeGreaterThan(0);
  });

  it('gives the loss where the length has no room for a needle, and says so', async () => {
    const args = ['eval', FALLBACK, '--texts', FALLBACK_TEXT, '--length', '64', '--threads', '1'];
    const { code, stdout, stderr } = await cli(args);
    expect(code).toBe(0);
    expect(stdout).toMatch(/held-out loss {2}\d\.\d{4} nats/);
    expect(stderr).toMatch(/^needles not measured: a needle sample of 64 tokens is too short; .*\n/);
  });
});

describe('a tokenizer whose tokens have no known place', () => {
  it('keeps the measures that need none', async () => {
    const model = modelWith('end-token');
    const path = join(model, 'tokenizer.json');
    const json = JSON.parse(readFileSync(path, 'utf8')) as object;
    // Accents are lost, so that tokens do not spell the text.
    const normalizer = { type: 'Sequence', normalizers: [{ type: 'NFD' }, { type: 'StripAccents' }] };
    writeFileSync(path, JSON.stringify({ ...json, normalizer }));
    const text = join(folder, 'accents.txt');
    writeFileSync(text, 'the naïve fox jumps over the lazy dog '.repeat(8));
    const { code, stdout, stderr } = await cli(['longppl', model, '--texts', text, '--trunc', '8', '--stride', '4']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/LongPPL - .*, PPL \d+\.\d{4} over \d+/);
    expect(stderr).toMatch(/key tokens not known: .* does not stand for the text's own characters/);
  });
});

describe('a tokenizer larger than the model', () => {
  let model: string;
  const text = join(folder, 'plain.txt');
  beforeAll(() => {
    model = modelWith('model');
    // As where a model keeps its first rows only: `the` is known as a token above them.
    const path = join(model, 'tokenizer.json');
    const json = JSON.parse(readFileSync(path, 'utf8')) as { added_tokens: object[] };
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
    // Ids follow on those of the vocabulary, as in the Rust library.
    for (let id = 443; id < 512; id++) json.added_tokens.push({ id, content: `<filler ${id}>`, ...flags });
    json.added_tokens.push({ id: 512, content: ' the', ...flags }, { id: 513, content: 'The ', ...flags });
    writeFileSync(path, JSON.stringify(json));
    writeFileSync(text, 'over the lazy dog. '.repeat(40));
  });

  it.each([
    ['choice', [QUESTIONS]],
    ['generate', ['--prompt', 'on the']],
    ['entropy', ['--texts', text]],
    ['influence', ['--texts', text]],
    ['longppl', ['--texts', text]],
    ['constrain', ['--texts', text]],
    ['eval', ['--texts', text, '--length', '64']],
    ['trace', []],
    ['heads', []],
    ['mask', []],
    ['probe', []],
  ])('is refused by %s on every engine, before it', async (command, flags) => {
    for (const engine of ['onnx', 'reference']) {
      const { code, stderr } = await cli([command, model, ...flags, '--engine', engine]);
      expect(stderr).toMatch(/^longsight: the tokenizer gives token 51[23], but the model knows ids below 512\n$/);
      expect(code).toBe(2);
    }
  });
});

describe('prompts in files', () => {
  const file = join(folder, 'prompts.jsonl');
  const read = async (row: object) => {
    writeFileSync(file, `${JSON.stringify(row)}\n`);
    return cli(['generate', join(DATA, 'model'), '--prompt-file', file, '--max-tokens', '1', '--json']);
  };

  it.each([
    [{ context: 'a passage', question: 'a question?' }, 'has text in "context" and "question", but one text is read'],
    [{ prompt: 'go on', system: 'be short' }, 'has text in "system", which is not read'],
  ])('with %j are refused, as text would be dropped', async (row, why) => {
    const { code, stderr } = await read(row);
    expect(stderr).toContain(`${file}:1 ${why}`);
    expect(code).toBe(2);
  });

  it.each([
    [{ input: 'the quick', answer_prefix: ' fox', outputs: ['x'] }, 'the quick fox'],
    [{ text: 'the quick', title: 'a title', url: 'x' }, 'the quick'],
    [{ prompt: 'the quick', id: 'q1', answer: 'fox' }, 'the quick'],
  ])('with %j are read whole', async (row, prompt) => {
    const { code, stdout } = await read(row);
    expect(code).toBe(0);
    expect(stdout).toContain(`"prompt":${JSON.stringify(prompt)}`);
  });
});

describe('a run on token shards', () => {
  it('stops at the token that ends its documents, and so does what is exported', async () => {
    const at = (name: string) => join(folder, 'run', name);
    mkdirSync(at(''), { recursive: true });
    writeFileSync(at('docs.jsonl'), '{"text": "hi there"}\n{"text": "so long"}\n'.repeat(300));
    const run = async (...args: string[]) => {
      const { code, stderr } = await cli([...args, '--quiet']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    };
    await run('tokenizer', 'train', at('docs.jsonl'), '--vocab-size', '262', '--out', at('voc'));
    const shards = ['--tokenizer', at('voc'), '--held-out', '0.3', '--out', at('shards')];
    await run('data', 'prepare', at('docs.jsonl'), ...shards);
    writeFileSync(
      at('run.yaml'),
      'model: { vocabSize: 262, hiddenSize: 32, numLayers: 1, numHeads: 2, layers: full }\n' +
        `data: { kind: shards, path: ${at('shards')}, resets: false }\n` +
        'train: { seqLen: 32, batchSize: 8, steps: 120, lr: 1e-2, evalEvery: 0, checkpointEvery: 0 }\n' +
        'eval: { needle: false, trace: false }\nengine: onnx\nthreads: 1\n',
    );
    await run('train', at('run.yaml'), '--out', at('trained'));
    const ask = ['generate', at('trained'), '--prompt', 'hi', '--max-tokens', '16'];
    expect(await event('generate', ...ask)).toMatchObject({ text: ' there', finish: 'stop' });
    const on = await event('generate', ...ask, '--ignore-end');
    expect(on).toMatchObject({ finish: 'length' });
    expect(on?.['text']).toMatch(/^ there<\|endoftext\|>/);
    await run('export', at('trained'), at('exported'));
    for (const file of ['config.json', 'generation_config.json']) {
      expect(JSON.parse(readFileSync(join(at('exported'), file), 'utf8'))).toMatchObject({ eos_token_id: 0 });
    }
    expect(await event('generate', 'generate', at('exported'), ...ask.slice(2))).toMatchObject({ finish: 'stop' });
    renameSync(at('shards'), at('elsewhere'));
    const gone = await cli(ask);
    expect(gone.stderr).toBe(
      `longsight: ${at('trained')} was trained on token shards that are not at ${at('shards')} any more; put them back to read texts\n`,
    );
    const byIds = await cli(['generate', at('trained'), '--prompt-ids', '5', '--max-tokens', '2']);
    expect(byIds.stderr).toContain('so no token that ends texts is known');
  }, 60_000);
});

describe('texts that are named', () => {
  it.each([
    ['latin.txt', Buffer.from([0x61, 0xe9, 0x20]), 'holds byte 1, which is not valid UTF-8; convert it to UTF-8'],
    ['latin.jsonl', Buffer.from('{"text": "caf\xe9"}', 'latin1'), 'holds byte 13, which is not valid UTF-8'],
    ['packed.jsonl.gz', gzipSync('{"text": "a"}\n'), 'is compressed; unpack it first'],
    ['table.csv', Buffer.from('a,b\n'), 'is a table'],
    ['page.html', Buffer.from('<html>'), 'is markup'],
    ['list.json', Buffer.from('[{"text": "a"}]'), 'holds a JSON list'],
    ['half.jsonl', Buffer.from('{"text": "\\ud800"}'), 'has half of a surrogate pair'],
  ])('are refused by name where they are no text: %s', async (name, bytes, why) => {
    const file = join(folder, name);
    writeFileSync(file, bytes);
    for (const command of ['entropy', 'longppl']) {
      const { code, stderr } = await cli([command, join(DATA, 'model'), '--texts', file]);
      expect(code).toBe(2);
      expect(stderr).toContain(why);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    }
  });
});

it('a file without any text is refused', async () => {
  const [model, texts] = [join(DATA, 'model'), join(folder, 'empty.jsonl')];
  writeFileSync(texts, '\n');
  const { code, stderr } = await cli(['eval', model, '--texts', texts]);
  expect({ code, stderr }).toEqual({ code: 2, stderr: `longsight: ${texts} holds no text; give one at least\n` });
});
