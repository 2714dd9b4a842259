/** Processes that find one another by PJRT's key-value callbacks. They run what is built in `dist`; `npm test` builds it first. */
import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { hostsFromEnvironment } from '../../src/engine/index.js';
import { parseAddress, serveStore, StoreClient } from '../../src/engine/xla/pjrt/hosts/store.js';

const CHILD = fileURLToPath(new URL('kv-child.mjs', import.meta.url));

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

function child(node: number, coordinator: string): Promise<string> {
  const started = spawn(process.execPath, [CHILD, String(node), coordinator]);
  let output = '';
  started.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  started.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((resolve) => started.on('close', () => resolve(output)));
}

describe('key-value callbacks', () => {
  it('share keys between two processes, called from threads of their own', async () => {
    const coordinator = `127.0.0.1:${await freePort()}`;
    // Node 1 first: it waits for node 0 to serve.
    const outputs = await Promise.all([child(1, coordinator), child(0, coordinator)]);
    [1, 0].forEach((node, i) => {
      const other = 1 - node;
      expect(JSON.parse(outputs[i] as string), outputs[i]).toEqual({
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

describe('the store', () => {
  it('answers a get when the key is put, and everybody when node 0 is gone', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const server = await serveStore(address);
    const sockets: { destroy(): void }[] = [];
    server.on('connection', (socket) => sockets.push(socket));
    const [a, b] = [await StoreClient.connect(address), await StoreClient.connect(address)];
    const waits = a.ask({ op: 'get', key: 'x', timeoutMs: 10_000 });
    expect(await b.ask({ op: 'try', key: 'x' })).toMatchObject({ code: 5 });
    await b.ask({ op: 'put', key: 'x', value: 'AAE=' });
    expect(await waits).toEqual({ value: 'AAE=' });
    expect(await b.ask({ op: 'get', key: 'y', timeoutMs: 1 })).toMatchObject({ code: 4 });
    const stranded = a.ask({ op: 'get', key: 'z', timeoutMs: 10_000 });
    sockets.forEach((socket) => socket.destroy());
    expect(await stranded).toEqual({ code: 14, message: 'node 0 is gone' });
    a.close();
    b.close();
    await new Promise((done) => server.close(done));
    await expect(StoreClient.connect(address, 0)).rejects.toThrow(
      /node 0 does not answer at 127\.0\.0\.1:\d+; start it/,
    );
  });
});

describe('hosts from the environment', () => {
  const of = (env: Record<string, string>) => hostsFromEnvironment(env);

  it('are taken where the coordinator is set', () => {
    expect(of({})).toBeUndefined();
    expect(of({ LONGSIGHT_COORDINATOR: 'a:1', LONGSIGHT_NODES: '2', LONGSIGHT_NODE: '1' })).toEqual({
      coordinator: 'a:1',
      nodes: 2,
      node: 1,
    });
    expect(parseAddress('[::1]:80')).toEqual({ host: '::1', port: 80 });
  });

  it.each([
    [{ LONGSIGHT_NODES: '2' }, /LONGSIGHT_NODE must be a whole number, got nothing/],
    [{ LONGSIGHT_NODES: '2', LONGSIGHT_NODE: '2' }, /node must be a whole number from 0 to 1, got 2/],
    [{ LONGSIGHT_NODES: '0', LONGSIGHT_NODE: '0' }, /number of nodes must be a whole number >= 1/],
    [{ LONGSIGHT_COORDINATOR: 'a', LONGSIGHT_NODES: '2', LONGSIGHT_NODE: '0' }, /coordinator "a" is no HOST:PORT/],
  ])('are refused: %j', (env, message) => {
    expect(() => of({ LONGSIGHT_COORDINATOR: 'a:1', ...env })).toThrow(message);
  });
});
