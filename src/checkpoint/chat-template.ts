/**
 * Chat templates: the text that a model saved by Transformers was taught to see a conversation as. Jinja is read by
 * `@huggingface/jinja`; where that library would print something else than Python's Jinja, it is set right here.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { Template } from '@huggingface/jinja';
import { z } from 'zod';
import {
  ConfigError,
  DataError,
  errorCode,
  LongsightError,
  messageOf,
  parseConfig,
  present,
  readJson,
  readUtf8,
  showValue,
} from '../core/index.js';

/** One turn of a conversation. */
export interface ChatMessage {
  /** Who speaks: `system`, `user`, `assistant`, or what else the template of a model knows. */
  readonly role: string;
  readonly content: string;
}

/** How a model sees conversations. */
export interface ChatTemplate {
  /**
   * The text of a conversation, up to the place where the model's answer begins. It names the special tokens that it
   * needs, so it is tokenized without others in front.
   *
   * @throws DataError with the template's own words where it refuses the conversation, such as two questions in a row
   */
  render(messages: readonly ChatMessage[]): string;
}

const TEMPLATE_FILE = 'chat_template.jinja';
const CONFIG_FILE = 'tokenizer_config.json';
/** Longer ones are no templates (characters). */
const MAX_TEMPLATE_CHARACTERS = 1_000_000;
/** A template that counts further, or takes longer (milliseconds), belongs to no model. */
const MAX_RANGE = 1_000_000;
const LIMIT_MS = 5_000;

const named = z.array(z.looseObject({ name: z.string(), template: z.string() }));
const tokenText = z.union([z.string(), z.looseObject({ content: z.string() }).transform((token) => token.content)]);
const SPECIAL_TOKENS = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map((name) => `${name}_token`);

/**
 * Reads the chat template of a folder: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json` (of
 * several the one named `default`), as Transformers 5.24 does.
 *
 * @param now the time that templates with a date print
 * @param limitMs how long reading and each rendering may take, milliseconds
 * @throws ConfigError if the folder has no template
 * @throws DataError if it is no Jinja that can be read here; names the file
 */
export function readChatTemplate(
  folder: string,
  now: () => Date = () => new Date(),
  limitMs: number = LIMIT_MS,
): ChatTemplate {
  const configPath = join(folder, CONFIG_FILE);
  const config = existsSync(configPath) ? parseConfig(z.looseObject({}), readJson(configPath), configPath) : {};
  const { path, source } = templateOf(folder, config);
  if (source.length > MAX_TEMPLATE_CHARACTERS)
    throw new DataError(`${path}: a chat template of ${source.length} characters is not read; the limit is 1,000,000`);
  const template = parsed(source, path, limitMs);
  const tokens = SPECIAL_TOKENS.flatMap((name) => {
    const text = tokenText.safeParse(config[name]);
    return text.success ? [[name, text.data] as const] : [];
  });
  return {
    render: (messages) => {
      const given = { messages, tools: null, documents: null, add_generation_prompt: true };
      try {
        return inTime(limitMs, () =>
          template.render({ ...Object.fromEntries(tokens), ...given, ...functions(path, now) }),
        );
      } catch (cause) {
        if (cause instanceof LongsightError) throw cause;
        throw new DataError(`${path} does not take this conversation: ${messageOf(cause)}`, { cause });
      }
    },
  };
}

/** What `work` returns, unless it takes too long: a template may count for ever. Throws an error that says so. */
function inTime<T>(limitMs: number, work: () => T): T {
  const done: T[] = [];
  try {
    runInNewContext('work()', { work: () => void done.push(work()) }, { timeout: limitMs });
  } catch (cause) {
    if (errorCode(cause) !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw cause;
    throw new Error(`it takes longer than ${limitMs / 1000} s`, { cause });
  }
  return present(done[0]);
}

function templateOf(folder: string, config: Readonly<Record<string, unknown>>): { path: string; source: string } {
  const path = join(folder, TEMPLATE_FILE);
  if (existsSync(path)) return { path, source: readUtf8(path, 'keep') };
  const configPath = join(folder, CONFIG_FILE);
  const given = config['chat_template'];
  if (typeof given === 'string') return { path: configPath, source: given };
  if (given === undefined || given === null || (Array.isArray(given) && given.length === 0))
    throw new ConfigError(`${folder} has no chat template (${TEMPLATE_FILE}, or chat_template in ${CONFIG_FILE})`);
  const listed = named.safeParse(given);
  const usual = listed.data?.find(({ name }) => name === 'default');
  if (usual !== undefined) return { path: configPath, source: usual.template };
  if (listed.success)
    throw new ConfigError(
      `${configPath} has chat templates named ${listed.data.map(({ name }) => showValue(name)).join(', ')} and none named "default"`,
    );
  throw new DataError(
    `${configPath}: chat_template must be a text, or a list of templates with name and template, got ${showValue(given)}`,
  );
}

function parsed(source: string, path: string, limitMs: number): Template {
  try {
    const template = inTime(limitMs, () => new Template(source));
    const tree: unknown = template.parsed;
    if (isNode(tree)) printAsPython(tree);
    return template;
  } catch (cause) {
    throw new DataError(`${path} is not a chat template that can be read here: ${messageOf(cause)}`, { cause });
  }
}

/** A node of the library's syntax tree. */
type SyntaxNode = Record<string, unknown> & { readonly type: string };

const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';

/** Names that no template uses. */
const NOW = 'longsight now';
const RANGE = 'longsight range';
const DIFFERS = 'longsight differs';
const PRINTED = 'longsight printed';

/** Fields of statements that hold what is printed in turn. */
const BLOCKS = ['body', 'alternate', 'defaultBlock'];
const STATEMENTS = new Set(['If', 'For', 'Set', 'Macro', 'Break', 'Continue', 'Comment', 'CallStatement']);
const SAFE = new Set(['StringLiteral', 'FilterStatement']);

/**
 * Changes a syntax tree so that `range` is the one of this module, truth values and none are printed as Python prints
 * them, lists and mappings are refused, and months have their English names: the library prints `true`, nothing, JSON,
 * and the names of the reader's own language.
 */
function printAsPython(node: SyntaxNode): void {
  for (const [field, value] of Object.entries(node)) {
    if (isNode(value)) printAsPython(value);
    if (!Array.isArray(value)) continue;
    value.filter(isNode).forEach(printAsPython);
    if (!BLOCKS.includes(field)) continue;
    node[field] = value.map((part: unknown) => (isNode(part) && isPrinted(part) ? printed(part) : part));
  }
  if (node.type === 'Identifier' && node['value'] === 'strftime_now') node['value'] = NOW;
  const { callee } = node;
  if (isNode(callee) && callee.type === 'Identifier' && callee['value'] === 'range') callee['value'] = RANGE;
}

/** Whether a part of a block prints a value that may be something other than text. Macros give texts. */
function isPrinted({ type, callee }: SyntaxNode): boolean {
  if (type === 'CallExpression' && isNode(callee) && callee.type === 'Identifier') return false;
  return !STATEMENTS.has(type) && !SAFE.has(type);
}

function printed(part: SyntaxNode): SyntaxNode {
  const call = (name: string) => ({
    ...{ type: 'CallExpression', args: [part] },
    callee: { type: 'Identifier', value: name },
  });
  const test = { type: 'Identifier', value: 'none' };
  return choice(
    { type: 'TestExpression', operand: part, negate: false, test },
    NONE,
    choice(call(DIFFERS), call(PRINTED), part),
  );
}

const NONE: SyntaxNode = { type: 'StringLiteral', value: 'None' };

const choice = (condition: SyntaxNode, trueExpr: SyntaxNode, falseExpr: SyntaxNode): SyntaxNode => ({
  ...{ type: 'Ternary', condition, trueExpr, falseExpr },
});

/** Python's `range`, up to a length. */
function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (step === 0) throw new Error('range() with steps of 0');
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length > MAX_RANGE) throw new Error(`range() of ${length} numbers; at most ${MAX_RANGE} are counted`);
  return Array.from({ length }, (_, i) => from + i * step);
}

function functions(path: string, now: () => Date): Record<string, unknown> {
  return {
    [RANGE]: range,
    [DIFFERS]: (value: unknown) => typeof value === 'boolean' || typeof value === 'object',
    [PRINTED]: (value: unknown) => {
      if (typeof value === 'boolean') return value ? 'True' : 'False';
      throw new DataError(`${path} prints a list or a mapping, which is not implemented; print its parts, or tojson`);
    },
    [NOW]: (format: unknown) => formatTime(now(), String(format), path),
  };
}

/** Python's `strftime` with English names; codes that are not here are refused. */
function formatTime(date: Date, format: string, path: string): string {
  const english = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat('en-US', options).format(date);
  const two = (n: number) => String(n).padStart(2, '0');
  const codes: Readonly<Record<string, () => string>> = {
    '%Y': () => String(date.getFullYear()),
    '%m': () => two(date.getMonth() + 1),
    '%d': () => two(date.getDate()),
    '%B': () => english({ month: 'long' }),
    '%b': () => english({ month: 'short' }),
    '%A': () => english({ weekday: 'long' }),
    '%a': () => english({ weekday: 'short' }),
    '%H': () => two(date.getHours()),
    '%M': () => two(date.getMinutes()),
    '%S': () => two(date.getSeconds()),
    '%%': () => '%',
  };
  return format.replaceAll(/%./gs, (code) => {
    const value = codes[code];
    if (value === undefined) throw new DataError(`${path}: strftime_now with ${showValue(code)} is not implemented`);
    return value();
  });
}
