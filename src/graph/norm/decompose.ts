/** RMS norm and its gradient in primitives. */
import type { Decomposition } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import * as L from '../primitives/index.js';

const lastAxis = (x: Value): number => x.shape.length - 1;

/** Decompositions of the norm and its gradient. */
export const NORM_DECOMPOSITIONS: { readonly [K in 'rmsNorm' | 'rmsNormGrad']: Decomposition<K> } = {
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
