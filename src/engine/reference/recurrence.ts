/** The recurrent mixers token by token, as their definitions read (mixers.md sections 4 to 7): independent of the chunkwise forms. */
import type { CausalConvAttrs, RecurrenceAttrs } from '../../graph/index.js';
import { numberArray, type NumberArray } from './array.js';

/** What one token of one head does to the state `[K,V]` before it is read. */
type Write = (
  state: Float64Array,
  key: Float64Array,
  value: Float64Array,
  at: { b: number; t: number; h: number },
) => void;

interface Heads {
  readonly q: NumberArray;
  readonly k: NumberArray;
  readonly v: NumberArray;
  readonly H: number;
  readonly scale: number;
  readonly segments: NumberArray | undefined;
  readonly initial: NumberArray | undefined;
}

/** Row `[width]` of `x [B,T,heads,width]` that head `h` of `H` uses. */
function rowOf(x: NumberArray, b: number, t: number, h: number, H: number): Float64Array {
  const [, T, heads, width] = x.shape as [number, number, number, number];
  const start = ((b * T + t) * heads + Math.floor(h / (H / heads))) * width;
  return x.data.subarray(start, start + width);
}

function recur({ q, k, v, H, scale, segments, initial }: Heads, write: Write): NumberArray[] {
  const [B, T, , K] = q.shape as [number, number, number, number];
  const V = v.shape[3] as number;
  const out = numberArray([B, T, H, V]);
  const states = numberArray([B, H, K, V], initial?.data.slice());
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const state = states.data.subarray((b * H + h) * K * V, (b * H + h + 1) * K * V);
      for (let t = 0; t < T; t++) {
        if (segments && t > 0 && segments.data[b * T + t] !== segments.data[b * T + t - 1]) state.fill(0);
        write(state, rowOf(k, b, t, h, H), rowOf(v, b, t, h, H), { b, t, h });
        const read = rowOf(q, b, t, h, H);
        for (let i = 0; i < K * V; i++) {
          const o = ((b * T + t) * H + h) * V + (i % V);
          out.data[o] = (out.data[o] as number) + scale * (read[Math.floor(i / V)] as number) * (state[i] as number);
        }
      }
    }
  }
  return [out, states];
}

const given = (
  inputs: readonly NumberArray[],
  fixed: number,
  attrs: RecurrenceAttrs,
): Pick<Heads, 'segments' | 'initial'> => ({
  segments: attrs.segments ? inputs[fixed] : undefined,
  initial: attrs.initialState ? inputs[inputs.length - 1] : undefined,
});

export function linearRecurrence(inputs: readonly NumberArray[], attrs: RecurrenceAttrs): NumberArray[] {
  const [q, k, v, g] = inputs as [NumberArray, NumberArray, NumberArray, NumberArray];
  const H = g.shape[g.shape.length - 1] as number;
  const T = q.shape[1] as number;
  return recur({ q, k, v, H, scale: attrs.scale, ...given(inputs, 4, attrs) }, (state, key, value, { b, t, h }) => {
    const decay = Math.exp(g.data[g.shape.length === 1 ? h : (b * T + t) * H + h] as number);
    state.forEach((s, i) => {
      state[i] = decay * s + (key[Math.floor(i / value.length)] as number) * (value[i % value.length] as number);
    });
  });
}

export function deltaRule(inputs: readonly NumberArray[], attrs: RecurrenceAttrs): NumberArray[] {
  const [q, k, v, g, beta] = inputs as [NumberArray, NumberArray, NumberArray, NumberArray, NumberArray];
  const [, T, H, channels] = [...g.shape, 1] as [number, number, number, number];
  return recur({ q, k, v, H, scale: attrs.scale, ...given(inputs, 5, attrs) }, (state, key, value, { b, t, h }) => {
    const at = (b * T + t) * H + h;
    const V = value.length;
    const error = value.slice();
    state.forEach((s, i) => {
      const row = Math.floor(i / V);
      const decayed = s * Math.exp(g.data[channels === 1 ? at : at * channels + row] as number);
      state[i] = decayed;
      error[i % V] = (error[i % V] as number) - (key[row] as number) * decayed;
    });
    state.forEach((s, i) => {
      state[i] = s + (beta.data[at] as number) * (key[Math.floor(i / V)] as number) * (error[i % V] as number);
    });
  });
}

export function causalConv(inputs: readonly NumberArray[], attrs: CausalConvAttrs): NumberArray[] {
  const rest = inputs.slice(2);
  const next = (present: boolean): NumberArray | undefined => (present ? rest.shift() : undefined);
  const [x, weight] = inputs as [NumberArray, NumberArray];
  const [bias, segments, initial] = [next(attrs.bias), next(attrs.segments), next(attrs.initialState)];
  const [B, T, C] = x.shape as [number, number, number];
  const W = weight.shape[1] as number;
  const run = (b: number, t: number): number => {
    let count = 0;
    for (let i = 1; i <= t; i++) if (segments && segments.data[b * T + i] !== segments.data[b * T + i - 1]) count++;
    return count;
  };
  /** Input `t` (negative: from the state) as the token at `reader` sees it. */
  const seen = (b: number, t: number, c: number, reader: number): number => {
    if (run(b, Math.max(t, 0)) !== run(b, reader)) return 0;
    return (t < 0 ? initial?.data[(b * (W - 1) + W - 1 + t) * C + c] : x.data[(b * T + t) * C + c]) ?? 0;
  };
  const [y, state] = [numberArray([B, T, C]), numberArray([B, W - 1, C])];
  for (let b = 0; b < B; b++) {
    for (let c = 0; c < C; c++) {
      for (let t = 0; t < T; t++) {
        let sum = bias?.data[c] ?? 0;
        for (let m = 0; m < W; m++) sum += (weight.data[c * W + m] as number) * seen(b, t - W + 1 + m, c, t);
        y.data[(b * T + t) * C + c] = sum;
      }
      for (let m = 0; m < W - 1; m++) state.data[(b * (W - 1) + m) * C + c] = seen(b, T - W + 1 + m, c, T - 1);
    }
  }
  return [y, state];
}
