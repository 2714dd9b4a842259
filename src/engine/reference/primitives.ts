/** Primitive ops on float64 numbers, written to be obviously right. */
import { f64At, at, i32At, sizeOf, stridesOf, viewOffsets, type Shape } from '../../core/index.js';
import type { OpAttrs } from '../../graph/index.js';
import { broadcastStrides, numberArray, offsetOf, type NumberArray } from './array.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;
const readI32 = i32At;

/** Elementwise over the broadcast of the inputs, at most three. */
export function elementwise(shape: Shape, inputs: readonly NumberArray[], f: (...x: number[]) => number): NumberArray {
  const out = numberArray(shape);
  const [a, b, c] = inputs.map((x) => broadcastData(x, shape)) as [Float64Array, Float64Array?, Float64Array?];
  // Not one loop over a list of operands: a list for each element is what most of the time would go to.
  for (let i = 0; i < out.data.length; i++) {
    const x = readF64(a, i);
    out.data[i] = c && b ? f(x, readF64(b, i), readF64(c, i)) : b ? f(x, readF64(b, i)) : f(x);
  }
  return out;
}

/** The elements of `x` broadcast to a shape; its own where they are as many. */
function broadcastData(x: NumberArray, shape: Shape): Float64Array {
  const count = sizeOf(shape);
  if (x.data.length === count) return x.data;
  if (x.data.length === 1) return new Float64Array(count).fill(readF64(x.data, 0));
  return view(shape, x, broadcastStrides(x.shape, shape)).data;
}

/** The elements of `x` from `base` on, one stride apart along each axis of `shape`. */
export function view(shape: Shape, x: NumberArray, strides: readonly number[], base = 0): NumberArray {
  const from = viewOffsets(shape, strides, base);
  const out = numberArray(shape);
  for (let i = 0; i < from.length; i++) out.data[i] = readF64(x.data, readI32(from, i));
  return out;
}

/** Writes `x` into `out`, its first element at the coordinates `low`. */
function writeAt(out: NumberArray, x: NumberArray, low: readonly number[]): void {
  const strides = stridesOf(out.shape);
  const to = viewOffsets(x.shape, strides, offsetOf(low, strides));
  for (let i = 0; i < to.length; i++) out.data[readI32(to, i)] = readF64(x.data, i);
}

/** Puts `low` elements of `value` before x, and as many after as fill `shape`. */
export function pad(x: NumberArray, shape: Shape, { low, value }: OpAttrs['pad']): NumberArray {
  const out = numberArray(shape);
  out.data.fill(value);
  writeAt(out, x, low);
  return out;
}

/** Tensors one after another along an axis. */
export function concat(inputs: readonly NumberArray[], shape: Shape, axis: number): NumberArray {
  const out = numberArray(shape);
  let start = 0;
  for (const x of inputs) {
    writeAt(
      out,
      x,
      shape.map((_, a) => (a === axis ? start : 0)),
    );
    start += at(x.shape, axis);
  }
  return out;
}

/** A general dot: batch axes, then the free axes of a, then those of b. */
export function dot(a: NumberArray, b: NumberArray, shape: Shape, attrs: OpAttrs['dot']): NumberArray {
  const { lhsBatch, rhsBatch, lhsContract, rhsContract } = attrs;
  const out = numberArray(shape);
  const [sa, sb] = [stridesOf(a.shape), stridesOf(b.shape)];
  const free = (s: Shape, used: readonly number[]): number[] => s.map((_, i) => i).filter((i) => !used.includes(i));
  const aFree = free(a.shape, [...lhsBatch, ...lhsContract]);
  const bFree = free(b.shape, [...rhsBatch, ...rhsContract]);
  const pick = (axes: readonly number[], strides: readonly number[]): number[] => axes.map((i) => at(strides, i));
  const none = (axes: readonly number[]): number[] => axes.map(() => 0);
  // Strides of both operands along the axes of the result, and along the contracted axes.
  const outA = [...pick(lhsBatch, sa), ...pick(aFree, sa), ...none(bFree)];
  const outB = [...pick(rhsBatch, sb), ...none(aFree), ...pick(bFree, sb)];
  const inner = lhsContract.map((i) => at(a.shape, i));
  const [innerA, innerB] = [pick(lhsContract, sa), pick(rhsContract, sb)];
  const [fromA, fromB] = [viewOffsets(inner, innerA), viewOffsets(inner, innerB)];
  const [startA, startB] = [viewOffsets(shape, outA), viewOffsets(shape, outB)];
  // Four sums side by side: each adds in the same order as alone, and none waits for the addition before.
  let i = 0;
  for (; i + 4 <= startA.length; i += 4) fourSums(out.data, i, a.data, startA, fromA, b.data, startB, fromB);
  for (; i < startA.length; i++) {
    out.data[i] = sumOfProducts(a.data, readI32(startA, i), fromA, b.data, readI32(startB, i), fromB);
  }
  return out;
}

function fourSums(
  out: Float64Array,
  first: number,
  a: Float64Array,
  startA: Int32Array,
  fromA: Int32Array,
  b: Float64Array,
  startB: Int32Array,
  fromB: Int32Array,
): void {
  const [a0, a1] = [readI32(startA, first), readI32(startA, first + 1)];
  const [a2, a3] = [readI32(startA, first + 2), readI32(startA, first + 3)];
  const [b0, b1] = [readI32(startB, first), readI32(startB, first + 1)];
  const [b2, b3] = [readI32(startB, first + 2), readI32(startB, first + 3)];
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  for (let i = 0; i < fromA.length; i++) {
    const [x, y] = [readI32(fromA, i), readI32(fromB, i)];
    s0 += readF64(a, a0 + x) * readF64(b, b0 + y);
    s1 += readF64(a, a1 + x) * readF64(b, b1 + y);
    s2 += readF64(a, a2 + x) * readF64(b, b2 + y);
    s3 += readF64(a, a3 + x) * readF64(b, b3 + y);
  }
  out[first] = s0;
  out[first + 1] = s1;
  out[first + 2] = s2;
  out[first + 3] = s3;
}

function sumOfProducts(
  a: Float64Array,
  startA: number,
  fromA: Int32Array,
  b: Float64Array,
  startB: number,
  fromB: Int32Array,
): number {
  let sum = 0;
  for (let i = 0; i < fromA.length; i++) {
    sum += readF64(a, startA + readI32(fromA, i)) * readF64(b, startB + readI32(fromB, i));
  }
  return sum;
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
  const places = viewOffsets(x.shape, broadcastStrides(kept, x.shape));
  for (let i = 0; i < places.length; i++) {
    const to = readI32(places, i);
    out.data[to] = f(readF64(out.data, to), readF64(x.data, i));
  }
  return out;
}

/** The index of the largest element along an axis; of equal ones the first. */
export function argmax(x: NumberArray, shape: Shape, axis: number): NumberArray {
  const stride = at(stridesOf(x.shape), axis);
  return gatherLines(x, shape, axis, (base, n) => {
    let best = 0;
    for (let i = 1; i < n; i++) {
      if (readF64(x.data, base + i * stride) > readF64(x.data, base + best * stride)) best = i;
    }
    return best;
  });
}

function gatherLines(x: NumberArray, shape: Shape, axis: number, f: (base: number, n: number) => number): NumberArray {
  const out = numberArray(shape);
  const strides = stridesOf(x.shape).filter((_, i) => i !== axis);
  viewOffsets(shape, strides).forEach((base, i) => {
    out.data[i] = f(base, at(x.shape, axis));
  });
  return out;
}

/** The running sum along an axis, in either direction, with or without the element itself. */
export function cumsum(x: NumberArray, { axis, reverse, exclusive }: OpAttrs['cumsum']): NumberArray {
  const out = numberArray(x.shape);
  const n = at(x.shape, axis);
  const strides = stridesOf(x.shape);
  const stride = at(strides, axis);
  const lines = x.shape.map((d, i) => (i === axis ? 1 : d));
  viewOffsets(lines, strides).forEach((base) => {
    let sum = 0;
    for (let k = 0; k < n; k++) {
      const i = base + (reverse ? n - 1 - k : k) * stride;
      const value = readF64(x.data, i);
      out.data[i] = exclusive ? sum : sum + value;
      sum += value;
    }
  });
  return out;
}

const rowSize = (operand: NumberArray): number => operand.shape.slice(1).reduce((a, b) => a * b, 1);

function rowStart(operand: NumberArray, index: number, width: number): number {
  if (!(index >= 0 && index < at(operand.shape, 0))) {
    throw new RangeError(`index ${index} is outside 0..${at(operand.shape, 0) - 1}`);
  }
  return index * width;
}

/** Rows of `operand` by index. */
export function take(operand: NumberArray, indices: NumberArray, shape: Shape): NumberArray {
  const out = numberArray(shape);
  const width = rowSize(operand);
  indices.data.forEach((index, i) => {
    const start = rowStart(operand, index, width);
    out.data.set(operand.data.subarray(start, start + width), i * width);
  });
  return out;
}

/** `operand` with each row of `updates` added to the row that `indices` names; repeated rows add up. */
export function scatterAdd(operand: NumberArray, indices: NumberArray, updates: NumberArray): NumberArray {
  const out = numberArray(operand.shape, operand.data.slice());
  const width = rowSize(operand);
  indices.data.forEach((index, i) => {
    const start = rowStart(operand, index, width);
    for (let j = 0; j < width; j++) {
      out.data[start + j] = readF64(out.data, start + j) + readF64(updates.data, i * width + j);
    }
  });
  return out;
}
