/** Commands that write, each small: what they are given, how they are begun and begun again, and what they must leave in the end. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { expect } from 'vitest';
import { run } from './support.js';

/** A command under torture. */
interface Job {
  readonly name: string;
  /** Folder and files below which everything is written; one for every trial. */
  readonly root: string;
  /** The command line that begins or goes on; `resume`: with --resume, where there is such an option. */
  args(resume: boolean): readonly string[];
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
}

const prepareArgs = (inputs: string, out: string, workers: number) => [
  ...['data', 'prepare', join(inputs, 'texts.jsonl'), '--out', out, '--held-out', '0.2'],
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
      ...{ name: `train ${kind}`, root },
      args: (resume) => {
        const goesOn = existsSync(join(root, 'config.json')) || (resume && existsSync(root));
        return ['train', join(inputs, `${kind}.yaml`), '--out', root, ...(goesOn ? ['--resume'] : [])];
      },
    };
  };
}

/** Every job. */
export function jobMakers(inputs: string): Readonly<Record<string, JobMaker>> {
  return {
    recall: trainJob(inputs, 'recall'),
    accumulation: trainJob(inputs, 'accumulation'),
    stages: trainJob(inputs, 'stages'),
    shards: trainJob(inputs, 'shards'),
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
  if (name.endsWith('.jsonl')) return readFileSync(path, 'utf8').trimEnd().split('\n').map(withoutTime);
  if (name.endsWith('.json')) return withoutTime(readFileSync(path, 'utf8'));
  return readFileSync(path).toString('base64');
}
