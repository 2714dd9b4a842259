/** SwiGLU (Shazeer 2020) and its gradient. */
import { build, build1, define } from '../ir/emit.js';
import type { Decomposition, DerivativeRule } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import { throughDecomposition } from '../primitives/differentiate.js';
import * as L from '../primitives/index.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    /** gate, up -> `gate * sigmoid(gate) * up`. */
    readonly swiglu: Signature<NoAttrs, readonly [gate: Value, up: Value]>;
    /** gate, up, dy -> dgate, dup. */
    readonly swigluGrad: Signature<
      NoAttrs,
      readonly [gate: Value, up: Value, dy: Value],
      readonly [dgate: Value, dup: Value]
    >;
  }
}

/** Definitions of SwiGLU and its gradient. */
export const GATE = {
  swiglu: define('swiglu', 2, { precision: 'follows', locality: 'any', merging: 'fold' }, (inputs) => {
    inputs.floatDtype();
    inputs.requireShape(1, inputs.shape(0), 'up');
    return [inputs.at(0)];
  }),
  swigluGrad: define('swigluGrad', 3, { precision: 'f32', locality: 'any', merging: 'fold' }, (inputs) => {
    inputs.floatDtype();
    for (const i of [1, 2]) inputs.requireShape(i, inputs.shape(0), 'up and dy');
    return [inputs.at(0), inputs.at(1)];
  }),
};

/** `gate * sigmoid(gate) * up` (Shazeer 2020), elementwise on two values of one shape. */
export function swiglu(gate: Value, up: Value): Value {
  return build1(GATE.swiglu, [gate, up], {});
}

/** Decompositions of SwiGLU and its gradient. */
export const GATE_DECOMPOSITIONS: { readonly [K in keyof typeof GATE]: Decomposition<K> } = {
  swiglu: ([gate, up]) => [L.mul(L.mul(gate, L.sigmoid(gate)), up)],
  swigluGrad: ([gate, up, dy]) => {
    const s = L.sigmoid(gate);
    const silu = L.mul(gate, s);
    const y = L.mul(silu, up);
    // d silu / d gate = s + silu (1 - s); times u, with y = silu u: s (u - y) + y.
    return [L.mul(dy, L.add(L.mul(s, L.sub(up, y)), y)), L.mul(dy, silu)];
  },
};

/** The derivative rules of SwiGLU and its gradient. */
export const GATE_DERIVATIVES: { readonly [K in keyof typeof GATE]: DerivativeRule<K> } = {
  swiglu: ({ inputs: [gate, up] }, [ct]) => build(GATE.swigluGrad, [gate, up, ct], {}),
  swigluGrad: throughDecomposition(GATE_DECOMPOSITIONS.swigluGrad),
};
