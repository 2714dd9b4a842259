import { describe, expect, it } from 'vitest';
import type { ChangeEvent, DashboardData, RunRow } from '../../../src/dashboard/api.js';
import { Follower, type Listener, type Told } from '../../../web/lib/follower.js';

/** A server whose answers arrive when the test says so. */
class FakeServer {
  revision = 100;
  rows: readonly string[] = [];
  readonly asked: (() => void)[] = [];
  #listener: Listener | null = null;

  /** The state as it is at the question, delivered by `answer`. */
  state = (): Promise<DashboardData> => {
    const data = { revision: this.revision, runs: this.rows.map(row) } as unknown as DashboardData;
    return new Promise((done) => this.asked.push(() => done(data)));
  };
  listen = (listener: Listener): void => void (this.#listener = listener);
  hello = () => this.#listener?.hello({ revision: this.revision });
  gone = () => this.#listener?.gone();

  /** Tells a change, which listeners hear unless it is lost. */
  change(rows: readonly string[], { reload = false, isLost = false, points = [] as string[] } = {}): void {
    this.revision++;
    this.rows = reload ? rows : [...new Set([...this.rows, ...rows])];
    const indexed = { done: 1, all: 1 };
    const event: ChangeEvent = { revision: this.revision, rows: rows.map(row), points, records: [], reload, indexed };
    if (!isLost) this.#listener?.change(event);
  }

  /** Delivers the answers to the questions up to now. */
  async answer(): Promise<number> {
    const asked = this.asked.splice(0);
    for (const deliver of asked) deliver();
    await new Promise((done) => setImmediate(done));
    return asked.length;
  }
}

const row = (text: string): RunRow => {
  const [id = '', message = ''] = text.split('=');
  return { id, message } as RunRow;
};

function follow() {
  const [server, told] = [new FakeServer(), [] as Told[]];
  const follower = new Follower(server, (one) => told.push(one));
  const ids = () => follower.data?.runs.map(({ id, message }) => (message === '' ? id : `${id}=${message}`));
  return { server, told, follower, ids };
}

describe('a page that follows the runs of a server', () => {
  it('asks again where runs were read between its first answer and the moment it listens', async () => {
    const { server, told, follower, ids } = follow();
    server.rows = ['a'];
    follower.start();
    await server.answer();
    server.change(['a', 'b'], { reload: true, isLost: true });
    server.hello();
    expect(told.at(-1)).toEqual({ points: null, records: true });
    expect(await server.answer()).toBe(1);
    expect(ids()).toEqual(['a', 'b']);
    server.change(['a=x']);
    expect(await server.answer()).toBe(0);
    expect(ids()).toEqual(['a=x', 'b']);
  });

  it('asks again where the greeting comes before an answer that is older', async () => {
    const { server, follower, ids } = follow();
    server.rows = ['a'];
    follower.start();
    server.change(['a', 'b'], { reload: true, isLost: true });
    server.hello();
    expect(await server.answer()).toBe(1);
    expect(await server.answer()).toBe(1);
    expect(ids()).toEqual(['a', 'b']);
    expect(await server.answer()).toBe(0);
  });

  it('takes up changes that overtake an answer, and leaves those that the answer has', async () => {
    const { server, follower, ids } = follow();
    server.rows = ['a'];
    server.hello();
    follower.start();
    server.hello();
    server.change(['a=newer']);
    await server.answer();
    expect(ids()).toEqual(['a=newer']);
    server.change(['a=newer', 'b'], { reload: true });
    server.change(['b=late']);
    await server.answer();
    expect(ids()).toEqual(['a=newer', 'b=late']);
    expect(await server.answer()).toBe(0);
  });

  it('asks for everything where a change was lost', async () => {
    const { server, told, follower, ids } = follow();
    server.rows = ['a'];
    follower.start();
    server.hello();
    await server.answer();
    server.change(['a=1'], { isLost: true });
    server.change(['b']);
    expect(told.at(-1)).toEqual({ points: null, records: true });
    await server.answer();
    expect(ids()?.at(-1)).toBe('b');
  });

  it('asks for everything of a server that has started again, and of none that has told nothing in between', async () => {
    const { server, told, follower } = follow();
    follower.start();
    server.hello();
    await server.answer();
    server.gone();
    expect(follower.connected).toBe(false);
    server.hello();
    expect(follower.connected).toBe(true);
    expect(await server.answer()).toBe(0);
    server.gone();
    server.revision = 7; // as of a machine whose clock was set back
    server.hello();
    expect(told.at(-1)?.points).toBeNull();
    expect(await server.answer()).toBe(1);
    expect(follower.data?.revision).toBe(7);
  });

  it('tells which runs have new points while an answer is on its way', async () => {
    const { server, told, follower } = follow();
    follower.start();
    server.hello();
    server.change([], { points: ['a'] });
    expect(told.at(-1)?.points).toEqual(['a']);
    expect(await server.answer()).toBe(1);
    expect(follower.data?.revision).toBe(101);
  });
});
