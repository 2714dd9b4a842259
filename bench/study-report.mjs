#!/usr/bin/env node
/**
 * The report of a large study: makes a study folder of many finished runs, writes its report with the command line, and measures the page in
 * Chromium.
 *
 *     node bench/study-report.mjs [--runs 1000] [--designs 50] [--points 300] [--folder DIR] [--chromium /usr/bin/chromium] [--times 3]
 *
 * Needs `npm run build`, and Chromium for the page. Runs are of `--designs` designs with as many seeds as that takes; each has `--points`
 * lines of metrics with held-out loss, recall by distance and associative recall, and an evaluation record. What is made is removed at the end
 * unless --folder names a place, which is kept and used again.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { resolveRunConfig } from '../dist/lab/index.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000' },
    designs: { type: 'string', default: '50' },
    points: { type: 'string', default: '300' },
    folder: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    times: { type: 'string', default: '3' },
  },
});
const [runs, designs, points, times] = ['runs', 'designs', 'points', 'times'].map((name) => Number(values[name]));
const main = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'cli', 'main.js');
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'longsight-bench-report-'));
const BINS = [16, 32, 64, 128, 256];

/** The layers of a design: windows and mixers that differ, so that all designs do. */
const patternOf = (design) => `swa:${4 + (design >> 1)} full${design % 2 === 1 ? ':nope' : ''}`;

function configOf(design, seed) {
  const data = { kind: 'recall', numKeys: 32, numValues: 16 };
  const model = { layers: patternOf(design), hiddenSize: 32, numHeads: 4, numLayers: 4, intermediateSize: 64 };
  const train = { steps: 3000, seqLen: 256, batchSize: 16, lr: 4e-3, evalEvery: 10 };
  return resolveRunConfig(
    { name: `design-${design}_seed-${seed}`, seed, model, data, train },
    { where: 'bench', baseDir: '/' },
  );
}

function lineOf(i, design, seed) {
  const step = (i + 1) * 10;
  const share = 1 / (1 + Math.exp(-(step - 600 - 40 * design - 7 * seed) / 120));
  const noise = (k) => Math.sin(1000 * k + 17 * seed + step) / 200;
  const recall = BINS.map((to, k) => [
    `eval/recall/${k === 0 ? 1 : BINS[k - 1] + 1}-${to}`,
    share * (1 - k / 20) + noise(k),
  ]);
  return JSON.stringify({
    ...{ step, tokens: step * 4096, time: step * 0.3 },
    'eval/loss': 1.5 + design / 100 + 3 * Math.exp(-step / 700) + noise(9),
    ...Object.fromEntries(recall),
    'eval/recall/all': share + noise(7),
  });
}

function makeStudy() {
  const seeds = Math.ceil(runs / designs);
  const planned = [];
  for (let n = 0; n < runs; n++) {
    const [design, seed] = [n % designs, Math.floor(n / designs) + 1];
    const config = configOf(design, seed);
    const dir = join(folder, 'runs', config.name);
    mkdirSync(join(dir, 'evals'), { recursive: true });
    const engine = { name: 'onnx', library: 'bench', threads: 1, reason: 'bench' };
    const about = {
      versions: { longsight: '0.1.0', node: process.version },
      hardware: { cpu: 'bench', cores: 2, memory: 8e9, platform: 'linux x64' },
    };
    const { name, ...run } = config;
    writeFileSync(
      join(dir, 'config.json'),
      JSON.stringify({ format: 1, name, run, engine, ...about, startedAt: '2026-01-01T00:00:00.000Z', resumes: [] }),
    );
    writeFileSync(
      join(dir, 'status.json'),
      JSON.stringify({
        format: 1,
        state: 'done',
        step: 3000,
        tokens: 3000 * 4096,
        updatedAt: '2026-01-01T01:00:00.000Z',
      }),
    );
    writeFileSync(
      join(dir, 'metrics.jsonl'),
      `${Array.from({ length: points }, (_, i) => lineOf(i, design, seed)).join('\n')}\n`,
    );
    planned.push({ name, arm: 'main', architecture: `design-${design}`, seed, point: {}, config });
  }
  const labels = Array.from({ length: Math.min(designs, runs) }, (_, i) => ({
    label: `design-${i}`,
    layers: patternOf(i),
  }));
  const compare = {
    ...{ threshold: 0.9, minRecallDifference: 0.02, minLossDifference: 0.01 },
    pairs: labels.slice(1).map(({ label }) => ['design-0', label]),
  };
  const study = {
    ...{ name: 'bench', base: {}, seeds: Array.from({ length: seeds }, (_, i) => i + 1), grid: {} },
    architectures: Object.fromEntries(labels.map(({ label, layers }) => [label, layers])),
  };
  writeFileSync(
    join(folder, 'study.json'),
    JSON.stringify({
      ...{
        format: 1,
        name: 'bench',
        title: 'A large study',
        question: 'Which design is first?',
        compare,
        study,
        set: [],
        architectures: labels,
        runs: planned,
      },
    }),
  );
}

if (!existsSync(join(folder, 'study.json'))) makeStudy();
const report = join(folder, 'report.html');
const seconds = [];
for (let i = 0; i < times; i++) {
  rmSync(report, { force: true });
  const start = performance.now();
  const { status, stderr } = spawnSync(process.execPath, [main, 'report', folder], {
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (status !== 0) throw new Error(stderr);
  seconds.push(Number(((performance.now() - start) / 1000).toFixed(2)));
}
const bytes = statSync(report).size;
const paints = [];
if (existsSync(values.chromium)) {
  const browser = await chromium.launch({ executablePath: values.chromium, args: ['--no-sandbox'] });
  for (let i = 0; i < times; i++) {
    const page = await browser.newPage();
    await page.goto(pathToFileURL(report).href, { waitUntil: 'load', timeout: 60_000 });
    const painted = () => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null;
    await page.waitForFunction(painted, null, { timeout: 30_000 });
    paints.push({
      firstPaintMs: Math.round(await page.evaluate(painted)),
      loadMs: Math.round(
        await page.evaluate(() => performance.timing.loadEventEnd - performance.timing.navigationStart),
      ),
    });
    await page.close();
  }
  await browser.close();
}
/** What reading the files alone takes: the floor. */
const start = performance.now();
let read = 0;
for (let n = 0; n < runs; n++)
  read += readFileSync(
    join(folder, 'runs', `design-${n % designs}_seed-${Math.floor(n / designs) + 1}`, 'metrics.jsonl'),
  ).length;
const readMs = Math.round(performance.now() - start);
console.log(
  JSON.stringify({
    runs,
    designs,
    points,
    seconds,
    reportMb: Number((bytes / 1e6).toFixed(2)),
    paints,
    metricsMb: Math.round(read / 1e6),
    readMs,
    load: loadavg().map((x) => Number(x.toFixed(1))),
  }),
);
if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
