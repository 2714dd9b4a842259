/** Softmax, cross entropy and its gradient. */
import { at, dims, isFloat, sizeOf, type Shape } from '../../core/index.js';
import type { Operands } from '../ir/checks.js';
import { build, build1, define } from '../ir/emit.js';
import type { Decomposition, DerivativeRule } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import { throughDecomposition, zerosLike } from '../primitives/differentiate.js';
import * as L from '../primitives/index.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    readonly softmax: Signature<{ readonly axis: number }, readonly [Value]>;
    /** logits `[N,V]`, targets i32 `[N]` -> negative log-likelihood `[N]` in nats, log-sum-exp `[N]`. */
    readonly crossEntropy: Signature<
      NoAttrs,
      readonly [logits: Value, targets: Value],
      readonly [loss: Value, lse: Value]
    >;
    /** logits, targets, lse, dloss `[N]`, dlse `[N]` -> dlogits. */
    readonly crossEntropyGrad: Signature<
      NoAttrs,
      readonly [logits: Value, targets: Value, lse: Value, dloss: Value, dlse: Value]
    >;
  }
}

/** Checks logits `[N,V]` and targets i32 `[N]`; gives the shape of what each row has one of. */
function checkLogits(inputs: Operands): Shape {
  const { dtype, shape } = inputs.at(0);
  if (!isFloat(dtype)) throw inputs.dtypeError('logits must be floating-point');
  inputs.requireIndex(1, 'targets');
  if (shape.length !== 2 || shape[1] === 0) throw inputs.shapeError('logits must be [N,V] with V >= 1');
  inputs.requireShape(1, shape.slice(0, 1), 'targets');
  return shape.slice(0, 1);
}

const traits = { precision: 'f32', locality: 'any', merging: 'fold' } as const;

/** Definitions of softmax, cross entropy and its gradient. */
export const LOSS = {
  softmax: define('softmax', 1, traits, (inputs, { axis }) => {
    inputs.floatDtype();
    inputs.requireAxis(axis);
    return [inputs.at(0)];
  }),
  crossEntropy: define('crossEntropy', 2, traits, (inputs) => {
    const row = { dtype: inputs.at(0).dtype, shape: checkLogits(inputs) };
    return [row, row];
  }),
  crossEntropyGrad: define('crossEntropyGrad', 5, traits, (inputs) => {
    const rows = checkLogits(inputs);
    for (const i of [2, 3, 4]) inputs.requireShape(i, rows, 'lse, dloss and dlse');
    return [inputs.at(0)];
  }),
};

/** `exp(x) / sum(exp(x))` along `axis`, the last one if left out. */
export function softmax(x: Value, axis = x.shape.length - 1): Value {
  return build1(LOSS.softmax, [x], { axis });
}

/**
 * Negative log-likelihood of targets i32 `[N]` under logits `[N,V]`, and the log-sum-exp of each row, both `[N]`, in
 * nats.
 */
export function crossEntropy(logits: Value, targets: Value): { readonly loss: Value; readonly lse: Value } {
  const [loss, lse] = build(LOSS.crossEntropy, [logits, targets], {});
  return { loss, lse };
}

/** Flat positions of each row's target in logits `[N,V]`. */
function targetIndices(logits: Value, targets: Value): Value {
  const [n, vocab] = dims(logits, 2);
  return L.add(L.mul(L.iota('i32', [n], 0), vocab), targets);
}

const column = (v: Value): Value => L.reshape(v, [at(v.shape, 0), 1]);

/** Decompositions of softmax, cross entropy and its gradient. */
export const LOSS_DECOMPOSITIONS: { readonly [K in keyof typeof LOSS]: Decomposition<K> } = {
  // The largest element is taken away first, so that no exponential overflows; it has no derivative of its own.
  softmax: ([x], { axis }) => {
    const e = L.exp(L.sub(x, L.stopGradient(L.reduceMax(x, [axis], true))));
    return [L.div(e, L.reduceSum(e, [axis], true))];
  },
  crossEntropy: ([z, targets]) => {
    const top = L.stopGradient(L.reduceMax(z, [1], true));
    const sum = L.reduceSum(L.exp(L.sub(z, top)), [1]);
    const lse = L.add(L.reshape(top, sum.shape), L.log(sum));
    const picked = L.take(L.reshape(z, [sizeOf(z.shape)]), targetIndices(z, targets));
    return [L.sub(lse, picked), lse];
  },
  // p (dloss + dlse), and -dloss at the target.
  crossEntropyGrad: ([z, targets, lse, dloss, dlse]) => {
    const p = L.exp(L.sub(z, column(lse)));
    const scaled = L.mul(p, column(L.add(dloss, dlse)));
    const flat = L.reshape(scaled, [sizeOf(z.shape)]);
    return [L.reshape(L.scatterAdd(flat, targetIndices(z, targets), L.neg(dloss)), z.shape)];
  },
};

/** The derivative rules of softmax, cross entropy and its gradient. */
export const LOSS_DERIVATIVES: { readonly [K in keyof typeof LOSS]: DerivativeRule<K> } = {
  softmax: ({ outputs: [y], attrs: { axis } }, [ct]) => {
    const inner = L.reduceSum(L.mul(ct, y), [axis], true);
    return [L.mul(y, L.sub(ct, inner))];
  },
  crossEntropy: ({ inputs: [logits, targets], outputs: [loss, lse] }, [dloss, dlse]) => {
    const inputs = [logits, targets, lse, dloss ?? zerosLike(loss), dlse ?? zerosLike(loss)] as const;
    return [...build(LOSS.crossEntropyGrad, inputs, {}), null];
  },
  crossEntropyGrad: throughDecomposition(LOSS_DECOMPOSITIONS.crossEntropyGrad),
};
