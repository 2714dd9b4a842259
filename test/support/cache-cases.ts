/** Cases of what is done with caches of keys and values. */
import * as L from '../../src/graph/index.js';
import type { Value } from '../../src/graph/index.js';
import type { CaseInput, OpCase } from './cases.js';

const f = (...shape: number[]): CaseInput => ({ shape });
const ints = (shape: number[], values: readonly number[]): CaseInput => ({ shape, dtype: 'i32', values });

export const WRITE_CASES: readonly OpCase[] = [0, 2, 4].map((start) => ({
  name: `three rows of seven from ${start}`,
  inputs: [f(2, 2, 7, 3), f(2, 2, 3, 3), ints([], [start])],
  build: ([cache, rows, at]) => [L.cacheWrite(cache as Value, rows as Value, at as Value)],
}));

interface Sizes {
  readonly B?: number;
  readonly n: number;
  readonly S: number;
  readonly first: number;
  readonly hidden?: readonly number[];
  readonly window?: number | null;
  readonly softcap?: number;
  readonly sinks?: boolean;
  /** The place of the chunk is a constant of the graph. */
  readonly known?: boolean;
  readonly chunk?: number;
  readonly D?: number;
  readonly E?: number;
}

function attentionCase(name: string, sizes: Sizes): OpCase {
  const { n, S, first, window = null, softcap = null, known = false, chunk, D = 4, E = 4 } = sizes;
  const hidden = sizes.hidden ?? [0, 2];
  const B = hidden.length;
  const given = [f(B, n, 4, D), f(B, 2, S, D), f(B, 2, S, E), ints([], [first]), ints([B], hidden)];
  return {
    name,
    inputs: sizes.sinks === true ? [...given, f(4)] : given,
    build: (inputs) => {
      const [q, keys, values, place, hides, sinks = null] = inputs as [Value, Value, Value, Value, Value, Value?];
      const at = { first: known ? L.scalar(first, 'i32') : place, hidden: hides };
      return [L.cacheAttention({ q, keys, values }, at, { window, chunk, scale: 0.5, softcap, sinks })];
    },
  };
}

export const CACHE_ATTENTION_CASES: readonly OpCase[] = [
  attentionCase('the first chunk', { n: 4, S: 9, first: 0, hidden: [0, 0] }),
  attentionCase('a chunk in the middle, rows with padding', { n: 3, S: 9, first: 4 }),
  attentionCase('the last chunk, wider values', { n: 3, S: 9, first: 6, D: 4, E: 6 }),
  attentionCase('one query', { n: 1, S: 9, first: 5 }),
  attentionCase('sinks and softcap', { n: 3, S: 9, first: 4, sinks: true, softcap: 0.8 }),
  ...[2, 3, 4].map((window) =>
    attentionCase(`a window of ${window}, known place`, { n: 5, S: 8, first: 3, window, known: true, hidden: [0, 3] }),
  ),
  attentionCase('chunks of attention', { n: 6, S: 9, first: 3, window: 3, chunk: 3, known: true, hidden: [-4, 1, 3] }),
  attentionCase('chunks of attention, place given', { n: 5, S: 9, first: 4, window: 4, chunk: 4, hidden: [0, 3] }),
  attentionCase('a window, place given', { n: 4, S: 9, first: 3, window: 3, hidden: [0, 2] }),
  attentionCase('blocks of queries', { n: 150, S: 170, first: 11, hidden: [5] }),
  attentionCase('blocks of queries, sinks', { n: 140, S: 150, first: 3, hidden: [0], sinks: true, softcap: 1.5 }),
  attentionCase('blocks of queries, window, known place', {
    ...{ n: 260, S: 270, first: 10, window: 10, known: true, hidden: [4] },
  }),
];
