/** Decompositions that suit XLA, which fuses elementwise chains into the reductions and products around them. */
import type { DType } from '../../../core/index.js';
import {
  DECOMPOSITIONS,
  type CompositeOp,
  type Decomposition,
  type DecompositionOverrides,
  type OpAttrs,
  type Value,
} from '../../../graph/index.js';
import * as L from '../../../graph/index.js';

/** Where an input is bf16 the rule computes in f32 and rounds its results once: inside a fusion that costs nothing. */
function inFloat32<K extends CompositeOp>(rule: Decomposition<K>): Decomposition<K> {
  return (inputs: readonly Value[], attrs: OpAttrs[K]) => {
    const dtype = inputs[0]?.dtype;
    if (dtype !== 'bf16') return rule(inputs, attrs);
    const wide = inputs.map((v) => (v.dtype === 'bf16' ? L.convert(v, 'f32') : v));
    return rule(wide, attrs).map((v) => (v.dtype === 'f32' ? L.convert(v, dtype) : v));
  };
}

const column = (v: Value): Value => L.reshape(v, [v.shape[0] as number, 1]);

/** Which class of each row is its target, `[N,V]`. */
function isTarget(logits: Value, targets: Value): Value {
  return L.eq(L.iota('i32', logits.shape, 1), column(targets));
}

/** The target's logit by a masked sum: it joins the reduction of the exponentials, where a gather would need the logits stored. */
const crossEntropy: Decomposition<'crossEntropy'> = ([logits, targets]) => {
  const [z, t] = [logits as Value, targets as Value];
  const top = L.stopGradient(L.reduceMax(z, [1], true));
  const sum = L.reduceSum(L.exp(L.sub(z, top)), [1]);
  const lse = L.add(L.reshape(top, sum.shape), L.log(sum));
  const picked = L.reduceSum(L.select(isTarget(z, t), z, 0), [1]);
  return [L.sub(lse, picked), lse];
};

/** `p (dloss + dlse) - onehot dloss`, elementwise. */
const crossEntropyGrad: Decomposition<'crossEntropyGrad'> = ([logits, targets, lse, dloss, dlse]) => {
  const [z, t, dl] = [logits as Value, targets as Value, dloss as Value];
  const p = L.exp(L.sub(z, column(lse as Value)));
  const spread = L.mul(p, column(L.add(dl, dlse as Value)));
  return [L.sub(spread, L.select(isTarget(z, t), column(dl), 0))];
};

/** Positions in a block of the angle tables: about the square root of all. */
const blockOf = (T: number): number => Math.min(T, 2 ** Math.ceil(Math.log2(Math.sqrt(T))));

/**
 * cos and sin of the rotary angles, `[1,T,1,D/2]`, from two small tables computed in float64 and the addition theorem: angle
 * of position `256 a + b` = angle of `256 a` + angle of `b`. Long sequences need no long constants and lose no precision.
 */
export function rotaryTables(
  T: number,
  { inverseFrequencies, inverse }: OpAttrs['rotary'],
  dtype: DType,
): { cos: Value; sin: Value } {
  const half = inverseFrequencies.length;
  const block = blockOf(T);
  const blocks = Math.ceil(T / block);
  const table = (f: (x: number) => number, rows: number, step: number, shape: readonly number[]): Value => {
    const values = new Float64Array(rows * half);
    for (let r = 0; r < rows; r++) {
      for (let m = 0; m < half; m++) values[r * half + m] = f(r * step * (inverseFrequencies[m] as number));
    }
    return L.constantFrom(dtype, shape, values);
  };
  const sine = inverse ? (x: number): number => -Math.sin(x) : Math.sin;
  const low = [1, block, half];
  const [cosLow, sinLow] = [table(Math.cos, block, 1, low), table(sine, block, 1, low)];
  const shaped = (v: Value): Value => {
    const rows = L.reshape(v, [blocks * block, half]);
    return L.reshape(blocks * block === T ? rows : L.sliceAxis(rows, 0, 0, T), [1, T, 1, half]);
  };
  if (blocks === 1) return { cos: shaped(cosLow), sin: shaped(sinLow) };
  const high = [blocks, 1, half];
  // The barriers keep XLA from folding the long tables into the program, and from computing them anew in every layer.
  const [cosHigh, sinHigh] = L.barrier([table(Math.cos, blocks, block, high), table(sine, blocks, block, high)]) as [
    Value,
    Value,
  ];
  const [cos, sin] = L.barrier([
    shaped(L.sub(L.mul(cosHigh, cosLow), L.mul(sinHigh, sinLow))),
    shaped(L.add(L.mul(sinHigh, cosLow), L.mul(cosHigh, sinLow))),
  ]) as [Value, Value];
  return { cos, sin };
}

const rotary: Decomposition<'rotary'> = ([x], attrs) => {
  const v = x as Value;
  const half = attrs.inverseFrequencies.length;
  const { cos, sin } = rotaryTables(v.shape[1] as number, attrs, v.dtype);
  const [a, b] = L.split(v, 3, [half, half]) as [Value, Value];
  return [L.concat([L.sub(L.mul(a, cos), L.mul(b, sin)), L.add(L.mul(b, cos), L.mul(a, sin))], 3)];
};

/** Decompositions in place of the graph's own. */
export const XLA_DECOMPOSITIONS: DecompositionOverrides = {
  softmax: inFloat32(DECOMPOSITIONS.softmax),
  rmsNorm: inFloat32(DECOMPOSITIONS.rmsNorm),
  rmsNormGrad: inFloat32(DECOMPOSITIONS.rmsNormGrad),
  rotary: inFloat32(rotary),
  swiglu: inFloat32(DECOMPOSITIONS.swiglu),
  swigluGrad: inFloat32(DECOMPOSITIONS.swigluGrad),
  crossEntropy: inFloat32(crossEntropy),
  crossEntropyGrad: inFloat32(crossEntropyGrad),
  attention: inFloat32(DECOMPOSITIONS.attention),
  attentionGrad: inFloat32(DECOMPOSITIONS.attentionGrad),
  causalConv: inFloat32(DECOMPOSITIONS.causalConv),
};
