/** Processes that find one another by PJRT's key-value callbacks. They run what is built in `dist`; `npm test` builds it first. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { findPlugin } from '../../src/engine/index.js';
import { folderWith } from '../support/folders.js';
import { freePort } from '../support/ports.js';

const CHILD = fileURLToPath(new URL('kv-child.mjs', import.meta.url));
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const { plugin } = findPlugin('cpu');

interface Child {
  readonly process: ChildProcess;
  /** Once it has printed its line, with both nodes connected; fails if it ends before that. */
  readonly ready: Promise<unknown>;
  readonly ended: Promise<{ readonly code: number | null; readonly output: string; readonly said: string }>;
}

function child(node: number, coordinator: string, ending = 'leaves'): Child {
  const started = spawn(process.execPath, [CHILD, String(node), coordinator, ending]);
  let output = '';
  let said = '';
  started.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ended: Child['ended'] = new Promise((resolve) =>
    started.on('close', (code) => resolve({ code, output, said })),
  );
  const ready = new Promise<void>((resolve, reject) => {
    started.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes('\n')) resolve();
    });
    void ended.then(({ code }) => reject(new Error(`node ${node} ended with code ${code} before its line: ${said}`)));
  });
  ready.catch(() => undefined); // told to whoever waits for it
  return { process: started, ready, ended };
}

describe('key-value callbacks', () => {
  it('share keys between two processes, called from threads of their own', async () => {
    const coordinator = `127.0.0.1:${await freePort()}`;
    // Node 1 first: it waits for node 0 to serve.
    const [one, zero] = await Promise.all([child(1, coordinator).ended, child(0, coordinator).ended]);
    // Where it serves is said at once; both leave in order, so nobody is called gone.
    expect([one.said, zero.said]).toEqual([
      '',
      `xla: node 0 serves the key-value store of 2 nodes at 127.0.0.1, port ${coordinator.split(':')[1]}, which only this host ` +
        'can reach; a shared secret is asked for\n',
    ]);
    [one.output, zero.output].forEach((output, i) => {
      const [node, other] = [1 - i, i];
      expect(JSON.parse(output), output).toEqual({
        missing: 'error 4242',
        puts: [true, true, true],
        values: [0, 1, 2].map((k) => [other, 0, 255, k]),
        tried: [other, 0, 255, 1],
        late: 'error 4242',
        errors: [
          [5, `no key nobody ${node}`],
          [4, 'no key never put within 50 ms'],
        ],
        last: [1],
      });
    });
  });

  it.each([
    {
      lost: 1,
      ending: 'waits',
      words: /node 1 \(127\.0\.0\.1\) is gone; start the run again on all nodes; this node ends/,
    },
    {
      lost: 0,
      ending: 'waits',
      words: /node 0 \(127\.0\.0\.1:\d+\) is gone; start the run again on all nodes; this node ends/,
    },
    {
      lost: 1,
      ending: 'fails',
      words: /node 1 \(127\.0\.0\.1\) has failed; start the run again on all nodes; this node ends/,
    },
  ])('end a process that waits for node $lost where that $ending, with code 75', async ({ lost, ending, words }) => {
    const coordinator = `127.0.0.1:${await freePort()}`;
    const left = child(1 - lost, coordinator, 'waits');
    const other = child(lost, coordinator, ending);
    await Promise.all([left.ready, other.ready]);
    if (ending === 'waits') other.process.kill('SIGKILL');
    const { code, said } = await left.ended;
    expect([code, said]).toEqual([75, expect.stringMatching(words)]);
  });
});

describe('a node whose plugin does not start', () => {
  it.skipIf(!plugin)('ends with its sentence, though it serves the others', async () => {
    const folder = folderWith({
      'run.yaml': 'model: { hiddenSize: 8, numHeads: 2, layers: full }\ndata: { kind: recall }\ntrain: { steps: 1 }\n',
    });
    const hosts = { LONGSIGHT_COORDINATOR: `127.0.0.1:${await freePort()}`, LONGSIGHT_NODES: '2', LONGSIGHT_NODE: '0' };
    // The plugin for CPUs takes no part in a run over several hosts.
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'train', 'run.yaml', '--engine', 'xla:cpu'], {
      ...{ cwd: folder, env: { ...process.env, ...hosts }, encoding: 'utf8' },
      ...{ timeout: 300_000, killSignal: 'SIGKILL' },
    });
    expect([status, stderr]).toEqual([1, expect.stringMatching(/^longsight: xla: Client_Create failed: /m)]);
  });
});
