/** Activations that learn nothing, as functions of graph values. */
import { present } from '../../core/index.js';
import { add, div, max, min, mul, sigmoid, sub, tanh, type Value } from '../../graph/index.js';

/** `exp(x) - 1` for x up to 0, precise near 0. */
export function expm1(x: Value): Value {
  const t = tanh(mul(x, 0.5));
  return div(mul(t, 2), sub(1, t));
}

/** The names of the activations that learn nothing. */
export const PLAIN_ACTIVATIONS = ['silu', 'gelu', 'gelu_tanh', 'relu', 'relu2'] as const;

/** The activations that learn nothing, by their names in configurations. */
export const PLAIN: { readonly [A in (typeof PLAIN_ACTIVATIONS)[number]]: (x: Value) => Value } = {
  silu: (x) => mul(x, sigmoid(x)),
  gelu: (x) => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1)),
  gelu_tanh: (x) => {
    const inner = mul(mul(x, Math.sqrt(2 / Math.PI)), add(mul(mul(x, x), 0.044715), 1));
    return mul(mul(x, 0.5), add(tanh(inner), 1));
  },
  relu: (x) => max(x, 0),
  relu2: (x) => mul(max(x, 0), max(x, 0)),
};

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
