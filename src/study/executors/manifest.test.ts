import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { cli } from '../../../test/support/cli.js';
import { folderWith } from '../../../test/support/folders.js';
import { kubernetesJob, manifestOptions, objectName, skyTask } from './manifest-files.js';

const study = { name: 'tiny', runs: ['a', 'b', 'c', 'd'], gpus: 0, runOptions: ['--engine', 'onnx'] };

/** Runs a command with a stand-in for longsight, which says what it was asked for and ends with the codes in turn. */
function ran(command: readonly string[], env: Readonly<Record<string, string>>, codes = '0'): [number | null, string] {
  const body = `#!/bin/sh
echo "$@"
n=$(cat "$0.n" 2>/dev/null || echo 1)
echo $((n + 1)) >"$0.n"
exit "$(echo ${codes} | cut -d ' ' -f "$n")"
`;
  const folder = folderWith({ longsight: body, sleep: '#!/bin/sh\n' });
  for (const name of ['longsight', 'sleep']) chmodSync(join(folder, name), 0o755);
  const [program = '', ...args] = command;
  const path = `${folder}:${process.env['PATH'] ?? ''}`;
  const { status, stdout } = spawnSync(program, args, { env: { ...env, PATH: path }, encoding: 'utf8' });
  return [status, stdout];
}

interface Job {
  readonly spec: {
    readonly completions: number;
    readonly parallelism: number;
    readonly podFailurePolicy: {
      readonly rules: readonly { readonly action: string; readonly onExitCodes?: unknown }[];
    };
    readonly template: {
      readonly spec: {
        readonly containers: readonly [{ readonly command: readonly string[]; readonly resources: unknown }];
      };
    };
  };
}

/** The keywords of JSON Schema that Kubernetes' schemas of a Job use; `$ref` is the name of a type. */
interface Schema {
  readonly $ref?: string;
  readonly type?: readonly string[] | string;
  readonly enum?: readonly unknown[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
}

const jobSchemas = JSON.parse(
  readFileSync(new URL('../../../test/data/kubernetes-job.json', import.meta.url), 'utf8'),
) as Readonly<Record<string, Schema>>;

/** Whether a value is of one of the types of JSON Schema. */
function isOf(types: readonly string[], value: unknown): boolean {
  if (Number.isInteger(value) && types.includes('integer')) return true;
  return types.includes(Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value);
}

/** Where a value is not what a schema takes: paths, each with the word of the schema. */
function problems(value: unknown, schema: Schema, at: string): string[] {
  const { $ref, type, oneOf, items, required = [], properties = {}, additionalProperties = true } = schema;
  if ($ref !== undefined) return problems(value, jobSchemas[$ref] ?? { type: `no type ${$ref}` }, at);
  if (oneOf?.every((one) => problems(value, one, at).length > 0) === true) return [`${at}: oneOf`];
  if (type !== undefined && !isOf([type].flat(), value)) return [`${at}: type`];
  if (schema.enum?.includes(value) === false) return [`${at}: enum`];
  if (Array.isArray(value))
    return value.flatMap((item, i) => (items === undefined ? [] : problems(item, items, `${at}[${i}]`)));
  if (typeof value !== 'object' || value === null) return [];
  const fields = Object.entries(value).flatMap(([key, field]): string[] => {
    const known = properties[key] ?? additionalProperties;
    if (known === true) return [];
    return known === false ? [`${at}.${key}: no such field`] : problems(field, known, `${at}.${key}`);
  });
  return [...required.filter((key) => !(key in value)).map((key) => `${at}.${key}: required`), ...fields];
}

describe('the Kubernetes Job', () => {
  const job = (more = {}, given = {}) =>
    kubernetesJob({ ...study, ...more }, manifestOptions.parse({ limit: 2, ...given })) as Job;

  it('trains the run of its index, whatever the index is', () => {
    const { spec } = job();
    expect([spec.completions, spec.parallelism]).toEqual([4, 2]);
    const [{ command }] = spec.template.spec.containers;
    study.runs.forEach((run, i) => {
      expect(ran(command, { JOB_COMPLETION_INDEX: String(i) })).toEqual([
        0,
        `study run /studies/tiny ${run} --engine onnx\n`,
      ]);
    });
    expect(ran(command, { JOB_COMPLETION_INDEX: '3' }, '75')[0]).toBe(75);
  });

  it('is a Job by the schema of Kubernetes, to every field', () => {
    const wrong = (given: unknown) => problems(given, { $ref: 'io.k8s.api.batch.v1.Job' }, 'job');
    const whole = job({ gpus: 8 }, { cpus: 4, memoryGiB: 16, image: 'a/b:c', volume: 'v' });
    expect([wrong(job()), wrong(whole)]).toEqual([[], []]);
    const { spec } = whole;
    const container = { ...spec.template.spec.containers[0], command: 'run', image: undefined };
    const template = { ...spec.template, spec: { containers: [container] } };
    expect(wrong({ ...whole, kind: 'Pod', spec: { ...spec, completions: '4', indexes: 4, template } })).toEqual([
      'job.kind: enum',
      'job.spec.completions: type',
      'job.spec.template.spec.containers[0].image: type',
      'job.spec.template.spec.containers[0].command: type',
      'job.spec.indexes: no such field',
    ]);
    const { action: _action, ...rule } = spec.podFailurePolicy.rules[0] ?? { action: '' };
    expect(wrong({ ...whole, spec: { ...spec, podFailurePolicy: { rules: [rule] } } })).toEqual([
      'job.spec.podFailurePolicy.rules[0].action: required',
    ]);
  });

  it('counts what may be tried again as no failure, and wrong input as one for good', () => {
    const rules = job().spec.podFailurePolicy.rules;
    expect(rules.map(({ action, onExitCodes }) => [action, onExitCodes])).toEqual([
      ['Ignore', { containerName: 'run', operator: 'In', values: [75] }],
      ['Ignore', undefined],
      ['FailIndex', { containerName: 'run', operator: 'In', values: [1, 2] }],
    ]);
  });

  it('asks for what the study file says', () => {
    const [{ resources }] = job({ gpus: 8 }, { cpus: 4, memoryGiB: 16 }).spec.template.spec.containers;
    const asked = { 'nvidia.com/gpu': 8, cpu: 4, memory: '16Gi' };
    expect(resources).toEqual({ requests: asked, limits: asked });
  });
});

describe('the SkyPilot task', () => {
  const { run } = skyTask(study, manifestOptions.parse({ limit: 2 })) as { run: string };
  const node = (rank: number, nodes: number, codes?: string) =>
    ran(['sh', '-c', run], { SKYPILOT_NODE_RANK: String(rank), SKYPILOT_NUM_NODES: String(nodes) }, codes);

  it('gives each node its runs, and none twice', () => {
    expect(node(0, 2)).toEqual([0, 'study run /studies/tiny a c --engine onnx\n']);
    expect(node(1, 2)).toEqual([0, 'study run /studies/tiny b d --engine onnx\n']);
    expect(node(4, 5)).toEqual([0, '']);
  });

  it('tries again what exits with 75, and nothing else', () => {
    expect(node(0, 4, '75 75 0')).toEqual([0, 'study run /studies/tiny a --engine onnx\n'.repeat(3)]);
    expect(node(0, 4, '75 1')).toEqual([1, 'study run /studies/tiny a --engine onnx\n'.repeat(2)]);
  });
});

it('names of objects are names for Kubernetes, and differ where studies do', () => {
  const names = ['tiny', 'Tiny', 'ti_ny', 'ti.ny', `${'x'.repeat(70)}a`, `${'x'.repeat(70)}b`, 'x_'].map(objectName);
  expect(names[0]).toBe('longsight-tiny');
  for (const name of names) expect(name).toMatch(/^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$/);
  expect(new Set(names).size).toBe(names.length);
});

const file = `name: tiny
base:
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: 100, schedule: wsd, seqLen: 16, batchSize: 4, warmupSteps: 2 }
grid: { train.steps: [100, 200] }
architectures: { full: full }
seeds: [1]
executors: { manifest: { folder: lab/tiny } }
`;

describe('longsight study --executor manifest', () => {
  it('writes the files, with the runs first that others go on from', async () => {
    const folder = folderWith({ 's.yaml': file });
    const out = join(folder, 'u');
    const { code, stdout } = await cli(['study', join(folder, 's.yaml'), '--out', out, '--executor', 'manifest']);
    expect([code, stdout]).toEqual([0, expect.stringContaining(`kubectl apply -f ${out}/manifest/job.yaml`)]);
    const job = parse(readFileSync(join(out, 'manifest', 'job.yaml'), 'utf8')) as Job;
    const [{ command }] = job.spec.template.spec.containers;
    expect(command.slice(4)).toEqual(['full_steps-200_seed-1', 'full_steps-100_seed-1']);
    expect(command[2]).toContain(' /studies/lab/tiny ');
    const task = parse(readFileSync(join(out, 'manifest', 'sky.yaml'), 'utf8')) as Record<string, unknown>;
    expect(task).toMatchObject({ name: 'longsight-tiny', volumes: { '/studies': 'studies' } });
    expect(readFileSync(join(out, 'manifest', 'Dockerfile'), 'utf8')).toContain('COPY longsight-*.tgz');
  });
});

it('folders of manifests stay inside of the volume', () => {
  for (const folder of ['tiny', 'lab/tiny', 'a..b/.c', '...'])
    expect(manifestOptions.parse({ folder }).folder).toBe(folder);
  for (const folder of ['/tiny', '..', '../up', 'a/../../b', 'a/..'])
    expect(manifestOptions.safeParse({ folder }).error?.issues.map(({ message }) => message)).toEqual([
      'must be a path inside of the volume',
    ]);
});
