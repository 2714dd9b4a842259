/** What type rules have in common: the types of an op's inputs, with checks whose errors name the op and its inputs. */
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

/** Whether two types are the same. */
export function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

/** The types of the inputs of one op. Checks throw a `ShapeError` or `DTypeError`. */
export class Operands {
  constructor(
    private readonly op: string,
    readonly types: readonly TensorType[],
  ) {}

  /** The number of inputs. */
  get length(): number {
    return this.types.length;
  }

  /** The type of input `i`, counted from the end where negative. */
  at(i: number): TensorType {
    return at(this.types, i < 0 ? this.length + i : i);
  }

  /** The shape of input `i`. */
  shape(i: number): Shape {
    return this.at(i).shape;
  }

  /** Some of the inputs, from `start` to before `end`. */
  slice(start: number, end?: number): Operands {
    return new Operands(this.op, this.types.slice(start, end));
  }

  /** An error about shapes, to be thrown: the op with its inputs, and why they do not fit. */
  shapeError(why: string): ShapeError {
    return new ShapeError(`${this.op}(${this.types.map(show).join(', ')}): ${why}`, {
      details: { op: this.op, shapes: this.types.map((t) => t.shape) },
    });
  }

  /** An error about dtypes, to be thrown: the op with its inputs, and why they do not fit. */
  dtypeError(why: string): DTypeError {
    return new DTypeError(`${this.op}(${this.types.map(show).join(', ')}): ${why}`, {
      details: { op: this.op, dtypes: this.types.map((t) => t.dtype) },
    });
  }

  /** Checks the number of inputs. */
  requireCount(least: number, most = least): void {
    if (this.length >= least && this.length <= most) return;
    const wanted = least === most ? `${least}` : `${least} to ${most}`;
    throw this.shapeError(`takes ${wanted} inputs, got ${this.length}`);
  }

  /** Checks that `axis` is one of the first input's. */
  requireAxis(axis: number): void {
    const rank = this.shape(0).length;
    if (Number.isInteger(axis) && axis >= 0 && axis < rank) return;
    throw this.shapeError(`axis ${axis} is outside 0..${rank - 1}`);
  }

  /** Checks the shape of input `i`, which messages call `what`. */
  requireShape(i: number, shape: Shape, what: string): void {
    if (sameShape(this.shape(i), shape)) return;
    throw this.shapeError(`${what} must have shape ${formatShape(shape)}, got ${formatShape(this.shape(i))}`);
  }

  /** Checks that input `i`, which messages call `what`, is i32. */
  requireIndex(i: number, what: string): void {
    if (this.at(i).dtype !== 'i32') throw this.dtypeError(`${what} must be i32`);
  }

  /** The dtype that all inputs must share. */
  sameDtype(): DType {
    const { dtype } = this.at(0);
    if (this.types.some((t) => t.dtype !== dtype)) throw this.dtypeError('dtypes differ; convert one of them');
    return dtype;
  }

  /** The dtype that all inputs must share, one of numbers. */
  numericDtype(): DType {
    const dtype = this.sameDtype();
    if (dtype === 'bool') throw this.dtypeError('needs numbers');
    return dtype;
  }

  /** The dtype that all inputs must share, a floating-point one. */
  floatDtype(): DType {
    const dtype = this.sameDtype();
    if (!isFloat(dtype)) throw this.dtypeError('needs a floating-point dtype');
    return dtype;
  }

  /** The NumPy broadcast of all inputs. */
  broadcastShape(): number[] {
    const rank = maxOf(this.types.map((t) => t.shape.length));
    return Array.from({ length: rank }, (_, i) => {
      let size = 1;
      for (const t of this.types) {
        const d = t.shape[i - (rank - t.shape.length)] ?? 1;
        if (d === 1 || d === size) continue;
        if (size !== 1) throw this.shapeError(`axis ${i} of the result would be both ${size} and ${d}`);
        size = d;
      }
      return size;
    });
  }
}
