#!/usr/bin/env node
/**
 * The dashboard next to trackers on the same runs: seconds from the start of each program until the first curve.
 *
 *     node bench/dashboard-peers.mjs --python PYTHON [--peers tensorboard,trackio,aim] [--runs 200] [--metrics 100] [--points 1000]
 *         [--rounds 2] [--limit 300] [--folder DIR] [--data DIR] [--chromium /usr/bin/chromium]
 *
 * Needs `npm run build`. PYTHON has the packages that are named by --peers (`pip install tensorboard trackio aim`); their data are made from
 * the run folders before anything is timed, and kept where --data names a place for them. One program runs at a time, in turns: each peer, then Longsight without and with its cache.
 *
 * TensorBoard and Aim draw nothing before a visitor chooses, so theirs is the curve of one metric over HTTP, of one run and of all.
 * Trackio draws at once: its page is opened in Chromium until a curve is drawn, and so is Longsight's. Chromium itself runs already.
 * What takes longer than --limit seconds is left, and the limit counts.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { MAIN, makeRuns, nameOf, seconds, treeSeconds } from './dashboard-runs.mjs';

const { values } = parseArgs({
  options: {
    python: { type: 'string' },
    peers: { type: 'string', default: 'tensorboard,trackio' },
    runs: { type: 'string', default: '200' },
    metrics: { type: 'string', default: '100' },
    points: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '2' },
    limit: { type: 'string', default: '300' },
    folder: { type: 'string' },
    data: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
});
if (values.python === undefined) throw new Error('--python names a Python that has the peers');
const python = values.python;
const [runs, metrics, points, rounds, limit] = ['runs', 'metrics', 'points', 'rounds', 'limit'].map((name) =>
  Number(values[name]),
);
const work = mkdtempSync(join(tmpdir(), 'longsight-bench-peers-'));
const folder = values.folder ?? join(work, 'runs');
const names = Array.from({ length: runs }, (_, i) => nameOf(i));
const METRIC = 'train/loss';

/** A peer: how its data are made, how it is started, and how its first curve is known. Only Chromium's have `drawn`. */
const PEERS = {
  tensorboard: {
    make: (place) =>
      execFileSync(process.execPath, [
        MAIN,
        'log',
        'export',
        folder,
        '--to',
        'tensorboard',
        '--out',
        join(place, 'logs'),
      ]),
    url: 'http://127.0.0.1:16006/',
    start: (place) => [
      python,
      ['-m', 'tensorboard.main', '--logdir', join(place, 'logs'), '--port', '16006', '--reload_interval', '1'],
    ],
    answered: async (url, wanted) => {
      const body = new URLSearchParams([['tag', METRIC], ...wanted.map((name) => ['runs', name])]);
      const answer = await (await fetch(`${url}data/plugin/scalars/scalars_multirun`, { method: 'POST', body })).json();
      return Object.values(answer).filter((list) => list.length > 1).length === wanted.length;
    },
  },
  trackio: {
    make: (place) =>
      execFileSync(python, [join(import.meta.dirname, 'peers/trackio_import.py'), folder, 'bench'], {
        env: { ...process.env, TRACKIO_DIR: place },
      }),
    url: 'http://127.0.0.1:17860/',
    page: '?project=bench',
    start: (place) => [
      join(dirname(python), 'trackio'),
      ['show', '--project', 'bench'],
      { TRACKIO_DIR: place, GRADIO_SERVER_PORT: '17860', HF_HUB_OFFLINE: '1', BROWSER: 'true' },
    ],
    drawn: '.vega-embed canvas.marks',
  },
  aim: {
    make: (place) => execFileSync(python, [join(import.meta.dirname, 'peers/aim_import.py'), folder, place]),
    url: 'http://127.0.0.1:43800/',
    start: (place) => [
      join(dirname(python), 'aim'),
      ['up', '--repo', place, '--host', '127.0.0.1', '--port', '43800', '--yes'],
    ],
    answered: async (url, wanted) => {
      const which = wanted.length === runs ? '' : ` and run.name == "${wanted[0]}"`;
      const q = encodeURIComponent(`metric.name == "${METRIC}"${which}`);
      const answer = await fetch(`${url}api/runs/search/metric/?q=${q}&p=256&report_progress=false`);
      // Each run of the answer has at least its values: 8 bytes each.
      const { byteLength } = await answer.arrayBuffer();
      return answer.ok && byteLength > 8 * Math.min(256, points) * wanted.length;
    },
  },
};

/** Longsight, as the peers are described; `place` holds its cache. */
const OWN = {
  url: 'http://127.0.0.1:18642/',
  page: `#/curves?m=${encodeURIComponent(METRIC)}`,
  start: (place) => [
    process.execPath,
    [MAIN, 'dashboard', folder, '--port', '18642', '--json'],
    { XDG_CACHE_HOME: place },
  ],
  answered: async (url, wanted) => {
    const state = await (await fetch(`${url}api/state`)).json();
    const names = new Set(wanted);
    const ids = state.runs.filter(({ name }) => names.has(name)).map(({ id }) => id);
    if (ids.length < wanted.length) return false;
    const body = JSON.stringify({ metrics: [METRIC], axis: 'step', runs: ids, most: 256, sampled: true });
    const headers = { 'Content-Type': 'application/json', Origin: url.slice(0, -1) };
    const bytes = await (await fetch(`${url}api/curves`, { method: 'POST', body, headers })).arrayBuffer();
    const length = new DataView(bytes).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    return new Set(head.curves.filter(({ n }) => n > 1).map(({ run }) => run)).size === wanted.length;
  },
  drawn: '.chart[aria-label$=" lines"]:not([aria-label$=": 0 lines"]) canvas',
};

/** Waits for `ask` to come true, at most until the limit; seconds since `since`. */
async function until(since, ask) {
  while (seconds(since) < limit) {
    if (await ask().catch(() => false)) return seconds(since);
    await new Promise((next) => setTimeout(next, 10));
  }
  return limit;
}

/** All processes below one: launchers of Python leave their server behind. */
function stop(root) {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [[Number(name), Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ')[1])]];
      } catch {
        return []; // gone meanwhile
      }
    });
  const below = (pid) => [pid, ...parents.filter(([, parent]) => parent === pid).flatMap(([own]) => below(own))];
  for (const pid of below(root).reverse())
    try {
      process.kill(pid, 'SIGINT');
    } catch {
      // It has ended.
    }
}

/** Runs a program with its data in `place`; seconds until the first curve, the curves of all runs, and its processor time. */
async function measure({ url, page = '', start, answered, drawn }, place, tab) {
  const [program, args, env = {}] = start(place);
  const since = performance.now();
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  const ended = new Promise((done) => child.once('exit', done));
  try {
    if (tab === null) {
      const first = await until(since, () => answered(url, names.slice(0, 1)));
      const firstWork = treeSeconds(child.pid);
      return { first, firstWork, all: await until(since, () => answered(url, names)), work: treeSeconds(child.pid) };
    }
    await until(since, async () => (await fetch(url)).ok);
    await tab.goto(url + page, { timeout: 1000 * limit });
    const left = Math.max(1, 1000 * (limit - seconds(since)));
    const isThere = await tab.waitForSelector(drawn, { timeout: left }).catch(() => null);
    return { first: isThere === null ? limit : seconds(since), work: treeSeconds(child.pid) };
  } finally {
    if (tab !== null) await tab.goto('about:blank');
    stop(child.pid);
    const killer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(killer);
  }
}

const median = (list) => {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (place) => sorted[Math.floor(place)];
  return (at((list.length - 1) / 2) + at(list.length / 2)) / 2;
};
const shown = ({ first, firstWork, all, work }) => {
  const times = [first, ...(all === undefined ? [] : [all])].map((s) =>
    s >= limit ? `over ${limit} s` : `${s.toFixed(2)} s`,
  );
  const works = [...(firstWork === undefined ? [] : [firstWork]), work].map((s) => `${s.toFixed(2)} s`);
  return `${times.join(', ')}; processor time until then ${works.join(', ')}`;
};

/** All rounds of one peer. */
async function compare(name, browser) {
  const peer = PEERS[name];
  if (peer === undefined) throw new Error(`there is no peer ${name}; there are ${Object.keys(PEERS).join(', ')}`);
  const place = join(values.data ?? work, name);
  if (!existsSync(place)) {
    mkdirSync(place, { recursive: true });
    const since = performance.now();
    peer.make(place);
    console.log(`${name}: its data were made in ${seconds(since).toFixed(0)} s`);
  }
  const how =
    peer.drawn === undefined ? 'until answered: one run, all runs' : 'until the first curve is drawn in Chromium';
  const starts = { 'first start': [], 'with its cache': [] };
  for (let round = 0; round < rounds; round++) {
    const cache = join(work, `cache-${name}-${round}`);
    const tab = peer.drawn === undefined ? null : await browser.newPage({ viewport: { width: 1600, height: 1000 } });
    const theirs = await measure(peer, place, tab);
    console.log(`load ${loadavg()[0].toFixed(1)}; ${how}: ${name} ${shown(theirs)}`);
    for (const [start, list] of Object.entries(starts)) {
      const mine = await measure(OWN, cache, tab);
      console.log(`  Longsight, ${start}: ${shown(mine)}`);
      const over = (key) => theirs[key] / mine[key];
      list.push({ first: over('first'), firstWork: over('firstWork'), all: over('all'), work: over('work') });
    }
    await tab?.close();
  }
  for (const [start, list] of Object.entries(starts)) {
    const of = (key) => `${median(list.map((one) => one[key])).toFixed(1)} ×`;
    const own = peer.drawn === undefined;
    const first = `first curve ${of('first')}${own ? ` (processor time ${of('firstWork')})` : ''}`;
    const all = own ? `, all runs ${of('all')}` : '';
    console.log(`${name} over Longsight, ${start}, medians: ${first}${all} (processor time ${of('work')})`);
  }
  if (values.data === undefined) rmSync(place, { recursive: true, force: true });
}

try {
  makeRuns(folder, { runs, metrics, points });
  console.log(
    `load ${loadavg()[0].toFixed(1)} on ${cpus().length} processors; ${runs} runs x ${metrics} metrics x ${points} points`,
  );
  const wanted = values.peers.split(',');
  const needsPage = wanted.some((name) => PEERS[name]?.drawn !== undefined);
  if (needsPage && !existsSync(values.chromium)) throw new Error(`there is no Chromium at ${values.chromium}`);
  const browser = needsPage ? await chromium.launch({ executablePath: values.chromium, args: ['--no-sandbox'] }) : null;
  for (const name of wanted) await compare(name, browser);
  await browser?.close();
} finally {
  rmSync(work, { recursive: true, force: true });
}
