/** Work that an engine has been given: first its numbers are waited for, then the host makes something of them. */
import { LongsightError } from './errors.js';

/** A result that is under way. Several may wait for its numbers, and ask for the result after that. */
export interface Pending<T> {
  /** Waits until the numbers are on the host; throws what the engine failed with. */
  readonly numbers: () => Promise<void>;
  /** What the numbers come to: work of the host alone. Throws before they are there. */
  readonly result: () => T;
}

/** A pending result: `read` brings the numbers to the host, once, and `make` makes the result of them. */
export function pending<N, T>(read: () => Promise<N>, make: (numbers: N) => T): Pending<T> {
  let reading: Promise<void> | null = null;
  let got: { readonly numbers: N } | null = null;
  return {
    numbers: () =>
      (reading ??= read().then((numbers) => {
        got = { numbers };
      })),
    result: () => {
      if (got === null) throw new LongsightError('a result was asked for before its numbers were there');
      return make(got.numbers);
    },
  };
}

/** Several pending results as one, in their order. */
export function allPending<T>(works: readonly Pending<T>[]): Pending<T[]> {
  return pending(
    () => everyOne(works.map((work) => work.numbers())),
    () => works.map((work) => work.result()),
  );
}

/** As `Promise.all`, but what fails is thrown once nothing is under way any more. */
export async function everyOne<T>(promises: readonly (Promise<T> | T)[]): Promise<T[]> {
  const ended = await Promise.allSettled(promises);
  return ended.map((one) => {
    if (one.status === 'fulfilled') return one.value;
    throw one.reason;
  });
}

/** Waits for the numbers and gives the result. */
export async function settled<T>(work: Pending<T>): Promise<T> {
  await work.numbers();
  return work.result();
}
