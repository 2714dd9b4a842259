/** Tables as CSV (RFC 4180), written and read. */
import { CsvError, parse } from 'csv-parse/sync';
import { DataError } from './errors.js';
import { writeFileAtomic } from './files.js';

/** A value of one table cell; numbers are written as JavaScript prints them, null and undefined as an empty field. */
export type CsvCell = string | number | boolean | null | undefined;

/**
 * A table as CSV text (RFC 4180): a header of column names, then one line a row. Null and undefined become empty
 * fields; lines end with CR LF. A text that begins with `=`, `+`, `-`, `@`, a tab or CR and is no number has an
 * apostrophe in front, as OWASP advises, so that no spreadsheet runs it; `parseCsv` takes it off.
 */
export function csvText(columns: readonly string[], rows: readonly (readonly CsvCell[])[]): string {
  return [columns, ...rows].map((cells) => `${lineOf(cells)}\r\n`).join('');
}

/** Writes a table as CSV to `path`, atomically; does nothing if `path` is undefined. */
export function writeCsv(
  path: string | undefined,
  columns: readonly string[],
  rows: readonly (readonly CsvCell[])[],
): void {
  if (path !== undefined) writeFileAtomic(path, csvText(columns, rows));
}

/** One row of a CSV table that was read, with its place in the file. */
export interface CsvRow {
  /** The fields of the row as text, unquoted, one for each column of the header. */
  readonly cells: readonly string[];
  /** The line of the file on which the row begins, counted from 1. */
  readonly line: number;
}

/**
 * Reads a table, the header being its first row. Fields in double quotes may hold separators, line ends and, doubled,
 * quotes; lines end with CR LF, LF or CR; a byte order mark and empty lines are passed over, and so is the apostrophe
 * that `csvText` puts before what looks like a formula.
 *
 * @param where what messages call the table
 * @throws DataError naming the line if a quote is not closed or stands inside of a field, or a row has not as many
 * fields as the
 *   first
 */
export function parseCsv(text: string, where: string, separator: ',' | '\t' = ','): CsvRow[] {
  let found: { record: string[]; info: { lines: number } }[];
  try {
    found = parse(text, {
      ...{ delimiter: separator, record_delimiter: ['\r\n', '\n', '\r'], bom: true, info: true },
      ...{ relax_column_count: true, skip_empty_lines: true },
    }) as unknown as typeof found;
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    throw new DataError(`${where} is not valid CSV: ${cause.message}`, { details: { where }, cause });
  }
  let twice = 0;
  const rows = found.flatMap(({ record, info }): CsvRow[] => {
    // csv-parse counts a CR LF inside of quotes as two lines.
    const line = info.lines - twice - count(record, /[\r\n]/g);
    twice += count(record, /\r\n/g);
    const cells = record.map((cell) => (cell.startsWith("'") && FORMULA.test(cell) ? cell.slice(1) : cell));
    return record.length > 1 || record[0]?.trim() !== '' ? [{ cells, line }] : [];
  });
  const width = rows[0]?.cells.length ?? 0;
  const uneven = rows.find(({ cells }) => cells.length !== width);
  if (uneven !== undefined) {
    const place = `${where}:${uneven.line}`;
    throw new DataError(`${place}: the row has ${uneven.cells.length} fields, the header has ${width}`, {
      details: { where: place },
    });
  }
  return rows;
}

function count(cells: readonly string[], pattern: RegExp): number {
  return cells.reduce((sum, cell) => sum + (cell.match(pattern)?.length ?? 0), 0);
}

function lineOf(cells: readonly CsvCell[]): string {
  // A line without anything would be an empty line, not a row of one empty field.
  return cells.map(field).join(',') || (cells.length === 1 ? '""' : '');
}

/** How a spreadsheet's formula begins, after any number of the apostrophes that this module puts in front. */
const FORMULA = /^'*[=+\-@\t\r]/;
const isNumber = (text: string): boolean => text.trim() !== '' && Number.isFinite(Number(text));

/** A text that a spreadsheet would take for a formula, with an apostrophe in front, so that it takes it for a text. */
function safe(value: CsvCell): string {
  if (typeof value === 'string') return FORMULA.test(value) && !isNumber(value) ? `'${value}` : value;
  return value === null || value === undefined ? '' : String(value);
}

function field(value: CsvCell): string {
  const text = safe(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
