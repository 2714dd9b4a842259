// Builds the site of the manual into build/site: docs/ by VitePress, the API by TypeDoc, and the files that pages of studies link to.
// usage: npm run docs (which first writes the pages that are made from code). What builds the site is a package of its own, site/package.json,
// installed here where it is not: who only uses or tests the library does not need it.
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const at = (...parts) => join(ROOT, ...parts);

/** Runs a Node program to its end; what it printed is shown where it fails. */
const run = (program, ...args) =>
  new Promise((done, fail) => {
    const child = spawn(process.execPath, [at('site/node_modules', program), ...args], { cwd: ROOT });
    let printed = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (printed += text));
    child.on('error', fail);
    child.on('close', (code) =>
      code === 0 ? done(printed) : fail(new Error(`${program} ended with ${code}:\n${printed}`)),
    );
  });

/** TypeDoc's theme leaves its parts without names for those who hear the page: they get them here. */
function nameLandmarks(folder) {
  for (const name of readdirSync(folder, { recursive: true }).filter((file) => file.endsWith('.html'))) {
    const html = readFileSync(join(folder, name), 'utf8')
      .replace('<div class="col-content">', '<div class="col-content" role="main">')
      .replace('<div class="page-menu">', '<div class="page-menu" role="complementary" aria-label="This page">')
      .replace('<nav id="tsd-sidebar-links"', '<nav id="tsd-sidebar-links" aria-label="Manual"')
      .replace('<nav class="tsd-navigation">', '<nav class="tsd-navigation" aria-label="API">')
      .replaceAll(/<h3>(Settings|On This Page)<\/h3>/g, '<h3 aria-level="2">$1</h3>');
    writeFileSync(join(folder, name), html);
  }
}

const [wanted, installed] = [at('site/package-lock.json'), at('site/node_modules/.package-lock.json')];
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(wanted).mtimeMs)
  execFileSync('npm', ['ci', '--prefix', 'site', '--no-audit', '--no-fund', '--loglevel', 'error'], {
    cwd: ROOT,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
const began = Date.now();
rmSync(at('build', 'api'), { recursive: true, force: true });
await Promise.all([
  run('vitepress/bin/vitepress.js', 'build', 'site'),
  run('typedoc/bin/typedoc', '--options', 'site/typedoc.json', '--logLevel', 'Error'),
]);
nameLandmarks(at('build', 'api'));
renameSync(at('build', 'api'), at('build', 'site', 'api'));
// Reports, tables and figures that pages link to; VitePress itself takes along only what pages show.
for (const folder of ['studies', 'figures'])
  if (existsSync(at('docs', folder)))
    cpSync(at('docs', folder), at('build', 'site', folder), {
      recursive: true,
      filter: (file) => !file.endsWith('.md'),
    });
console.log(
  `wrote build/site in ${((Date.now() - began) / 1000).toFixed(0)} s; npm run docs:check checks it, npm run docs:preview serves it`,
);
