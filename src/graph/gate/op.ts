/** The op function of SwiGLU. */
import { build1 } from '../ir/emit.js';
import type { Value } from '../ir/types.js';
import { GATE } from './type.js';

/** `gate * sigmoid(gate) * up` (Shazeer 2020), elementwise on two values of one shape. */
export function swiglu(gate: Value, up: Value): Value {
  return build1(GATE.swiglu, [gate, up], {});
}
