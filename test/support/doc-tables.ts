/** Tables of the documentation, and the records of result files that their numbers come from. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './doc-commands.js';

/** One record of a result file. */
export type Line = Readonly<Record<string, unknown>>;

/** What is in a file, whose path starts at the repository's root. */
const textOf = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** The records of a result file: one a line, or the `results` of one object. */
export function recordsOf(path: string): Line[] {
  if (!path.endsWith('.jsonl')) return [...(JSON.parse(textOf(path)) as { readonly results: readonly Line[] }).results];
  return textOf(path)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

/** The first record that has these values, with something under every one of these keys. */
export function recordOf(lines: readonly Line[], values: Line, ...keys: readonly string[]): Line {
  const has = (line: Line) =>
    keys.every((key) => line[key] !== undefined) &&
    Object.entries(values).every(([name, value]) => line[name] === value);
  const found = lines.find(has);
  if (found === undefined) throw new Error(`no line has ${keys.join(', ')} with ${JSON.stringify(values)}`);
  return found;
}

/** The number under a key of a record; a longer path goes into objects and lists. */
export function numberIn(line: Line, ...path: readonly (string | number)[]): number {
  let value: unknown = line;
  for (const key of path) {
    value =
      typeof value === 'object' && value !== null ? Object.entries(value).find(([k]) => k === `${key}`)?.[1] : null;
  }
  if (typeof value !== 'number') throw new Error(`no number at ${path.join('.')} of ${JSON.stringify(line)}`);
  return value;
}

/** The number under a key of the first record that has these values and that key. */
export const numberOf = (lines: readonly Line[], key: string, values: Line): number =>
  numberIn(recordOf(lines, values, key), key);

/** A number with so many decimals; halves of what is recorded go up, as by hand. */
export const decimals = (value: number, digits: number): string =>
  Number(`${Math.round(Number(`${value}e${digits}`))}e-${digits}`).toFixed(digits);

/** A whole number with its thousands set apart, to the nearest multiple of a unit. */
export const count = (value: number, unit = 1): string => (Math.round(value / unit) * unit).toLocaleString('en-US');

/** A row of a table. */
export const rowOf = (...cells: readonly string[]): string =>
  `|${cells.map((cell) => (cell === '' ? ' ' : ` ${cell} `)).join('|')}|`;

export interface DocTable {
  /** The line of its header. */
  readonly header: string;
  /** The lines of its rows. */
  readonly rows: readonly string[];
  /** What the page says from the last heading to the table. */
  readonly before: string;
}

/** The tables of a page, from its top. Spaces that only align columns are left out. */
export function tablesOf(page: string): DocTable[] {
  const text = textOf(page);
  return [...text.matchAll(/^(\|.*)\n\| *:?---.*\n((?:\|.*\n?)*)/gm)].map((match) => {
    const [header = '', ...rows] = [match[1] ?? '', ...(match[2] ?? '').trim().split('\n')].map((line) =>
      line.replaceAll(/ +\|/g, ' |'),
    );
    return { header, rows, before: text.slice(0, match.index).split(/^#+ /m).at(-1) ?? '' };
  });
}

/** The table of a page under this header. */
export function tableOf(page: string, header: string): DocTable {
  const found = tablesOf(page).find((table) => table.header === header);
  if (found === undefined) throw new Error(`${page} has no table with the header ${header}`);
  return found;
}
