/** Conversations for a model that was taught by a chat template. */
import { z } from 'zod';
import { readChatTemplate, type ChatMessage } from '../checkpoint/index.js';
import { ConfigError, parseConfig } from '../core/index.js';
import { kindOf, readRows } from '../data/index.js';
import { readTextFile, tokenizerOf } from './model-texts.js';
import type { OpenedModel } from './open-model.js';

/** What Transformers puts into prompts and Longsight does not. */
const unread = z
  .unknown()
  .optional()
  .refine((value) => value === undefined || value === null, 'is not put into prompts; leave it out');

const rowSchema = z.looseObject({
  messages: z.array(z.strictObject({ role: z.string().min(1), content: z.string() })).min(1),
  tools: unread,
  documents: unread,
});

/** A conversation as a model sees it. */
export interface TemplatedConversation {
  /** All that the template makes of it, with its special tokens. */
  readonly text: string;
  /** Token ids below the model's vocabulary size. */
  readonly ids: Int32Array;
}

/** Conversations of one question each, after the words of a system if there are any. */
export function conversationOf(question: string, system: string | undefined): ChatMessage[] {
  const first = system === undefined ? [] : [{ role: 'system', content: system }];
  return [...first, { role: 'user', content: question }];
}

/**
 * Conversations of a file: JSON lines with `messages`, a list of `{role, content}`; or questions, as `readTextFile`
 * reads them, put after `system`.
 *
 * @throws DataError or ConfigError naming the line that is wrong
 * @throws ConfigError for `messages` and a `system` both
 */
export function readConversations(path: string, system: string | undefined): ChatMessage[][] {
  const rows = kindOf(path) === 'jsonl' ? readRows(path) : [];
  if (!rows.some(({ value }) => value['messages'] !== undefined))
    return readTextFile(path).map(({ text }) => conversationOf(text, system));
  if (system !== undefined)
    throw new ConfigError(
      `${path} has whole conversations; put the system prompt (--system) into their messages, or leave it out`,
    );
  return rows.map(({ where, value }) => parseConfig(rowSchema, value, where).messages);
}

/**
 * Conversations in a model's tokens, by the chat template of its folder, up to where its answer begins.
 *
 * @throws ConfigError for runs, and for folders without a template
 * @throws DataError where the template refuses a conversation
 */
export function templated(
  model: OpenedModel,
  conversations: readonly (readonly ChatMessage[])[],
): TemplatedConversation[] {
  if (model.run !== null)
    throw new ConfigError(
      `${model.source} is a run, which has no chat template; take prompts as they are (without --chat), or name a model's folder`,
    );
  const template = readChatTemplate(model.source);
  return conversations.map((messages) => {
    const text = template.render(messages);
    return { text, ids: tokenizerOf(model).encode(text) };
  });
}
