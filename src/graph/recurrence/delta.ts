/**
 * The gated delta rule by chunks (Gated DeltaNet, Yang et al. 2025; Kimi Delta Attention with a decay per channel), in
 * the form of docs/recurrences.md: what a chunk writes is `n = X (beta (v - decayed k S))` with `X = (I + beta A)^-1`,
 * A strictly lower. Everything but the recursion of the state over chunks is products over all chunks at once.
 */
import { present, at } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import type { DeltaRuleAttrs, RecurrenceAttrs } from './type.js';
import {
  channelDecayGradient,
  channelDecays,
  channelGradients,
  channelQuarters,
  type ChannelDecays,
} from './channels.js';
import {
  DEFAULT_CHUNK,
  chunksOf,
  decaysOf,
  fromChunks,
  narrowTo,
  optionalInputs,
  perRow,
  roundingTo,
  runsInChunks,
  sumHeads,
  toChunks,
  tokenDecayGradient,
  type Chunks,
  type Rounding,
} from './chunks.js';
import { fromQuarters, lowerQuarters, unitLowerInverse } from './inverse.js';
import { decomposeRemoval, decomposeRemovalGrad } from './removal.js';
import { stateDtype } from './type.js';

/** What depends on the kind of decay: one for each token, or one for each of its key channels. */
interface Gates {
  /** Decay from the start of the chunk to each token and from each token to its end, `[..,C,K|1]`. */
  readonly enter: Value;
  readonly leave: Value;
  /** Decay of the state over a chunk, `[..,K|1,1]`. */
  readonly keep: Value;
  /** `(q_r k_s) decay(s to r)` for s <= r, `[..,C,C]`. */
  readonly scores: Value;
  /** The lower left quarters of `beta_r (k_r k_s) decay(s to r)` for s < r. */
  readonly overlaps: readonly Value[];
  /**
   * From the cotangents of the scores and of `(k_r k_s) decay(s to r)`, `[..,C,C]`, of which what is above the
   * diagonal does not count: those of the queries, and of the keys as they read (rows) and as they write (columns),
   * `[..,C,K]`; `sum_s dOverlaps_rs (k_r k_s) decay`, `[..,C]`; and the gradient of the log decays.
   */
  gradients(dScores: Value, dOverlaps: Value): GateGradients;
}

interface GateGradients {
  readonly dq: Value;
  readonly reading: Value;
  readonly writing: Value;
  readonly beta: Value;
  /**
   * The gradient of the log decays `[B,T,H]` or `[B,T,H,K]`, from what enters and leaves by each token and key channel
   * `[..,C,K]`, and what passes the chunk, `[..,K]`.
   */
  readonly decays: (enter: Value, leave: Value, keep: Value) => Value;
}

function scalarGates(
  q: Value,
  k: Value,
  g: Value,
  beta: Value,
  runs: Value | null,
  chunks: Chunks,
  round: Rounding,
): Gates {
  const { within, enter, leave, keep } = decaysOf(g, runs, chunks);
  const { C } = chunks;
  const below = L.gt(L.iota('i32', [C, 1], 0), L.iota('i32', [1, C], 1));
  const products = L.mul(L.matmulTransposed(k, k), within);
  const scores = L.mul(L.matmulTransposed(q, k), within);
  return {
    enter: perRow(enter),
    leave: perRow(leave),
    keep: perRow(keep),
    scores,
    overlaps: lowerQuarters(L.mul(products, perRow(beta))),
    gradients: (dScores, dOverlaps) => {
      const ds = round(L.mul(dScores, within));
      const strict = L.select(below, dOverlaps, 0);
      const da = round(L.mul(strict, L.mul(within, perRow(beta))));
      const overlapping = L.mul(strict, products);
      return {
        dq: L.matmul(ds, k),
        reading: L.matmul(da, k),
        writing: L.add(L.transposedMatmul(ds, q), L.transposedMatmul(da, k)),
        beta: L.reduceSum(overlapping, [4]),
        decays: (entering, leaving, passing) => {
          const through = L.add(L.mul(dScores, scores), L.mul(overlapping, perRow(beta)));
          const [enter, leave] = [L.reduceSum(entering, [4]), L.reduceSum(leaving, [4])];
          return tokenDecayGradient({ within: through, enter, leave, keep: L.reduceSum(passing, [3], true) }, chunks);
        },
      };
    },
  };
}

function channelGates(
  q: Value,
  k: Value,
  g: Value,
  beta: Value,
  runs: Value | null,
  chunks: Chunks,
  round: Rounding,
): Gates {
  const decays: ChannelDecays = channelDecays(g, runs, chunks);
  const exact: Rounding = (x) => x;
  const weighted = L.mul(k, perRow(beta));
  return {
    enter: decays.enter,
    leave: decays.leave,
    keep: perRow(decays.keep),
    scores: fromQuarters(L.reduceSum(L.mul(q, k), [4]), channelQuarters(q, k, decays, round)),
    overlaps: channelQuarters(weighted, k, decays, exact),
    gradients: (dScores, dOverlaps) => {
      const C = chunks.C;
      const diagonal = L.eq(L.iota('i32', [C, 1], 0), L.iota('i32', [1, C], 1));
      const own = L.reduceSum(L.select(diagonal, dScores, 0), [4], true);
      const ds = channelGradients(dScores, q, k, decays, round);
      const da = channelGradients(dOverlaps, weighted, k, decays, round);
      return {
        dq: L.add(ds.dx, L.mul(own, k)),
        reading: L.mul(da.dx, perRow(beta)),
        writing: L.add(L.add(ds.dy, L.mul(own, q)), da.dy),
        beta: L.reduceSum(L.mul(da.dx, k), [4]),
        decays: (enter, leave, keep) =>
          fromChunks(channelDecayGradient([...ds.through, ...da.through], { enter, leave, keep }, chunks), chunks),
      };
    },
  };
}

/** What forward and backward pass have in common, everything in chunks `[..,C,*]`. */
interface Form {
  readonly chunks: Chunks;
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly beta: Value;
  readonly round: Rounding;
  readonly narrow: Rounding;
  readonly gates: Gates;
  readonly kEnter: Value;
  readonly kLeave: Value;
  readonly inverse: Value;
  /** `X (beta kEnter)`: what the chunk removes from the state that enters. */
  readonly removing: Value;
  /** The written values, the state that enters each chunk `[..,K,V]`, and the last state `[B,H,K,V]`. */
  readonly written: Value;
  readonly states: Value;
  readonly last: Value;
}

function formOf(inputs: readonly Value[], attrs: RecurrenceAttrs): Form {
  const [q0, k0, v0, logDecay, betas] = inputs as [Value, Value, Value, Value, Value];
  const { segments, initialState } = optionalInputs(inputs, 5, attrs);
  const dtype = stateDtype(q0.dtype);
  const [round, narrow] = [roundingTo(q0.dtype), narrowTo(q0.dtype)];
  const widen = (x: Value | undefined): Value => L.convert(present(x), dtype);
  const chunks = chunksOf(q0, at(logDecay.shape, 2), attrs.chunk ?? DEFAULT_CHUNK, 'NBH');
  const [q, k, v] = [q0, k0, v0].map((x) => L.convert(toChunks(x, chunks), dtype)) as [Value, Value, Value];
  const [g, beta] = [toChunks(logDecay, chunks), toChunks(betas, chunks)];
  const runs = runsInChunks(segments, chunks);
  const gates = (logDecay.shape.length === 3 ? scalarGates : channelGates)(q, k, g, beta, runs, chunks, round);
  // docs/recurrences.md, "The gated delta rule": inside a chunk every token's write depends on those before it, a unit
  // lower triangular system whose inverse turns values and entering state into what is written.
  const one = L.full(dtype, [...beta.shape, 1, 1], 1);
  const inverse = round(unitLowerInverse(gates.overlaps, one));
  const [kEnter, kLeave] = [L.mul(k, gates.enter), round(L.mul(k, gates.leave))];
  const values = L.matmul(inverse, round(L.mul(v, perRow(beta))));
  const removing = round(L.matmul(inverse, round(L.mul(kEnter, perRow(beta)))));
  const first = initialState ?? L.full(dtype, [chunks.B, chunks.H, at(k.shape, 4), at(v.shape, 4)], 0);
  const { carry, ys } = L.scan(
    { carry: [first], xs: [values, narrow(removing), narrow(kLeave), gates.keep] },
    ([state], [u, w, kl, keep]) => {
      const s = present(state);
      const n = L.sub(present(u), L.matmul(widen(w), round(s)));
      return { carry: [L.add(L.mul(s, present(keep)), L.transposedMatmul(widen(kl), round(n)))], ys: [n, s] };
    },
  );
  const [written, states] = ys as [Value, Value];
  return {
    chunks,
    q,
    k,
    v,
    beta,
    round,
    narrow,
    gates,
    kEnter,
    kLeave,
    inverse,
    removing,
    written,
    states,
    last: at(carry, 0),
  };
}

/** deltaRule in primitives: the output `[B,T,H,V]` and the state after the last token `[B,H,K,V]`. */
export function decomposeDeltaRule(inputs: readonly Value[], attrs: DeltaRuleAttrs): readonly Value[] {
  if (attrs.removal) return decomposeRemoval(inputs, attrs);
  const { chunks, q, round, gates, written, states, last } = formOf(inputs, attrs);
  const before = L.matmul(round(L.mul(q, gates.enter)), round(states));
  const inside = L.matmul(round(gates.scores), round(written));
  const out = L.mul(L.add(before, inside), attrs.scale);
  return [fromChunks(L.convert(out, at(inputs, 0).dtype), chunks), last];
}

/**
 * deltaRuleGrad in primitives: the forward pass anew up to the states, then the recursion of their cotangents
 * backwards.
 */
export function decomposeDeltaRuleGrad(inputs: readonly Value[], attrs: DeltaRuleAttrs): readonly Value[] {
  if (attrs.removal) return decomposeRemovalGrad(inputs, attrs);
  const [dOut, dState] = inputs.slice(-2) as [Value, Value];
  const given = inputs.slice(0, -3);
  const [q0, k0, v0] = given as [Value, Value, Value];
  const tied = L.barrier([...given, dOut]).slice(0, -1);
  const form = formOf(tied, attrs);
  const { chunks, q, k, v, beta, round, narrow, gates, kEnter, kLeave, inverse, removing, written, states } = form;
  const widen = (x: Value | undefined): Value => L.convert(present(x), k.dtype);
  const d = round(L.mul(L.convert(toChunks(dOut, chunks), k.dtype), attrs.scale));
  const n = round(written);
  const fromScores = L.transposedMatmul(round(gates.scores), d);
  const read = L.transposedMatmul(round(L.mul(q, gates.enter)), d);
  const back = L.scan(
    { carry: [dState], xs: [fromScores, read, narrow(removing), narrow(kLeave), gates.keep], reverse: true },
    ([leaving], [f, r, w, kl, keep]) => {
      const ds = present(leaving);
      const dn = L.add(present(f), L.matmul(widen(kl), round(ds)));
      const erased = L.transposedMatmul(widen(w), round(dn));
      return { carry: [L.sub(L.add(L.mul(ds, present(keep)), present(r)), erased)], ys: [dn, ds] };
    },
  );
  const [dn, dLeaving] = back.ys as [Value, Value];
  const leaving = round(dLeaving);
  const s = round(states);
  const dY = L.transposedMatmul(inverse, round(dn));
  const rounded = round(dY);
  const dv = L.mul(dY, perRow(beta));
  const wrong = L.sub(v, L.matmul(round(kEnter), s));
  const {
    dq,
    reading,
    writing,
    beta: fromGates,
    decays,
  } = gates.gradients(L.matmulTransposed(d, n), L.neg(L.matmulTransposed(rounded, n)));
  const dBeta = L.add(L.reduceSum(L.mul(dY, wrong), [4]), fromGates);
  // What each token reads of the state that enters and writes to the one that leaves: of queries, keys, decays.
  const asked = L.mul(L.matmulTransposed(d, s), gates.enter);
  const recalled = L.neg(L.mul(L.matmulTransposed(round(dv), s), gates.enter));
  const wrote = L.mul(L.matmulTransposed(n, leaving), gates.leave);
  const keys = L.add(L.add(reading, writing), L.add(recalled, wrote));
  const passing = L.mul(
    L.reduceSum(L.mul(states, dLeaving), [4]),
    L.reshape(gates.keep, gates.keep.shape.slice(0, -1)),
  );
  const dg = decays(L.add(L.mul(q, asked), L.mul(k, recalled)), L.mul(k, wrote), passing);
  const grads = [
    sumHeads(fromChunks(L.add(dq, asked), chunks), q0),
    sumHeads(fromChunks(keys, chunks), k0),
    sumHeads(fromChunks(dv, chunks), v0),
    dg,
    L.reshape(fromChunks(perRow(dBeta), chunks), dg.shape.slice(0, 3)),
  ];
  return attrs.initialState ? [...grads, at(back.carry, 0)] : grads;
}
