/**
 * Linear attention with a decay per head and token, by chunks of matrix products (mixers.md section 4; Sun et al. 2023, Dao and
 * Gu 2024). Lightning Attention, Simple GLA and Mamba-2 are this op. All states between chunks are one product with a matrix
 * of decays, so nothing runs in sequence.
 */
import * as L from '../lib.js';
import type { RecurrenceAttrs, Value } from '../types.js';
import {
  chunkEnds,
  chunksOf,
  decayMatrix,
  decaysOf,
  fromChunks,
  matmulTransposed,
  perRow,
  roundingTo,
  runningSum,
  runsInChunks,
  sumHeads,
  toChunks,
  tokenDecayGradient,
  transposedMatmul,
  type Chunks,
  type Decays,
  type Rounding,
} from './chunks.js';
import { optionalInputs } from './inputs.js';
import { decayedSums, decayedSumsTransposed } from './sums.js';
import { stateDtype } from './types.js';

/** Chunk length where none is asked for. */
const DEFAULT_CHUNK = 64;

/** Log decays `[B,T,H]` or `[H]` in chunks `[..,C]`; what does not vary has leading axes of 1. */
function decayInChunks(logDecay: Value, chunks: Chunks): Value {
  const { T, H, N, C } = chunks;
  if (logDecay.shape.length === 3) return toChunks(logDecay, chunks);
  // A tail of zeros makes the last chunk unlike the others.
  if (T === N * C) return L.broadcast(L.reshape(logDecay, [1, H, 1, 1]), [1, H, 1, C]);
  return toChunks(L.broadcast(L.reshape(logDecay, [1, 1, H]), [1, T, H]), chunks);
}

/** What forward and backward pass have in common, q, k and v in chunks `[..,C,K|V]`. */
interface Form {
  readonly chunks: Chunks;
  readonly k: Value;
  readonly v: Value;
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
  const H = logDecay.shape[logDecay.shape.length - 1] as number;
  const chunks = chunksOf(q, H, attrs.chunk ?? DEFAULT_CHUNK, 'BHN');
  const { B, N } = chunks;
  const [k, v] = [k0, v0].map((x) => L.convert(toChunks(x, chunks), dtype)) as [Value, Value];
  const [K, V] = [k.shape[4] as number, v.shape[4] as number];
  const [round, runs, g] = [roundingTo(q.dtype), runsInChunks(segments, chunks), decayInChunks(logDecay, chunks)];
  const decays = decaysOf(g, runs, chunks);
  // What each chunk adds to the state, after the state that it starts from.
  const added = transposedMatmul(k, round(L.mul(v, perRow(decays.leave))));
  const first = initialState ?? L.full(dtype, [B, H, K, V], 0);
  const items = L.concat([L.reshape(first, [B, H, 1, K * V]), L.reshape(added, [B, H, N, K * V])], 2);
  const totals = L.broadcast(L.reduceSum(g, [3]), [g.shape[0] as number, H, N]);
  const steps = L.padAxis(totals, 2, 1, 0);
  const stateRuns = runs && L.padAxis(L.reshape(chunkEnds(runs, chunks).last, [B, 1, N]), 2, 1, 0);
  const states = decayedSums(items, steps, stateRuns);
  return { chunks, k, v, g, runs, decays, round, states, steps, stateRuns };
}

/** Entries `from .. from+N` of states `[B,H,N+1,K*V]` as matrices `[B,H,N,K,V]`. */
function stateMatrices(states: Value, from: number, { chunks: { B, H, N }, k, v }: Form): Value {
  return L.reshape(L.sliceAxis(states, 2, from, from + N), [B, H, N, k.shape[4] as number, v.shape[4] as number]);
}

/** linearRecurrence in primitives: the output `[B,T,H,V]` and the state after the last token `[B,H,K,V]`. */
export function decomposeLinearRecurrence(inputs: readonly Value[], attrs: RecurrenceAttrs): readonly Value[] {
  const form = formOf(inputs, attrs);
  const { chunks, k, v, decays, round, states } = form;
  const { B, H, N } = chunks;
  const q = L.convert(toChunks(inputs[0] as Value, chunks), k.dtype);
  const scores = L.mul(matmulTransposed(q, k), decays.within);
  const inside = L.matmul(round(scores), v);
  const before = L.mul(L.matmul(q, round(stateMatrices(states, 0, form))), perRow(decays.enter));
  const out = L.mul(L.add(inside, before), attrs.scale);
  const state = L.reshape(L.sliceAxis(states, 2, N, N + 1), [B, H, k.shape[4] as number, v.shape[4] as number]);
  return [fromChunks(L.convert(out, (inputs[0] as Value).dtype), chunks), state];
}

/**
 * linearRecurrenceGrad in primitives. States are those of the forward pass; a barrier ties queries and decays to `do`, so that
 * the matrices of C × C per chunk are computed anew and not kept.
 */
export function decomposeLinearRecurrenceGrad(inputs: readonly Value[], attrs: RecurrenceAttrs): readonly Value[] {
  const [q0, k0, v0, logDecay] = inputs as [Value, Value, Value, Value];
  const [out, dOut, dState] = inputs.slice(-3) as [Value, Value, Value];
  const form = formOf(inputs.slice(0, -3), attrs);
  const { chunks, k, v, decays, round, states } = form;
  const { B, H, N } = chunks;
  const [K, V] = [k.shape[4] as number, v.shape[4] as number];
  const [tiedQ, tiedG] = L.barrier([q0, form.g, dOut]) as [Value, Value, Value];
  const q = L.convert(toChunks(tiedQ, chunks), k.dtype);
  const within = decayMatrix(runningSum(tiedG), form.runs);
  const d = round(L.mul(L.convert(toChunks(dOut, chunks), k.dtype), attrs.scale));
  const entered = round(L.mul(d, perRow(decays.enter)));
  // Cotangents of the states: of each as the chunk after it reads it, then of each by all that comes after.
  const read = L.reshape(transposedMatmul(q, entered), [B, H, N, K * V]);
  const own = L.concat([read, L.reshape(dState, [B, H, 1, K * V])], 2);
  const dStates = decayedSumsTransposed(own, form.steps, form.stateRuns);
  const [entering, leaving] = [stateMatrices(states, 0, form), round(stateMatrices(dStates, 1, form))];
  const scores = round(L.mul(matmulTransposed(q, k), within));
  const dScores = round(L.mul(matmulTransposed(d, v), within));
  const dq = L.add(L.matmul(dScores, k), matmulTransposed(entered, round(entering)));
  const kept = round(L.mul(v, perRow(decays.leave)));
  const dk = L.add(transposedMatmul(dScores, q), matmulTransposed(kept, leaving));
  const dv = L.add(transposedMatmul(scores, d), L.mul(L.matmul(k, leaving), perRow(decays.leave)));
  const atEnd = L.reduceSum(L.mul(stateMatrices(states, 1, form), stateMatrices(dStates, 1, form)), [3, 4]);
  const dg = tokenDecayGradient(out, dOut, v, dv, atEnd, chunks);
  const flat = logDecay.shape.length === 1 ? L.reduceSum(dg, [0, 1]) : dg;
  const grads = [
    sumHeads(fromChunks(dq, chunks), q0),
    sumHeads(fromChunks(dk, chunks), k0),
    sumHeads(fromChunks(dv, chunks), v0),
    flat,
  ];
  if (!attrs.initialState) return grads;
  return [...grads, L.reshape(L.sliceAxis(dStates, 2, 0, 1), [B, H, K, V])];
}
