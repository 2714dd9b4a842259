// The site of the manual: docs/ as HTML in build/site. `npm run docs` builds it, `npm run docs:preview` serves it.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';
import { SECTIONS } from '../sidebar.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DOCS = join(ROOT, 'docs');
const SOURCES = 'https://github.com/longsight/longsight';

/**
 * Links of the Markdown files hold in the repository. Those to files outside docs/ lead to the repository from the site; those to files that are
 * no pages (reports, tables) leave the site's router alone.
 */
function repositoryLinks(md) {
  md.core.ruler.push('repository-links', ({ tokens, env }) => {
    for (const token of tokens.flatMap(({ children }) => children ?? []).filter(({ type }) => type === 'link_open')) {
      const href = token.attrGet('href') ?? '';
      if (/^([a-z]+:|#|\/)/i.test(href)) continue;
      const [path, hash] = href.split('#');
      const file = resolve(dirname(join(DOCS, env.relativePath)), decodeURIComponent(path));
      if (!existsSync(file)) throw new Error(`${env.relativePath} links to ${href}, which is not there`);
      const place = relative(DOCS, file);
      if (place.startsWith('..'))
        token.attrSet('href', `${SOURCES}/blob/main/${relative(ROOT, file)}${hash ? `#${hash}` : ''}`);
      else if (!file.endsWith('.md')) token.attrSet('target', '_self');
    }
  });
}

/** A corner of a table that has no heading is no heading for those who hear the page. */
function emptyCorners(md) {
  md.core.ruler.push('empty-corners', ({ tokens }) => {
    tokens.forEach((token, i) => {
      if (token.type !== 'th_open' || tokens[i + 1].content !== '') return;
      token.tag = 'td';
      tokens[i + 2].tag = 'td';
    });
  });
}

/** Pages that scripts wrote begin with a heading of the second level: they get their title from the sidebar. */
function titles(md) {
  const known = new Map(SECTIONS.flatMap(({ pages }) => pages.map(({ file, title }) => [file, title])));
  md.core.ruler.before('normalize', 'titles', (state) => {
    if (!/^# /m.test(state.src.replace(/^```[\s\S]*?^```/gm, '')))
      state.src = `# ${known.get(state.env.relativePath)}\n\n${state.src}`;
  });
}

/**
 * The pages as plain Markdown beside their HTML, for programs that read: `llms.txt` lists them with the first sentence of each
 * (llmstxt.org), `llms-full.txt` holds them all.
 */
function plainPages({ outDir }) {
  const pages = SECTIONS.flatMap(({ title, pages: own }) => own.map((page) => ({ section: title, ...page })));
  const texts = pages.map((page) => ({ ...page, text: readFileSync(join(DOCS, page.file), 'utf8') }));
  for (const { file, text } of texts) {
    mkdirSync(dirname(join(outDir, file)), { recursive: true });
    writeFileSync(join(outDir, file), text);
  }
  const opening = (text) =>
    (/^[A-Z][^|]*?[.:](?=\s)/m.exec(text.replace(/^#.*$/gm, ''))?.[0] ?? '')
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replaceAll(/\s+/g, ' ')
      .replace(/:$/, '.');
  const listed = SECTIONS.map(({ title, pages: own }) =>
    [
      `## ${title}`,
      '',
      ...own.map(({ title: name, file }) => {
        const { text = '' } = texts.find((page) => page.file === file) ?? {};
        return `- [${name}](${file}): ${opening(text)}`.replace(/: $/, '');
      }),
    ].join('\n'),
  );
  writeFileSync(
    join(outDir, 'llms.txt'),
    `# Longsight\n\n> A lab for hybrid-attention language models\n\n${listed.join('\n\n')}\n`,
  );
  writeFileSync(join(outDir, 'llms-full.txt'), texts.map(({ file, text }) => `<!-- ${file} -->\n\n${text}`).join('\n'));
}

const sidebar = SECTIONS.map(({ title, pages }) => ({
  text: title,
  items: pages.map(({ title: text, file }) => ({ text, link: `/${file.replace(/\.md$/, '.html')}` })),
}));
const api = { text: 'API', items: [{ text: 'Every public name', link: '/api/index.html', target: '_self' }] };

export default defineConfig({
  title: 'Longsight',
  description: 'A lab for hybrid-attention language models',
  lang: 'en-US',
  srcDir: '../docs',
  outDir: '../build/site',
  cacheDir: '../build/vitepress-cache',
  rewrites: { 'README.md': 'index.md' },
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  markdown: {
    config: (md) => [repositoryLinks, emptyCorners, titles].forEach((plugin) => plugin(md)),
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
  },
  buildEnd: plainPages,
  vite: { publicDir: false, build: { chunkSizeWarningLimit: 4096 } },
  themeConfig: {
    search: { provider: 'local' },
    nav: [
      { text: 'Learn', link: '/learn.html' },
      { text: 'Start', link: '/getting-started.html' },
      { text: 'API', link: '/api/index.html', target: '_self' },
      { text: 'Sources', link: SOURCES },
    ],
    sidebar: [...sidebar.slice(0, 3), api, ...sidebar.slice(3)],
    outline: [2, 3],
    editLink: { pattern: `${SOURCES}/edit/main/docs/:path`, text: 'Correct this page' },
  },
});
