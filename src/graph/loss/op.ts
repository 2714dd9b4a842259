/** The op functions of softmax and cross entropy. */
import { build, build1 } from '../ir/emit.js';
import type { Value } from '../ir/types.js';
import { LOSS } from './type.js';

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
