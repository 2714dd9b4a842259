// Prompts and decoding of Longsight on a PJRT device, in bf16: logits against float32, prompts at 16 x 4,096 and 1 x 65,536 tokens,
// decoding at batch 1 and 16, some RULER samples at 16,384 tokens; one JSON line a measurement on standard output.
// usage: node prompts.mjs HOME prepare FOLDER CASE      a random model as a folder of Transformers, for both sides
//        node prompts.mjs HOME measure FOLDER CASE [--platform cuda] [--parts prompts,decode,check,ruler] [--seconds N]
//             parts has profile, too: what a token takes on the host and on the device, where the plugin has a profiler
//             [--samples N --tasks all --batch N]      of RULER; all: the thirteen, with questions about made-up towns in place of SQuAD's
//             and HotpotQA's, which are no part of this package
// HOME holds the built package (dist/). No part begins after --seconds (default 100); a line says which are left out.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const [home, action, given, name] = [resolve(process.argv[2]), process.argv[3], process.argv[4], process.argv[5]];
const folder = resolve(given, name);
const load = (layer) => import(join(home, 'dist', layer, 'index.js'));
// One after another: Node 20 does not link overlapping dynamic imports reliably.
const { createXlaEngine } = await load('engine');
const { initialParameters, modelCost, resolveModelConfig } = await load('model');
const { byteTokenizer, exportHfModel } = await load('checkpoint');
const { openSources, prepareRuler, RULER_13, rulerTask } = await load('data');
const { Decoder, generate } = await load('generate');
const { openModel, rulerScores } = await load('lab');

const { values: flags } = parseArgs({
  args: process.argv.slice(6),
  options: {
    platform: { type: 'string', default: 'cuda' },
    precision: { type: 'string', default: 'bf16' },
    parts: { type: 'string', default: 'prompts,decode,check,ruler' },
    seconds: { type: 'string', default: '100' },
    samples: { type: 'string' },
    tasks: { type: 'string' },
    batch: { type: 'string' },
  },
});

const common = { vocabSize: 8192, tieEmbeddings: true, init: { scheme: 'normal', std: 0.02 } };
const large = {
  prompts: [
    [16, 4096],
    [1, 65_536],
  ],
  decode: [
    [1, 4096],
    [16, 4096],
  ],
  newTokens: 64,
  check: [700, 1024],
  ruler: { length: 16_384, samples: 16, tasks: ['niah_single_1', 'vt'], batch: 8 },
};
const little = {
  check: [70, 150],
  newTokens: 4,
  ruler: { length: 8192, samples: 2, tasks: ['niah_single_1'], batch: 2 },
};
const CASES = {
  // The study's fourth size: windows of 128 keys and full attention without positions.
  main: { model: { preset: 's4-swa-128-nope', ...common }, ...large },
  // What many folders of Transformers are: full attention, grouped queries, normed heads of 128 channels.
  qwen3: {
    model: {
      ...common,
      ...{ hiddenSize: 1024, numLayers: 12, layers: 'full', numHeads: 8, numKvHeads: 4, headDim: 128 },
      ...{ intermediateSize: 3072, qkNorm: 'head', ropeTheta: 1e6 },
    },
    ...large,
  },
  tiny: {
    model: {
      ...common,
      vocabSize: 512,
      hiddenSize: 64,
      numLayers: 2,
      layers: 'swa:16 full:nope',
      numHeads: 2,
      intermediateSize: 64,
    },
    ...little,
    prompts: [[2, 300]],
    decode: [[2, 40]],
  },
};
const shape = CASES[name];
const round = (x, digits = 3) => Number(x.toFixed(digits));
const emit = (line) => process.stdout.write(`${JSON.stringify({ system: 'longsight', case: name, ...line })}\n`);
const promptsOf = (batch, length, vocab) =>
  Array.from({ length: batch }, (_, b) => Int32Array.from({ length }, (__, i) => (i * 7919 + b * 104_729) % vocab));

if (action === 'prepare') await prepare();
else if (action === 'measure') await measure();
else throw new Error(`unknown action ${action}`);

async function prepare() {
  if (existsSync(folder)) return;
  const config = resolveModelConfig(shape.model);
  await exportHfModel(folder, config, initialParameters(config, 1));
}

async function measure() {
  const started = performance.now();
  const engine = createXlaEngine({ platform: flags.platform });
  const model = openModel(folder, { engine, precision: flags.precision });
  const parts = { check, prompts, decode, profile, ruler };
  try {
    for (const part of flags.parts.split(',')) {
      if ((performance.now() - started) / 1000 > Number(flags.seconds)) {
        emit({ part, left: `out: ${flags.seconds} s were over` });
        continue;
      }
      try {
        await parts[part](model, engine);
      } catch (error) {
        emit({ part, error: String(error.message).slice(0, 600) });
      }
    }
  } finally {
    await engine.dispose();
  }
}

function facts(engine) {
  const peakBytes = engine.memoryStats()?.peakBytesInUse ?? null;
  return { precision: flags.precision, device: engine.devices[0].kind, peakBytes };
}

/** Logits after prompts of different lengths in bf16 and in float32, and how many greedy tokens are the same. */
async function check(model, engine) {
  const { vocabSize } = model.config;
  const prompts = shape.check.map((length, b) => promptsOf(shape.check.length, length, vocabSize)[b]);
  const maxPrompt = Math.max(...shape.check);
  const exact = openModel(folder, { engine, precision: 'f32' });
  const found = {};
  for (const [key, one] of Object.entries({ bf16: model, f32: exact })) {
    const decoder = await Decoder.create(one, { batchSize: prompts.length, maxPrompt, maxNew: 16 });
    const logits = await (await decoder.read(prompts)).logits();
    const { rows } = await generate(decoder, prompts, { maxNew: 16 });
    found[key] = { logits, tokens: rows.flatMap((r) => [...r.tokens]) };
    await decoder.dispose();
  }
  const norm = (x) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
  const error = (a, b) => norm(a.map((v, i) => v - b[i])) / norm(b);
  const same = (a, b) => a.filter((t, i) => t === b[i]).length / a.length;
  emit({
    part: 'check',
    logitsError: error(found.bf16.logits, found.f32.logits),
    sameTokens: same(found.bf16.tokens, found.f32.tokens),
    ...facts(engine),
  });
}

async function prompts(model, engine) {
  const { vocabSize } = model.config;
  for (const [batchSize, length] of shape.prompts) {
    const begin = performance.now();
    const decoder = await Decoder.create(model, { batchSize, maxPrompt: length, maxNew: shape.newTokens + 1 });
    const given = promptsOf(batchSize, length, vocabSize);
    const read = async () => (await decoder.read(given)).best();
    await read();
    const compileSeconds = (performance.now() - begin) / 1000;
    const seconds = [];
    for (let i = 0; i < 4; i++) {
      const before = performance.now();
      await read();
      seconds.push((performance.now() - before) / 1000);
    }
    const best = Math.min(...seconds);
    emit({
      ...{
        part: 'prompts',
        batch: batchSize,
        tokens: length,
        promptTokensPerSecond: Math.round((batchSize * length) / best),
      },
      ...{ allMs: seconds.map((s) => round(1000 * s)), firstReadSeconds: round(compileSeconds, 1) },
      flopsPerSecond: Math.round((batchSize * length * modelCost(model.config, length).forwardFlops) / best),
      ...facts(engine),
    });
    await decoder.dispose();
  }
}

async function decode(model, engine) {
  const { vocabSize } = model.config;
  for (const [batchSize, length] of shape.decode) {
    const maxNew = shape.newTokens + 1;
    const decoder = await Decoder.create(model, { batchSize, maxPrompt: length, maxNew });
    const given = promptsOf(batchSize, length, vocabSize);
    await generate(decoder, given, { maxNew: 4 });
    const runs = [];
    for (let i = 0; i < 3; i++) runs.push(await generate(decoder, given, { maxNew }));
    const best = Math.min(...runs.map((r) => r.seconds.generate));
    emit({
      ...{
        part: 'decode',
        batch: batchSize,
        tokens: length,
        newTokensPerSecond: Math.round((batchSize * shape.newTokens) / best),
      },
      ...{ msPerToken: round((1000 * best) / shape.newTokens), cacheBytes: decoder.stateBytes },
      ...facts(engine),
    });
    await decoder.dispose();
  }
}

/**
 * Milliseconds of a token of one sequence: given to the device, one after another, and until the last is there (`ahead`); each
 * waited for before the next (`waiting`); the device at work on it (`busy`).
 */
async function profile(model, engine) {
  const [batchSize, length] = shape.decode[0];
  const steps = 60;
  const decoder = await Decoder.create(model, { batchSize, maxPrompt: length, maxNew: 4 * steps });
  let next = await decoder.read(promptsOf(batchSize, length, model.config.vocabSize));
  const ahead = async (count) => {
    const before = performance.now();
    for (let i = 0; i < count; i++) next = await decoder.step(next);
    const given = performance.now() - before;
    await next.best();
    return { dispatchMs: round(given / count), aheadMs: round((performance.now() - before) / count) };
  };
  await ahead(20);
  const timed = await ahead(steps);
  const before = performance.now();
  for (let i = 0; i < steps; i++) next = await decoder.step(await next.best());
  await next.best();
  const waitingMs = round((performance.now() - before) / steps);
  const recording = engine.profile();
  await ahead(20);
  const spans = recording.stop();
  const busyMs = round(spans.reduce((sum, s) => sum + s.end - s.start, 0) / 20e6);
  const flags = process.env.XLA_FLAGS ?? '';
  emit({
    ...{ part: 'profile', batch: batchSize, tokens: length, flags, ...timed, waitingMs },
    ...{ spansPerToken: Math.round(spans.length / 20), busyMs },
    ...facts(engine),
  });
  await decoder.dispose();
}

/** Files in the formats of SQuAD and HotpotQA, of about as many words a passage, on the trades of made-up towns. */
function questionFiles(place) {
  const trades = ['salt', 'rope', 'glass', 'wool', 'tin', 'cheese', 'paper', 'boats'];
  const passage = (i, j) =>
    Array.from(
      { length: 12 },
      (_, k) => `In year ${1300 + 7 * k + j} town ${i} sold ${trades[(i + j + k) % 8]} to town ${i + k}.`,
    );
  const range = (n) => Array.from({ length: n }, (_, i) => i);
  const paragraphs = (i) =>
    range(4).map((j) => {
      const question = `What did town ${i} sell in year ${1300 + j}?`;
      return { context: passage(i, j).join(' '), qas: [{ question, answers: [{ text: trades[(i + j) % 8] }] }] };
    });
  const squad = { data: range(200).map((i) => ({ paragraphs: paragraphs(i) })) };
  const hotpot = range(200).map((i) => ({
    ...{ question: `What did town ${i} sell in year 1300?`, answer: trades[i % 8] },
    context: range(4).map((j) => [`Town ${i}, book ${j}`, passage(i, j)]),
  }));
  const paths = { squad: join(place, 'squad.json'), hotpot: join(place, 'hotpot.json') };
  writeFileSync(paths.squad, JSON.stringify(squad));
  writeFileSync(paths.hotpot, JSON.stringify(hotpot));
  return paths;
}

/** Seconds for RULER samples; a random model seldom ends an answer before its full length. */
async function ruler(model, engine) {
  const { length } = shape.ruler;
  const [samples, batch] = ['samples', 'batch'].map((of) => Number(flags[of] ?? shape.ruler[of]));
  const tasks = flags.tasks === 'all' ? RULER_13 : (flags.tasks?.split(',') ?? shape.ruler.tasks);
  const tokenizer = byteTokenizer();
  const place = mkdtempSync(join(tmpdir(), 'longsight-ruler-'));
  const options = { seed: 42, corpus: 'moby-dick', tokenizer, folder: place, ...questionFiles(place) };
  const sources = openSources(options);
  const fileOf = (task, count, as = task) => {
    const { answerTokens, scoring } = rulerTask(task);
    const { path } = prepareRuler({ task, length, samples: count }, options, sources);
    return { task: as, length, path, answerTokens, scoring };
  };
  const began = performance.now();
  // The first file compiles.
  const files = [fileOf(tasks[0], 1, 'warm'), ...tasks.map((task) => fileOf(task, samples))];
  const { config, tensors, source } = model;
  const of = { engine: model.engine, config, tensors, source, tokenizer, stopTokens: new Set() };
  let before = performance.now();
  emit({ part: 'ruler samples', tasks: files.length - 1, samples, seconds: round((before - began) / 1000, 2) });
  try {
    const scores = rulerScores(of, files, {
      ...{ length, truncate: false, batchTokens: batch * length, signal: new AbortController().signal },
      predictions: ({ task }) => join(place, `${task}-answers.jsonl`),
      onProgress: () => {},
    });
    for await (const { file, score } of scores) {
      const seconds = (performance.now() - before) / 1000;
      before = performance.now();
      emit({
        ...{ part: 'ruler', task: file.task, tokens: length, samples: score.samples, batch },
        ...{ answerTokens: file.answerTokens, seconds: round(seconds, 2) },
        secondsOf100: round((100 * seconds) / score.samples, 1),
        ...facts(engine),
      });
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
