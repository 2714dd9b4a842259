/** Files of multiple-choice questions: every field with text is read or refused by name. */
import { z } from 'zod';
import { parseStored, present, DataError, quoted, listed, showValue } from '../core/index.js';
import { readRows, refuseUnread, type JsonRow } from '../data/index.js';

/** A multiple-choice question: a context, its continuations, and which of them is right. */
export interface ChoiceQuestion {
  readonly context: string;
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly answer: number;
}

/** What a question is asked about, and the question: a prompt has the texts of all that are there, in this order. */
const PROMPT_FIELDS = [
  'passage',
  'article',
  'story',
  'paragraph',
  'context',
  'ctx',
  'question',
  'query',
  'question_stem',
];
const CHOICE_FIELDS = ['choices', 'endings', 'options'];
const NUMBERED_CHOICES = ['answer', 'ending', 'option', 'choice'];
const ANSWER_FIELDS = ['answer', 'label', 'gold', 'answerKey', 'answer_index', 'answer_idx', 'correct_option'];
const named = <T extends z.ZodType>(names: readonly string[], schema: T): Readonly<Record<string, T>> =>
  Object.fromEntries(names.map((name) => [name, schema]));
/** What the fields that are read hold. */
const rowSchema = z.looseObject({
  ...named(PROMPT_FIELDS, z.string().nullish()),
  ...named(ANSWER_FIELDS, z.union([z.string(), z.number(), z.boolean()]).nullish()),
});
/** HellaSwag's halves of `ctx`. */
const CTX_PARTS = ['ctx_a', 'ctx_b'];

const letterOf = (i: number): string => String.fromCharCode(65 + i);

interface Choices {
  readonly texts: readonly string[];
  /** The names of the choices; null where the file gives none. */
  readonly labels: readonly string[] | null;
  /** The fields that they are read from. */
  readonly fields: readonly string[];
}

/** A question whose answers wait for those of the other lines, which tell what they mean. */
interface Draft {
  readonly where: string;
  readonly context: string;
  readonly choices: Choices;
  readonly answers: readonly { readonly field: string; readonly value: unknown }[];
}

/**
 * Questions of a JSONL file. The prompt is all that is there of `passage`, `article`, `story`, `paragraph`, `context`,
 * `ctx`, `question`, `query` and `question_stem`, a line each. The choices are `choices`, `endings` or `options` (a
 * list of texts or of `{text, label}`, or `{text: [...], label: [...]}` as in ARC), or fields `A`, `B`, ... or
 * `answer0`, `answer1`, ... The answer is `answer`, `label`, `gold`, `answerKey`, `answer_index`, `answer_idx` or
 * `correct_option`: an index from 0, a label, or the text of the right choice; of a question without choices true or
 * false, for yes and no.
 *
 * @throws DataError naming the line that is wrong, has text that is not read, or an answer that could mean two choices
 */
export function readChoiceFile(path: string): ChoiceQuestion[] {
  const drafts = readRows(path).map(({ value, where }) => draftOf(value, where));
  if (drafts.length === 0) throw new DataError(`${path} holds no question`);
  const common = commonReadings(drafts);
  return drafts.map((draft) => ({
    ...{ context: draft.context, choices: draft.choices.texts },
    answer: answerOf(draft, common),
  }));
}

function draftOf(given: JsonRow, where: string): Draft {
  const row = parseStored(rowSchema, flattened(given), where, '', 'user');
  const prompts = PROMPT_FIELDS.filter((field) => row[field] !== undefined && row[field] !== null);
  const texts = [...new Set(prompts.map((field) => row[field]))].filter((text) => typeof text === 'string');
  if (texts.length === 0) {
    throw new DataError(`${where} needs a text "context" (or "question")`);
  }
  const answers = ANSWER_FIELDS.flatMap((field) => (row[field] == null ? [] : [{ field, value: row[field] }]));
  const choices = choicesOf(row, answers.length > 0 && typeof answers[0]?.value === 'boolean', where);
  const parts = CTX_PARTS.filter((part) => typeof row[part] === 'string' && String(row['ctx']).includes(row[part]));
  refuseUnread(row, [...PROMPT_FIELDS, ...choices.fields, ...ANSWER_FIELDS, ...parts], where);
  return { where, context: joined(texts), choices, answers };
}

/** ARC's own files hold text and choices inside of `question`. */
function flattened(row: JsonRow): JsonRow {
  const { question } = row;
  if (typeof question !== 'object' || question === null) return row;
  const { stem, ...rest } = question as JsonRow;
  return { ...row, ...rest, question: stem };
}

const joined = (texts: readonly string[]): string =>
  texts
    .filter((t) => t !== '')
    .reduce((all, text) => (all === '' || all.endsWith('\n') ? all + text : `${all}\n${text}`), '');

function choicesOf(row: JsonRow, yesOrNo: boolean, where: string): Choices {
  const named = CHOICE_FIELDS.filter((field) => row[field] !== undefined);
  if (named.length > 1) throw new DataError(`${where} has ${quoted(named)}; keep one list of choices`);
  const [field] = named;
  if (field !== undefined) {
    const listed = listOf(row[field]);
    const twice = listed?.labels?.find((label, i, all) => all.indexOf(label) !== i);
    if (twice !== undefined)
      throw new DataError(`${where} has two choices with the label ${showValue(twice)}; rename one`);
    if (listed !== null) return { ...listed, fields: [field] };
  } else {
    const spread = [letterFields(row), ...NUMBERED_CHOICES.map((name) => numberedFields(row, name))];
    const found = spread.find((choices) => choices.texts.length >= 2 && choices.texts.every((t) => t !== ''));
    if (found !== undefined) return found;
    if (yesOrNo) return { texts: ['no', 'yes'], labels: null, fields: [] };
  }
  throw new DataError(`${where} needs "choices", a list of at least two texts that are not empty`);
}

const isTexts = (v: unknown): v is string[] =>
  Array.isArray(v) && v.length >= 2 && v.every((t) => typeof t === 'string' && t !== '');

function listOf(value: unknown): Pick<Choices, 'texts' | 'labels'> | null {
  if (isTexts(value)) return { texts: value, labels: null };
  const pairs = Array.isArray(value) ? value.map((v) => (v ?? {}) as JsonRow) : null;
  const { text, label } = pairs === null ? ((value ?? {}) as JsonRow) : column(pairs);
  if (!isTexts(text) || !Array.isArray(label) || label.length !== text.length || !label.every(isLabel)) return null;
  return { texts: text, labels: label.map(String) };
}

/** Labels are texts or whole numbers: `"A"`, `"1"` or 1. */
const isLabel = (v: unknown): v is string | number => (typeof v === 'string' && v !== '') || Number.isInteger(v);

const column = (pairs: readonly JsonRow[]): JsonRow => ({
  ...{ text: pairs.map((p) => p['text']), label: pairs.map((p) => p['label']) },
});

/** Texts of fields `A`, `B`, ... (MMLU). */
function letterFields(row: JsonRow): Choices {
  const fields = leading(row, letterOf);
  return { texts: fields.map((f) => row[f] as string), labels: fields, fields };
}

/** Texts of fields that are numbered from 0 (CosmosQA). */
function numberedFields(row: JsonRow, name: string): Choices {
  const fields = leading(row, (i) => `${name}${i}`);
  return { texts: fields.map((f) => row[f] as string), labels: null, fields };
}

function leading(row: JsonRow, nameOf: (i: number) => string): string[] {
  const fields: string[] = [];
  while (fields.length < 26 && typeof row[nameOf(fields.length)] === 'string') fields.push(nameOf(fields.length));
  return fields;
}

/** Ways in which an answer may name a choice. */
type Reading = 'label' | 'letter' | 'text' | 'number';

/** The choice that an answer names under each reading. Where the file has labels, they come first. */
function readingsOf(value: unknown, { texts, labels }: Choices): ReadonlyMap<Reading, number> {
  const label = typeof value === 'string' || typeof value === 'number' ? (labels?.indexOf(String(value)) ?? -1) : -1;
  if (label >= 0) return new Map([['label', label]]);
  const found = new Map<Reading, number>();
  const put = (reading: Reading, choice: number) => {
    if (Number.isInteger(choice) && choice >= 0 && choice < texts.length) found.set(reading, choice);
  };
  if (typeof value === 'number') put('number', value);
  if (typeof value === 'boolean')
    put(
      'text',
      texts.findIndex((t) => (value ? /^(yes|true)$/i : /^(no|false)$/i).test(t)),
    );
  if (typeof value !== 'string') return found;
  put('text', texts.indexOf(value));
  if (/^\d+$/.test(value)) put('number', Number(value));
  if (labels === null && /^[A-Za-z]$/.test(value)) put('letter', value.toUpperCase().charCodeAt(0) - 65);
  return found;
}

/** For each answer field the readings that make sense on every line of the file. */
function commonReadings(drafts: readonly Draft[]): ReadonlyMap<string, ReadonlySet<Reading>> {
  const common = new Map<string, Set<Reading>>();
  for (const { choices, answers } of drafts) {
    for (const { field, value } of answers) {
      const own = readingsOf(value, choices);
      const before = common.get(field);
      common.set(field, new Set([...own.keys()].filter((reading) => before?.has(reading) ?? true)));
    }
  }
  return common;
}

function answerOf({ where, choices, answers }: Draft, common: ReadonlyMap<string, ReadonlySet<Reading>>): number {
  const { texts } = choices;
  const labels = choices.labels ?? texts.map((_, i) => letterOf(i));
  const wanted = (field: string) =>
    new DataError(
      `${where} needs "${field}": an index from 0 to ${texts.length - 1}, a label (${listed(labels)}), or the text of a choice`,
    );
  if (answers.length === 0) throw wanted('answer');
  const named = answers.map(({ field, value }) => {
    const all = [...readingsOf(value, choices)];
    const usual = all.filter(([reading]) => common.get(field)?.has(reading));
    const meant = new Set((usual.length > 0 ? usual : all).map(([, choice]) => choice));
    const [choice] = meant;
    if (choice === undefined) throw wanted(field);
    if (meant.size === 1) return { field, choice };
    throw new DataError(
      `${where}: the ${field} ${showValue(value)} could mean ${all.map(([r, c]) => `choice ${c} by its ${r}`).join(' or ')}; ` +
        'give an index from 0 as a number, or choices with labels',
    );
  });
  const choice = present(named[0]?.choice);
  if (named.some((n) => n.choice !== choice)) {
    throw new DataError(`${where}: ${quoted(named.map((n) => n.field))} name different choices; keep the right one`);
  }
  return choice;
}
