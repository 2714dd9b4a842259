/**
 * The op catalogue: attributes and type rule (shapes and dtypes) of every op.
 *
 * Elementwise ops broadcast as NumPy does (sizes of 1 stretch, missing leading axes are added) and never mix dtypes.
 * Every rule table over ops (derivative, reference, ONNX, ...) is keyed by `OpName`, so that the compiler reports a missing
 * rule. "Primitives" are elementary; "composites" have a meaning that an engine may have a better kernel for, a decomposition
 * into primitives (`decompose.ts`) and a derivative rule of their own (`derivatives.ts`).
 */
import { formatShape, isFloat, sameShape } from '../core/index.js';
import {
  arity,
  at,
  axisOf,
  broadcastShapes,
  dtypeError,
  requireFloat,
  requireIndex,
  requireSameDtype,
  requireShape,
  shapeError,
  show,
} from './checks.js';
import { causalConv, deltaRule, deltaRuleGrad, linearRecurrence, linearRecurrenceGrad } from './recurrence/types.js';
import {
  type AttentionAttrs,
  type BinaryOp,
  type CompareOp,
  type LogicalOp,
  type OpAttrs,
  type OpName,
  type UnaryFloatOp,
  type UnaryNumericOp,
  type TensorType,
  type Value,
} from './types.js';

export type TypeRule<K extends OpName> = {
  rule(inputs: readonly TensorType[], attrs: OpAttrs[K]): readonly TensorType[];
}['rule'];

const unaryFloat =
  (op: UnaryFloatOp): TypeRule<UnaryFloatOp> =>
  (inputs) => {
    arity(op, inputs, 1);
    return [{ dtype: requireFloat(op, inputs), shape: at(inputs, 0).shape }];
  };

const unaryNumeric =
  (op: UnaryNumericOp): TypeRule<UnaryNumericOp> =>
  (inputs) => {
    arity(op, inputs, 1);
    if (at(inputs, 0).dtype === 'bool') throw dtypeError(op, inputs, 'needs numbers');
    return [at(inputs, 0)];
  };

const binary =
  (op: BinaryOp): TypeRule<BinaryOp> =>
  (inputs) => {
    arity(op, inputs, 2);
    const dtype = requireSameDtype(op, inputs);
    if (dtype === 'bool') throw dtypeError(op, inputs, 'needs numbers');
    if (op === 'pow' && !isFloat(dtype)) throw dtypeError(op, inputs, 'needs a floating-point dtype');
    return [{ dtype, shape: broadcastShapes(op, inputs) }];
  };

const compare =
  (op: CompareOp): TypeRule<CompareOp> =>
  (inputs) => {
    arity(op, inputs, 2);
    if (requireSameDtype(op, inputs) === 'bool') throw dtypeError(op, inputs, 'needs numbers');
    return [{ dtype: 'bool', shape: broadcastShapes(op, inputs) }];
  };

const logical =
  (op: LogicalOp): TypeRule<LogicalOp> =>
  (inputs) => {
    arity(op, inputs, 2);
    if (requireSameDtype(op, inputs) !== 'bool') throw dtypeError(op, inputs, 'needs bool');
    return [{ dtype: 'bool', shape: broadcastShapes(op, inputs) }];
  };

const reduce =
  (op: 'reduceSum' | 'reduceMax'): TypeRule<'reduceSum' | 'reduceMax'> =>
  (inputs, { axes, keepDims }) => {
    arity(op, inputs, 1);
    const { dtype, shape } = at(inputs, 0);
    if (dtype === 'bool') throw dtypeError(op, inputs, 'needs numbers');
    axes.forEach((a) => axisOf(op, inputs, a));
    if (new Set(axes).size !== axes.length) throw shapeError(op, inputs, `axes ${formatShape(axes)} repeat`);
    if (op === 'reduceMax' && axes.some((a) => shape[a] === 0)) throw shapeError(op, inputs, 'has no element to take');
    const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
    return [{ dtype, shape: keepDims ? kept : kept.filter((_, i) => !axes.includes(i)) }];
  };

const dot: TypeRule<'dot'> = (inputs, { lhsBatch, rhsBatch, lhsContract, rhsContract }) => {
  arity('dot', inputs, 2);
  const dtype = requireFloat('dot', inputs);
  const [lhs, rhs] = [at(inputs, 0).shape, at(inputs, 1).shape];
  const pairs: [readonly number[], readonly number[], string][] = [
    [lhsBatch, rhsBatch, 'batch'],
    [lhsContract, rhsContract, 'contracting'],
  ];
  for (const [l, r, what] of pairs) {
    if (l.length !== r.length)
      throw shapeError('dot', inputs, `${what} axes ${formatShape(l)} and ${formatShape(r)} differ in number`);
    l.forEach((a, i) => {
      if (lhs[a] === undefined || lhs[a] !== rhs[r[i] as number]) {
        throw shapeError(
          'dot',
          inputs,
          `${what} axes ${a} of lhs (${lhs[a]}) and ${r[i]} of rhs (${rhs[r[i] as number]}) differ`,
        );
      }
    });
  }
  const usedL = new Set([...lhsBatch, ...lhsContract]);
  const usedR = new Set([...rhsBatch, ...rhsContract]);
  if (usedL.size !== lhsBatch.length + lhsContract.length || usedR.size !== rhsBatch.length + rhsContract.length) {
    throw shapeError('dot', inputs, 'an axis is used twice');
  }
  const shape = [
    ...lhsBatch.map((a) => lhs[a] as number),
    ...lhs.filter((_, a) => !usedL.has(a)),
    ...rhs.filter((_, a) => !usedR.has(a)),
  ];
  return [{ dtype, shape }];
};

const slice: TypeRule<'slice'> = (inputs, { starts, limits, strides }) => {
  arity('slice', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  if ([starts, limits, strides].some((s) => s.length !== shape.length)) {
    throw shapeError('slice', inputs, `starts, limits and strides need ${shape.length} entries each`);
  }
  const out = shape.map((d, i) => {
    const [s, l, k] = [starts[i] as number, limits[i] as number, strides[i] as number];
    if (!(s >= 0 && s <= l && l <= d && k >= 1)) {
      throw shapeError('slice', inputs, `axis ${i}: ${s}:${l}:${k} does not lie in 0..${d}`);
    }
    return Math.ceil((l - s) / k);
  });
  return [{ dtype, shape: out }];
};

const pad: TypeRule<'pad'> = (inputs, { low, high }) => {
  arity('pad', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  if (low.length !== shape.length || high.length !== shape.length || [...low, ...high].some((p) => p < 0)) {
    throw shapeError(
      'pad',
      inputs,
      `low ${formatShape(low)} and high ${formatShape(high)} need ${shape.length} sizes >= 0 each`,
    );
  }
  return [{ dtype, shape: shape.map((d, i) => d + (low[i] as number) + (high[i] as number)) }];
};

const concat: TypeRule<'concat'> = (inputs, { axis }) => {
  if (inputs.length === 0) throw shapeError('concat', inputs, 'needs an input');
  const dtype = requireSameDtype('concat', inputs);
  const first = at(inputs, 0).shape;
  axisOf('concat', inputs, axis);
  for (const t of inputs) {
    if (t.shape.length !== first.length || t.shape.some((d, i) => i !== axis && d !== first[i])) {
      throw shapeError('concat', inputs, `shapes may differ only along axis ${axis}`);
    }
  }
  const total = inputs.reduce((n, t) => n + (t.shape[axis] as number), 0);
  return [{ dtype, shape: first.map((d, i) => (i === axis ? total : d)) }];
};

const split: TypeRule<'split'> = (inputs, { axis, sizes }) => {
  arity('split', inputs, 1);
  const { dtype, shape } = at(inputs, 0);
  axisOf('split', inputs, axis);
  if (sizes.some((s) => s < 0) || sizes.reduce((a, b) => a + b, 0) !== shape[axis]) {
    throw shapeError('split', inputs, `sizes ${formatShape(sizes)} do not add up to axis ${axis} (${shape[axis]})`);
  }
  return sizes.map((s) => ({ dtype, shape: shape.map((d, i) => (i === axis ? s : d)) }));
};

const scatterAdd: TypeRule<'scatterAdd'> = (inputs) => {
  arity('scatterAdd', inputs, 3);
  const [operand, indices, updates] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
  requireIndex('scatterAdd', inputs, 1, 'indices');
  if (operand.dtype !== updates.dtype) throw dtypeError('scatterAdd', inputs, 'operand and updates differ in dtype');
  if (operand.shape.length < 1) throw shapeError('scatterAdd', inputs, 'operand needs an axis');
  requireShape('scatterAdd', inputs, 2, [...indices.shape, ...operand.shape.slice(1)], 'updates');
  return [operand];
};

const scan: TypeRule<'scan'> = (inputs, { body, length, numCarry, numXs, savesCarry }) => {
  if (!Number.isInteger(length) || length < 1)
    throw shapeError('scan', inputs, `length ${length} is not a whole number >= 1`);
  if (inputs.length !== body.inputs.length) {
    throw shapeError('scan', inputs, `the body takes ${body.inputs.length} inputs, got ${inputs.length}`);
  }
  inputs.forEach((t, i) => {
    const want = (body.inputs[i] as { value: Value }).value;
    const isX = i >= numCarry && i < numCarry + numXs;
    const shape = isX ? [length, ...want.shape] : want.shape;
    if (t.dtype !== want.dtype || !sameShape(t.shape, shape)) {
      throw shapeError('scan', inputs, `input ${i} must be ${want.dtype}${formatShape(shape)}, got ${show(t)}`);
    }
  });
  const results = body.outputs.map(({ value }, i) => {
    if (i >= numCarry) return { dtype: value.dtype, shape: [length, ...value.shape] };
    if (value.dtype !== at(inputs, i).dtype || !sameShape(value.shape, at(inputs, i).shape)) {
      throw shapeError(
        'scan',
        inputs,
        `carry ${i} leaves the body as ${show(value)}, but enters as ${show(at(inputs, i))}`,
      );
    }
    return { dtype: value.dtype, shape: value.shape };
  });
  const saved = results.slice(0, savesCarry ? numCarry : 0);
  return [...results, ...saved.map(({ dtype, shape }) => ({ dtype, shape: [length, ...shape] }))];
};

const remat: TypeRule<'remat'> = (inputs, { body }) => {
  arity('remat', inputs, body.inputs.length);
  inputs.forEach((t, i) => {
    const want = (body.inputs[i] as { value: Value }).value;
    if (t.dtype !== want.dtype || !sameShape(t.shape, want.shape)) {
      throw shapeError('remat', inputs, `input ${i} must be ${show(want)}, got ${show(t)}`);
    }
  });
  return body.outputs.map(({ value }) => ({ dtype: value.dtype, shape: value.shape }));
};

const rmsNorm: TypeRule<'rmsNorm'> = (inputs) => {
  arity('rmsNorm', inputs, 1, 2);
  const dtype = requireFloat('rmsNorm', inputs);
  const { shape } = at(inputs, 0);
  const width = shape[shape.length - 1];
  if (!width) throw shapeError('rmsNorm', inputs, 'x needs a last axis of size >= 1');
  if (inputs.length === 2) requireShape('rmsNorm', inputs, 1, [width], 'weight');
  return [
    { dtype, shape },
    { dtype, shape: [...shape.slice(0, -1), 1] },
  ];
};

const rmsNormGrad: TypeRule<'rmsNormGrad'> = (inputs) => {
  arity('rmsNormGrad', inputs, 3, 4);
  requireFloat('rmsNormGrad', inputs);
  const x = at(inputs, 0);
  requireShape('rmsNormGrad', inputs, 1, [...x.shape.slice(0, -1), 1], 'rstd');
  requireShape('rmsNormGrad', inputs, 2, x.shape, 'dy');
  if (inputs.length === 3) return [x];
  requireShape('rmsNormGrad', inputs, 3, x.shape.slice(-1), 'weight');
  return [x, at(inputs, 3)];
};

const rotary: TypeRule<'rotary'> = (inputs, { inverseFrequencies }) => {
  arity('rotary', inputs, 1);
  requireFloat('rotary', inputs);
  const { shape } = at(inputs, 0);
  if (shape.length !== 4) throw shapeError('rotary', inputs, 'x must be [B,T,H,D]');
  if (shape[3] !== 2 * inverseFrequencies.length) {
    throw shapeError('rotary', inputs, `D must be twice the number of frequencies (${inverseFrequencies.length})`);
  }
  return [at(inputs, 0)];
};

const crossEntropy: TypeRule<'crossEntropy'> = (inputs) => {
  arity('crossEntropy', inputs, 2);
  const { dtype, shape } = at(inputs, 0);
  if (!isFloat(dtype)) throw dtypeError('crossEntropy', inputs, 'logits must be floating-point');
  requireIndex('crossEntropy', inputs, 1, 'targets');
  if (shape.length !== 2 || shape[1] === 0)
    throw shapeError('crossEntropy', inputs, 'logits must be [N,V] with V >= 1');
  requireShape('crossEntropy', inputs, 1, [shape[0] as number], 'targets');
  const n = { dtype, shape: [shape[0] as number] };
  return [n, n];
};

const crossEntropyGrad: TypeRule<'crossEntropyGrad'> = (inputs) => {
  arity('crossEntropyGrad', inputs, 5);
  crossEntropy(inputs.slice(0, 2), {});
  for (const i of [2, 3, 4])
    requireShape('crossEntropyGrad', inputs, i, [at(inputs, 0).shape[0] as number], 'lse, dloss and dlse');
  return [at(inputs, 0)];
};

/** Checks the inputs of an attention, `fixed` of them and then perhaps sinks and segments; gives the sinks. */
function checkAttention(
  op: string,
  inputs: readonly TensorType[],
  fixed: number,
  attrs: AttentionAttrs,
): readonly TensorType[] {
  const { window, scale } = attrs;
  const segments = attrs.segments === true ? 1 : 0;
  arity(op, inputs, fixed + segments, fixed + segments + 1);
  requireFloat(op, inputs.slice(0, inputs.length - segments));
  const [q, k, v] = [at(inputs, 0).shape, at(inputs, 1).shape, at(inputs, 2).shape];
  if (q.length !== 4 || k.length !== 4 || v.length !== 4)
    throw shapeError(op, inputs, 'q, k and v must be [B,T,heads,D]');
  const [b, t, h, d] = q as [number, number, number, number];
  const g = k[2] as number;
  if (k[0] !== b || k[1] !== t || k[3] !== d) throw shapeError(op, inputs, `k must be [${b},${t},G,${d}]`);
  if (v[0] !== b || v[1] !== t || v[2] !== g) throw shapeError(op, inputs, `v must be [${b},${t},${g},E]`);
  if (g < 1 || h % g !== 0) throw shapeError(op, inputs, `${h} query heads are not a multiple of ${g} key heads`);
  if (window !== null && (!Number.isInteger(window) || window < 1)) {
    throw shapeError(
      op,
      inputs,
      `window ${window} must be a whole number of keys >= 1, the query's own included, or null`,
    );
  }
  if (!Number.isFinite(scale)) throw shapeError(op, inputs, `scale ${scale} is not a number`);
  if (segments === 1) {
    requireIndex(op, inputs, inputs.length - 1, 'segments');
    requireShape(op, inputs, inputs.length - 1, [b, t], 'segments');
  }
  const sinks = inputs.slice(fixed, inputs.length - segments);
  if (sinks.length > 0) requireShape(op, inputs, fixed, [h], 'sinks');
  return sinks;
}

const attention: TypeRule<'attention'> = (inputs, attrs) => {
  checkAttention('attention', inputs, 3, attrs);
  const { dtype, shape } = at(inputs, 0);
  const [b, t, h] = shape as [number, number, number];
  return [
    { dtype, shape: [b, t, h, at(inputs, 2).shape[3] as number] },
    { dtype, shape: [b, h, t] },
  ];
};

const attentionGrad: TypeRule<'attentionGrad'> = (inputs, attrs) => {
  const sinks = checkAttention('attentionGrad', inputs, 6, attrs);
  const [b, t, h] = at(inputs, 0).shape as [number, number, number];
  const o = [b, t, h, at(inputs, 2).shape[3] as number];
  requireShape('attentionGrad', inputs, 3, o, 'o');
  requireShape('attentionGrad', inputs, 4, [b, h, t], 'lse');
  requireShape('attentionGrad', inputs, 5, o, 'do');
  return [at(inputs, 0), at(inputs, 1), at(inputs, 2), ...sinks];
};

/** The type rule of every op: output dtypes and shapes, or a `ShapeError` / `DTypeError` that names the op and its inputs. */
export const TYPE_RULES: { readonly [K in OpName]: TypeRule<K> } = {
  input: (_, { dtype, shape }) => [{ dtype, shape }],
  constant: (_, { tensor }) => [{ dtype: tensor.dtype, shape: tensor.shape }],
  iota: (_, { dtype, shape, axis }) => {
    axisOf('iota', [{ dtype, shape }], axis);
    if (dtype === 'bool') throw dtypeError('iota', [], 'needs numbers');
    return [{ dtype, shape }];
  },
  exp: unaryFloat('exp'),
  log: unaryFloat('log'),
  log1p: unaryFloat('log1p'),
  sqrt: unaryFloat('sqrt'),
  rsqrt: unaryFloat('rsqrt'),
  tanh: unaryFloat('tanh'),
  sigmoid: unaryFloat('sigmoid'),
  sin: unaryFloat('sin'),
  cos: unaryFloat('cos'),
  floor: unaryFloat('floor'),
  neg: unaryNumeric('neg'),
  abs: unaryNumeric('abs'),
  sign: unaryNumeric('sign'),
  add: binary('add'),
  sub: binary('sub'),
  mul: binary('mul'),
  div: binary('div'),
  max: binary('max'),
  min: binary('min'),
  pow: binary('pow'),
  eq: compare('eq'),
  ne: compare('ne'),
  lt: compare('lt'),
  le: compare('le'),
  gt: compare('gt'),
  ge: compare('ge'),
  and: logical('and'),
  or: logical('or'),
  not: (inputs) => {
    arity('not', inputs, 1);
    if (at(inputs, 0).dtype !== 'bool') throw dtypeError('not', inputs, 'needs bool');
    return [at(inputs, 0)];
  },
  select: (inputs) => {
    arity('select', inputs, 3);
    if (at(inputs, 0).dtype !== 'bool') throw dtypeError('select', inputs, 'the condition must be bool');
    return [{ dtype: requireSameDtype('select', inputs.slice(1)), shape: broadcastShapes('select', inputs) }];
  },
  convert: (inputs, { dtype }) => {
    arity('convert', inputs, 1);
    return [{ dtype, shape: at(inputs, 0).shape }];
  },
  reshape: (inputs, { shape }) => {
    arity('reshape', inputs, 1);
    const [from, to] = [at(inputs, 0).shape, shape].map((s) => s.reduce((a, b) => a * b, 1));
    if (from !== to || shape.some((d) => !Number.isInteger(d) || d < 0)) {
      throw shapeError('reshape', inputs, `cannot become ${formatShape(shape)}: ${from} elements are not ${to}`);
    }
    return [{ dtype: at(inputs, 0).dtype, shape }];
  },
  transpose: (inputs, { permutation }) => {
    arity('transpose', inputs, 1);
    const { dtype, shape } = at(inputs, 0);
    const sorted = [...permutation].sort((a, b) => a - b);
    if (sorted.length !== shape.length || sorted.some((a, i) => a !== i)) {
      throw shapeError(
        'transpose',
        inputs,
        `${formatShape(permutation)} is not an order of axes 0..${shape.length - 1}`,
      );
    }
    return [{ dtype, shape: permutation.map((a) => shape[a] as number) }];
  },
  broadcast: (inputs, { shape }) => {
    arity('broadcast', inputs, 1);
    const target = { dtype: at(inputs, 0).dtype, shape };
    if (!sameShape(broadcastShapes('broadcast', [at(inputs, 0), target]), shape)) {
      throw shapeError('broadcast', inputs, `does not stretch to ${formatShape(shape)}`);
    }
    return [target];
  },
  slice,
  pad,
  concat,
  split,
  dot,
  reduceSum: reduce('reduceSum'),
  reduceMax: reduce('reduceMax'),
  argmax: (inputs, { axis }) => {
    arity('argmax', inputs, 1);
    const { dtype, shape } = at(inputs, 0);
    if (dtype === 'bool') throw dtypeError('argmax', inputs, 'needs numbers');
    axisOf('argmax', inputs, axis);
    if (shape[axis] === 0) throw shapeError('argmax', inputs, 'has no element to take');
    return [{ dtype: 'i32', shape: shape.filter((_, i) => i !== axis) }];
  },
  cumsum: (inputs, { axis }) => {
    arity('cumsum', inputs, 1);
    if (at(inputs, 0).dtype === 'bool') throw dtypeError('cumsum', inputs, 'needs numbers');
    axisOf('cumsum', inputs, axis);
    return [at(inputs, 0)];
  },
  take: (inputs) => {
    arity('take', inputs, 2);
    requireIndex('take', inputs, 1, 'indices');
    const [operand, indices] = [at(inputs, 0), at(inputs, 1)];
    if (operand.shape.length < 1) throw shapeError('take', inputs, 'operand needs an axis');
    return [{ dtype: operand.dtype, shape: [...indices.shape, ...operand.shape.slice(1)] }];
  },
  scatterAdd,
  scan,
  stopGradient: (inputs) => {
    arity('stopGradient', inputs, 1);
    return [at(inputs, 0)];
  },
  barrier: (inputs) => inputs.map(({ dtype, shape }) => ({ dtype, shape })),
  remat,
  kernel: (_, { types }) => types,
  softmax: (inputs, { axis }) => {
    arity('softmax', inputs, 1);
    requireFloat('softmax', inputs);
    axisOf('softmax', inputs, axis);
    return [at(inputs, 0)];
  },
  rmsNorm,
  rmsNormGrad,
  rotary,
  swiglu: (inputs) => {
    arity('swiglu', inputs, 2);
    requireFloat('swiglu', inputs);
    requireShape('swiglu', inputs, 1, at(inputs, 0).shape, 'up');
    return [at(inputs, 0)];
  },
  swigluGrad: (inputs) => {
    arity('swigluGrad', inputs, 3);
    requireFloat('swigluGrad', inputs);
    for (const i of [1, 2]) requireShape('swigluGrad', inputs, i, at(inputs, 0).shape, 'up and dy');
    return [at(inputs, 0), at(inputs, 1)];
  },
  crossEntropy,
  crossEntropyGrad,
  attention,
  attentionGrad,
  linearRecurrence,
  linearRecurrenceGrad,
  deltaRule,
  deltaRuleGrad,
  causalConv,
};

export { broadcastShapes };

export const OP_NAMES = Object.keys(TYPE_RULES) as OpName[];
