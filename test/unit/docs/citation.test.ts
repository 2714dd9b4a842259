/** CITATION.cff names the package that package.json is of, and the paper by its number alone: its authors are not known here. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from '../../support/doc-commands.js';

it('CITATION.cff has the version, license and address of the package', () => {
  const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');
  const { version, license, repository } = JSON.parse(read('package.json')) as {
    readonly version: string;
    readonly license: string;
    readonly repository: { readonly url: string };
  };
  const found: unknown = parse(read('CITATION.cff'));
  expect(found).toMatchObject({
    'cff-version': '1.2.0',
    ...{ version, license, 'repository-code': repository.url.replace(/^git\+|\.git$/g, '') },
  });
});

it('CITATION.cff cites the paper by its arXiv number, and invents no authors of it', () => {
  const found = parse(readFileSync(join(ROOT, 'CITATION.cff'), 'utf8')) as Readonly<Record<string, unknown>>;
  expect(found.message).toMatch(/arXiv:2606\.15378/);
  expect(JSON.stringify(found)).not.toMatch(/authors of/i);
});
