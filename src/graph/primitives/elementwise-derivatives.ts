/** Derivatives of the elementwise ops. */
import { isFloat } from '../../core/index.js';
import type { Cotangent } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import { none, unbroadcast } from './differentiate.js';
import * as L from './elementwise.js';

interface OneInput {
  readonly inputs: readonly [Value];
  readonly outputs: readonly [Value];
}
interface TwoInputs {
  readonly inputs: readonly [Value, Value];
  readonly outputs: readonly [Value];
}

/** A rule for an op of one input: `f(x, y, ct)` with y the op's result. */
const unary =
  (f: (x: Value, y: Value, ct: Value) => Cotangent) =>
  ({ inputs: [x], outputs: [y] }: OneInput, [ct]: readonly [Value]): readonly Cotangent[] => [f(x, y, ct)];

/** A rule for a broadcasting op of two inputs. */
const binary =
  (f: (a: Value, b: Value, y: Value, ct: Value) => readonly [Value, Value]) =>
  ({ inputs: [a, b], outputs: [y] }: TwoInputs, [ct]: readonly [Value]): readonly Cotangent[] => {
    const [da, db] = f(a, b, y, ct);
    return [unbroadcast(da, a.shape), unbroadcast(db, b.shape)];
  };

/** The larger or smaller of two: where they are equal each gets half. */
const extremum = (better: (a: Value, b: Value) => Value) =>
  binary((a, b, _, ct) => {
    const half = L.select(L.eq(a, b), L.mul(ct, 0.5), 0);
    return [L.select(better(a, b), ct, half), L.select(better(b, a), ct, half)];
  });

/** The derivative rules of the elementwise ops. */
export const ELEMENTWISE_DERIVATIVES = {
  exp: unary((_, y, ct) => L.mul(ct, y)),
  log: unary((x, _, ct) => L.div(ct, x)),
  log1p: unary((x, _, ct) => L.div(ct, L.add(x, 1))),
  sqrt: unary((_, y, ct) => L.div(L.mul(ct, 0.5), y)),
  rsqrt: unary((_, y, ct) => L.mul(L.mul(ct, -0.5), L.mul(y, L.mul(y, y)))),
  tanh: unary((_, y, ct) => L.mul(ct, L.sub(1, L.mul(y, y)))),
  sigmoid: unary((_, y, ct) => L.mul(ct, L.mul(y, L.sub(1, y)))),
  sin: unary((x, _, ct) => L.mul(ct, L.cos(x))),
  cos: unary((x, _, ct) => L.neg(L.mul(ct, L.sin(x)))),
  floor: none,
  neg: unary((_x, _y, ct) => L.neg(ct)),
  abs: unary((x, _, ct) => L.mul(ct, L.sign(x))),
  sign: none,
  add: binary((_a, _b, _y, ct) => [ct, ct]),
  sub: binary((_a, _b, _y, ct) => [ct, L.neg(ct)]),
  mul: binary((a, b, _, ct) => [L.mul(ct, b), L.mul(ct, a)]),
  div: binary((_, b, y, ct) => [L.div(ct, b), L.neg(L.div(L.mul(ct, y), b))]),
  max: extremum((a, b) => L.gt(a, b)),
  min: extremum((a, b) => L.lt(a, b)),
  pow: binary((a, b, y, ct) => [L.mul(ct, L.mul(b, L.pow(a, L.sub(b, 1)))), L.mul(ct, L.mul(y, L.log(a)))]),
  eq: none,
  ne: none,
  lt: none,
  le: none,
  gt: none,
  ge: none,
  and: none,
  or: none,
  not: none,
  select: ({ inputs: [c, a, b] }: { inputs: readonly [Value, Value, Value] }, [ct]: readonly [Value]) => [
    ...[null, unbroadcast(L.select(c, ct, 0), a.shape), unbroadcast(L.select(c, 0, ct), b.shape)],
  ],
  convert: unary((x, y, ct) => (isFloat(x.dtype) && isFloat(y.dtype) ? L.convert(ct, x.dtype) : null)),
  stopGradient: none,
};
