/**
 * The engine of browsers against the reference, op by op, in Chromium: the conformance cases of every engine on
 * onnxruntime's WebAssembly, with one thread and with several, by the package's file and by the one with relaxed SIMD.
 * A few cases of each op; `npm run test:browser-engine` takes all of them.
 */
import { copyFileSync, createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RELAXED_FILE, withRelaxedSimd } from '../../scripts/relaxed-simd.mjs';
import { browserModules } from '../../scripts/vite-browser.mjs';
import { CHROMIUM, launchChromium } from '../support/chromium.js';
import { OP_CASES } from '../support/cases.js';
import type { Asked, Conformance } from '../support/browser-conformance.js';

const MOST = process.env['LONGSIGHT_BROWSER_ENGINE'] === 'full' ? null : 2;
const ORT = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'));
const PACKAGE_FILE = 'ort-wasm-simd-threaded.wasm';
const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.wasm': 'application/wasm' };

describe.skipIf(CHROMIUM === undefined)('the engine of browsers', () => {
  let folder = '';
  let browser: Browser;
  let server: Server;
  let page: Page;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'longsight-browser-engine-'));
    await build({
      configFile: false,
      publicDir: false,
      logLevel: 'error',
      plugins: [browserModules()],
      resolve: { conditions: ['onnxruntime-web-use-extern-wasm', 'browser', 'module', 'import'] },
      build: {
        outDir: folder,
        target: 'es2022',
        minify: false,
        rolldownOptions: {
          input: join(import.meta.dirname, '../support/browser-conformance.ts'),
          output: { format: 'es', entryFileNames: 'worker.js' },
        },
      },
    });
    for (const name of ['ort-wasm-simd-threaded.mjs', PACKAGE_FILE]) copyFileSync(join(ORT, name), join(folder, name));
    writeFileSync(join(folder, RELAXED_FILE), withRelaxedSimd(readFileSync(join(ORT, PACKAGE_FILE))));
    writeFileSync(join(folder, 'index.html'), '<!doctype html><title>engine</title>');
    server = createServer((request, response) => {
      const name = request.url === '/' ? 'index.html' : (request.url ?? '').slice(1);
      response.setHeader('Content-Type', TYPES[extname(name)] ?? 'text/javascript');
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      createReadStream(join(folder, name))
        .on('error', () => response.writeHead(404).end())
        .pipe(response);
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    browser = await launchChromium();
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  });
  afterAll(async () => {
    await browser.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each([
    [RELAXED_FILE, 1],
    [RELAXED_FILE, 2],
    [PACKAGE_FILE, 2],
  ])('gives what the reference gives: %s, threads %i', async (wasm, threads) => {
    expect(await page.evaluate('crossOriginIsolated')).toBe(true);
    const asked: Asked = { files: page.url(), wasm, threads, most: MOST };
    const found = await page.evaluate<Conformance>(
      `new Promise((done, failed) => {
        const worker = new Worker('worker.js', { type: 'module' });
        worker.onerror = (event) => failed(new Error(event.message));
        worker.onmessage = ({ data }) => {
          worker.terminate();
          if (data.failed === undefined) done(data);
          else failed(new Error(data.failed));
        };
        worker.postMessage(${JSON.stringify(asked)});
      })`,
    );
    console.log(
      `${found.library}, ${wasm}, ${threads} threads: ${found.compared} comparisons of ${found.ops.length} ops`,
    );
    expect(found.problems).toEqual([]);
    expect(found.threads).toBe(threads);
    expect(found.ops).toEqual(Object.keys(OP_CASES));
    expect(found.compared).toBeGreaterThan(found.ops.length);
  });
});
