/** Derivatives of RMS norm. */
import { build } from '../ir/emit.js';
import type { DerivativeRule } from '../ir/rules.js';
import { differentiate, throughDecomposition } from '../primitives/differentiate.js';
import { NORM_DECOMPOSITIONS } from './decompose.js';
import { NORM } from './type.js';

/** The derivative rules of the norm and its gradient. */
export const NORM_DERIVATIVES: { readonly [K in 'rmsNorm' | 'rmsNormGrad']: DerivativeRule<K> } = {
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
