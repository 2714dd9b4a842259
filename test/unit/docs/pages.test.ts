/** The pages of the manual: each stands in the sidebar, and every link of the Markdown files leads somewhere. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { SECTIONS, START_PAGE } from '../../../site/sidebar.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const DOCS = join(ROOT, 'docs');
const files = readdirSync(DOCS, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.md'))
  .map((file) => file.split(sep).join('/'))
  .sort();
const pages = [
  ...files.map((file) => `docs/${file}`),
  'README.md',
  'CONTRIBUTING.md',
  'AGENTS.md',
  'CHANGELOG.md',
  'bench/README.md',
  'examples/README.md',
];

/** The text without code, in which brackets are no links and hashes no headings. */
const prose = (path: string) => readFileSync(join(ROOT, path), 'utf8').replace(/^ *```[\s\S]*?^ *```/gm, '');

/** The anchors of a page's headings, as GitHub and the site make them. */
function anchors(path: string): Set<string> {
  const found = new Set<string>();
  for (const [, heading = ''] of prose(path).matchAll(/^#+ (.*)$/gm)) {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '');
    const slug = text
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-');
    let name = slug;
    for (let n = 1; found.has(name); n++) name = `${slug}-${n}`;
    found.add(name);
  }
  return found;
}

/** Links of a page that lead nowhere. */
function broken(path: string): string[] {
  const links = [...prose(path).matchAll(/\]\(([^)\s]+)(?: "[^"]*")?\)/g)].map(([, target = '']) => target);
  return links.filter((target) => {
    if (/^[a-z]+:/i.test(target)) return !/^(https:\/\/|mailto:)\S+$/.test(target);
    const [file = '', hash] = target.split('#');
    const place = file === '' ? join(ROOT, path) : resolve(ROOT, dirname(path), decodeURIComponent(file));
    if (!place.startsWith(ROOT) || !existsSync(place)) return true;
    return hash !== undefined && place.endsWith('.md') && !anchors(place.slice(ROOT.length)).has(hash);
  });
}

describe('the manual', () => {
  it('lists every page of docs once, and no other', () => {
    const listed = SECTIONS.flatMap(({ pages: own }) => own.map(({ file }) => file));
    expect([START_PAGE, ...listed].sort()).toEqual(files);
  });

  it('has titles that differ', () => {
    const titles = SECTIONS.flatMap(({ pages: own }) => own.map(({ title }) => title));
    expect(new Set(titles).size).toBe(titles.length);
  });

  it.each(pages)('%s has links that lead somewhere', (path) => {
    expect(broken(path)).toEqual([]);
  });
});
