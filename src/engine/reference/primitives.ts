/** Primitive ops on float64 numbers, written to be obviously right. */
import { sizeOf, stridesOf, type Shape } from '../../core/index.js';
import type { OpAttrs } from '../../graph/index.js';
import { broadcastStrides, forEachIndex, numberArray, offsetOf, type NumberArray } from './array.js';

/** Elementwise over the broadcast of the inputs, at most three. */
export function elementwise(shape: Shape, inputs: readonly NumberArray[], f: (...x: number[]) => number): NumberArray {
  const out = numberArray(shape);
  const [a, b, c] = inputs.map((x) => broadcastData(x, shape)) as [Float64Array, Float64Array?, Float64Array?];
  // Not one loop over a list of operands: a list for each element is what most of the time would go to.
  for (let i = 0; i < out.data.length; i++) {
    const x = a[i] as number;
    out.data[i] = c && b ? f(x, b[i] as number, c[i] as number) : b ? f(x, b[i] as number) : f(x);
  }
  return out;
}

/** The elements of `x` broadcast to a shape; its own where they are as many. */
function broadcastData(x: NumberArray, shape: Shape): Float64Array {
  const count = sizeOf(shape);
  if (x.data.length === count) return x.data;
  if (x.data.length === 1) return new Float64Array(count).fill(x.data[0] as number);
  const data = new Float64Array(count);
  const strides = broadcastStrides(x.shape, shape);
  forEachIndex(shape, (flat, at) => {
    data[flat] = x.data[offsetOf(at, strides)] as number;
  });
  return data;
}

/** Reads `x` at coordinates that `where` writes for each coordinate of the result. */
export function gatherBy(
  shape: Shape,
  x: NumberArray,
  where: (at: readonly number[]) => readonly number[],
): NumberArray {
  const out = numberArray(shape);
  const strides = stridesOf(x.shape);
  forEachIndex(shape, (flat, at) => {
    out.data[flat] = x.data[offsetOf(where(at), strides)] as number;
  });
  return out;
}

export function pad(x: NumberArray, shape: Shape, { low, value }: OpAttrs['pad']): NumberArray {
  const out = numberArray(shape);
  out.data.fill(value);
  const strides = stridesOf(shape);
  forEachIndex(x.shape, (flat, at) => {
    const to = at.map((i, axis) => i + (low[axis] as number));
    out.data[offsetOf(to, strides)] = x.data[flat] as number;
  });
  return out;
}

export function concat(inputs: readonly NumberArray[], shape: Shape, axis: number): NumberArray {
  const out = numberArray(shape);
  const strides = stridesOf(shape);
  let start = 0;
  for (const x of inputs) {
    const from = start;
    forEachIndex(x.shape, (flat, at) => {
      const to = at.map((i, a) => (a === axis ? i + from : i));
      out.data[offsetOf(to, strides)] = x.data[flat] as number;
    });
    start += x.shape[axis] as number;
  }
  return out;
}

export function dot(a: NumberArray, b: NumberArray, shape: Shape, attrs: OpAttrs['dot']): NumberArray {
  const { lhsBatch, rhsBatch, lhsContract, rhsContract } = attrs;
  const out = numberArray(shape);
  const [sa, sb] = [stridesOf(a.shape), stridesOf(b.shape)];
  const free = (s: Shape, used: readonly number[]): number[] => s.map((_, i) => i).filter((i) => !used.includes(i));
  const aFree = free(a.shape, [...lhsBatch, ...lhsContract]);
  const bFree = free(b.shape, [...rhsBatch, ...rhsContract]);
  const pick = (axes: readonly number[], strides: readonly number[]): number[] => axes.map((i) => strides[i] as number);
  const none = (axes: readonly number[]): number[] => axes.map(() => 0);
  // Strides of both operands along the axes of the result, and along the contracted axes.
  const outA = [...pick(lhsBatch, sa), ...pick(aFree, sa), ...none(bFree)];
  const outB = [...pick(rhsBatch, sb), ...none(aFree), ...pick(bFree, sb)];
  const inner = lhsContract.map((i) => a.shape[i] as number);
  const [innerA, innerB] = [pick(lhsContract, sa), pick(rhsContract, sb)];
  const count = sizeOf(inner);
  const [fromA, fromB] = [new Int32Array(count), new Int32Array(count)];
  forEachIndex(inner, (i, at) => {
    fromA[i] = offsetOf(at, innerA);
    fromB[i] = offsetOf(at, innerB);
  });
  forEachIndex(shape, (flat, at) => {
    const [oa, ob] = [offsetOf(at, outA), offsetOf(at, outB)];
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum += (a.data[oa + (fromA[i] as number)] as number) * (b.data[ob + (fromB[i] as number)] as number);
    }
    out.data[flat] = sum;
  });
  return out;
}

/** Folds `x` along `axes` from `start`. */
export function reduce(
  x: NumberArray,
  axes: readonly number[],
  shape: Shape,
  start: number,
  f: (a: number, b: number) => number,
): NumberArray {
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const out = numberArray(shape);
  out.data.fill(start);
  const strides = broadcastStrides(kept, x.shape);
  forEachIndex(x.shape, (flat, at) => {
    const to = offsetOf(at, strides);
    out.data[to] = f(out.data[to] as number, x.data[flat] as number);
  });
  return out;
}

export function argmax(x: NumberArray, shape: Shape, axis: number): NumberArray {
  const stride = stridesOf(x.shape)[axis] as number;
  return gatherLines(x, shape, axis, (base, n) => {
    let best = 0;
    for (let i = 1; i < n; i++) {
      if ((x.data[base + i * stride] as number) > (x.data[base + best * stride] as number)) best = i;
    }
    return best;
  });
}

function gatherLines(x: NumberArray, shape: Shape, axis: number, f: (base: number, n: number) => number): NumberArray {
  const out = numberArray(shape);
  const strides = stridesOf(x.shape).filter((_, i) => i !== axis);
  forEachIndex(shape, (flat, at) => {
    out.data[flat] = f(offsetOf(at, strides), x.shape[axis] as number);
  });
  return out;
}

export function cumsum(x: NumberArray, { axis, reverse, exclusive }: OpAttrs['cumsum']): NumberArray {
  const out = numberArray(x.shape);
  const n = x.shape[axis] as number;
  const strides = stridesOf(x.shape);
  const stride = strides[axis] as number;
  const lines = x.shape.map((d, i) => (i === axis ? 1 : d));
  forEachIndex(lines, (_, at) => {
    const base = offsetOf(at, strides);
    let sum = 0;
    for (let k = 0; k < n; k++) {
      const i = base + (reverse ? n - 1 - k : k) * stride;
      const value = x.data[i] as number;
      out.data[i] = exclusive ? sum : sum + value;
      sum += value;
    }
  });
  return out;
}

const rowSize = (operand: NumberArray): number => operand.shape.slice(1).reduce((a, b) => a * b, 1);

function rowStart(operand: NumberArray, index: number, width: number): number {
  if (!(index >= 0 && index < (operand.shape[0] as number))) {
    throw new RangeError(`index ${index} is outside 0..${(operand.shape[0] as number) - 1}`);
  }
  return index * width;
}

export function take(operand: NumberArray, indices: NumberArray, shape: Shape): NumberArray {
  const out = numberArray(shape);
  const width = rowSize(operand);
  indices.data.forEach((index, i) => {
    const start = rowStart(operand, index, width);
    out.data.set(operand.data.subarray(start, start + width), i * width);
  });
  return out;
}

export function scatterAdd(operand: NumberArray, indices: NumberArray, updates: NumberArray): NumberArray {
  const out = numberArray(operand.shape, operand.data.slice());
  const width = rowSize(operand);
  indices.data.forEach((index, i) => {
    const start = rowStart(operand, index, width);
    for (let j = 0; j < width; j++) {
      out.data[start + j] = (out.data[start + j] as number) + (updates.data[i * width + j] as number);
    }
  });
  return out;
}
