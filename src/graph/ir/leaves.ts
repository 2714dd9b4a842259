/** Values that come from nothing: inputs of a graph, constants, counting. */
import { at, sizeOf, tensorFrom, toNumbers, type DType, type HostTensor, type Shape } from '../../core/index.js';
import { Operands } from './checks.js';
import { build1, define } from './emit.js';
import type { Value } from './types.js';

const source = { precision: 'kept', locality: 'source', merging: 'merge' } as const;

/** Definitions of the leaves. */
export const LEAVES = {
  input: define('input', null, { ...source, merging: 'keep' }, (_, { dtype, shape }) => [{ dtype, shape }]),
  constant: define('constant', null, source, (_, { tensor: { dtype, shape } }) => [{ dtype, shape }]),
  iota: define('iota', null, source, (inputs, { dtype, shape, axis }) => {
    new Operands('iota', [{ dtype, shape }]).requireAxis(axis);
    if (dtype === 'bool') throw inputs.dtypeError('needs numbers');
    return [{ dtype, shape }];
  }),
};

/** A graph input: its tensor is handed in by name when the graph runs. */
export function input(name: string, dtype: DType, shape: Shape): Value {
  return build1(LEAVES.input, [], { name, dtype, shape });
}

/** A tensor as part of the graph. */
export function constant(tensor: HostTensor): Value {
  return build1(LEAVES.constant, [], { tensor });
}

/** A constant of the given dtype from numbers, rounded to it. */
export function constantFrom(dtype: DType, shape: Shape, values: ArrayLike<number>): Value {
  return constant(tensorFrom(dtype, shape, values));
}

/** A constant scalar. */
export function scalar(value: number, dtype: DType): Value {
  return constant(tensorFrom(dtype, [], [value]));
}

/** The number that a value holds in every element, if it is a constant of that kind. */
export function uniformValue(v: Value): number | null {
  if (v.node.op === 'broadcast') return uniformValue(v.node.inputs[0]);
  if (v.node.op !== 'constant') return null;
  const { tensor } = v.node.attrs;
  return sizeOf(tensor.shape) === 1 ? at(toNumbers(tensor), 0) : null;
}

/** 0, 1, 2, ... along `axis`, the same along all others. Throws `DTypeError` for bool. */
export function iota(dtype: DType, shape: Shape, axis: number): Value {
  return build1(LEAVES.iota, [], { dtype, shape, axis });
}
