import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { byteTokenizer, openHfModel, openTokenizer } from '../../../src/checkpoint/index.js';
import { tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { METADATA_FIELDS } from '../../../src/data/index.js';
import { createOnnxEngine, evaluateReference } from '../../../src/engine/index.js';
import { loadModel } from '../../../src/loaded/index.js';
import {
  choiceTokens,
  cutMiddle,
  readChoiceFile,
  scoreChoices,
  summarizeChoices,
  type ChoiceScore,
} from '../../../src/eval/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import { forward, initialParameters, parameterInputs, resolveModelConfig } from '../../../src/model/index.js';
import { cli } from '../../support/cli.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const MODEL = join(DATA, 'retrieval-heads');
const QUESTIONS = join(DATA, 'choice', 'questions.jsonl');
const folder = mkdtempSync(join(tmpdir(), 'longsight-choice-'));
const engine = createOnnxEngine({ threads: 1 });
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await engine.dispose();
});

describe('texts of more tokens than a call takes arguments', () => {
  it('are choices after an empty context', () => {
    const long = 'x'.repeat(300_000);
    const [first] = choiceTokens({ context: '', choices: [long, 'y'], answer: 0 }, byteTokenizer());
    expect(first).toMatchObject({ count: 300_000, bytes: 300_000 });
    expect(first?.ids).toHaveLength(300_001);
  });

  it('are prompts of RULER, cut in the middle', () => {
    const ids = Int32Array.from({ length: 140_000 }, (_, i) => i);
    const cut = cutMiddle(ids, 131_072);
    expect([cut.length, cut[0], cut[65_535], cut[65_536], cut.at(-1)]).toEqual([131_072, 0, 65_535, 74_464, 139_999]);
    expect([...cutMiddle(ids, 3)]).toEqual([0, 1, 139_999]);
    expect(cutMiddle(ids.subarray(0, 3), 3)).toEqual(ids.subarray(0, 3));
  });
});

describe('log-likelihoods of choices', () => {
  it('are those of Transformers on the same model and tokenizer', async () => {
    const expected = JSON.parse(readFileSync(join(DATA, 'choice', 'expected.json'), 'utf8')) as number[][];
    const questions = readChoiceFile(QUESTIONS);
    expect(questions.map((q) => q.answer)).toEqual([0, 0, 0, 1]);
    const opened = openHfModel(MODEL);
    const model = loadModel(engine, opened.config, opened.parameters());
    const tokenizer = openTokenizer(MODEL);
    const tokens = questions.map((q) => choiceTokens(q, tokenizer)).flat();
    for (const batchTokens of [1, 4096]) {
      const scores = await scoreChoices(model, tokens, { batchTokens });
      scores.forEach((s, i) => expect(Math.abs(s.logLikelihood - (expected.flat()[i] as number))).toBeLessThan(1e-3));
    }
  });

  it('are sums of log-probabilities by hand, on bytes', async () => {
    const model = resolveModelConfig({ hiddenSize: 8, numHeads: 2, intermediateSize: 12, layers: 'swa:3 full' });
    const params = initialParameters(model, 1);
    const question = { context: 'ab', choices: ['é', 'xyz'], answer: 0 };
    const tokens = choiceTokens(question, byteTokenizer());
    expect(tokens.map((t) => [...t.ids])).toEqual([
      [97, 98, 32, 0xc3, 0xa9],
      [97, 98, 32, 120, 121, 122],
    ]);
    expect(tokens.map((t) => [t.count, t.bytes])).toEqual([
      [3, 2],
      [4, 3],
    ]);
    const scores = await scoreChoices(loadModel(engine, model, params), tokens, { batchTokens: 64 });
    for (const [i, { ids, count }] of tokens.entries()) {
      const values = parameterInputs(model);
      const tokensIn = input('tokens', 'i32', [1, ids.length]);
      const { logits } = forward(model, values, tokensIn);
      const given = { ...Object.fromEntries(params), tokens: tensorFrom('i32', [1, ids.length], ids) };
      const graph = makeGraph({ ...Object.fromEntries(values), tokens: tokensIn }, { logits });
      const rows = toNumbers(evaluateReference(graph, given).logits as HostTensor);
      let sum = 0;
      for (let t = ids.length - count; t < ids.length; t++) {
        const row = rows.subarray((t - 1) * 256, t * 256);
        sum += (row[ids[t] as number] as number) - Math.log(row.reduce((a, x) => a + Math.exp(x), 0));
      }
      expect(scores[i]?.logLikelihood).toBeCloseTo(sum, 4);
    }
  });

  it('give white space at the end of a context to the choice, and an empty context the end of a text', () => {
    const ids = (context: string, choice: string) =>
      choiceTokens({ context, choices: [choice], answer: 0 }, byteTokenizer()).map((t) => [[...t.ids], t.count]);
    expect(ids('a  ', 'b')).toEqual([[[97, 32, 32, 98], 3]]);
    expect(ids('a', ' b')).toEqual([[[97, 32, 98], 2]]);
    expect(ids('', 'b')).toEqual([[[0, 98], 1]]);
  });
});

describe('the tokens of a choice', () => {
  it('follow the tokens of the context alone, as in the harness of EleutherAI, even where both would be joined', () => {
    // Joins every pair of letters: "ab" + "c" gives [ab, c], "ab" alone [ab], but "a" + "bc" gives [ab, c] after [a].
    const encode = (text: string) =>
      Int32Array.from(text.match(/[a-z]{2}|./gsu) ?? [], (part) =>
        [...part].reduce((id, char) => 128 * id + char.charCodeAt(0), 0),
      );
    const tokenizer = { ...byteTokenizer(), encode };
    const [a, b, c] = [97, 98, 99];
    const tokens = choiceTokens({ context: 'a', choices: [' bc'], answer: 0 }, tokenizer);
    expect([...(tokens[0]?.ids ?? [])]).toEqual([a, 32, 128 * b + c]);
    const joining = { ...tokenizer, encode: (text: string) => encode(text.replace(/ /g, '')) };
    const [joined] = choiceTokens({ context: 'a', choices: ['bc'], answer: 0 }, joining);
    expect([[...(joined?.ids ?? [])], joined?.count]).toEqual([[a, c], 1]);
    expect(() => choiceTokens({ context: 'a', choices: ['b'], answer: 0 }, joining)).toThrow(
      'the choice "b" adds no token to its context',
    );
  });

  it('are refused after an empty context where no token ends texts', () => {
    const tokenizer = { ...byteTokenizer(), endOfText: null };
    expect(() => choiceTokens({ context: '', choices: ['b'], answer: 0 }, tokenizer)).toThrow('an empty context');
  });
});

describe('accuracies', () => {
  const score = (logLikelihood: number, bytes: number): ChoiceScore => ({ logLikelihood, bytes, tokens: 1 });

  it('count the likeliest choice, and the likeliest for each byte', () => {
    const question = { context: '', choices: ['a', 'longer'], answer: 1 };
    const result = summarizeChoices(
      [question, question],
      [
        [score(-2, 1), score(-6, 6)],
        [score(-6, 1), score(-2, 6)],
      ],
    );
    expect(result.accuracy.value).toBe(0.5);
    // 1 of 2, after Wilson.
    expect(result.accuracy.low).toBeCloseTo(0.0945, 4);
    expect(result.accuracy.high).toBeCloseTo(0.9055, 4);
    expect(result.normalizedAccuracy.value).toBe(1);
  });
});

describe('files of questions', () => {
  it.each([
    ['{"context": "a", "choices": ["b", "c"]', 'is not valid JSON'],
    ['{"choices": ["b", "c"], "answer": 0}', 'needs a text "context"'],
    ['{"context": "a", "choices": ["b"], "answer": 0}', 'needs "choices", a list of at least two'],
    ['{"context": "a", "choices": ["b", ""], "answer": 0}', 'needs "choices", a list of at least two'],
    ['{"context": "a", "choices": ["b", "c"], "answer": 2}', 'needs "answer": an index from 0 to 1'],
    ['{"context": "a", "choices": ["b", "c"]}', 'needs "answer"'],
    ['{"context": "a", "context": "d", "choices": ["b", "c"], "answer": 0}', 'has "context" twice'],
    ['{"question": {"stem": "a", "st\\u0065m": "d", "choices": ["b", "c"]}, "answer": 0}', 'has "stem" twice'],
    ['{"context": "a \\ud83d", "choices": ["b", "c"], "answer": 0}', 'has half of a surrogate pair at character 2'],
    ['{"context": "a", "choices": ["b", "\\udc00"], "answer": 0}', 'has half of a surrogate pair at character 0'],
    [
      '{"context": "a", "choices": {"text": ["b", "c"], "label": ["A", "A"]}, "answer": "A"}',
      'has two choices with the label "A"',
    ],
  ])('with %s are refused with the line', (line, why) => {
    const path = join(folder, 'bad.jsonl');
    writeFileSync(path, `{"context": "a", "choices": ["b", "c"], "answer": 1}\n\n${line}\n`);
    expect(() => readChoiceFile(path)).toThrow(`${path}:3 ${why}`);
  });

  it('are UTF-8, with or without a byte order mark, and not compressed', () => {
    const path = join(folder, 'bytes.jsonl');
    const line = '{"context": "é 🙂", "choices": ["b", "c"], "answer": 1}\r\n';
    writeFileSync(path, `\ufeff${line}`);
    expect(readChoiceFile(path)).toEqual([{ context: 'é 🙂', choices: ['b', 'c'], answer: 1 }]);
    writeFileSync(path, Buffer.from(line, 'latin1'));
    expect(() => readChoiceFile(path)).toThrow(`${path} holds byte 13, which is not valid UTF-8`);
    writeFileSync(path, gzipSync(line));
    expect(() => readChoiceFile(path)).toThrow(`${path} is compressed (gzip); unpack it first`);
  });

  const questions = (...rows: object[]) => {
    const path = join(folder, 'rows.jsonl');
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    return readChoiceFile(path);
  };

  it.each([
    // RACE, LogiQA, CosmosQA, HellaSwag, BoolQ, MMLU, ARC as hosted and as published.
    [{ question: 'q', choices: { text: ['a', 'b'], label: [1, 2] }, answerKey: 2 }, 'q', ['a', 'b'], 1],
    [{ question: 'q', choices: { text: ['a', 'b'], label: [1, 2] }, answerKey: '1' }, 'q', ['a', 'b'], 0],
    [{ article: 'p', question: 'q', options: ['a', 'b'], answer: 'B', example_id: 'high1.txt' }, 'p\nq', ['a', 'b'], 1],
    [{ context: 'p', question: 'q', options: ['a', 'b'], label: 'b' }, 'p\nq', ['a', 'b'], 1],
    [{ id: 'x', context: 'p', question: 'q', answer0: 'a', answer1: 'b', label: 1 }, 'p\nq', ['a', 'b'], 1],
    [{ ind: 4, ctx_a: 'p.', ctx_b: 'he', ctx: 'p. he', endings: ['a', 'b'], label: '1' }, 'p. he', ['a', 'b'], 1],
    [{ question: 'q', passage: 'p', answer: true }, 'p\nq', ['no', 'yes'], 1],
    [{ question: 'q', passage: 'p', answer: false }, 'p\nq', ['no', 'yes'], 0],
    [{ question: 'q', subject: 'law', choices: ['a', 'b'], answer: 1 }, 'q', ['a', 'b'], 1],
    [{ question: 'q', A: 'a', B: 'b', C: 'c', answer: 'C' }, 'q', ['a', 'b', 'c'], 2],
    [{ question: 'q', choices: { text: ['a', 'b'], label: ['1', '2'] }, answerKey: '2' }, 'q', ['a', 'b'], 1],
    [
      {
        question: 'q',
        choices: [
          { text: 'a', label: 'A' },
          { text: 'b', label: 'B' },
        ],
        answerKey: 'B',
      },
      'q',
      ['a', 'b'],
      1,
    ],
    [
      {
        question: {
          stem: 'q',
          choices: [
            { text: 'a', label: 'A' },
            { text: 'b', label: 'B' },
          ],
        },
        answerKey: 'B',
      },
      'q',
      ['a', 'b'],
      1,
    ],
    // Labels come first where the file has them, even where a text reads the same.
    [{ question: 'q', choices: { text: ['2', '1'], label: ['1', '2'] }, answerKey: '1' }, 'q', ['2', '1'], 0],
    [{ question: 'q', choices: { text: ['B', 'A'], label: ['A', 'B'] }, answer: 'A' }, 'q', ['B', 'A'], 0],
    [{ question: 'q', choices: ['a', 'b'], answer: 'b', label: 1 }, 'q', ['a', 'b'], 1],
  ])('in the shape of %j are read whole', (row, context, choices, answer) => {
    expect(questions(row)).toEqual([{ context, choices, answer }]);
  });

  it.each([
    [{ context: 'c', choices: ['a', 'b'], answer: 0, hint: 'look' }, 'has text in "hint", which is not read'],
    [{ premise: 'p', question: 'q', choices: ['a', 'b'], label: 0 }, 'has text in "premise", which is not read'],
    [{ question: 'q', choices: ['a', 'b'], facts: [{ text: 'x' }], answer: 0 }, 'has text in "facts"'],
    [{ ctx: 'c', ctx_a: 'd', endings: ['a', 'b'], label: 0 }, 'has text in "ctx_a", which is not read'],
    [{ question: 'q', choices: ['a', 'b'], options: ['c', 'd'], answer: 0 }, 'has "choices" and "options"'],
    [{ question: 'q', choices: ['a', 'b'], answer: 'a', label: 1 }, '"answer" and "label" name different choices'],
    [
      { question: 'q', choices: ['B', 'A'], answer: 'A' },
      'the answer "A" could mean choice 1 by its text or choice 0 by its letter',
    ],
    [{ question: 'q', option1: 'a', option2: 'b', answer: '1' }, 'needs "choices"'],
    [{ question: 'q', passage: ['p'], choices: ['a', 'b'], answer: 0 }, 'passage must be a string, got a list of 1'],
  ])('with %j are refused', (row, why) => {
    expect(() => questions(row)).toThrow(why);
  });

  it('may have the metadata that the documentation lists', () => {
    const text = readFileSync(join(import.meta.dirname, '..', '..', '..', 'docs', 'multiple-choice.md'), 'utf8');
    for (const field of METADATA_FIELDS) {
      expect(text).toContain(`\`${field}\``);
      expect(questions({ context: 'c', choices: ['a', 'b'], answer: 0, [field]: 'x' })).toHaveLength(1);
    }
  });

  it('say by their other lines what an answer means', () => {
    const other = { question: 'q', choices: ['x', 'y'], answer: 'B' };
    const letters = { question: 'q', choices: ['B', 'A'], answer: 'A' };
    expect(questions(letters, other).map((q) => q.answer)).toEqual([0, 1]);
    const texts = { question: 'q', choices: ['x', 'y'], answer: 'y' };
    expect(questions(letters, texts).map((q) => q.answer)).toEqual([1, 1]);
    const indices = { question: 'q', choices: ['x', 'y'], label: '1' };
    expect(questions({ question: 'q', choices: ['1', '0'], label: '0' }, indices).map((q) => q.answer)).toEqual([0, 1]);
  });

  it('without any question are refused', () => {
    const path = join(folder, 'empty.jsonl');
    writeFileSync(path, '\n');
    expect(() => readChoiceFile(path)).toThrow('holds no question');
  });
});

describe('longsight choice', () => {
  it('prints accuracies, and writes every log-likelihood and a table', async () => {
    const [out, csv] = [join(folder, 'out.jsonl'), join(folder, 'out.csv')];
    const args = ['choice', MODEL, QUESTIONS, '--engine', 'onnx', '--threads', '1'];
    const { code, stdout, stderr } = await cli([...args, '--out', out, '--csv', csv]);
    expect(stderr).toBe('engine onnx (asked for; 1 thread, as asked)\n');
    expect(code).toBe(0);
    expect(stdout).toMatch(/questions +4 +[01]\.\d{3} +[01]\.\d{3} to [01]\.\d{3}/);
    const rows = readFileSync(out, 'utf8').trim().split('\n');
    expect(rows).toHaveLength(4);
    expect(readFileSync(csv, 'utf8').split('\r\n')[1]).toMatch(/^questions,4,/);
    const json = await cli([...args, '--json']);
    const last = JSON.parse(json.stdout.trim().split('\n').at(-1) ?? '') as object;
    expect(last).toMatchObject({ event: 'choice', task: 'questions', questions: 4 });
  });

  it('refuses files that are not there or twice the same', async () => {
    const refused = async (...args: string[]) => {
      const { code, stderr } = await cli(['choice', MODEL, ...args]);
      expect(code).toBe(2);
      return stderr;
    };
    expect(await refused(join(folder, 'none.jsonl'))).toMatch(/cannot read/);
    expect(await refused(QUESTIONS, QUESTIONS)).toMatch(/two files have the same name/);
  });
});
