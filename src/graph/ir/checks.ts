/**
 * What type rules have in common: checks of inputs, each a `ShapeError` or `DTypeError` that names the op and its
 * inputs.
 */
import {
  DTypeError,
  ShapeError,
  at,
  formatShape,
  isFloat,
  sameShape,
  type DType,
  type Shape,
  maxOf,
} from '../../core/index.js';
import type { TensorType } from './types.js';

/** A type as messages show it, such as `f32[2,3]`. */
export function show(t: TensorType | undefined): string {
  return t ? `${t.dtype}${formatShape(t.shape)}` : 'nothing';
}

/** The `ShapeError` of an op: the op with its inputs, and why they do not fit. */
export function shapeError(op: string, inputs: readonly TensorType[], why: string): ShapeError {
  return new ShapeError(`${op}(${inputs.map(show).join(', ')}): ${why}`, {
    details: { op, shapes: inputs.map((t) => t.shape) },
  });
}

/** The `DTypeError` of an op: the op with its inputs, and why they do not fit. */
export function dtypeError(op: string, inputs: readonly TensorType[], why: string): DTypeError {
  return new DTypeError(`${op}(${inputs.map(show).join(', ')}): ${why}`, {
    details: { op, dtypes: inputs.map((t) => t.dtype) },
  });
}

/**
 * Checks the number of an op's inputs.
 * @throws ShapeError if there are fewer than `least` or more than `most`
 */
export function arity(op: string, inputs: readonly TensorType[], least: number, most = least): void {
  if (inputs.length < least || inputs.length > most) {
    const wanted = least === most ? `${least}` : `${least} to ${most}`;
    throw shapeError(op, inputs, `takes ${wanted} inputs, got ${inputs.length}`);
  }
}

/**
 * Checks an axis of an op's first input, and returns it.
 * @throws ShapeError if the axis is not one of the input's
 */
export function axisOf(op: string, inputs: readonly TensorType[], axis: number): number {
  const rank = at(inputs, 0).shape.length;
  if (!Number.isInteger(axis) || axis < 0 || axis >= rank) {
    throw shapeError(op, inputs, `axis ${axis} is outside 0..${rank - 1}`);
  }
  return axis;
}

/** The NumPy broadcast of shapes. Throws `ShapeError` naming `op`. */
export function broadcastShapes(op: string, inputs: readonly TensorType[]): number[] {
  const rank = maxOf(inputs.map((t) => t.shape.length));
  return Array.from({ length: rank }, (_, i) => {
    let size = 1;
    for (const t of inputs) {
      const d = t.shape[i - (rank - t.shape.length)] ?? 1;
      if (d === 1 || d === size) continue;
      if (size !== 1) throw shapeError(op, inputs, `axis ${i} of the result would be both ${size} and ${d}`);
      size = d;
    }
    return size;
  });
}

/**
 * Checks that all inputs have one dtype, and returns it.
 * @throws DTypeError if they differ
 */
export function requireSameDtype(op: string, inputs: readonly TensorType[]): DType {
  const dtype = at(inputs, 0).dtype;
  if (inputs.some((t) => t.dtype !== dtype)) throw dtypeError(op, inputs, 'dtypes differ; convert one of them');
  return dtype;
}

/**
 * Checks that all inputs have one floating-point dtype, and returns it.
 * @throws DTypeError if they differ or are not floats
 */
export function requireFloat(op: string, inputs: readonly TensorType[]): DType {
  const dtype = requireSameDtype(op, inputs);
  if (!isFloat(dtype)) throw dtypeError(op, inputs, 'needs a floating-point dtype');
  return dtype;
}

/**
 * Checks the shape of input `i`, which messages call `what`.
 * @throws ShapeError if it has another shape
 */
export function requireShape(op: string, inputs: readonly TensorType[], i: number, shape: Shape, what: string): void {
  if (!sameShape(at(inputs, i).shape, shape)) {
    throw shapeError(
      op,
      inputs,
      `${what} must have shape ${formatShape(shape)}, got ${formatShape(at(inputs, i).shape)}`,
    );
  }
}

/**
 * Checks that input `i`, which messages call `what`, is i32.
 * @throws DTypeError if it is not
 */
export function requireIndex(op: string, inputs: readonly TensorType[], i: number, what: string): void {
  if (at(inputs, i).dtype !== 'i32') throw dtypeError(op, inputs, `${what} must be i32`);
}
