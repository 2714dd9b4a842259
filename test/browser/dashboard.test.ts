/**
 * The dashboard in Chromium, driven as a person does: every view, live, by keyboard, narrow, dark, when things go away.
 * Needs the built package (`npm run build`). Without Chromium the tests say so and are skipped.
 */
import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { DashboardData } from '../../src/dashboard/api.js';
import { CHROMIUM, launchChromium } from '../support/chromium.js';
import { FAKE_DESIGNS, writeFakeStudy } from '../support/fake-study.js';
import { MAIN } from '../support/main.js';
import { makeRun } from '../support/run-folders.js';

const HOSTILE = [
  '<img src=x onerror="window.hacked=1">',
  '"><script>window.hacked=1</script>',
  '__proto__',
  '${7*7}{{7*7}}\u202e',
  'a'.repeat(300),
];

/** Data come step by step: tests wait for all of those that they name. */
const PATIENT = { timeout: 100_000 };

interface Server {
  readonly url: string;
  readonly child: ChildProcess;
}

async function serve(folders: readonly string[], cache: string, port = '0'): Promise<Server> {
  const env = { ...process.env, XDG_CACHE_HOME: cache };
  return serving(spawn(process.execPath, [MAIN, 'dashboard', ...folders, '--port', port, '--json'], { env }));
}

/** Waits until a dashboard has printed its address. */
async function serving(child: ChildProcessWithoutNullStreams): Promise<Server> {
  let text = '';
  for await (const chunk of child.stdout) {
    text += String(chunk);
    if (text.includes('\n')) break;
  }
  const { url } = JSON.parse(text.split('\n')[0] ?? '') as { readonly url: string };
  return { url, child };
}

/** Whether a dashboard has read all that it found. */
async function whole({ url }: Server): Promise<boolean> {
  const { read, indexed } = (await (await fetch(new URL('api/state', url))).json()) as DashboardData;
  return [read, indexed].every(({ done, all }) => done === all && all > 0);
}

async function end({ child }: Server): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGINT');
  await once(child, 'exit');
}

describe.skipIf(CHROMIUM === undefined)('the dashboard', () => {
  let folder = '';
  let browser: Browser;
  let server: Server;
  const runs = () => join(folder, 'runs');

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'longsight-browser-'));
    const planned = FAKE_DESIGNS.flatMap(({ label, pattern, formsAt }) =>
      formsAt.map((tokens, i) => ({
        name: `${pattern}_seed-${i + 1}`,
        architecture: label,
        pattern,
        seed: i + 1,
        formsAt: tokens,
      })),
    );
    writeFakeStudy(join(runs(), 'quickstart'), planned);
    HOSTILE.forEach((name, i) =>
      makeRun(join(runs(), `hostile-${i}`), {
        name,
        state: 'failed',
        message: name,
        lines: 5,
        metrics: [name],
        layers: 'full',
      }),
    );
    makeRun(join(runs(), 'live'), { name: 'live', lines: 5, lr: 0.5, layers: 'swa:4 full' });
    browser = await launchChromium();
    server = await serve([runs()], join(folder, 'cache'));
    await vi.waitUntil(() => whole(server), PATIENT);
  });
  afterAll(async () => {
    await browser.close();
    await end(server);
    rmSync(folder, { recursive: true, force: true });
  });

  /** A page at an address, with what it complains of. */
  async function open(
    at: string,
    options: BrowserContextOptions = {},
    url = server.url,
  ): Promise<{ readonly page: Page; readonly wrong: string[] }> {
    const context = await browser.newContext({ viewport: { width: 1300, height: 850 }, ...options });
    context.setDefaultTimeout(PATIENT.timeout);
    const page = await context.newPage();
    const wrong: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') wrong.push(message.text());
    });
    page.on('pageerror', (error) => wrong.push(error.message));
    await page.goto(`${url}${at}`);
    await page.waitForSelector('main');
    return { page, wrong };
  }

  const names = (page: Page) => page.locator('tr[data-run] td.name').allTextContents();
  const lines = (page: Page, count: number) =>
    page.waitForSelector(`.chart[aria-label$=": ${count} ${count === 1 ? 'line' : 'lines'}"]`);

  it('lists every run, hostile names as text', async () => {
    const { page, wrong } = await open('#/runs');
    await expect.poll(() => names(page), PATIENT).toEqual(expect.arrayContaining([...HOSTILE, 'live']) as unknown);
    expect(await page.evaluate('"hacked" in window')).toBe(false);
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it.each([
    ['curves', '.chart canvas', 'train/loss'],
    ['heads', 'figure.map svg rect.heat', 'retrieval-head score'],
    ['distance', '.chart canvas', 'Recall, probability of the right value'],
    ['needles', '.report p.note', 'No needles were measured'],
    ['mechanism', '.report p.note', 'longsight analyze'],
    ['fits', '.report p.note', 'No law can be fitted'],
    ['compare', '.report table.pairs tbody tr', 'What differs in the configuration'],
  ])('shows the view %s', async (view, selector, text) => {
    const { page, wrong } = await open(`#/${view}`);
    await page.waitForSelector(selector);
    await expect.poll(() => page.locator('main').textContent(), PATIENT).toContain(text);
    expect(await page.locator('nav a[aria-current=page]').textContent()).toBe(view[0]?.toUpperCase() + view.slice(1));
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it('shows a run with its configuration and its log, and hostile texts in it as text', async () => {
    const { page, wrong } = await open('#/runs');
    await page.getByRole('link', { name: HOSTILE[0] ?? '', exact: true }).click();
    await page.waitForSelector('h1');
    expect(await page.locator('h1').textContent()).toContain(HOSTILE[0]);
    await page.getByText('Configuration', { exact: true }).click();
    expect(await page.locator('pre').first().textContent()).toContain('seqLen: 10');
    expect(await page.evaluate('"hacked" in window')).toBe(false);
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it('makes the rows in view of many runs, and others as one scrolls', async () => {
    const many = join(folder, 'many');
    for (let i = 0; i < 300; i++) makeRun(join(many, `run-${i}`), { name: `run-${i}`, lines: 1 });
    const own = await serve([many], join(folder, 'cache-many'));
    const { page } = await open('#/runs', {}, own.url);
    await page.getByText('300 runs', { exact: true }).waitFor();
    await page.waitForSelector('tr[data-run]');
    expect(await page.locator('tr[data-run]').count()).toBeLessThan(80);
    await page.evaluate("document.querySelector('.table-box').scrollTop = 1e6");
    await page.getByRole('link', { name: 'run-299', exact: true }).waitFor();
    expect(await page.locator('tr[data-run]').count()).toBeLessThan(80);
    await page.context().close();
    await end(own);
  });

  it('draws what a run writes, in the table and as a curve', async () => {
    const { page } = await open('#/curves?m=train%2Floss&q=name=live');
    await lines(page, 1);
    const before = Number(await page.locator('.chart').getAttribute('data-end'));
    appendFileSync(join(runs(), 'live', 'metrics.jsonl'), '{"step":6,"tokens":123456,"time":6,"train/loss":0.125}\n');
    await page.waitForSelector('.chart[data-end="123456"]');
    expect(before).toBeLessThan(123_456);
    await page.goto(`${server.url}#/runs?q=name=live`);
    await page.getByRole('cell', { name: '0.125' }).waitFor();
    await page.context().close();
  });

  it('lists a run that begins, and lets one go whose folder is removed while its page is open', async () => {
    const { page, wrong } = await open('#/runs?q=late');
    expect(await names(page)).toEqual([]);
    makeRun(join(runs(), 'late'), { name: 'late' });
    await page.waitForSelector('tr[data-run]');
    await page.getByRole('link', { name: 'late' }).click();
    await page.waitForSelector('h1');
    rmSync(join(runs(), 'late'), { recursive: true });
    await page.getByText('This run is not there').waitFor();
    await page.goBack();
    await page.getByText('No run matches the filter').waitFor();
    expect(wrong.filter((text) => !text.includes('404'))).toEqual([]);
    await page.context().close();
  });

  it('filters, sorts, groups and hides, and its address shows the same to another browser', async () => {
    const { page } = await open('#/runs');
    await page.waitForSelector('tr[data-run]');
    await page.fill('#filter', 'train.lr=0.5');
    await page.getByText(/^1 of \d+ runs$/).waitFor();
    await page.fill('#filter', 'study-nothing nokey=1');
    await page.getByText('no run has a key "nokey"').waitFor();
    await page.fill('#filter', 'quickstart seed=1');
    await page.getByRole('button', { name: 'run', exact: true }).click();
    await page.getByLabel('group by').selectOption('design');
    await page.waitForSelector('tr.group');
    await page.locator('tr[data-run] input').first().click();
    await page.getByText(', 3 drawn').waitFor();
    const here = await names(page);
    const other = await open(new URL(page.url()).hash);
    await other.page.waitForSelector('tr.group');
    await expect.poll(() => names(other.page)).toEqual(here);
    await other.page.getByText(', 3 drawn').waitFor();
    await page.context().close();
    await other.page.context().close();
  });

  it('holds axes, smoothing, bands and zoom of curves in the address', async () => {
    const { page } = await open('#/curves?q=quickstart&m=eval%2Frecall%2F65-128');
    await lines(page, 8);
    await page.getByLabel('seeds as bands').check();
    await lines(page, 4);
    await page.getByLabel('log x').check();
    await page.getByLabel('over').selectOption('flops');
    await page.getByLabel('over').selectOption('tokens');
    const box = await page.locator('.u-over').boundingBox();
    if (box === null) throw new Error('there is a chart');
    await page.mouse.move(box.x + 0.3 * box.width, box.y + 50);
    await page.waitForSelector('.tip');
    await page.mouse.down();
    await page.mouse.move(box.x + 0.7 * box.width, box.y + 60, { steps: 4 });
    await page.mouse.up();
    await page.getByRole('button', { name: 'Show all of x' }).waitFor();
    const { hash } = new URL(page.url());
    for (const part of ['bands=1', 'logx=1', 'from=', 'to=']) expect(hash).toContain(part);
    const other = await open(hash);
    await lines(other.page, 4);
    await other.page.getByRole('button', { name: 'Show all of x' }).waitFor();
    await page.context().close();
    await other.page.context().close();
  });

  it('is used by keyboard alone', async () => {
    const { page } = await open('#/runs?q=quickstart');
    await page.waitForSelector('tr[data-run]');
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.keyboard.press('x');
    await page.getByText(', 7 drawn').waitFor();
    const name = await page.locator('tr.focused td.name').textContent();
    await page.keyboard.press('Enter');
    await page.waitForSelector('h1');
    expect(await page.locator('h1').textContent()).toContain(name);
    await page.keyboard.press('2');
    // The page of a run has charts too, and no filter.
    await page.getByText('Curves', { exact: true }).and(page.locator('[aria-current=page]')).waitFor();
    await page.waitForSelector('#filter');
    await page.keyboard.press('/');
    await page.keyboard.type('seed=1');
    await page.getByText(/^\d+ of \d+ runs/).waitFor();
    expect(await page.evaluate('document.activeElement.id')).toBe('filter');
    await page.keyboard.press('Escape');
    await page.keyboard.press('?');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.context().close();
  });

  it('keeps letters that are typed while the filter before them is applied', async () => {
    const { page } = await open('#/curves');
    await page.waitForSelector('#filter');
    await page.evaluate(`
      const input = document.getElementById('filter');
      const type = (text) => { input.value = text; input.dispatchEvent(new Event('input', { bubbles: true })); };
      window.seen = [];
      const look = () => { window.seen.push(input.value); requestAnimationFrame(look); };
      for (const name of ['replaceState', 'pushState']) {
        const change = history[name].bind(history);
        history[name] = (...args) => { change(...args); if (/q=se$/.test(String(args[2]))) { type('seed=1'); look(); } };
      }
      type('se');
    `);
    await expect.poll(() => page.url()).toMatch(/q=seed(=|%3D)1/);
    const seen = await page.evaluate<string[]>('window.seen');
    expect(new Set(seen)).toEqual(new Set(['seed=1']));
    await page.context().close();
  });

  it('acts on each key as the one before it left things, however fast they come', async () => {
    const { page } = await open('#/runs?q=quickstart');
    await page.waitForSelector('tr[data-run]');
    const second = await page.locator('tr[data-run]').nth(1).getAttribute('data-run');
    await page.evaluate(
      `for (const key of ['j', 'j', 'j', 'k', 'x'])
        document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))`,
    );
    await page.getByText(', 7 drawn').waitFor();
    expect(await page.locator('tr.focused').getAttribute('data-run')).toBe(second);
    expect(await page.locator('tr.off').getAttribute('data-run')).toBe(second);
    await page.context().close();
  });

  it('goes from head to head by arrows, opens a head by Enter, and names heads to screen readers', async () => {
    const { page, wrong } = await open('#/heads?q=quickstart%20seed=1');
    await page.waitForSelector('figure.map svg rect.heat');
    const map = page.locator('figure.map [role=grid]').first();
    // One stop of the Tab key for each map.
    const stops = await page.locator('figure.map').count();
    expect(await page.locator('figure.map [tabindex="0"]').count()).toBe(stops);
    const focused = () => page.evaluate<string>('document.activeElement.dataset.head ?? ""');
    const rows = await map.locator('[role=row]').count();
    await map.locator('[tabindex="0"]').focus();
    const visited = [await focused()];
    for (const key of ['ArrowRight', 'ArrowUp', 'ArrowLeft', 'ArrowLeft', 'ArrowDown', 'ArrowDown', 'End']) {
      await page.keyboard.press(key);
      visited.push(await focused());
    }
    expect(visited.slice(0, 7)).toEqual(['0:0', '0:1', '1:1', '1:0', '1:0', '0:0', '0:0']);
    expect(visited[7]).toMatch(/^0:[1-9]/);
    for (let i = 0; i < rows + 1; i++) await page.keyboard.press('ArrowUp');
    expect(await focused()).toBe(`${rows - 1}:${visited[7]?.split(':')[1]}`);
    expect(await page.locator('.wide-card').count()).toBe(0);
    await page.keyboard.press('Enter');
    const [layer, head] = (await focused()).split(':');
    const row = page.getByRole('region', { name: `Score of layer ${layer}, head ${head}, over tokens` });
    await row.locator('.chart').waitFor();
    expect(await focused()).toBe(`${layer}:${head}`);
    // What a screen reader is told: the accessibility tree, not the markup.
    const tree = await map.ariaSnapshot();
    expect(tree).toMatch(/^- grid "Heads of .+ after .+ tokens; the strongest scores [\d.]+":/);
    expect(tree).toMatch(
      new RegExp(`gridcell "layer ${layer} \\([^)]+\\), head ${head}: [\\d.]+[^"]*" \\[selected\\]`),
    );
    await page.keyboard.press(' ');
    await row.waitFor({ state: 'detached' });
    expect(wrong).toEqual([]);
    await page.context().close();
  });

  it('fits into 360 pixels', async () => {
    const { page } = await open('#/runs?q=quickstart', { viewport: { width: 360, height: 740 } });
    for (const [view, shown] of [
      ['runs', 'tr[data-run]'],
      ['curves', '.chart'],
      ['heads', 'figure.map'],
      ['distance', '.chart'],
      ['compare', 'table.pairs'],
    ] as const) {
      await page.goto(`${server.url}#/${view}?q=quickstart`);
      await page.waitForSelector(shown);
      expect(await page.evaluate('document.documentElement.scrollWidth'), view).toBeLessThanOrEqual(360);
    }
    await page.context().close();
  });

  it('is dark where that is asked for, and turns by its button', async () => {
    const { page } = await open('#/curves', { colorScheme: 'dark' });
    await page.waitForSelector('.chart');
    const background = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const dark = await background();
    expect(dark).toBe('rgb(17, 20, 23)');
    await page.getByRole('button', { name: 'Light theme' }).click();
    await expect.poll(background).toBe('rgb(246, 246, 243)');
    await page.context().close();
  });

  it('says that the server is gone, and goes on when it is back', async () => {
    const cache = join(folder, 'cache-2');
    const first = await serve([runs()], cache);
    const { page } = await open('#/runs?q=name=live', {}, first.url);
    await page.waitForSelector('tr[data-run]');
    first.child.kill('SIGKILL');
    await page.getByText('server gone; trying again').waitFor();
    await expect.poll(() => names(page)).toEqual(['live']);
    const second = await serve([runs()], cache, new URL(first.url).port);
    await page.getByText('live', { exact: true }).first().waitFor();
    await page.waitForSelector('.status.live');
    await page.context().close();
    await end(second);
  });

  it('says so where there is no run yet, and shows the first one', async () => {
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    const own = await serve([empty], join(folder, 'cache-3'));
    const { page } = await open('', {}, own.url);
    await page.getByText('No runs yet').waitFor();
    makeRun(join(empty, 'first'), { name: 'first' });
    await page.waitForSelector('tr[data-run]');
    await page.context().close();
    await end(own);
  });

  it('refuses pages of other origins, other names of this machine, and what is no id', async () => {
    const ask = (path: string, headers: Record<string, string> = {}) => fetch(new URL(path, server.url), { headers });
    expect((await ask('api/state')).status).toBe(200);
    expect((await ask('api/state', { origin: 'http://evil.example' })).status).toBe(403);
    expect((await ask('api/run/..%2f..%2fetc%2fpasswd')).status).toBe(404);
    expect((await ask('../../etc/passwd')).status).toBe(404);
    const { headers } = await ask('');
    expect(headers.get('content-security-policy')).toMatch(/default-src 'none'; script-src 'self';/);
  });

  it('stops a run, shows what it generates and goes on with it, having said what that does', async () => {
    const file = join(folder, 'long.yaml');
    const dir = join(runs(), 'long');
    writeFileSync(
      file,
      'threads: 1\nmodel: { layers: "swa:8 full", hiddenSize: 32, numHeads: 2 }\ndata: { kind: recall }\n' +
        'train: { steps: 100000, seqLen: 64, batchSize: 2, logEvery: 50, evalEvery: 100000, checkpointEvery: 100000 }\n',
    );
    const child = spawn(process.execPath, [MAIN, 'train', file, '--out', dir, '--quiet']);
    const { page } = await open('#/runs?q=name=long');
    await page.getByRole('link', { name: 'long', exact: true }).click();
    const state = (name: string) => page.locator(`h1 .state.${name}`).waitFor();
    const press = async (name: string, says: string) => {
      await page.getByRole('button', { name: `${name} …` }).click();
      expect(await page.getByRole('alertdialog').textContent()).toContain(says);
      await page.getByRole('button', { name: `${name} the run` }).click();
    };
    await state('running');
    await page.locator('.chart').first().waitFor();
    await press('Stop', `Sends process ${child.pid} of this machine the signal of Ctrl-C`);
    await once(child, 'exit');
    expect(child.exitCode).toBe(130);
    await state('interrupted');
    await page.getByText('Samples of generation').click();
    await page.getByLabel('token ids').check();
    await page.getByLabel('Prompt').fill('1,2,3');
    await page.getByRole('button', { name: 'Generate' }).click();
    // 64 ids of the vocabulary behind the three.
    await page
      .locator('.sample pre')
      .getByText(/^(\D*\d+){64,}\D*$/)
      .waitFor();
    await page.getByLabel('Prompt').fill('--version');
    await page.getByRole('button', { name: 'Generate' }).click();
    await page.locator('.sample .note').getByText('--prompt-ids').waitFor();
    await press('Continue', 'goes on from the newest complete checkpoint');
    await state('running');
    await press('Stop', 'writes a checkpoint and ends');
    await state('interrupted');
    await page.context().close();
  });

  it('goes on with a run of a study by its command', async () => {
    const file = join(folder, 'tiny.yaml');
    const dir = join(runs(), 'tiny');
    writeFileSync(
      file,
      'name: tiny\nseeds: [1]\narchitectures: { one: { layers: "swa:8 full" } }\nbase:\n  threads: 1\n  model: { hiddenSize: 32, numHeads: 2 }\n' +
        '  data: { kind: recall }\n  train: { steps: 100000, seqLen: 64, batchSize: 2, logEvery: 50, evalEvery: 100000, checkpointEvery: 100000 }\n',
    );
    const plan = spawn(process.execPath, [MAIN, 'study', 'plan', file, '--out', dir], { stdio: 'inherit' });
    await once(plan, 'exit');
    expect(plan.exitCode).toBe(0);
    const child = spawn(process.execPath, [MAIN, 'study', 'run', dir, '--quiet']);
    const { page } = await open('#/runs?q=tiny');
    await page.locator('tr[data-run] td.name a').click();
    const state = (name: string) => page.locator(`h1 .state.${name}`).waitFor();
    await state('running');
    await page.locator('.chart').first().waitFor();
    child.kill('SIGINT');
    await state('interrupted');
    for (const [name, says] of [
      ['Continue', `longsight study run ${dir}`],
      ['Stop', 'writes a checkpoint and ends'],
    ] as const) {
      await page.getByRole('button', { name: `${name} …` }).click();
      expect(await page.getByRole('alertdialog').textContent()).toContain(says);
      await page.getByRole('button', { name: `${name} the run` }).click();
      await state(name === 'Continue' ? 'running' : 'interrupted');
    }
    await page.context().close();
  });

  it('leaves runs out of fits that are unchecked, and the address says which', async () => {
    const { page } = await open('#/fits?q=quickstart');
    await page.getByText('Points: 8 of 8 finished runs').click();
    await page.locator('.points input').first().uncheck();
    await page.getByText('Points: 7 of 8 finished runs').waitFor();
    const other = await open(new URL(page.url()).hash);
    await other.page.getByText('Points: 7 of 8 finished runs').waitFor();
    expect(await other.page.locator('.points input').first().isChecked()).toBe(false);
    await page.context().close();
    await other.page.context().close();
  });

  it('draws needles, laws and heads of runs that were trained, and laws without a point', async () => {
    const file = join(folder, 'laws.yaml');
    const dir = join(folder, 'trained', 'laws');
    writeFileSync(
      file,
      'name: laws\nseeds: [1]\narchitectures: { one: { layers: "swa:8 full" } }\nbase:\n  model: { numHeads: 2 }\n' +
        '  data: { kind: recall }\n  train: { seqLen: 64, batchSize: 2, logEvery: 1, evalEvery: 4, checkpointEvery: 4 }\n' +
        '  eval: { needle: { lengths: [32, 64], depths: [0, 0.5, 1] } }\n' +
        'grid: { model.hiddenSize: [32, 64], train.steps: [4, 8, 12] }\n',
    );
    const study = spawn(process.execPath, [MAIN, 'study', file, '--out', dir, '--quiet']);
    await once(study, 'exit');
    expect(study.exitCode).toBe(0);
    const own = await serve([join(folder, 'trained')], join(folder, 'cache-trained'));
    const { page, wrong } = await open('#/needles', {}, own.url);
    await page.getByText('Needle in a haystack').first().waitFor();
    await page.waitForSelector('.report figure svg rect');
    await page.goto(`${own.url}#/fits`);
    await page.getByText('Points: 6 of 6 finished runs').click();
    // The last column but one of the table of exponents: points of the fit.
    const points = page.locator('.report table tbody tr td:nth-child(4)').first();
    await points.getByText('6', { exact: true }).waitFor();
    await page.locator('.points input').first().uncheck();
    await points.getByText('5', { exact: true }).waitFor();
    await page.goto(`${own.url}#/heads`);
    await page.waitForSelector('figure.map svg rect.heat');
    expect(wrong).toEqual([]);
    await page.context().close();
    await end(own);
  });

  it('wants its token where other machines can ask', async () => {
    const env = { ...process.env, XDG_CACHE_HOME: join(folder, 'cache-4') };
    const args = [MAIN, 'dashboard', runs(), '--host', '0.0.0.0', '--port', '0', '--json'];
    const own = await serving(spawn(process.execPath, args, { env }));
    const { page } = await open('', {}, own.url);
    await page.waitForSelector('tr[data-run]');
    const address = new URL(own.url);
    expect(address.searchParams.get('token')).toMatch(/^[\w-]{32}$/);
    expect((await fetch(`${address.origin}/api/state`)).status).toBe(403);
    expect((await fetch(`${address.origin}/api/state?token=wrong`)).status).toBe(403);
    await page.goto(
      `${address.origin}/#/run?id=${await page.locator('tr[data-run]').first().getAttribute('data-run')}`,
    );
    await page.waitForSelector('h1');
    expect(await page.getByRole('button', { name: /Stop|Continue/ }).count()).toBe(0);
    await page.context().close();
    await end(own);
  });

  it.each([
    [['dashboard', 'no-such-folder'], /there is no folder no-such-folder/],
    [['dashboard', '.', '--port', 'x'], /--port must be a number/],
    [['dashboard', '.', '--host', '203.0.113.1'], /this machine has no such address/],
  ])('refuses %j in a sentence', async (args, sentence) => {
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder });
    let said = '';
    child.stderr.on('data', (chunk) => (said += String(chunk)));
    await once(child, 'close');
    expect(said).toMatch(sentence);
    expect(child.exitCode).toBe(2);
  });

  it('is a static site that opens from a folder', async () => {
    const out = join(folder, 'site');
    const child = spawn(process.execPath, [MAIN, 'report', join(runs(), 'quickstart'), '--site', out]);
    await once(child, 'exit');
    expect(child.exitCode).toBe(0);
    const url = pathToFileURL(join(out, 'index.html')).href;
    const { page, wrong } = await open('#/curves?bands=1&m=eval%2Frecall%2F65-128', {}, url);
    await lines(page, 4);
    for (const [view, selector] of [
      ['heads', 'figure.map'],
      ['distance', '.chart canvas'],
      ['compare', 'table.pairs'],
      ['runs', 'tr[data-run]'],
    ] as const) {
      await page.goto(`${url}#/${view}`);
      await page.waitForSelector(selector);
    }
    expect(wrong).toEqual([]);
    await page.context().close();
    writeFileSync(join(out, 'mine.txt'), 'x');
    const again = spawn(process.execPath, [MAIN, 'report', join(runs(), 'quickstart'), '--site', out]);
    await once(again, 'exit');
    expect(again.exitCode).toBe(2);
  });
});
