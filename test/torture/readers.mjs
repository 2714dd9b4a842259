/** The readers of files that are given mutated ones: by kind the file, its format, and what reads it. Built code, not sources. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parsePromptRows, readScalingTable } from '../../dist/analysis/index.js';
import {
  endTokens,
  inspectHfConfig,
  openHfModel,
  openTokenizer,
  readSafetensors,
} from '../../dist/checkpoint/index.js';
import { csvText, parseCsv, readJson } from '../../dist/core/index.js';
import {
  readHotpot,
  readManifest,
  readRulerFile,
  readSquad,
  textRows,
  TextCorpus,
  TokenShards,
} from '../../dist/data/index.js';
import { openParquet } from '../../dist/data/parquet.js';
import { PredictionFile, readChoiceFile } from '../../dist/eval/index.js';
import { readConfigJson } from '../../dist/checkpoint/hf/registry.js';
import { checkRun, loadRunFile, readConversations } from '../../dist/lab/index.js';
import { modelCost } from '../../dist/model/index.js';
import { openCheckpoint, readMetrics, readStatus } from '../../dist/run/index.js';
import { loadStudy, readPlan, readRun } from '../../dist/study/index.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DATA = join(ROOT, 'test', 'data');
const lines = (rows) => rows.map((row) => JSON.stringify(row)).join('\n') + '\n';

const RUN = {
  model: {
    hiddenSize: 16,
    numLayers: 2,
    numHeads: 2,
    layers: 'swa:8 full',
    block: { norm: 'pre' },
    mamba2: { headDim: 8 },
  },
  data: [{ kind: 'recall', weight: 1, numKeys: 8 }],
  train: { seqLen: 64, batchSize: 4, steps: 3, lr: 0.001, stages: [{ from: 2, seqLen: 32 }] },
  eval: { batches: 1, recall: { batches: 1 }, trace: false },
};
const STUDY = {
  name: 's',
  base: RUN,
  architectures: { full: 'full', small: { layers: '2*swa:4 full', hiddenSize: 32, numLayers: 3 } },
  seeds: [1, 2],
  grid: { 'train.lr': [0.1, 0.2] },
  long: { set: { 'train.steps': 9 }, seeds: [3] },
  compare: { pairs: [['full', 'small']] },
};
const SQUAD = { data: [{ paragraphs: [{ context: 'c', qas: [{ question: 'q', answers: [{ text: 'c' }] }] }] }] };
const HOTPOT = [{ question: 'q', answer: 'a', context: [['t', ['s', 'u']]] }];
const RULER = [
  { index: 0, input: 'a b', outputs: ['c'], length: 3, answer_prefix: ' d' },
  { input: 'x', outputs: 'y' },
];
const PREDICTIONS = [{ index: 0, pred: 'a', outputs: ['b'], length: 3, truncation: false }];

const models = readdirSync(join(DATA, 'hf'));
const modelFolders = ['bamba', 'gemma3', 'llama-llama3', 'mamba2', 'minimax', 'qwen3-next', 'olmo3-yarn'];

/** A file of a folder that is copied and of which one file is mutated. */
const within = (source, file, format, read) => ({ source, file, format, read });
const alone = (file, format, content, read) => ({ content, file, format, read });

/** Opens a model and reads every tensor of it. */
const openModel = (path) => openHfModel(dirname(path)).parameters();
function tokenize(path) {
  const tokenizer = openTokenizer(dirname(path));
  const ids = tokenizer.encode('The  cat\u00e9 sat, 12 times.\n\n<s>', { special: true });
  tokenizer.decode(ids);
}
function cost(path) {
  const { config } = inspectHfConfig(readConfigJson(path), path);
  modelCost(config, 64);
}
async function readParquet(path, field = 'text') {
  const file = await openParquet(path, field);
  for (let i = 0; i < Math.min(5, file.groups.length); i++) await file.read(i, 'refuse');
}

/** Every kind of file by its name; `inputs` holds a run and token shards. */
export function readersOf(inputs) {
  const run = join(inputs, 'run');
  const [step = ''] = readdirSync(join(run, 'checkpoints')).slice(-1);
  const ofRun = (file, format, read) =>
    within(run, file, format, (path) => read(path, path.slice(0, -file.length - 1)));
  return {
    run: alone('run.yaml', 'yaml', JSON.stringify(RUN), (path) => checkRun(loadRunFile(path))),
    study: alone('study.yaml', 'yaml', JSON.stringify(STUDY), (path) => loadStudy(path, { long: true })),
    ...Object.fromEntries(
      models.map((name) => [`hf ${name}`, within(join(DATA, 'hf', name), 'config.json', 'json', cost)]),
    ),
    ...Object.fromEntries(
      modelFolders.map((name) => [`model ${name}`, within(join(DATA, 'hf', name), 'config.json', 'json', openModel)]),
    ),
    weights: within(join(DATA, 'hf', 'qwen2'), 'model.safetensors', 'safetensors', (path) => {
      readSafetensors(path);
      openModel(path);
    }),
    shards: within(join(DATA, 'hf', 'llama-shards-bf16'), 'model.safetensors.index.json', 'json', openModel),
    tokenizer: within(join(DATA, 'tokenizer'), 'tokenizer.json', 'json', tokenize),
    'tokenizer settings': within(join(DATA, 'tokenizer'), 'tokenizer_config.json', 'json', tokenize),
    'tokenizer of words': within(join(DATA, 'retrieval-heads'), 'tokenizer.json', 'json', tokenize),
    ends: alone('generation_config.json', 'json', '{"eos_token_id":[1,2]}', (path) => endTokens(dirname(path))),
    choices: within(join(DATA, 'choice'), 'questions.jsonl', 'lines', readChoiceFile),
    ruler: alone('ruler.jsonl', 'lines', lines(RULER), readRulerFile),
    predictions: alone('p.jsonl', 'lines', lines(PREDICTIONS), (path) => new PredictionFile(path)),
    prompts: alone('prompts.jsonl', 'lines', lines(RULER), (path) => parsePromptRows(readFileSync(path, 'utf8'), path)),
    texts: alone('texts.jsonl', 'lines', lines([{ text: 'a' }, { prompt: 'b', answer: 'c' }]), (path) =>
      textRows(readFileSync(path, 'utf8'), path),
    ),
    conversations: alone('c.jsonl', 'lines', lines([{ messages: [{ role: 'user', content: 'a' }] }]), (path) =>
      readConversations(path, undefined),
    ),
    documents: alone('docs.jsonl', 'lines', lines([{ text: 'a'.repeat(50) }, { text: 'b', id: 1 }]), (path) =>
      new TextCorpus([path], 0)[Symbol.dispose]?.(),
    ),
    squad: alone('squad.json', 'json', JSON.stringify(SQUAD), readSquad),
    hotpot: alone('hotpot.json', 'json', JSON.stringify(HOTPOT), readHotpot),
    parquet: within(join(DATA, 'parquet'), 'plain-valid.parquet', 'bytes', (path) => readParquet(path)),
    'packed parquet': within(join(DATA, 'parquet'), 'zstd.parquet', 'bytes', (path) => readParquet(path, 'content')),
    table: within(join(DATA, 'scaling'), 'swa128_longppl.tsv', 'text', readScalingTable),
    csv: alone(
      'a.csv',
      'text',
      csvText(
        ['model_size', 'n'],
        [
          ['a,"b"', 1],
          ['c\nd', 2.5],
        ],
      ),
      (path) => parseCsv(readFileSync(path, 'utf8'), path),
    ),
    'run config': ofRun('config.json', 'json', (_, dir) => readRun(dir)),
    status: ofRun('status.json', 'json', (_, dir) => readStatus(dir)),
    metrics: ofRun('metrics.jsonl', 'lines', (path) => readMetrics(path)),
    state: ofRun(join('checkpoints', step, 'state.json'), 'json', (path) => openCheckpoint(dirname(path))),
    optimizer: ofRun(join('checkpoints', step, 'optimizer.safetensors'), 'safetensors', (path) =>
      openCheckpoint(dirname(path)).optimizer(),
    ),
    plan: within(join(inputs, 'study'), 'study.json', 'json', (path) => readPlan(dirname(path))),
    manifest: within(join(inputs, 'shards'), 'manifest.json', 'json', (path) => {
      readManifest(dirname(path));
      new TokenShards(dirname(path));
    }),
    json: alone('any.json', 'json', JSON.stringify(STUDY), (path) => readJson(path)),
  };
}

/** Puts the files of a kind into a folder; gives the path of the one that is mutated, and its content. */
export function place({ source, file, content }, folder) {
  if (source !== undefined) cpSync(source, folder, { recursive: true });
  const path = join(folder, file);
  if (content !== undefined) writeFileSync(path, content);
  return { path, bytes: readFileSync(path) };
}
