/** Soft caps: values kept within `-c .. c` by a hyperbolic tangent (Gemma 2). */
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';

/** `c tanh(x / c)`, of the shape of x; x itself where there is no cap. */
export function softcapped(x: Value, cap: number | null | undefined): Value {
  return cap === null || cap === undefined ? x : L.mul(L.tanh(L.div(x, cap)), cap);
}

/** The derivative of `c tanh(x / c)` by x, from the capped values: `1 - (capped / c)^2`, of their shape. */
export function softcapSlope(capped: Value, cap: number): Value {
  const t = L.div(capped, cap);
  return L.sub(1, L.mul(t, t));
}
