/**
 * Ops that compute each element from those at the same place. Those of several inputs broadcast as NumPy does (sizes of
 * 1 stretch, missing leading axes are added) and never mix dtypes.
 */
import { DTypeError, at, isFloat, type DType } from '../../core/index.js';
import { arity, broadcastShapes, dtypeError, requireFloat, requireSameDtype } from '../ir/checks.js';
import { build1, define } from '../ir/emit.js';
import type { NoAttrs, OpDefinition, Precision, Signature, Value } from '../ir/types.js';
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

const unaryFloat = <K extends UnaryFloatOp>(op: K, precision: Precision = 'f32'): OpDefinition<K> =>
  define(
    op,
    (inputs) => {
      arity(op, inputs, 1);
      return [{ dtype: requireFloat(op, inputs), shape: at(inputs, 0).shape }];
    },
    traits(precision),
  );

const unaryNumeric = <K extends UnaryNumericOp>(op: K, precision: Precision = 'f32'): OpDefinition<K> =>
  define(
    op,
    (inputs) => {
      arity(op, inputs, 1);
      if (at(inputs, 0).dtype === 'bool') throw dtypeError(op, inputs, 'needs numbers');
      return [at(inputs, 0)];
    },
    traits(precision),
  );

const binary = <K extends BinaryOp>(op: K, precision: Precision = 'follows'): OpDefinition<K> =>
  define(
    op,
    (inputs) => {
      arity(op, inputs, 2);
      const dtype = requireSameDtype(op, inputs);
      if (dtype === 'bool') throw dtypeError(op, inputs, 'needs numbers');
      if (op === 'pow' && !isFloat(dtype)) throw dtypeError(op, inputs, 'needs a floating-point dtype');
      return [{ dtype, shape: broadcastShapes(op, inputs) }];
    },
    stretching(precision),
  );

const compare = <K extends CompareOp>(op: K): OpDefinition<K> =>
  define(
    op,
    (inputs) => {
      arity(op, inputs, 2);
      if (requireSameDtype(op, inputs) === 'bool') throw dtypeError(op, inputs, 'needs numbers');
      return [{ dtype: 'bool', shape: broadcastShapes(op, inputs) }];
    },
    stretching('f32'),
  );

const logical = <K extends LogicalOp>(op: K): OpDefinition<K> =>
  define(
    op,
    (inputs) => {
      arity(op, inputs, 2);
      if (requireSameDtype(op, inputs) !== 'bool') throw dtypeError(op, inputs, 'needs bool');
      return [{ dtype: 'bool', shape: broadcastShapes(op, inputs) }];
    },
    stretching('f32'),
  );

/** Definitions of the elementwise ops. */
export const ELEMENTWISE = {
  exp: unaryFloat('exp'),
  log: unaryFloat('log'),
  log1p: unaryFloat('log1p'),
  sqrt: unaryFloat('sqrt'),
  rsqrt: unaryFloat('rsqrt'),
  tanh: unaryFloat('tanh', 'follows'),
  sigmoid: unaryFloat('sigmoid', 'follows'),
  sin: unaryFloat('sin'),
  cos: unaryFloat('cos'),
  floor: unaryFloat('floor'),
  neg: unaryNumeric('neg', 'follows'),
  abs: unaryNumeric('abs', 'follows'),
  sign: unaryNumeric('sign'),
  add: binary('add'),
  sub: binary('sub'),
  mul: binary('mul'),
  div: binary('div'),
  max: binary('max'),
  min: binary('min'),
  pow: binary('pow', 'f32'),
  eq: compare('eq'),
  ne: compare('ne'),
  lt: compare('lt'),
  le: compare('le'),
  gt: compare('gt'),
  ge: compare('ge'),
  and: logical('and'),
  or: logical('or'),
  not: define(
    'not',
    (inputs) => {
      arity('not', inputs, 1);
      if (at(inputs, 0).dtype !== 'bool') throw dtypeError('not', inputs, 'needs bool');
      return [at(inputs, 0)];
    },
    traits('f32'),
  ),
  select: define(
    'select',
    (inputs) => {
      arity('select', inputs, 3);
      if (at(inputs, 0).dtype !== 'bool') throw dtypeError('select', inputs, 'the condition must be bool');
      return [{ dtype: requireSameDtype('select', inputs.slice(1)), shape: broadcastShapes('select', inputs) }];
    },
    stretching('follows'),
  ),
  convert: define(
    'convert',
    (inputs, { dtype }) => {
      arity('convert', inputs, 1);
      return [{ dtype, shape: at(inputs, 0).shape }];
    },
    traits('kept'),
  ),
  /** The identity, whose derivative is zero. */
  stopGradient: define(
    'stopGradient',
    (inputs) => {
      arity('stopGradient', inputs, 1);
      return [at(inputs, 0)];
    },
    traits('follows'),
  ),
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
