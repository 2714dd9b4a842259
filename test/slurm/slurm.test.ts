/**
 * Studies on a real Slurm: two nodes of one machine, with host names of their own. A node loses its power, jobs are preempted, requeued
 * and asked to stop, the submitting process is killed and started again: every run ends once, with the bits of `--executor local`.
 */
import { appendFileSync, cpSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findPlugin } from '../../src/engine/xla/pjrt/discover.js';
import { folderWith } from '../support/folders.js';
import { Cluster, loggedSteps, until, weights, whyNoSlurm, type Task } from './support.js';

/** A node of a run on a CPU engine, in place of `longsight`: the command shares no run between processes there. */
const NODE = fileURLToPath(new URL('../../bench/kill-nodes-node.mjs', import.meta.url));
const missing = whyNoSlurm();
if (missing !== null) process.stderr.write(`skipped: ${missing}\n`);

/** A study of two designs; `more` goes on in `train`, `lines` are further ones of `base`. */
const study = (steps: number, seeds: string, slurm: string, more = '', lines: readonly string[] = []) => `name: tiny
base:
${lines.map((line) => `  ${line}\n`).join('')}\
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: ${steps}, seqLen: 16, batchSize: 4, warmupSteps: 2, evalEvery: 500, checkpointEvery: 100, logEvery: 2${more} }
  eval: { batches: 1, recall: { batches: 1, bins: [4, 16] }, trace: false }
architectures: { full: full, small: 'swa:4 full' }
seeds: ${seeds}
executors: { slurm: ${slurm} }
`;

interface Listed {
  readonly id: string;
  readonly state: string;
}

let cluster: Cluster;
const listed = async (cwd: string): Promise<Listed[]> =>
  (JSON.parse((await cluster.longsight(cwd, 'study', 'status', 'u', '--json')).out) as { runs: Listed[] }).runs;
const running = () => cluster.tasks().filter(({ state }) => state === 'RUNNING');
const on = (node: string) => (task: Task) => task.node === node;

describe.skipIf(missing !== null)('studies on Slurm', () => {
  beforeAll(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.allOn());
  afterAll(() => cluster[Symbol.dispose]());

  it('end once each and with the same bits, whatever happens to nodes, jobs and the submitting process', async () => {
    const steps = 500;
    const cwd = folderWith({ 's.yaml': study(steps, '[1, 2, 3, 4, 5, 6]', '{ limit: 4, partition: low, time: 60 }') });
    const submit = ['study', 's.yaml', '--out', 'u', '--executor', 'slurm'];
    const counts = { submitters: 0, preempted: 0, asked: 0, requeued: 0, lost: 0 };

    // Killed at four moments: before Slurm hears of the job, while it does, and after.
    for (const wait of [0, 20, 100, 400]) {
      const { child, ended } = cluster.start(cwd, ...submit);
      await until(() => existsSync(join(cwd, 'u', 'slurm', '1', 'submission.json')), 'it submits', 1);
      await new Promise((done) => setTimeout(done, wait));
      child.kill('SIGKILL');
      await ended;
      counts.submitters += 1;
    }
    let follower = cluster.start(cwd, ...submit, '--follow');
    await until(() => running().length === 4, 'four runs work');
    expect(cluster.tasks().length).toBe(12);

    // Another job takes node-b: its runs save their state and are queued again.
    await until(() => running().some(on('node-b')) || running().every(on('node-a')), 'runs work');
    const [victim] = running();
    const node = victim?.node ?? '';
    counts.preempted = running().filter(on(node)).length;
    cluster.slurm(
      'sbatch',
      '--partition=high',
      `--nodelist=${node}`,
      '--exclusive',
      '--output=/dev/null',
      '--wrap=sleep 2',
    );
    await until(() => cluster.tasks().some(({ restarts }) => restarts > 0), 'runs are preempted');
    cluster.hurry();

    // The follower is killed and started again.
    follower.child.kill('SIGKILL');
    await follower.ended;
    counts.submitters += 1;
    follower = cluster.start(cwd, ...submit, '--follow');

    // The signal that comes before the time limit, and an operator's requeue.
    await until(() => running().length >= 2, 'runs work again');
    // While a job is being started Slurm says that it cannot be altered now.
    const one = () => running()[0]?.id ?? '';
    await until(() => cluster.tries('scancel', '--batch', '--signal=USR1', one()), 'a signal is taken');
    const two = () => running().at(-1)?.id ?? '';
    await until(() => cluster.tries('scontrol', 'requeue', two()), 'a requeue is taken');
    counts.asked = 1;
    counts.requeued = 1;
    await until(() => cluster.tasks().filter(({ restarts }) => restarts > 0).length >= 3, 'both are queued again');
    cluster.hurry();

    // A node loses its power with runs at work.
    await until(() => running().length >= 2, 'runs work again');
    const dark = running()[0]?.node === 'node-b' ? 'node-b' : 'node-a';
    const before = running().filter(on(dark));
    counts.lost = before.length;
    cluster.cutPower(dark);
    const isBack = ({ id }: Task) =>
      cluster.tasks().some((task) => task.id === id && (task.restarts > 0 || task.node !== dark));
    await until(() => before.every(isBack), 'Slurm has noticed', 1000);
    cluster.hurry();
    await until(() => running().some(({ node: where }) => where !== dark), 'the other node works');
    cluster.powerOn(dark);

    let isOver = false;
    void follower.ended.then(() => (isOver = true));
    await until(
      () => {
        cluster.hurry();
        return isOver;
      },
      'the study is over',
      1000,
    );
    const { code, out, err } = await follower.ended;
    if (code !== 0) process.stderr.write(JSON.stringify(cluster.tasks(), null, 1));
    expect([code, out], err).toEqual([0, expect.stringContaining('report: u/report.html')]);

    const tasks = cluster.tasks();
    expect(tasks.map(({ state }) => state)).toEqual(Array(12).fill('COMPLETED'));
    expect((await listed(cwd)).map(({ state }) => state)).toEqual(Array(12).fill('done'));
    // Nothing is left to submit, and the same command says so.
    const again = await cluster.longsight(cwd, ...submit, '--json');
    expect(JSON.parse(again.out.trim().split('\n').at(-1) ?? '')).toMatchObject({ event: 'slurm', submitted: [] });
    expect(cluster.tasks().length).toBe(12);

    const local = await cluster.longsight(cwd, 'study', 's.yaml', '--out', 'local', '--threads', '1');
    expect(local.code, local.err).toBe(0);
    for (const { id } of await listed(cwd)) {
      expect(weights(join(cwd, 'u'), id, steps), id).toBe(weights(join(cwd, 'local'), id, steps));
      const logged = loggedSteps(join(cwd, 'u'), id);
      expect(logged, id).toEqual(loggedSteps(join(cwd, 'local'), id));
      expect(existsSync(join(cwd, 'u', 'logs', `${id}.log`)), id).toBe(true);
    }
    const restarts = tasks.reduce((sum, task) => sum + task.restarts, 0);
    process.stderr.write(`12 runs: ${JSON.stringify({ ...counts, restarts })}\n`);
    expect(counts.preempted * counts.lost).toBeGreaterThan(0);
  });

  it('are canceled with their state saved, and go on when submitted again', async () => {
    const cwd = folderWith({ 's.yaml': study(1500, '[1]', '{ limit: 1 }') });
    const submit = ['study', 's.yaml', '--out', 'u', '--executor', 'slurm'];
    expect((await cluster.longsight(cwd, ...submit)).code).toBe(0);
    await until(() => loggedSteps(join(cwd, 'u'), 'full_seed-1').length > 50, 'a run works');
    const canceled = await cluster.longsight(cwd, ...submit, '--cancel');
    expect([canceled.code, canceled.out], canceled.err).toEqual([
      0,
      expect.stringMatching(/^2 jobs canceled; 1 interrupted, 1 planned\./),
    ]);
    const begun = loggedSteps(join(cwd, 'u'), 'full_seed-1').length;
    const { code, err } = await cluster.longsight(cwd, ...submit, '--follow');
    expect(code, err).toBe(0);
    expect(readFileSync(join(cwd, 'u', 'logs', 'full_seed-1.log'), 'utf8')).toMatch(/resum|goes on|continu/);
    const logged = loggedSteps(join(cwd, 'u'), 'full_seed-1');
    expect(logged).toEqual([...new Set(logged)]);
    expect(logged.length).toBeGreaterThan(begun);
  });

  it('wait for the runs whose state they go on from', async () => {
    const grid = 'grid: { train.steps: [200, 400] }\n';
    const cwd = folderWith({ 's.yaml': `${study(200, '[1]', '{}', ', schedule: wsd')}${grid}` });
    const { code, err } = await cluster.longsight(
      cwd,
      'study',
      's.yaml',
      '--out',
      'u',
      '--executor',
      'slurm',
      '--follow',
    );
    expect(code, err).toBe(0);
    expect((await listed(cwd)).map(({ state }) => state)).toEqual(Array(4).fill('done'));
    expect(existsSync(join(cwd, 'u', 'slurm', '2'))).toBe(true);
  });

  it('over several nodes get a process each, which know one another and share a secret', async () => {
    const record = `#!/bin/sh
echo "$LONGSIGHT_NODE of $LONGSIGHT_NODES at $LONGSIGHT_COORDINATOR on $(hostname): $3 $4" >>"$(dirname "$0")/seen"
`;
    const cwd = folderWith({ 'record.sh': record });
    const slurm = `{ nodes: 2, command: [sh, ${join(cwd, 'record.sh')}] }`;
    appendFileSync(join(cwd, 's.yaml'), study(100, '[1]', slurm));
    const { code } = await cluster.longsight(
      cwd,
      'study',
      's.yaml',
      '--out',
      'u',
      '--executor',
      'slurm',
      '--only',
      'full',
      '--follow',
    );
    expect(code).toBe(1); // nothing was trained
    const lines = readFileSync(join(cwd, 'seen'), 'utf8').trim().split('\n').sort();
    const [, at] = /at (\S+) on/.exec(lines[0] ?? '') ?? [];
    expect(at).toMatch(/^node-a:\d+$/);
    const asked = `${join(cwd, 'u')} full_seed-1`;
    expect(lines).toEqual(['node-a', 'node-b'].map((node, i) => `${i} of 2 at ${at} on ${node}: ${asked}`));
    expect(statSync(join(cwd, 'u', 'slurm', '1', 'secret')).mode & 0o777).toBe(0o600);
  });

  it('over two nodes end with the same bits, whatever happens to a node or their job', async () => {
    const steps = 1300;
    const engine = findPlugin('cpu').plugin === null ? 'onnx' : 'xla:cpu';
    const slurm = `{ nodes: 2, partition: low, time: 60, command: [${process.execPath}, ${NODE}] }`;
    const cwd = folderWith({ 's.yaml': study(steps, '[1]', slurm, '', [`engine: ${engine}`]) });
    const only = ['--only', 'full', '--executor', 'slurm', '--follow'];
    const run = 'full_seed-1';
    const step = () => loggedSteps(join(cwd, 'u'), run).at(-1) ?? 0;

    // Left alone, on Slurm and without it, and by one process.
    const still = await cluster.longsight(cwd, 'study', 's.yaml', '--out', 'still', ...only);
    expect(still.code, still.err).toBe(0);
    const bits = weights(join(cwd, 'still'), run, steps);
    expect(existsSync(join(cwd, 'still', 'nodes', '1', 'runs', run))).toBe(false);
    await cluster.longsight(cwd, 'study', 'plan', 's.yaml', '--out', 'here');
    expect(await cluster.runNodes(NODE, join(cwd, 'here'), run)).toEqual([0, 0]);
    expect(weights(join(cwd, 'here'), run, steps)).toBe(bits);
    const alone = await cluster.longsight(cwd, 'study', 's.yaml', '--out', 'one', '--only', 'full', '--threads', '1');
    expect(alone.code, alone.err).toBe(0);
    expect(weights(join(cwd, 'one'), run, steps)).toBe(bits);

    const follower = cluster.start(cwd, 'study', 's.yaml', '--out', 'u', ...only);
    const task = () => cluster.tasks().find(({ id }) => id === current);
    await until(() => cluster.tasks().some(({ state }) => state === 'RUNNING'), 'the run works');
    const current = cluster.tasks().find(({ state }) => state === 'RUNNING')?.id ?? '';
    const seen: string[] = [];
    let dark: 'node-a' | 'node-b' | null = null;
    const happens: Record<string, () => boolean> = {
      'node 1 killed': () => cluster.kill('node-b', run) === 1,
      preempted: () =>
        cluster.tries(
          ...(['sbatch', '--partition=high', '--nodelist=node-b', '--exclusive'] as const),
          ...['--output=/dev/null', '--wrap=sleep 2'],
        ),
      'the signal before its time limit': () => cluster.tries('scancel', '--batch', '--signal=USR1', current),
      'requeued by an operator': () => cluster.tries('scontrol', 'requeue', current),
      'node 0 killed': () => cluster.kill('node-a', run) === 1,
      'node-b without power': () => {
        cluster.cutPower((dark = 'node-b'));
        return true;
      },
    };
    const works = (from: number) => {
      cluster.hurry();
      return task()?.state === 'RUNNING' && step() >= from;
    };
    for (const [i, [what, happen]] of Object.entries(happens).entries()) {
      const { restarts: before = 0 } = task() ?? {};
      await until(() => works(150 * (i + 1)), `it works, to be ${what}`, 50);
      await until(happen, what);
      seen.push(`${what} at step ${step()}`);
      await until(() => (task()?.restarts ?? 0) > before, `it is queued again: ${what}`, 500);
      if (dark !== null) cluster.powerOn(dark);
    }
    const isOver = () => (cluster.hurry(), task()?.state === 'COMPLETED');
    await until(isOver, 'it is done', 500);
    const { code, err } = await follower.ended;
    expect(code, err).toBe(0);
    process.stderr.write(`a run over two nodes (${engine}): ${seen.join(', ')}\n`);
    expect(task()).toMatchObject({ state: 'COMPLETED', restarts: Object.keys(happens).length });
    expect(weights(join(cwd, 'u'), run, steps)).toBe(bits);
    expect(loggedSteps(join(cwd, 'u'), run)).toEqual(loggedSteps(join(cwd, 'one'), run));
    const log = readFileSync(join(cwd, 'u', 'logs', `${run}.log`), 'utf8');
    expect(log).toMatch(/node 1 \(.*\) is gone/);
    expect(log).toMatch(/another node was asked to stop|stopped after step/);
    // Both went on from one step each time.
    const from = (node: number) =>
      [...log.matchAll(new RegExp(`node ${node}: .*from step ([1-9]\\d*)`, 'g'))].map(([, at]) => at);
    expect(from(1)).toEqual(from(0));
  });

  it('over two nodes do not begin where a node sees an older checkpoint', async () => {
    const cwd = folderWith({});
    // Node 1 works in a copy of the study folder that is not shared.
    const command = `#!/bin/sh
if [ "$LONGSIGHT_NODE" = 1 ]; then set -- study run ${join(cwd, 'old')} "$4"; fi
exec ${process.execPath} ${NODE} "$@"
`;
    writeFileSync(join(cwd, 'command.sh'), command);
    const slurm = `{ nodes: 2, partition: low, time: 60, command: [sh, ${join(cwd, 'command.sh')}] }`;
    writeFileSync(join(cwd, 's.yaml'), study(600, '[1]', slurm, '', ['engine: onnx']));
    expect((await cluster.longsight(cwd, 'study', 'plan', 's.yaml', '--out', 'u')).code).toBe(0);
    cpSync(join(cwd, 'u'), join(cwd, 'old'), { recursive: true });
    const { child, ended } = cluster.start(cwd, 'study', 'run', 'u', 'full_seed-1', '--threads', '1');
    await until(() => loggedSteps(join(cwd, 'u'), 'full_seed-1').length > 60, 'it is at work', 5);
    child.kill('SIGTERM');
    expect((await ended).code).toBe(75);
    const submit = ['study', 's.yaml', '--out', 'u', '--executor', 'slurm', '--only', 'full', '--follow'];
    expect((await cluster.longsight(cwd, ...submit)).code).toBe(1);
    const log = readFileSync(join(cwd, 'u', 'logs', 'full_seed-1.log'), 'utf8');
    const sentence = /longsight: node (\d): (the nodes would go on from different checkpoints: .*)/g;
    const said = [...log.matchAll(sentence)].map(([, node, words]) => [node, words]).sort();
    const [, step] = /node 0 from step (\d+), node 1 from the start; give every node/.exec(log) ?? [];
    expect(Number(step)).toBeGreaterThan(100);
    expect(said).toEqual([
      ['0', said[0]?.[1]],
      ['1', said[0]?.[1]],
    ]);
  });

  it('get GPUs of their own, and their processes the numbers of them', async () => {
    // Each waits until all are there.
    const record = `#!/bin/sh
seen=$(dirname "$0")/seen
echo "$(hostname) $CUDA_VISIBLE_DEVICES" >>"$seen"
for i in $(seq 300); do if [ "$(wc -l <"$seen")" -ge 4 ]; then exit 1; fi; sleep 0.2; done
`;
    const given = async (slurm: string, lines: readonly string[], only: string) => {
      const cwd = folderWith({ 'record.sh': record });
      const command = `command: [sh, ${join(cwd, 'record.sh')}]`;
      writeFileSync(join(cwd, 's.yaml'), study(100, '[1, 2]', `{ ${slurm}, ${command} }`, '', lines));
      const submit = ['study', 's.yaml', '--out', 'u', '--executor', 'slurm', '--only', only, '--follow'];
      expect((await cluster.longsight(cwd, ...submit)).code).toBe(1); // nothing was trained
      return readFileSync(join(cwd, 'seen'), 'utf8').trim().split('\n').sort();
    };
    // Four runs at once.
    expect(await given('gpusPerTask: 1', [], 'full,small')).toEqual(['node-a 0', 'node-a 1', 'node-b 0', 'node-b 1']);
    // Two runs one after another, over two nodes each: the mesh says how many.
    const mesh = ['engine: xla', 'mesh: { data: 4 }'];
    expect(await given('nodes: 2, limit: 1', mesh, 'full')).toEqual([
      'node-a 0,1',
      'node-a 0,1',
      'node-b 0,1',
      'node-b 0,1',
    ]);
  });

  it('begin within two seconds of what a process of this host takes', async () => {
    const stamp =
      'echo "start $(date +%s%3N)" >>"$submission/times"; trap \'echo "end $(date +%s%3N)" >>"$submission/times"\' EXIT';
    const file = study(8, '[1, 2, 3]', `{ limit: 1, setup: [${JSON.stringify(stamp)}] }`);
    const cwd = folderWith({ 's.yaml': file });
    const args = ['study', 's.yaml', '--only', 'full', '--threads', '1'];
    expect((await cluster.longsight(cwd, ...args, '--out', 'u', '--executor', 'slurm', '--follow')).code).toBe(0);
    const times = readFileSync(join(cwd, 'u', 'slurm', '1', 'times'), 'utf8')
      .trim()
      .split('\n');
    const at = (word: string) =>
      times.filter((line) => line.startsWith(word)).map((line) => Number(line.split(' ')[1]));
    const [starts, ends] = [at('start'), at('end')];
    const slurm = ends.map((end, i) => end - (starts[i] ?? 0)).sort((a, b) => a - b)[1] ?? 0;
    // The same command on this host, without Slurm.
    expect((await cluster.longsight(cwd, 'study', 'plan', 's.yaml', '--out', 'here')).code).toBe(0);
    const here: number[] = [];
    for (const seed of [1, 2, 3]) {
      const begin = performance.now();
      const { code } = await cluster.longsight(cwd, 'study', 'run', 'here', `full_seed-${seed}`, '--threads', '1');
      expect(code).toBe(0);
      here.push(performance.now() - begin);
    }
    const local = here.sort((x, y) => x - y)[1] ?? 0;
    process.stderr.write(
      `a run of 8 steps: ${slurm} ms as a job's script, ${Math.round(local)} ms as a process of this host\n`,
    );
    expect(slurm - local).toBeLessThan(2000);
  });

  it('are told from accounts how they ended, once squeue has forgotten their jobs', async ({ skip }) => {
    if (!cluster.keepsAccounts) skip('no accounts: apt-get install slurmdbd mariadb-server');
    const cwd = folderWith({ 's.yaml': study(8, '[1]', "{ command: ['false'] }") });
    const submit = ['study', 's.yaml', '--out', 'u', '--executor', 'slurm', '--only', 'full'];
    expect((await cluster.longsight(cwd, ...submit, '--follow')).code).toBe(1);
    cluster.forget();
    await until(() => !cluster.tasks().some(({ state }) => state === 'FAILED'), 'squeue has forgotten', 1000);
    const { err } = await cluster.longsight(cwd, ...submit);
    expect(err).toMatch(/full_seed-1: submitted again after job \d+_0 FAILED on node-[ab], \d+:0/);
    await cluster.longsight(cwd, ...submit, '--cancel');
  });
});
