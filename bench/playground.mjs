#!/usr/bin/env node
/**
 * Steps of the playground in Chromium and in Node, in turns: the same run, the same number of threads, one after the other.
 *
 *     npm run build && node bench/playground.mjs [--steps 30] [--rounds 3] [--threads 2]
 *
 * Needs Chromium (CHROMIUM=PATH names one). Prints for each round the median milliseconds of a step and its processor time, and
 * the ratio of steps a second in the browser to Node. First steps, which warm up, are left out. With `--threads 1` nothing waits by
 * spinning: processor time then says what an idle machine would take.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { createEngine } from '../dist/engine/index.js';
import { Session } from '../dist/playground/session.js';

const ROOT = join(import.meta.dirname, '..');
const PAGE = join(ROOT, 'dist/web/playground');
const WARM_UP = 5;
const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string' },
  },
});
const [steps, rounds] = [Number(values.steps), Number(values.rounds)];
const threads = Number(values.threads ?? availableParallelism());
const DESIGNS = [
  { cheap: 'swa', window: 8, cheapCount: 2, nope: false, seed: 1 },
  { cheap: 'swa', window: 32, cheapCount: 2, nope: false, seed: 1 },
  { cheap: 'gdn', window: 8, cheapCount: 2, nope: true, seed: 1 },
];

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** Median milliseconds of a step after the first ones, and processor time of a step: of many steps beyond that of the first few. */
async function measured(train, clock) {
  const spent = [];
  let wall = [];
  for (const count of [WARM_UP, steps]) {
    const since = clock();
    wall = await train(count);
    spent.push(clock() - since);
  }
  return { wall: median(wall.slice(WARM_UP)), cpu: (spent[1] - spent[0]) / (steps - WARM_UP) };
}

async function inNode(run, count) {
  const session = await Session.begin(createEngine('onnx', { threads }), run);
  const milliseconds = [];
  for (let i = 0; i < count; i++) {
    const since = performance.now();
    await session.train();
    milliseconds.push(performance.now() - since);
  }
  await session.dispose();
  return milliseconds;
}

const nodeTime = () => Object.values(process.cpuUsage()).reduce((a, b) => a + b, 0) / 1000;

// Of the two files of WebAssembly, which are alike in size, a browser loads one.
const files = readdirSync(PAGE)
  .filter((name) => name !== 'ort-wasm-simd-threaded.wasm')
  .map((name) => readFileSync(join(PAGE, name)));
const bytes = files.reduce((sum, file) => sum + file.length, 0);
const zipped = files.reduce((sum, file) => sum + gzipSync(file).length, 0);
console.log(`first load: ${(bytes / 1e6).toFixed(2)} MB, ${(zipped / 1e6).toFixed(2)} MB with gzip`);

const child = spawn(process.execPath, [join(ROOT, 'dist/cli/main.js'), 'playground', '--port', '0', '--json']);
let said = '';
for await (const chunk of child.stdout) {
  said += chunk;
  if (said.includes('\n')) break;
}
const { url } = JSON.parse(said.split('\n')[0]);
const executablePath =
  process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path));
const server = await chromium.launchServer({ executablePath, args: ['--no-sandbox'] });
const browser = await chromium.connect(server.wsEndpoint());

/** Milliseconds of processor time that the browser and all of its processes have taken; Linux counts them in hundredths of a second. */
function browserTime() {
  const rows = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const fields = readFileSync(`/proc/${name}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ')
          .map(Number);
        return [{ pid: Number(name), parent: fields[1], ms: 10 * (fields[11] + fields[12]) }];
      } catch {
        return []; // it ended meanwhile
      }
    });
  const own = new Set([server.process().pid]);
  for (let before = 0; before !== own.size;) {
    before = own.size;
    for (const { pid, parent } of rows) if (own.has(parent)) own.add(pid);
  }
  return rows.filter(({ pid }) => own.has(pid)).reduce((sum, { ms }) => sum + ms, 0);
}

const page = await browser.newPage();
// A page of the same origin and isolation, without the workers of the playground itself.
await page.goto(`${url}style.css`);
await page.evaluate(readFileSync(join(ROOT, 'test/support/playground-page.mjs'), 'utf8'));

const ratioOf = (pairs, kind) => median(pairs.map(({ node, web }) => node[kind] / web[kind])).toFixed(2);
const inPage = async (run, count) =>
  (await page.evaluate(`trainInWorker(${JSON.stringify(run)}, ${count}, ${threads})`)).milliseconds;

for (const run of DESIGNS) {
  const name = `${run.cheap}${run.cheap === 'swa' ? `:${run.window}` : ''}`;
  const pairs = [];
  for (let round = 0; round < rounds; round++) {
    const node = await measured((count) => inNode(run, count), nodeTime);
    const web = await measured((count) => inPage(run, count), browserTime);
    pairs.push({ node, web });
    const shown = ({ wall, cpu }) => `${wall.toFixed(0)} ms (${cpu.toFixed(0)} ms of processor time)`;
    console.log(
      `${name}, ${threads} threads, load ${loadavg()[0].toFixed(1)}: Node ${shown(node)}, Chromium ${shown(web)} a step`,
    );
  }
  console.log(
    `${name}: ${ratioOf(pairs, 'wall')} × the steps a second of Node, ${ratioOf(pairs, 'cpu')} × by processor time`,
  );
}
await browser.close();
child.kill('SIGINT');
process.exit(0);
