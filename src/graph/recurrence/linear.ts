/**
 * Linear attention with a decay per head and token, by chunks of matrix products (docs/recurrences.md; Sun et al. 2023,
 * Dao and Gu 2024). Lightning Attention, Simple GLA and Mamba-2 are this op. All states between chunks are one product
 * with a matrix of decays, so nothing runs in sequence.
 */
import { last, at } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import type { RecurrenceAttrs } from './type.js';
import {
  chunkEnds,
  DEFAULT_CHUNK,
  chunksOf,
  decayMatrix,
  decaysOf,
  fromChunks,
  optionalInputs,
  perRow,
  roundingTo,
  runningSum,
  runsInChunks,
  sumHeads,
  toChunks,
  tokenDecayGradient,
  type Chunks,
  type Decays,
  type Rounding,
} from './chunks.js';
import { HeadGroups } from './groups.js';
import { decayedSums, decayedSumsTransposed } from './sums.js';
import { stateDtype } from './type.js';

/** Log decays `[B,T,H]` or `[H]` in chunks `[..,C]`; what does not vary has leading axes of 1. */
function decayInChunks(logDecay: Value, chunks: Chunks): Value {
  const { T, H, N, C } = chunks;
  if (logDecay.shape.length === 3) return toChunks(logDecay, chunks);
  // A tail of zeros makes the last chunk unlike the others.
  if (T === N * C) return L.broadcast(L.reshape(logDecay, [1, H, 1, 1]), [1, H, 1, C]);
  return toChunks(L.broadcast(L.reshape(logDecay, [1, 1, H]), [1, T, H]), chunks);
}

/** What forward and backward pass have in common. */
interface Form {
  readonly chunks: Chunks;
  readonly groups: HeadGroups;
  /**
   * Keys of each group `[B,G,N,C,K]`; values of each head `[B,H,N,C,V]`, and of a group's heads side by side
   * `[B,G,N,C,R*V]`.
   */
  readonly k: Value;
  readonly v: Value;
  readonly together: Value;
  readonly g: Value;
  readonly runs: Value | null;
  readonly decays: Decays;
  readonly round: Rounding;
  /** The states that enter each chunk, and the last one: `[B,H,N+1,K*V]`. */
  readonly states: Value;
  /** Log decays between those states `[b,H,N+1]`, and the document of each `[B,1,N+1]`. */
  readonly steps: Value;
  readonly stateRuns: Value | null;
}

function formOf(inputs: readonly Value[], attrs: RecurrenceAttrs): Form {
  const [q, k0, v0, logDecay] = inputs as [Value, Value, Value, Value];
  const { segments, initialState } = optionalInputs(inputs, 4, attrs);
  const dtype = stateDtype(q.dtype);
  const H = last(logDecay.shape);
  const chunks = chunksOf(q, H, attrs.chunk ?? DEFAULT_CHUNK, 'BHN');
  const groups = new HeadGroups(q, k0, chunks);
  const { B, N } = chunks;
  const k = L.convert(toChunks(k0, groups.shared), dtype);
  const v = L.convert(toChunks(v0, chunks), dtype);
  const together = L.convert(groups.toChunks(v0), dtype);
  const [K, V] = [at(k.shape, 4), at(v.shape, 4)];
  const [round, runs, g] = [roundingTo(q.dtype), runsInChunks(segments, chunks), decayInChunks(logDecay, chunks)];
  const decays = decaysOf(g, runs, chunks);
  // What each chunk adds to the state, after the state that it starts from.
  const added = groups.perHead(L.transposedMatmul(k, round(groups.scale(together, decays.leave))));
  const first = initialState ?? L.full(dtype, [B, H, K, V], 0);
  const items = L.concat([L.reshape(first, [B, H, 1, K * V]), L.reshape(added, [B, H, N, K * V])], 2);
  const totals = L.broadcast(L.reduceSum(g, [3]), [at(g.shape, 0), H, N]);
  const steps = L.padAxis(totals, 2, 1, 0);
  const stateRuns = runs && L.padAxis(L.reshape(chunkEnds(runs, chunks).last, [B, 1, N]), 2, 1, 0);
  const states = decayedSums(items, steps, stateRuns);
  return { chunks, groups, k, v, together, g, runs, decays, round, states, steps, stateRuns };
}

/** Entries `from .. from+N` of states `[B,H,N+1,K*V]` as matrices `[B,H,N,K,V]`. */
function stateMatrices(states: Value, from: number, { chunks: { B, H, N }, k, v }: Form): Value {
  return L.reshape(L.sliceAxis(states, 2, from, from + N), [B, H, N, at(k.shape, 4), at(v.shape, 4)]);
}

/** linearRecurrence in primitives: the output `[B,T,H,V]` and the state after the last token `[B,H,K,V]`. */
export function decomposeLinearRecurrence(inputs: readonly Value[], attrs: RecurrenceAttrs): readonly Value[] {
  const form = formOf(inputs, attrs);
  const { chunks, groups, k, v, decays, round, states } = form;
  const { B, H, N } = chunks;
  const q = L.convert(toChunks(at(inputs, 0), groups.shared), k.dtype);
  const scores = groups.timesShared(decays.within, L.matmulTransposed(q, k));
  const inside = L.matmul(round(scores), v);
  const entering = groups.grouped(round(stateMatrices(states, 0, form)));
  const before = groups.scale(L.matmul(q, entering), decays.enter);
  const out = L.mul(groups.sumAsTokens(inside, before), attrs.scale);
  const state = L.reshape(L.sliceAxis(states, 2, N, N + 1), [B, H, at(k.shape, 4), at(v.shape, 4)]);
  return [L.convert(out, at(inputs, 0).dtype), state];
}

/**
 * linearRecurrenceGrad in primitives. States are those of the forward pass; a barrier ties queries and decays to `do`,
 * so that the matrices of C × C per chunk are computed anew and not kept.
 */
export function decomposeLinearRecurrenceGrad(inputs: readonly Value[], attrs: RecurrenceAttrs): readonly Value[] {
  const [q0, k0, v0, logDecay] = inputs as [Value, Value, Value, Value];
  const [dOut, dState] = inputs.slice(-2) as [Value, Value];
  const form = formOf(inputs.slice(0, -3), attrs);
  const { chunks, groups, k, v, together, decays, round, states } = form;
  const { B, H, N } = chunks;
  const [K, V] = [at(k.shape, 4), at(v.shape, 4)];
  const [tiedQ, tiedG] = L.barrier([q0, form.g, dOut]) as [Value, Value, Value];
  const q = L.convert(toChunks(tiedQ, groups.shared), k.dtype);
  const within = decayMatrix(runningSum(tiedG), form.runs);
  const scaled = L.mul(L.convert(dOut, k.dtype), attrs.scale);
  const d = round(toChunks(scaled, chunks));
  const entered = round(groups.scale(round(groups.toChunks(scaled)), decays.enter));
  // Cotangents of the states: of each as the chunk after it reads it, then of each by all that comes after.
  const read = L.reshape(groups.perHead(L.transposedMatmul(q, entered)), [B, H, N, K * V]);
  const own = L.concat([read, L.reshape(dState, [B, H, 1, K * V])], 2);
  const dStates = decayedSumsTransposed(own, form.steps, form.stateRuns);
  const entering = groups.grouped(round(stateMatrices(states, 0, form)));
  const leaving = groups.grouped(round(stateMatrices(dStates, 1, form)));
  const scores = round(groups.timesShared(within, L.matmulTransposed(q, k)));
  const products = L.matmulTransposed(d, v);
  const dScores = round(groups.sum(L.mul(products, within)));
  const dq = L.add(L.matmul(dScores, k), L.matmulTransposed(entered, entering));
  const kept = round(groups.scale(together, decays.leave));
  const dk = L.add(L.transposedMatmul(dScores, q), L.matmulTransposed(kept, leaving));
  const written = L.matmul(k, leaving);
  const dv = groups.sumAsTokens(L.transposedMatmul(scores, d), groups.scale(written, decays.leave));
  const through = L.reduceSum(L.mul(stateMatrices(states, 0, form), stateMatrices(dStates, 1, form)), [3, 4]);
  const terms = {
    within: L.mul(scores, products),
    enter: groups.sumPerHead(L.mul(entered, L.matmul(q, entering))),
    leave: groups.sumPerHead(L.mul(kept, written)),
    keep: L.mul(perRow(through), decays.keep),
  };
  const dg = tokenDecayGradient(terms, chunks);
  const flat = logDecay.shape.length === 1 ? L.reduceSum(dg, [0, 1]) : dg;
  const grads = [
    sumHeads(fromChunks(dq, groups.shared), q0),
    sumHeads(fromChunks(dk, groups.shared), k0),
    sumHeads(dv, v0),
    flat,
  ];
  if (!attrs.initialState) return grads;
  return [...grads, L.reshape(L.sliceAxis(dStates, 2, 0, 1), [B, H, K, V])];
}
