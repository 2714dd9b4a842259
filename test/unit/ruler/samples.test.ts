import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { byteTokenizer, openTokenizer } from '../../../src/checkpoint/index.js';
import { Rng } from '../../../src/core/index.js';
import {
  ESSAY_DEPTHS,
  NOISE,
  OFFLINE_TASKS,
  openSources,
  prepareRuler,
  readHotpot,
  readRulerFile,
  readSquad,
  RULER_13,
  RulerMaker,
  rulerTask,
  splitSentences,
  taskName,
  type RulerRow,
  type RulerTaskName,
} from '../../../src/data/index.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-ruler-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tokenizer = openTokenizer(join(import.meta.dirname, '..', '..', 'data', 'tokenizer'));
const sources = openSources({ seed: 42 });
const SAMPLES = 4;

function rowsOf(task: RulerTaskName, length: number, count = SAMPLES): RulerRow[] {
  const maker = new RulerMaker({ task, length, samples: count }, tokenizer, sources);
  return Array.from({ length: count }, (_, i) => maker.row(i));
}

/** A question of a task with a given number of units. */
function drawn(task: RulerTaskName, size: number, index = 0) {
  return rulerTask(task)
    .generator(16_384, sources)
    .draw(Rng.of(1, 'test', task, index), size, index);
}

const count = (text: string, part: string): number => text.split(part).length - 1;

describe('samples of every task', () => {
  it.each([...OFFLINE_TASKS, 'passkey'] as const)(
    '%s fill the budget, the answer included, and never exceed it',
    (task) => {
      const { answerTokens } = rulerTask(task);
      for (const row of rowsOf(task, 8192)) {
        expect(tokenizer.encode(row.input + row.answer_prefix).length + answerTokens).toBe(row.length);
        expect(row.length).toBeLessThanOrEqual(8192);
        expect(row.length).toBeGreaterThan(0.9 * 8192);
      }
    },
  );

  it.each([...OFFLINE_TASKS, 'passkey'] as const)('%s hold their answers, and differ from one another', (task) => {
    const rows = rowsOf(task, 8192);
    for (const { input, outputs } of rows) {
      expect(outputs.length).toBeGreaterThan(0);
      for (const answer of outputs) expect(input).toContain(answer);
    }
    expect(new Set(rows.map((r) => r.input)).size).toBe(SAMPLES);
    expect(new Set(rows.map((r) => r.outputs.join())).size).toBeGreaterThan(1);
  });

  it('are the same for the same seed, one by one or in a row, and others for another', () => {
    const again = new RulerMaker({ task: 'niah_multikey_1', length: 2048, samples: 1 }, tokenizer, sources);
    expect(again.row(3)).toEqual(rowsOf('niah_multikey_1', 2048)[3]);
    const other = new RulerMaker(
      { task: 'niah_multikey_1', length: 2048, samples: 1 },
      tokenizer,
      openSources({ seed: 43 }),
    );
    expect(other.row(3).outputs).not.toEqual(again.row(3).outputs);
  });

  it('name the length that is needed where not even the smallest fits', () => {
    const make = (length: number) => new RulerMaker({ task: 'vt', length, samples: 1 }, tokenizer, sources);
    expect(() => make(512)).toThrow(/vt does not fit 512 tokens .* choose a length of at least \d+$/);
    const least = Number(/at least (\d+)$/.exec(errorOf(() => make(512)))?.[1]);
    expect(make(least).row(0).length).toBeLessThanOrEqual(least);
    expect(() => make(20)).toThrow(/does not fit 20 tokens/);
  });

  it('know the token at which the needle begins', () => {
    for (const { input, token_position_answer: at } of rowsOf('niah_single_1', 2048)) {
      const ids = tokenizer.encode(input);
      const from = tokenizer.decode(ids.subarray(at ?? 0));
      // A token may straddle the beginning.
      expect(from.slice(0, 40)).toContain('ne of the special magic numbers for');
    }
  });
});

function errorOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as Error).message;
  }
  return '';
}

describe('needles', () => {
  it("stand in RULER's noise of 19 words and 89 characters, in its words", () => {
    expect(NOISE).toHaveLength(89);
    expect(NOISE.split(' ')).toHaveLength(19);
    const { input, answerPrefix, outputs } = drawn('niah_single_1', 3);
    const key = /for (\S+) is: (\d{7})\./.exec(input);
    expect(outputs).toEqual([key?.[2]]);
    expect(input.split('\n')).toHaveLength(6);
    expect(
      input.startsWith('A special magic number is hidden within the following text. Make sure to memorize it. '),
    ).toBe(true);
    expect(input.endsWith(`\nWhat is the special magic number for ${key?.[1]} mentioned in the provided text?`)).toBe(
      true,
    );
    expect(answerPrefix).toBe(` The special magic number for ${key?.[1]} mentioned in the provided text is`);
  });

  it('are asked for in the plural where several answers are wanted', () => {
    const { input, answerPrefix, outputs } = drawn('niah_multivalue', 400);
    expect(outputs).toHaveLength(4);
    expect(input.startsWith('Some special magic numbers are hidden')).toBe(true);
    expect(input).toContain('What are all the special magic numbers for ');
    expect(answerPrefix.endsWith('mentioned in the provided text are')).toBe(true);
    const query = drawn('niah_multiquery', 400);
    expect(query.answerPrefix).toMatch(/for \S+, \S+, \S+, and \S+ mentioned/);
    expect(query.outputs).toHaveLength(4);
  });

  it.each([
    ['niah_single_2', 1, /is: \d{7}\./],
    ['niah_single_3', 1, /is: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\./],
    ['niah_multikey_1', 4, /is: \d{7}\./],
    ['niah_multikey_2', 401, /is: \d{7}\./],
    ['niah_multikey_3', 401, /for [0-9a-f-]{36} is: [0-9a-f-]{36}\./],
    ['niah_multivalue', 4, /is: \d{7}\./],
    ['niah_multiquery', 4, /is: \d{7}\./],
  ] as const)('of %s are %i', (task, needles, form) => {
    const { input } = drawn(task, 400);
    expect(count(input, 'One of the special magic')).toBe(needles);
    expect(input).toMatch(form);
  });

  it('stand at depths of RULER in whole sentences of a random window of an essay', () => {
    // round(linspace(0, 100, 40)), half to even, as listed there.
    expect(ESSAY_DEPTHS.join(' ')).toBe(
      '0 3 5 8 10 13 15 18 21 23 26 28 31 33 36 38 41 44 46 49 51 54 56 59 62 64 67 69 72 74 77 79 82 85 87 90 92 95 97 100',
    );
    const texts = [0, 1, 2].map((i) => drawn('niah_single_2', 600, i).input);
    const starts = texts.map((t) => t.split('\n')[1]?.slice(0, 60));
    expect(new Set(starts).size).toBe(3);
    for (const text of texts) {
      const context = text.split('\n')[1] ?? '';
      const words = context
        .replace(/One of the special magic numbers for \S+ is: \d+\. ?/, '')
        .trim()
        .split(' ');
      expect(words).toHaveLength(600);
    }
  });

  it('split sentences after stops in quotes, not after abbreviations before small letters', () => {
    expect(splitSentences('One, e.g. this. “Two!” Three?  Four\nfour.')).toEqual([
      'One, e.g. this.',
      '“Two!”',
      'Three?',
      'Four four.',
    ]);
  });
});

describe('variable tracking', () => {
  it('hides a chain of five, in order, after a worked example of another', () => {
    const { input, outputs, answerPrefix } = drawn('vt', 30);
    const value = /assigned the value (\d{5})/.exec(answerPrefix)?.[1];
    const question = input.slice(input.lastIndexOf('Memorize and track'));
    const statements = [...question.matchAll(/VAR ([A-Z]+) = (VAR )?([A-Z]+|\d+)/g)];
    expect(statements.map((m) => m[1])).toEqual(outputs);
    expect(statements.map((m) => m[3])).toEqual([value, ...outputs.slice(0, 4)]);
    expect(question).not.toContain(' .\n');
    const example = input.slice(0, input.lastIndexOf('Memorize and track'));
    expect(example).toMatch(/they are: [A-Z]{3}( [A-Z]{3}){4}\n\n$/);
    expect(answerPrefix).toContain('5 variables are assigned the value');
  });
});

describe('counting tasks', () => {
  it('repeat the ten common words most', () => {
    const { input, outputs } = drawn('cwe', 40);
    const list = input.slice(input.lastIndexOf('Memorize the ones')).split('\n')[1] ?? '';
    const words = list.split(/ ?\d+\. /).slice(1);
    const counts = new Map<string, number>();
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
    expect(outputs).toHaveLength(10);
    expect(outputs.map((w) => counts.get(w))).toEqual(new Array(10).fill(30));
    expect([...counts].filter(([w]) => !outputs.includes(w)).map(([, n]) => n)).toEqual(new Array(30).fill(3));
  });

  it('give coded words the shares of a zeta law of exponent 2, without a tie among the first five', () => {
    const { input, outputs } = drawn('fwe', 300);
    const coded = input.slice(input.indexOf('coded words. ') + 13, input.indexOf('\nQuestion')).split(' ');
    const counts = new Map<string, number>();
    for (const word of coded) counts.set(word, (counts.get(word) ?? 0) + 1);
    const sorted = [...counts].sort((a, b) => b[1] - a[1]);
    // int(300 k^-2 / zeta(2)) for k = 1 .. 5.
    expect(sorted.slice(0, 5).map(([, n]) => n)).toEqual([182, 45, 20, 11, 7]);
    expect(sorted[0]?.[0]).toBe('...');
    expect(sorted.slice(1, 4).map(([w]) => w)).toEqual(outputs);
  });
});

describe('questions', () => {
  const squad = join(folder, 'squad.json');
  const hotpot = join(folder, 'hotpot.json');
  writeFileSync(
    squad,
    JSON.stringify({
      data: [
        {
          paragraphs: [
            {
              context: 'Ada wrote notes.',
              qas: [
                { question: 'Who wrote?', answers: [{ text: 'Ada' }, { text: 'Ada' }] },
                { question: 'Never?', is_impossible: true, answers: [] },
              ],
            },
            { context: 'Bob built.', qas: [{ question: 'Who built?', answers: [{ text: 'Bob' }] }] },
          ],
        },
        { paragraphs: [{ context: 'Other text.', qas: [] }] },
      ],
    }),
  );
  writeFileSync(
    hotpot,
    JSON.stringify([
      {
        question: 'Where?',
        answer: 'Rome',
        context: [
          ['City', ['Rome is.', ' Old.']],
          ['Sea', ['Wet.']],
        ],
      },
    ]),
  );

  it('come from files in the format of SQuAD, those with an answer', () => {
    const set = readSquad(squad);
    expect(set.documents).toEqual(['Ada wrote notes.', 'Bob built.', 'Other text.']);
    expect(set.questions).toEqual([
      { question: 'Who wrote?', answers: ['Ada'], gold: [0], near: [1] },
      { question: 'Who built?', answers: ['Bob'], gold: [1], near: [0] },
    ]);
    const own = openSources({ seed: 1, squad });
    const { input } = rulerTask('qa_1').generator(4096, own).draw(Rng.of(1, 't'), 3, 1);
    expect(
      input
        .match(/Document \d+:\n.*/g)
        ?.map((d) => d.split('\n')[1])
        .sort(),
    ).toEqual(set.documents.slice().sort());
    expect(input.endsWith('\n\nQuestion: Who built?')).toBe(true);
  });

  it('come from files in the format of HotpotQA', () => {
    expect(readHotpot(hotpot)).toEqual({
      documents: ['City\nRome is. Old.', 'Sea\nWet.'],
      questions: [{ question: 'Where?', answers: ['Rome'], gold: [0, 1], near: [] }],
    });
  });

  it('say what is missing or wrong', () => {
    expect(() => rulerTask('qa_1').generator(4096, sources)).toThrow(/--squad FILE\), or take qa_book/);
    expect(() => readSquad(hotpot)).toThrow(
      /the value must be an object, got a list of 1; the file must be in the format of SQuAD/,
    );
    expect(() => readHotpot(squad)).toThrow(
      /the value must be a list, got an object; the file must be in the format of HotpotQA/,
    );
    expect(() => readSquad(join(folder, 'none.json'))).toThrow(/cannot read/);
  });

  it('quote the book in qa_book, and name its chapter', () => {
    const { input, outputs } = drawn('qa_book', 12, 5);
    const quote = /in which "(.*)" is written/.exec(input)?.[1] ?? '?';
    const documents = input.split(/Document \d+:\n/).slice(1);
    expect(documents).toHaveLength(12);
    const holding = documents.filter((d) => d.includes(quote));
    expect(holding.map((d) => d.split('\n')[0])).toContain(outputs[0]);
  });
});

describe('files of samples', () => {
  it('are made once for each tokenizer, seed, length and number, and read back', () => {
    const options = { tokenizer, folder: join(folder, 'cache'), seed: 1 };
    const spec = { task: 'passkey', length: 600, samples: 3 } as const;
    const first = prepareRuler(spec, options);
    expect(first.cached).toBe(false);
    const text = readFileSync(first.path, 'utf8');
    expect(prepareRuler(spec, options)).toEqual({ path: first.path, cached: true });
    const paths = [
      prepareRuler({ ...spec, samples: 4 }, options).path,
      prepareRuler(spec, { ...options, seed: 2 }).path,
      prepareRuler({ ...spec, length: 2000 }, { ...options, tokenizer: byteTokenizer() }).path,
    ];
    expect(new Set([first.path, ...paths]).size).toBe(4);
    rmSync(first.path);
    expect(readFileSync(prepareRuler(spec, options).path, 'utf8')).toBe(text);
    const rows = readRulerFile(first.path);
    expect(rows.map((r) => r.index)).toEqual([0, 1, 2]);
    expect(rows[0]?.prompt.endsWith(' The pass key is')).toBe(true);
    expect(Object.keys(JSON.parse(text.split('\n')[0] ?? '') as object)).toEqual([
      'index',
      'input',
      'answer_prefix',
      'outputs',
      'length',
      'length_w_model_temp',
      'token_position_answer',
    ]);
  });

  it("are read in users' hands, and say which line is wrong", () => {
    const path = join(folder, 'own.jsonl');
    writeFileSync(path, '{"input": "a", "outputs": "b"}\n\n{"input": "c", "outputs": ["d"], "index": 7}\n');
    expect(readRulerFile(path)).toEqual([
      { index: 0, prompt: 'a', outputs: ['b'] },
      { index: 7, prompt: 'c', outputs: ['d'] },
    ]);
    for (const [line, why] of [
      ['{"input": 1, "outputs": ["d"]}', ': input must be a string, got 1'],
      ['{"input": "c", "outputs": []}', ': outputs must have at least 1 entry, got a list of 0'],
      ['{"input": "c"', ' is not valid JSON'],
      ['{"input": "q", "context": "c", "outputs": ["o"]}', ' has text in "context", which is not read'],
      ['{"input": "c", "input": "d", "outputs": ["d"]}', ' has "input" twice'],
      ['{"input": "c \\ud800", "outputs": ["d"]}', ' has half of a surrogate pair'],
      ['{"input": "c", "outputs": ["d"], "index": "x"}', ': index must be a number, got "x"'],
    ] as const) {
      writeFileSync(path, `{"input": "a", "outputs": "b"}\n${line}\n`);
      expect(() => readRulerFile(path)).toThrow(`${path}:2${why}`);
    }
  });

  it('have names that are checked', () => {
    expect(RULER_13).toHaveLength(13);
    expect(() => taskName('niah_singel_1')).toThrow('did you mean "niah_single_1"?');
  });
});
