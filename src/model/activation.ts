/** Activations of the MLP. */
import { present } from '../core/index.js';
import {
  add,
  div,
  gt,
  max,
  min,
  mul,
  scalar,
  select,
  sigmoid,
  softplus,
  sub,
  swiglu,
  tanh,
  type Value,
} from '../graph/index.js';
import type { ModelConfig } from './config.js';
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

/** `exp(x) - 1` for x up to 0, precise near 0. */
function expm1(x: Value): Value {
  const t = tanh(mul(x, 0.5));
  return div(mul(t, 2), sub(1, t));
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

const RULES: Readonly<Record<Exclude<Activation, 'silu'>, (x: Value, param: (name: string) => Value) => Value>> = {
  gelu: (x) => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1)),
  gelu_tanh: (x) => {
    const inner = mul(mul(x, Math.sqrt(2 / Math.PI)), add(mul(mul(x, x), 0.044715), 1));
    return mul(mul(x, 0.5), add(tanh(inner), 1));
  },
  relu: (x) => max(x, 0),
  relu2: (x) => mul(max(x, 0), max(x, 0)),
  xielu,
};

/** `activation(x)`; `param` gives the numbers that it learns, `[1]`. */
export function activated(activation: Activation, x: Value, param: (name: string) => Value): Value {
  return activation === 'silu' ? mul(x, sigmoid(x)) : RULES[activation](x, param);
}

/** `activation(gate) * up`; `param` gives the numbers that the activation learns, `[1]`. */
export function gated(activation: Activation, gate: Value, up: Value, param: (name: string) => Value): Value {
  return activation === 'silu' ? swiglu(gate, up) : mul(RULES[activation](gate, param), up);
}

/**
 * Numerator (odd powers of x) and denominator (even powers), highest first: a minimax fit on [-4, 4] as Eigen and XLA
 * use.
 */
const ERF_ODD = [
  -2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4,
  -2.95459980854025e-3, -1.60960333262415e-2,
];
const ERF_EVEN = [
  -1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2,
];

/** The error function, to the precision of f32. */
export function erf(x: Value): Value {
  const clamped = max(min(x, 4), -4);
  const square = mul(clamped, clamped);
  const polynomial = ([first, second, ...rest]: readonly number[]): Value =>
    rest.reduce<Value>((sum, c) => add(mul(sum, square), c), add(mul(square, present(first)), present(second)));
  return div(mul(clamped, polynomial(ERF_ODD)), polynomial(ERF_EVEN));
}
