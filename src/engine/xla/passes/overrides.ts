/** Decompositions that suit XLA, which fuses elementwise chains into the reductions and products around them. */
import { at, type DType } from '../../../core/index.js';
import {
  DECOMPOSITIONS,
  angleTable,
  rotatePairs,
  sineOf,
  type CompositeOp,
  type Decomposition,
  type RotaryAttrs,
  type Value,
} from '../../../graph/index.js';
import * as L from '../../../graph/index.js';

/** Where an input is bf16 the rule computes in f32 and rounds its results once: inside a fusion that costs nothing. */
function inFloat32<K extends CompositeOp>(rule: Decomposition<K>): Decomposition<K> {
  return (inputs, attrs) => {
    const given: readonly Value[] = inputs;
    const dtype = given[0]?.dtype;
    if (dtype !== 'bf16') return rule(inputs, attrs);
    const wide = given.map((v) => (v.dtype === 'bf16' ? L.convert(v, 'f32') : v));
    return rule(wide, attrs).map((v) => (v.dtype === 'f32' ? L.convert(v, dtype) : v));
  };
}

const column = (v: Value): Value => L.reshape(v, [at(v.shape, 0), 1]);

/** Which class of each row is its target, `[N,V]`. */
function isTarget(logits: Value, targets: Value): Value {
  return L.eq(L.iota('i32', logits.shape, 1), column(targets));
}

/**
 * The target's logit by a masked sum: it joins the reduction of the exponentials, where a gather would need the logits
 * stored.
 */
const crossEntropy: Decomposition<'crossEntropy'> = ([z, targets]) => {
  const top = L.stopGradient(L.reduceMax(z, [1], true));
  const sum = L.reduceSum(L.exp(L.sub(z, top)), [1]);
  const lse = L.add(L.reshape(top, sum.shape), L.log(sum));
  const picked = L.reduceSum(L.select(isTarget(z, targets), z, 0), [1]);
  return [L.sub(lse, picked), lse];
};

/** `p (dloss + dlse) - onehot dloss`, elementwise. */
const crossEntropyGrad: Decomposition<'crossEntropyGrad'> = ([z, targets, lse, dloss, dlse]) => {
  const p = L.exp(L.sub(z, column(lse)));
  const spread = L.mul(p, column(L.add(dloss, dlse)));
  return [L.sub(spread, L.select(isTarget(z, targets), column(dloss), 0))];
};

/** Positions in a block of the angle tables: about the square root of all. */
const blockOf = (T: number): number => Math.min(T, 2 ** Math.ceil(Math.log2(Math.sqrt(T))));

/**
 * cos and sin of the rotary angles, `[1,T,1,D/2]`, from two small tables computed in float64 and the addition theorem:
 * angle of position `256 a + b` = angle of `256 a` + angle of `b`. Long sequences need no long constants and lose no
 * precision.
 */
export function rotaryTables(
  T: number,
  { inverseFrequencies, inverse }: RotaryAttrs,
  dtype: DType,
): { cos: Value; sin: Value } {
  const half = inverseFrequencies.length;
  const block = blockOf(T);
  const blocks = Math.ceil(T / block);
  const sine = sineOf(inverse);
  const low = (f: (angle: number) => number): Value =>
    L.constantFrom(dtype, [1, block, half], angleTable(f, block, 1, inverseFrequencies));
  const high = (f: (angle: number) => number): Value =>
    L.constantFrom(dtype, [blocks, 1, half], angleTable(f, blocks, block, inverseFrequencies));
  const shaped = (v: Value): Value => {
    const rows = L.reshape(v, [blocks * block, half]);
    return L.reshape(blocks * block === T ? rows : L.sliceAxis(rows, 0, 0, T), [1, T, 1, half]);
  };
  const [cosLow, sinLow] = [low(Math.cos), low(sine)];
  if (blocks === 1) return { cos: shaped(cosLow), sin: shaped(sinLow) };
  // The barriers keep XLA from folding the long tables into the program, and from computing them anew in every layer.
  const [cosHigh, sinHigh] = L.barrier([high(Math.cos), high(sine)]);
  const [cos, sin] = L.barrier([
    shaped(L.sub(L.mul(cosHigh, cosLow), L.mul(sinHigh, sinLow))),
    shaped(L.add(L.mul(sinHigh, cosLow), L.mul(cosHigh, sinLow))),
  ]);
  return { cos, sin };
}

const rotary: Decomposition<'rotary'> = ([x], attrs) => {
  const { cos, sin } = rotaryTables(at(x.shape, 1), attrs, x.dtype);
  return [rotatePairs(x, cos, sin)];
};

/** The decomposition of every composite for XLA. */
export const XLA_DECOMPOSITIONS: { readonly [K in CompositeOp]: Decomposition<K> } = {
  softmax: inFloat32(DECOMPOSITIONS.softmax),
  rmsNorm: inFloat32(DECOMPOSITIONS.rmsNorm),
  rmsNormGrad: inFloat32(DECOMPOSITIONS.rmsNormGrad),
  rotary: inFloat32(rotary),
  swiglu: inFloat32(DECOMPOSITIONS.swiglu),
  swigluGrad: inFloat32(DECOMPOSITIONS.swigluGrad),
  routeRows: DECOMPOSITIONS.routeRows,
  crossEntropy: inFloat32(crossEntropy),
  crossEntropyGrad: inFloat32(crossEntropyGrad),
  attention: inFloat32(DECOMPOSITIONS.attention),
  attentionGrad: inFloat32(DECOMPOSITIONS.attentionGrad),
  cacheWrite: DECOMPOSITIONS.cacheWrite,
  cacheAttention: DECOMPOSITIONS.cacheAttention,
  causalConv: inFloat32(DECOMPOSITIONS.causalConv),
  // The recurrences keep states in f32 beside bf16 inputs by themselves; bodies of remat hold ops that are treated one
  // by one.
  linearRecurrence: DECOMPOSITIONS.linearRecurrence,
  linearRecurrenceGrad: DECOMPOSITIONS.linearRecurrenceGrad,
  deltaRule: DECOMPOSITIONS.deltaRule,
  deltaRuleGrad: DECOMPOSITIONS.deltaRuleGrad,
  selectiveScan: DECOMPOSITIONS.selectiveScan,
  selectiveScanGrad: DECOMPOSITIONS.selectiveScanGrad,
  remat: DECOMPOSITIONS.remat,
};
