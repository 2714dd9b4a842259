/** Parts of the pages of docs/ that are made from definitions. */
import type { z } from 'zod';
import { at } from '../core/index.js';
import { describeKeys } from './terminal/schema-help.js';

/** The file name of another page in the same folder, for links. */
export const beside = (name: string) => `${name}.md`;

/** A text inside of a cell of a Markdown table. */
export const cell = (text: string): string =>
  text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replace(/\s+/g, ' ').trim();

/** The page with the part between its two marks made anew; `what` names the definitions that it is made from. */
export function madePart(page: string, what: string, made: string): string {
  const begin = `<!-- Made by \`npm run docs\` from the definitions of ${what}; a test compares. -->`;
  const end = '<!-- End of what is made. -->';
  const [before, rest = ''] = page.split(begin);
  return `${before}${begin}\n\n${made}\n\n${end}${rest.split(end)[1] ?? ''}`;
}

/** A Markdown table; cells are as they stand. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/**
 * The fields of a stored file, as its schema describes them (`field`). Fields that hold the same as an earlier one are
 * said to, instead of listing it again.
 *
 * @param leftOut fields at the top that are not listed
 * @returns the table; empty text where no field is left
 */
export function fieldsTable(schema: z.ZodType, leftOut: readonly string[] = []): string {
  const keys = describeKeys(schema).filter(({ path }) => !leftOut.includes(/^[^.[]*/.exec(path)?.[0] ?? ''));
  const first = new Map<string, string>();
  const rows: string[][] = [];
  for (let i = 0; i < keys.length;) {
    const { path, type, unit, required, default: standard, description, group } = at(keys, i);
    // A default is for files of versions that had no such field.
    const mayMiss = !required && standard === null;
    const inside = keys.slice(i + 1).findIndex((key) => !/^(\[\])*[.[]/.test(below(key.path, path) ?? ''));
    const children = keys.slice(i + 1, inside < 0 ? keys.length : i + 1 + inside);
    const held = JSON.stringify(children.map((key) => ({ ...key, path: below(key.path, path) })));
    const same = group ? first.get(held) : undefined;
    if (group && same === undefined) first.set(held, path);
    const meaning = same === undefined ? description : `${description}; fields as in \`${same}\``;
    rows.push([`\`${path}\`${mayMiss ? ' (optional)' : ''}`, cell(type), cell(unit), cell(meaning)]);
    i += same === undefined ? 1 : 1 + children.length;
  }
  return rows.length === 0 ? '' : markdownTable(['field', 'type', 'unit', 'meaning'], rows);
}

/** What follows `parent` in a path; null for a path that does not begin so. */
function below(path: string, parent: string): string | null {
  return path.startsWith(parent) ? path.slice(parent.length) : null;
}
