/**
 * Cases of every op: the same list serves the derivative check (float64, central differences) and the conformance suite
 * (float32 on every engine against the reference). Shapes include broadcasting and sizes of 1.
 */
import { Rng, isFloat, tensorFrom, type DType, type HostTensor, type Shape } from '../../src/core/index.js';
import * as L from '../../src/graph/index.js';
import type { OpName, Value } from '../../src/graph/index.js';
import { CACHE_ATTENTION_CASES, WRITE_CASES } from './cache-cases.js';
import { randomTensor } from './random.js';
import { CONV_CASES, DELTA_CASES, LINEAR_CASES, OWN_GRADIENT_CASES, SELECTIVE_CASES } from './recurrence-cases.js';

export interface CaseInput {
  readonly shape: Shape;
  /** Default float (f32 or f64 by test). */
  readonly dtype?: 'i32' | 'bool';
  /** Changes standard normal draws. */
  readonly map?: (x: number) => number;
  /** Values themselves. */
  readonly values?: readonly number[];
}

export interface OpCase {
  readonly name: string;
  readonly inputs: readonly CaseInput[];
  build(inputs: Value[], float: 'f32' | 'f64'): readonly Value[];
  /** Leave the derivative check out, with the reason. */
  readonly noGradient?: string;
  /** The op whose derivative this is: whoever checks derivatives of ops on an engine has run the same program there. */
  readonly derivativeOf?: OpName;
}

const positive = (x: number): number => Math.abs(x) + 0.5;
const f = (...shape: number[]): CaseInput => ({ shape });
const pos = (...shape: number[]): CaseInput => ({ shape, map: positive });
const bool = (...shape: number[]): CaseInput => ({ shape, dtype: 'bool' });
const ints = (shape: Shape, values: readonly number[]): CaseInput => ({ shape, dtype: 'i32', values });

const unary = (op: (x: Value) => Value, map?: (x: number) => number): OpCase[] =>
  [[3, 4], [1], []].map((shape) => ({
    name: `[${shape.join(',')}]`,
    inputs: [map ? { shape, map } : { shape }],
    build: ([x]) => [op(x as Value)],
  }));

const pairs: [Shape, Shape][] = [
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [3]],
  [
    [2, 1, 3],
    [4, 1],
  ],
  [[], [2, 2]],
  [[1], [1, 1]],
];

const binary = (op: (a: Value, b: Value) => Value, a = f, b = f): OpCase[] =>
  pairs.map(([sa, sb]) => ({
    name: `[${sa.join(',')}] with [${sb.join(',')}]`,
    inputs: [a(...sa), b(...sb)],
    build: ([x, y]) => [op(x as Value, y as Value)],
  }));

const flags = (op: (a: Value, b: Value) => Value): OpCase[] =>
  binary(op).map((c) => ({ ...c, noGradient: 'boolean result' }));

const one = (
  name: string,
  inputs: CaseInput[],
  build: (inputs: Value[], float: 'f32' | 'f64') => Value | readonly Value[],
  noGradient?: string,
): OpCase => ({
  name,
  inputs,
  build: (vs, float) => {
    const r = build(vs, float);
    return Array.isArray(r) ? (r as Value[]) : [r as Value];
  },
  ...(noGradient === undefined ? {} : { noGradient }),
});

const V = (vs: Value[], i: number): Value => vs[i] as Value;

const attentionCase = (
  name: string,
  [B, T, H, G, D, E]: [number, number, number, number, number, number],
  window: number | null,
  sinks = false,
  softcap: number | null = null,
): OpCase =>
  one(name, [f(B, T, H, D), f(B, T, G, D), f(B, T, G, E), ...(sinks ? [f(H)] : [])], (vs) => {
    const { out } = L.attention(V(vs, 0), V(vs, 1), V(vs, 2), {
      window,
      scale: 1 / Math.sqrt(D),
      sinks: vs[3] ?? null,
      softcap,
    });
    return out;
  });

const attentionCases: OpCase[] = [
  attentionCase('full, one head', [1, 5, 1, 1, 4, 4], null),
  attentionCase('full, grouped queries, values of another width', [2, 7, 4, 2, 4, 6], null),
  attentionCase('full, several query blocks', [1, 150, 2, 1, 4, 4], null),
  attentionCase('window 1', [1, 9, 2, 2, 4, 4], 1),
  attentionCase('window 2', [1, 40, 2, 2, 4, 4], 2),
  attentionCase('window 15', [1, 50, 2, 2, 4, 4], 15),
  attentionCase('window 16', [2, 50, 2, 1, 4, 4], 16),
  attentionCase('window 17', [1, 64, 4, 2, 4, 4], 17),
  attentionCase('window T-1', [1, 20, 1, 1, 4, 4], 19),
  attentionCase('window T', [1, 20, 1, 1, 4, 4], 20),
  attentionCase('window T+1', [1, 20, 1, 1, 4, 4], 21),
  attentionCase('window over several causal blocks', [1, 300, 1, 1, 4, 4], 200),
  attentionCase('one token', [2, 1, 2, 2, 4, 4], 3),
  attentionCase('sinks, full', [1, 9, 4, 2, 4, 4], null, true),
  attentionCase('sinks, window', [2, 45, 4, 2, 4, 4], 5, true),
  attentionCase('softcap, full, grouped queries', [2, 40, 4, 2, 4, 6], null, false, 0.5),
  attentionCase('softcap and sinks, window', [1, 45, 4, 2, 4, 4], 5, true, 0.8),
];

/** Cases of an op's own derivative op, which is reached with consistent inputs through the derivative of the op. */
const derivativeCases = (op: OpName, cases: readonly OpCase[]): OpCase[] =>
  cases.map((c) => ({
    ...c,
    name: `derivative of: ${c.name}`,
    noGradient: `checked as the derivative of ${op}`,
    derivativeOf: op,
    build: (vs, float) => {
      const terms = c.build(vs, float).map((out, i) => {
        const weights = L.constant(randomTensor(float, out.shape, `${op}Grad ${c.name}${i}`));
        // States stay f32 beside bf16.
        return L.reduceSum(L.mul(L.convert(out, float), weights));
      });
      const wrt = vs.filter((v) => isFloat(v.dtype));
      return L.grad(
        terms.reduce((a, b) => L.add(a, b)),
        wrt,
      );
    },
  }));

const dotCase = (name: string, a: Shape, b: Shape, dims: L.DotAttrs): OpCase =>
  one(name, [f(...a), f(...b)], (vs) => L.dot(V(vs, 0), V(vs, 1), dims));

/** `[1040, M]^T [1040, N]`: contracted over many rows, as gradients of matrices are. */
const tallDot = (M: number, N: number): OpCase => {
  const tall = (width: number): CaseInput => ({ shape: [1040, width], map: (x) => x / 32 });
  const build: OpCase['build'] = (vs) => [L.dot(V(vs, 0), V(vs, 1), dims([], [], [0], [0]))];
  return { name: `many rows contracted, ${M} by ${N}`, inputs: [tall(M), tall(N)], build };
};

const dims = (lhsBatch: number[], rhsBatch: number[], lhsContract: number[], rhsContract: number[]): L.DotAttrs => ({
  lhsBatch,
  rhsBatch,
  lhsContract,
  rhsContract,
});

const scanCase = (name: string, reverse: boolean): OpCase =>
  one(name, [f(3), f(5, 3), f(3)], (vs) => {
    const { carry, ys } = L.scan({ carry: [V(vs, 0)], xs: [V(vs, 1)], consts: [V(vs, 2)], reverse }, (c, x, k) => {
      const next = L.tanh(L.add(L.mul(V(c, 0), V(k, 0)), V(x, 0)));
      return { carry: [next], ys: [L.mul(next, V(x, 0)), L.reduceSum(next)] };
    });
    return [...carry, ...ys];
  });

export const OP_CASES: { readonly [K in OpName]: readonly OpCase[] } = {
  input: [one('passed through', [f(2, 3)], (vs) => V(vs, 0))],
  constant: [one('added', [f(2)], (vs, t) => L.add(V(vs, 0), L.constantFrom(t, [2], [1.5, -2])))],
  iota: [
    one('float and integer', [f(2, 3)], (vs, t) => {
      const index = L.convert(L.iota('i32', [2, 3], 1), t);
      return L.mul(V(vs, 0), L.add(index, L.iota(t, [2, 3], 0)));
    }),
  ],
  exp: [...unary(L.exp), one('more than a vector', [{ shape: [23], map: (x) => x * 2 }], (vs) => L.exp(V(vs, 0)))],
  log: unary(L.log, positive),
  log1p: unary(L.log1p, positive),
  sqrt: unary(L.sqrt, positive),
  rsqrt: unary(L.rsqrt, positive),
  tanh: unary(L.tanh),
  sigmoid: [
    ...unary(L.sigmoid),
    one('saturated', [{ shape: [23], map: (x) => x * 8 }], (vs) => L.sigmoid(V(vs, 0)), 'saturated'),
  ],
  sin: unary(L.sin),
  cos: unary(L.cos),
  floor: unary(L.floor),
  neg: unary(L.neg),
  abs: unary(L.abs),
  sign: unary(L.sign),
  add: [
    ...binary(L.add),
    one('i32', [ints([3], [1, -2, 3]), ints([1], [5])], (vs) => L.add(V(vs, 0), V(vs, 1)), 'integers'),
  ],
  sub: [
    ...binary(L.sub),
    one('i32', [ints([3], [1, -2, 3]), ints([1], [5])], (vs) => L.sub(V(vs, 0), V(vs, 1)), 'integers'),
  ],
  mul: [
    ...binary(L.mul),
    one('i32', [ints([3], [1, -2, 3]), ints([1], [5])], (vs) => L.mul(V(vs, 0), V(vs, 1)), 'integers'),
  ],
  div: [
    ...binary(L.div, f, pos),
    one('i32 truncates', [ints([4], [7, -7, 6, 1]), ints([], [3])], (vs) => L.div(V(vs, 0), V(vs, 1)), 'integers'),
  ],
  max: [
    ...binary(L.max),
    one('i32', [ints([3], [1, -2, 3]), ints([1], [2])], (vs) => L.max(V(vs, 0), V(vs, 1)), 'integers'),
  ],
  min: [
    ...binary(L.min),
    one('i32', [ints([3], [1, -2, 3]), ints([1], [2])], (vs) => L.min(V(vs, 0), V(vs, 1)), 'integers'),
  ],
  pow: binary(L.pow, pos, f),
  eq: [
    ...flags(L.eq),
    one('i32', [ints([3], [1, 2, 3]), ints([1], [2])], (vs) => L.eq(V(vs, 0), V(vs, 1)), 'boolean result'),
  ],
  ne: [
    ...flags(L.ne),
    one('i32', [ints([3], [1, 2, 3]), ints([1], [2])], (vs) => L.ne(V(vs, 0), V(vs, 1)), 'boolean result'),
  ],
  lt: [
    ...flags(L.lt),
    one('i32', [ints([3], [1, 2, 3]), ints([1], [2])], (vs) => L.lt(V(vs, 0), V(vs, 1)), 'boolean result'),
  ],
  le: [
    ...flags(L.le),
    one('i32', [ints([3], [1, 2, 3]), ints([1], [2])], (vs) => L.le(V(vs, 0), V(vs, 1)), 'boolean result'),
  ],
  gt: [
    ...flags(L.gt),
    one('i32', [ints([3], [1, 2, 3]), ints([1], [2])], (vs) => L.gt(V(vs, 0), V(vs, 1)), 'boolean result'),
  ],
  ge: [
    ...flags(L.ge),
    one('i32', [ints([3], [1, 2, 3]), ints([1], [2])], (vs) => L.ge(V(vs, 0), V(vs, 1)), 'boolean result'),
  ],
  and: [one('broadcast', [bool(2, 3), bool(3)], (vs) => L.and(V(vs, 0), V(vs, 1)), 'booleans')],
  or: [one('broadcast', [bool(2, 1), bool(3)], (vs) => L.or(V(vs, 0), V(vs, 1)), 'booleans')],
  not: [one('plain', [bool(5)], (vs) => L.not(V(vs, 0)), 'booleans')],
  select: [
    one('same shapes', [bool(2, 3), f(2, 3), f(2, 3)], (vs) => L.select(V(vs, 0), V(vs, 1), V(vs, 2))),
    one('broadcast', [bool(2, 1), f(3), f(1, 1)], (vs) => L.select(V(vs, 0), V(vs, 1), V(vs, 2))),
    one(
      'i32',
      [bool(3), ints([3], [1, 2, 3]), ints([], [9])],
      (vs) => L.select(V(vs, 0), V(vs, 1), V(vs, 2)),
      'integers',
    ),
  ],
  convert: [
    one('i32 to float', [ints([3], [1, -2, 3])], (vs, t) => L.convert(V(vs, 0), t), 'integers'),
    one(
      'float to i32 truncates',
      [{ shape: [4], values: [1.7, -1.7, 0.2, -0.2] }],
      (vs) => L.convert(V(vs, 0), 'i32'),
      'integers',
    ),
    one('bool to float', [bool(4)], (vs, t) => L.convert(V(vs, 0), t), 'booleans'),
    one('float to bool', [{ shape: [3], values: [0, 0.5, -1] }], (vs) => L.convert(V(vs, 0), 'bool'), 'booleans'),
    one('float to float', [f(2, 2)], (vs) => L.convert(L.convert(V(vs, 0), 'f64'), V(vs, 0).dtype)),
  ],
  reshape: [
    one('2,6 to 3,1,4', [f(2, 6)], (vs) => L.reshape(V(vs, 0), [3, 1, 4])),
    one('to scalar', [f(1, 1)], (vs) => L.reshape(V(vs, 0), [])),
  ],
  transpose: [
    one('matrix', [f(2, 3)], (vs) => L.transpose(V(vs, 0), [1, 0])),
    one('rank 4', [f(2, 3, 1, 4)], (vs) => L.transpose(V(vs, 0), [2, 0, 3, 1])),
  ],
  broadcast: [
    one('new and stretched axes', [f(3, 1)], (vs) => L.broadcast(V(vs, 0), [2, 3, 4])),
    one('scalar', [f()], (vs) => L.broadcast(V(vs, 0), [2, 2])),
  ],
  slice: [
    one('offsets', [f(4, 5)], (vs) => L.slice(V(vs, 0), [1, 0], [3, 4])),
    one('strides', [f(7, 5)], (vs) => L.slice(V(vs, 0), [1, 0], [7, 5], [3, 2])),
    one('stride that stops short', [f(8)], (vs) => L.slice(V(vs, 0), [0], [7], [3])),
  ],
  pad: [
    one('both sides', [f(2, 3)], (vs) => L.pad(V(vs, 0), [1, 0], [0, 2], -1)),
    one('a bool', [bool(3)], (vs) => L.pad(V(vs, 0), [1], [1], 1), 'booleans'),
  ],
  concat: [
    one('axis 1 of three', [f(2, 1), f(2, 3), f(2, 2)], (vs) => L.concat(vs, 1)),
    one('i32', [ints([2], [1, 2]), ints([1], [3])], (vs) => L.concat(vs, 0), 'integers'),
  ],
  split: [
    one('uneven, weighted', [f(2, 6)], (vs) => {
      const [a, b, c] = L.split(V(vs, 0), 1, [1, 3, 2]) as [Value, Value, Value];
      return [L.mul(a, 2), b, L.exp(c)];
    }),
    one('one part used', [f(2, 6)], (vs) => L.split(V(vs, 0), 1, [1, 3, 2])[1]),
  ],
  dot: [
    dotCase('matrix', [3, 4], [4, 5], dims([], [], [1], [0])),
    dotCase('vector by vector', [4], [4], dims([], [], [0], [0])),
    dotCase('batched matrix', [2, 3, 4], [2, 4, 5], dims([0], [0], [2], [1])),
    dotCase('batched, rhs transposed', [2, 2, 3, 4], [2, 2, 5, 4], dims([0, 1], [0, 1], [3], [3])),
    dotCase('batched, lhs transposed', [2, 4, 3], [2, 4, 5], dims([0], [0], [1], [1])),
    dotCase('tokens by weights', [2, 3, 4], [4, 5], dims([], [], [2], [0])),
    dotCase('tokens by transposed weights', [2, 3, 4], [5, 4], dims([], [], [2], [1])),
    dotCase('weights by tokens', [4, 5], [2, 3, 4], dims([], [], [0], [2])),
    dotCase('two contracted axes', [2, 3, 4], [2, 3, 5], dims([], [], [0, 1], [0, 1])),
    dotCase('contracted axes crossed', [2, 3, 4], [3, 2, 5], dims([], [], [0, 1], [1, 0])),
    dotCase('batch axis inside', [3, 2, 4], [4, 2, 5], dims([1], [1], [2], [0])),
    dotCase('outer product', [3], [2, 2], dims([], [], [], [])),
    dotCase('sizes of 1', [1, 1], [1, 1], dims([], [], [1], [0])),
    tallDot(2, 3),
    tallDot(5, 1),
    dotCase('batch crossed', [2, 3, 4, 1], [3, 4, 2, 5], dims([0, 1], [2, 0], [2], [1])),
  ],
  reduceSum: [
    one('all', [f(2, 3)], (vs) => L.reduceSum(V(vs, 0))),
    one('axis 0 kept', [f(2, 3)], (vs) => L.reduceSum(V(vs, 0), [0], true)),
    one('many leading rows', [f(4, 17, 3)], (vs) => L.reduceSum(V(vs, 0), [0, 1])),
    one('many leading rows, kept', [f(4, 17, 3)], (vs) => L.reduceSum(V(vs, 0), [1, 0], true)),
    one('axes 0 and 2', [f(2, 3, 2)], (vs) => L.reduceSum(V(vs, 0), [0, 2])),
    one('i32', [ints([2, 2], [1, 2, 3, 4])], (vs) => L.reduceSum(V(vs, 0), [1]), 'integers'),
    one('no axes', [f(2)], (vs) => L.reduceSum(V(vs, 0), [])),
  ],
  reduceMax: [
    one('last axis', [f(3, 4)], (vs) => L.reduceMax(V(vs, 0), [1])),
    one('all, kept', [f(3, 4)], (vs) => L.reduceMax(V(vs, 0), [0, 1], true)),
  ],
  argmax: [
    one('last axis', [f(3, 4)], (vs) => L.argmax(V(vs, 0), 1), 'integers'),
    one('first of equals', [{ shape: [1, 4], values: [1, 3, 3, 0] }], (vs) => L.argmax(V(vs, 0), 1), 'integers'),
    one('axis 0', [f(3, 4)], (vs) => L.argmax(V(vs, 0), 0), 'integers'),
  ],
  cumsum: [false, true].flatMap((reverse) =>
    [false, true].map((exclusive) =>
      one(`reverse ${reverse}, exclusive ${exclusive}`, [f(2, 4)], (vs) =>
        L.cumsum(V(vs, 0), 1, { reverse, exclusive }),
      ),
    ),
  ),
  take: [
    one('rows, with repeats', [f(4, 3), ints([2, 3], [0, 3, 3, 1, 0, 0])], (vs) => L.take(V(vs, 0), V(vs, 1))),
    one('elements', [f(4), ints([3], [2, 2, 0])], (vs) => L.take(V(vs, 0), V(vs, 1))),
  ],
  scatterAdd: [
    one('rows, with repeats', [f(4, 3), ints([5], [0, 3, 3, 0, 0]), f(5, 3)], (vs) =>
      L.scatterAdd(V(vs, 0), V(vs, 1), V(vs, 2)),
    ),
    one('elements', [f(4), ints([2, 2], [1, 1, 2, 1]), f(2, 2)], (vs) => L.scatterAdd(V(vs, 0), V(vs, 1), V(vs, 2))),
    one(
      'many repeats',
      [
        f(3, 2),
        ints(
          [64],
          Array.from({ length: 64 }, (_, i) => (i * i) % 3),
        ),
        f(64, 2),
      ],
      (vs) => L.scatterAdd(V(vs, 0), V(vs, 1), V(vs, 2)),
    ),
  ],
  scan: [
    scanCase('forward', false),
    scanCase('reverse', true),
    one('carries alone, with a counter', [f(2)], (vs, t) => {
      const { carry } = L.scan({ carry: [V(vs, 0), L.constantFrom('i32', [], [0])], length: 4 }, ([c, n]) => {
        const k = L.convert(n as Value, t);
        return { carry: [L.sin(L.add(c as Value, k)), L.add(n as Value, 1)] };
      });
      return V([...carry], 0);
    }),
  ],
  stopGradient: [one('forward', [f(3)], (vs) => L.stopGradient(V(vs, 0)), 'its derivative is zero by definition')],
  kernel: [],
  barrier: [one('two values', [f(3), f(2, 2)], (vs) => L.barrier(vs))],
  remat: [
    one('a small network', [f(2, 3), f(3, 3)], (vs) =>
      L.remat(vs, ([x, w]) => {
        const h = L.tanh(L.linear(x as Value, w as Value));
        return [L.mul(h, h), L.reduceSum(L.exp(h))];
      }),
    ),
  ],
  softmax: [
    one('rows of 21', [f(2, 21)], (vs) => L.softmax(V(vs, 0))),
    one('last axis', [f(3, 5)], (vs) => L.softmax(V(vs, 0))),
    one('middle axis', [f(2, 3, 2)], (vs) => L.softmax(V(vs, 0), 1)),
    one('large scores', [{ shape: [2, 3], map: (x) => x * 300 }], (vs) => L.softmax(V(vs, 0)), 'saturated'),
  ],
  rmsNorm: [
    one('weighted', [f(2, 3, 4), f(4)], (vs) => L.rmsNorm(V(vs, 0), V(vs, 1), 1e-5)),
    one('plain', [f(3, 4)], (vs) => L.rmsNorm(V(vs, 0), null, 1e-5)),
    one('width 1', [pos(3, 1), f(1)], (vs) => L.rmsNorm(V(vs, 0), V(vs, 1), 1e-5)),
    one('both outputs', [f(3, 4), f(4)], (vs) => L.emit('rmsNorm', vs, { epsilon: 1e-5 })),
  ],
  rmsNormGrad: [
    one('weighted', [f(2, 4), pos(2, 1), f(2, 4), f(4)], (vs) => L.emit('rmsNormGrad', vs, {})),
    one('plain', [f(2, 2, 4), pos(2, 2, 1), f(2, 2, 4)], (vs) => L.emit('rmsNormGrad', vs, {})),
  ],
  rotary: [
    one('halves of eight', [f(2, 3, 2, 16)], (vs) => L.rotary(V(vs, 0), L.rotaryFrequencies(16, 100))),
    one('forward', [f(2, 5, 2, 6)], (vs) => L.rotary(V(vs, 0), L.rotaryFrequencies(6, 100))),
    one('backward', [f(1, 3, 1, 2)], (vs) => L.rotary(V(vs, 0), L.rotaryFrequencies(2, 100), true)),
  ],
  swiglu: [one('plain', [f(3, 4), f(3, 4)], (vs) => L.swiglu(V(vs, 0), V(vs, 1)))],
  routeRows: [
    one('rows to places', [f(3, 2), ints([3, 1], [2, 0, 1]), ints([3, 1], [1, 2, 0])], (vs) =>
      L.routeRows(V(vs, 0), V(vs, 1), V(vs, 2)),
    ),
    one('sums of rows', [f(4, 3), ints([2, 2], [0, 1, 2, 3]), ints([4, 1], [0, 0, 1, 1])], (vs) =>
      L.routeRows(V(vs, 0), V(vs, 1), V(vs, 2)),
    ),
    one('rows repeated', [f(2, 3), ints([4, 1], [0, 1, 0, 1]), ints([2, 2], [0, 2, 1, 3])], (vs) =>
      L.routeRows(V(vs, 0), V(vs, 1), V(vs, 2)),
    ),
  ],
  swigluGrad: [one('plain', [f(3, 4), f(3, 4), f(3, 4)], (vs) => L.emit('swigluGrad', vs, {}))],
  crossEntropy: [
    one('loss and log-sum-exp', [f(4, 5), ints([4], [0, 4, 2, 2])], (vs) => L.emit('crossEntropy', vs, {})),
    one('one class', [f(2, 1), ints([2], [0, 0])], (vs) => L.crossEntropy(V(vs, 0), V(vs, 1)).loss),
  ],
  crossEntropyGrad: [
    one('plain', [f(4, 5), ints([4], [0, 4, 2, 2]), pos(4), f(4), f(4)], (vs) => L.emit('crossEntropyGrad', vs, {})),
  ],
  attention: attentionCases,
  attentionGrad: derivativeCases('attention', attentionCases),
  cacheWrite: WRITE_CASES,
  cacheAttention: CACHE_ATTENTION_CASES,
  linearRecurrence: LINEAR_CASES,
  linearRecurrenceGrad: derivativeCases('linearRecurrence', LINEAR_CASES),
  deltaRule: DELTA_CASES,
  deltaRuleGrad: derivativeCases('deltaRule', DELTA_CASES),
  selectiveScan: SELECTIVE_CASES,
  selectiveScanGrad: derivativeCases('selectiveScan', OWN_GRADIENT_CASES),
  causalConv: CONV_CASES,
};

/** The host tensors of a case, seeded by its name. */
export function caseTensors(c: OpCase, op: OpName, float: 'f32' | 'f64'): HostTensor[] {
  return c.inputs.map((spec, i) => {
    const dtype: DType = spec.dtype ?? float;
    if (spec.values) return tensorFrom(dtype, spec.shape, spec.values);
    return randomTensor(dtype, spec.shape, `${op}/${c.name}/${i}`, spec.map);
  });
}

/** The graph of a case: inputs in0, in1, ...; outputs out0, out1, ... */
export function caseGraph(c: OpCase, tensors: readonly HostTensor[], float: 'f32' | 'f64'): L.Graph {
  const inputs = tensors.map((t, i) => L.input(`in${i}`, t.dtype, t.shape));
  const outputs = c.build(inputs, float);
  return L.makeGraph(
    Object.fromEntries(inputs.map((v, i) => [`in${i}`, v])),
    Object.fromEntries(outputs.map((v, i) => [`out${i}`, v])),
  );
}

/** The derivatives of an op by its float inputs, of a sum of its outputs with random weights: grad0, grad1, ... */
export function derivativeGraph(c: OpCase, op: OpName, tensors: readonly HostTensor[]): L.Graph {
  const { inputs, gradients } = differentiated(c, op, tensors);
  return L.makeGraph(inputs, gradients);
}

/** What an op gives, as `caseGraph`, and its derivatives, as `derivativeGraph`, in one graph. */
export function wholeGraph(c: OpCase, op: OpName, tensors: readonly HostTensor[]): L.Graph {
  const { inputs, outputs, gradients } = differentiated(c, op, tensors);
  return L.makeGraph(inputs, { ...outputs, ...gradients });
}

function differentiated(c: OpCase, op: OpName, tensors: readonly HostTensor[]) {
  const inputs = tensors.map((t, i) => L.input(`in${i}`, t.dtype, t.shape));
  const outputs = c.build(inputs, 'f32');
  const terms = outputs.flatMap((v, i): Value[] => {
    if (!isFloat(v.dtype)) return [];
    const weights = L.constant(randomTensor('f32', v.shape, `${op}/${c.name}/w${i}`));
    return [L.reduceSum(L.mul(L.convert(v, 'f32'), weights))];
  });
  const loss = terms.reduce((a, b) => L.add(a, b));
  const wrt = inputs.filter((v) => isFloat(v.dtype));
  return {
    inputs: Object.fromEntries(inputs.map((v, i) => [`in${i}`, v])),
    outputs: Object.fromEntries(outputs.map((v, i) => [`out${i}`, v])),
    gradients: Object.fromEntries(L.grad(loss, wrt).map((g, i) => [`grad${i}`, g])),
  };
}

/** Random shapes for elementwise broadcasting, seeded. */
export function randomBroadcastShapes(seed: string): [Shape, Shape] {
  const rng = Rng.of(3, seed);
  const rank = 1 + rng.int(4);
  const whole = Array.from({ length: rank }, () => 1 + rng.int(4));
  const part = (): number[] => whole.map((d) => (rng.int(3) === 0 ? 1 : d)).slice(rng.int(rank));
  return [part(), part()];
}
