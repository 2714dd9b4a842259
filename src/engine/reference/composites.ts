/** Composite ops as plain loops over their definitions: independent of the decompositions that they are compared with. */
import { invariant, type Shape, maxOf } from '../../core/index.js';
import type { AttentionAttrs, OpAttrs } from '../../graph/index.js';
import { forEachIndex, numberArray, type NumberArray } from './array.js';

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Calls `line(base, stride, n)` for each line of `x` along `axis`. */
function forEachLine(shape: Shape, axis: number, line: (base: number, stride: number, n: number) => void): void {
  const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const n = shape[axis] as number;
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  for (let o = 0; o < outer; o++) for (let s = 0; s < stride; s++) line(o * n * stride + s, stride, n);
}

export function softmax(x: NumberArray, axis: number): NumberArray {
  const out = numberArray(x.shape);
  forEachLine(x.shape, axis, (base, stride, n) => {
    let top = -Infinity;
    for (let i = 0; i < n; i++) top = Math.max(top, x.data[base + i * stride] as number);
    let sum = 0;
    for (let i = 0; i < n; i++) sum += Math.exp((x.data[base + i * stride] as number) - top);
    for (let i = 0; i < n; i++) {
      out.data[base + i * stride] = Math.exp((x.data[base + i * stride] as number) - top) / sum;
    }
  });
  return out;
}

export function rmsNorm(x: NumberArray, weight: NumberArray | undefined, epsilon: number): [NumberArray, NumberArray] {
  const width = x.shape[x.shape.length - 1] as number;
  const y = numberArray(x.shape);
  const rstd = numberArray([...x.shape.slice(0, -1), 1]);
  for (let row = 0; row < rstd.data.length; row++) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += (x.data[row * width + i] as number) ** 2;
    const r = 1 / Math.sqrt(squares / width + epsilon);
    rstd.data[row] = r;
    for (let i = 0; i < width; i++)
      y.data[row * width + i] = (x.data[row * width + i] as number) * r * (weight?.data[i] ?? 1);
  }
  return [y, rstd];
}

export function rmsNormGrad(x: NumberArray, rstd: NumberArray, dy: NumberArray, weight?: NumberArray): NumberArray[] {
  const width = x.shape[x.shape.length - 1] as number;
  const dx = numberArray(x.shape);
  const dw = numberArray([width]);
  for (let row = 0; row < rstd.data.length; row++) {
    const r = rstd.data[row] as number;
    let inner = 0;
    for (let i = 0; i < width; i++) {
      const at = row * width + i;
      inner += ((dy.data[at] as number) * (weight?.data[i] ?? 1) * (x.data[at] as number) * r) / width;
      dw.data[i] = (dw.data[i] as number) + (dy.data[at] as number) * (x.data[at] as number) * r;
    }
    for (let i = 0; i < width; i++) {
      const at = row * width + i;
      dx.data[at] = r * ((dy.data[at] as number) * (weight?.data[i] ?? 1) - (x.data[at] as number) * r * inner);
    }
  }
  return weight ? [dx, dw] : [dx];
}

export function rotary(x: NumberArray, { inverseFrequencies, inverse }: OpAttrs['rotary']): NumberArray {
  const out = numberArray(x.shape);
  const half = inverseFrequencies.length;
  const [B, T, H] = x.shape as [number, number, number];
  forEachIndex([B, T, H], (flat, at) => {
    for (let m = 0; m < half; m++) {
      const angle = (at[1] as number) * (inverseFrequencies[m] as number) * (inverse ? -1 : 1);
      const [a, b] = [x.data[flat * 2 * half + m] as number, x.data[flat * 2 * half + half + m] as number];
      out.data[flat * 2 * half + m] = a * Math.cos(angle) - b * Math.sin(angle);
      out.data[flat * 2 * half + half + m] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  });
  return out;
}

export function swiglu(gate: NumberArray, up: NumberArray): NumberArray {
  return numberArray(
    gate.shape,
    gate.data.map((g, i) => g * sigmoid(g) * (up.data[i] as number)),
  );
}

export function swigluGrad(gate: NumberArray, up: NumberArray, dy: NumberArray): NumberArray[] {
  const [dg, du] = [numberArray(gate.shape), numberArray(gate.shape)];
  gate.data.forEach((g, i) => {
    const s = sigmoid(g);
    dg.data[i] = (dy.data[i] as number) * (up.data[i] as number) * (s + g * s * (1 - s));
    du.data[i] = (dy.data[i] as number) * g * s;
  });
  return [dg, du];
}

export function crossEntropy(logits: NumberArray, targets: NumberArray): NumberArray[] {
  const [n, vocab] = logits.shape as [number, number];
  const [loss, lse] = [numberArray([n]), numberArray([n])];
  for (let row = 0; row < n; row++) {
    const z = logits.data.subarray(row * vocab, (row + 1) * vocab);
    const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
    lse.data[row] = top + Math.log(z.reduce((sum, v) => sum + Math.exp(v - top), 0));
    loss.data[row] = (lse.data[row] as number) - (z[targets.data[row] as number] as number);
  }
  return [loss, lse];
}

export function crossEntropyGrad(inputs: readonly NumberArray[]): NumberArray {
  const [logits, targets, lse, dloss, dlse] = inputs as [
    NumberArray,
    NumberArray,
    NumberArray,
    NumberArray,
    NumberArray,
  ];
  const vocab = logits.shape[1] as number;
  const out = numberArray(logits.shape);
  forEachIndex(logits.shape, (flat, at) => {
    const row = at[0] as number;
    const p = Math.exp((logits.data[flat] as number) - (lse.data[row] as number));
    const hit = flat - row * vocab === targets.data[row] ? 1 : 0;
    out.data[flat] = p * ((dloss.data[row] as number) + (dlse.data[row] as number)) - hit * (dloss.data[row] as number);
  });
  return out;
}

/** Probabilities of one query over the keys it sees: query `t` of head `h` in batch `b`. */
interface Row {
  readonly first: number;
  readonly probabilities: readonly number[];
  readonly sink: number;
  readonly lse: number;
}

/** What may follow the `fixed` inputs of an attention. */
interface Optional {
  readonly sinks: NumberArray | undefined;
  /** The first token of the document of token t of row b. */
  readonly documentStart: (b: number, t: number) => number;
}

function optionalInputs(inputs: readonly NumberArray[], fixed: number, { segments = false }: AttentionAttrs): Optional {
  const rest = inputs.slice(fixed);
  const ids = segments ? rest.pop() : undefined;
  const documentStart = (b: number, t: number): number => {
    if (ids === undefined) return 0;
    const T = ids.shape[1] as number;
    let start = t;
    while (start > 0 && ids.data[b * T + start - 1] === ids.data[b * T + t]) start--;
    return start;
  };
  return { sinks: rest[0], documentStart };
}

function attentionRow(
  q: NumberArray,
  k: NumberArray,
  { sinks, documentStart }: Optional,
  { window, scale }: AttentionAttrs,
  b: number,
  t: number,
  h: number,
): Row {
  const [, T, H, D] = q.shape as [number, number, number, number];
  const G = k.shape[2] as number;
  const g = Math.floor(h / (H / G));
  const first = Math.max(documentStart(b, t), window === null ? 0 : t - window + 1);
  const scores: number[] = [];
  for (let j = first; j <= t; j++) {
    let s = 0;
    for (let d = 0; d < D; d++) {
      s += (q.data[((b * T + t) * H + h) * D + d] as number) * (k.data[((b * T + j) * G + g) * D + d] as number);
    }
    scores.push(s * scale);
  }
  const sink = sinks ? (sinks.data[h] as number) : -Infinity;
  const top = Math.max(sink, maxOf(scores));
  const total = scores.reduce((sum, s) => sum + Math.exp(s - top), Math.exp(sink - top));
  invariant(total > 0, 'a query sees no key');
  return {
    first,
    probabilities: scores.map((s) => Math.exp(s - top) / total),
    sink: Math.exp(sink - top) / total,
    lse: top + Math.log(total),
  };
}

export function attention(inputs: readonly NumberArray[], attrs: AttentionAttrs): NumberArray[] {
  const [q, k, v] = inputs as [NumberArray, NumberArray, NumberArray];
  const optional = optionalInputs(inputs, 3, attrs);
  const [B, T, H] = q.shape as [number, number, number];
  const [G, E] = v.shape.slice(2) as [number, number];
  const [out, lse] = [numberArray([B, T, H, E]), numberArray([B, H, T])];
  forEachIndex([B, T, H], (flat, [b, t, h]) => {
    const row = attentionRow(q, k, optional, attrs, b as number, t as number, h as number);
    const g = Math.floor((h as number) / (H / G));
    lse.data[((b as number) * H + (h as number)) * T + (t as number)] = row.lse;
    row.probabilities.forEach((p, i) => {
      const key = (((b as number) * T + row.first + i) * G + g) * E;
      for (let e = 0; e < E; e++)
        out.data[flat * E + e] = (out.data[flat * E + e] as number) + p * (v.data[key + e] as number);
    });
  });
  return [out, lse];
}

/** The derivative from the definition `ds = p (dp - sum p dp)`, without o or lse. */
export function attentionGrad(inputs: readonly NumberArray[], attrs: AttentionAttrs): NumberArray[] {
  const [q, k, v, , , dOut] = inputs as [NumberArray, NumberArray, NumberArray, unknown, unknown, NumberArray];
  const optional = optionalInputs(inputs, 6, attrs);
  const [B, T, H, D] = q.shape as [number, number, number, number];
  const [G, E] = v.shape.slice(2) as [number, number];
  const [dq, dk, dv] = [numberArray(q.shape), numberArray(k.shape), numberArray(v.shape)];
  const dSinks = numberArray([H]);
  const bump = (a: NumberArray, i: number, x: number): void => void (a.data[i] = (a.data[i] as number) + x);
  forEachIndex([B, T, H], (flat, [b, t, h]) => {
    const row = attentionRow(q, k, optional, attrs, b as number, t as number, h as number);
    const g = Math.floor((h as number) / (H / G));
    const keyOf = (i: number): number => ((b as number) * T + row.first + i) * G + g;
    const dp = row.probabilities.map((p, i) => {
      let sum = 0;
      for (let e = 0; e < E; e++) {
        sum += (dOut.data[flat * E + e] as number) * (v.data[keyOf(i) * E + e] as number);
        bump(dv, keyOf(i) * E + e, p * (dOut.data[flat * E + e] as number));
      }
      return sum;
    });
    const inner = dp.reduce((sum, x, i) => sum + x * (row.probabilities[i] as number), 0);
    bump(dSinks, h as number, -row.sink * inner);
    row.probabilities.forEach((p, i) => {
      const ds = p * ((dp[i] as number) - inner) * attrs.scale;
      for (let d = 0; d < D; d++) {
        bump(dq, flat * D + d, ds * (k.data[keyOf(i) * D + d] as number));
        bump(dk, keyOf(i) * D + d, ds * (q.data[flat * D + d] as number));
      }
    });
  });
  return optional.sinks ? [dq, dk, dv, dSinks] : [dq, dk, dv];
}
