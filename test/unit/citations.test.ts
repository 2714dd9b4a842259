/** Comments that send the reader to a page of this repository: the page, and the heading that they name, are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

interface Citation {
  readonly page: string;
  readonly heading: string | undefined;
}

/**
 * `NAME.md` and `NAME.md, "Heading"` in a text; a name without a folder is of the root. Links of Markdown are left out: their
 * texts become pages, whose links are tested there.
 */
function citations(text: string): Citation[] {
  const found = text.matchAll(/(?<![\w/.-]|\]\()((?:[\w.-]+\/)*[\w-]+\.md)(?:, "([^"\n]+)")?/g);
  return [...found].map(([, page, heading]) => ({ page: page ?? '', heading }));
}

/** What is wrong with a citation, or nothing. */
function problem({ page, heading }: Citation): string[] {
  const path = join(ROOT, page);
  if (!existsSync(path)) return [`${page} is not in the repository`];
  if (heading === undefined) return [];
  const headings = readFileSync(path, 'utf8').match(/^#+ .*$/gm) ?? [];
  return headings.some((line) => line.replace(/^#+ /, '') === heading) ? [] : [`${page} has no heading "${heading}"`];
}

describe('citations in the sources', () => {
  it('name pages and headings that exist', () => {
    const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' });
    const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
    const cited = sources.flatMap((file) =>
      citations(readFileSync(join(ROOT, 'src', file), 'utf8')).map((citation) => ({ file, citation })),
    );
    expect(cited.length).toBeGreaterThan(4);
    expect(cited.flatMap(({ file, citation }) => problem(citation).map((why) => `${file}: ${why}`))).toEqual([]);
  });

  it('are found wrong where they are wrong', () => {
    const wrong = citations('see mixers.md and docs/recurrences.md, "Nothing of that name", not docs/recurrences.md');
    expect(wrong.flatMap(problem)).toEqual([
      'mixers.md is not in the repository',
      'docs/recurrences.md has no heading "Nothing of that name"',
    ]);
  });
});
