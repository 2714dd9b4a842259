/** Texts and prompts of users' JSON lines. */
import { DataError, quoted, showValue } from '../core/index.js';
import { parseRows, refuseUnread } from './fields.js';

/** Fields of which a row has one, with its text. */
const TEXT_FIELDS: readonly string[] = ['text', 'prompt', 'input', 'context', 'question'];
/** Answers belong to analyses that look for them, and are no part of a text. */
const ANSWER_FIELDS: readonly string[] = ['outputs', 'answer', 'answers', 'needle', 'target'];

/** A text of a user's JSON Lines file. */
export interface TextRow {
  /** The file and line that the text comes from, for messages. */
  readonly name: string;
  readonly text: string;
}

/**
 * The texts of JSON lines, each in one of the fields `text`, `prompt`, `input`, `context` and `question`;
 * `answer_prefix` is appended to an `input`, as in RULER's files. Beside a `text`, other fields are taken for metadata;
 * beside a prompt, a field with text that is neither metadata nor an answer is refused.
 *
 * @throws DataError naming the line that is no JSON, has no such field or several, or has text that would be dropped
 */
export function textRows(content: string, path: string): TextRow[] {
  return parseRows(content, path).map(({ value: row, where }) => {
    const texts = TEXT_FIELDS.filter((field) => typeof row[field] === 'string' && row[field] !== '');
    const [field, ...others] = texts;
    if (field === undefined) {
      const other = TEXT_FIELDS.find((name) => row[name] !== undefined && row[name] !== '');
      const found = other === undefined ? '' : ` as a text, and "${other}" is ${showValue(row[other])}`;
      throw new DataError(`${where} has no prompt; it needs one of ${TEXT_FIELDS.join(', ')}${found}`, {
        details: { where },
      });
    }
    if (others.some((other) => row[other] !== row[field])) {
      throw new DataError(`${where} has text in ${quoted(texts)}, but one text is read; join them in "text"`, {
        details: { where, texts },
      });
    }
    const { answer_prefix: prefix } = row;
    const joined = field === 'input' && typeof prefix === 'string' ? prefix : '';
    if (field !== 'text') {
      const read = joined === '' ? texts : [...texts, 'answer_prefix'];
      refuseUnread(row, [...read, ...ANSWER_FIELDS], where);
    }
    return { name: where, text: `${String(row[field])}${joined}` };
  });
}
