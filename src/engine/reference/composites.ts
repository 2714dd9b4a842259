/**
 * Composite ops as plain loops over their definitions: independent of the decompositions that they are compared with.
 */
import { at, f64At, dims, last, invariant, type Shape, maxOf } from '../../core/index.js';
import type { AttentionAttrs, OpAttrs } from '../../graph/index.js';
import { forEachIndex, numberArray, type Arrays, type NumberArray } from './array.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Calls `line(base, stride, n)` for each line of `x` along `axis`. */
function forEachLine(shape: Shape, axis: number, line: (base: number, stride: number, n: number) => void): void {
  const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const n = at(shape, axis);
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  for (let o = 0; o < outer; o++) for (let s = 0; s < stride; s++) line(o * n * stride + s, stride, n);
}

/** Softmax along an axis, the largest element subtracted first. */
export function softmax(x: NumberArray, axis: number): NumberArray {
  const out = numberArray(x.shape);
  forEachLine(x.shape, axis, (base, stride, n) => {
    let top = -Infinity;
    for (let i = 0; i < n; i++) top = Math.max(top, readF64(x.data, base + i * stride));
    let sum = 0;
    for (let i = 0; i < n; i++) sum += Math.exp(readF64(x.data, base + i * stride) - top);
    for (let i = 0; i < n; i++) {
      out.data[base + i * stride] = Math.exp(readF64(x.data, base + i * stride) - top) / sum;
    }
  });
  return out;
}

/** RMSNorm over the last axis: the result, and the reciprocal root mean square `[..,1]`. */
export function rmsNorm(x: NumberArray, weight: NumberArray | undefined, epsilon: number): [NumberArray, NumberArray] {
  const width = last(x.shape);
  const y = numberArray(x.shape);
  const rstd = numberArray([...x.shape.slice(0, -1), 1]);
  for (let row = 0; row < rstd.data.length; row++) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += readF64(x.data, row * width + i) ** 2;
    const r = 1 / Math.sqrt(squares / width + epsilon);
    rstd.data[row] = r;
    for (let i = 0; i < width; i++)
      y.data[row * width + i] = readF64(x.data, row * width + i) * r * (weight?.data[i] ?? 1);
  }
  return [y, rstd];
}

/** The gradients of RMSNorm's input and, if there is one, of its weight. */
export function rmsNormGrad(x: NumberArray, rstd: NumberArray, dy: NumberArray, weight?: NumberArray): NumberArray[] {
  const width = last(x.shape);
  const dx = numberArray(x.shape);
  const dw = numberArray([width]);
  for (let row = 0; row < rstd.data.length; row++) {
    const r = readF64(rstd.data, row);
    let inner = 0;
    for (let i = 0; i < width; i++) {
      const place = row * width + i;
      inner += (readF64(dy.data, place) * (weight?.data[i] ?? 1) * readF64(x.data, place) * r) / width;
      dw.data[i] = readF64(dw.data, i) + readF64(dy.data, place) * readF64(x.data, place) * r;
    }
    for (let i = 0; i < width; i++) {
      const place = row * width + i;
      dx.data[place] = r * (readF64(dy.data, place) * (weight?.data[i] ?? 1) - readF64(x.data, place) * r * inner);
    }
  }
  return weight ? [dx, dw] : [dx];
}

/** Rotates the channel pairs (m, m + D/2) of heads `[B,T,H,D]` by position times inverse frequency. */
export function rotary(x: NumberArray, { inverseFrequencies, inverse }: OpAttrs['rotary']): NumberArray {
  const out = numberArray(x.shape);
  const half = inverseFrequencies.length;
  const [B, T, H] = dims(x, 3);
  forEachIndex([B, T, H], (flat, place) => {
    for (let m = 0; m < half; m++) {
      const angle = place[1] * at(inverseFrequencies, m) * (inverse ? -1 : 1);
      const [a, b] = [readF64(x.data, flat * 2 * half + m), readF64(x.data, flat * 2 * half + half + m)];
      out.data[flat * 2 * half + m] = a * Math.cos(angle) - b * Math.sin(angle);
      out.data[flat * 2 * half + half + m] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  });
  return out;
}

/** `silu(gate) * up`. */
export function swiglu(gate: NumberArray, up: NumberArray): NumberArray {
  return numberArray(
    gate.shape,
    gate.data.map((g, i) => g * sigmoid(g) * readF64(up.data, i)),
  );
}

/** The gradients of gate and up. */
export function swigluGrad(gate: NumberArray, up: NumberArray, dy: NumberArray): NumberArray[] {
  const [dg, du] = [numberArray(gate.shape), numberArray(gate.shape)];
  gate.data.forEach((g, i) => {
    const s = sigmoid(g);
    dg.data[i] = readF64(dy.data, i) * readF64(up.data, i) * (s + g * s * (1 - s));
    du.data[i] = readF64(dy.data, i) * g * s;
  });
  return [dg, du];
}

/** Row q is the sum of the rows `indices[q,..]` of `x`. */
export function routeRows(x: NumberArray, indices: NumberArray): NumberArray {
  const [[, width], [rows, each]] = [dims(x, 2), dims(indices, 2)];
  const out = numberArray([rows, width]);
  for (let q = 0; q < rows; q++) {
    for (let i = 0; i < each; i++) {
      const from = readF64(indices.data, q * each + i) * width;
      for (let c = 0; c < width; c++)
        out.data[q * width + c] = readF64(out.data, q * width + c) + readF64(x.data, from + c);
    }
  }
  return out;
}

/** The loss in nats `[n]` of logits `[n,V]` on targets `[n]`, and the log-sum-exp `[n]`. */
export function crossEntropy(logits: NumberArray, targets: NumberArray): NumberArray[] {
  const [n, vocab] = dims(logits, 2);
  const [loss, lse] = [numberArray([n]), numberArray([n])];
  for (let row = 0; row < n; row++) {
    const z = logits.data.subarray(row * vocab, (row + 1) * vocab);
    const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
    lse.data[row] = top + Math.log(z.reduce((sum, v) => sum + Math.exp(v - top), 0));
    loss.data[row] = readF64(lse.data, row) - readF64(z, readF64(targets.data, row));
  }
  return [loss, lse];
}

/** The gradient of the logits `[n,V]`. */
export function crossEntropyGrad([logits, targets, lse, dloss, dlse]: Arrays<'crossEntropyGrad'>): NumberArray {
  const vocab = at(logits.shape, 1);
  const out = numberArray(logits.shape);
  forEachIndex(logits.shape, (flat, place) => {
    const row = at(place, 0);
    const p = Math.exp(readF64(logits.data, flat) - readF64(lse.data, row));
    const hit = flat - row * vocab === targets.data[row] ? 1 : 0;
    out.data[flat] = p * (readF64(dloss.data, row) + readF64(dlse.data, row)) - hit * readF64(dloss.data, row);
  });
  return out;
}

/** Probabilities of one query over the keys it sees: query `t` of head `h` in batch `b`. */
interface Row {
  readonly first: number;
  readonly probabilities: readonly number[];
  /** The derivative of each score by the product `q k`. */
  readonly slopes: readonly number[];
  readonly sink: number;
  readonly lse: number;
}

/** What may follow the `fixed` inputs of an attention. */
interface Optional {
  readonly sinks: NumberArray | undefined;
  /** The first token of the document of token t of row b. */
  readonly documentStart: (b: number, t: number) => number;
}

function optionalInputs(rest: readonly NumberArray[], { segments = false }: AttentionAttrs): Optional {
  const ids = segments ? last(rest) : undefined;
  const documentStart = (b: number, t: number): number => {
    if (ids === undefined) return 0;
    const T = at(ids.shape, 1);
    let start = t;
    while (start > 0 && ids.data[b * T + start - 1] === ids.data[b * T + t]) start--;
    return start;
  };
  return { sinks: (segments ? rest.slice(0, -1) : rest)[0], documentStart };
}

function attentionRow(
  q: NumberArray,
  k: NumberArray,
  { sinks, documentStart }: Optional,
  { window, scale, softcap }: AttentionAttrs,
  b: number,
  t: number,
  h: number,
): Row {
  const [, T, H, D] = dims(q, 4);
  const G = at(k.shape, 2);
  const g = Math.floor(h / (H / G));
  const first = Math.max(documentStart(b, t), window === null ? 0 : t - window + 1);
  const [scores, products]: [number[], number[]] = [[], []];
  for (let j = first; j <= t; j++) {
    let s = 0;
    for (let d = 0; d < D; d++) {
      s += readF64(q.data, ((b * T + t) * H + h) * D + d) * readF64(k.data, ((b * T + j) * G + g) * D + d);
    }
    products.push(s);
    scores.push(softcap === undefined ? s * scale : softcap * Math.tanh((s * scale) / softcap));
  }
  const sink = sinks ? readF64(sinks.data, h) : -Infinity;
  invariant(scores.length > 0, 'a query sees no key');
  // NaN where a score is, as on other engines.
  const top = Math.max(sink, maxOf(scores));
  const total = scores.reduce((sum, s) => sum + Math.exp(s - top), Math.exp(sink - top));
  return {
    first,
    // Of c tanh(x / c) by x: 1 / cosh(x / c)^2.
    slopes: products.map((s) => (softcap === undefined ? scale : scale / Math.cosh((s * scale) / softcap) ** 2)),
    probabilities: scores.map((s) => Math.exp(s - top) / total),
    sink: Math.exp(sink - top) / total,
    lse: top + Math.log(total),
  };
}

/** Causal attention of every query with every key that it sees, one after another. */
export function attention([q, k, v, ...rest]: Arrays<'attention'>, attrs: AttentionAttrs): NumberArray[] {
  const optional = optionalInputs(rest, attrs);
  const [B, T, H] = dims(q, 3);
  const [, , G, E] = dims(v, 4);
  const [out, lse] = [numberArray([B, T, H, E]), numberArray([B, H, T])];
  forEachIndex([B, T, H], (flat, [b, t, h]) => {
    const row = attentionRow(q, k, optional, attrs, b, t, h);
    const g = Math.floor(h / (H / G));
    lse.data[(b * H + h) * T + t] = row.lse;
    row.probabilities.forEach((p, i) => {
      const key = ((b * T + row.first + i) * G + g) * E;
      for (let e = 0; e < E; e++)
        out.data[flat * E + e] = readF64(out.data, flat * E + e) + p * readF64(v.data, key + e);
    });
  });
  return [out, lse];
}

/** The derivative from the definition `ds = p (dp - sum p dp)`, without o or lse. */
export function attentionGrad(inputs: Arrays<'attentionGrad'>, attrs: AttentionAttrs): NumberArray[] {
  const [q, k, v, , , dOut, ...rest] = inputs;
  const optional = optionalInputs(rest, attrs);
  const [B, T, H, D] = dims(q, 4);
  const [, , G, E] = dims(v, 4);
  const [dq, dk, dv] = [numberArray(q.shape), numberArray(k.shape), numberArray(v.shape)];
  const dSinks = numberArray([H]);
  const bump = (a: NumberArray, i: number, x: number): void => void (a.data[i] = readF64(a.data, i) + x);
  forEachIndex([B, T, H], (flat, [b, t, h]) => {
    const row = attentionRow(q, k, optional, attrs, b, t, h);
    const g = Math.floor(h / (H / G));
    const keyOf = (i: number): number => (b * T + row.first + i) * G + g;
    const dp = row.probabilities.map((p, i) => {
      let sum = 0;
      for (let e = 0; e < E; e++) {
        sum += readF64(dOut.data, flat * E + e) * readF64(v.data, keyOf(i) * E + e);
        bump(dv, keyOf(i) * E + e, p * readF64(dOut.data, flat * E + e));
      }
      return sum;
    });
    const inner = dp.reduce((sum, x, i) => sum + x * at(row.probabilities, i), 0);
    bump(dSinks, h, -row.sink * inner);
    row.probabilities.forEach((p, i) => {
      const ds = p * (at(dp, i) - inner) * at(row.slopes, i);
      for (let d = 0; d < D; d++) {
        bump(dq, flat * D + d, ds * readF64(k.data, keyOf(i) * D + d));
        bump(dk, keyOf(i) * D + d, ds * readF64(q.data, flat * D + d));
      }
    });
  });
  return optional.sinks ? [dq, dk, dv, dSinks] : [dq, dk, dv];
}
