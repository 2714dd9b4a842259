/**
 * Command lines of the documentation that need processes of their own, at small sizes: studies, servers, and lines that a shell reads.
 * They run what is built in `dist`; `npm test` builds it first. test/unit/docs/commands.test.ts has the others, and holds that none is left.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCorpus } from '../../src/data/named.js';
import { findPlugin } from '../../src/engine/xla/pjrt/discover.js';
import { pythonPackages } from '../../src/engine/xla/pjrt/python-packages.js';
import { tarOf } from '../support/archives.js';
import { longsightCalls, ROOT } from '../support/doc-commands.js';
import { SCRIPTS, WITH_PROCESSES, type DocRun } from '../support/doc-runs.js';
import { fillSandbox } from '../support/doc-sandbox.js';
import { MAIN } from '../support/main.js';

const folder = mkdtempSync(join(tmpdir(), 'longsight-docs-'));
const { plugin } = findPlugin('cpu');
if (!plugin) console.log('docs/gpu.md is left out in part: no PJRT CPU plugin; run node scripts/fetch-pjrt-cpu.mjs');

/**
 * Programs that stand in for those of other machines, as far as a line needs them: `srun` and `ssh` run the command here, `docker` builds
 * where a Dockerfile takes the package, `kubectl` applies a manifest that names the image, `hf` and `python3 -m venv` have what the network
 * would bring, `tsc` has built already.
 */
const STAND_INS: Readonly<Record<string, string>> = {
  longsight: `exec '${process.execPath}' '${MAIN}' "$@" $LONGSIGHT_MORE`,
  srun: 'exec "$@"',
  ssh: 'shift; exec sh -c "$*"',
  docker: `case "$1" in
build) grep -q '^COPY longsight-.*tgz ' "$4/Dockerfile" && echo "$3" >image ;;
push) test "$(cat image)" = "$2" ;;
esac`,
  kubectl: `test "$1 $2" = 'apply -f' && grep -q "$(cat image)" "$3"`,
  hf: `test "$1 $2 $3" = "download HuggingFaceTB/SmolLM2-135M --local-dir" && mkdir -p "$4" && cp SmolLM2-135M/* "$4"`,
  // An environment whose pip puts a package's file where the package has it.
  python3: `site="$3/lib/python3.12/site-packages"
test "$1 $2" = '-m venv' && mkdir -p "$3/bin" "$site" &&
printf '#!/bin/sh\\ntest "$1" = install && case "$2" in jax-cuda12-plugin*) mkdir -p %s && touch %s ;; esac\\n' \
  "$site/jax_plugins/xla_cuda12" "$site/jax_plugins/xla_cuda12/xla_cuda_plugin.so" >"$3/bin/pip" && chmod +x "$3/bin/pip"`,
  scontrol: 'echo "$*" >requeued',
  tsc: 'exit 0',
};

beforeAll(() => {
  fillSandbox(folder);
  mkdirSync(join(folder, 'bin'));
  for (const [name, script] of Object.entries(STAND_INS)) {
    writeFileSync(join(folder, 'bin', name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, 'bin', name), 0o755);
  }
  const presets = join(folder, 'presets');
  cpSync(join(ROOT, 'presets'), presets, { recursive: true });
  // What no --set changes: the sizes of a grid, and schedules that end after a step.
  for (const name of ['scaling', 'windows-order']) {
    const path = join(presets, 'studies', `${name}.yaml`);
    const text = readFileSync(path, 'utf8')
      .replace('[450, 900, 1800]', '[2, 3, 4]')
      .replace('model.preset: [s1-full, s2-full, s3-full]', 'model.hiddenSize: [8, 16, 24]')
      .replace(/^ {2}swa-128(-nope)?: .* full.*\n/gm, name === 'scaling' ? '' : '$&')
      .replaceAll('until: 1220', 'until: 2');
    writeFileSync(path, text);
  }
  mkdirSync(join(folder, 'clone'));
  cpSync(join(ROOT, 'package.json'), join(folder, 'clone', 'package.json'));
  symlinkSync(join(ROOT, 'dist'), join(folder, 'clone', 'dist'));
});
const child = spawn(process.execPath, [join(import.meta.dirname, 'doc-commands-child.mjs'), MAIN], {
  cwd: folder,
  stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
});
const answers = createInterface({ input: child.stdio[3] as Readable })[Symbol.asyncIterator]();
afterAll(() => {
  child.stdin?.end();
  rmSync(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function longsight(...args: string[]): Promise<Ended> {
  child.stdin?.write(`${JSON.stringify(args)}\n`);
  const answer: IteratorResult<string, undefined> = await answers.next();
  return JSON.parse(answer.value ?? '') as Ended;
}

/** What readers of these pages have by then: runs on text, token shards, an archive of Linux. */
beforeAll(async () => {
  const at = (name: string, text = '') => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
    return name;
  };
  const text = openCorpus('moby-dick').text();
  const lines = Array.from({ length: 20 }, (_, i) => JSON.stringify({ text: text.slice(i * 4000, (i + 1) * 4000) }));
  const run = (data: string, layers: string) => `
model: { hiddenSize: 16, numLayers: 4, numHeads: 2, intermediateSize: 16, layers: '${layers}' }
data: ${data}
train: { steps: 2, seqLen: 160, batchSize: 2, warmupSteps: 1, evalEvery: 2, checkpointEvery: 2 }
eval: { batches: 1, needle: false, trace: false }
threads: 1
engine: onnx
`;
  const bytes = '{ kind: shards, path: byte-shards }';
  const both = run(bytes, 'full').trim().replaceAll('\n', '\n  ').replace(", layers: 'full'", '');
  const ready = [
    [
      'data',
      'prepare',
      at('documents.jsonl', lines.join('\n')),
      '--tokenizer',
      'bytes',
      '--out',
      'byte-shards',
      '--held-out',
      '0.2',
    ],
    ['train', at('full.yaml', run(bytes, 'full')), '--out', 'runs/full'],
    ['train', at('text.yaml', run(bytes, 'swa:16 full')), '--out', 'runs/text'],
    [
      'study',
      'plan',
      at('two.yaml', `name: two\nbase:\n  ${both}\narchitectures: { a: full, b: 'swa:16 full:nope' }\nseeds: [1]\n`),
      '--out',
      'runs/study',
    ],
    ['study', 'run', 'runs/study'],
  ];
  for (const args of ready) expect({ args, ...(await longsight(...args)) }).toMatchObject({ code: 0 });
  const sources = Object.fromEntries(
    lines.map((_, i) => [`linux-6.12/a${i}.c`, text.slice(i * 10_000, (i + 1) * 10_000)]),
  );
  writeFileSync(join(folder, 'linux.tar.gz'), gzipSync(await tarOf(sources)));
});

const places = (text: string) => text.replaceAll('HERE', folder).replaceAll('ROOT/', ROOT);
const words = (text: string) =>
  places(text)
    .split(' ')
    .filter((word) => word !== '');

/** Runs a line, by a shell unless it is one command of Longsight. */
async function perform(line: string, { more = '', instead = {} }: DocRun): Promise<Ended> {
  const text = Object.entries(instead).reduce((now, [from, to]) => now.replaceAll(from, places(to)), line);
  if (text.startsWith('longsight ')) return longsight(...(longsightCalls(text)[0] ?? []), ...words(more));
  const env = {
    ...process.env,
    // Nothing is written into the user's own folder.
    HOME: folder,
    LONGSIGHT_MORE: places(more),
    PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}`,
  };
  const { status, stdout, stderr } = spawnSync('bash', ['-c', text], { cwd: folder, env, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

describe('the commands of', () => {
  it.each(Object.keys(WITH_PROCESSES))('%s run', async (page) => {
    for (const [line, how] of Object.entries(WITH_PROCESSES[page] ?? {})) {
      const run = typeof how === 'string' ? { more: how } : how;
      if (run.needsPlugin === true && plugin === null) continue;
      const { code, stderr } = await perform(line, run);
      expect({ line, code, stderr: code === 0 ? '' : stderr }).toEqual({ line, code: 0, stderr: '' });
    }
  });
});

describe('scripts that the text names', () => {
  it.each(Object.entries(SCRIPTS))('%s runs', async (line, { more = '', instead = {} }) => {
    const here = { ...instead, 'node bench': `node ${join(ROOT, 'bench')}` };
    const { code, stderr } = await perform(`${line} ${places(more)}`, { instead: here });
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  });
});

describe('what the lines of a shell leave', () => {
  it.each(['study', 'runs/units'])('the runs of %s, which several processes shared out, are done', async (study) => {
    const { stdout } = await longsight('study', 'status', study, '--json');
    const { runs } = JSON.parse(stdout) as { runs: { state: string }[] };
    expect(runs.map(({ state }) => state)).toEqual(Array<string>(6).fill('done'));
  });

  it('a job of Slurm whose study was stopped is queued again, and no other', async () => {
    const [line = ''] = Object.keys(WITH_PROCESSES['docs/clusters.md'] ?? {}).filter((text) => text.startsWith('#!'));
    for (const [status, queued] of [
      [75, true],
      [1, false],
    ] as const) {
      const answer = `longsight() { return ${status}; }; srun() { "$@"; }\n`;
      const { code } = await perform(`${answer}${line}`, { instead: { '; ': '\n' } });
      expect([code, existsSync(join(folder, 'requeued'))]).toEqual([status, queued]);
      rmSync(join(folder, 'requeued'), { force: true });
    }
  });

  it('a plugin that pip installs is found by the variable of the page', () => {
    const env = { VIRTUAL_ENV: join(folder, 'pjrt') };
    const found = findPlugin('cuda', {}, { env, sitePackages: () => pythonPackages(env) });
    expect(found.plugin?.path).toMatch(/pjrt.*site-packages.jax_plugins.xla_cuda12.xla_cuda_plugin\.so$/);
  });
});
