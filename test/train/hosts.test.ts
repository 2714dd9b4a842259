/** Processes that find one another by PJRT's key-value callbacks. They run what is built in `dist`; `npm test` builds it first. */
import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const CHILD = fileURLToPath(new URL('kv-child.mjs', import.meta.url));

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

function child(node: number, coordinator: string): Promise<{ output: string; said: string }> {
  const started = spawn(process.execPath, [CHILD, String(node), coordinator]);
  let output = '';
  let said = '';
  started.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  started.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  return new Promise((resolve) => started.on('close', () => resolve({ output, said })));
}

describe('key-value callbacks', () => {
  it('share keys between two processes, called from threads of their own', async () => {
    const coordinator = `127.0.0.1:${await freePort()}`;
    // Node 1 first: it waits for node 0 to serve.
    const [one, zero] = await Promise.all([child(1, coordinator), child(0, coordinator)]);
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
});
