// node bench/generate.mjs [--python PATH --rounds N --reads N --prompt N --new N --threads N --out FILE]   (after npm run build)
//
// Reading a prompt and greedy decoding with caches, of the study's smallest size (15 M without embeddings), next to
// `generate` of Transformers on an equal Llama (full attention) and an equal SmolLM3 (windows of 128, full layers without
// positions), float32, same cores, in turns. Each process reads the prompt several times and counts the best; the ratio is the
// median over the rounds. `cpuPerToken` is the processor time of all threads, which tells programs apart on a shared machine too.
// Weights are random: speed does not depend on them. A table first; the last line is JSON.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    python: { type: 'string', default: process.env.LONGSIGHT_BENCH_PYTHON ?? 'python3' },
    rounds: { type: 'string', default: '3' },
    reads: { type: 'string', default: '5' },
    design: { type: 'string' },
    prompt: { type: 'string', default: '1024' },
    new: { type: 'string', default: '128' },
    batch: { type: 'string', default: '1,8' },
    threads: { type: 'string', default: String(availableParallelism()) },
    own: { type: 'string' },
    out: { type: 'string' },
  },
});
const VOCAB = 8192;
const DESIGNS = { full: 's1-full', 'swa:128 full:nope': 's1-swa-128-nope' };
const { prompt, threads } = flags;

/** One measurement of ours, in a process of its own. */
async function own(design, batchSize) {
  const { createOnnxEngine } = await import('../dist/engine/index.js');
  const { initialParameters, modelCost, resolveModelConfig } = await import('../dist/model/index.js');
  const { Decoder, generate } = await import('../dist/generate/index.js');
  const { loadModel } = await import('../dist/loaded/index.js');
  const model = resolveModelConfig({ preset: DESIGNS[design], vocabSize: VOCAB });
  const engine = createOnnxEngine({ threads: Number(threads) });
  const [maxPrompt, maxNew] = [Number(prompt), Number(flags.new)];
  const decoder = await Decoder.create(loadModel(engine, model, initialParameters(model, 0)), {
    batchSize,
    maxPrompt,
    maxNew,
  });
  const prompts = Array.from({ length: batchSize }, (_, b) =>
    Int32Array.from({ length: maxPrompt }, (_, i) => (i * 7919 + b * 104729) % VOCAB),
  );
  await generate(decoder, prompts, { maxNew: Math.min(8, maxNew) });
  const reads = [];
  for (let i = 0; i < Number(flags.reads); i++) {
    const before = process.cpuUsage();
    const { seconds } = await generate(decoder, prompts, { maxNew: 1 });
    const { user, system } = process.cpuUsage(before);
    reads.push({ wall: seconds.read, cpu: user + system });
  }
  const { seconds, steps } = await generate(decoder, prompts, { maxNew });
  const least = (of) => Math.min(...reads.map(of));
  return {
    parameters: modelCost(model, maxPrompt).parameters.nonEmbedding,
    readPerSecond: (maxPrompt * batchSize) / least((r) => r.wall),
    cpuPerToken: least((r) => r.cpu) / (maxPrompt * batchSize),
    // The first token comes with the prompt.
    newPerSecond: ((steps - 1) * batchSize) / seconds.generate,
    library: engine.info.library,
  };
}

if (flags.own !== undefined) {
  console.log(JSON.stringify(await own(flags.own, Number(flags.batch))));
  process.exit(0);
}

function lastJson(command, args) {
  const env = { ...process.env, OMP_NUM_THREADS: threads, MKL_NUM_THREADS: threads };
  const run = spawnSync(command, args, { encoding: 'utf8', env });
  if (run.status !== 0) throw new Error(`${command} ${args.join(' ')} ended with code ${run.status}:\n${run.stderr}`);
  return JSON.parse(run.stdout.trim().split('\n').at(-1));
}

const here = dirname(fileURLToPath(import.meta.url));
const common = ['--prompt', prompt, '--new', flags.new, '--threads', threads, '--reads', flags.reads];
const programs = {
  longsight: (design, batch) =>
    lastJson(process.execPath, [join(here, 'generate.mjs'), '--own', design, '--batch', batch, ...common]),
  transformers: (design, batch) =>
    lastJson(flags.python, [
      ...[join(here, 'peers', 'transformers_generate.py'), '--design', design, '--batch', batch],
      ...['--vocab', String(VOCAB), ...common],
    ]),
};
if (spawnSync(flags.python, ['-c', 'import torch, transformers']).status !== 0) {
  delete programs.transformers;
  console.log(
    `transformers is left out: ${flags.python} has no torch with transformers (--python PATH names one that has)`,
  );
}
const designs = flags.design === undefined ? Object.keys(DESIGNS) : [flags.design];
const cases = designs.flatMap((design) => flags.batch.split(',').map((batch) => ({ design, batch })));
const rounds = Array.from({ length: Number(flags.rounds) }, () =>
  cases.map(({ design, batch }) =>
    Object.fromEntries(Object.entries(programs).map(([name, measure]) => [name, measure(design, batch)])),
  ),
);
const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
};
const results = cases.flatMap(({ design, batch }, at) =>
  Object.keys(programs).map((program) => {
    const own = rounds.map((round) => round[at][program]);
    const ratio = (field) => rounds.map((round) => round[at].longsight[field] / round[at][program][field]);
    const shown = (values) => Number(median(values).toFixed(2));
    const { parameters, library } = own[0];
    return {
      ...{ design, batch: Number(batch), program },
      readPerSecond: Math.round(Math.max(...own.map((r) => r.readPerSecond))),
      newPerSecond: Math.round(Math.max(...own.map((r) => r.newPerSecond))),
      readRatio: shown(ratio('readPerSecond')),
      readRatios: ratio('readPerSecond').map((r) => Number(r.toFixed(2))),
      newRatio: shown(ratio('newPerSecond')),
      cpuPerToken: Math.round(Math.min(...own.map((r) => r.cpuPerToken))),
      ...{ parameters, library },
    };
  }),
);
console.log(
  `prompt ${prompt}, ${flags.new} new tokens, ${threads} threads; best of ${flags.rounds} rounds, ratios are medians`,
);
console.log('design             batch  program       prompt tokens/s  CPU us/token  new tokens/s  longsight is');
for (const r of results) {
  console.log(
    `${r.design.padEnd(18)} ${String(r.batch).padStart(5)}  ${r.program.padEnd(13)} ` +
      `${String(r.readPerSecond).padStart(15)} ${String(r.cpuPerToken).padStart(13)} ` +
      `${String(r.newPerSecond).padStart(13)}  ${r.readRatio} x, ${r.newRatio} x`,
  );
}
const report = {
  date: new Date().toISOString().slice(0, 10),
  hardware: { processor: cpus()[0]?.model.trim(), cores: availableParallelism() },
  ...{ prompt: Number(prompt), new: Number(flags.new), threads: Number(threads), results },
};
if (flags.out) {
  mkdirSync(dirname(flags.out), { recursive: true });
  writeFileSync(flags.out, `${JSON.stringify(report, null, 2)}\n`);
}
console.log(JSON.stringify(report));
