// Checks the site of the manual (build/site): sizes of pages, links and anchors, nothing fetched from elsewhere, no sideways scrolling, and
// the rules of axe-core (contrast, headings, labels, ...) in Chromium, light and dark, narrow and wide. usage: npm run docs && npm run docs:check
import { readdirSync, readFileSync, statSync, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, extname, join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const SITE = fileURLToPath(new URL('../build/site', import.meta.url));
const LARGEST_PAGE = 300_000;
const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
};
const LOOKS = [
  { colorScheme: 'light', width: 360 },
  { colorScheme: 'dark', width: 1280 },
  { colorScheme: 'light', width: 1280 },
  { colorScheme: 'dark', width: 360 },
];
const problems = [];
const problem = (page, what) => problems.push(`${page}: ${what}`);

if (!existsSync(SITE)) throw new Error('there is no build/site; run npm run docs first');
const files = readdirSync(SITE, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(SITE, join(entry.parentPath, entry.name)).split(sep).join('/'));
const known = new Set(files);
/** Reports of studies are files that pages offer, no pages of the manual. */
const isReport = (file) => /^studies\/[^/]+\/(?!README|numbers)[^/]+\.html$/.test(file);
const pages = files.filter((file) => file.endsWith('.html') && !isReport(file));

function checkFiles() {
  const anchors = new Map();
  const links = [];
  for (const page of pages) {
    const html = readFileSync(join(SITE, page), 'utf8');
    if (statSync(join(SITE, page)).size >= LARGEST_PAGE)
      problem(page, `has ${statSync(join(SITE, page)).size} bytes, fewer than ${LARGEST_PAGE} are allowed`);
    anchors.set(page, new Set([...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id)));
    for (const [, kind, target] of html.matchAll(/\s(href|src)="([^"]*)"/g))
      links.push([page, kind, target.replaceAll('&amp;', '&')]);
  }
  for (const [page, kind, target] of links) {
    if (/^(https?:|mailto:|data:)/.test(target)) {
      if (kind === 'src') problem(page, `takes ${target} from elsewhere`);
      continue;
    }
    if (target.includes('hierarchy.html#')) continue; // headings that the page's script makes
    const [path, hash] = target.split('#');
    let file = path === '' ? page : posix.join(path.startsWith('/') ? '' : dirname(page), decodeURIComponent(path));
    file = file.replace(/^\//, '');
    if (file === '' || file === '.' || file.endsWith('/')) file = posix.join(file, 'index.html');
    if (!known.has(file)) problem(page, `links to ${target}, which is not there`);
    else if (hash && anchors.has(file) && !anchors.get(file).has(decodeURIComponent(hash)))
      problem(page, `links to ${target}: no such heading`);
  }
  console.log(`${pages.length} pages, ${links.length} links`);
}

function serve() {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://x').pathname).slice(1);
    const file = path === '' || path.endsWith('/') ? `${path}index.html` : path;
    if (!known.has(file)) return void response.writeHead(404).end();
    response
      .writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' })
      .end(readFileSync(join(SITE, file)));
  });
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done(server)));
}

/** One page in one look: what axe finds, what is fetched from elsewhere, and whether it scrolls sideways. */
async function look(context, origin, page, name, axe) {
  const tab = await context.newPage();
  tab.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !/^(data|blob):/.test(url)) problem(page, `fetches ${url}`);
  });
  tab.on('pageerror', (error) => problem(page, `throws ${error.message}`));
  await tab.goto(`${origin}/${page}`, { waitUntil: 'networkidle' });
  await tab.addScriptTag({ content: axe });
  // TypeDoc puts permalinks inside of the headings that open parts, and its headings skip levels; its theme offers no other.
  const off = page.startsWith('api/') ? ['nested-interactive', 'heading-order'] : [];
  const rules = Object.fromEntries(off.map((rule) => [rule, { enabled: false }]));
  const found = await tab.evaluate((own) => globalThis.axe.run({ resultTypes: ['violations'], rules: own }), rules);
  for (const { id, nodes } of found.violations)
    problem(
      page,
      `${name}: ${id} at ${nodes.length} places, such as ${nodes[0].target.join(' ')} (${nodes[0].failureSummary.replace(/\s+/g, ' ')})`,
    );
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 0) problem(page, `${name}: scrolls sideways by ${wide} px`);
  await tab.close();
}

async function checkInChromium() {
  const path = [
    process.env.CHROMIUM ?? '',
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
  ].find((p) => p && existsSync(p));
  if (path === undefined) throw new Error('no Chromium found; CHROMIUM=PATH names one');
  const axe = readFileSync(
    createRequire(new URL('../site/package.json', import.meta.url)).resolve('axe-core/axe.min.js'),
    'utf8',
  );
  const manual = pages.filter((page) => !page.startsWith('api/') && page !== '404.html');
  const api = [
    'index.html',
    'modules/model.html',
    'functions/model.resolveModelConfig.html',
    'interfaces/engine.Engine.html',
    'classes/index.Trainer.html',
  ];
  for (const page of api) if (!known.has(`api/${page}`)) problem(`api/${page}`, 'is not there');
  const asked = process.argv.slice(2).filter((arg) => !arg.startsWith('-'));
  const chosen =
    asked.length > 0 ? asked : [...manual, ...api.map((page) => `api/${page}`).filter((page) => known.has(page))];
  // Every page light and narrow, and dark and wide; --all adds the other two.
  const looks = process.argv.includes('--all') ? LOOKS : LOOKS.slice(0, 2);
  const server = await serve();
  const browser = await chromium.launch({ executablePath: path, args: ['--no-sandbox'] });
  try {
    for (const { colorScheme, width } of looks) {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 } });
      for (const page of chosen)
        await look(context, `http://127.0.0.1:${server.address().port}`, page, `${colorScheme}, ${width} px`, axe);
      await context.close();
      console.log(`${chosen.length} pages ${colorScheme}, ${width} px wide`);
    }
  } finally {
    await browser.close();
    server.close();
  }
}

checkFiles();
await checkInChromium();
for (const line of problems.slice(0, 200)) console.error(line);
if (problems.length > 0) throw new Error(`${problems.length} problems`);
console.log('no problems');
