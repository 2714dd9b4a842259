/**
 * Ops that compute each element from those at the same place. Those of several inputs broadcast as NumPy does (sizes of
 * 1 stretch, missing leading axes are added) and never mix dtypes.
 */
import { DTypeError, type DType } from '../../core/index.js';
import type { Operands } from '../ir/checks.js';
import { build1, define } from '../ir/emit.js';
import type { NoAttrs, OpDefinition, OpSignatures, Precision, Signature, Value } from '../ir/types.js';
import { scalar } from '../ir/leaves.js';

type UnaryFloatOp = 'exp' | 'log' | 'log1p' | 'sqrt' | 'rsqrt' | 'tanh' | 'sigmoid' | 'sin' | 'cos' | 'floor';
type UnaryOp = UnaryFloatOp | 'neg' | 'abs' | 'sign' | 'not' | 'stopGradient';
type BinaryOp = 'add' | 'sub' | 'mul' | 'div' | 'max' | 'min' | 'pow' | 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge';
type LogicalOp = 'and' | 'or';
type Unary = Signature<NoAttrs, readonly [Value]>;
type Binary = Signature<NoAttrs, readonly [Value, Value]>;
type Unaries = { readonly [K in UnaryOp]: Unary };
type Binaries = { readonly [K in BinaryOp | LogicalOp]: Binary };

declare module '../ir/types.js' {
  interface OpSignatures extends Unaries, Binaries {
    readonly select: Signature<NoAttrs, readonly [condition: Value, whenTrue: Value, whenFalse: Value]>;
    /** Float to i32 truncates toward zero; anything to bool is "not zero"; bool to number is 0 or 1. */
    readonly convert: Signature<{ readonly dtype: DType }, readonly [Value]>;
  }
}

const numeric = (inputs: Operands): DType => inputs.numericDtype();
const float = (inputs: Operands): DType => inputs.floatDtype();
const same = (inputs: Operands): DType => inputs.sameDtype();

function compared(inputs: Operands): DType {
  inputs.numericDtype();
  return 'bool';
}

function logical(inputs: Operands): DType {
  if (inputs.sameDtype() !== 'bool') throw inputs.dtypeError('needs bool');
  return 'bool';
}

function selected(inputs: Operands): DType {
  if (inputs.at(0).dtype !== 'bool') throw inputs.dtypeError('the condition must be bool');
  return inputs.slice(1).sameDtype();
}

/** An op on the elements of `count` inputs, which are broadcast if they are several. */
const elementwise = <K extends UnaryOp | BinaryOp | LogicalOp | 'select' | 'convert'>(
  op: K,
  count: OpSignatures[K]['inputs']['length'],
  dtypeOf: (inputs: Operands, attrs: OpSignatures[K]['attrs']) => DType,
  precision: Precision,
): OpDefinition<K> =>
  define(
    op,
    count,
    { precision, locality: count === 1 ? 'elementwise' : 'broadcasting', merging: 'fold' },
    (inputs, attrs) => [{ dtype: dtypeOf(inputs, attrs), shape: inputs.broadcastShape() }],
  );

/** Definitions of the elementwise ops. */
export const ELEMENTWISE = {
  exp: elementwise('exp', 1, float, 'f32'),
  log: elementwise('log', 1, float, 'f32'),
  log1p: elementwise('log1p', 1, float, 'f32'),
  sqrt: elementwise('sqrt', 1, float, 'f32'),
  rsqrt: elementwise('rsqrt', 1, float, 'f32'),
  tanh: elementwise('tanh', 1, float, 'follows'),
  sigmoid: elementwise('sigmoid', 1, float, 'follows'),
  sin: elementwise('sin', 1, float, 'f32'),
  cos: elementwise('cos', 1, float, 'f32'),
  floor: elementwise('floor', 1, float, 'f32'),
  neg: elementwise('neg', 1, numeric, 'follows'),
  abs: elementwise('abs', 1, numeric, 'follows'),
  sign: elementwise('sign', 1, numeric, 'f32'),
  add: elementwise('add', 2, numeric, 'follows'),
  sub: elementwise('sub', 2, numeric, 'follows'),
  mul: elementwise('mul', 2, numeric, 'follows'),
  div: elementwise('div', 2, numeric, 'follows'),
  max: elementwise('max', 2, numeric, 'follows'),
  min: elementwise('min', 2, numeric, 'follows'),
  pow: elementwise('pow', 2, float, 'f32'),
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
  convert: elementwise('convert', 1, (_, { dtype }) => dtype, 'kept'),
  /** The identity, whose derivative is zero. */
  stopGradient: elementwise('stopGradient', 1, same, 'follows'),
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
  <K extends BinaryOp>(definition: OpDefinition<K>) =>
  (a: Operand, b: Operand): Value =>
    build1(definition, pairOf(a, b), {});

const unaryOf =
  <K extends UnaryOp>(definition: OpDefinition<K>) =>
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
export const and = (a: Value, b: Value): Value => build1(ELEMENTWISE.and, [a, b], {});
/** Whether one of them is true; bool, with broadcasting. */
export const or = (a: Value, b: Value): Value => build1(ELEMENTWISE.or, [a, b], {});

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
