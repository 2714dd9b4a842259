/** docs/platforms.md lists every environment variable of Longsight's own that the sources read, and no other. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from '../../support/doc-commands.js';

it('the table of environment variables has those that the sources read', () => {
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' });
  const sources = files.filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const read = sources.flatMap((file) =>
    // `window.LONGSIGHT_SITE` is the data of a page.
    [...readFileSync(join(ROOT, 'src', file), 'utf8').matchAll(/(?<!window\.)\bLONGSIGHT_[A-Z_]+/g)].map(
      ([name]) => name,
    ),
  );
  const page = readFileSync(join(ROOT, 'docs/platforms.md'), 'utf8');
  const listed = [...page.matchAll(/^\|([^|]*)\|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/LONGSIGHT_[A-Z_]+/g)].map(([name]) => name),
  );
  expect(listed.length).toBeGreaterThan(8);
  expect([...new Set(listed)].sort()).toEqual([...new Set(read)].sort());
});
