/**
 * The recurrent mixers token by token, as their definitions read (docs/recurrences.md): independent of the chunkwise
 * forms.
 */
import { dims, f64At, at, last } from '../../core/index.js';
import type { CausalConvAttrs, DeltaRuleAttrs, RecurrenceAttrs } from '../../graph/index.js';
import { forEachIndex, numberArray, zerosLike, type Arrays, type NumberArray } from './array.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

interface Recurrence {
  readonly q: NumberArray;
  readonly k: NumberArray;
  readonly v: NumberArray;
  readonly g: NumberArray;
  /** Beta, the step size of each write, `[B,T,H]`; null for linear attention, which overwrites nothing. */
  readonly beta: NumberArray | null;
  /** The keys of removal, `[B,T,H,K]` each; null where those are the keys. */
  readonly removal: { readonly read: NumberArray; readonly erase: NumberArray } | null;
  readonly H: number;
  readonly scale: number;
  readonly segments: NumberArray | undefined;
  readonly initial: NumberArray | undefined;
}

const linear = ([q, k, v, g, ...rest]: Arrays<'linearRecurrence'>, attrs: RecurrenceAttrs): Recurrence => ({
  q,
  k,
  v,
  g,
  beta: null,
  removal: null,
  H: last(g.shape),
  ...optional(rest, attrs),
});

const delta = ([q, k, v, g, beta, ...rest]: Arrays<'deltaRule'>, attrs: DeltaRuleAttrs): Recurrence => ({
  q,
  k,
  v,
  g,
  beta,
  removal: attrs.removal ? { read: at(rest, 0), erase: at(rest, 1) } : null,
  H: at(g.shape, 2),
  ...optional(attrs.removal ? rest.slice(2) : rest, attrs),
});

const optional = (
  rest: readonly NumberArray[],
  attrs: RecurrenceAttrs,
): Pick<Recurrence, 'scale' | 'segments' | 'initial'> => ({
  scale: attrs.scale,
  segments: attrs.segments ? rest[0] : undefined,
  initial: attrs.initialState ? rest[Number(attrs.segments)] : undefined,
});

const bump = (a: Float64Array, i: number, x: number): void => void (a[i] = readF64(a, i) + x);

/** Row `[width]` of `x [B,T,heads,width]` that head `h` of `H` uses. */
function rowOf(x: NumberArray, b: number, t: number, h: number, H: number): Float64Array {
  const [, T, heads, width] = dims(x, 4);
  const start = ((b * T + t) * heads + Math.floor(h / (H / heads))) * width;
  return x.data.subarray(start, start + width);
}

/** The place of the log decay of key channel `i`. */
function decayIndex({ g, H, q }: Recurrence, b: number, t: number, h: number, i: number): number {
  const T = at(q.shape, 1);
  if (g.shape.length === 1) return h;
  const place = (b * T + t) * H + h;
  return g.shape.length === 4 ? place * at(g.shape, 3) + i : place;
}

/**
 * One token of one head: what was there, decayed (`before`), what was wrong with it (`error`), and the state after the
 * token. With keys of removal `error` is the value, and `recalled` is what they read.
 */
interface Step {
  readonly before: Float64Array;
  readonly error: Float64Array;
  readonly recalled: Float64Array | null;
  readonly after: Float64Array;
}

function step(r: Recurrence, state: Float64Array, b: number, t: number, h: number): Step {
  const { q, k, v, g, beta, removal, H, segments } = r;
  const T = at(q.shape, 1);
  const [key, value] = [rowOf(k, b, t, h, H), rowOf(v, b, t, h, H)];
  const V = value.length;
  const reset = isReset(segments, b, t, T);
  const before = state.map((s, i) =>
    reset ? 0 : s * Math.exp(readF64(g.data, decayIndex(r, b, t, h, Math.floor(i / V)))),
  );
  const error = value.slice();
  if (beta && !removal)
    before.forEach((s, i) => (error[i % V] = readF64(error, i % V) - readF64(key, Math.floor(i / V)) * s));
  const betaT = beta ? readF64(beta.data, (b * T + t) * H + h) : 1;
  const after = before.map((s, i) => s + betaT * readF64(key, Math.floor(i / V)) * readF64(error, i % V));
  if (!removal) return { before, error, recalled: null, after };
  const [read, erase] = [rowOf(removal.read, b, t, h, H), rowOf(removal.erase, b, t, h, H)];
  const recalled = new Float64Array(V);
  before.forEach((s, i) => bump(recalled, i % V, readF64(read, Math.floor(i / V)) * s));
  after.forEach((_, i) => bump(after, i, -betaT * readF64(erase, Math.floor(i / V)) * readF64(recalled, i % V)));
  return { before, error, recalled, after };
}

const isReset = (segments: NumberArray | undefined, b: number, t: number, T: number): boolean =>
  segments !== undefined && t > 0 && segments.data[b * T + t] !== segments.data[b * T + t - 1];

function recur(r: Recurrence): NumberArray[] {
  const { q, v, H, scale, initial } = r;
  const [B, T, , K] = dims(q, 4);
  const V = at(v.shape, 3);
  const out = numberArray([B, T, H, V]);
  const states = numberArray([B, H, K, V], initial?.data.slice());
  forEachIndex([B, H], (head, [b, h]) => {
    const state = states.data.subarray(head * K * V, (head + 1) * K * V);
    for (let t = 0; t < T; t++) {
      state.set(step(r, state, b, t, h).after);
      const read = rowOf(q, b, t, h, H);
      const place = ((b * T + t) * H + h) * V;
      state.forEach((s, i) => {
        const o = place + (i % V);
        out.data[o] = readF64(out.data, o) + scale * readF64(read, Math.floor(i / V)) * s;
      });
    }
  });
  return [out, states];
}

/** Back through time: every state is kept, every gradient follows from the token's own equations. */
function recurGrad(r: Recurrence, dOut: NumberArray, dState: NumberArray): NumberArray[] {
  const { q, k, v, g, beta, removal, H, scale, segments, initial } = r;
  const [B, T, , K] = dims(q, 4);
  const V = at(v.shape, 3);
  const [dq, dk, dv, dg] = [zerosLike(q), zerosLike(k), zerosLike(v), zerosLike(g)];
  const dBeta = numberArray([B, T, H]);
  const dRemoval = removal && { read: zerosLike(removal.read), erase: zerosLike(removal.erase) };
  const dInitial = numberArray([B, H, K, V]);
  forEachIndex([B, H], (head, [b, h]) => {
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
    // `ds` is the gradient of the state after token t; each iteration takes it back over one token.
    const ds = dState.data.slice(head * K * V, (head + 1) * K * V);
    for (let t = T - 1; t >= 0; t--) {
      const { before, error, recalled, after } = at(steps, t);
      const [query, key] = [rowOf(q, b, t, h, H), rowOf(k, b, t, h, H)];
      const [dQuery, dKey, dValue] = [rowOf(dq, b, t, h, H), rowOf(dk, b, t, h, H), rowOf(dv, b, t, h, H)];
      const d = rowOf(dOut, b, t, h, H);
      ds.forEach((_, i) => {
        bump(dQuery, Math.floor(i / V), scale * readF64(after, i) * readF64(d, i % V));
        bump(ds, i, scale * readF64(query, Math.floor(i / V)) * readF64(d, i % V));
      });
      // The write: S' = decayed S + beta k error^T, error = v - k^T (decayed S) for the delta rule, v without beta.
      const place = (b * T + t) * H + h;
      const betaT = beta ? readF64(beta.data, place) : 1;
      const dError = new Float64Array(V);
      ds.forEach((x, i) => {
        const row = Math.floor(i / V);
        bump(dError, i % V, betaT * readF64(key, row) * x);
        bump(dKey, row, betaT * x * readF64(error, i % V));
        bump(dBeta.data, place, readF64(key, row) * x * readF64(error, i % V));
      });
      dError.forEach((x, j) => bump(dValue, j, x));
      if (removal && dRemoval && recalled) {
        // The removal: S' less beta erase recalled^T, recalled = read^T (decayed S).
        const [read, erase] = [rowOf(removal.read, b, t, h, H), rowOf(removal.erase, b, t, h, H)];
        const [dRead, dErase] = [rowOf(dRemoval.read, b, t, h, H), rowOf(dRemoval.erase, b, t, h, H)];
        const dRecalled = new Float64Array(V);
        ds.forEach((x, i) => {
          const row = Math.floor(i / V);
          bump(dRecalled, i % V, -betaT * readF64(erase, row) * x);
          bump(dErase, row, -betaT * x * readF64(recalled, i % V));
          bump(dBeta.data, place, -readF64(erase, row) * x * readF64(recalled, i % V));
        });
        ds.forEach((_, i) => {
          const row = Math.floor(i / V);
          bump(dRead, row, readF64(before, i) * readF64(dRecalled, i % V));
          bump(ds, i, readF64(read, row) * readF64(dRecalled, i % V));
        });
      }
      // The error has read the decayed state, so its gradient joins that of the state before the decay's own.
      const reset = isReset(segments, b, t, T);
      ds.forEach((_, i) => {
        const row = Math.floor(i / V);
        if (beta && !removal) {
          bump(dKey, row, -readF64(before, i) * readF64(dError, i % V));
          bump(ds, i, -readF64(key, row) * readF64(dError, i % V));
        }
        const where = decayIndex(r, b, t, h, row);
        bump(dg.data, where, readF64(ds, i) * readF64(before, i));
        ds[i] = reset ? 0 : readF64(ds, i) * Math.exp(readF64(g.data, where));
      });
    }
    dInitial.data.set(ds, head * K * V);
  });
  const removals = dRemoval ? [dRemoval.read, dRemoval.erase] : [];
  return [dq, dk, dv, dg, ...(beta ? [dBeta] : []), ...removals, ...(initial ? [dInitial] : [])];
}

/** Linear attention with decay, one token after another. */
export const linearRecurrence = (inputs: Arrays<'linearRecurrence'>, attrs: RecurrenceAttrs): NumberArray[] =>
  recur(linear(inputs, attrs));

/** The gated delta rule, one token after another. */
export const deltaRule = (inputs: Arrays<'deltaRule'>, attrs: DeltaRuleAttrs): NumberArray[] =>
  recur(delta(inputs, attrs));

/** The gradients of linear attention with decay, from the last token to the first. */
export const linearRecurrenceGrad = (inputs: Arrays<'linearRecurrenceGrad'>, attrs: RecurrenceAttrs): NumberArray[] =>
  recurGrad(linear(inputs, attrs), at(inputs, inputs.length - 2), last(inputs));

/** The gradients of the gated delta rule, from the last token to the first. */
export const deltaRuleGrad = (inputs: Arrays<'deltaRuleGrad'>, attrs: DeltaRuleAttrs): NumberArray[] =>
  recurGrad(delta(inputs, attrs), at(inputs, inputs.length - 2), last(inputs));

/** The causal depthwise convolution of x `[B,T,C]`, and the last inputs, which the next tokens start from. */
export function causalConv(inputs: Arrays<'causalConv'>, attrs: CausalConvAttrs): NumberArray[] {
  const [x, weight, ...rest] = inputs;
  const next = (present: boolean): NumberArray | undefined => (present ? rest.shift() : undefined);
  const [bias, segments, initial] = [next(attrs.bias), next(attrs.segments), next(attrs.initialState)];
  const [B, T, C] = dims(x, 3);
  const W = at(weight.shape, 1);
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
        for (let m = 0; m < W; m++) sum += readF64(weight.data, c * W + m) * seen(b, t - W + 1 + m, c, t);
        y.data[(b * T + t) * C + c] = sum;
      }
      for (let m = 0; m < W - 1; m++) state.data[(b * (W - 1) + m) * C + c] = seen(b, T - W + 1 + m, c, T - 1);
    }
  }
  return [y, state];
}
