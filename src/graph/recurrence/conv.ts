/** Short causal depthwise convolution in primitives: one shifted product for each tap. */
import { present, dims, at } from '../../core/index.js';
import { documentStarts } from '../primitives/documents.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import type { CausalConvAttrs } from './type.js';

/** The inputs in the order of the catalog, by name. */
function convInputs(
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
  const next = (given: boolean): Value | null => (given ? present(rest.shift()) : null);
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
  const starts = segments && width > 1 ? documentStarts(segments, width - 1) : null;
  /** `rows` where no document begins on the way from them to the token that reads them, else zeros. */
  const keep = (rows: Value, between: Value): Value =>
    L.select(L.reshape(L.eq(between, 0), [B, at(between.shape, 1), 1]), rows, 0);
  const row = (values: Value, first: number): Value => L.sliceAxis(values, 1, first, first + T);
  // Sums over the few rows between: running numbers of documents would be sums over all rows.
  const betweens: Value[] = [];
  for (let m = width - 2; starts && m >= 0; m--) {
    const further = row(starts, m + 1);
    betweens[m] = betweens[m + 1] ? L.add(at(betweens, m + 1), further) : further;
  }
  const taps = Array.from({ length: width }, (_, m) => {
    const rows = row(padded, m);
    const between = betweens[m];
    return L.mul(between ? keep(rows, between) : rows, L.reshape(L.sliceAxis(weight, 1, m, m + 1), [C]));
  });
  const sum = taps.reduce((a, b) => L.add(a, b));
  const y = bias ? L.add(sum, bias) : sum;
  const last = L.sliceAxis(padded, 1, T, T + width - 1);
  if (!starts) return [y, last];
  const final = L.sliceAxis(starts, 1, T, T + width - 1);
  return [y, keep(last, L.sub(L.reduceSum(final, [1], true), L.cumsum(final, 1)))];
}
