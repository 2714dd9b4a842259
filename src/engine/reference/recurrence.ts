/** The recurrent mixers token by token, as their definitions read (docs/recurrences.md): independent of the chunkwise forms. */
import type { CausalConvAttrs, RecurrenceAttrs } from '../../graph/index.js';
import { forEachIndex, numberArray, type NumberArray } from './array.js';

interface Recurrence {
  readonly q: NumberArray;
  readonly k: NumberArray;
  readonly v: NumberArray;
  readonly g: NumberArray;
  /** Null for linear attention, which overwrites nothing. */
  readonly beta: NumberArray | null;
  readonly H: number;
  readonly scale: number;
  readonly segments: NumberArray | undefined;
  readonly initial: NumberArray | undefined;
}

const linear = (inputs: readonly NumberArray[], attrs: RecurrenceAttrs): Recurrence => {
  const [q, k, v, g] = inputs as [NumberArray, NumberArray, NumberArray, NumberArray];
  return { q, k, v, g, beta: null, H: g.shape[g.shape.length - 1] as number, ...optional(inputs, 4, attrs) };
};

const delta = (inputs: readonly NumberArray[], attrs: RecurrenceAttrs): Recurrence => {
  const [q, k, v, g, beta] = inputs as [NumberArray, NumberArray, NumberArray, NumberArray, NumberArray];
  return { q, k, v, g, beta, H: g.shape[2] as number, ...optional(inputs, 5, attrs) };
};

const optional = (
  inputs: readonly NumberArray[],
  fixed: number,
  attrs: RecurrenceAttrs,
): Pick<Recurrence, 'scale' | 'segments' | 'initial'> => ({
  scale: attrs.scale,
  segments: attrs.segments ? inputs[fixed] : undefined,
  initial: attrs.initialState ? inputs[fixed + Number(attrs.segments)] : undefined,
});

/** Row `[width]` of `x [B,T,heads,width]` that head `h` of `H` uses. */
function rowOf(x: NumberArray, b: number, t: number, h: number, H: number): Float64Array {
  const [, T, heads, width] = x.shape as [number, number, number, number];
  const start = ((b * T + t) * heads + Math.floor(h / (H / heads))) * width;
  return x.data.subarray(start, start + width);
}

/** Where the log decay of key channel `i` lies. */
function decayIndex({ g, H, q }: Recurrence, b: number, t: number, h: number, i: number): number {
  const T = q.shape[1] as number;
  if (g.shape.length === 1) return h;
  const at = (b * T + t) * H + h;
  return g.shape.length === 4 ? at * (g.shape[3] as number) + i : at;
}

/** One token of one head: what was there, decayed (`before`), what was wrong with it (`error`), and the state after the token. */
interface Step {
  readonly before: Float64Array;
  readonly error: Float64Array;
  readonly after: Float64Array;
}

function step(r: Recurrence, state: Float64Array, b: number, t: number, h: number): Step {
  const { q, k, v, g, beta, H, segments } = r;
  const T = q.shape[1] as number;
  const [key, value] = [rowOf(k, b, t, h, H), rowOf(v, b, t, h, H)];
  const V = value.length;
  const reset = isReset(segments, b, t, T);
  const before = state.map((s, i) =>
    reset ? 0 : s * Math.exp(g.data[decayIndex(r, b, t, h, Math.floor(i / V))] as number),
  );
  const error = value.slice();
  if (beta)
    before.forEach((s, i) => (error[i % V] = (error[i % V] as number) - (key[Math.floor(i / V)] as number) * s));
  const strength = beta ? (beta.data[(b * T + t) * H + h] as number) : 1;
  const after = before.map((s, i) => s + strength * (key[Math.floor(i / V)] as number) * (error[i % V] as number));
  return { before, error, after };
}

const isReset = (segments: NumberArray | undefined, b: number, t: number, T: number): boolean =>
  segments !== undefined && t > 0 && segments.data[b * T + t] !== segments.data[b * T + t - 1];

function recur(r: Recurrence): NumberArray[] {
  const { q, v, H, scale, initial } = r;
  const [B, T, , K] = q.shape as [number, number, number, number];
  const V = v.shape[3] as number;
  const out = numberArray([B, T, H, V]);
  const states = numberArray([B, H, K, V], initial?.data.slice());
  forEachIndex([B, H], (head, [b, h]) => {
    const state = states.data.subarray(head * K * V, (head + 1) * K * V);
    for (let t = 0; t < T; t++) {
      state.set(step(r, state, b as number, t, h as number).after);
      const read = rowOf(q, b as number, t, h as number, H);
      const at = (((b as number) * T + t) * H + (h as number)) * V;
      state.forEach((s, i) => {
        const o = at + (i % V);
        out.data[o] = (out.data[o] as number) + scale * (read[Math.floor(i / V)] as number) * s;
      });
    }
  });
  return [out, states];
}

const bump = (a: Float64Array, i: number, x: number): void => void (a[i] = (a[i] as number) + x);

/** Back through time: every state is kept, every gradient follows from the token's own equations. */
function recurGrad(r: Recurrence, dOut: NumberArray, dState: NumberArray): NumberArray[] {
  const { q, k, v, g, beta, H, scale, segments, initial } = r;
  const [B, T, , K] = q.shape as [number, number, number, number];
  const V = v.shape[3] as number;
  const [dq, dk, dv, dg] = [q, k, v, g].map((x) => numberArray(x.shape)) as [
    NumberArray,
    NumberArray,
    NumberArray,
    NumberArray,
  ];
  const dBeta = numberArray([B, T, H]);
  const dInitial = numberArray([B, H, K, V]);
  forEachIndex([B, H], (head, at) => {
    const [b, h] = at as [number, number];
    const steps: Step[] = [];
    let state: Float64Array = (initial?.data ?? new Float64Array(B * H * K * V)).slice(
      head * K * V,
      (head + 1) * K * V,
    );
    for (let t = 0; t < T; t++) {
      const next = step(r, state, b, t, h);
      steps.push(next);
      state = next.after;
    }
    const ds = dState.data.slice(head * K * V, (head + 1) * K * V);
    for (let t = T - 1; t >= 0; t--) {
      const { before, error, after } = steps[t] as Step;
      const [query, key] = [rowOf(q, b, t, h, H), rowOf(k, b, t, h, H)];
      const [dQuery, dKey, dValue] = [rowOf(dq, b, t, h, H), rowOf(dk, b, t, h, H), rowOf(dv, b, t, h, H)];
      const d = rowOf(dOut, b, t, h, H);
      ds.forEach((_, i) => {
        bump(dQuery, Math.floor(i / V), scale * (after[i] as number) * (d[i % V] as number));
        bump(ds, i, scale * (query[Math.floor(i / V)] as number) * (d[i % V] as number));
      });
      const place = (b * T + t) * H + h;
      const strength = beta ? (beta.data[place] as number) : 1;
      const dError = new Float64Array(V);
      ds.forEach((x, i) => {
        const row = Math.floor(i / V);
        bump(dError, i % V, strength * (key[row] as number) * x);
        bump(dKey, row, strength * x * (error[i % V] as number));
        bump(dBeta.data, place, (key[row] as number) * x * (error[i % V] as number));
      });
      dError.forEach((x, j) => bump(dValue, j, x));
      const reset = isReset(segments, b, t, T);
      ds.forEach((_, i) => {
        const row = Math.floor(i / V);
        if (beta) {
          bump(dKey, row, -(before[i] as number) * (dError[i % V] as number));
          bump(ds, i, -(key[row] as number) * (dError[i % V] as number));
        }
        const where = decayIndex(r, b, t, h, row);
        bump(dg.data, where, (ds[i] as number) * (before[i] as number));
        ds[i] = reset ? 0 : (ds[i] as number) * Math.exp(g.data[where] as number);
      });
    }
    dInitial.data.set(ds, head * K * V);
  });
  return [dq, dk, dv, dg, ...(beta ? [dBeta] : []), ...(initial ? [dInitial] : [])];
}

export const linearRecurrence = (inputs: readonly NumberArray[], attrs: RecurrenceAttrs): NumberArray[] =>
  recur(linear(inputs, attrs));

export const deltaRule = (inputs: readonly NumberArray[], attrs: RecurrenceAttrs): NumberArray[] =>
  recur(delta(inputs, attrs));

export function linearRecurrenceGrad(inputs: readonly NumberArray[], attrs: RecurrenceAttrs): NumberArray[] {
  const [dOut, dState] = inputs.slice(-2) as [NumberArray, NumberArray];
  return recurGrad(linear(inputs, attrs), dOut, dState);
}

export function deltaRuleGrad(inputs: readonly NumberArray[], attrs: RecurrenceAttrs): NumberArray[] {
  const [dOut, dState] = inputs.slice(-2) as [NumberArray, NumberArray];
  return recurGrad(delta(inputs, attrs), dOut, dState);
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
