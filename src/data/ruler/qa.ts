/** Question answering among distracting documents: users' SQuAD and HotpotQA files, and a substitute made of a book. */
import { z } from 'zod';
import { present, ConfigError, DataError, parseJson, parseStored, readUtf8, type Rng } from '../../core/index.js';
import { choose, shuffled } from './draw.js';
import type { Draft, Question, QuestionSet, RulerSources, RulerTask } from './types.js';

const INSTRUCTION =
  'Answer the question based on the given documents. Only give me the answer and do not output any other words.';

function drawQuestion(rng: Rng, set: QuestionSet, size: number, index: number): Draft {
  const { question, answers, gold, near } = present(set.questions[index % set.questions.length]);
  const chosen = [...gold, ...near].slice(0, Math.max(size, gold.length));
  const taken = new Set(chosen);
  const others = Math.min(size, set.documents.length) - chosen.length;
  // Enough candidates that those taken already can be left out.
  for (const i of others > 0
    ? choose(rng, set.documents.length, Math.min(set.documents.length, others + taken.size))
    : []) {
    if (chosen.length >= size) break;
    if (!taken.has(i)) chosen.push(i);
  }
  const order = shuffled(rng, chosen);
  const documents = order.map((d, i) => `Document ${i + 1}:\n${set.documents[d]}`);
  const input = `${INSTRUCTION}\n\nThe following are given documents.\n\n${documents.join('\n\n')}\n\n${INSTRUCTION}\n\nQuestion: ${question}`;
  const at = order.findIndex((d) => d === gold[0]);
  const answerAt = input.indexOf(present(documents[at]));
  return { input, answerPrefix: ' Answer:', outputs: answers, answerAt };
}

/** A task on the question set that `of` takes from the sources. */
export function questionTask(of: (sources: RulerSources) => QuestionSet | null, missing: string): RulerTask {
  return {
    answerTokens: 32,
    scoring: 'part',
    generator: (_budget, sources) => {
      const set = of(sources);
      if (set === null) throw new ConfigError(missing);
      return {
        minSize: 1,
        maxSize: set.documents.length,
        draw: (rng, size, index) => drawQuestion(rng, set, size, index),
      };
    },
  };
}

function parse<S extends z.ZodType>(path: string, schema: S, format: string): z.output<S> {
  const value = parseJson(readUtf8(path, 'drop'), path, 'user');
  return parseStored(schema, value, path, `; the file must be in the format of ${format}`, 'user');
}

const squadFile = z.looseObject({
  data: z.array(
    z.looseObject({
      paragraphs: z.array(
        z.looseObject({
          context: z.string(),
          qas: z.array(
            z.looseObject({
              question: z.string(),
              is_impossible: z.boolean().optional(),
              answers: z.array(z.looseObject({ text: z.string() })),
            }),
          ),
        }),
      ),
    }),
  ),
});

/**
 * Questions of a file in the format of SQuAD (1.1 or 2.0) that have an answer. Throws `DataError` if it is no such
 * file.
 */
export function readSquad(path: string): QuestionSet {
  const file = parse(path, squadFile, 'SQuAD (data[].paragraphs[].context and qas[])');
  const documents: string[] = [];
  const questions: Question[] = [];
  for (const { paragraphs } of file.data) {
    const first = documents.length;
    const article = paragraphs.map((_, i) => first + i);
    paragraphs.forEach(({ context, qas }, i) => {
      documents.push(context);
      for (const { question, answers, is_impossible: impossible } of qas) {
        const texts = [...new Set(answers.map((a) => a.text))];
        if (impossible === true || texts.length === 0) continue;
        const near = article.filter((d) => d !== first + i);
        questions.push({ question, answers: texts, gold: [first + i], near });
      }
    });
  }
  return checked(path, { documents, questions });
}

const hotpotFile = z.array(
  z.looseObject({
    question: z.string(),
    answer: z.string(),
    context: z.array(z.tuple([z.string(), z.array(z.string())])),
  }),
);

/** Questions of a file in the format of HotpotQA (distractor setting). Throws `DataError` if it is no such file. */
export function readHotpot(path: string): QuestionSet {
  const rows = parse(path, hotpotFile, 'HotpotQA (rows of question, answer and context)');
  const index = new Map<string, number>();
  const questions: Question[] = [];
  for (const { question, answer, context } of rows) {
    const gold = context.map(([title, sentences]) => {
      const text = `${title}\n${sentences.join('')}`;
      const known = index.get(text) ?? index.size;
      index.set(text, known);
      return known;
    });
    questions.push({ question, answers: [answer], gold: [...new Set(gold)], near: [] });
  }
  return checked(path, { documents: [...index.keys()], questions });
}

function checked(path: string, set: QuestionSet): QuestionSet {
  if (set.questions.length > 0) return set;
  throw new DataError(`${path} holds no question that has an answer`);
}

/** Words of a passage that a question quotes. */
const QUOTED_WORDS = 8;

/**
 * A substitute for real questions, from a book with `CHAPTER N. Title.` headings: documents are a chapter's title and
 * one of its paragraphs, and a question asks in which chapter quoted words stand.
 */
export function bookQuestions(text: string): QuestionSet {
  const documents: string[] = [];
  const questions: Question[] = [];
  for (const chapter of text.split(/^CHAPTER \d+\. /m).slice(1)) {
    const [heading = '', ...paragraphs] = chapter.split(/\n\s*\n/);
    const title = heading.replace(/\s+/g, ' ').trim().replace(/\.$/, '');
    for (const paragraph of paragraphs) {
      const words = paragraph.trim().split(/\s+/);
      if (words.length < 5 * QUOTED_WORDS || words.length > 200) continue;
      const quote = words.slice(2 * QUOTED_WORDS, 3 * QUOTED_WORDS).join(' ');
      const question = `What is the title of the chapter in which "${quote}" is written?`;
      questions.push({ question, answers: [title], gold: [documents.length], near: [] });
      documents.push(`${title}\n${words.join(' ')}`);
    }
  }
  return { documents, questions };
}
