/**
 * The derivative rule of every op: given a node and the cotangents of its outputs (null = zero), the cotangents of its inputs
 * (null = zero, and always for integers, booleans and indices). Values built here that nothing uses never reach a graph.
 */
import { LongsightError, isFloat, type Shape } from '../core/index.js';
import { DECOMPOSITIONS } from './decompose.js';
import { inline, scan } from './graph.js';
import * as L from './lib.js';
import type { Node, OpName, Value } from './types.js';

export type Cotangent = Value | null;

/** `pullback` differentiates a whole subgraph (see `vjp` in autodiff.ts); passed in to keep this table free of cycles. */
export type Pullback = (
  outputs: readonly Value[],
  cotangents: readonly Cotangent[],
  wrt: readonly Value[],
) => readonly Cotangent[];

export type DerivativeRule<K extends OpName> = {
  rule(node: Node<K>, cts: readonly Cotangent[], pullback: Pullback): readonly Cotangent[];
}['rule'];

const inp = (node: { readonly inputs: readonly Value[] }, i: number): Value => node.inputs[i] as Value;
const out = (node: { readonly outputs: readonly Value[] }, i = 0): Value => node.outputs[i] as Value;

/** Sums a cotangent over the axes along which a value of `shape` was stretched. */
export function unbroadcast(ct: Value, shape: Shape): Value {
  const extra = ct.shape.length - shape.length;
  const axes = ct.shape.map((_, i) => i).filter((i) => i < extra || (shape[i - extra] === 1 && ct.shape[i] !== 1));
  const summed = axes.length > 0 ? L.reduceSum(ct, axes, true) : ct;
  return extra > 0 ? L.reshape(summed, shape) : summed;
}

/** A rule for an elementwise op of one input: `f(x, y, ct)` with y the op's result. Zero cotangents never get here. */
const unary =
  (f: (x: Value, y: Value, ct: Value) => Cotangent) =>
  (node: Node, [ct]: readonly Cotangent[]): readonly Cotangent[] => [f(inp(node, 0), out(node), ct as Value)];

/** A rule for a broadcasting op of two inputs. */
const binary =
  (f: (a: Value, b: Value, y: Value, ct: Value) => readonly [Value, Value]) =>
  (node: Node, [ct]: readonly Cotangent[]): readonly Cotangent[] => {
    const [a, b] = [inp(node, 0), inp(node, 1)];
    const [da, db] = f(a, b, out(node), ct as Value);
    return [unbroadcast(da, a.shape), unbroadcast(db, b.shape)];
  };

const none = (node: Node): readonly Cotangent[] => node.inputs.map(() => null);

/** Differentiates the op's decomposition; for composites that need no faster rule. */
const throughDecomposition = (node: Node, cts: readonly Cotangent[], pullback: Pullback): readonly Cotangent[] => {
  const fresh = L.barrier(node.inputs);
  const decompose = DECOMPOSITIONS[node.op as keyof typeof DECOMPOSITIONS] as (
    inputs: readonly Value[],
    attrs: unknown,
  ) => readonly Value[];
  return pullback(decompose(fresh, node.attrs), cts, fresh);
};

const extremum =
  (better: (a: Value, b: Value) => Value) =>
  (node: Node, cts: readonly Cotangent[]): readonly Cotangent[] =>
    binary((a, b, _, ct) => {
      const half = L.select(L.eq(a, b), L.mul(ct, 0.5), 0);
      return [L.select(better(a, b), ct, half), L.select(better(b, a), ct, half)];
    })(node, cts);

const dot: DerivativeRule<'dot'> = (node, [ct]) => {
  const [a, b] = [inp(node, 0), inp(node, 1)];
  const { lhsBatch, rhsBatch, lhsContract, rhsContract } = node.attrs;
  const free = (v: Value, used: readonly number[]): number[] =>
    v.shape.map((_, i) => i).filter((i) => !used.includes(i));
  const aFree = free(a, [...lhsBatch, ...lhsContract]);
  const bFree = free(b, [...rhsBatch, ...rhsContract]);
  const batch = lhsBatch.map((_, i) => i);
  const ctAFree = aFree.map((_, i) => batch.length + i);
  const ctBFree = bFree.map((_, i) => batch.length + aFree.length + i);
  // The axes that a product leaves, in the order in which it leaves them, as axes of the operand; sorted back by transpose.
  const back = (v: Value, axes: readonly number[]): Value => {
    const permutation = axes.map((_, axis) => axes.indexOf(axis));
    return permutation.every((p, i) => p === i) ? v : L.transpose(v, permutation);
  };
  const contractOf = (own: readonly number[], other: readonly number[], ownOrder: readonly number[]): number[] =>
    ownOrder.map((axis) => own[other.indexOf(axis)] as number);
  const bLeft = [...rhsContract].sort((x, y) => x - y);
  const da = L.dot(ct as Value, b, {
    lhsBatch: batch,
    rhsBatch,
    lhsContract: ctBFree,
    rhsContract: bFree,
  });
  const aLeft = [...lhsContract].sort((x, y) => x - y);
  const db = L.dot(a, ct as Value, {
    lhsBatch,
    rhsBatch: batch,
    lhsContract: aFree,
    rhsContract: ctAFree,
  });
  return [
    back(da, [...lhsBatch, ...aFree, ...contractOf(lhsContract, rhsContract, bLeft)]),
    back(db, [...rhsBatch, ...contractOf(rhsContract, lhsContract, aLeft), ...bFree]),
  ];
};

const slice: DerivativeRule<'slice'> = (node, [ct]) => {
  const { starts, limits, strides } = node.attrs;
  const { shape } = inp(node, 0);
  let v = ct as Value;
  // A stride: spread the elements apart by zeros, through an extra axis of size `stride`.
  strides.forEach((stride, axis) => {
    if (stride === 1) return;
    const n = v.shape[axis] as number;
    const before = v.shape.slice(0, axis);
    const after = v.shape.slice(axis + 1);
    const wide = L.padAxis(L.reshape(v, [...before, n, 1, ...after]), axis + 1, 0, stride - 1);
    v = L.reshape(wide, [...before, n * stride, ...after]);
    const length = (limits[axis] as number) - (starts[axis] as number);
    v = L.sliceAxis(v, axis, 0, Math.min(length, n * stride));
  });
  const high = shape.map((d, i) => d - (starts[i] as number) - (v.shape[i] as number));
  return [L.pad(v, starts, high)];
};

const reduced = (ct: Value, axes: readonly number[], keepDims: boolean, shape: Shape): Value =>
  keepDims
    ? ct
    : L.reshape(
        ct,
        shape.map((d, i) => (axes.includes(i) ? 1 : d)),
      );

const scanRule: DerivativeRule<'scan'> = (node, cts, pullback) => {
  const { body, length, numCarry, numXs, reverse, savesCarry } = node.attrs;
  const carry0 = node.inputs.slice(0, numCarry);
  const xs = node.inputs.slice(numCarry, numCarry + numXs);
  const consts = node.inputs.slice(numCarry + numXs);
  const numYs = node.outputs.length - numCarry - (savesCarry ? numCarry : 0);
  const saved = savesCarry
    ? node.outputs.slice(numCarry + numYs)
    : scan({ carry: carry0, xs, consts, length, reverse }, (c, x, k) => {
        return { carry: inline(body, [...c, ...x, ...k]).slice(0, numCarry) };
      }).saved;
  const zerosLike = (v: Value): Value => L.full(v.dtype, v.shape, 0);
  const ctOr = (ct: Cotangent | undefined, v: Value): Value => ct ?? zerosLike(v);
  const floats = <T extends { dtype: Value['dtype'] }>(vs: readonly T[]): number[] =>
    vs.flatMap((v, i) => (isFloat(v.dtype) ? [i] : []));
  const [fc, fk, fx] = [floats(carry0), floats(consts), floats(xs)];
  const ys = node.outputs.slice(numCarry, numCarry + numYs);
  const fy = floats(ys);
  const pick = <T>(vs: readonly T[], at: readonly number[]): T[] => at.map((i) => vs[i] as T);
  const back = scan(
    {
      carry: [...fc.map((i) => ctOr(cts[i], carry0[i] as Value)), ...pick(consts, fk).map(zerosLike)],
      xs: [...saved, ...xs, ...fy.map((i) => ctOr(cts[numCarry + i], ys[i] as Value))],
      consts,
      length,
      reverse: !reverse,
    },
    (carry, x, k) => {
      const [c, rest] = [x.slice(0, numCarry), x.slice(numCarry)];
      const [xi, dy] = [rest.slice(0, numXs), rest.slice(numXs)];
      const [dc, dk] = [carry.slice(0, fc.length), carry.slice(fc.length)];
      const outs = inline(body, [...c, ...xi, ...k]);
      const outCts: Cotangent[] = outs.map(() => null);
      fc.forEach((i, j) => (outCts[i] = dc[j] as Value));
      fy.forEach((i, j) => (outCts[numCarry + i] = dy[j] as Value));
      const wrt = [...pick(c, fc), ...pick(k, fk), ...pick(xi, fx)];
      const grads = pullback(outs, outCts, wrt).map((g, i) => g ?? zerosLike(wrt[i] as Value));
      const dConsts = dk.map((v, j) => L.add(v, grads[fc.length + j] as Value));
      return { carry: [...grads.slice(0, fc.length), ...dConsts], ys: grads.slice(fc.length + fk.length) };
    },
  );
  const result: Cotangent[] = node.inputs.map(() => null);
  fc.forEach((i, j) => (result[i] = back.carry[j] as Value));
  fx.forEach((i, j) => (result[numCarry + i] = back.ys[j] as Value));
  fk.forEach((i, j) => (result[numCarry + numXs + i] = back.carry[fc.length + j] as Value));
  return result;
};

const rematRule: DerivativeRule<'remat'> = (node, cts, pullback) => {
  const live = cts.filter((c): c is Value => c !== null);
  // The barrier ties the recomputation to the cotangents: it cannot start, or be merged with the first one, before them.
  const tied = L.barrier([...node.inputs, ...live]);
  const inputs = tied.slice(0, node.inputs.length);
  let next = node.inputs.length;
  const tiedCts = cts.map((c) => (c ? (tied[next++] as Value) : null));
  const outs = inline(node.attrs.body, inputs);
  return pullback(outs, tiedCts, inputs);
};

/** The derivative of a recurrence by its own op; `fixed` inputs come before the optional ones. */
const recurrence =
  (op: 'linearRecurrenceGrad' | 'deltaRuleGrad', fixed: number): DerivativeRule<'linearRecurrence' | 'deltaRule'> =>
  (node, cts) => {
    const [dOut, dState] = node.outputs.map((v, i) => cts[i] ?? L.full(v.dtype, v.shape, 0)) as [Value, Value];
    const grads: Cotangent[] = [...L.emit(op, [...node.inputs, out(node), dOut, dState], node.attrs)];
    if (node.attrs.segments) grads.splice(fixed, 0, null);
    return grads;
  };

/** The derivative rule of every op. Rules run only where at least one cotangent is not zero. */
export const DERIVATIVE_RULES: { readonly [K in OpName]: DerivativeRule<K> } = {
  input: none,
  constant: none,
  iota: none,
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
  select: (node, [ct]) => {
    const [c, a, b] = [inp(node, 0), inp(node, 1), inp(node, 2)];
    return [null, unbroadcast(L.select(c, ct as Value, 0), a.shape), unbroadcast(L.select(c, 0, ct as Value), b.shape)];
  },
  convert: unary((x, y, ct) => (isFloat(x.dtype) && isFloat(y.dtype) ? L.convert(ct, x.dtype) : null)),
  reshape: unary((x, _, ct) => L.reshape(ct, x.shape)),
  transpose: (node, [ct]) => {
    const { permutation } = node.attrs;
    return [
      L.transpose(
        ct as Value,
        permutation.map((_, axis) => permutation.indexOf(axis)),
      ),
    ];
  },
  broadcast: unary((x, _, ct) => unbroadcast(ct, x.shape)),
  slice,
  pad: (node, [ct]) => {
    const { low } = node.attrs;
    const { shape } = inp(node, 0);
    return [
      L.slice(
        ct as Value,
        low,
        shape.map((d, i) => d + (low[i] as number)),
      ),
    ];
  },
  concat: (node, [ct]) => {
    const { axis } = node.attrs;
    return L.split(
      ct as Value,
      axis,
      node.inputs.map((v) => v.shape[axis] as number),
    );
  },
  split: (node, cts) => {
    const parts = node.outputs.map((v, i) => cts[i] ?? L.full(v.dtype, v.shape, 0));
    return [L.concat(parts, node.attrs.axis)];
  },
  dot,
  reduceSum: (node, [ct]) => {
    const { axes, keepDims } = node.attrs;
    const { shape } = inp(node, 0);
    return [L.broadcast(reduced(ct as Value, axes, keepDims, shape), shape)];
  },
  reduceMax: (node, [ct]) => {
    const { axes, keepDims } = node.attrs;
    const x = inp(node, 0);
    const mask = L.convert(L.eq(x, reduced(out(node), axes, keepDims, x.shape)), x.dtype);
    const share = L.div(reduced(ct as Value, axes, keepDims, x.shape), L.reduceSum(mask, axes, true));
    return [L.mul(mask, share)];
  },
  argmax: none,
  cumsum: (node, [ct]) => {
    const { axis, reverse, exclusive } = node.attrs;
    return [L.cumsum(ct as Value, axis, { reverse: !reverse, exclusive })];
  },
  take: (node, [ct]) => {
    const operand = inp(node, 0);
    return [L.scatterAdd(L.full(operand.dtype, operand.shape, 0), inp(node, 1), ct as Value), null];
  },
  scatterAdd: (node, [ct]) => [ct as Value, null, L.take(ct as Value, inp(node, 1))],
  scan: scanRule,
  stopGradient: none,
  barrier: (_, cts) => cts,
  remat: rematRule,
  kernel: (node) => {
    throw new LongsightError(
      `internal error: kernel ${node.attrs.name} has no derivative; differentiate before preparing`,
    );
  },
  softmax: (node, [ct]) => {
    const y = out(node);
    const inner = L.reduceSum(L.mul(ct as Value, y), [node.attrs.axis], true);
    return [L.mul(y, L.sub(ct as Value, inner))];
  },
  rmsNorm: (node, cts, pullback) => {
    const [dy, drstd] = cts;
    if (drstd || !dy) return throughDecomposition(node, cts, pullback);
    const [x, weight] = node.inputs;
    return L.emit('rmsNormGrad', [x as Value, out(node, 1), dy, ...(weight ? [weight] : [])], {});
  },
  rmsNormGrad: throughDecomposition,
  rotary: (node, [ct]) => [L.rotary(ct as Value, node.attrs.inverseFrequencies, !node.attrs.inverse)],
  swiglu: (node, [ct]) => L.emit('swigluGrad', [inp(node, 0), inp(node, 1), ct as Value], {}),
  swigluGrad: throughDecomposition,
  crossEntropy: (node, [dloss, dlse]) => {
    const zero = (): Value => L.full(out(node).dtype, out(node).shape, 0);
    const inputs = [inp(node, 0), inp(node, 1), out(node, 1), dloss ?? zero(), dlse ?? zero()];
    return [...L.emit('crossEntropyGrad', inputs, {}), null];
  },
  crossEntropyGrad: throughDecomposition,
  attention: (node, [dOut, dLse]) => {
    if (dLse || !dOut) {
      throw new LongsightError("attention's log-sum-exp is a statistic without a derivative; wrap it in stopGradient");
    }
    const [q, k, v, ...optional] = node.inputs as [Value, Value, Value, ...Value[]];
    const grads = L.emit('attentionGrad', [q, k, v, out(node), out(node, 1), dOut, ...optional], node.attrs);
    return node.attrs.segments === true ? [...grads, null] : grads;
  },
  attentionGrad: throughDecomposition,
  linearRecurrence: recurrence('linearRecurrenceGrad', 4),
  linearRecurrenceGrad: throughDecomposition,
  deltaRule: recurrence('deltaRuleGrad', 5),
  deltaRuleGrad: throughDecomposition,
  causalConv: throughDecomposition,
};
