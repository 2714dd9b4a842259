/** Commands that write, each small: what they are given, how they are begun and begun again, and what they must leave in the end. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { expect } from 'vitest';
import { run, type Ending, type RunOptions } from './support.js';

/** A command under torture. */
interface Job {
  /** Folder and files below which everything is written; one for every trial. */
  readonly root: string;
  /** The command line that begins or goes on; `resume`: with --resume, where there is such an option. */
  args(resume: boolean): readonly string[];
  /** Whether all is there, so that the command would refuse to make it again. */
  done?(): boolean;
}

/** Makes the job of a trial in a fresh folder. */
export type JobMaker = (folder: string) => Job;

const MODEL = { hiddenSize: 8, layers: 'swa:4 full', numHeads: 2, intermediateSize: 16 };
const RECALL = { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 };
const TRAIN = {
  seqLen: 16,
  batchSize: 4,
  steps: 12,
  lr: 0.01,
  warmupSteps: 2,
  logEvery: 2,
  evalEvery: 4,
  checkpointEvery: 4,
};
const EVAL = { batches: 1, trace: { samples: 2 } };
const BASE = { engine: 'reference', model: { ...MODEL, vocabSize: 12 }, data: RECALL, train: TRAIN, eval: EVAL };
const DOCUMENTS = Array.from(
  { length: 40 },
  (_, i) => `Document ${i} says that ${i % 7} and ${i % 5} are ${(i * 13) % 97}.`,
);

/** Makes what the jobs read, once for all trials. */
export async function prepareInputs(inputs: string): Promise<void> {
  mkdirSync(inputs, { recursive: true });
  const write = (name: string, text: string) => writeFileSync(join(inputs, name), text);
  write('texts.jsonl', DOCUMENTS.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  write('recall.yaml', JSON.stringify({ ...BASE }));
  write('accumulation.yaml', JSON.stringify({ ...BASE, train: { ...TRAIN, accumulate: 2 } }));
  const stages = [{ from: 6, seqLen: 24, batchSize: 2 }];
  write('stages.yaml', JSON.stringify({ ...BASE, train: { ...TRAIN, stages } }));
  const shards = { kind: 'shards', path: join(inputs, 'shards') };
  const bytes = {
    ...BASE,
    model: { ...MODEL, vocabSize: 257 },
    data: shards,
    eval: { ...EVAL, needle: false, trace: false },
  };
  write('shards.yaml', JSON.stringify(bytes));
  await ok(prepareArgs(inputs, join(inputs, 'shards'), 1));
  const study = { name: 'study', base: BASE, architectures: { near: 'swa:4 full', full: 'full' }, seeds: [1] };
  write('study.yaml', JSON.stringify(study));
  const lines = Array.from({ length: 80_000 }, (_, i) =>
    JSON.stringify({ text: `line ${i} of ${(i * 7919) % 100_003}` }),
  );
  write('lines.jsonl', `${lines.join('\n')}\n`);
  const asked = Array.from({ length: 6 }, (_, i) => JSON.stringify({ input: `What is ${i}?`, outputs: [String(i)] }));
  write('asked.jsonl', `${asked.join('\n')}\n`);
  await ok(['train', join(inputs, 'shards.yaml'), '--out', join(inputs, 'model')]);
}

const ANALYSES = 'attention-distance,drift';

const prepareArgs = (inputs: string, out: string, workers: number, file = 'texts.jsonl') => [
  ...['data', 'prepare', join(inputs, file), '--out', out, '--held-out', '0.2'],
  ...['--tokenizer', 'bytes', '--chunk-mb', '1', '--workers', String(workers)],
];

async function ok(args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(args);
  expect(code, `${args.join(' ')}: ${stderr}`).toBe(0);
}

function trainJob(inputs: string, kind: string): JobMaker {
  return (folder) => {
    const root = join(folder, 'run');
    return {
      root,
      args: (resume) => {
        const goesOn = existsSync(join(root, 'config.json')) || (resume && existsSync(root));
        return ['train', join(inputs, `${kind}.yaml`), '--out', root, ...(goesOn ? ['--resume'] : [])];
      },
    };
  };
}

/** Jobs that a tenth of the trials leaves out. */
export const ONLY_FULL: readonly string[] = ['accumulation', 'stages', 'shards'];

/** Begins a job again, unless all is there. */
export async function again(job: Job, resume: boolean, how: RunOptions = {}): Promise<Ending> {
  if (job.done?.() === true) return { code: 0, signal: null, stdout: '', stderr: 'all was there' };
  return run(job.args(resume), how);
}

/** Every job. */
export function jobMakers(inputs: string): Readonly<Record<string, JobMaker>> {
  return {
    recall: trainJob(inputs, 'recall'),
    accumulation: trainJob(inputs, 'accumulation'),
    stages: trainJob(inputs, 'stages'),
    shards: trainJob(inputs, 'shards'),
    study: (folder) => {
      const root = join(folder, 'study');
      return { root, args: () => ['study', join(inputs, 'study.yaml'), '--out', root, '--workers', '2'] };
    },
    prepare: (folder) => {
      const root = join(folder, 'shards');
      return { root, args: () => prepareArgs(inputs, root, 2, 'lines.jsonl') };
    },
    tokenizer: (folder) => {
      const root = join(folder, 'tokenizer');
      const args = ['tokenizer', 'train', join(inputs, 'texts.jsonl'), '--vocab-size', '300', '--out', root];
      return { root, args: () => args, done: () => existsSync(join(root, 'tokenizer.json')) };
    },
    export: (folder) => {
      const root = join(folder, 'exports');
      const out = join(root, 'model');
      return { root, args: () => ['export', join(inputs, 'model'), out], done: () => existsSync(out) };
    },
    ruler: (folder) => {
      const root = join(folder, 'answers');
      const args = ['ruler', 'run', join(inputs, 'model'), '--data', join(inputs, 'asked.jsonl'), '--out', root];
      return {
        root,
        args: () => [...args, '--max-tokens', '2', '--lengths', '16', '--batch-tokens', '16', '--engine', 'reference'],
      };
    },
    analyze: (folder) => {
      const root = join(folder, 'run');
      mkdirSync(folder, { recursive: true });
      cpSync(join(inputs, 'model'), root, { recursive: true });
      return { root, args: () => ['analyze', root, '--only', ANALYSES, '--engine', 'reference'] };
    },
  };
}

/** Fields that say when and how fast, not what. */
const OF_TIME = new Set([
  'time',
  'train/tok_per_sec',
  'startedAt',
  'resumes',
  'timing',
  'ran',
  'seconds',
  'tokPerSec',
  'minutes',
]);

const withoutTime = (text: string): unknown =>
  JSON.parse(text, (key, value: unknown) => (OF_TIME.has(key) ? undefined : value)) as unknown;

/** What a folder holds, by path: bytes, or the values of JSON but for times. Reports are left out: they tell times. */
export function contentsOf(root: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const visit = (folder: string): void => {
    for (const name of readdirSync(folder).sort()) {
      const path = join(folder, name);
      if (name.endsWith('.lock')) continue; // how many held it is no result
      if (statSync(path).isDirectory()) visit(path);
      else found[relative(root, path)] = contentOf(path);
    }
  };
  visit(root);
  return found;
}

function contentOf(path: string): unknown {
  const name = basename(path);
  if (name.startsWith('report.')) return 'a report';
  if (name.endsWith('.log')) return 'a log'; // of a study's workers: it keeps what went wrong before
  if (name.endsWith('.jsonl')) return readFileSync(path, 'utf8').trimEnd().split('\n').map(withoutTime);
  if (name.endsWith('.json')) return withoutTime(readFileSync(path, 'utf8'));
  return readFileSync(path).toString('base64');
}
