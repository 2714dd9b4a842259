/** CITATION.cff names the package that package.json is of, and the paper by its number alone: its authors are not known here. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from '../../support/doc-commands.js';

const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');
const { version, license, repository } = JSON.parse(read('package.json')) as {
  readonly version: string;
  readonly license: string;
  readonly repository: { readonly url: string };
};
const citation = parse(read('CITATION.cff')) as Readonly<Record<string, unknown>>;

it('CITATION.cff has the version, license and address of the package', () => {
  expect(citation).toMatchObject({
    'cff-version': '1.2.0',
    ...{ version, license, 'repository-code': repository.url.replace(/^git\+|\.git$/g, '') },
  });
});

it('CITATION.cff cites the paper by its arXiv number, and invents no authors of it', () => {
  expect(citation.message).toMatch(/arXiv:2606\.15378/);
  expect(JSON.stringify(citation)).not.toMatch(/authors of/i);
});

it('every place that states the version has that of package.json, and the changelog begins with it and its day', () => {
  const lock = JSON.parse(read('package-lock.json')) as {
    readonly version: string;
    readonly packages: Readonly<Record<string, { readonly version: string }>>;
  };
  expect([lock.version, lock.packages['']?.version]).toEqual([version, version]);
  const [newest] = /^## .*$/m.exec(read('CHANGELOG.md')) ?? [];
  expect(newest).toBe(`## ${version} - ${String(citation['date-released'])}`);
  const images = [...read('docs/clusters.md').matchAll(/\/longsight:([\d.]+)/g)].map(([, tag]) => tag);
  expect(new Set(images)).toEqual(new Set([version]));
  expect(read('docs/upgrading.md')).toContain(`## To ${version}\n`);
  for (const [, cited] of read('README.md').matchAll(/version *= *\{([\d.]+)\}/g)) expect(cited).toBe(version);
});
