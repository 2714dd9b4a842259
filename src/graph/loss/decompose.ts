/** Softmax, cross entropy and its gradient in primitives. */
import { at, dims, sizeOf } from '../../core/index.js';
import type { Decomposition } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import * as L from '../primitives/index.js';

/** Flat positions of each row's target in logits `[N,V]`. */
function targetIndices(logits: Value, targets: Value): Value {
  const [n, vocab] = dims(logits, 2);
  return L.add(L.mul(L.iota('i32', [n], 0), vocab), targets);
}

const column = (v: Value): Value => L.reshape(v, [at(v.shape, 0), 1]);

/** Decompositions of softmax, cross entropy and its gradient. */
export const LOSS_DECOMPOSITIONS: {
  readonly [K in 'softmax' | 'crossEntropy' | 'crossEntropyGrad']: Decomposition<K>;
} = {
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
