/** The text of a line of JSON Lines, read alike wherever such lines are read. */
import {
  messageOf,
  DataError,
  nearest,
  decodeUtf8,
  showValue,
  timesGiven,
  wellFormed,
  type InvalidText,
  listed,
} from '../core/index.js';

/** How the text of a JSON line is read, and how messages name the line. */
export interface LineOptions {
  /** The key that holds the text. */
  readonly field: string;
  /** What happens to bytes that are not UTF-8. */
  readonly invalid: InvalidText;
  /** The file, for messages. */
  readonly path: string;
  /** The byte of the file at which the line starts. */
  readonly begin: number;
  /** Gives the number of the line, counted from 1; called only to write a message. */
  readonly line: () => number;
}

/** Whether a line holds nothing but white space. */
export function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((b) => b === 0x20 || b === 0x09 || b === 0x0d);
}

/**
 * The text that a line holds in `field`; null where it holds JSON's null.
 *
 * @throws DataError naming file and line: no UTF-8, no JSON object, no such field, or the field twice
 */
export function textOfLine(bytes: Uint8Array, options: LineOptions): string | null {
  const { field, invalid, path, begin } = options;
  const wrong = (what: string, cause?: unknown) => {
    const line = options.line();
    return new DataError(`${path}, line ${line}: ${what}; correct or remove the line`, {
      details: { path, line },
      cause,
    });
  };
  const json = decodeUtf8(withoutMark(bytes, begin), invalid, (offset) => invalidByte(path, begin + offset));
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw wrong(`not valid JSON (${messageOf(cause)})`, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(`not a JSON object but ${showValue(value)}`);
  if (!Object.hasOwn(value, field)) {
    const keys = Object.keys(value);
    const near = nearest(field, keys);
    throw wrong(
      `no field "${field}"; its fields are ${listed(keys)}${near === undefined ? '' : ` (did you mean "${near}"?)`}`,
    );
  }
  if (timesGiven(json, field) > 1) throw wrong(`the field "${field}" is given twice`);
  const text = (value as Readonly<Record<string, unknown>>)[field];
  if (text === null) return null;
  if (typeof text !== 'string') throw wrong(`"${field}" is not a string but ${showValue(text)}`);
  return wellFormed(text, invalid, (index) =>
    wrong(
      `"${field}" has half of a surrogate pair at character ${index}, which is no text (--invalid replace puts U+FFFD there)`,
    ),
  );
}

/** What is wrong with a file that holds byte `at`, which is no UTF-8. */
export function invalidByte(path: string, at: number): DataError {
  return new DataError(
    `${path}: byte ${at} is not valid UTF-8; convert the file, or replace such bytes by U+FFFD (--invalid replace)`,
    { details: { path, offset: at } },
  );
}

/** A byte order mark at the start of a file of JSON is no part of the JSON. */
function withoutMark(bytes: Uint8Array, begin: number): Uint8Array {
  return begin === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}
