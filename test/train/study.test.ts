/** The built command line, end to end: studies and runs, stopped and continued. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { folderWith } from '../support/folders.js';
import { DIST_MAIN, MAIN } from '../support/main.js';

const BASE = `  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: STEPS, seqLen: 16, batchSize: 4, warmupSteps: 2, evalEvery: 4, checkpointEvery: 4, logEvery: 2 }
  eval: { batches: 1, recall: { batches: 1, bins: [4, 16] }, trace: { samples: 4 } }
`;
const STUDY = `name: tiny
base:
${BASE}architectures: { full: full, small: 'swa:4 full' }
seeds: [1]
`;
// A second thread of onnxruntime spins while it waits for work, which steps this small hardly give it.
const RUN = 'threads: 1\n' + BASE.replace(/^ {2}/gm, '').replace('numLayers: 2', "layers: 'swa:4 full'");

const study = (steps: number) => STUDY.replace('STEPS', String(steps));
const run = (steps: number) => RUN.replace('STEPS', String(steps));

type Started = ChildProcess & { readonly text: () => string };

function startBy(main: string, cwd: string, args: readonly string[]): Started {
  const child = spawn(process.execPath, [main, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (text += String(part)));
  return Object.assign(child, { text: () => text });
}

const start = (cwd: string, ...args: string[]): Started => startBy(MAIN, cwd, args);

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((done) => (child.exitCode === null ? child.on('exit', (code) => done(code)) : done(child.exitCode)));

async function outcome(child: Started): Promise<{ code: number | null; text: string }> {
  const code = await ended(child);
  return { code, text: child.text() };
}

const longsight = (cwd: string, ...args: string[]) => outcome(start(cwd, ...args));
/** By the files that the package has, one by one. */
const packaged = (cwd: string, ...args: string[]) => outcome(startBy(DIST_MAIN, cwd, args));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 20));
}

const lines = (path: string): string[] => (existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []);
const parameters = (dir: string, step: number): Buffer =>
  readFileSync(join(dir, 'checkpoints', `step-${String(step).padStart(6, '0')}`, 'model.safetensors'));
const stateOf = (dir: string): unknown =>
  (JSON.parse(readFileSync(join(dir, 'status.json'), 'utf8')) as { state: unknown }).state;

describe('a study', () => {
  it('trains every run, measures every checkpoint, and writes its report', async () => {
    const folder = folderWith({ 's.yaml': study(8) });
    const { code, text } = await packaged(folder, 'study', 's.yaml');
    expect(text).toMatch(/workers? × \d+ threads? on \d+ cores?/);
    expect(text).toContain('[2/2]');
    expect(text).toContain('report: runs/tiny/report.html');
    expect(code).toBe(0);
    const dir = join(folder, 'runs', 'tiny');
    for (const name of ['full_seed-1', 'small_seed-1']) {
      const runDir = join(dir, 'runs', name);
      expect(stateOf(runDir)).toBe('done');
      expect(readdirSync(join(runDir, 'evals'))).toEqual(['step-000004.json', 'step-000008.json']);
      expect(readdirSync(join(runDir, 'analysis'))).toEqual([4, 8].map((s) => `retrieval-heads-step-00000${s}.json`));
      expect(lines(join(runDir, 'metrics.jsonl')).filter((l) => l.includes('eval/recall/5-16'))).toHaveLength(3);
    }
    expect(readFileSync(join(dir, 'report.html'), 'utf8')).toContain('Recall by distance, while training');
    expect(lines(join(dir, 'report.csv'))).toHaveLength(3);

    const again = await longsight(folder, 'study', 's.yaml', '--json');
    expect(again.code).toBe(0);
    const events = again.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map((e) => e['event'])).toEqual(['plan', 'done']);
    expect(events[0]).toMatchObject({ done: 2 });

    const set = await longsight(folder, 'study', 's.yaml', '--out', 'set', '--set', 'train.steps=4');
    expect([set.code, set.text]).toEqual([0, expect.stringContaining('report: set/report.html')]);
    expect(readFileSync(join(folder, 'set', 'runs', 'full_seed-1', 'config.json'), 'utf8')).toContain('"steps": 4,');

    const other = await longsight(folder, 'study', 's.yaml', '--set', 'train.lr=0.5');
    expect(other.code).toBe(2);
    expect(other.text).toMatch(
      /^longsight: runs\/tiny holds another study \(run full_seed-1: train\.lr was 0\.001, now 0\.5\)/,
    );
  });

  it('continues after Ctrl-C and after being killed, to the same parameters', async () => {
    const folder = folderWith({ 's.yaml': study(240) });
    const dir = join(folder, 'out');
    const args = ['study', 's.yaml', '--out', 'out', '--workers', '1', '--threads', '1'];
    const metrics = (name: string) => join(dir, 'runs', name, 'metrics.jsonl');

    const first = start(folder, ...args);
    await until(() => lines(metrics('full_seed-1')).length > 10);
    first.kill('SIGINT');
    expect(await ended(first)).toBe(130);
    expect(first.text()).toContain('longsight: the study was stopped; the same command continues it');
    expect(stateOf(join(dir, 'runs', 'full_seed-1'))).toBe('interrupted');

    const second = start(folder, ...args);
    await until(() => lines(metrics('small_seed-1')).length > 10);
    second.kill('SIGKILL');
    await ended(second);
    // Its worker notices, and stops as on Ctrl-C.
    await until(() => stateOf(join(dir, 'runs', 'small_seed-1')) === 'interrupted');

    const third = await longsight(folder, ...args);
    expect(third.text).toMatch(/1 run done before/);
    expect(third.text).toMatch(/resumed: small_seed-1/);
    expect(third.code).toBe(0);
    await longsight(folder, 'study', 's.yaml', '--out', 'whole', '--workers', '1', '--threads', '1', '--quiet');
    for (const name of ['full_seed-1', 'small_seed-1']) {
      const whole = parameters(join(folder, 'whole', 'runs', name), 240);
      expect(parameters(join(dir, 'runs', name), 240).equals(whole)).toBe(true);
    }
  });

  it('trains what --only names, and the rest at another call', async () => {
    const folder = folderWith({ 's.yaml': study(4) });
    const wrong = await longsight(folder, 'study', 's.yaml', '--only', 'small,wide');
    expect(wrong.code).toBe(2);
    expect(wrong.text).toContain(
      '--only: "wide" is no architecture or run of the study; its architectures are full, small',
    );
    expect(existsSync(join(folder, 'runs'))).toBe(false);

    const first = await longsight(folder, 'study', 's.yaml', '--only', 'small');
    expect(first.text).toContain('1 of 2 runs: those that --only names');
    expect(first.code).toBe(0);
    expect(readdirSync(join(folder, 'runs', 'tiny', 'runs'))).toEqual(['small_seed-1']);

    const rest = await longsight(folder, 'study', 's.yaml');
    expect(rest.text).toContain('1 run done before');
    expect(rest.code).toBe(0);
    expect(readdirSync(join(folder, 'runs', 'tiny', 'runs'))).toEqual(['full_seed-1', 'small_seed-1']);
  });

  it('reports a run that fails, finishes the others, and ends with code 1', async () => {
    const text = study(8).replace(
      "small: 'swa:4 full'",
      "small: 'swa:4 full', wild: { layers: 'full', init: { scheme: normal, std: 1.0e+19 } }",
    );
    const folder = folderWith({ 's.yaml': text });
    const { code, text: output } = await longsight(folder, 'study', 's.yaml', '--out', 'out');
    expect(code).toBe(1);
    expect(output).toMatch(/longsight: 1 of 3 runs did not finish: wild_seed-1 failed \(training diverged at step 1: /);
    expect(stateOf(join(folder, 'out', 'runs', 'small_seed-1'))).toBe('done');
    const csv = lines(join(folder, 'out', 'report.csv'));
    // Every run has its line, the failed one too, marked as that.
    expect(csv).toHaveLength(4);
    expect(csv.filter((line) => line.split(',').includes('failed'))).toHaveLength(1);
    expect(readFileSync(join(folder, 'out', 'report.html'), 'utf8')).toMatch(
      /Runs left out of comparisons: failed, training diverged[^<]*: wild_seed-1/,
    );
  });
});

describe('a study on text', () => {
  it("measures loss and needles on the user's own files, and compares by loss", async () => {
    const text = Array.from({ length: 400 }, (_, i) => `Line ${i} says that ${i} plus one is ${i + 1}.\n`).join('');
    const folder = folderWith({
      'a.txt': text,
      'b.jsonl': `${JSON.stringify({ text })}\n`,
      's.yaml': `name: text
base:
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: [{ kind: text, files: a.txt }, { kind: text, files: ['*.jsonl'], weight: 2 }]
  train: { steps: 4, seqLen: 256, batchSize: 2, evalEvery: 2, checkpointEvery: 4 }
  eval: { batches: 1, needle: { samples: 2, depths: [0, 1] }, trace: { samples: 2 } }
architectures: { full: full, small: 'swa:8 full' }
seeds: [1, 2]
`,
    });
    const { code, text: output } = await longsight(folder, 'study', join(folder, 's.yaml'), '--out', 'out');
    expect(output).toContain('Held-out loss ends at');
    expect(code).toBe(0);
    const html = readFileSync(join(folder, 'out', 'report.html'), 'utf8');
    expect(html).toContain('Needle in a haystack');
    expect(html).not.toContain('Recall by distance');
    expect(lines(join(folder, 'out', 'report.csv'))[0]).toContain('needle_accuracy');
  });
});

describe('a run', () => {
  it('is trained, measured again, traced and reported', async () => {
    const folder = folderWith({ 'r.yaml': run(8) });
    expect((await packaged(folder, 'train', 'r.yaml', '--quiet')).text).toBe('');
    const dir = join(folder, 'runs', 'r');
    const record = join(dir, 'evals', 'step-000008.json');
    const before = readFileSync(record, 'utf8');
    rmSync(record);
    const evaluated = await packaged(folder, 'eval', 'runs/r', '--threads', '1');
    expect(evaluated.text).toContain('stored in runs/r/evals/step-000008.json');
    expect(JSON.parse(readFileSync(record, 'utf8'))).toEqual(JSON.parse(before));
    const heads = join(dir, 'analysis', 'retrieval-heads-step-000004.json');
    const scores = readFileSync(heads, 'utf8');
    rmSync(heads);
    const traced = await packaged(folder, 'trace', 'runs/r', '--top', '2', '--threads', '1');
    expect(traced.text).toMatch(
      /step 4, 256 tokens: \d of 4 heads score at least 0\.1; .*\nlayer +kind +head +score +top-1 \(95 %\)\n/,
    );
    expect(readFileSync(heads, 'utf8')).toBe(scores);
    const changed = await longsight(
      folder,
      'eval',
      'runs/r/checkpoints/step-000004',
      '--set',
      'eval.recall.bins=[2, 16]',
    );
    expect(changed.text).toMatch(/\n3-16 /);
    expect(changed.text).toContain('not stored');
    expect((await packaged(folder, 'report', 'runs/r')).code).toBe(0);
    const repeated = await longsight(folder, 'train', 'runs/r/config.json', '--out', 'again');
    expect(repeated.code).toBe(0);
    expect(parameters(join(folder, 'again'), 8).equals(parameters(dir, 8))).toBe(true);
  });

  it('stops on Ctrl-C with code 130 and resumes to the same parameters', async () => {
    const folder = folderWith({ 'r.yaml': run(240) });
    const child = start(folder, 'train', 'r.yaml', '--out', 'out');
    await until(() => lines(join(folder, 'out', 'metrics.jsonl')).length > 10);
    child.kill('SIGINT');
    expect(await ended(child)).toBe(130);
    expect(child.text()).toMatch(/longsight: training was stopped after step \d+; resume it to go on from there/);
    const refused = await longsight(folder, 'train', 'r.yaml', '--out', 'out');
    expect(refused.code).toBe(2);
    expect(refused.text).toMatch(/out already holds a run; resume it \(--resume\) or choose another folder/);
    const resumed = await longsight(folder, 'train', 'r.yaml', '--out', 'out', '--resume');
    expect(resumed.text).toMatch(/resuming from step \d+ of 240/);
    await longsight(folder, 'train', 'r.yaml', '--out', 'whole', '--quiet');
    expect(parameters(join(folder, 'out'), 240).equals(parameters(join(folder, 'whole'), 240))).toBe(true);
  });

  it('refuses a checkpoint that is cut off or of another architecture, by name', async () => {
    const folder = folderWith({ 'r.yaml': run(8), 'other.yaml': run(8).replace('swa:4 full', 'swa:5 full') });
    await longsight(folder, 'train', 'r.yaml', '--out', 'out', '--quiet');
    const other = await longsight(folder, 'train', 'other.yaml', '--out', 'out', '--resume');
    expect(other.code).toBe(2);
    expect(other.text).toMatch(/holds another run: model\.layers\[0\]\.groups\[0\]\.window was 4, now 5/);
    const tensors = join(folder, 'out', 'checkpoints', 'step-000008', 'model.safetensors');
    writeFileSync(tensors, readFileSync(tensors).subarray(0, 300));
    const cut = await longsight(folder, 'eval', 'out/checkpoints/step-000008');
    expect(cut.code).toBe(2);
    expect(cut.text).toMatch(/^longsight: .*step-000008\/model\.safetensors.*\n$/);
    const gone = await longsight(folder, 'eval', 'out', '--step', '6');
    expect(gone.text).toBe('longsight: out has no checkpoint of step 6; there are: 4, 8\n');
  });

  it('says when files can grow no more, and leaves the last checkpoint', async () => {
    const folder = folderWith({ 'r.yaml': run(240) });
    // Files of 24 KiB: enough to begin with, too little for the metrics of all steps.
    const shell = `ulimit -f 24; exec "$0" "$@"`;
    const command = ['train', 'r.yaml', '--out', 'out', '--set', 'train.logEvery=1'];
    const args = ['-c', shell, process.execPath, MAIN, ...command];
    const result = spawnSync('bash', args, { cwd: folder, encoding: 'utf8' });
    expect(result.status).toBe(2);
    expect(result.stderr).toMatch(/longsight: cannot write .*out\/.*\n$/);
    expect(readdirSync(join(folder, 'out', 'checkpoints')).filter((name) => !name.startsWith('step-'))).toEqual([]);
    const resumed = await longsight(folder, ...command, '--resume');
    expect(resumed.code).toBe(0);
  });

  it('goes on when nobody reads what it prints', async () => {
    const folder = folderWith({ 'r.yaml': run(8) });
    const shell = '"$0" "$@" --json | true; echo "${PIPESTATUS[0]}"';
    const args = ['-c', shell, process.execPath, MAIN, 'train', 'r.yaml', '--out', 'out'];
    const result = spawnSync('bash', args, { cwd: folder, encoding: 'utf8' });
    expect(result.stdout).toBe('0\n');
    expect(stateOf(join(folder, 'out'))).toBe('done');
  });
});
