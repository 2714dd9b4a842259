/**
 * docs/formats.md and docs/measures.md are true: whole runs write no field and no file that is not described, of the types that are
 * described, and everything that is described is written by one of them, or stands in a list with the reason why it is not.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { FOLDERS } from '../../src/cli/formats-docs.js';
import { describeKeys } from '../../src/cli/terminal/schema-help.js';
import { ANALYSES, MEASURES } from '../../src/lab/index.js';
import { TRAINING_METRICS } from '../../src/train/index.js';
import { tarOf } from '../support/archives.js';
import { cli } from '../support/cli.js';

/** Fields that none of the runs here writes. */
const NOT_HERE: Readonly<Record<string, string>> = {
  'config.json: engine.mesh': 'needs several devices',
  'config.json: resumes[].engine.mesh': 'needs several devices',
  'config.json: place': 'a study gives runs places',
  'config.json: resumes[].place': 'a study gives runs places',
  'config.json: resumes[].from': 'a run of a study takes over the beginning of another',
  'config.json: reused': 'a study takes the run over from another',
  'config.json: reused.study': 'a study takes the run over from another',
  'config.json: reused.run': 'a study takes the run over from another',
  'plan.json: files[].url': 'needs a server',
};

/** Files that none of them leaves. */
const NO_FILE: Readonly<Record<string, string>> = {
  'branches/step-N/': 'there while other runs of a study wait for it',
  'runs/NAME/': 'a planned study has trained none',
  'logs/NAME.log': 'a planned study has trained none',
  'workers/NAME.json': 'there while a worker works',
  'slurm/N/submission.json': 'needs Slurm',
  'RUN/events.out.tfevents.SECONDS.longsight': 'of the formats of an export one is written here',
  'longsight heads --json': 'is printed',
  'tokenizer.json, tokenizer_config.json': 'shards of bytes have none',
  'special_tokens_map.json, added_tokens.json, chat_template.jinja, chat_template.json':
    'a tokenizer for bytes has none',
  '.fetch/': 'there until a corpus is made',
};

const RECALL = { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 };
const MODEL = { vocabSize: 12, hiddenSize: 16, numHeads: 2, intermediateSize: 16 };
const EXPERTS = { count: 4, perToken: 2, intermediateSize: 6 };
const TRAIN = {
  seqLen: 32,
  batchSize: 2,
  steps: 2,
  logEvery: 1,
  evalEvery: 1,
  checkpointEvery: 2,
  schedule: 'constant',
};
const NEEDLES = { needle: { samples: 1, depths: [0, 1] }, trace: { samples: 2 } };

const ROOT = mkdtempSync(join(tmpdir(), 'longsight-formats-'));
const at = (...path: string[]) => join(ROOT, ...path);

async function run(...args: string[]): Promise<void> {
  const { code, stderr } = await cli(args);
  expect(code, stderr).toBe(0);
}

async function train(name: string, file: object): Promise<void> {
  writeFileSync(at(`${name}.yaml`), JSON.stringify(file));
  await run('train', at(`${name}.yaml`), '--out', at(name), '--threads', '1', '--engine', 'onnx', '--quiet');
}

/** What analyses find in the runs: all of recall, of text what needs text. */
async function analyses(): Promise<void> {
  const quick = ['--threads', '1', '--quiet'];
  await run('analyze', at('recall'), '--only', 'entropy,drift,influence,attention-distance', ...quick);
  await run('probe', at('recall'), '--samples', '40', ...quick);
  await run('mask', at('recall'), '--samples', '8', '--draws', '2', ...quick);
  await run('length', at('text'), '--lengths', '64', '--samples', '2', ...quick);
  await run('constrain', at('text'), '--keys', '16', '--samples', '2', ...quick);
  writeFileSync(at('long.txt'), 'ab '.repeat(20));
  await run('longppl', at('text'), '--texts', at('long.txt'), '--trunc', '8', '--stride', '4', ...quick);
  await run('place', at('healed'), '--full', '1', '--keys', '4', ...quick);
}

/** The folders that were written, by the folder of the page that they are one of. */
const WRITTEN: readonly (readonly [keyof typeof FOLDERS, string])[] = [
  ['run', 'recall'],
  ['run', 'healed'],
  ['run', 'text'],
  ['run', 'diverged'],
  ['study', 'study'],
  ['report', 'recall'],
  ['report', 'healed'],
  ['report', 'text'],
  ['logs', 'logs'],
  ['shards', 'shards'],
  ['export', 'exported'],
  ['corpus', 'corpus'],
];

beforeAll(async () => {
  const layers = 'swa:4~8 full:nope';
  await train('recall', { model: { ...MODEL, layers, experts: EXPERTS }, data: RECALL, train: TRAIN, eval: NEEDLES });
  await run('train', at('recall'), '--resume', '--set', 'train.steps=4', '--threads', '1', '--quiet');
  await run('log', 'export', at('recall'), '--to', 'csv', '--out', at('logs'), '--quiet');
  const init = { train: { ...TRAIN, init: at('recall'), optimizer: 'muon' } };
  await train('healed', {
    model: { layers: 'full full:nope', sinks: true },
    data: RECALL,
    eval: { trace: false },
    ...init,
  });
  const { code } = await cli([
    'train',
    at('recall.yaml'),
    '--out',
    at('diverged'),
    '--set',
    'model.experts=null',
    '--set',
    'train.lr=1e30',
    '--set',
    'train.steps=9',
  ]);
  expect(code).not.toBe(0);
  mkdirSync(at('texts'));
  // A passage of 100 bytes that comes back behind another byte each time: hits at long range, at its start and inside.
  const passage = Array.from({ length: 25 }, (_, i) => `${String.fromCharCode(97 + i)}${i + 10}.`).join('');
  for (const name of ['a', 'b', 'c', 'd'])
    writeFileSync(at('texts', `${name}.txt`), Array.from({ length: 12 }, (_, i) => `${i % 10}${passage}`).join(name));
  await run(
    'data',
    'prepare',
    at('texts', '*.txt'),
    '--tokenizer',
    'bytes',
    '--held-out',
    '0.5',
    '--out',
    at('shards'),
    '--quiet',
  );
  await train('text', {
    model: { ...MODEL, vocabSize: 257, layers: 'full' },
    data: { kind: 'shards', path: at('shards') },
    train: { ...TRAIN, seqLen: 128 },
    eval: { batches: 1, ar: { maxCount: 1000 }, needle: false, trace: false },
  });
  await analyses();
  await run('export', at('text'), at('exported'), '--shard-size', '4000', '--quiet');
  writeFileSync(at('linux.tar'), await tarOf({ 'linux/kernel/a.c': 'int one;\n'.repeat(1200) }));
  await run(
    'data',
    'fetch',
    'linux-6.12',
    '--from',
    at('linux.tar'),
    '--any-version',
    '--out',
    at('corpus'),
    '--quiet',
  );
  writeFileSync(
    at('study.yaml'),
    JSON.stringify({
      name: 's',
      title: 'S',
      base: { model: MODEL, data: RECALL, train: TRAIN },
      architectures: { full: 'full' },
      seeds: [1],
    }),
  );
  await run('study', 'plan', at('study.yaml'), '--out', at('study'), '--quiet');
});

afterAll(() => rmSync(ROOT, { recursive: true, force: true }));

const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .split(sep)
        .join('/'),
    );

/** Whether a file is one that a path of the page stands for. */
function fits(file: string, paths: string): boolean {
  return paths.split(', ').some((path) => {
    const pattern = path
      .replace(/[.]/g, '\\.')
      .replace(/FINGERPRINT|NAME|RUN/g, '.+')
      .replace(/\bN\b/g, '\\d+');
    return new RegExp(`^${pattern}$`).test(file);
  });
}

/** The fields of a value as the page names them, down to those whose inside it leaves open. */
function fieldsOf(value: unknown, open: ReadonlySet<string>, path = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((entry: unknown) => fieldsOf(entry, open, `${path}[]`));
  if (typeof value !== 'object' || value === null || open.has(path)) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const own = path === '' ? key : `${path}.${key}`;
    return [own, ...fieldsOf(inner, open, own)];
  });
}

/** The values of a file: its lines, where each is one. */
function valuesOf(path: string): unknown[] {
  const text = readFileSync(path, 'utf8');
  return path.endsWith('.jsonl')
    ? text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown)
    : [JSON.parse(text)];
}

const METRICS = [
  ...Object.keys(TRAINING_METRICS),
  ...Object.values(MEASURES).flatMap((m) => Object.keys(m.metricWords)),
];

const FINDINGS: ReadonlySet<string> = new Set(Object.keys(ANALYSES).map((kind) => `analysis/${kind}-step-N.json`));

const isLoose = (schema: z.ZodType): boolean =>
  schema instanceof z.ZodObject && schema.def.catchall instanceof z.ZodUnknown;

/** What the files of one description hold, beside what is described. */
function compare(name: string, schema: z.ZodType, paths: readonly string[]) {
  const keys = describeKeys(schema);
  const described = new Set(keys.map(({ path }) => path));
  const holds = (path: string) =>
    keys.some(
      (key) => key.path !== path && /^(\[\])*\./.test(key.path.startsWith(path) ? key.path.slice(path.length) : ''),
    );
  const open = new Set([...described].filter((path) => !holds(path)).flatMap((path) => [path, `${path}[]`]));
  const found = new Set<string>();
  const problems: string[] = [];
  for (const path of paths) {
    for (const value of valuesOf(path)) {
      const { error } = schema.safeParse(value);
      if (error !== undefined) problems.push(`${name}: ${error.message}`);
      for (const field of fieldsOf(value, open)) found.add(field.replace(/\d+-\d+$/, 'FROM-TO'));
    }
  }
  if (name === 'metrics.jsonl') for (const metric of METRICS) described.add(metric);
  return {
    problems,
    // Of loose objects the fields of others' formats are not ours to describe.
    spare: isLoose(schema) ? [] : [...found].filter((field) => !described.has(field)),
    // What an analysis keeps by its options is not all here; the table of analyses does not compile with more than there is.
    missing: FINDINGS.has(name)
      ? []
      : [...described].filter((field) => !found.has(field)).map((field) => `${name}: ${field}`),
  };
}

const byFile = Object.entries(FOLDERS).flatMap(([folder, { files: formats }]) =>
  formats.map((format) => ({ folder, format })),
);

const pathsOf = (folder: string, paths: string): string[] =>
  WRITTEN.filter(([kind]) => kind === folder).flatMap(([, own]) =>
    files(at(own))
      .filter((file) => fits(file, paths))
      .map((file) => at(own, file)),
  );

describe('docs/formats.md', () => {
  it('describes every file that is written', () => {
    const known = Object.entries(FOLDERS).map(
      ([kind, { files: formats }]) => [kind, formats.map(({ path }) => path)] as const,
    );
    const spare = [...new Set(WRITTEN.map(([, own]) => own))].flatMap((own) => {
      const kinds = WRITTEN.filter(([, name]) => name === own).map(([kind]) => kind);
      const paths = known.filter(([kind]) => kinds.some((k) => k === kind)).flatMap(([, all]) => all);
      // A report stands in the folder of its run.
      return files(at(own))
        .filter((file) => !paths.some((path) => fits(file, path)))
        .map((file) => `${own}/${file}`);
    });
    expect(spare).toEqual([]);
  });

  it('describes no file that is not written', () => {
    const missing = byFile.filter(({ folder, format: { path } }) => pathsOf(folder, path).length === 0);
    expect(missing.map(({ format: { path } }) => path).sort()).toEqual(Object.keys(NO_FILE).sort());
  });

  it('describes every field that is written, with its type, and no other', () => {
    const compared = byFile.flatMap(({ folder, format: { path, fields } }) =>
      fields === null || path in NO_FILE ? [] : [compare(path, fields, pathsOf(folder, path))],
    );
    expect(compared.flatMap(({ problems }) => problems)).toEqual([]);
    expect(compared.flatMap(({ spare }) => spare)).toEqual([]);
    expect(compared.flatMap(({ missing }) => missing).sort()).toEqual(Object.keys(NOT_HERE).sort());
  });
});
