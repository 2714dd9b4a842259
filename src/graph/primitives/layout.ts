/** Ops that move elements: reshape, transpose, broadcast, slice, pad, concat, split. */
import { ShapeError, at, formatShape, sameShape, type DType, type Shape } from '../../core/index.js';
import { Operands } from '../ir/checks.js';
import { build, build1, define } from '../ir/emit.js';
import type { Value } from '../ir/types.js';
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

const moving = { precision: 'follows', locality: 'any', merging: 'fold' } as const;

/** Definitions of the ops that move elements. */
export const LAYOUT = {
  reshape: define('reshape', 1, moving, (inputs, { shape }) => {
    const [from, to] = [inputs.shape(0), shape].map((s) => s.reduce((a, b) => a * b, 1));
    if (from !== to || shape.some((d) => !Number.isInteger(d) || d < 0)) {
      throw inputs.shapeError(`cannot become ${formatShape(shape)}: ${from} elements are not ${to}`);
    }
    return [{ dtype: inputs.at(0).dtype, shape }];
  }),
  transpose: define('transpose', 1, { ...moving, locality: 'permutation' }, (inputs, { permutation }) => {
    const { dtype, shape } = inputs.at(0);
    const sorted = [...permutation].sort((a, b) => a - b);
    if (sorted.length !== shape.length || sorted.some((a, i) => a !== i)) {
      throw inputs.shapeError(`${formatShape(permutation)} is not an order of axes 0..${shape.length - 1}`);
    }
    return [{ dtype, shape: permutation.map((a) => at(shape, a)) }];
  }),
  broadcast: define('broadcast', 1, { ...moving, locality: 'source', merging: 'merge' }, (inputs, { shape }) => {
    const target = { dtype: inputs.at(0).dtype, shape };
    if (!sameShape(new Operands('broadcast', [inputs.at(0), target]).broadcastShape(), shape)) {
      throw inputs.shapeError(`does not stretch to ${formatShape(shape)}`);
    }
    return [target];
  }),
  slice: define('slice', 1, moving, (inputs, { starts, limits, strides }) => {
    const { dtype, shape } = inputs.at(0);
    if ([starts, limits, strides].some((s) => s.length !== shape.length)) {
      throw inputs.shapeError(`starts, limits and strides need ${shape.length} entries each`);
    }
    const out = shape.map((d, i) => {
      const [s, l, k] = [at(starts, i), at(limits, i), at(strides, i)];
      if (!(s >= 0 && s <= l && l <= d && k >= 1)) {
        throw inputs.shapeError(`axis ${i}: ${s}:${l}:${k} does not lie in 0..${d}`);
      }
      return Math.ceil((l - s) / k);
    });
    return [{ dtype, shape: out }];
  }),
  pad: define('pad', 1, moving, (inputs, { low, high }) => {
    const { dtype, shape } = inputs.at(0);
    if (low.length !== shape.length || high.length !== shape.length || [...low, ...high].some((p) => p < 0)) {
      const sizes = `low ${formatShape(low)} and high ${formatShape(high)}`;
      throw inputs.shapeError(`${sizes} need ${shape.length} sizes >= 0 each`);
    }
    return [{ dtype, shape: shape.map((d, i) => d + at(low, i) + at(high, i)) }];
  }),
  concat: define('concat', null, moving, (inputs, { axis }) => {
    if (inputs.length === 0) throw inputs.shapeError('needs an input');
    const dtype = inputs.sameDtype();
    const first = inputs.shape(0);
    inputs.requireAxis(axis);
    for (const { shape } of inputs.types) {
      if (shape.length !== first.length || shape.some((d, i) => i !== axis && d !== first[i])) {
        throw inputs.shapeError(`shapes may differ only along axis ${axis}`);
      }
    }
    const total = inputs.types.reduce((n, t) => n + at(t.shape, axis), 0);
    return [{ dtype, shape: first.map((d, i) => (i === axis ? total : d)) }];
  }),
  split: define('split', 1, moving, (inputs, { axis, sizes }) => {
    const { dtype, shape } = inputs.at(0);
    inputs.requireAxis(axis);
    if (sizes.some((s) => s < 0) || sizes.reduce((a, b) => a + b, 0) !== shape[axis]) {
      throw inputs.shapeError(`sizes ${formatShape(sizes)} do not add up to axis ${axis} (${shape[axis]})`);
    }
    return sizes.map((s) => ({ dtype, shape: shape.map((d, i) => (i === axis ? s : d)) }));
  }),
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
