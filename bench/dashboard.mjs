#!/usr/bin/env node
/**
 * The dashboard over many runs: makes run folders, then measures in turn the first start, a warm one (each as Chromium shows it, and over
 * HTTP alone), and the page.
 *
 *     node bench/dashboard.mjs [--runs 1000] [--metrics 100] [--points 1000] [--folder DIR] [--cache DIR] [--chromium /usr/bin/chromium] [--live 8]
 *         [--copies] [--drop]
 *
 * `bench/dashboard-peers.mjs` compares with trackers on the same runs.
 *
 * Needs `npm run build`, and Chromium for the page. Runs are copies of 20 different ones, of 50 designs with 20 seeds. Where they would take
 * more than 5 GB (10,000 points: 44 GB) copies are hard links: every file is read and parsed by its own name, but the disk holds, and reads,
 * 20 of them; --copies makes each a file of its own. --drop empties the system's file cache before each start (Linux, root). What is made is removed at the end unless --folder names a place, which is kept and used again,
 * as --cache DIR keeps the dashboard's cache: with one that is filled, only warm starts are measured.
 */
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DIFFERENT, lineOf, MAIN, makeRuns, nameOf, SEEDS, seconds, treeSeconds } from './dashboard-runs.mjs';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000' },
    metrics: { type: 'string', default: '100' },
    points: { type: 'string', default: '1000' },
    folder: { type: 'string' },
    cache: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    live: { type: 'string', default: '8' },
    copies: { type: 'boolean', default: false },
    drop: { type: 'boolean', default: false },
  },
});
const [runs, metrics, points, live] = ['runs', 'metrics', 'points', 'live'].map((name) => Number(values[name]));
const kept = values.folder !== undefined;
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'longsight-bench-dashboard-'));
const cache = values.cache ?? mkdtempSync(join(tmpdir(), 'longsight-bench-cache-'));

/** Where asked for, leaves nothing of the runs in the system's memory; what the program is made of is there, as where it was used before. */
async function forget() {
  if (!values.drop) return;
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  const other = mkdtempSync(join(tmpdir(), 'longsight-bench-one-'));
  makeRuns(join(other, 'runs'), { runs: 1, metrics: 2, points: 2 });
  const { url, stop } = await serve(join(other, 'cache'), join(other, 'runs'));
  await untilRead(url, 1);
  await stop();
  rmSync(other, { recursive: true, force: true });
}

/** Starts a dashboard; resolves when its page is served. */
async function serve(cacheFolder, runsFolder = folder) {
  const since = performance.now();
  const child = spawn(process.execPath, [MAIN, 'dashboard', runsFolder, '--port', '0', '--json'], {
    env: { ...process.env, XDG_CACHE_HOME: cacheFolder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await new Promise((done, failed) => {
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
      if (text.includes('\n')) done(JSON.parse(text.slice(0, text.indexOf('\n'))).url);
    });
    child.on('exit', (code) => failed(new Error(`the dashboard ended with ${code}`)));
  });
  process.once('exit', () => child.kill('SIGKILL'));
  const stop = () =>
    new Promise((done) => (child.removeAllListeners('exit'), child.once('exit', done), child.kill('SIGINT')));
  return { url, child, since, listening: seconds(since), stop };
}

/** Resolves when all runs are answered, with the milliseconds of `performance.now()` at which all were listed. */
async function untilRead(url, count) {
  let listed = null;
  for (;;) {
    const state = await (await fetch(`${url}api/state`)).json();
    if (state.runs.length === count) listed ??= performance.now();
    if (listed !== null && state.read.done === state.read.all) return listed;
    await new Promise((next) => setTimeout(next, 50));
  }
}

/** Starts a dashboard; resolves when it has answered with the state of all runs. */
async function start() {
  await forget();
  const { url, child, since, listening, stop } = await serve(cache);
  const listed = ((await untilRead(url, runs)) - since) / 1000;
  const ready = seconds(since);
  const rss = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024;
  // Seconds of processor time, which other work on the machine changes less than the wall.
  const cpu = () => {
    const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const readyCpu = cpu();
  return { url, listening, listed, ready, rss, stop, since, cpu, readyCpu };
}

async function indexed(url) {
  for (;;) {
    const {
      indexed: { done, all },
    } = await (await fetch(`${url}api/state`)).json();
    if (done === all) return;
    await new Promise((next) => setTimeout(next, 1000));
  }
}

/** Chromium, which has started before anything is timed. */
async function openBrowser() {
  const { chromium } = await import('playwright-core');
  const owner = await chromium.launchServer({
    executablePath: values.chromium,
    args: ['--no-sandbox', '--enable-precise-memory-info'],
  });
  process.once('exit', () => owner.process().kill('SIGKILL'));
  const connection = await chromium.connect(owner.wsEndpoint());
  const tab = await connection.newPage({ viewport: { width: 1600, height: 1000 } });
  // The browser's own start is none of the page's.
  await tab.goto('about:blank');
  await new Promise((next) => setTimeout(next, 2000));
  const close = async () => (await connection.close(), await owner.close());
  return { connection, tab, close, work: () => treeSeconds(owner.process().pid) };
}

/** What someone waits for who starts a dashboard: the table of all runs, then the first curves. Without a cache it is a first start. */
async function measurePerson(known, print) {
  const cacheFolder = known ?? mkdtempSync(join(tmpdir(), 'longsight-bench-person-'));
  const kind = known === null ? 'first start' : 'with the cache';
  await forget();
  const { tab, close } = await openBrowser();
  const { url, since, listening, stop } = await serve(cacheFolder);
  await tab.goto(url);
  await tab.waitForSelector('table.runs tr[data-run]');
  const some = seconds(since);
  await tab.waitForFunction((n) => document.querySelector('.count')?.textContent.startsWith(`${n}`), runs);
  const table = seconds(since);
  const drawn = async (n) =>
    tab.waitForFunction(
      (least) =>
        Number(/: (\d+) lines$/.exec(document.querySelector('.chart')?.getAttribute('aria-label') ?? '')?.[1]) >= least,
      n,
    );
  await tab.goto(`${url}#/curves?m=train%2Floss`);
  await drawn(1);
  const first = seconds(since);
  await drawn(runs);
  print({
    [`${kind}, in the page: page served, s`]: listening,
    [`${kind}, in the page: first rows of the table, s`]: some,
    [`${kind}, in the page: all runs in the table, s`]: table,
    [`${kind}, in the page: first curve, s`]: first,
    [`${kind}, in the page: curves of all runs, s`]: seconds(since),
  });
  await close();
  await stop();
  if (known === null) rmSync(cacheFolder, { recursive: true, force: true });
}

async function page(url) {
  const { tab, connection, close, work } = await openBrowser();
  const out = {};
  let [since, worked] = [0, 0];
  const begin = () => ([since, worked] = [performance.now(), work()]);
  const took = (name, scale = 1000) => {
    out[name] = scale * seconds(since);
    out[`  of processor time of the browser (${name.split(',')[0]})`] = scale * (work() - worked);
  };
  begin();
  await tab.goto(url);
  await tab.waitForSelector('table.runs tr[data-run]');
  took('table of runs painted, s', 1);
  const settle = async () =>
    tab.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  begin();
  await tab.fill('#filter', 'design-7_');
  await tab.waitForFunction(() => document.querySelector('.count')?.textContent.startsWith('20 of'));
  await settle();
  took('filter, ms (80 of them wait for the next key)');
  const ready = (count) =>
    tab.waitForFunction(
      (n) => document.querySelector('.chart')?.getAttribute('aria-label')?.endsWith(`: ${n} lines`),
      count,
    );
  begin();
  await tab.goto(`${url}#/curves?m=train%2Floss&q=design-7_`);
  await ready(20);
  await settle();
  took('20 curves of one metric, ms');
  begin();
  await tab.goto(`${url}#/curves?m=probe%2Fgroup-7%2Fvalue-7&q=design-7_`);
  await ready(20);
  await settle();
  took('another metric of 20 runs, ms');
  begin();
  await tab.goto(`${url}#/curves?m=train%2Floss`);
  await ready(runs);
  await settle();
  took(`${runs} curves of one metric, ms`);
  begin();
  await tab.goto(`${url}#/curves?m=probe%2Fgroup-3%2Fvalue-3`);
  await ready(runs);
  await settle();
  took(`another metric of ${runs} runs, ms`);
  begin();
  await tab.fill('#filter', 'seed=3');
  await ready(runs / SEEDS);
  await settle();
  took('filter of curves, ms');
  out['heap of the page, MB'] = await tab.evaluate(() => performance.memory.usedJSHeapSize / 1e6);
  return { out, tab, connection, close };
}

/** Milliseconds for which the page is watched while runs write. */
const WATCHED = 15_000;

/**
 * What a trace of Chromium says of a page that draws: frames that were begun a second, the share of them that came late, and the
 * longest piece of work of its main thread, which nothing can interrupt.
 */
function traceOf(buffer) {
  const { traceEvents } = JSON.parse(buffer.toString());
  const named = (name) => traceEvents.filter((event) => event.name === name);
  // The page's own process: the one whose main thread ran animation frames.
  const counts = new Map();
  for (const event of named('FireAnimationFrame')) {
    const thread = `${event.pid} ${event.tid}`;
    counts.set(thread, [...(counts.get(thread) ?? []), event]);
  }
  const [busiest = '', fired = []] = [...counts].toSorted(([, a], [, b]) => b.length - a.length)[0] ?? [];
  const times = fired.map(({ ts }) => ts / 1000).toSorted((a, b) => a - b);
  const gaps = times.slice(1).map((time, i) => time - times[i]);
  const tasks = traceEvents.filter((event) => event.name === 'RunTask' && `${event.pid} ${event.tid}` === busiest);
  const lasting = (times.at(-1) - times[0]) / 1000;
  return {
    'frames a second by the trace': gaps.length / lasting,
    '  largest time between two of them, ms': Math.max(...gaps),
    '  frames more than a quarter late, of 100':
      (100 * gaps.filter((gap) => gap > (1.25 * 1000) / 60).length) / gaps.length,
    '  longest task of the main thread, ms': Math.max(...tasks.map(({ dur = 0 }) => dur)) / 1000,
  };
}

/** Runs write ten lines a second each; how long until the page has drawn a line, and the frames that it drew a second. */
async function delays(tab, connection, url) {
  const names = Array.from({ length: live }, (_, i) => nameOf(i * SEEDS));
  const ids = (await (await fetch(`${url}api/state`)).json()).runs.filter(({ name }) => names.includes(name));
  await tab.goto(`${url}#/curves?m=train%2Floss&only=${ids.map(({ id }) => id).join('.')}`);
  await tab.waitForFunction(
    (n) => document.querySelector('.chart')?.getAttribute('aria-label')?.endsWith(`: ${n} lines`),
    live,
  );
  const written = [];
  // A folder that is used again has more lines by now.
  let step = await tab.evaluate(() => Math.ceil(Number(document.querySelector('.chart').dataset.end) / 4096));
  // The page notes itself what its chart has drawn, at each of its frames: the end of the x axis.
  await tab.evaluate(() => {
    globalThis.drawn = [];
    const next = () => {
      const end = Number(document.querySelector('.chart')?.dataset.end ?? 0) / 4096;
      if (end !== globalThis.drawn.at(-1)?.[0]) globalThis.drawn.push([end, Date.now()]);
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  const categories = [
    'toplevel',
    'devtools.timeline',
    'devtools.timeline.frame',
    'disabled-by-default-devtools.timeline',
  ];
  await connection.startTracing(tab, { categories });
  const timer = setInterval(() => {
    step += 1;
    for (const [i, name] of names.entries())
      appendFileSync(join(folder, name, 'metrics.jsonl'), lineOf(step, i % DIFFERENT, metrics));
    written.push([step, Date.now()]);
  }, 100);
  await new Promise((next) => setTimeout(next, WATCHED));
  clearInterval(timer);
  const trace = traceOf(await connection.stopTracing());
  // The last lines are to be drawn as well.
  await new Promise((next) => setTimeout(next, 3000));
  const seen = await tab.evaluate(() => globalThis.drawn);
  const lags = written.map(([at, when]) => ((seen.find(([end]) => end >= at)?.[1] ?? Infinity) - when) / 1000);
  lags.sort((a, b) => a - b);
  return {
    'lines written by each run': written.length,
    'delay until drawn, median s': lags[Math.floor(lags.length / 2)],
    '  largest, s': lags.at(-1),
    ...trace,
  };
}

/** The first start: nothing is known of the runs. */
async function measureCold(print) {
  const cold = await start();
  print({
    'first start until the page is served, s': cold.listening,
    'first start until all runs are listed, s': cold.listed,
    'first start until all runs are answered, s': cold.ready,
    '  of processor time': cold.readyCpu,
  });
  await indexed(cold.url);
  print({
    'until every metrics file is read once, s': seconds(cold.since),
    '  of processor time': cold.cpu(),
    'largest memory of the server, MB': cold.rss(),
  });
  await cold.stop();
}

/** Starts, and the page in Chromium. */
async function measureAlone() {
  const print = (record) =>
    Object.entries(record).forEach(([name, value]) =>
      console.log(`${name.padEnd(48)} ${Number(value.toPrecision(3))}`),
    );
  const hasPage = existsSync(values.chromium);
  if (!existsSync(join(cache, 'longsight'))) {
    if (hasPage) await measurePerson(null, print);
    await measureCold(print);
  }
  if (hasPage) await measurePerson(cache, print);
  const warm = await start();
  print({ 'warm start until all runs are answered, s': warm.ready, '  of processor time': warm.readyCpu });
  await indexed(warm.url);
  print({ 'until every file is known to be unchanged, s': seconds(warm.since) });
  if (hasPage) {
    const { out, tab, connection, close } = await page(warm.url);
    print(out);
    if (live > 0) print(await delays(tab, connection, warm.url));
    await close();
  } else console.log(`no Chromium at ${values.chromium}: the page is not measured`);
  print({ 'largest memory of the server, MB': warm.rss() });
  await warm.stop();
}

try {
  let since = performance.now();
  makeRuns(folder, { runs, metrics, points, live, isLinked: values.copies ? false : undefined });
  const bytes = runs * statSync(join(folder, 'design-0_seed-1', 'metrics.jsonl')).size;
  const load = () => `load ${loadavg()[0].toFixed(1)} on ${cpus().length} processors`;
  console.log(load());
  console.log(
    `${runs} runs x ${metrics} metrics x ${points} points: ${(bytes / 1e9).toFixed(2)} GB, made in ${seconds(since).toFixed(0)} s`,
  );
  await measureAlone();
} finally {
  if (values.cache === undefined) rmSync(cache, { recursive: true, force: true });
  if (!kept) rmSync(folder, { recursive: true, force: true });
}
