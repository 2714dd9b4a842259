import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Help } from 'commander';
import { describe, expect, it } from 'vitest';
import { cli } from '../../test/support/cli.js';
import { writeFakeRun } from '../../test/support/fake-study.js';
import { folderWith, temporaryFolder } from '../../test/support/folders.js';
import { PRESET_NAMES } from '../model/index.js';
import { COMMANDS } from './command-table.js';
import type { CliContext } from './terminal/context.js';
import { ON_STOP } from './terminal/stopping.js';

const RUN = `model:
  hiddenSize: 8
  numHeads: 2
  layers: swa:4 full
data: { kind: recall }
train:
  steps: 10
  seqLen: 16
  batchSize: 2
`;

/** Runs a command on a changed run file; the output folder must stay absent. */
async function trainWith(text: string, ...args: string[]) {
  const folder = folderWith({ 'run.yaml': text });
  const result = await cli(['train', join(folder, 'run.yaml'), '--out', join(folder, 'out'), ...args]);
  expect(readdirSync(folder)).toEqual(['run.yaml']);
  return { ...result, stderr: result.stderr.replaceAll(`${folder}/`, '') };
}

it.runIf(existsSync('/proc/self'))(
  'a run folder where no folder can be made is an error, not an endless wait',
  async () => {
    const { code, stderr } = await trainWith(RUN, '--engine', 'reference', '--out', '/proc/longsight/run');
    expect(code).toBe(2);
    expect(stderr).toContain(
      'cannot lock /proc/longsight/run/run.lock: no files can be made there; choose another folder\n',
    );
  },
);

describe('wrong run files', () => {
  it.each([
    [
      'an unknown key',
      'steps: 10',
      'stesp: 10',
      'run.yaml:7: train.steps is missing; expected a number; unknown key "stesp" in train; did you mean "steps"?',
    ],
    [
      'an unknown model key',
      'hiddenSize',
      'hidden_size',
      /^run\.yaml:2: .*unknown key "hidden_size".*did you mean "hiddenSize"\?$/,
    ],
    [
      'a window of 0',
      'swa:4',
      'swa:0',
      /^run\.yaml:4: model\.layers: "swa:0" .*window 0 must be a whole number of visible keys >= 1/,
    ],
    ['a negative window', 'swa:4', 'swa:-3', /^run\.yaml:4: model\.layers: .*window -3 must be a whole number/],
    [
      'heads that do not divide',
      'hiddenSize: 8',
      'hiddenSize: 9',
      /^run\.yaml:1: model: hiddenSize 9 is not divisible by numHeads 2; change one of them or give headDim$/,
    ],
    [
      'key/value heads that do not divide',
      'numHeads: 2',
      'numHeads: 2\n  numKvHeads: 3',
      /numHeads 2 is not a multiple of numKvHeads 3; numKvHeads may be 1, 2$/,
    ],
    [
      'a pattern that does not parse',
      'swa:4 full',
      'swa:4 ful',
      /^run\.yaml:4: .*unknown layer "ful"; did you mean "full"\?/,
    ],
    ['YAML that does not parse', 'steps: 10', 'steps: [10', /^run\.yaml:8:3: YAML does not parse: /],
    [
      'a vocabulary that is too small',
      'hiddenSize: 8',
      'hiddenSize: 8\n  vocabSize: 10',
      /^run\.yaml:1: model\.vocabSize 10 is smaller than the 64 tokens of the data; set model\.vocabSize: 64$/,
    ],
    [
      'an unknown preset',
      'hiddenSize: 8',
      'preset: laptop-ful',
      /unknown preset "laptop-ful"; did you mean "laptop-full"\?$/,
    ],
    [
      'text that is not there',
      '{ kind: recall }',
      '{ kind: text, files: gone.txt }',
      'text file gone.txt does not exist; correct data.files',
    ],
    [
      'needles that do not fit',
      'train:',
      'eval: { trace: { length: 2 } }\ntrain:',
      /^eval\.trace: a sample of 2 tokens cannot hold a needle/,
    ],
  ])('%s', async (_what, from, to, message) => {
    const { code, stdout, stderr } = await trainWith(RUN.replace(from, to));
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^longsight: .*\n$/);
    const text = stderr.slice('longsight: '.length, -1);
    if (typeof message === 'string') expect(text).toBe(message);
    else expect(text).toMatch(message);
  });

  it.each([
    [
      ['--set', 'train.stesp=3'],
      'run.yaml, changed in train.stesp (--set): unknown key "stesp" in train; did you mean "steps"?',
    ],
    [['--set', 'train.lr.x=3', '--set', 'train.lr=fast'], /^run\.yaml, changed in .*lr/],
    [['--set', 'train.steps'], '--set train.steps: write PATH=VALUE, such as train.steps=100'],
    [['--set', 'train..steps=1'], '"train..steps" is not a path; write keys joined by points, such as train.steps'],
    [['--set', 'train.steps=[1'], /^--set train\.steps: the value does not parse as YAML: /],
    [['--engine', 'onx'], /^--engine onx: there is no such engine; choose one of .*; did you mean "onnx"\?$/],
    [['--threads', '0'], '--threads must be a whole number of at least 1, got "0"'],
    [['--threads', 'many'], '--threads must be a whole number of at least 1, got "many"'],
  ] as const)('%j', async (args, message) => {
    const { code, stderr } = await trainWith(RUN, ...args);
    expect(code).toBe(2);
    const text = stderr.replace(/^longsight: /, '').trimEnd();
    if (typeof message === 'string') expect(text).toBe(message);
    else expect(text).toMatch(message);
  });

  it('shows the stack only when debugging', async () => {
    const args = ['train', '/no/such/run.yaml'];
    expect((await cli(args)).stderr).toBe('longsight: cannot read /no/such/run.yaml: there is no such file\n');
    expect((await cli(args, { LONGSIGHT_DEBUG: '1' })).stderr).toMatch(/\n {4}at /);
  });

  it('says when a study is given as a run', async () => {
    const folder = folderWith({ 's.yaml': 'architectures: {}\n' });
    const { code, stderr } = await cli(['train', join(folder, 's.yaml')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/is a study, not a run; use "longsight study /);
  });
});

describe('folders that another host has locked', () => {
  const lock = JSON.stringify({ pid: 77, host: 'node-b', start: '1' });
  const message = /in use by process 77 on host node-b, .* take the folder over \(--take-over\)\n$/;

  it('are refused by train and data prepare', async () => {
    const folder = folderWith({
      'run.yaml': RUN,
      'a.txt': 'some text\n',
      'run/run.lock': lock,
      'shards/prepare.lock': lock,
    });
    const at = (name: string) => join(folder, name);
    for (const args of [
      ['train', at('run.yaml'), '--engine', 'reference', '--out', at('run')],
      ['data', 'prepare', at('a.txt'), '--tokenizer', 'bytes', '--out', at('shards')],
    ]) {
      const { code, stderr } = await cli(args);
      expect(stderr).toMatch(message);
      expect(code).toBe(2);
    }
    const taken = await cli([
      'data',
      'prepare',
      at('a.txt'),
      '--tokenizer',
      'bytes',
      '--out',
      at('shards'),
      '--take-over',
    ]);
    expect(taken.code).toBe(0);
    expect(readdirSync(at('shards/prepare.lock'))).toEqual(['1']);
    expect(readdirSync(at('run'))).toEqual(['run.lock']);
  });
});

describe('wrong folders and checkpoints', () => {
  it('a run folder that exists, or holds other things', async () => {
    const folder = folderWith({ 'run.yaml': RUN, 'taken/config.json': '{}', 'other/thesis.txt': 'x' });
    for (const [dir, message] of [
      ['taken', /taken already holds a run; resume it \(--resume\) or choose another folder/],
      ['other', /other exists, is not empty and holds no run; choose another folder/],
      ['run.yaml', /run\.yaml is a file; choose another folder for the run/],
    ] as const) {
      const { code, stderr } = await cli(['train', join(folder, 'run.yaml'), '--out', join(folder, dir)]);
      expect(code).toBe(2);
      expect(stderr).toMatch(message);
    }
    expect(readdirSync(join(folder, 'other'))).toEqual(['thesis.txt']);
  });

  it('nothing to resume', async () => {
    const { code, stderr } = await trainWith(RUN, '--resume');
    expect(code).toBe(2);
    expect(stderr).toMatch(/out holds no run to resume; begin one there without resuming \(leave out --resume\)\n$/);
  });

  it('a folder that may not be written to', async () => {
    const folder = folderWith({ 'run.yaml': RUN });
    const { code, stderr } = await cli(['train', join(folder, 'run.yaml'), '--out', '/sys/longsight']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^longsight: cannot .*\/sys\/longsight.*\n$/m);
  });

  it.each([['eval'], ['trace']])('%s of what is no run, or has no checkpoint', async (command) => {
    const folder = temporaryFolder();
    const missing = await cli([command, join(folder, 'nothing')]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toMatch(/is neither a run folder \(with a config\.json\) nor a checkpoint inside of one\n$/);
    writeFakeRun(join(folder, 'run'), { name: 'r', pattern: 'swa-8', seed: 1, formsAt: 1e6 });
    const empty = await cli([command, join(folder, 'run')]);
    expect(empty.code).toBe(2);
    expect(empty.stderr).toMatch(/has no checkpoint/);
    const step = await cli([command, join(folder, 'run'), '--step', '7']);
    expect(step.stderr).toMatch(/run has no checkpoint of step 7; there are: none\n$/);
  });

  it('a report of nothing', async () => {
    const { code, stderr } = await cli(['report', temporaryFolder()]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/is neither a study folder \(study\.json\) nor a run folder \(config\.json\)\n$/);
  });
});

describe('the table of commands', () => {
  it('says of every command what its own module says', async () => {
    const context = { stdout: { write: () => true }, stderr: { write: () => true }, env: {} } as unknown as CliContext;
    for (const { name, summary, usage, load, hidden } of COMMANDS) {
      const program = new Command();
      (await load())(program, context);
      const command = program.commands.find((own) => own.name() === name);
      if (command === undefined) throw new Error(`the module of ${name} adds no such command`);
      expect(command.summary()).toBe(summary);
      expect(new Help().subcommandTerm(command)).toBe(`${name} ${usage}`.trimEnd());
      expect(new Help().visibleCommands(program).includes(command)).toBe(hidden !== true);
    }
  });
});

describe('the help of every command', () => {
  it('says what it does on the signals of people and schedulers', async () => {
    for (const { name, onStop } of COMMANDS) {
      const { stdout } = await cli(['help', name]);
      expect(stdout.replaceAll(/\s+/g, ' '), name).toContain(`Ctrl-C, SIGTERM and SIGUSR1 ${ON_STOP[onStop]}.`);
    }
  });

  it('writes the default of a list as its option takes it', async () => {
    const help = async (...names: string[]) => (await cli([...names, '--help'])).stdout.replaceAll(/\s+/g, ' ');
    expect(await help('place')).toContain('--seeds <list> seeds of that study (default: 1,2,3)');
    expect(await help('ruler', 'run')).toContain('with commas (default: 4096)');
    for (const { name } of COMMANDS) expect(await help(name), name).not.toMatch(/default: \[/);
  });

  it('agrees with the table of docs/clusters.md', () => {
    const docs = readFileSync(new URL('../../docs/clusters.md', import.meta.url), 'utf8');
    for (const onStop of new Set(COMMANDS.map((command) => command.onStop))) {
      const names = COMMANDS.filter((command) => command.onStop === onStop && command.hidden !== true);
      expect(docs).toContain(`| ${names.map(({ name }) => `\`${name}\``).join(', ')} | ${ON_STOP[onStop]} |`);
    }
  });
});

describe('usage', () => {
  it.each([
    [['trian'], /unknown command 'trian'\n\(Did you mean train\?\)/],
    [['train'], /missing required argument 'file'/],
    [['train', 'x', '--ouot', 'y'], /unknown option '--ouot'\n\(Did you mean --out\?\)/],
    [['doctor', '--json', '--quiet'], /'--json' cannot be used with option '--quiet'/],
    [['cost', 'x', 'y'], /too many arguments/],
  ])('%j is refused', async (args, message) => {
    const { code, stdout, stderr } = await cli(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^longsight: /);
  });

  it('help lists commands, exit codes and every key of a run', async () => {
    const { code, stdout } = await cli(['--help']);
    expect(code).toBe(0);
    for (const name of ['quickstart', 'study', 'train', 'eval', 'trace', 'report', 'cost', 'doctor'])
      expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'));
    expect(stdout).not.toMatch(/worker/);
    expect(stdout).toMatch(/130 stopped/);
    expect((await cli([])).stdout).toBe(stdout);
    const train = await cli(['train', '--help']);
    expect(train.stdout).toContain('  train.steps: whole number >= 1 (required)\n      optimizer steps\n');
    expect(train.stdout).toContain('  model.qkNorm: true or false, or head | width | rope [false]\n');
    expect(train.stdout).toContain('  data[kind: text].heldOut: number >= 0, <= 0.5 [0.05]\n');
    expect((await cli(['study', '--help'])).stdout).toContain('  compare.threshold: number > 0, < 1 [0.9]\n');
    for (const line of train.stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
  });

  it('prints the version', async () => {
    expect((await cli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('cost', () => {
  it('adds up, for a preset, a run file and a model alone', async () => {
    const folder = folderWith({ 'run.yaml': RUN, 'model.yaml': 'hiddenSize: 8\nnumHeads: 2\nlayers: full\n' });
    const preset = await cli(['cost', 's1-swa-128', '--json', '--seq-len', '4096']);
    const { cost } = JSON.parse(preset.stdout) as {
      cost: { seqLen: number; parameters: { nonEmbedding: number }; layers: unknown[] };
    };
    expect(cost).toMatchObject({ seqLen: 4096, parameters: { nonEmbedding: 14_999_424 } });
    const run = await cli(['cost', join(folder, 'run.yaml')]);
    expect(run.stdout).toMatch(/^layers +swa:4 full\n/);
    expect(run.stdout).toMatch(/cache bytes at 16 tokens, bf16 +640\n/);
    expect((await cli(['cost', join(folder, 'model.yaml')])).stdout).toMatch(/^layers +full\n/);
  });

  it('says what the cache takes at several contexts and in which elements', async () => {
    const folder = folderWith({
      'model.yaml': 'hiddenSize: 8\nnumHeads: 2\nlayers: swa:100 full\nlearnedPositions: 5000\n',
      'gdn.yaml': 'hiddenSize: 8\nnumHeads: 2\nlayers: gdn full\n',
    });
    const cost = (name: string, ...more: string[]) => cli(['cost', join(folder, name), ...more]);
    // Keys and values of 8 channels in each of two layers.
    const bytes = (tokens: number, element: number) => element * 16 * (Math.min(tokens, 100) + tokens);
    const { stdout } = await cost('model.yaml', '--context', '99,4k');
    expect(stdout).toMatch(/^cache bytes at 99 tokens, bf16 +6,336 \(6\.19 KiB\)$/m);
    expect(stdout).toMatch(/^cache bytes at 4,096 tokens, bf16 +134,272 \(131 KiB\)$/m);
    const json = JSON.parse((await cost('model.yaml', '--context', '4k', '--cache-dtype', 'f32', '--json')).stdout) as {
      contexts: unknown;
      cacheDtype: string;
    };
    expect([json.cacheDtype, json.contexts]).toEqual([
      'f32',
      [{ tokens: 4096, cacheBytes: bytes(4096, 4), layers: [4 * 16 * 100, 4 * 16 * 4096] }],
    ]);
    expect((await cost('gdn.yaml', '--context', '1M')).stdout).toMatch(
      /at 1,048,576 tokens, bf16, recurrent states f32/,
    );
    expect((await cost('gdn.yaml', '--cache-dtype', 'f32')).stdout).toMatch(/at 2,048 tokens, f32 /);
    for (const [args, why] of [
      [['--context', '4k,,8k'], /--context must be tokens, below 1,000,000,000 .* got "4k,,8k"/],
      [['--context', '0'], /--context must be tokens/],
      [['--context', '954M'], /--context must be tokens/],
      [['--cache-dtype', 'f16'], /--cache-dtype must be one of bf16, f32, got "f16"/],
      [['--context', '5001'], /learned 5000 positions, and sequences have 5001 tokens/],
    ] as const) {
      const { code, stdout: printed, stderr } = await cost('model.yaml', ...args);
      expect([code, printed]).toEqual([2, '']);
      expect(stderr).toMatch(why);
    }
  });

  it('takes every preset that it lists', async () => {
    for (const name of PRESET_NAMES) expect((await cli(['cost', name, '--quiet'])).code).toBe(0);
  });

  it('names the line of a wrong model', async () => {
    const folder = folderWith({ 'model.yaml': 'hiddenSize: 8\nnumHaeds: 2\nlayers: full\n' });
    const { code, stderr } = await cli(['cost', join(folder, 'model.yaml')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/model\.yaml:2: .*unknown key "numHaeds".*did you mean "numHeads"\?\n$/);
  });
});

describe('output for programs', () => {
  it('is one JSON object a line with --json, and nothing with --quiet', async () => {
    const dir = join(temporaryFolder(), 'run');
    writeFakeRun(dir, { name: 'r', pattern: 'swa-8', seed: 1, formsAt: 1e6 });
    const json = await cli(['report', dir, '--json']);
    expect(JSON.parse(json.stdout)).toEqual({
      event: 'report',
      html: join(dir, 'report.html'),
      json: join(dir, 'report.json'),
      csv: join(dir, 'report.csv'),
    });
    expect(json.stderr).toBe('');
    expect(await cli(['report', dir, '--quiet'])).toEqual({ code: 0, stdout: '', stderr: '' });
    const human = await cli(['report', dir, '--out', join(dir, 'elsewhere')]);
    expect(human.stdout).toContain(`report: ${join(dir, 'elsewhere', 'report.html')}`);
  });

  it('reports a damaged run in one sentence', async () => {
    const dir = join(temporaryFolder(), 'run');
    writeFakeRun(dir, { name: 'r', pattern: 'swa-8', seed: 1, formsAt: 1e6 });
    writeFileSync(join(dir, 'metrics.jsonl'), '{broken\n');
    const { code, stderr } = await cli(['report', dir]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^longsight: .*metrics\.jsonl:1 is not valid JSON: .*; remove the line\n$/);
  });
});

describe('doctor', () => {
  it('finds the engines that come with the package in order', async () => {
    const { code, stdout } = await cli(['doctor', '--json']);
    const { engines } = JSON.parse(stdout) as { engines: { name: string; ok: boolean; worst: number }[] };
    expect(code).toBe(0);
    expect(engines.map((e) => [e.name, e.ok])).toEqual(
      expect.arrayContaining([
        ['onnx', true],
        ['reference', true],
      ]),
    );
    for (const { worst } of engines) expect(worst).toBeLessThan(1e-4);
  });
});

it.each([
  ['generate', '--prompt', 'x'],
  ['eval'],
  ['trace'],
  ['choice', 'questions.jsonl'],
  ['longppl', '--texts', 'a.txt'],
  ['inspect'],
  ['parity'],
  ['export', 'out'],
  ['report'],
  ['analyze'],
])('%s of a name on the hub says that folders are local, and how to get one', async (command, ...rest) => {
  const { code, stderr } = await cli([command, 'meta-llama/Llama-3.2-1B', ...rest]);
  expect(stderr).toContain('hf download meta-llama/Llama-3.2-1B --local-dir Llama-3.2-1B');
  expect(code).toBe(2);
});
