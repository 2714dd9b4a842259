import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { folderWith, messageOf } from '../../test/support/folders.js';
import { ConfigError } from '../core/index.js';
import { expandStudy, loadStudy, tokenBudget } from './plan.js';
import { openStudyFolder } from './store.js';
import { parseYaml, toYaml } from '../lab/index.js';

const STUDY = `name: demo
base:
  model: { hiddenSize: 16, numLayers: 2, numHeads: 2, intermediateSize: 32 }
  data: { kind: recall }
  train: { steps: 100, seqLen: 32, batchSize: 4 }
architectures:
  full: full
  small window: swa:8 full
seeds: [1, 2]
long:
  architectures: [full]
  seeds: [1]
  set: { train.steps: 1000 }
`;

const expand = (text: string, options = {}) => expandStudy(parseYaml(text, 's.yaml'), options);

describe('a study file', () => {
  it('keeps its order of architectures, also of names that look like numbers', async () => {
    const text = STUDY.replace('full: full', 'full: full\n  128: swa:8\n  "64": swa:16 full').replace(
      '[full]',
      '[full, "64"]',
    );
    const labels = ['full', '128', '64', 'small window'];
    const plan = expand(text);
    expect(plan.architectures.map((a) => a.label)).toEqual(labels);
    expect(plan.runs.map((run) => run.architecture)).toEqual(labels.flatMap((label) => [label, label]));
    const dir = folderWith({});
    (await openStudyFolder(join(dir, 's'), plan)).lock.release();
    expect(loadStudy(join(dir, 's', 'study.yaml')).architectures.map((a) => a.label)).toEqual(labels);
  });

  it('lays settings of its own over the base, below the grid, the long arm and --set', async () => {
    const own = STUDY.replace('seeds: [1, 2]', 'seeds: [1]\nset: { train.steps: 7, train.lr: 0.5, data.numKeys: 9 }');
    const configOf = (text: string, options = {}) => expand(text, options).runs.at(-1)?.config;
    expect(configOf(own)).toMatchObject({ train: { steps: 7, lr: 0.5 }, data: [{ numKeys: 9 }] });
    expect(configOf(own, { long: true })).toMatchObject({ train: { steps: 1000, lr: 0.5 } });
    expect(configOf(own, { set: [['train.lr', 0.1]] })).toMatchObject({ train: { steps: 7, lr: 0.1 } });
    expect(messageOf(() => expand(own.replace('train.lr', 'base.train.lr')))).toMatch(
      /s\.yaml:\d+: set\.base\.train\.lr: settings name keys of a run.*did you mean "train\.lr"/,
    );
    const dir = folderWith({});
    (await openStudyFolder(join(dir, 's'), expand(own))).lock.release();
    expect(loadStudy(join(dir, 's', 'study.yaml')).runs).toEqual(expand(own).runs);
  });

  it('gives single architectures seeds of their own, in both arms', async () => {
    const own = `${STUDY.replace('seeds: [1, 2]', 'seeds: [1, 2]\nseedsFor: { small window: [3] }')}`;
    expect(expand(own).runs.map((run) => run.name)).toEqual(['full_seed-1', 'full_seed-2', 'small-window_seed-3']);
    const long = own.replace('  architectures: [full]\n  seeds: [1]\n', '');
    expect(
      expand(long, { long: true })
        .runs.map((run) => run.name)
        .slice(3),
    ).toEqual(['full_long_seed-1', 'full_long_seed-2', 'small-window_long_seed-3']);
    const dir = folderWith({});
    (await openStudyFolder(join(dir, 's'), expand(own))).lock.release();
    expect(loadStudy(join(dir, 's', 'study.yaml')).runs.map((run) => run.name)).toEqual(
      expand(own).runs.map((r) => r.name),
    );
    expect(messageOf(() => expand(own.replace('small window: [3]', 'big window: [3]')))).toMatch(
      /s\.yaml:\d+: .*"big window"/,
    );
    expect(messageOf(() => expand(own.replace('[3]', '[3, 3]')))).toMatch(/s\.yaml:\d+: seed 3 is listed twice/);
  });

  it('expands architectures and seeds into named runs', () => {
    const plan = expand(STUDY);
    expect(plan.runs.map((run) => run.name)).toEqual([
      'full_seed-1',
      'full_seed-2',
      'small-window_seed-1',
      'small-window_seed-2',
    ]);
    expect(plan.architectures).toEqual([
      { label: 'full', layers: 'full' },
      { label: 'small window', layers: 'swa:8 full' },
    ]);
    const last = plan.runs[3];
    expect(last?.config).toMatchObject({ seed: 2, name: 'small-window_seed-2', train: { steps: 100 } });
    expect(last?.config.model.layers[0]).toEqual({
      mixer: 'attention',
      groups: [{ window: 8, heads: 2, rope: true }],
    });
  });

  it('gives the same runs every time', () => {
    expect(JSON.stringify(expand(STUDY))).toBe(JSON.stringify(expand(STUDY)));
  });

  it('adds the long arm only when asked', () => {
    const plan = expand(STUDY, { long: true });
    const long = plan.runs.filter((run) => run.arm === 'long');
    expect(long.map((run) => run.name)).toEqual(['full_long_seed-1']);
    expect(long.map((run) => tokenBudget(run.config))).toEqual([1000 * 4 * 32]);
  });

  it('expands a grid, slowest path first, and names its points', () => {
    const plan = expand(`${STUDY}grid:\n  train.steps: [10, 20]\n  model.hiddenSize: [16, 32]\n`);
    expect(plan.runs).toHaveLength(16);
    expect(plan.runs[0]).toMatchObject({
      name: 'full_steps-10_hiddensize-16_seed-1',
      point: { 'train.steps': 10, 'model.hiddenSize': 16 },
      config: { train: { steps: 10 }, model: { hiddenSize: 16 } },
    });
  });

  it('takes fields of the model in place of a pattern, and settings from outside last', () => {
    const text = STUDY.replace('full: full', 'full: { layers: full, qkNorm: true }');
    const plan = expand(text, { set: [['train.lr', 0.5]] });
    expect(plan.runs[0]?.config).toMatchObject({ model: { qkNorm: 'head' }, train: { lr: 0.5 } });
    expect(plan.runs[2]?.config.model.qkNorm).toBe(false);
  });

  it('takes the base from another file, text files relative to that one', () => {
    const folder = folderWith({
      'base/run.yaml': `model: { hiddenSize: 16, numHeads: 2, layers: full }
data: { kind: text, files: a.txt }
train: { steps: 10 }
`,
      'study.yaml': 'name: x\nbase: base/run.yaml\narchitectures: { a: full }\nseeds: [1]\n',
    });
    const plan = loadStudy(join(folder, 'study.yaml'));
    expect(plan.runs[0]?.config.data).toEqual([
      { kind: 'text', weight: 1, heldOut: 0.05, files: [join(folder, 'base', 'a.txt')] },
    ]);
    expect(plan.study.base).toMatchObject({ data: { files: join(folder, 'base', 'a.txt') } });
  });

  it.each([
    ['train.clipNorm', [1, 10], ['clipnorm-1', 'clipnorm-10']],
    ['model.normOffset', [-1, 1], ['normoffset-minus-1', 'normoffset-1']],
    [
      'model.layers',
      ['swa:8 full', 'swa:8/full'],
      [/^layers-swa-8-full-[0-9a-f]{8}$/, /^layers-swa-8-full-[0-9a-f]{8}$/],
    ],
  ])('names points of %s in %j apart', (path, values, expected) => {
    const one = STUDY.replace('  small window: swa:8 full\n', '');
    const plan = expand(`${one}grid:\n  ${path}: ${JSON.stringify(values)}\n`);
    const runs = plan.runs.filter((run) => run.architecture === 'full' && run.seed === 1);
    expect(new Set(plan.runs.map((run) => run.name)).size).toBe(plan.runs.length);
    runs.forEach((run, i) => {
      const name = run.name.split('_')[1] ?? '';
      if (typeof expected[i] === 'string') expect(name).toBe(expected[i]);
      else expect(name).toMatch(expected[i] as RegExp);
      expect(run.config.name).toBe(run.name);
    });
  });

  it('names labels in other scripts apart', () => {
    const plan = expand(
      STUDY.replace('full: full', '全: full').replace('small window:', '窓:').replace('[full]', '[全]'),
    );
    const names = plan.runs.map((run) => run.name);
    expect(new Set(names).size).toBe(4);
    for (const name of names) expect(name).toMatch(/^x-[0-9a-f]{8}_seed-[12]$/);
  });

  it('takes a corpus without files', () => {
    const plan = expand(STUDY.replace('{ kind: recall }', '{ kind: text, corpus: moby-dick }'));
    expect(plan.runs[0]?.config.data).toEqual([
      { kind: 'text', weight: 1, heldOut: 0.05, files: [], corpus: 'moby-dick' },
    ]);
  });

  it.each([
    ['', [], ['base/tokens']],
    ['grid:\n  data[0].path: [one, ../two, /three]\n', [], ['one', '../two', '/three']],
    ["grid:\n  data: [{ kind: text, files: '*.md' }, [{ kind: text, files: [a, b] }]]\n", [], ['*.md', 'a,b']],
    ['long: { set: { data.0.path: long } }\n', [], ['base/tokens', 'long']],
    ['', [['data[0].path', 'set']], ['set']],
    ['', [['data', { kind: 'text', files: ['x.txt'] }]], ['x.txt']],
  ] as const)('repeats from anywhere, each path relative to the file that has it: %j %j', (more, set, expected) => {
    const folder = folderWith({
      'base/run.yaml': `model: { hiddenSize: 16, numHeads: 2, layers: full, vocabSize: 256 }
data: [{ kind: shards, path: tokens }]
train: { steps: 10 }
`,
      'study.yaml': `name: x\nbase: base/run.yaml\narchitectures: { a: full }\nseeds: [1]\n${more}`,
    });
    const options = { long: more.startsWith('long'), set };
    const plan = loadStudy(join(folder, 'study.yaml'), options);
    const moved = join(folderWith({ 'study.yaml': toYaml(plan.study) }), 'study.yaml');
    const again = loadStudy(moved, { ...options, set: plan.set });
    const paths = expected.map((text) => text.split(',').map((part) => resolve(folder, part)));
    for (const { runs } of [plan, again]) {
      const sources = runs.map(({ config }) => config.data[0]);
      expect(sources.map((s) => (s?.kind === 'text' ? s.files : s?.kind === 'shards' ? [s.path] : []))).toEqual(paths);
    }
  });
});

describe('a wrong study file', () => {
  it.each([
    ['seeds: [1, 2]', 'seeds: [1, 1]', 's.yaml:9: seed 1 is listed twice'],
    [
      'seeds: [1, 2]',
      'sedes: [1, 2]',
      's.yaml:9: seeds is missing; expected a list; unknown key "sedes"; did you mean "seeds"?',
    ],
    ['name: demo', 'name: a/b', 's.yaml:1: name: letters, digits, ".", "_" and "-" only, got "a/b"'],
    [
      'small window:',
      'FULL:',
      's.yaml:8: architectures "full" and "FULL" look alike, or would share one folder; rename one',
    ],
    [
      '  small window: swa:8 full',
      '  other: full',
      's.yaml: runs full_seed-1 and other_seed-1 are the same; drop one of the two',
    ],
    [
      'swa:8 full',
      'swa:0 full',
      /^s\.yaml:8: run small-window_seed-1: model\.layers: "swa:0" .*window 0 must be a whole number of visible keys >= 1/,
    ],
    [
      'swa:8 full',
      '{ layer: full }',
      /^s\.yaml:8: run small-window_seed-1: .*unknown key "layer".*did you mean "layers"\?$/,
    ],
    ['[full]', '[ful]', 's.yaml:11: unknown architecture "ful"; did you mean "full"?'],
    [
      'steps: 100,',
      'steps: 100, stops: 1,',
      /^s\.yaml:7: run full_seed-1: unknown key "stops" in train; did you mean "steps"\?$/,
    ],
    [
      'architectures:\n  full: full\n  small window: swa:8 full',
      'architectures: {}',
      's.yaml:6: architectures is empty; name at least one design',
    ],
  ])('%j as %j', (old, now, message) => {
    const text = STUDY.replace(old, now);
    expect(() => expand(text, { long: true })).toThrow(ConfigError);
    const got = messageOf(() => expand(text, { long: true }));
    if (typeof message === 'string') expect(got).toBe(message);
    else expect(got).toMatch(message);
  });

  it.each([
    [
      'base.train.steps',
      'base.train.steps (--set): settings name keys of a run, such as train.steps; did you mean "train.steps"?',
    ],
    [
      'seeds',
      'seeds (--set): settings name keys of a run, such as train.steps; "seeds" is a key of the study file; change it there',
    ],
  ])('refuses --set %s', (path, message) => {
    expect(messageOf(() => expand(STUDY, { set: [[path, 1]] }))).toBe(message);
  });

  it.each([
    [
      'grid: { seed: [5, 6] }',
      [],
      /^s\.yaml:14: grid\.seed: a study gives every run its seed; seeds are listed under "seeds"$/,
    ],
    ['', [['seed', 7]], /^seed \(--set\): a study gives every run its seed/],
    ['', [['name', 'x']], /^name \(--set\): a study gives every run its name/],
    [
      'grid: { train.steps: [5], train: [{ steps: 6 }] }',
      [],
      /^s\.yaml:14: grid\.train changes what the grid varies as train\.steps; change the grid, or take train away$/,
    ],
    [
      'grid: { "data[0].weight": [1], data.0.weight: [2] }',
      [],
      /grid\.data\.0\.weight changes what the grid varies as data\[0\]\.weight/,
    ],
    [
      'grid: { train.lr: [0.1] }',
      [['train.lr', 0.2]],
      /^train\.lr \(--set\) changes what the grid varies as train\.lr/,
    ],
    ['grid: { train.steps: [7] }', [], /long\.set\.train\.steps changes what the grid varies as train\.steps/],
  ] as const)('refuses settings that runs would not have: %s with --set %j', (grid, set, message) => {
    expect(messageOf(() => expand(`${STUDY}${grid}\n`, { set, long: true }))).toMatch(message);
  });

  it('refuses labels that look alike', () => {
    const text = STUDY.replace('full: full', '"caf\u00e9": full\n  "cafe\u0301": swa:4');
    expect(messageOf(() => expand(text))).toContain('look alike, or would share one folder; rename one');
  });

  it('refuses a grid over base.train.steps, and a long arm that sets it', () => {
    const grid = `${STUDY}grid: { base.train.steps: [1, 2] }\n`;
    expect(messageOf(() => expand(grid))).toMatch(
      /^s\.yaml:14: grid\.base\.train\.steps: .*did you mean "train\.steps"\?$/,
    );
    const long = STUDY.replace(/set: .*/, 'set: { base.train.steps: 5 }');
    expect(messageOf(() => expand(long))).toMatch(
      /^s\.yaml:\d+: long\.set\.base\.train\.steps: .*did you mean "train\.steps"\?$/,
    );
  });

  it.each([
    ['train.learningRate', 'unknown key "learningRate" in train; did you mean "lr"?'],
    ['train.max_steps', 'unknown key "max_steps" in train; did you mean "steps"?'],
    ['train.weight-decay', 'unknown key "weight-decay" in train; did you mean "weightDecay"?'],
    ['learning_rate', 'unknown key "learning_rate"; did you mean "train.lr"?'],
    ['model.num_hidden_layers', 'unknown key "num_hidden_layers"; did you mean "numLayers"?'],
  ])('knows what others call %s', (path, message) => {
    expect(messageOf(() => expand(STUDY, { set: [[path, 1]] }))).toContain(message);
  });

  it('has no long arm to do', () => {
    const text = STUDY.slice(0, STUDY.indexOf('long:'));
    expect(messageOf(() => expand(text, { long: true }))).toBe(
      's.yaml:1: the study has no `long` arm, which was asked for (--long)',
    );
  });

  it('lists thresholds that do not ascend', () => {
    expect(expand(`${STUDY}compare: { arThreshold: 0.3 }\n`).compare.arThreshold).toBe(0.3);
    expect(expand(`${STUDY}compare: { arThreshold: [0.1, 0.5] }\n`).compare.arThreshold).toEqual([0.1, 0.5]);
    for (const [given, why] of [
      ['[0.5, 0.1]', 'must ascend'],
      ['[0.1, 0.1]', 'must ascend'],
      ['[]', 'at least 1'],
      ['[0.1, 1]', 'less than 1'],
      ['1', 'less than 1'],
    ] as const) {
      expect(messageOf(() => expand(`${STUDY}compare: { arThreshold: ${given} }\n`))).toContain(why);
    }
  });

  it('lists losses that do not descend', () => {
    expect(expand(`${STUDY}compare: { lossThreshold: 3 }\n`).compare.lossThreshold).toBe(3);
    expect(expand(`${STUDY}compare: { lossThreshold: [3, 2.5] }\n`).compare.lossThreshold).toEqual([3, 2.5]);
    for (const [given, why] of [
      ['[2, 3]', 'must descend'],
      ['[3, 3]', 'must descend'],
      ['[]', 'at least 1'],
      ['0', 'more than 0'],
    ] as const) {
      expect(messageOf(() => expand(`${STUDY}compare: { lossThreshold: ${given} }\n`))).toContain(why);
    }
  });

  it('compares what it does not have', () => {
    const text = `${STUDY}compare: { pairs: [[full, small windw]] }\n`;
    expect(messageOf(() => expand(text))).toBe(
      's.yaml:14: unknown architecture "small windw"; did you mean "small window"?',
    );
  });
});
