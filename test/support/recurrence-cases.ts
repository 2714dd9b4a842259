/** Cases of the recurrent mixers for `cases.ts`: lengths around chunks, grouped heads, packed documents, states handed over. */
import * as L from '../../src/graph/index.js';
import type { Value } from '../../src/graph/index.js';
import type { CaseInput, OpCase } from './cases.js';

const decay = (x: number): number => -Math.abs(x);
const gate = (x: number): number => 1 / (1 + Math.exp(-x));
const f = (...shape: number[]): CaseInput => ({ shape });

/** Documents of 1, 2, 3, 1, 2, ... tokens, shifted from row to row. */
function packed(B: number, T: number): CaseInput {
  const values: number[] = [];
  for (let b = 0; b < B; b++) {
    let [id, left] = [0, (b % 3) + 1];
    for (let t = 0; t < T; t++) {
      if (left === 0) left = (++id % 3) + 1;
      left--;
      values.push(id);
    }
  }
  return { shape: [B, T], dtype: 'i32', values };
}

/** Decays, betas and states, which stay f32 where the other inputs are bf16. */
const wide = (v: Value): Value => (v.dtype === 'bf16' ? L.convert(v, 'f32') : v);

/** Rows of unit length, as the delta rule wants its keys. */
function unit(k: Value): Value {
  const last = k.shape.length - 1;
  return L.mul(k, L.rsqrt(L.add(L.reduceSum(L.mul(k, k), [last], true), 1e-6)));
}

interface Shape {
  readonly B: number;
  readonly T: number;
  /** Heads of q, k, v and of the decay. */
  readonly heads: readonly [number, number, number, number];
  readonly K: number;
  readonly V: number;
}

interface Extra {
  readonly chunk?: number | null;
  readonly segments?: boolean;
  readonly state?: boolean;
  /** Changes the log decays. */
  readonly decay?: (x: number) => number;
  readonly constant?: boolean;
  readonly channels?: boolean;
  /** Keys of its own for what is removed: of unit length, and the same with a rate in 0 to 1 for each channel. */
  readonly removal?: boolean;
  readonly beta?: (x: number) => number;
}

function optional({ B, T, heads, K, V }: Shape, extra: Extra): CaseInput[] {
  return [...(extra.segments ? [packed(B, T)] : []), ...(extra.state ? [f(B, heads[3], K, V)] : [])];
}

function optionsOf(rest: readonly Value[], K: number, extra: Extra): L.RecurrenceOptions {
  const left = [...rest];
  const segments = extra.segments ? (left.shift() as Value) : null;
  const initialState = extra.state ? wide(left.shift() as Value) : null;
  return { scale: 1 / Math.sqrt(K), chunk: extra.chunk ?? null, segments, initialState };
}

function qkv({ B, T, heads: [q, k, v], K, V }: Shape): CaseInput[] {
  return [f(B, T, q, K), f(B, T, k, K), f(B, T, v, V)];
}

function linearCase(name: string, shape: Shape, extra: Extra = {}): OpCase {
  const { B, T, heads, K } = shape;
  const log = { shape: extra.constant ? [heads[3]] : [B, T, heads[3]], map: extra.decay ?? decay };
  return {
    name,
    inputs: [...qkv(shape), log, ...optional(shape, extra)],
    build: ([q, k, v, g, ...rest]) => {
      const { out, state } = L.linearRecurrence(
        q as Value,
        k as Value,
        v as Value,
        wide(g as Value),
        optionsOf(rest, K, extra),
      );
      return [out, state];
    },
  };
}

function deltaCase(name: string, shape: Shape, extra: Extra = {}): OpCase {
  const { B, T, heads, K } = shape;
  const log = { shape: [B, T, heads[3], ...(extra.channels ? [K] : [])], map: extra.decay ?? decay };
  const beta = { shape: [B, T, heads[3]], map: extra.beta ?? gate };
  const [keys, rates] = [f(B, T, heads[3], K), { shape: [B, T, heads[3], K], map: gate }];
  return {
    name,
    inputs: [...qkv(shape), log, beta, ...(extra.removal ? [keys, rates] : []), ...optional(shape, extra)],
    build: ([q, k, v, g, b, ...more]) => {
      const [read, rate, ...rest] = extra.removal ? more : [null, null, ...more];
      const key = read && wide(unit(read));
      const removal = key && rate ? { read: key, erase: L.mul(key, wide(rate)) } : null;
      const options = { ...optionsOf(rest as readonly Value[], K, extra), removal };
      const { out, state } = L.deltaRule(
        q as Value,
        unit(k as Value),
        v as Value,
        wide(g as Value),
        wide(b as Value),
        options,
      );
      return [out, state];
    },
  };
}

const shape = (
  B: number,
  T: number,
  heads: readonly [number, number, number, number],
  K: number,
  V: number,
): Shape => ({ B, T, heads, K, V });

const REMOVAL: Extra = { channels: true, removal: true };

const EVEN: readonly [number, number, number, number] = [2, 2, 2, 2];

export const LINEAR_CASES: readonly OpCase[] = [
  linearCase('one token, state handed in', shape(2, 1, EVEN, 4, 3), { state: true }),
  linearCase('one token', shape(1, 1, [1, 1, 1, 1], 3, 4)),
  linearCase('fewer tokens than a chunk', shape(1, 5, EVEN, 4, 4)),
  linearCase('a ragged last chunk', shape(2, 11, EVEN, 4, 3), { chunk: 4 }),
  linearCase('whole chunks, state handed in', shape(1, 16, EVEN, 4, 4), { chunk: 4, state: true }),
  linearCase('chunks of one', shape(1, 4, EVEN, 3, 3), { chunk: 1, state: true }),
  linearCase('constant decay, whole chunks', shape(2, 8, EVEN, 4, 4), { chunk: 4, constant: true, state: true }),
  linearCase('constant decay, ragged', shape(1, 10, EVEN, 4, 4), { chunk: 4, constant: true }),
  linearCase('grouped keys and queries', shape(1, 9, [1, 1, 4, 4], 4, 3), { chunk: 4, state: true }),
  linearCase('one token of one group of heads, state handed in', shape(2, 1, [1, 1, 3, 3], 4, 2), { state: true }),
  linearCase('two groups of heads, packed documents', shape(2, 11, [2, 2, 4, 4], 3, 2), {
    chunk: 4,
    segments: true,
    state: true,
  }),
  linearCase('two groups of heads, fewer queries and values', shape(1, 9, [1, 2, 2, 4], 3, 4), { chunk: 4 }),
  linearCase('one group of heads, constant decay, ragged', shape(2, 10, [1, 1, 3, 3], 3, 2), {
    chunk: 4,
    constant: true,
  }),
  linearCase('queries and keys in groups that do not nest', shape(1, 6, [2, 3, 6, 6], 3, 2), { chunk: 4 }),
  linearCase('grouped keys and values', shape(1, 9, [4, 2, 2, 4], 3, 4), { chunk: 4 }),
  linearCase('more chunks than one product takes', shape(1, 70, [1, 1, 1, 1], 2, 2), { chunk: 2, state: true }),
  linearCase('constant decay, many chunks', shape(2, 70, [1, 1, 1, 1], 2, 2), { chunk: 2, constant: true }),
  linearCase('no decay', shape(1, 9, EVEN, 3, 3), { chunk: 4, decay: (x) => -1e-9 * Math.abs(x) }),
  linearCase('decay of e^-20', shape(1, 9, EVEN, 3, 3), { chunk: 4, decay: (x) => -20 - Math.abs(x), state: true }),
  linearCase('packed documents', shape(2, 13, EVEN, 4, 4), { chunk: 4, segments: true, state: true }),
  linearCase('packed documents, constant decay', shape(2, 12, EVEN, 4, 4), {
    chunk: 4,
    segments: true,
    constant: true,
  }),
  linearCase('packed documents, many chunks', shape(1, 70, [1, 1, 1, 1], 2, 2), { chunk: 2, segments: true }),
];

export const DELTA_CASES: readonly OpCase[] = [
  deltaCase('one token, state handed in', shape(2, 1, EVEN, 4, 3), { state: true }),
  deltaCase('fewer tokens than a chunk', shape(1, 5, EVEN, 4, 4)),
  deltaCase('a ragged last chunk', shape(2, 11, EVEN, 4, 3), { chunk: 4 }),
  deltaCase('whole chunks, state handed in', shape(1, 16, EVEN, 4, 4), { chunk: 8, state: true }),
  deltaCase('value heads share keys', shape(1, 9, [2, 2, 4, 4], 4, 3), { chunk: 4, state: true }),
  deltaCase('write strength 1', shape(1, 9, EVEN, 4, 4), { chunk: 4, beta: () => 1 }),
  deltaCase('write strength 2', shape(1, 9, EVEN, 4, 4), { chunk: 4, beta: () => 2 }),
  deltaCase('decay of e^-20', shape(1, 9, EVEN, 3, 3), { chunk: 4, decay: (x) => -20 - Math.abs(x), state: true }),
  deltaCase('packed documents', shape(2, 13, EVEN, 4, 4), { chunk: 4, segments: true, state: true }),
  deltaCase('channels: one token, state handed in', shape(2, 1, EVEN, 4, 3), { channels: true, state: true }),
  deltaCase('channels: a ragged last chunk', shape(2, 11, EVEN, 4, 3), { channels: true, chunk: 4 }),
  deltaCase('channels: whole chunks', shape(1, 16, EVEN, 4, 4), { channels: true, chunk: 8, state: true }),
  deltaCase('channels: decay of e^-20', shape(1, 9, EVEN, 3, 3), {
    channels: true,
    chunk: 8,
    decay: (x) => -20 - Math.abs(x),
    state: true,
  }),
  deltaCase('channels: packed documents', shape(2, 13, EVEN, 4, 4), {
    channels: true,
    chunk: 4,
    segments: true,
    state: true,
  }),
  deltaCase('keys of removal: one token, state handed in', shape(2, 1, EVEN, 4, 3), { ...REMOVAL, state: true }),
  deltaCase('keys of removal: a ragged last chunk', shape(2, 11, EVEN, 4, 3), { ...REMOVAL, chunk: 4 }),
  deltaCase('keys of removal: whole chunks, value heads share keys', shape(1, 16, [2, 2, 4, 4], 4, 3), {
    ...REMOVAL,
    chunk: 8,
    state: true,
  }),
  deltaCase('keys of removal: packed documents', shape(2, 13, EVEN, 4, 4), {
    ...REMOVAL,
    chunk: 4,
    segments: true,
    state: true,
  }),
];

function convCase(
  name: string,
  [B, T, C, W]: readonly [number, number, number, number],
  extra: Extra & { bias?: boolean } = {},
): OpCase {
  const inputs = [
    f(B, T, C),
    f(C, W),
    ...(extra.bias ? [f(C)] : []),
    ...(extra.segments ? [packed(B, T)] : []),
    ...(extra.state ? [f(B, W - 1, C)] : []),
  ];
  return {
    name,
    inputs,
    build: ([x, weight, ...rest]) => {
      const next = (given: boolean | undefined): Value | null => (given ? (rest.shift() as Value) : null);
      const [bias, segments, initialState] = [next(extra.bias), next(extra.segments), next(extra.state)];
      const { out, state } = L.causalConv(x as Value, weight as Value, { bias, segments, initialState });
      return [out, state];
    },
  };
}

export const CONV_CASES: readonly OpCase[] = [
  convCase('plain', [2, 6, 3, 4]),
  convCase('bias and state', [2, 6, 3, 4], { bias: true, state: true }),
  convCase('one token', [2, 1, 3, 4], { state: true }),
  convCase('shorter than its taps', [1, 2, 3, 4], { bias: true, state: true }),
  convCase('one tap', [1, 4, 3, 1], { bias: true }),
  convCase('packed documents', [2, 9, 2, 4], { bias: true, segments: true, state: true }),
];

/** A selective scan over T tokens of I channels with N states. */
function selectiveCase(
  name: string,
  [B, T, I, N]: readonly [number, number, number, number],
  extra: Extra = {},
  ownGradient = false,
): OpCase {
  const rates: CaseInput = { shape: [I, N], map: extra.decay ?? decay };
  return {
    name,
    inputs: [
      ...[f(B, T, I), f(B, T, N), f(B, T, N)],
      { shape: [B, T, I], map: Math.abs },
      rates,
      ...(extra.segments ? [packed(B, T)] : []),
      ...(extra.state ? [f(B, I, N)] : []),
    ],
    build: ([u, write, read, step, a, ...rest]) => {
      const { segments, initialState } = optionsOf(rest, 1, extra);
      const { out, state } = L.selectiveScan(
        {
          u: u as Value,
          write: write as Value,
          read: read as Value,
          step: wide(step as Value),
          rates: wide(a as Value),
        },
        { segments: segments ?? null, initialState: initialState ?? null, chunk: extra.chunk ?? null, ownGradient },
      );
      return [out, state];
    },
  };
}

/** Those whose gradient is an op of its own. */
export const OWN_GRADIENT_CASES: readonly OpCase[] = [
  selectiveCase('own gradient, one token', [2, 1, 3, 2], { state: true }, true),
  selectiveCase('own gradient, chunks of one', [1, 3, 2, 2], { chunk: 1 }, true),
  selectiveCase('own gradient, packed', [2, 11, 2, 3], { chunk: 4, segments: true, state: true }, true),
];

export const SELECTIVE_CASES: readonly OpCase[] = [
  ...OWN_GRADIENT_CASES,
  selectiveCase('one token, state handed in', [2, 1, 3, 2], { state: true }),
  selectiveCase('fewer tokens than a chunk', [1, 5, 2, 3]),
  selectiveCase('a ragged last chunk', [2, 11, 2, 3], { chunk: 4 }),
  selectiveCase('whole chunks, state handed in', [1, 12, 2, 2], { chunk: 4, state: true }),
  selectiveCase('chunks of one', [1, 4, 2, 2], { chunk: 1, state: true }),
  selectiveCase('more than one chunk of its own choice', [1, 19, 2, 2], { state: true }),
  selectiveCase('one state', [2, 9, 3, 1], { chunk: 2 }),
  selectiveCase('decays of e^-20 a unit of time', [1, 9, 2, 2], {
    chunk: 4,
    decay: (x) => -20 - Math.abs(x),
    state: true,
  }),
  selectiveCase('packed documents', [2, 13, 2, 3], { chunk: 4, segments: true, state: true }),
];
