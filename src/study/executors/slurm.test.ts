import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../../../test/support/cli.js';
import { folderWith, messageOf } from '../../../test/support/folders.js';
import { cleanEnvironment, isLive, parseTasks } from './slurm-commands.js';
import { arraysOf, arrayScript, sbatchArguments, shellWord, slurmOptions } from './slurm-script.js';

const array = { name: 'longsight-s-0', dir: '/s', folder: '/s/slurm/1', runs: ['a', 'b', 'c'], devices: 1, after: [] };
const here = { command: ['node', 'main.js'], runOptions: [] };

describe('the options of sbatch', () => {
  it('come from the study file', () => {
    const options = slurmOptions.parse({ partition: 'gpu', time: '4:00:00', limit: 2, options: ['--account=lab'] });
    const args = sbatchArguments({ ...array, after: ['7', '8'] }, options);
    expect(args).toEqual([
      ...['--parsable', '--job-name=longsight-s-0', '--requeue', '--array=0-2%2'],
      ...['--output=/s/slurm/1/%a.log', '--open-mode=append', '--signal=B:USR1@120'],
      ...['--nodes=1', '--ntasks=1', '--ntasks-per-node=1', '--partition=gpu', '--time=4:00:00'],
      ...['--dependency=afterany:7:8', '--account=lab', '/s/slurm/1/job.sh'],
    ]);
  });

  it('ask for the devices of a mesh, on each of its nodes', () => {
    const gpus = (devices: number, given: object) =>
      sbatchArguments({ ...array, devices }, slurmOptions.parse(given)).filter((arg) => arg.startsWith('--gpus'));
    expect(gpus(1, {})).toEqual([]);
    expect(gpus(1, { gpusPerTask: 1 })).toEqual(['--gpus-per-task=1']);
    expect(gpus(8, {})).toEqual(['--gpus-per-task=8']);
    expect(gpus(8, { nodes: 2 })).toEqual(['--gpus-per-task=4']);
    expect(messageOf(() => gpus(8, { nodes: 3 }))).toBe(
      'executors.slurm.nodes: 8 devices of a mesh do not divide over 3 nodes; change one of the two',
    );
  });

  it.each([
    ['--array=0-3', '--array is set by longsight; use limit'],
    ['-Jname', '-J is set by longsight'],
    ['--signal=TERM', '--signal is set by longsight; use graceSeconds'],
    ['--arr=0-3', '--arr, short for --array, is set by longsight; use limit'],
    ['--mem 4G', 'an option and its value are one word, such as --mem=16G or -Alab, got "--mem 4G"'],
    ['-A lab', 'an option and its value are one word, such as --mem=16G or -Alab, got "-A lab"'],
    ['mem=4G', 'must begin with - or --, such as --mem=16G, got "mem=4G"'],
  ])('do not take %s', (option, sentence) => {
    const { error } = slurmOptions.safeParse({ options: [option] });
    expect(error?.issues.map(({ message }) => message)).toEqual([sentence]);
  });

  it('take what is like those and is not', () => {
    const options = ['--gpus=2', '--nodelist=a,b', '--time-min=5', '--mem=4G', '-Alab', '--comment=two words'];
    expect(slurmOptions.parse({ options }).options).toEqual(options);
  });
});

describe('runs in arrays', () => {
  it('are by devices, with what they go on from before them, and no larger than the cluster takes', () => {
    const run = (id: string, devices = 1, after: string | null = null) => ({ id, devices, after });
    const runs = [run('a', 1, 'b'), run('b'), run('c', 4), run('d'), run('e'), run('f', 1, 'gone')];
    const found = arraysOf(runs, 2).map(({ level, devices, runs: of }) => [level, devices, of.map(({ id }) => id)]);
    expect(found).toEqual([
      [0, 1, ['b', 'd']],
      [0, 4, ['c']],
      [0, 1, ['e', 'f']],
      [1, 1, ['a']],
    ]);
  });
});

describe('tasks of job arrays', () => {
  it('are read from what squeue and sacct print', () => {
    const text = [
      '12_0|longsight-s-0|RUNNING|None|node-a',
      '12_1|longsight-s-0|PENDING|JobArrayTaskLimit|',
      '13|other|RUNNING|None|node-a',
      '12_2|longsight-s-0|CANCELLED by 1000|0:15|None assigned',
      '',
    ].join('\n');
    const task = { job: '12', name: 'longsight-s-0' };
    expect(parseTasks(text)).toEqual([
      { ...task, index: 0, state: 'RUNNING', reason: '', nodes: 'node-a' },
      { ...task, index: 1, state: 'PENDING', reason: 'JobArrayTaskLimit', nodes: '' },
      { ...task, index: 2, state: 'CANCELLED', reason: '0:15', nodes: '' },
    ]);
    expect(parseTasks(text).map(isLive)).toEqual([true, true, false]);
  });

  it('are read from what sacct of Slurm 22.05.8 printed, with accounts in slurmdbd', () => {
    const text =
      '1_0|longsight-x-1|COMPLETED|0:0|node-a\n1_1|longsight-x-1|FAILED|1:0|node-a\n2_0|longsight-x-2|REQUEUED|0:0|node-a\n';
    expect(parseTasks(text).map(({ job, index, state, reason, nodes }) => [job, index, state, reason, nodes])).toEqual([
      ['1', 0, 'COMPLETED', '', 'node-a'],
      ['1', 1, 'FAILED', '1:0', 'node-a'],
      ['2', 0, 'REQUEUED', '', 'node-a'],
    ]);
  });
});

it('a job gets no variables of a job that submits it', () => {
  const env = { PATH: '/bin', SLURM_JOB_ID: '1', SLURM_CPUS_PER_TASK: '4', SLURM_CONF: '/c', SBATCH_ACCOUNT: 'lab' };
  expect(cleanEnvironment(env)).toEqual({ PATH: '/bin', SLURM_CONF: '/c', SBATCH_ACCOUNT: 'lab' });
});

/** Runs the script of a task with stand-ins for srun, squeue and scontrol. */
function task(
  srun: string,
  state: string,
  index = 1,
  options: { readonly retries?: number } = {},
): { code: number | null; log: string; requeued: string } {
  const folder = folderWith({
    'u/slurm/1/runs.txt': "a\nb'c\n",
    'bin/srun': `#!/bin/bash\n${srun}\n`,
    'bin/squeue': `#!/bin/sh\necho ${state}\n`,
    'bin/scontrol': '#!/bin/sh\necho "$@" >>"$REQUEUED"\n',
    requeued: '',
  });
  for (const name of ['srun', 'squeue', 'scontrol']) chmodSync(join(folder, 'bin', name), 0o755);
  const script = arrayScript(
    { dir: join(folder, 'u'), folder: join(folder, 'u/slurm/1') },
    slurmOptions.parse(options),
    here,
  );
  const env = { PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}`, REQUEUED: join(folder, 'requeued') };
  const slurm = { SLURM_ARRAY_TASK_ID: String(index), SLURM_JOB_ID: '33', SLURM_NNODES: '1' };
  const { status } = spawnSync('bash', ['-c', script], { env: { ...env, ...slurm } });
  const log = status === 2 ? '' : readFileSync(join(folder, 'u/logs', index === 0 ? 'a.log' : "b'c.log"), 'utf8');
  return { code: status, log, requeued: readFileSync(join(folder, 'requeued'), 'utf8') };
}

describe('the script of a task', () => {
  it('trains the run of its index and ends as that does', () => {
    const { code, log, requeued } = task('printf "%s\\n" "${@: -4}"; exit 3', 'RUNNING');
    expect([code, requeued]).toEqual([3, '']);
    const [study, run, folder, id] = log.trim().split('\n');
    expect([study, run, folder?.endsWith('/u'), id]).toEqual(['study', 'run', true, "b'c"]);
    expect(task('exit 0', 'RUNNING', 7).code).toBe(2);
  });

  it('is queued again where the run says so, and not where Slurm ends the job itself', () => {
    expect(task('exit 75', 'RUNNING')).toMatchObject({ code: 75, requeued: 'requeue 33\n' });
    expect(task('exit 75', 'COMPLETING')).toMatchObject({ code: 75, requeued: '' });
    expect(task('exit 1', 'RUNNING')).toMatchObject({ code: 1, requeued: '' });
  });

  it('is queued again where its process was killed, so many times as the study file says', () => {
    expect(task('kill -9 $$', 'RUNNING')).toMatchObject({ code: 75, requeued: 'requeue 33\n' });
    expect(task('kill -9 $$', 'COMPLETING')).toMatchObject({ requeued: '' });
    expect(task('kill -9 $$', 'RUNNING', 0, { retries: 0 })).toMatchObject({ code: 137, requeued: '' });
  });

  it('passes the signal before the time limit on, and waits for the state to be saved', () => {
    // The script is the parent of srun.
    const saves = 'trap "echo saved; exit 75" USR1; kill -USR1 $PPID; for i in {1..250}; do sleep 0.1; done; exit 9';
    expect(task(saves, 'RUNNING')).toMatchObject({ code: 75, log: 'saved\n', requeued: 'requeue 33\n' });
    // It may come before srun listens.
    expect(task('kill -USR1 $PPID; sleep 5', 'RUNNING')).toMatchObject({ code: 75, requeued: 'requeue 33\n' });
    // SIGTERM goes to the step from Slurm: srun would kill on a second one.
    const ends = 'trap "exit 8" TERM; kill -TERM $PPID; sleep 0.5; exit 75';
    expect(task(ends, 'COMPLETING')).toMatchObject({ code: 75, requeued: '' });
  });

  it('quotes what a shell would read otherwise', () => {
    expect([shellWord('/a/b-c_1.0'), shellWord("it's $HOME")]).toEqual(['/a/b-c_1.0', `'it'\\''s $HOME'`]);
  });
});

const studyFile = `name: tiny
base:
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: 8, seqLen: 16, batchSize: 4, warmupSteps: 2 }
architectures: { full: full }
seeds: [1]
executors: { slurm: { limit: 2 } }
`;

describe('longsight study --executor', () => {
  it.each([
    [['--executor', 'pbs'], '--executor must be one of local, slurm, manifest'],
    [['--cancel'], '--cancel goes with --executor slurm, not with --executor local'],
    [['--executor', 'manifest', '--follow'], '--follow goes with --executor slurm, not with --executor manifest'],
    [['--executor', 'slurm', '--cancel', '--follow'], 'give one of the two'],
    [['--executor', 'slurm', '--workers', '2'], '--workers says what this host does; with --executor slurm give'],
  ])('refuses %j in one sentence', async (args, sentence) => {
    const folder = folderWith({ 's.yaml': studyFile });
    const { code, stderr } = await cli(['study', join(folder, 's.yaml'), '--out', join(folder, 'u'), ...args]);
    expect([code, stderr.trim().split('\n').length]).toEqual([2, 1]);
    expect(stderr).toContain(sentence);
  });

  it('names the line of a wrong option in the study file', async () => {
    const folder = folderWith({ 's.yaml': studyFile.replace('limit: 2', 'limits: 2') });
    const { code, stderr } = await cli(['study', join(folder, 's.yaml'), '--out', join(folder, 'u')]);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/s\.yaml:8: unknown key "limits" in executors\.slurm; did you mean "limit"\?$/m),
    ]);
  });

  it('says that Slurm is not here, and writes nothing', async () => {
    const folder = folderWith({ 's.yaml': studyFile });
    const path = process.env['PATH'];
    mkdirSync(join(folder, 'empty'));
    process.env['PATH'] = join(folder, 'empty');
    try {
      const args = ['study', join(folder, 's.yaml'), '--out', join(folder, 'u'), '--executor', 'slurm'];
      const { code, stderr } = await cli(args);
      expect([code, stderr]).toEqual([2, expect.stringContaining("needs Slurm's commands, and sbatch is not there")]);
      expect(existsSync(join(folder, 'u'))).toBe(false);
    } finally {
      process.env['PATH'] = path;
    }
  });
});
