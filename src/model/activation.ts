/** Activations of the MLP. */
import { present } from '../core/index.js';
import { add, div, max, min, mul, sigmoid, swiglu, tanh, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';

const RULES: Readonly<Record<Exclude<ModelConfig['activation'], 'silu'>, (x: Value) => Value>> = {
  gelu: (x) => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1)),
  gelu_tanh: (x) => {
    const inner = mul(mul(x, Math.sqrt(2 / Math.PI)), add(mul(mul(x, x), 0.044715), 1));
    return mul(mul(x, 0.5), add(tanh(inner), 1));
  },
  relu: (x) => max(x, 0),
  relu2: (x) => mul(max(x, 0), max(x, 0)),
};

/** `activation(x)`. */
export function activated(activation: ModelConfig['activation'], x: Value): Value {
  return activation === 'silu' ? mul(x, sigmoid(x)) : RULES[activation](x);
}

/** `activation(gate) * up`. */
export function gated(activation: ModelConfig['activation'], gate: Value, up: Value): Value {
  return activation === 'silu' ? swiglu(gate, up) : mul(RULES[activation](gate), up);
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
