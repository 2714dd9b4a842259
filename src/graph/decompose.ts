/** Every composite in terms of primitives (and simpler composites). */
import { sizeOf, type Shape } from '../core/index.js';
import { decomposeAttention, decomposeAttentionGrad } from './attention.js';
import { inline } from './graph.js';
import * as L from './lib.js';
import { decomposeCausalConv } from './recurrence/conv.js';
import { decomposeDeltaRule, decomposeDeltaRuleGrad } from './recurrence/delta.js';
import { decomposeLinearRecurrence, decomposeLinearRecurrenceGrad } from './recurrence/linear.js';
import type { OpAttrs, OpName, Value } from './types.js';

export const COMPOSITE_OPS = [
  'softmax',
  'rmsNorm',
  'rmsNormGrad',
  'rotary',
  'swiglu',
  'swigluGrad',
  'crossEntropy',
  'crossEntropyGrad',
  'attention',
  'attentionGrad',
  'linearRecurrence',
  'linearRecurrenceGrad',
  'deltaRule',
  'deltaRuleGrad',
  'causalConv',
  'remat',
] as const satisfies readonly OpName[];

export type CompositeOp = (typeof COMPOSITE_OPS)[number];

export type Decomposition<K extends CompositeOp> = {
  rule(inputs: readonly Value[], attrs: OpAttrs[K]): readonly Value[];
}['rule'];

export function isComposite(op: OpName): op is CompositeOp {
  return (COMPOSITE_OPS as readonly OpName[]).includes(op);
}

const lastAxis = (x: Value): number => x.shape.length - 1;

/** Flat positions of each row's target in logits `[N,V]`. */
function targetIndices(logits: Value, targets: Value): Value {
  const [n, vocab] = logits.shape as [number, number];
  return L.add(L.mul(L.iota('i32', [n], 0), vocab), targets);
}

/** cos and sin of the rotary angles, `[1,T,1,D/2]`, computed in float64 and rounded once. */
function rotaryTables(x: Value, { inverseFrequencies, inverse }: OpAttrs['rotary']): { cos: Value; sin: Value } {
  const T = x.shape[1] as number;
  const half = inverseFrequencies.length;
  const shape: Shape = [1, T, 1, half];
  const [cos, sin] = [new Float64Array(sizeOf(shape)), new Float64Array(sizeOf(shape))];
  for (let t = 0; t < T; t++) {
    for (let m = 0; m < half; m++) {
      const angle = t * (inverseFrequencies[m] as number);
      cos[t * half + m] = Math.cos(angle);
      sin[t * half + m] = inverse ? -Math.sin(angle) : Math.sin(angle);
    }
  }
  return { cos: L.constantFrom(x.dtype, shape, cos), sin: L.constantFrom(x.dtype, shape, sin) };
}

const rmsNorm: Decomposition<'rmsNorm'> = ([x, weight], { epsilon }) => {
  const v = x as Value;
  const rstd = L.rsqrt(L.add(L.reduceMean(L.mul(v, v), [lastAxis(v)], true), epsilon));
  const y = L.mul(v, rstd);
  return [weight ? L.mul(y, weight) : y, rstd];
};

const rmsNormGrad: Decomposition<'rmsNormGrad'> = ([x, rstd, dy, weight]) => {
  const [xv, r, d] = [x as Value, rstd as Value, dy as Value];
  const normal = L.mul(xv, r);
  const dNormal = weight ? L.mul(d, weight) : d;
  const inner = L.reduceMean(L.mul(dNormal, normal), [lastAxis(xv)], true);
  const dx = L.mul(L.sub(dNormal, L.mul(normal, inner)), r);
  if (!weight) return [dx];
  const lead = xv.shape.slice(0, -1).map((_, i) => i);
  return [dx, L.reduceSum(L.mul(d, normal), lead)];
};

const rotary: Decomposition<'rotary'> = ([x], attrs) => {
  const v = x as Value;
  const half = attrs.inverseFrequencies.length;
  const { cos, sin } = rotaryTables(v, attrs);
  const [a, b] = L.split(v, 3, [half, half]) as [Value, Value];
  return [L.concat([L.sub(L.mul(a, cos), L.mul(b, sin)), L.add(L.mul(b, cos), L.mul(a, sin))], 3)];
};

/** The decomposition of every composite, by default. */
export const DECOMPOSITIONS: { readonly [K in CompositeOp]: Decomposition<K> } = {
  softmax: ([x], { axis }) => {
    const v = x as Value;
    const e = L.exp(L.sub(v, L.stopGradient(L.reduceMax(v, [axis], true))));
    return [L.div(e, L.reduceSum(e, [axis], true))];
  },
  rmsNorm,
  rmsNormGrad,
  rotary,
  swiglu: ([gate, up]) => {
    const g = gate as Value;
    return [L.mul(L.mul(g, L.sigmoid(g)), up as Value)];
  },
  swigluGrad: ([gate, up, dy]) => {
    const [g, u, d] = [gate as Value, up as Value, dy as Value];
    const s = L.sigmoid(g);
    const silu = L.mul(g, s);
    const y = L.mul(silu, u);
    // d silu / d gate = s + silu (1 - s); times u, with y = silu u: s (u - y) + y.
    return [L.mul(d, L.add(L.mul(s, L.sub(u, y)), y)), L.mul(d, silu)];
  },
  crossEntropy: ([logits, targets]) => {
    const [z, t] = [logits as Value, targets as Value];
    const top = L.stopGradient(L.reduceMax(z, [1], true));
    const sum = L.reduceSum(L.exp(L.sub(z, top)), [1]);
    const lse = L.add(L.reshape(top, sum.shape), L.log(sum));
    const picked = L.take(L.reshape(z, [sizeOf(z.shape)]), targetIndices(z, t));
    return [L.sub(lse, picked), lse];
  },
  crossEntropyGrad: ([logits, targets, lse, dloss, dlse]) => {
    const [z, t, dl] = [logits as Value, targets as Value, dloss as Value];
    const column = (v: Value): Value => L.reshape(v, [v.shape[0] as number, 1]);
    const p = L.exp(L.sub(z, column(lse as Value)));
    const scaled = L.mul(p, column(L.add(dl, dlse as Value)));
    const flat = L.reshape(scaled, [sizeOf(z.shape)]);
    return [L.reshape(L.scatterAdd(flat, targetIndices(z, t), L.neg(dl)), z.shape)];
  },
  attention: decomposeAttention,
  attentionGrad: decomposeAttentionGrad,
  linearRecurrence: decomposeLinearRecurrence,
  linearRecurrenceGrad: decomposeLinearRecurrenceGrad,
  deltaRule: decomposeDeltaRule,
  deltaRuleGrad: decomposeDeltaRuleGrad,
  causalConv: decomposeCausalConv,
  remat: (inputs, { body }) => inline(body, inputs),
};
