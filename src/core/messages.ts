/** Values of files and command lines inside messages: on one line, harmless to a terminal, and short. */

/** At most this many characters of a value are quoted in a message. */
export const MAX_QUOTED = 80;
/** At most this many names are listed in a message. */
const MAX_NAMES = 20;
/** The longest message, in characters: what is longer loses its middle. */
const MAX_MESSAGE = 2000;

/** Control characters, marks that turn the direction of text around, and halves of surrogate pairs. */
const UNSAFE = /[\p{Cc}\p{Bidi_Control}\p{Surrogate}\u2028\u2029]/gu;

/**
 * A text without what a terminal would obey instead of showing it: control characters, bidirectional marks, separators
 * of lines and halves of surrogate pairs become escapes such as `\u001b`.
 *
 * @param keep characters that stay as they are, such as the line ends of a table
 */
export function printable(text: string, keep = ''): string {
  return text.replace(UNSAFE, (char) =>
    keep.includes(char) ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * A message on one line, whatever it quotes: line ends and the white space around them become one space, other unsafe
 * characters escapes (`printable`), and the middle of one of more than 2,000 characters is left out.
 */
export function oneLine(message: string): string {
  const short = message.length > MAX_MESSAGE ? cutMiddle(message) : message;
  return printable(short.trim().replace(/[^\S\n\r\u2028\u2029]*[\n\r\u2028\u2029]\s*/g, ' '));
}

function cutMiddle(message: string): string {
  const end = MAX_MESSAGE / 4;
  return `${message.slice(0, MAX_MESSAGE - end - 5)} ... ${message.slice(-end)}`;
}

/** The first 80 characters of a text of a file, printable, for a message that quotes it: `...` stands for the rest. */
export function clip(text: string): string {
  // No more than these is looked at: a value may have the size of its file.
  const start = [...text.slice(0, 2 * MAX_QUOTED)];
  if (text.length <= 2 * MAX_QUOTED && start.length <= MAX_QUOTED) return printable(text);
  return `${printable(start.slice(0, MAX_QUOTED - 3).join(''))}...`;
}

/**
 * A value as a message shows it: lists and objects by what they are, texts as JSON of at most 80 characters, numbers as
 * they are, `nothing` for undefined.
 */
export function showValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number' || typeof value === 'bigint') return clip(String(value));
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return value === null || typeof value === 'boolean' ? `${value}` : `a ${typeof value}`;
  const json = clip(JSON.stringify(value.slice(0, 2 * MAX_QUOTED)));
  return value.length > 2 * MAX_QUOTED && !json.endsWith('...') ? `${json}...` : json;
}

/** Names in quotation marks, for messages: `"a"`, `"a" and "b"`, `"a", "b" and "c"`; of many, the first 20. */
export function quoted(names: readonly string[]): string {
  const all = names.slice(0, MAX_NAMES).map((name) => `"${clip(name)}"`);
  if (names.length > MAX_NAMES) return `${all.join(', ')} and ${names.length - MAX_NAMES} more`;
  return all.length < 2 ? all.join('') : `${all.slice(0, -1).join(', ')} and ${all.at(-1)}`;
}

/** Names of a file with commas, for messages; of many, the first 20. */
export function listed(names: readonly string[]): string {
  const more = names.length > MAX_NAMES ? `, and ${names.length - MAX_NAMES} more` : '';
  return `${names.slice(0, MAX_NAMES).map(clip).join(', ')}${more}`;
}
