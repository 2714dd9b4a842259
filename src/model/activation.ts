/** Activations of the MLP: those that learn nothing, and xIELU. */
import { add, gt, min, mul, scalar, select, softplus, sub, swiglu, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';
import { expm1, PLAIN } from './mixers/activations.js';
import type { ParamInit } from './mixers/spec.js';

type Activation = ModelConfig['activation'];

/** A learned number of an activation, `[1]`. */
interface ActivationParam {
  /** The end of its name within the MLP. */
  readonly name: string;
  readonly init: ParamInit;
}

/** The x with `softplus(x) = y`, for y above 0. */
const softplusInverse = (y: number): number => Math.log(Math.expm1(y));

/** xIELU's share of the linear term, the same on both sides. */
const XIELU_BETA = 0.5;
/** xIELU's exponential part takes no values above this. */
const XIELU_EPS = -1e-6;

/** The slopes of xIELU (arXiv 2411.13010), kept positive by softplus; both start at 0.8. */
const XIELU: readonly ActivationParam[] = [
  { name: 'alphap', init: { kind: 'constant', value: softplusInverse(0.8) } },
  { name: 'alphan', init: { kind: 'constant', value: softplusInverse(0.8 - XIELU_BETA) } },
];

/** The numbers that an activation learns, one of each a layer. */
export function activationParams(activation: Activation): readonly ActivationParam[] {
  return activation === 'xielu' ? XIELU : [];
}

/**
 * xIELU: `ap x^2 + x / 2` above 0, `an (exp(x) - 1 - x) + x / 2` below, with `ap = softplus(alphap)` and
 * `an = 1/2 + softplus(alphan)`.
 */
function xielu(x: Value, param: (name: string) => Value): Value {
  const above = mul(mul(x, x), softplus(param('alphap')));
  const below = mul(sub(expm1(min(x, XIELU_EPS)), x), add(softplus(param('alphan')), XIELU_BETA));
  return add(select(gt(x, scalar(0, x.dtype)), above, below), mul(x, XIELU_BETA));
}

/** `activation(x)`; `param` gives the numbers that it learns, `[1]`. */
export function activated(activation: Activation, x: Value, param: (name: string) => Value): Value {
  return activation === 'xielu' ? xielu(x, param) : PLAIN[activation](x);
}

/** `activation(gate) * up`; `param` gives the numbers that the activation learns, `[1]`. */
export function gated(activation: Activation, gate: Value, up: Value, param: (name: string) => Value): Value {
  return activation === 'silu' ? swiglu(gate, up) : mul(activated(activation, gate, param), up);
}
