import { describe, expect, it } from 'vitest';
import { turn } from './turn.js';
import { inTurns, InOrder } from './turns.js';

describe('work in turns', () => {
  it('lets others go on before each piece', async () => {
    const seen: string[] = [];
    const others = (async () => {
      for (let i = 0; i < 3; i++) {
        await turn();
        seen.push(`other ${i}`);
      }
    })();
    expect(await inTurns(['a', 'b', 'c'], (item, i) => (seen.push(item), i))).toEqual([0, 1, 2]);
    await others;
    expect(seen).toEqual(['other 0', 'a', 'other 1', 'b', 'other 2', 'c']);
  });

  it('throws what a piece throws, and does none after it', async () => {
    const done: number[] = [];
    const failing = inTurns([1, 2, 3], (item) => {
      if (item === 2) throw new Error('the second');
      done.push(item);
    });
    await expect(failing).rejects.toThrow('the second');
    expect(done).toEqual([1]);
  });
});

describe('works in order', () => {
  it('does one after another, also after one that failed, and ends when all are done', async () => {
    const order = new InOrder();
    const done: string[] = [];
    const work = (name: string) => () =>
      inTurns([1, 2], (i) => {
        done.push(`${name}${i}`);
        if (name === 'b') throw new Error('b failed');
        return name;
      });
    const [, b, c] = [order.add(work('a')), order.add(work('b')), order.add(work('c'))];
    expect(done).toEqual([]);
    await order.ended();
    expect(done).toEqual(['a1', 'a2', 'b1', 'c1', 'c2']);
    await expect(b).rejects.toThrow('b failed');
    expect(await c).toEqual(['c', 'c']);
  });
});
