/**
 * The playground in Chromium: it computes what Node computes, and a visitor can race, pause, step, look back, by mouse and
 * keyboard. Needs the built package (`npm run build`).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine } from '../../src/engine/index.js';
import type { PlaygroundRun } from '../../src/playground/design.js';
import type { MeasuredPoint, StepPoint } from '../../src/playground/protocol.js';
import { Session } from '../../src/playground/session.js';
import { CHROMIUM, launchChromium } from '../support/chromium.js';
import { MAIN } from '../support/main.js';

/** A machine that does other work too makes a step slow. */
const PATIENCE = { timeout: 100_000 };

/** What a worker finds in some steps, and the measurement after them. */
interface Found {
  readonly steps: readonly StepPoint[];
  readonly measured: MeasuredPoint;
}

async function inNode(run: PlaygroundRun, count: number): Promise<Found> {
  const session = await Session.begin(createEngine('onnx', { threads: 1 }), run);
  const steps: StepPoint[] = [];
  for (let i = 0; i < count; i++) steps.push(await session.train());
  const measured = await session.measure();
  await session.dispose();
  return { steps, measured };
}

/** Has a worker of the page train, as the page does. */
async function inPage(page: Page, run: PlaygroundRun, count: number, threads: number): Promise<Found> {
  await page.evaluate(readFileSync(join(import.meta.dirname, '../support/playground-page.mjs'), 'utf8'));
  return page.evaluate<Found>(`trainInWorker(${JSON.stringify(run)}, ${count}, ${threads})`);
}

/** The largest difference between numbers, relative to those of Node above 1. */
const difference = (a: readonly (number | null)[], b: readonly (number | null)[]): number =>
  Math.max(...a.map((x, i) => Math.abs((x ?? NaN) - (b[i] ?? NaN)) / Math.max(1, Math.abs(b[i] ?? NaN))));

describe.skipIf(CHROMIUM === undefined)('the playground', () => {
  let folder = '';
  let browser: Browser;
  let child: ChildProcess;
  let url = '';

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'longsight-playground-'));
    browser = await launchChromium();
    const started = spawn(process.execPath, [MAIN, 'playground', '--port', '0', '--json']);
    child = started;
    let text = '';
    for await (const chunk of started.stdout) {
      text += String(chunk);
      if (text.includes('\n')) break;
    }
    ({ url } = JSON.parse(text.split('\n')[0] ?? '') as { readonly url: string });
  });
  afterAll(async () => {
    await browser.close();
    child.kill('SIGINT');
    await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });

  async function open(at = '', options: BrowserContextOptions = {}, where = url) {
    const context = await browser.newContext({ viewport: { width: 1300, height: 900 }, ...options });
    context.setDefaultTimeout(PATIENCE.timeout);
    const page = await context.newPage();
    const wrong: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') wrong.push(message.text());
    });
    page.on('pageerror', (error) => wrong.push(error.message));
    await page.goto(`${where}${at}`);
    return { page, wrong };
  }
  const race = (page: Page) => page.locator('.transport .primary');
  const ready = (page: Page) => page.waitForSelector('.transport .primary:not([disabled])', PATIENCE);
  const STEPS = `[...document.querySelectorAll('[data-step]')].map((e) => Number(e.dataset.step))`;
  const stepsOf = (page: Page) => page.evaluate<number[]>(STEPS);
  const reach = (page: Page, step: number) =>
    expect.poll(async () => Math.min(...(await stepsOf(page))), PATIENCE).toBeGreaterThanOrEqual(step);

  const RUN: PlaygroundRun = { cheap: 'swa', window: 8, cheapCount: 2, nope: false, seed: 1 };

  // What Node computes is computed once a run, and one page trains all of them and is looked at in every size: opening it makes two models
  // ready.
  const known = new Map<PlaygroundRun, Promise<Found>>();
  let trainer: ReturnType<typeof open> | undefined;
  it.each([
    [RUN, 1],
    [RUN, 2],
    [{ ...RUN, cheap: 'gdn', nope: true, seed: 2 } as const, 1],
    [{ ...RUN, cheap: 'lightning', cheapCount: 1 } as const, 1],
    [{ ...RUN, cheap: 'mamba2' } as const, 2],
  ])('computes what Node computes: %j, threads %i', async (run, threads) => {
    const { page, wrong } = await (trainer ??= open());
    const first = known.get(run) ?? inNode(run, 4);
    known.set(run, first);
    const [node, web] = [await first, await inPage(page, run, 4, threads)];
    expect(web.steps.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    const lossOf = ({ steps }: Found) => steps.map(({ loss }) => loss);
    const normOf = ({ steps }: Found) => steps.map(({ gradNorm }) => gradNorm);
    expect(difference(lossOf(web), lossOf(node))).toBeLessThan(1e-4);
    expect(difference(normOf(web), normOf(node))).toBeLessThan(1e-3);
    const recallOf = ({ measured }: Found) => measured.recall.map(({ probability }) => probability);
    expect(difference(recallOf(web), recallOf(node))).toBeLessThan(1e-4);
    expect(difference(web.measured.heads.flat(), node.measured.heads.flat())).toBeLessThan(1e-4);
    expect(wrong).toEqual([]);
  });

  it('races both designs in step, pauses, takes one step, looks back and starts over', async () => {
    const { page, wrong } = await open();
    await ready(page);
    expect(await page.evaluate('crossOriginIsolated')).toBe(true);
    expect(await page.locator('.headline').textContent()).toBe('Neither model has learned anything yet. Press Race.');
    expect(await page.locator('.chart').count()).toBe(3);
    expect(await page.locator('svg.grid rect.heat').count()).toBe(24);
    await race(page).click();
    await reach(page, 4);
    await race(page).click();
    const step = page.getByRole('button', { name: 'Step', exact: true });
    await step.click({ trial: true });
    const before = Math.max(...(await stepsOf(page)));
    await step.click();
    await expect.poll(() => stepsOf(page), PATIENCE).toEqual([before + 1, before + 1]);
    const a = before + 1;
    await page.waitForSelector(`output:text-is("step ${a}")`, PATIENCE);
    await expect.poll(() => page.locator('.headline').textContent(), PATIENCE).toContain(`After ${a} steps`);
    const slider = page.getByLabel('Step that is looked at');
    await slider.focus();
    await page.keyboard.press('Home');
    await page.waitForSelector('output:text-is("step 0")');
    await expect.poll(() => page.locator('.charts h3').allTextContents()).toContain('Recall by distance, at step 0');
    await page.getByRole('button', { name: 'Newest' }).click();
    await page.waitForSelector(`output:text-is("step ${a}")`);
    await page.getByRole('button', { name: 'Start over' }).click();
    await ready(page);
    await expect.poll(() => stepsOf(page)).toEqual([0, 0]);
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it('begins another race when a design changes, and links to it', async () => {
    const { page, wrong } = await open('#a=swa-4-2-rope&b=gdn-8-1-nope&seed=7');
    await ready(page);
    expect(await page.locator('.design code').allTextContents()).toEqual(
      expect.arrayContaining(['swa:4', '2*swa:4 full', 'gdn 2*full:nope'].slice(1)) as unknown,
    );
    const b = page.getByRole('region', { name: 'Model B' });
    await b.getByLabel('cheap layers').selectOption('Mamba-2');
    await page.getByLabel('seed').fill('3');
    await page.keyboard.press('Enter');
    await expect.poll(() => new URL(page.url()).hash).toBe('#a=swa-4-2-rope&b=mamba2-8-1-nope&seed=3');
    await ready(page);
    expect(await b.locator('label:has(span:text-is("window")) select').isDisabled()).toBe(true);
    expect(await b.locator('pre').textContent()).toContain('"layers": "mamba2 2*full:nope"');
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it('goes by keyboard, without a network once it is loaded, and asks nobody else', async () => {
    const { page, wrong } = await open();
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    await ready(page);
    await page.context().setOffline(true);
    await page.locator('body').press(' ');
    await reach(page, 1);
    await page.locator('body').press(' ');
    await page.waitForSelector('.transport .primary:has-text("Go on")');
    expect(asked.filter((address) => !address.startsWith(url) && !address.startsWith('blob:'))).toEqual([]);
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it.each([
    [360, 'dark'],
    [3840, 'light'],
  ] as const)('fits %i pixels, %s', async (width, colorScheme) => {
    const { page, wrong } = await (trainer ??= open());
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme });
    await ready(page);
    await expect.poll(() => page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
    // The race can be started without a search for its button.
    const box = await race(page).boundingBox();
    expect(box === null ? Infinity : box.y + box.height).toBeLessThanOrEqual(800);
    const unnamed = await page.evaluate(
      `[...document.querySelectorAll('button, input, select')]
        .filter((e) => (e.getAttribute('aria-label') ?? e.closest('label')?.textContent ?? e.textContent).trim() === '')
        .map((e) => e.outerHTML)`,
    );
    expect(unnamed).toEqual([]);
    const levels = await page.evaluate<number[]>(
      `[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => Number(e.tagName[1]))`,
    );
    expect(levels[0]).toBe(1);
    expect(levels.filter((level, i) => level > (levels[i - 1] ?? 0) + 1)).toEqual([]);
    expect(wrong).toEqual([]);
  });

  it('is files for any web server, with one thread where the page is not isolated, and loads below 15 MB', async () => {
    const out = join(folder, 'site');
    const write = async () => {
      const made = spawn(process.execPath, [MAIN, 'playground', '--site', out]);
      await once(made, 'exit');
      return made.exitCode;
    };
    expect(await write()).toBe(0);
    const types: Readonly<Record<string, string>> = {
      '.html': 'text/html',
      '.css': 'text/css',
      '.wasm': 'application/wasm',
    };
    const asked = new Set<string>();
    // The worker as a browser has it that takes no relaxed SIMD.
    const worker = readFileSync(join(out, 'worker.js'), 'utf8');
    const plainWorker = worker.replace(/WebAssembly\.validate\([\w$]+\)/, 'false');
    expect(plainWorker).not.toBe(worker);
    let plain = false;
    const server = createServer((request, response) => {
      const name = request.url === '/play/' ? 'index.html' : (request.url ?? '').replace('/play/', '');
      asked.add(name);
      response.setHeader('Content-Type', types[extname(name)] ?? 'text/javascript');
      if (plain && name === 'worker.js') {
        response.end(plainWorker);
        return;
      }
      createReadStream(join(out, name))
        .on('error', () => response.writeHead(404).end())
        .pipe(response);
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const where = `http://127.0.0.1:${(server.address() as AddressInfo).port}/play/`;
    const { page, wrong } = await open('', {}, where);
    await ready(page);
    expect(await page.evaluate('crossOriginIsolated')).toBe(false);
    expect(await page.locator('.status').textContent()).toContain('2 × 1 thread');
    await page.getByRole('button', { name: 'Step', exact: true }).click();
    await reach(page, 1);
    expect(wrong).toEqual([]);
    expect(await page.locator('.status').textContent()).toContain('WebAssembly with relaxed SIMD');
    await page.context().close();

    const wasm = () => [...asked].filter((name) => name.endsWith('.wasm'));
    expect(wasm()).toEqual(['ort-wasm-simd-threaded.relaxed.wasm']);
    const sizes = [...asked].map((name) => statSync(join(out, name)).size);
    expect(sizes.reduce((a, b) => a + b, 0)).toBeLessThan(15e6);
    // Beside the other file of WebAssembly nothing lies there that was not loaded.
    expect(asked.size).toBe(readdirSync(out).length - 1);

    asked.clear();
    plain = true;
    const { page: other } = await open('', {}, where);
    await other.waitForSelector('.status:has-text("WebAssembly without relaxed SIMD")', PATIENCE);
    expect(wasm()).toEqual(['ort-wasm-simd-threaded.wasm']);
    await other.context().close();
    server.close();
    expect(await write()).toBe(0);
    writeFileSync(join(out, 'mine.txt'), 'x');
    expect(await write()).toBe(2);
  });

  it('refuses pages of other origins and files beside its own', async () => {
    const ask = (path: string, headers: Record<string, string> = {}) => fetch(new URL(path, url), { headers });
    expect((await ask('worker.js')).status).toBe(200);
    expect((await ask('worker.js', { origin: 'http://evil.example' })).status).toBe(403);
    expect((await ask('index.html')).status).toBe(404);
    const { headers } = await ask('');
    expect(headers.get('content-security-policy')).toMatch(
      /default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self';/,
    );
    expect(headers.get('cross-origin-embedder-policy')).toBe('require-corp');
  });

  it('refuses --site with --port', async () => {
    mkdirSync(join(folder, 'empty'), { recursive: true });
    const made = spawn(process.execPath, [MAIN, 'playground', '--site', join(folder, 'empty'), '--port', '1']);
    let said = '';
    made.stderr.on('data', (chunk) => (said += String(chunk)));
    await once(made, 'close');
    expect(said).toMatch(/--site serves nothing, so it takes no --port/);
    expect(made.exitCode).toBe(2);
  });
});
