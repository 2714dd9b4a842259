/** Derivatives of SwiGLU. */
import { build } from '../ir/emit.js';
import type { DerivativeRule } from '../ir/rules.js';
import { throughDecomposition } from '../primitives/differentiate.js';
import { GATE_DECOMPOSITIONS } from './decompose.js';
import { GATE } from './type.js';

/** The derivative rules of SwiGLU and its gradient. */
export const GATE_DERIVATIVES: { readonly [K in 'swiglu' | 'swigluGrad']: DerivativeRule<K> } = {
  swiglu: ({ inputs: [gate, up] }, [ct]) => build(GATE.swigluGrad, [gate, up, ct], {}),
  swigluGrad: throughDecomposition(GATE_DECOMPOSITIONS.swigluGrad),
};
