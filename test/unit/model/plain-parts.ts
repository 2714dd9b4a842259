/** What the plain loops of a model share: products, norms and activations, of one token. */
import type { ModelConfig } from '../../../src/model/index.js';

export type Matrix = { readonly data: Float64Array; readonly columns: number };

export function times(x: readonly number[], w: Matrix, from = 0, to = w.columns): number[] {
  const out = new Array<number>(to - from).fill(0);
  x.forEach((xi, i) => {
    for (let j = from; j < to; j++) out[j - from] = (out[j - from] ?? 0) + xi * (w.data[i * w.columns + j] ?? NaN);
  });
  return out;
}

export function normed(x: readonly number[], weight: Float64Array | null, eps: number): number[] {
  const meanSquare = x.reduce((s, v) => s + v * v, 0) / x.length;
  return x.map((v, i) => (v / Math.sqrt(meanSquare + eps)) * (weight === null ? 1 : (weight[i] ?? NaN)));
}

/** One of several matrices `[inner, columns]` that follow one another in `data`. */
export const nth = (data: Float64Array, index: number, inner: number, columns: number): Matrix => ({
  data: data.subarray(index * inner * columns, (index + 1) * inner * columns),
  columns,
});

/** The error function: exp(-t^2) integrated by Simpson's rule. */
export function erf(x: number): number {
  const n = 2000;
  let sum = 0;
  for (let i = 0; i <= n; i++) sum += (i === 0 || i === n ? 1 : i % 2 === 1 ? 4 : 2) * Math.exp(-(((x * i) / n) ** 2));
  return (2 / Math.sqrt(Math.PI)) * sum * (x / n / 3);
}

export const ACTIVATIONS: Readonly<
  Record<ModelConfig['activation'], (x: number, learned: (name: string) => number) => number>
> = {
  silu: (x) => x * sigmoid(x),
  gelu: (x) => (x * (1 + erf(x / Math.sqrt(2)))) / 2,
  gelu_tanh: (x) => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2,
  relu: (x) => Math.max(0, x),
  relu2: (x) => Math.max(0, x) ** 2,
  xielu: (x, learned) => {
    const softplus = (y: number) => Math.log1p(Math.exp(y));
    if (x > 0) return softplus(learned('alphap')) * x * x + 0.5 * x;
    return (0.5 + softplus(learned('alphan'))) * (Math.expm1(Math.min(x, -1e-6)) - x) + 0.5 * x;
  },
};

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
export const plus = (a: readonly number[], b: readonly number[]): number[] => a.map((v, i) => v + (b[i] ?? NaN));
export const dotOf = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((s, v, i) => s + v * (b[i] ?? NaN), 0);
