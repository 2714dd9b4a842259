/** SwiGLU and its gradient in primitives. */
import type { Decomposition } from '../ir/rules.js';
import * as L from '../primitives/index.js';

/** Decompositions of SwiGLU and its gradient. */
export const GATE_DECOMPOSITIONS: { readonly [K in 'swiglu' | 'swigluGrad']: Decomposition<K> } = {
  swiglu: ([gate, up]) => [L.mul(L.mul(gate, L.sigmoid(gate)), up)],
  swigluGrad: ([gate, up, dy]) => {
    const s = L.sigmoid(gate);
    const silu = L.mul(gate, s);
    const y = L.mul(silu, up);
    // d silu / d gate = s + silu (1 - s); times u, with y = silu u: s (u - y) + y.
    return [L.mul(dy, L.add(L.mul(s, L.sub(up, y)), y)), L.mul(dy, silu)];
  },
};
