#!/usr/bin/env node
/**
 * The dashboard next to trackers on the same runs: seconds from the start of each program until the first curve.
 *
 *     node bench/dashboard-peers.mjs --python PYTHON [--peers tensorboard,trackio,aim] [--runs 200] [--metrics 100] [--points 1000] [--links]
 *         [--rounds 2] [--limit 300] [--ways chromium,http] [--most-seconds 900] [--most-gb 10] [--folder DIR] [--data DIR] [--chromium /usr/bin/chromium]
 *
 * Needs `npm run build`. PYTHON has the packages that are named by --peers (`pip install tensorboard trackio aim`). Their data are made from
 * the run folders before anything is timed, and kept where --data names a place for them. Trackio and Aim take runs in one after another: no
 * further ones after --most-seconds or --most-gb, and Longsight is measured on as many runs then. One program runs at a time, in turns: each
 * peer, then Longsight without and with its cache.
 *
 * --links: 20 runs are files of their own, the others hard links to them, of Longsight's as of TensorBoard's files, so that 1,000 runs of
 * 10,000 points fit a disk. Both read each file by its own name, but from the system's memory, which favors the one that reads more of it.
 *
 * The cache of Longsight is filled before: all files were read once.
 *
 * Over HTTP: until the curve of one metric is answered of any one run, of half of all, which is when one that was chosen beforehand is there
 * as likely as not, and of all. In Chromium, which runs already: until a line is drawn. TensorBoard draws on its own only the runs
 * that it has read when its page loads, if they are 40 at most, and not in the tab that it opens with (over 500 runs none): its page is
 * opened at #scalars as soon as it is served, and its button to reload is pressed while there is no chart. Aim's is opened at a query.
 * What takes longer than --limit seconds is left, and the limit counts.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { DIFFERENT, MAIN, makeRuns, nameOf, seconds, treeSeconds } from './dashboard-runs.mjs';

const { values } = parseArgs({
  options: {
    python: { type: 'string' },
    peers: { type: 'string', default: 'tensorboard,trackio' },
    runs: { type: 'string', default: '200' },
    metrics: { type: 'string', default: '100' },
    points: { type: 'string', default: '1000' },
    links: { type: 'boolean', default: false },
    'most-seconds': { type: 'string', default: '900' },
    'most-gb': { type: 'string', default: '10' },
    rounds: { type: 'string', default: '2' },
    limit: { type: 'string', default: '300' },
    ways: { type: 'string', default: 'chromium,http' },
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
const METRIC = 'train/loss';

/** Runs a peer's import, which says last how many runs it has taken in. */
function imported(script, args, env = {}) {
  const most = [values['most-seconds'], String(1e9 * Number(values['most-gb']))];
  const said = execFileSync(python, [join(import.meta.dirname, 'peers', script), folder, ...args, ...most], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  return Number(said.trim().split('\n').at(-1));
}

/** Event files of all runs: where they are linked, those of the first runs are written and the others are links to them. */
function writeEvents(place) {
  const logs = join(place, 'logs');
  const written = values.links ? join(work, 'written') : folder;
  if (values.links) makeRuns(written, { runs: Math.min(runs, DIFFERENT), metrics, points });
  execFileSync(process.execPath, [MAIN, 'log', 'export', written, '--to', 'tensorboard', '--out', logs]);
  for (let i = DIFFERENT; values.links && i < runs; i++) {
    const from = join(logs, nameOf(i % DIFFERENT));
    mkdirSync(join(logs, nameOf(i)));
    for (const file of readdirSync(from)) linkSync(join(from, file), join(logs, nameOf(i), file));
  }
  return runs;
}

/** The address of Aim's view of metrics with a query: its state as JSON in base64, as its page writes it. */
function aimPage() {
  const advancedQuery = `metric.name == "${METRIC}" and run.name == "${nameOf(0)}"`;
  const select = JSON.stringify({ options: [], query: '', advancedMode: true, advancedQuery });
  return `metrics?select=O-${Buffer.from(encodeURI(select)).toString('base64url')}`;
}

/**
 * A peer: how its data are made, with the number of runs that it took in, how it is started, whether `count` of `all` runs are answered
 * with curves, and where its page is, whose first line is at `drawn`; `again` is pressed while there is none of `some`.
 */
const PEERS = {
  tensorboard: {
    make: writeEvents,
    url: 'http://127.0.0.1:16006/',
    start: (place) => [
      python,
      ['-m', 'tensorboard.main', '--logdir', join(place, 'logs'), '--port', '16006', '--reload_interval', '1'],
    ],
    answered: async (url, count) => {
      const there = await (await fetch(`${url}data/runs`)).json();
      if (there.length < count) return false;
      const body = new URLSearchParams([['tag', METRIC], ...there.slice(0, count).map((name) => ['runs', name])]);
      const answer = await (await fetch(`${url}data/plugin/scalars/scalars_multirun`, { method: 'POST', body })).json();
      return Object.values(answer).filter((list) => list.length > 1).length === count;
    },
    page: `#scalars&tagFilter=${encodeURIComponent(METRIC)}`,
    drawn: 'vz-line-chart2 path.line',
    some: 'tf-scalar-card',
    again: 'button.reload-button',
  },
  trackio: {
    make: (place) => imported('trackio_import.py', ['bench'], { TRACKIO_DIR: place }),
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
    make: (place) => imported('aim_import.py', [place]),
    url: 'http://127.0.0.1:43800/',
    start: (place) => [
      join(dirname(python), 'aim'),
      ['up', '--repo', place, '--host', '127.0.0.1', '--port', '43800', '--yes'],
    ],
    answered: async (url, count, all) => {
      const names = Array.from({ length: count }, (_, i) => nameOf(i));
      const which = count === all ? '' : ` and run.name in ${JSON.stringify(names)}`;
      const q = encodeURIComponent(`metric.name == "${METRIC}"${which}`);
      const answer = await fetch(`${url}api/runs/search/metric/?q=${q}&p=256&report_progress=false`);
      // Each run of the answer has at least its values: 8 bytes each.
      const { byteLength } = await answer.arrayBuffer();
      return answer.ok && byteLength > 8 * Math.min(256, points) * count;
    },
    page: aimPage(),
    drawn: '.LineChart path.Line',
  },
};

/** Longsight, as the peers are described; `place` holds its cache. */
const OWN = {
  url: 'http://127.0.0.1:18642/',
  page: `#/curves?m=${encodeURIComponent(METRIC)}`,
  start: (place, own) => [
    process.execPath,
    [MAIN, 'dashboard', own, '--port', '18642', '--json'],
    { XDG_CACHE_HOME: place },
  ],
  answered: async (url, count) => {
    const state = await (await fetch(`${url}api/state`)).json();
    if (state.runs.length < count) return false;
    const ids = state.runs.map(({ id }) => id);
    // As its page asks: at first for any curve, then for all.
    const asked = { metrics: [METRIC], axis: 'step', runs: ids, most: 256, sampled: true, soon: count === 1 };
    const headers = { 'Content-Type': 'application/json', Origin: url.slice(0, -1) };
    const body = JSON.stringify(asked);
    const bytes = await (await fetch(`${url}api/curves`, { method: 'POST', body, headers })).arrayBuffer();
    const length = new DataView(bytes).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    return new Set(head.curves.filter(({ n }) => n > 1).map(({ run }) => run)).size >= count;
  },
  drawn: '.chart:not([aria-label$=": 0 lines"]) canvas',
};

/** Waits for `ask` to come true, at most until the limit; seconds since `since`. */
async function until(since, ask) {
  while (seconds(since) < limit) {
    if (await ask().catch(() => false)) return seconds(since);
    // Asked less often the longer it takes, so that asking holds nothing up.
    await new Promise((next) => setTimeout(next, 10 + 10 * seconds(since)));
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

/**
 * Runs a program with its data in `place`; seconds until the curves of one, of half and of all of `count` runs, or until its page in `tab` has
 * a line, and its processor time at the first and the last of them.
 */
async function measure({ url, page, start, answered, drawn, some, again }, { place, own, count, tab }) {
  const [program, args, env = {}] = start(place, own);
  const since = performance.now();
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  const ended = new Promise((done) => child.once('exit', done));
  try {
    if (tab === null) {
      const first = await until(since, () => answered(url, 1, count));
      const firstWork = treeSeconds(child.pid);
      const half = await until(since, () => answered(url, Math.ceil(count / 2), count));
      const all = await until(since, () => answered(url, count, count));
      return { first, half, all, firstWork, work: treeSeconds(child.pid) };
    }
    await until(since, async () => (await fetch(url)).ok);
    await tab.goto(url + page, { timeout: 1000 * limit });
    const left = Math.max(1, 1000 * (limit - seconds(since)));
    const line = tab.waitForSelector(drawn, { timeout: left, state: 'attached' }).catch(() => null);
    const isOver = { now: false };
    const pressing = again === undefined ? null : press(tab, some, again, isOver);
    const isThere = await line;
    const first = isThere === null ? limit : seconds(since);
    isOver.now = true;
    await pressing;
    return { first, firstWork: treeSeconds(child.pid), work: treeSeconds(child.pid) };
  } finally {
    if (tab !== null) await tab.goto('about:blank');
    stop(child.pid);
    const killer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(killer);
  }
}

/** Presses a button of a page four times a second while there is nothing of `some`. */
async function press(tab, some, button, isOver) {
  while (!isOver.now && (await tab.$(some)) === null) {
    await new Promise((next) => setTimeout(next, 250));
    if (!isOver.now && (await tab.$(some)) === null) await tab.click(button, { timeout: 1000 }).catch(() => undefined);
  }
}

const median = (list) => {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (place) => sorted[Math.floor(place)];
  return (at((list.length - 1) / 2) + at(list.length / 2)) / 2;
};
const TIMES = { first: 'first curve', half: 'half of all', all: 'all' };
const shown = (took) => {
  const times = Object.keys(TIMES).flatMap((key) => {
    if (took[key] === undefined) return [];
    return [`${TIMES[key]} ${took[key] >= limit ? `over ${limit} s` : `${took[key].toFixed(2)} s`}`];
  });
  return `${times.join(', ')}; processor time ${took.firstWork.toFixed(2)}, ${took.work.toFixed(2)} s`;
};

/** The data of a peer, made where they are not there: its place, how many runs it has, and a folder of as many. */
function dataOf(name) {
  const place = join(values.data ?? work, name);
  const note = `${place}.json`;
  if (!existsSync(note)) {
    mkdirSync(place, { recursive: true });
    const since = performance.now();
    const count = PEERS[name].make(place);
    writeFileSync(note, JSON.stringify({ runs: count, seconds: seconds(since) }));
  }
  const made = JSON.parse(readFileSync(note, 'utf8'));
  console.log(`${name}: ${made.runs} of ${runs} runs, made in ${made.seconds.toFixed(0)} s`);
  const cache = join(values.data ?? work, `cache-${made.runs}`);
  if (made.runs === runs) return { place, cache, own: folder, count: runs };
  const own = join(values.data ?? work, `runs-${made.runs}`);
  makeRuns(own, { runs: made.runs, metrics, points, isLinked: values.links });
  return { place, cache, own, count: made.runs };
}

/** Fills a cache of Longsight where it is not there: all files are read once. */
async function fill(cache, own) {
  if (existsSync(cache)) return;
  const [program, args, env] = OWN.start(cache, own);
  const since = performance.now();
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  const ended = new Promise((done) => child.once('exit', done));
  for (let isWhole = false; !isWhole;) {
    await new Promise((next) => setTimeout(next, 500));
    const state = await fetch(`${OWN.url}api/state`).then(
      (answer) => answer.json(),
      () => null,
    );
    isWhole = state !== null && state.indexed.all > 0 && state.indexed.done === state.indexed.all;
  }
  child.kill('SIGINT');
  await ended;
  console.log(`Longsight's cache was filled in ${seconds(since).toFixed(0)} s`);
}

/** All rounds of one peer, over HTTP or in the browser. */
async function compare(name, data, browser) {
  const peer = PEERS[name];
  const starts = { 'first start': [], 'with its cache': [] };
  const how = browser === null ? 'over HTTP' : 'in Chromium';
  for (let round = 0; round < rounds; round++) {
    const tab = browser === null ? null : await browser.newPage({ viewport: { width: 1600, height: 1000 } });
    const theirs = await measure(peer, { ...data, tab });
    console.log(`load ${loadavg()[0].toFixed(1)}; ${how}: ${name} ${shown(theirs)}`);
    for (const [start, list] of Object.entries(starts)) {
      const empty = join(work, `cache-${name}-${how}-${round}`);
      const mine = await measure(OWN, { ...data, place: start === 'first start' ? empty : data.cache, tab });
      console.log(`  Longsight, ${start}: ${shown(mine)}`);
      list.push(Object.fromEntries(Object.keys(theirs).map((key) => [key, theirs[key] / mine[key]])));
    }
    await tab?.close();
  }
  for (const [start, list] of Object.entries(starts)) {
    const ratios = [...Object.entries(TIMES), ['firstWork', 'processor time until the first']].flatMap(
      ([key, title]) =>
        list[0]?.[key] === undefined ? [] : [`${title} ${median(list.map((one) => one[key])).toFixed(1)} ×`],
    );
    console.log(`${name} over Longsight ${how}, ${start}, medians: ${ratios.join(', ')}`);
  }
}

try {
  makeRuns(folder, { runs, metrics, points, isLinked: values.links });
  console.log(
    `load ${loadavg()[0].toFixed(1)} on ${cpus().length} processors; ${runs} runs x ${metrics} metrics x ${points} points`,
  );
  const [wanted, ways] = [values.peers.split(','), values.ways.split(',')];
  const unknown = wanted.find((name) => PEERS[name] === undefined);
  if (unknown !== undefined) throw new Error(`there is no peer ${unknown}; there are ${Object.keys(PEERS).join(', ')}`);
  if (!existsSync(values.chromium)) throw new Error(`there is no Chromium at ${values.chromium}`);
  const browser = await chromium.launch({ executablePath: values.chromium, args: ['--no-sandbox'] });
  for (const name of wanted) {
    const data = dataOf(name);
    await fill(data.cache, data.own);
    if (ways.includes('chromium')) await compare(name, data, browser);
    if (ways.includes('http') && PEERS[name].answered !== undefined) await compare(name, data, null);
  }
  await browser.close();
} finally {
  rmSync(work, { recursive: true, force: true });
}
