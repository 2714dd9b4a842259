#!/usr/bin/env node
/**
 * The dashboard over many runs: makes run folders, then measures in turn the first start, a warm one, and the page in Chromium.
 *
 *     node bench/dashboard.mjs [--runs 1000] [--metrics 100] [--points 1000] [--folder DIR] [--cache DIR] [--chromium /usr/bin/chromium] [--live 8]
 *
 *     node bench/dashboard.mjs --peers PYTHON --runs 200 --metrics 20 --points 1000 [--rounds 3]
 *
 * The second compares with TensorBoard (a Python that has it) on the same runs, in turns: from the start of the process until the curve of
 * one metric is answered over HTTP, of one run and of all. Longsight starts without and with its cache; the browser is left out for both.
 *
 * Needs `npm run build`, and Chromium for the page. Runs are copies of 20 different ones, of 50 designs with 20 seeds. Where they would take
 * more than 5 GB (10,000 points: 44 GB) copies are hard links: every file is read and parsed by its own name, but the disk holds, and reads,
 * 20 of them. What is made is removed at the end unless --folder names a place, which is kept and used again,
 * as --cache DIR keeps the dashboard's cache: with one that is filled, only warm starts are measured.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000' },
    metrics: { type: 'string', default: '100' },
    points: { type: 'string', default: '1000' },
    folder: { type: 'string' },
    cache: { type: 'string' },
    peers: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    live: { type: 'string', default: '8' },
  },
});
const [runs, metrics, points, live] = ['runs', 'metrics', 'points', 'live'].map((name) => Number(values[name]));
const main = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'cli', 'main.js');
const kept = values.folder !== undefined;
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'longsight-bench-dashboard-'));
const cache = values.cache ?? mkdtempSync(join(tmpdir(), 'longsight-bench-cache-'));
const DIFFERENT = 20;
const SEEDS = 20;

/** One line of metrics. */
function lineOf(step, kind) {
  const own = [
    `"step":${step},"tokens":${step * 4096},"time":${(step * 0.37).toFixed(3)}`,
    `"train/loss":${(8 / (1 + step / 50) + 1 + kind / 50 + Math.sin(step * kind + step) / 20).toFixed(12)}`,
  ];
  for (let m = 1; m < metrics; m++)
    own.push(`"probe/group-${m % 10}/value-${m}":${(Math.sin(step / (20 + m) + kind) + m).toFixed(14)}`);
  return `{${own.join(',')}}\n`;
}

const configOf = (name, design, seed) => ({
  ...{ format: 1, name, versions: { longsight: '0.1.0' } },
  run: {
    ...{
      seed,
      name,
      model: { layers: `swa:${8 + design} full`, hiddenSize: 64, numHeads: 4, numLayers: 4, vocabSize: 256 },
    },
    ...{
      data: [{ kind: 'recall' }],
      train: { seqLen: 256, batchSize: 16, steps: points, lr: 0.001 * (1 + (design % 5)) },
      engine: 'auto',
    },
  },
  engine: { name: 'onnx', library: 'onnxruntime', threads: 1, reason: 'made' },
  hardware: { cpu: 'A processor', cores: 2 },
  ...{ startedAt: '2026-01-02T03:04:05.000Z', resumes: [] },
});

function make() {
  const texts = Array.from({ length: Math.min(DIFFERENT, runs) }, (_, kind) => {
    const lines = [];
    for (let step = 1; step <= points; step++) lines.push(lineOf(step, kind));
    return Buffer.from(lines.join(''));
  });
  const isLinked = (runs * texts[0].length) / 1e9 > 5;
  const seen = [];
  for (let i = 0; i < runs; i++) {
    const [design, seed] = [Math.floor(i / SEEDS), (i % SEEDS) + 1];
    const name = `design-${design}_seed-${seed}`;
    const dir = join(folder, name);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'config.json'), JSON.stringify(configOf(name, design, seed)));
    writeFileSync(join(dir, 'status.json'), JSON.stringify({ state: 'done', step: points, tokens: points * 4096 }));
    const first = seen[i % texts.length];
    const path = join(dir, 'metrics.jsonl');
    // Those that are written to while the page is open are files of their own.
    const isLive = seed === 1 && design < live;
    if (isLinked && first !== undefined && !isLive) linkSync(first, path);
    else writeFileSync(path, texts[i % texts.length]);
    if (!isLive) seen[i % texts.length] = path;
  }
}

const seconds = (since) => (performance.now() - since) / 1000;

/** Starts a dashboard; resolves when it has answered with the state of all runs. */
async function start() {
  const since = performance.now();
  const child = spawn(process.execPath, [main, 'dashboard', folder, '--port', '0', '--json'], {
    env: { ...process.env, XDG_CACHE_HOME: cache },
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
  const listening = seconds(since);
  for (;;) {
    const state = await (await fetch(`${url}api/state`)).json();
    if (state.runs.length === runs) break;
    await new Promise((next) => setTimeout(next, 50));
  }
  const ready = seconds(since);
  const rss = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024;
  // Seconds of processor time, which other work on the machine changes less than the wall.
  const cpu = () => {
    const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  const readyCpu = cpu();
  const stop = () =>
    new Promise((done) => (child.removeAllListeners('exit'), child.once('exit', done), child.kill('SIGINT')));
  return { url, listening, ready, rss, stop, since, cpu, readyCpu };
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

/** Seconds of processor time of a process and all below it. */
function treeSeconds(root) {
  const own = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ');
      own.set(Number(name), { parent: Number(fields[1]), seconds: (Number(fields[11]) + Number(fields[12])) / 100 });
    } catch {
      // gone meanwhile
    }
  }
  const isBelow = (pid) => pid === root || (own.has(pid) && pid > 1 && isBelow(own.get(pid).parent));
  return [...own].reduce((sum, [pid, { seconds: s }]) => (isBelow(pid) ? sum + s : sum), 0);
}

async function page(url) {
  const { chromium } = await import('playwright-core');
  const owner = await chromium.launchServer({
    executablePath: values.chromium,
    args: ['--no-sandbox', '--enable-precise-memory-info'],
  });
  const connection = await chromium.connect(owner.wsEndpoint());
  const browser = { close: async () => (await connection.close(), await owner.close()) };
  const work = () => treeSeconds(owner.process().pid);
  const tab = await connection.newPage({ viewport: { width: 1600, height: 1000 } });
  const out = {};
  let [since, worked] = [0, 0];
  const begin = () => ([since, worked] = [performance.now(), work()]);
  const took = (name, scale = 1000) => {
    out[name] = scale * seconds(since);
    out[`  of processor time of the browser (${name.split(',')[0]})`] = scale * (work() - worked);
  };
  // The browser's own start is none of the page's.
  await tab.goto('about:blank');
  await new Promise((next) => setTimeout(next, 2000));
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
  return { out, tab, browser };
}

/** Runs write ten lines a second each; how long until the page has drawn a line, and the frames that it drew a second. */
async function delays(tab, url) {
  const names = Array.from({ length: live }, (_, i) => `design-${i}_seed-1`);
  const ids = (await (await fetch(`${url}api/state`)).json()).runs.filter(({ name }) => names.includes(name));
  await tab.goto(`${url}#/curves?m=train%2Floss&only=${ids.map(({ id }) => id).join('.')}`);
  await tab.waitForFunction(
    (n) => document.querySelector('.chart')?.getAttribute('aria-label')?.endsWith(`: ${n} lines`),
    live,
  );
  const written = [];
  // A folder that is used again has more lines by now.
  let step = await tab.evaluate(() => Math.ceil(Number(document.querySelector('.chart').dataset.end) / 4096));
  const timer = setInterval(() => {
    step += 1;
    for (const [i, name] of names.entries())
      appendFileSync(join(folder, name, 'metrics.jsonl'), lineOf(step, i % DIFFERENT));
    written.push([step, Date.now()]);
  }, 100);
  const seen = [];
  const frames = tab.evaluate(
    () =>
      new Promise((done) => {
        let count = 0;
        const since = performance.now();
        const next = () => {
          count++;
          if (performance.now() - since < 15_000) requestAnimationFrame(next);
          else done(count / 15);
        };
        requestAnimationFrame(next);
      }),
  );
  const until = Date.now() + 15_000;
  while (Date.now() < until) {
    // What the page has drawn last: the end of the x axis of the chart.
    const drawn = await tab.evaluate(() => Number(document.querySelector('.chart')?.dataset.end ?? 0));
    seen.push([drawn / 4096, Date.now()]);
    await new Promise((next) => setTimeout(next, 50));
  }
  clearInterval(timer);
  const lags = written.flatMap(([at, when]) => {
    const shown = seen.find(([last]) => last >= at);
    return shown === undefined ? [] : [(shown[1] - when) / 1000];
  });
  lags.sort((a, b) => a - b);
  return {
    'lines written by each run': written.length,
    'delay until drawn, median s': lags[Math.floor(lags.length / 2)],
    'largest, s': lags.at(-1),
    'frames a second': await frames,
  };
}

/** The first start: nothing is known of the runs. */
async function measureCold(print) {
  const cold = await start();
  print({
    'first start until the page is served, s': cold.listening,
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
  if (!existsSync(join(cache, 'longsight'))) await measureCold(print);
  const warm = await start();
  print({ 'warm start until all runs are answered, s': warm.ready, '  of processor time': warm.readyCpu });
  await indexed(warm.url);
  print({ 'until every file is known to be unchanged, s': seconds(warm.since) });
  if (existsSync(values.chromium)) {
    const { out, tab, browser } = await page(warm.url);
    print(out);
    if (live > 0) print(await delays(tab, warm.url));
    await browser.close();
  } else console.log(`no Chromium at ${values.chromium}: the page is not measured`);
  print({ 'largest memory of the server, MB': warm.rss() });
  await warm.stop();
}

/** Waits for `ask` to come true; seconds since `since`. */
async function until(since, ask) {
  while (!(await ask().catch(() => false))) await new Promise((next) => setTimeout(next, 10));
  return seconds(since);
}

/** Seconds until Longsight answers with the curve of one run, and of all. */
async function ownCurves(names, own) {
  const since = performance.now();
  const child = spawn(process.execPath, [main, 'dashboard', folder, '--port', '18642', '--json'], {
    env: { ...process.env, XDG_CACHE_HOME: own },
    stdio: 'ignore',
  });
  const url = 'http://127.0.0.1:18642/';
  const curves = async (wanted) => {
    const state = await (await fetch(`${url}api/state`)).json();
    const ids = state.runs.filter(({ name }) => wanted.has(name)).map(({ id }) => id);
    if (ids.length < wanted.size) return false;
    const body = JSON.stringify({ metrics: ['train/loss'], axis: 'step', runs: ids, most: 256, sampled: true });
    const headers = { 'Content-Type': 'application/json', Origin: url.slice(0, -1) };
    const bytes = await (await fetch(`${url}api/curves`, { method: 'POST', body, headers })).arrayBuffer();
    const length = new DataView(bytes).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    return new Set(head.curves.filter(({ n }) => n > 1).map(({ run }) => run)).size === wanted.size;
  };
  try {
    const first = await until(since, () => curves(new Set(names.slice(0, 1))));
    return { first, all: await until(since, () => curves(new Set(names))), work: treeSeconds(child.pid) };
  } finally {
    child.kill('SIGINT');
    await new Promise((done) => child.once('exit', done));
  }
}

/** The same of TensorBoard, with its fast loader where it has it. */
async function tensorboardCurves(logs, names) {
  const since = performance.now();
  const args = ['-m', 'tensorboard.main', '--logdir', logs, '--port', '16006', '--reload_interval', '1'];
  const child = spawn(values.peers, args, { stdio: 'ignore' });
  const url = 'http://127.0.0.1:16006/data/plugin/scalars/scalars_multirun';
  const curves = async (wanted) => {
    const body = new URLSearchParams([['tag', 'train/loss'], ...wanted.map((name) => ['runs', name])]);
    const answer = await (await fetch(url, { method: 'POST', body })).json();
    return Object.values(answer).filter((points) => points.length > 1).length === wanted.length;
  };
  try {
    const first = await until(since, () => curves(names.slice(0, 1)));
    return { first, all: await until(since, () => curves(names)), work: treeSeconds(child.pid) };
  } finally {
    child.kill('SIGINT');
    await new Promise((done) => child.once('exit', done));
  }
}

async function comparePeers() {
  const names = Array.from({ length: runs }, (_, i) => `design-${Math.floor(i / SEEDS)}_seed-${(i % SEEDS) + 1}`);
  const logs = join(mkdtempSync(join(tmpdir(), 'longsight-bench-logs-')), 'logs');
  try {
    execFileSync(process.execPath, [main, 'log', 'export', folder, '--to', 'tensorboard', '--out', logs]);
    const starts = { 'without its cache': [], 'with its cache': [] };
    const text = ({ first, all, work }) => `${first.toFixed(2)} s, ${all.toFixed(2)} s, ${work.toFixed(2)} s`;
    for (let round = 0; round < Number(values.rounds); round++) {
      const own = join(cache, `round-${round}`);
      const peer = await tensorboardCurves(logs, names);
      console.log(`load ${loadavg()[0].toFixed(1)}; one curve, all, processor time: TensorBoard ${text(peer)}`);
      for (const [how, list] of Object.entries(starts)) {
        const mine = await ownCurves(names, own);
        console.log(`  Longsight ${how} ${text(mine)}`);
        list.push({ first: peer.first / mine.first, all: peer.all / mine.all, work: peer.work / mine.work });
      }
    }
    const median = (list) => {
      const sorted = list.toSorted((a, b) => a - b);
      const at = (place) => sorted[Math.floor(place)];
      return ((at((list.length - 1) / 2) + at(list.length / 2)) / 2).toFixed(1);
    };
    for (const [how, list] of Object.entries(starts)) {
      const of = (key) => `${median(list.map((one) => one[key]))} x`;
      console.log(
        `TensorBoard over Longsight ${how}, medians: one curve ${of('first')}, all ${of('all')}, processor time ${of('work')}`,
      );
    }
  } finally {
    rmSync(join(logs, '..'), { recursive: true, force: true });
  }
}

try {
  let since = performance.now();
  if (!existsSync(join(folder, `design-${Math.floor((runs - 1) / SEEDS)}_seed-${((runs - 1) % SEEDS) + 1}`))) make();
  const bytes = runs * statSync(join(folder, 'design-0_seed-1', 'metrics.jsonl')).size;
  const load = () => `load ${loadavg()[0].toFixed(1)} on ${cpus().length} processors`;
  console.log(load());
  console.log(
    `${runs} runs x ${metrics} metrics x ${points} points: ${(bytes / 1e9).toFixed(2)} GB, made in ${seconds(since).toFixed(0)} s`,
  );
  if (values.peers === undefined) await measureAlone();
  else await comparePeers();
} finally {
  if (values.cache === undefined) rmSync(cache, { recursive: true, force: true });
  if (!kept) rmSync(folder, { recursive: true, force: true });
}
