/** RMS norm (Zhang and Sennrich 2019) and its gradient. */
import { build, define } from '../ir/emit.js';
import type { Decomposition, DerivativeRule } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import { differentiate, throughDecomposition } from '../primitives/differentiate.js';
import * as L from '../primitives/index.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    /**
     * x, [weight] -> y, rstd: `y = x * rstd * weight`, `rstd = 1 / sqrt(mean(x^2) + epsilon)` over the last axis, kept
     * as size 1.
     */
    readonly rmsNorm: Signature<
      { readonly epsilon: number },
      readonly [x: Value, ...weight: Value[]],
      readonly [y: Value, rstd: Value]
    >;
    /** x, rstd, dy, [weight] -> dx, [dweight]. */
    readonly rmsNormGrad: Signature<
      NoAttrs,
      readonly [x: Value, rstd: Value, dy: Value, ...weight: Value[]],
      readonly [dx: Value, ...dweight: Value[]]
    >;
  }
}

/** Definitions of the norm and its gradient. */
export const NORM = {
  rmsNorm: define('rmsNorm', [1, 2], { precision: 'activations', locality: 'any', merging: 'fold' }, (inputs) => {
    const dtype = inputs.floatDtype();
    const shape = inputs.shape(0);
    const width = shape[shape.length - 1];
    if (!width) throw inputs.shapeError('x needs a last axis of size >= 1');
    if (inputs.length === 2) inputs.requireShape(1, [width], 'weight');
    return [inputs.at(0), { dtype, shape: [...shape.slice(0, -1), 1] }];
  }),
  rmsNormGrad: define('rmsNormGrad', [3, 4], { precision: 'f32', locality: 'any', merging: 'fold' }, (inputs) => {
    inputs.floatDtype();
    const x = inputs.at(0);
    inputs.requireShape(1, [...x.shape.slice(0, -1), 1], 'rstd');
    inputs.requireShape(2, x.shape, 'dy');
    if (inputs.length === 3) return [x];
    inputs.requireShape(3, x.shape.slice(-1), 'weight');
    return [x, inputs.at(3)];
  }),
};

/** RMS norm over the last axis, `x / sqrt(mean(x^2) + epsilon) * weight`: x `[..., D]`, weight `[D]` or null for 1. */
export function rmsNorm(x: Value, weight: Value | null, epsilon: number): Value {
  return build(NORM.rmsNorm, weight ? [x, weight] : [x], { epsilon })[0];
}

const lastAxis = (x: Value): number => x.shape.length - 1;

/** Decompositions of the norm and its gradient. */
export const NORM_DECOMPOSITIONS: { readonly [K in keyof typeof NORM]: Decomposition<K> } = {
  rmsNorm: ([x, weight], { epsilon }) => {
    const rstd = L.rsqrt(L.add(L.reduceMean(L.mul(x, x), [lastAxis(x)], true), epsilon));
    const y = L.mul(x, rstd);
    return [weight ? L.mul(y, weight) : y, rstd];
  },
  rmsNormGrad: ([x, rstd, dy, weight]) => {
    const normal = L.mul(x, rstd);
    const dNormal = weight ? L.mul(dy, weight) : dy;
    // What moves x along itself changes nothing: that part of the cotangent is taken away.
    const inner = L.reduceMean(L.mul(dNormal, normal), [lastAxis(x)], true);
    const dx = L.mul(L.sub(dNormal, L.mul(normal, inner)), rstd);
    if (!weight) return [dx];
    const lead = x.shape.slice(0, -1).map((_, i) => i);
    return [dx, L.reduceSum(L.mul(dy, normal), lead)];
  },
};

/** The derivative rules of the norm and its gradient. */
export const NORM_DERIVATIVES: { readonly [K in keyof typeof NORM]: DerivativeRule<K> } = {
  rmsNorm: (node, cts, pullback) => {
    const [dy, drstd] = cts;
    // Somebody differentiates the statistic itself: the fused gradient knows only that of y.
    if (drstd || !dy) return differentiate(NORM_DECOMPOSITIONS.rmsNorm, node, cts, pullback);
    const [x, weight] = node.inputs;
    const [dx, dweight] = build(NORM.rmsNormGrad, [x, node.outputs[1], dy, ...(weight ? [weight] : [])], {});
    return dweight ? [dx, dweight] : [dx];
  },
  rmsNormGrad: throughDecomposition(NORM_DECOMPOSITIONS.rmsNormGrad),
};
