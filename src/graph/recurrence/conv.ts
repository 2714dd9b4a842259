/** Short causal depthwise convolution in primitives: one shifted product for each tap. */
import { dims, at } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import type { CausalConvAttrs } from './type.js';
import { documentRuns } from '../primitives/documents.js';

/** The inputs in the order of the catalogue, by name. */
export function convInputs(
  inputs: readonly Value[],
  attrs: CausalConvAttrs,
): {
  x: Value;
  weight: Value;
  bias: Value | null;
  segments: Value | null;
  state: Value | null;
} {
  const rest = inputs.slice(2);
  const next = (given: boolean): Value | null => (given ? (rest.shift() as Value) : null);
  const [x, weight] = inputs as [Value, Value];
  return { x, weight, bias: next(attrs.bias), segments: next(attrs.segments), state: next(attrs.initialState) };
}

/** causalConv in primitives: y `[B,T,C]` and the last `width - 1` inputs of the last token's document. */
export function decomposeCausalConv(inputs: readonly Value[], attrs: CausalConvAttrs): readonly Value[] {
  const { x, weight, bias, segments, state } = convInputs(inputs, attrs);
  const [B, T, C] = dims(x, 3);
  const width = at(weight.shape, 1);
  const before = state ?? L.full(x.dtype, [B, width - 1, C], 0);
  const padded = width === 1 ? x : L.concat([before, x], 1);
  // The document of each padded row; what stands before the first token belongs to its document.
  const runs = segments && width > 1 ? L.padAxis(documentRuns(segments), 1, width - 1, 0) : null;
  const keep = (rows: Value, own: Value, start: number, count: number): Value => {
    if (!runs) return rows;
    const same = L.eq(L.sliceAxis(runs, 1, start, start + count), own);
    return L.select(L.reshape(same, [B, count, 1]), rows, 0);
  };
  const own = runs && L.sliceAxis(runs, 1, width - 1, width - 1 + T);
  const taps = Array.from({ length: width }, (_, m) => {
    const rows = L.sliceAxis(padded, 1, m, m + T);
    const seen = own && m < width - 1 ? keep(rows, own, m, T) : rows;
    return L.mul(seen, L.reshape(L.sliceAxis(weight, 1, m, m + 1), [C]));
  });
  const sum = taps.reduce((a, b) => L.add(a, b));
  const y = bias ? L.add(sum, bias) : sum;
  const last = L.sliceAxis(padded, 1, T, T + width - 1);
  return [y, runs ? keep(last, L.sliceAxis(runs, 1, T + width - 2, T + width - 1), T, width - 1) : last];
}
