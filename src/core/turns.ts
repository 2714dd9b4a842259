/** Turns of the event loop: long work of the host in pieces, between which whatever else is under way goes on. */
import { turn } from './turn.js';

/** `work` of each item, in order, with a turn of the event loop before each. Throws what `work` throws. */
export async function inTurns<T, R>(items: readonly T[], work: (item: T, index: number) => R): Promise<R[]> {
  const results: R[] = [];
  for (const [index, item] of items.entries()) {
    await turn();
    results.push(work(item, index));
  }
  return results;
}

/** Works that are done one after another, the first in the next turn of the event loop. */
export class InOrder {
  #last: Promise<unknown> = turn();

  /** Does `work` after those before it, whatever they came to. Its failure may be left alone until it is waited for. */
  add<T>(work: () => Promise<T>): Promise<T> {
    const own = this.#last.then(work);
    this.#last = own.catch(() => undefined);
    return own;
  }

  /** Waits until nothing is left to do. Throws nothing. */
  async ended(): Promise<void> {
    for (let last: unknown = null; last !== this.#last;) {
      last = this.#last;
      await this.#last;
    }
  }
}
