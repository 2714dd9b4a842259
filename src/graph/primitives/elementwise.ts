/**
 * Ops that compute each element from those at the same place. Those of several inputs broadcast as NumPy does (sizes of
 * 1 stretch, missing leading axes are added) and never mix dtypes.
 */
import { DTypeError, at, type DType } from '../../core/index.js';
import { arity, broadcastShapes, dtypeError, requireFloat, requireSameDtype } from '../ir/checks.js';
import { build1, define } from '../ir/emit.js';
import type { NoAttrs, OpDefinition, Precision, Signature, TensorType, Value } from '../ir/types.js';
import { scalar } from '../ir/leaves.js';

/** Functions of one floating-point input. */
export const UNARY_FLOAT_OPS = [
  'exp',
  'log',
  'log1p',
  'sqrt',
  'rsqrt',
  'tanh',
  'sigmoid',
  'sin',
  'cos',
  'floor',
] as const;
/** Functions of one input of numbers. */
export const UNARY_NUMERIC_OPS = ['neg', 'abs', 'sign'] as const;
/** Arithmetic on two inputs of numbers. */
export const BINARY_OPS = ['add', 'sub', 'mul', 'div', 'max', 'min', 'pow'] as const;
/** Comparisons of numbers; results are bool. */
export const COMPARE_OPS = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;
/** Logic on two bool inputs. */
export const LOGICAL_OPS = ['and', 'or'] as const;

/** The name of a function of one floating-point input. */
export type UnaryFloatOp = (typeof UNARY_FLOAT_OPS)[number];
/** The name of a function of one input of numbers. */
export type UnaryNumericOp = (typeof UNARY_NUMERIC_OPS)[number];
/** The name of an arithmetic op on two inputs. */
export type BinaryOp = (typeof BINARY_OPS)[number];
/** The name of a comparison. */
export type CompareOp = (typeof COMPARE_OPS)[number];
/** The name of a logical op on two inputs. */
export type LogicalOp = (typeof LOGICAL_OPS)[number];

type Unary = Signature<NoAttrs, readonly [Value]>;
type Binary = Signature<NoAttrs, readonly [Value, Value]>;
type Unaries = { readonly [K in UnaryFloatOp | UnaryNumericOp | 'not' | 'stopGradient']: Unary };
type Binaries = { readonly [K in BinaryOp | CompareOp | LogicalOp]: Binary };

declare module '../ir/types.js' {
  interface OpSignatures extends Unaries, Binaries {
    readonly select: Signature<NoAttrs, readonly [condition: Value, whenTrue: Value, whenFalse: Value]>;
    /** Float to i32 truncates toward zero; anything to bool is "not zero"; bool to number is 0 or 1. */
    readonly convert: Signature<{ readonly dtype: DType }, readonly [Value]>;
  }
}

const traits = (precision: Precision) => ({ precision, locality: 'elementwise', merging: 'fold' }) as const;
const stretching = (precision: Precision) => ({ precision, locality: 'broadcasting', merging: 'fold' }) as const;

/** The dtype that all inputs share, for numbers. */
function numeric(op: string, inputs: readonly TensorType[]): DType {
  const dtype = requireSameDtype(op, inputs);
  if (dtype === 'bool') throw dtypeError(op, inputs, 'needs numbers');
  return dtype;
}

/** The dtype of a comparison of numbers. */
function compared(op: string, inputs: readonly TensorType[]): DType {
  numeric(op, inputs);
  return 'bool';
}

function logical(op: string, inputs: readonly TensorType[]): DType {
  if (requireSameDtype(op, inputs) !== 'bool') throw dtypeError(op, inputs, 'needs bool');
  return 'bool';
}

function selected(op: string, inputs: readonly TensorType[]): DType {
  if (at(inputs, 0).dtype !== 'bool') throw dtypeError(op, inputs, 'the condition must be bool');
  return requireSameDtype(op, inputs.slice(1));
}

/** An op on the elements of `count` inputs, which are broadcast if they are several. */
const elementwise = <K extends keyof Unaries | keyof Binaries | 'select'>(
  op: K,
  count: number,
  dtypeOf: (op: string, inputs: readonly TensorType[]) => DType,
  precision: Precision,
): OpDefinition<K> =>
  define(
    op,
    (inputs) => {
      arity(op, inputs, count);
      const dtype = dtypeOf(op, inputs);
      return [{ dtype, shape: count === 1 ? at(inputs, 0).shape : broadcastShapes(op, inputs) }];
    },
    count === 1 ? traits(precision) : stretching(precision),
  );

/** Definitions of the elementwise ops. */
export const ELEMENTWISE = {
  exp: elementwise('exp', 1, requireFloat, 'f32'),
  log: elementwise('log', 1, requireFloat, 'f32'),
  log1p: elementwise('log1p', 1, requireFloat, 'f32'),
  sqrt: elementwise('sqrt', 1, requireFloat, 'f32'),
  rsqrt: elementwise('rsqrt', 1, requireFloat, 'f32'),
  tanh: elementwise('tanh', 1, requireFloat, 'follows'),
  sigmoid: elementwise('sigmoid', 1, requireFloat, 'follows'),
  sin: elementwise('sin', 1, requireFloat, 'f32'),
  cos: elementwise('cos', 1, requireFloat, 'f32'),
  floor: elementwise('floor', 1, requireFloat, 'f32'),
  neg: elementwise('neg', 1, numeric, 'follows'),
  abs: elementwise('abs', 1, numeric, 'follows'),
  sign: elementwise('sign', 1, numeric, 'f32'),
  add: elementwise('add', 2, numeric, 'follows'),
  sub: elementwise('sub', 2, numeric, 'follows'),
  mul: elementwise('mul', 2, numeric, 'follows'),
  div: elementwise('div', 2, numeric, 'follows'),
  max: elementwise('max', 2, numeric, 'follows'),
  min: elementwise('min', 2, numeric, 'follows'),
  pow: elementwise('pow', 2, requireFloat, 'f32'),
  eq: elementwise('eq', 2, compared, 'f32'),
  ne: elementwise('ne', 2, compared, 'f32'),
  lt: elementwise('lt', 2, compared, 'f32'),
  le: elementwise('le', 2, compared, 'f32'),
  gt: elementwise('gt', 2, compared, 'f32'),
  ge: elementwise('ge', 2, compared, 'f32'),
  and: elementwise('and', 2, logical, 'f32'),
  or: elementwise('or', 2, logical, 'f32'),
  not: elementwise('not', 1, logical, 'f32'),
  select: elementwise('select', 3, selected, 'follows'),
  convert: define(
    'convert',
    (inputs, { dtype }) => {
      arity('convert', inputs, 1);
      return [{ dtype, shape: at(inputs, 0).shape }];
    },
    traits('kept'),
  ),
  /** The identity, whose derivative is zero. */
  stopGradient: elementwise('stopGradient', 1, requireSameDtype, 'follows'),
};

/** A value, or a number that becomes a scalar constant of the other operand's dtype. */
export type Operand = Value | number;

function pairOf(a: Operand, b: Operand): [Value, Value] {
  if (typeof a === 'number') {
    if (typeof b === 'number') throw new DTypeError('two plain numbers have no dtype; make one of them a scalar');
    return [scalar(a, b.dtype), b];
  }
  return [a, typeof b === 'number' ? scalar(b, a.dtype) : b];
}

const binaryOf =
  <K extends BinaryOp | CompareOp>(definition: OpDefinition<K>) =>
  (a: Operand, b: Operand): Value =>
    build1(definition, pairOf(a, b), {});

const unaryOf =
  <K extends keyof Unaries>(definition: OpDefinition<K>) =>
  (x: Value): Value =>
    build1(definition, [x], {});

/** `a + b`, elementwise with broadcasting. */
export const add = binaryOf(ELEMENTWISE.add);
/** `a - b`, elementwise with broadcasting. */
export const sub = binaryOf(ELEMENTWISE.sub);
/** `a * b`, elementwise with broadcasting. */
export const mul = binaryOf(ELEMENTWISE.mul);
/** `a / b`, elementwise with broadcasting; i32 division truncates toward zero. */
export const div = binaryOf(ELEMENTWISE.div);
/** The larger of `a` and `b`, elementwise with broadcasting. */
export const max = binaryOf(ELEMENTWISE.max);
/** The smaller of `a` and `b`, elementwise with broadcasting. */
export const min = binaryOf(ELEMENTWISE.min);
/** `a` to the power `b`, elementwise with broadcasting, for floating-point dtypes. */
export const pow = binaryOf(ELEMENTWISE.pow);
/** Whether `a = b`: bool, elementwise with broadcasting. */
export const eq = binaryOf(ELEMENTWISE.eq);
/** Whether `a != b`: bool, elementwise with broadcasting. */
export const ne = binaryOf(ELEMENTWISE.ne);
/** Whether `a < b`: bool, elementwise with broadcasting. */
export const lt = binaryOf(ELEMENTWISE.lt);
/** Whether `a <= b`: bool, elementwise with broadcasting. */
export const le = binaryOf(ELEMENTWISE.le);
/** Whether `a > b`: bool, elementwise with broadcasting. */
export const gt = binaryOf(ELEMENTWISE.gt);
/** Whether `a >= b`: bool, elementwise with broadcasting. */
export const ge = binaryOf(ELEMENTWISE.ge);

/** `-x`. */
export const neg = unaryOf(ELEMENTWISE.neg);
/** The absolute value of x. */
export const abs = unaryOf(ELEMENTWISE.abs);
/** -1, 0 or 1 by the sign of x. */
export const sign = unaryOf(ELEMENTWISE.sign);
/** e to the power x. */
export const exp = unaryOf(ELEMENTWISE.exp);
/** The natural logarithm of x. */
export const log = unaryOf(ELEMENTWISE.log);
/** `log(1 + x)`, exact for small x. */
export const log1p = unaryOf(ELEMENTWISE.log1p);
/** The square root of x. */
export const sqrt = unaryOf(ELEMENTWISE.sqrt);
/** `1 / sqrt(x)`. */
export const rsqrt = unaryOf(ELEMENTWISE.rsqrt);
/** The hyperbolic tangent of x. */
export const tanh = unaryOf(ELEMENTWISE.tanh);
/** `1 / (1 + exp(-x))`. */
export const sigmoid = unaryOf(ELEMENTWISE.sigmoid);
/** The sine of x in radians. */
export const sin = unaryOf(ELEMENTWISE.sin);
/** The cosine of x in radians. */
export const cos = unaryOf(ELEMENTWISE.cos);
/** The largest whole number that is not above x. */
export const floor = unaryOf(ELEMENTWISE.floor);
/** Whether x is false; x is bool. */
export const not = unaryOf(ELEMENTWISE.not);
/** x itself, through which no derivative passes. */
export const stopGradient = unaryOf(ELEMENTWISE.stopGradient);

/** Whether both are true; bool, with broadcasting. */
export function and(a: Value, b: Value): Value {
  return build1(ELEMENTWISE.and, [a, b], {});
}

/** Whether one of them is true; bool, with broadcasting. */
export function or(a: Value, b: Value): Value {
  return build1(ELEMENTWISE.or, [a, b], {});
}

/** `whenTrue` where `condition`, else `whenFalse`; all three broadcast. */
export function select(condition: Value, whenTrue: Operand, whenFalse: Operand): Value {
  return build1(ELEMENTWISE.select, [condition, ...pairOf(whenTrue, whenFalse)], {});
}

/** x in another dtype; the value itself if it has that dtype already. Float to i32 truncates toward zero. */
export function convert(x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : build1(ELEMENTWISE.convert, [x], { dtype });
}

/** `log(1 + exp(x))`, safe for large |x|. */
export function softplus(x: Value): Value {
  return add(max(x, 0), log1p(exp(neg(abs(x)))));
}
