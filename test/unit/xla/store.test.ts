/** The key-value store of several hosts, over real sockets: who may use it, and what a bad line or a lost host does. */
import { chmodSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hostsFromEnvironment, type Hosts } from '../../../src/engine/index.js';
import { StoreClient } from '../../../src/engine/xla/pjrt/hosts/client.js';
import { parseAddress, prove, readRequest, type Leaving } from '../../../src/engine/xla/pjrt/hosts/protocol.js';
import { serveStore, type ServeOptions } from '../../../src/engine/xla/pjrt/hosts/store.js';
import { messageOf, temporaryFolder } from '../../support/folders.js';
import { freePort } from '../../support/ports.js';

const SECRET = 'a secret of the test';

interface Served {
  readonly hosts: Hosts;
  readonly said: string[];
  /** The losses that nodes were told of, as `NODE: WORDS`. */
  readonly lost: string[];
  /** Connects as a node. */
  readonly node: (node: number, changed?: Partial<Hosts>) => Promise<StoreClient>;
  /** Connects without any manners. */
  readonly raw: () => Raw;
  readonly close: (how?: Leaving) => Promise<void>;
}

interface Raw {
  readonly socket: Socket;
  /** What the server says until it ends the connection. */
  readonly all: Promise<string>;
}

/** A store of three nodes with a secret. */
async function served(changed: Partial<Hosts> = {}, options: ServeOptions = {}): Promise<Served> {
  const port = await freePort();
  const hosts: Hosts = { node: 0, nodes: 3, coordinator: `127.0.0.1:${port}`, secret: SECRET, ...changed };
  const said: string[] = [];
  const lost: string[] = [];
  const server = await serveStore(hosts, (message) => said.push(message), options);
  onTestFinished(() => server.close('bye'));
  const raw = (): Raw => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString())).on('error', () => undefined);
    return { socket, all: new Promise((resolve) => socket.on('close', () => resolve(text))) };
  };
  const node = (own: number, other: Partial<Hosts> = {}) =>
    StoreClient.connect({ ...hosts, node: own, ...other }, (why) => lost.push(`${own}: ${why}`), 25_000);
  return { hosts, said, lost, node, raw, close: (how = 'failed') => server.close(how) };
}

/** A connection that has proved that it is this node, with what goes over it as it is. */
async function proved(node: number, { hosts, raw }: Served): Promise<Raw> {
  const { socket, all } = raw();
  const greeting = await new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(chunk.toString())));
  const proof = { node, nodes: hosts.nodes, served: greeting.trim().split(' ')[1] ?? '', connected: '0'.repeat(64) };
  socket.write(`${node} ${hosts.nodes} ${proof.connected} ${prove(hosts.secret ?? '', 'connecting', proof)}\n`);
  await new Promise((resolve) => socket.once('data', resolve));
  return { socket, all };
}

describe('the store', () => {
  it('says where it serves, answers a get when the key is put, and everybody when node 0 is gone', async () => {
    const store = await served();
    const { port } = parseAddress(store.hosts.coordinator);
    expect(store.said).toEqual([
      `node 0 serves the key-value store of 3 nodes at 127.0.0.1, port ${port}, which only this host can reach; a shared ` +
        'secret is asked for',
    ]);
    const [a, b] = [await store.node(0), await store.node(1)];
    const waits = a.ask({ op: 'get', key: 'x', timeoutMs: 60_000 });
    expect(await b.ask({ op: 'try', key: 'x' })).toMatchObject({ code: 5, message: 'no key x' });
    await b.ask({ op: 'put', key: 'x', value: 'AAE=' });
    expect(await waits).toEqual({ value: 'AAE=' });
    expect(await b.ask({ op: 'get', key: 'y', timeoutMs: 1 })).toMatchObject({ code: 4 });
    for (const timeoutMs of [-1, 0.5, 2 ** 31, NaN]) {
      expect(await b.ask({ op: 'get', key: 'y', timeoutMs })).toMatchObject({ code: 3 });
    }
    // A value that is seen is waited past, another one is not.
    const later = a.ask({ op: 'after', key: 'x', seen: 'AAE=', timeoutMs: 60_000 });
    expect(await a.ask({ op: 'after', key: 'x', seen: '', timeoutMs: 60_000 })).toEqual({ value: 'AAE=' });
    expect(await a.ask({ op: 'after', key: 'x', seen: 'AAE=', timeoutMs: 1 })).toMatchObject({ code: 4 });
    await b.ask({ op: 'put', key: 'x', value: 'AAI=' });
    expect(await later).toEqual({ value: 'AAI=' });
    const stranded = b.ask({ op: 'get', key: 'z', timeoutMs: 60_000 });
    await store.close();
    const gone = { code: 14, message: `node 0 (${store.hosts.coordinator}) is gone; start the run again on all nodes` };
    expect(await stranded).toEqual(gone);
    expect(await b.ask({ op: 'try', key: 'x' })).toEqual(gone);
    await expect(StoreClient.connect(store.hosts, undefined, 0)).rejects.toThrow(
      /node 0 does not answer at 127\.0\.0\.1:\d+; start it/,
    );
  });

  it('carries values of megabytes', async () => {
    const store = await served();
    const [a, b] = [await store.node(0), await store.node(1)];
    const value = Buffer.alloc(6_000_000, 7).toString('base64');
    expect(await a.ask({ op: 'put', key: 'large', value })).toEqual({ value: '' });
    expect(await b.ask({ op: 'get', key: 'large', timeoutMs: 10 })).toEqual({ value });
  });

  it.each([
    ['another secret', { secret: 'another secret of the test' }, 'its shared secret is another one'],
    ['no secret', { secret: undefined }, 'its shared secret is another one'],
    ['another number of nodes', { nodes: 4 }, 'it is node 2 of 4, and there are 3 nodes'],
  ])('refuses %s', async (_, changed, why) => {
    const store = await served();
    await expect(store.node(2, changed)).rejects.toThrow(
      `xla: node 0 (${store.hosts.coordinator}) refuses node 2: ${why}`,
    );
    expect(store.said.at(-1)).toBe(`a connection from 127.0.0.1 was ended: ${why}`);
  });

  it('refuses a second process of one node, but not one that comes back after it left', async () => {
    const store = await served();
    const first = await store.node(1);
    await expect(store.node(1)).rejects.toThrow('refuses node 1: node 1 is here already');
    await first.close();
    expect(await (await store.node(1)).ask({ op: 'try', key: 'k' })).toMatchObject({ code: 5 });
    expect(store.said.join()).not.toMatch(/gone/);
  });

  it('is not asked by a node that it cannot prove to that it knows the secret', async () => {
    const lines: string[] = [];
    const false_ = createServer((socket) => {
      socket.write(`longsight-store-4 ${'0'.repeat(64)}\n`);
      socket
        .on('error', () => undefined)
        .on('data', (chunk) => {
          lines.push(chunk.toString());
          socket.write(`${'0'.repeat(64)}\n`);
        });
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void false_.close());
    await new Promise((done) => false_.once('listening', done));
    const coordinator = `127.0.0.1:${(false_.address() as AddressInfo).port}`;
    await expect(
      StoreClient.connect({ node: 1, nodes: 2, coordinator, secret: SECRET }, undefined, 5000),
    ).rejects.toThrow('refuses node 1: it does not know the shared secret');
    expect(lines).toHaveLength(1);
    expect(lines.join()).not.toContain(SECRET);
  });

  it.each([
    ['no introduction', '{"id":1,"op":"put","key":"k","value":"AAAA"}\n', /refused: it does not speak as a node does/],
    [
      'a proof of another challenge',
      `1 3 ${'0'.repeat(64)} ${'0'.repeat(64)}\n`,
      /refused: its shared secret is another/,
    ],
    ['a line without end', 'x'.repeat(600), /refused: it sent a line that is too long/],
    ['bytes', Buffer.from([0, 255, 10, 10]), /refused: it does not speak/],
  ])('ends a connection that begins with %s, and goes on', async (_, bytes, answer) => {
    const store = await served();
    const [a, { socket, all }] = [await store.node(0), store.raw()];
    const waits = a.ask({ op: 'get', key: 'k', timeoutMs: 60_000 });
    socket.write(bytes);
    expect(await all).toMatch(answer);
    await (await store.node(1)).ask({ op: 'put', key: 'k', value: 'AAA=' });
    expect(await waits).toEqual({ value: 'AAA=' }); // not what the stranger said
  });

  it.each([
    'null',
    '{',
    '[]',
    '{"id":1}',
    '{"id":1,"op":"eval","key":"k"}',
    '{"id":"1","op":"try","key":"k"}',
    '{"id":1,"op":"try","key":5}',
    '{"id":1,"op":"put","key":"k"}',
    '{"id":1,"op":"put","key":"k","value":"no base64!"}',
    '{"id":1,"op":"get","key":"k"}',
    '{"id":1,"op":"get","key":"k","timeoutMs":-1}',
    '{"id":1,"op":"after","key":"k","timeoutMs":1}',
    '{"id":1,"op":"after","key":"k","seen":"AA==","timeoutMs":-1}',
    '{"id":1,"op":"get","key":"k","timeoutMs":1e300}',
    '{"id":1,"op":"get","key":"k","timeoutMs":4294967296}',
  ])('ends the connection of a node that sends %s', async (line) => {
    expect(readRequest(line)).toBeNull();
    expect(readRequest(`{"id":1,"op":"try","key":"${'k'.repeat(5000)}"}`)).toBeNull();
    const store = await served();
    const { socket, all } = await proved(1, store);
    socket.write(`${line}\n`);
    await all;
    expect(store.said).toContain('node 1 (127.0.0.1) sent a line that is no request; its connection was ended');
    expect(await (await store.node(0)).ask({ op: 'put', key: 'k', value: '' })).toEqual({ value: '' });
  });

  it('tells those who wait which node is gone, and drops the waits of that node', async () => {
    const store = await served();
    const [a, c] = [await store.node(0), await store.node(2)];
    const { socket, all } = await proved(1, store);
    socket.write('{"id":7,"op":"get","key":"k","timeoutMs":60000}\n');
    const waits = [a, c].map((node) => node.ask({ op: 'get', key: 'of node 1', timeoutMs: 60_000 }));
    await c.ask({ op: 'try', key: 'k' }); // everything before has arrived
    socket.resetAndDestroy();
    const gone = { code: 14, message: 'node 1 (127.0.0.1) is gone; start the run again on all nodes' };
    expect(await Promise.all(waits)).toEqual([gone, gone]);
    await all;
    expect(store.said.at(-1)).toBe('node 1 (127.0.0.1) is gone');
    expect(await c.ask({ op: 'put', key: 'k', value: 'AAA=' })).toEqual({ value: '' });
    expect(await c.ask({ op: 'get', key: 'k', timeoutMs: 1 })).toEqual({ value: 'AAA=' });
    expect(await c.ask({ op: 'get', key: 'later', timeoutMs: 60_000 })).toEqual(gone);
    await expect(store.node(1)).rejects.toThrow('node 1 was here and is gone: start all nodes again');
  });

  it('tells every other node at once, waiting or not, who is gone or has failed', async () => {
    const store = await served();
    const [a, c] = [await store.node(0), await store.node(2)];
    const { socket } = await proved(1, store);
    await c.ask({ op: 'try', key: 'k' });
    socket.resetAndDestroy();
    await expect.poll(() => store.lost.length).toBe(2);
    const gone = 'node 1 (127.0.0.1) is gone; start the run again on all nodes';
    expect([...store.lost].sort()).toEqual([`0: ${gone}`, `2: ${gone}`]);
    await c.close('failed');
    await expect.poll(() => store.lost.length).toBe(3);
    expect(store.lost.at(-1)).toBe('0: node 2 (127.0.0.1) has failed; start the run again on all nodes');
    await a.close();
  });

  it('calls no node lost that leaves with its work done, node 0 included', async () => {
    const store = await served();
    const nodes = [await store.node(0), await store.node(1), await store.node(2)];
    await nodes[1]?.close();
    await store.close('bye');
    const reply = await nodes[2]?.ask({ op: 'get', key: 'k', timeoutMs: 60_000 });
    expect(reply).toEqual({ code: 14, message: `node 0 (${store.hosts.coordinator}) has left` });
    expect(store.lost).toEqual([]);
  });

  it('says which nodes have not come, to those that wait for them too, and gives up', async () => {
    const patient = await served();
    const waits = await patient.node(2);
    const late = await waits.ask({ op: 'get', key: 'of node 1', timeoutMs: 100 });
    expect(late).toEqual({ code: 4, message: 'no key of node 1 within 100 ms; nodes 0, 1 have not come' });
    const store = await served({}, { nameAbsentMs: 20, giveUpMs: 1000 });
    await store.node(2);
    await expect
      .poll(() => store.lost)
      .toEqual(['2: nodes 0, 1 have not come within 1 s; start the run again on all nodes']);
    expect(store.said.slice(1)).toEqual([
      expect.stringMatching(/^nodes 0, 1(, 2)? have not come yet$/), // node 2 comes before that or after it
      'nodes 0, 1 have not come within 1 s',
    ]);
  });

  it('reads a long line that comes in many pieces in time that grows with it', async () => {
    const store = await served();
    const { socket } = await proved(1, store);
    const answers = new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(chunk.toString())));
    const value = 'A'.repeat(4_000_000);
    const text = `{"id":1,"op":"put","key":"k","value":"${value}"}\n`;
    const start = process.cpuUsage();
    socket.setNoDelay(true);
    for (let at = 0; at < text.length; at += 1000) {
      if (!socket.write(text.slice(at, at + 1000))) await new Promise((done) => socket.once('drain', done));
    }
    expect(JSON.parse(await answers)).toEqual({ id: 1, value: '' });
    // Of the processor, not of the clock: that of a busy machine runs on.
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1e6).toBeLessThan(10);
  });

  it('is not served where it cannot be, and not beyond this host without a secret', async () => {
    const { hosts } = await served();
    await expect(serveStore(hosts, () => undefined)).rejects.toThrow(
      /cannot serve the key-value store at .*EADDRINUSE/,
    );
    const open = { node: 0, nodes: 1, coordinator: `0.0.0.0:${await freePort()}` };
    expect(() => serveStore(open, () => undefined)).toThrow(/other hosts can reach the coordinator 0\.0\.0\.0:/);
    const said: string[] = [];
    const server = await serveStore({ ...open, secret: SECRET }, (message) => said.push(message));
    onTestFinished(() => server.close('bye'));
    expect(said.join()).toMatch(/at 0\.0\.0\.0, port \d+, which other hosts can reach; a shared secret is asked for$/);
  });
});

describe('hosts from the environment', () => {
  const LOCAL = { LONGSIGHT_COORDINATOR: '127.0.0.1:1', LONGSIGHT_NODES: '2', LONGSIGHT_NODE: '1' };
  const of = (env: Record<string, string>) => hostsFromEnvironment(env);

  it('are taken where the coordinator is set, with the secret of the environment or of a file', () => {
    expect(of({})).toBeUndefined();
    expect(of(LOCAL)).toEqual({ coordinator: '127.0.0.1:1', nodes: 2, node: 1 });
    const far = { ...LOCAL, LONGSIGHT_COORDINATOR: 'node0:8476' };
    expect(of({ ...far, LONGSIGHT_COORDINATOR_SECRET: SECRET })).toMatchObject({ secret: SECRET });
    const path = join(temporaryFolder(), 'secret');
    writeFileSync(path, `${SECRET}\n`, { mode: 0o600 });
    expect(of({ ...far, LONGSIGHT_COORDINATOR_SECRET_FILE: path })).toMatchObject({ secret: SECRET });
    chmodSync(path, 0o644);
    expect(messageOf(() => of({ ...far, LONGSIGHT_COORDINATOR_SECRET_FILE: path }))).toBe(
      `LONGSIGHT_COORDINATOR_SECRET_FILE: ${path} is not used: others may read it; run "chmod 600 ${path}"`,
    );
    expect(parseAddress('[::1]:80')).toEqual({ host: '::1', port: 80 });
  });

  it.each([
    [{ LONGSIGHT_NODE: '' }, /LONGSIGHT_NODE must be a whole number, got/],
    [{ LONGSIGHT_NODE: '2' }, /node must be a whole number from 0 to 1, got 2/],
    [{ LONGSIGHT_NODES: '0' }, /number of nodes must be a whole number >= 1/],
    [{ LONGSIGHT_NODES: '9'.repeat(30) }, /number of nodes must be a whole number >= 1/],
    [{ LONGSIGHT_COORDINATOR: 'a' }, /coordinator "a" is no HOST:PORT/],
    [{ LONGSIGHT_COORDINATOR: '::1:80' }, /coordinator "::1:80" is no HOST:PORT/],
    [
      { LONGSIGHT_COORDINATOR: 'node0:8476' },
      /other hosts can reach .* set LONGSIGHT_COORDINATOR_SECRET .*openssl rand/,
    ],
    [{ LONGSIGHT_COORDINATOR_SECRET: 'short' }, /secret has 5 characters; it needs 16 to 4096/],
    [{ LONGSIGHT_COORDINATOR_SECRET: SECRET, LONGSIGHT_COORDINATOR_SECRET_FILE: '/x' }, /not both/],
    [
      { LONGSIGHT_COORDINATOR_SECRET_FILE: '/nowhere/x' },
      /LONGSIGHT_COORDINATOR_SECRET_FILE: cannot read \/nowhere\/x/,
    ],
  ])('are refused: %j', (env, message) => {
    expect(() => of({ ...LOCAL, ...env })).toThrow(message);
  });
});
