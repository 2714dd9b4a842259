/** Ops that move elements: reshape, transpose, broadcast, slice, pad, concat, split. */
import { ShapeError, at, formatShape, sameShape, type DType, type Shape } from '../../core/index.js';
import { arity, axisOf, broadcastShapes, requireSameDtype, shapeError } from '../ir/checks.js';
import { build, build1, define } from '../ir/emit.js';
import type { TypeRule, Value } from '../ir/types.js';
import { scalar } from '../ir/leaves.js';

declare module '../ir/types.js' {
  interface OpSignatures {
    readonly reshape: Signature<{ readonly shape: Shape }, readonly [Value]>;
    readonly transpose: Signature<{ readonly permutation: readonly number[] }, readonly [Value]>;
    readonly broadcast: Signature<{ readonly shape: Shape }, readonly [Value]>;
    readonly slice: Signature<
      { readonly starts: Shape; readonly limits: Shape; readonly strides: Shape },
      readonly [Value]
    >;
    readonly pad: Signature<{ readonly low: Shape; readonly high: Shape; readonly value: number }, readonly [Value]>;
    readonly concat: Signature<{ readonly axis: number }, readonly Value[]>;
    readonly split: Signature<
      { readonly axis: number; readonly sizes: readonly number[] },
      readonly [Value],
      readonly Value[]
    >;
  }
}

const reshapeType: TypeRule<'reshape'> = (inputs, { shape }) => {
  arity('reshape', inputs, 1);
  const [from, to] = [at(inputs, 0).shape, shape].map((s) => s.reduce((a, b) => a * b, 1));
  if (from !== to || shape.some((d) => !Number.isInteger(d) || d < 0)) {
    throw shapeError('reshape', inputs, `cannot become ${formatShape(shape)}: ${from} elements are not ${to}`);
  }
  return [{ dtype: at(inputs, 0).dtype, shape }];
};

const transposeType: TypeRule<'transpose'> = (inputs, { permutation }) => {
  arity('transpose', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  const sorted = [...permutation].sort((a, b) => a - b);
  if (sorted.length !== shape.length || sorted.some((a, i) => a !== i)) {
    throw shapeError('transpose', inputs, `${formatShape(permutation)} is not an order of axes 0..${shape.length - 1}`);
  }
  return [{ dtype, shape: permutation.map((a) => at(shape, a)) }];
};

const broadcastType: TypeRule<'broadcast'> = (inputs, { shape }) => {
  arity('broadcast', inputs, 1);
  const target = { dtype: at(inputs, 0).dtype, shape };
  if (!sameShape(broadcastShapes('broadcast', [at(inputs, 0), target]), shape)) {
    throw shapeError('broadcast', inputs, `does not stretch to ${formatShape(shape)}`);
  }
  return [target];
};

const sliceType: TypeRule<'slice'> = (inputs, { starts, limits, strides }) => {
  arity('slice', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  if ([starts, limits, strides].some((s) => s.length !== shape.length)) {
    throw shapeError('slice', inputs, `starts, limits and strides need ${shape.length} entries each`);
  }
  const out = shape.map((d, i) => {
    const [s, l, k] = [at(starts, i), at(limits, i), at(strides, i)];
    if (!(s >= 0 && s <= l && l <= d && k >= 1)) {
      throw shapeError('slice', inputs, `axis ${i}: ${s}:${l}:${k} does not lie in 0..${d}`);
    }
    return Math.ceil((l - s) / k);
  });
  return [{ dtype, shape: out }];
};

const padType: TypeRule<'pad'> = (inputs, { low, high }) => {
  arity('pad', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  if (low.length !== shape.length || high.length !== shape.length || [...low, ...high].some((p) => p < 0)) {
    throw shapeError(
      'pad',
      inputs,
      `low ${formatShape(low)} and high ${formatShape(high)} need ${shape.length} sizes >= 0 each`,
    );
  }
  return [{ dtype, shape: shape.map((d, i) => d + at(low, i) + at(high, i)) }];
};

const concatType: TypeRule<'concat'> = (inputs, { axis }) => {
  if (inputs.length === 0) throw shapeError('concat', inputs, 'needs an input');
  const dtype = requireSameDtype('concat', inputs);
  const first = at(inputs, 0).shape;
  axisOf('concat', inputs, axis);
  for (const t of inputs) {
    if (t.shape.length !== first.length || t.shape.some((d, i) => i !== axis && d !== first[i])) {
      throw shapeError('concat', inputs, `shapes may differ only along axis ${axis}`);
    }
  }
  const total = inputs.reduce((n, t) => n + at(t.shape, axis), 0);
  return [{ dtype, shape: first.map((d, i) => (i === axis ? total : d)) }];
};

const splitType: TypeRule<'split'> = (inputs, { axis, sizes }) => {
  arity('split', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  axisOf('split', inputs, axis);
  if (sizes.some((s) => s < 0) || sizes.reduce((a, b) => a + b, 0) !== shape[axis]) {
    throw shapeError('split', inputs, `sizes ${formatShape(sizes)} do not add up to axis ${axis} (${shape[axis]})`);
  }
  return sizes.map((s) => ({ dtype, shape: shape.map((d, i) => (i === axis ? s : d)) }));
};

/** Definitions of the ops that move elements. */
export const LAYOUT = {
  reshape: define('reshape', reshapeType, { precision: 'follows', locality: 'any', merging: 'fold' }),
  transpose: define('transpose', transposeType, { precision: 'follows', locality: 'permutation', merging: 'fold' }),
  broadcast: define('broadcast', broadcastType, { precision: 'follows', locality: 'source', merging: 'merge' }),
  slice: define('slice', sliceType, { precision: 'follows', locality: 'any', merging: 'fold' }),
  pad: define('pad', padType, { precision: 'follows', locality: 'any', merging: 'fold' }),
  concat: define('concat', concatType, { precision: 'follows', locality: 'any', merging: 'fold' }),
  split: define('split', splitType, { precision: 'follows', locality: 'any', merging: 'fold' }),
};

/** A constant of any shape with every element `value` (a broadcast scalar). */
export function full(dtype: DType, shape: Shape, value: number): Value {
  return broadcast(scalar(value, dtype), shape);
}

/** The same elements, in row-major order, in another shape of the same size. */
export function reshape(x: Value, shape: Shape): Value {
  return build1(LAYOUT.reshape, [x], { shape });
}

/** The axes in another order: axis i of the result is axis `permutation[i]` of x. */
export function transpose(x: Value, permutation: readonly number[]): Value {
  return build1(LAYOUT.transpose, [x], { permutation });
}

/** Stretches to `shape` by NumPy's rules. */
export function broadcast(x: Value, shape: Shape): Value {
  return build1(LAYOUT.broadcast, [x], { shape });
}

/** The elements `starts[i] .. limits[i] - 1` along each axis i, every `strides[i]`-th (default 1). */
export function slice(x: Value, starts: Shape, limits: Shape, strides?: Shape): Value {
  return build1(LAYOUT.slice, [x], { starts, limits, strides: strides ?? starts.map(() => 1) });
}

/** `x[..., start:limit, ...]` along one axis. */
export function sliceAxis(x: Value, axis: number, start: number, limit: number): Value {
  const starts = x.shape.map((_, i) => (i === axis ? start : 0));
  const limits = x.shape.map((d, i) => (i === axis ? limit : d));
  return slice(x, starts, limits);
}

/** x with `low[i]` elements of `value` before and `high[i]` after it along each axis i. */
export function pad(x: Value, low: Shape, high: Shape, value = 0): Value {
  return build1(LAYOUT.pad, [x], { low, high, value });
}

/** Pads one axis. */
export function padAxis(x: Value, axis: number, low: number, high: number, value = 0): Value {
  const sizes = (n: number): number[] => x.shape.map((_, i) => (i === axis ? n : 0));
  return pad(x, sizes(low), sizes(high), value);
}

/** Values one after another along an axis. */
export function concat(xs: readonly Value[], axis: number): Value {
  return xs.length === 1 ? at(xs, 0) : build1(LAYOUT.concat, xs, { axis });
}

/** Parts of x along an axis, of the given sizes, which must add up to that of the axis. */
export function split<const S extends readonly number[]>(
  x: Value,
  axis: number,
  sizes: S,
): { readonly [I in keyof S]: Value } {
  const parts: readonly Value[] = build(LAYOUT.split, [x], { axis, sizes });
  return parts as { readonly [I in keyof S]: Value };
}

/** Throws `ShapeError` unless `x` has exactly this shape; for op functions built from others. */
export function expectShape(x: Value, shape: Shape, what: string): void {
  if (!sameShape(x.shape, shape)) {
    throw new ShapeError(`${what} must have shape ${formatShape(shape)}, got ${formatShape(x.shape)}`);
  }
}
