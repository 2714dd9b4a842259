/**
 * Linear attention with a decay per head and token, by chunks of matrix products (mixers.md section 4; Sun et al. 2023, Dao and
 * Gu 2024). Lightning Attention, Simple GLA and Mamba-2 are this op.
 */
import * as L from '../lib.js';
import type { RecurrenceAttrs, Value } from '../types.js';
import {
  chunkEnds,
  chunksOf,
  decayMatrix,
  decaysOf,
  fromChunks,
  leading,
  matmulTransposed,
  perRow,
  roundingTo,
  runningSum,
  runsInChunks,
  toChunks,
  transposedMatmul,
  type Chunks,
} from './chunks.js';
import { optionalInputs } from './inputs.js';
import { stateDtype } from './types.js';

/** Chunk length where none is asked for. */
const DEFAULT_CHUNK = 64;

/** Sums of up to this many items are one product; longer ones go in groups. */
const GROUP = 32;

/** Log decays `[B,T,H]` or `[H]` in chunks `[..,C]`; what does not vary has leading axes of 1. */
function decayInChunks(logDecay: Value, chunks: Chunks): Value {
  const { T, H, N, C } = chunks;
  if (logDecay.shape.length === 3) return toChunks(logDecay, chunks);
  // A tail of zeros makes the last chunk unlike the others.
  if (T === N * C) return L.broadcast(L.reshape(logDecay, [1, H, 1, 1]), [1, H, 1, C]);
  return toChunks(L.broadcast(L.reshape(logDecay, [1, 1, H]), [1, T, H]), chunks);
}

/**
 * `y_i = sum_{j <= i} exp(g_{j+1} + ... + g_i) x_j` over items of one document: x `[B,H,n,F]`, g `[b,H,n]`, runs `[B,1,n]`.
 * Groups of items first, then the sums that enter each group, by the same rule.
 */
function decayedSums(x: Value, g: Value, runs: Value | null): Value {
  const [B, H, n, F] = x.shape as [number, number, number, number];
  if (n <= GROUP) return L.matmul(L.broadcast(decayMatrix(runningSum(g), runs), [B, H, n, n]), x);
  const groups = Math.ceil(n / GROUP);
  const rest = groups * GROUP - n;
  const chunks: Chunks = { B, T: n, H, N: groups, C: GROUP, order: 'BHN' };
  const items = L.reshape(L.padAxis(x, 2, 0, rest), [B, H, groups, GROUP, F]);
  const own = L.reshape(L.padAxis(g, 2, 0, rest), [g.shape[0] as number, H, groups, GROUP]);
  const ownRuns = runs && L.reshape(padWithLast(runs, rest), [B, 1, groups, GROUP]);
  const decays = decaysOf(own, ownRuns, chunks);
  const inside = L.matmul(L.broadcast(decays.within, [B, H, groups, GROUP, GROUP]), items);
  const ends = L.reshape(L.sliceAxis(inside, 3, GROUP - 1, GROUP), [B, H, groups, F]);
  const totals = L.reduceSum(own, [3]);
  const lastRuns = ownRuns && L.reshape(chunkEnds(ownRuns, chunks).last, [B, 1, groups]);
  const sums = decayedSums(ends, totals, lastRuns);
  const entering = L.padAxis(L.sliceAxis(sums, 2, 0, groups - 1), 2, 1, 0);
  const whole = L.add(inside, L.mul(perRow(decays.enter), L.reshape(entering, [B, H, groups, 1, F])));
  return L.sliceAxis(L.reshape(whole, [B, H, groups * GROUP, F]), 2, 0, n);
}

function padWithLast(runs: Value, count: number): Value {
  const n = runs.shape[2] as number;
  if (count === 0) return runs;
  return L.concat([runs, L.broadcast(L.sliceAxis(runs, 2, n - 1, n), [runs.shape[0] as number, 1, count])], 2);
}

/** linearRecurrence in primitives: the output `[B,T,H,V]` and the state after the last token `[B,H,K,V]`. */
export function decomposeLinearRecurrence(inputs: readonly Value[], attrs: RecurrenceAttrs): readonly Value[] {
  const [q, k, v, logDecay] = inputs as [Value, Value, Value, Value];
  const { segments, initialState } = optionalInputs(inputs, 4, attrs);
  const dtype = stateDtype(q.dtype);
  const round = roundingTo(q.dtype);
  const H = logDecay.shape[logDecay.shape.length - 1] as number;
  const chunks = chunksOf(q, H, attrs.chunk ?? DEFAULT_CHUNK, 'BHN');
  const { B, N } = chunks;
  const [qc, kc, vc] = [q, k, v].map((x) => L.convert(toChunks(x, chunks), dtype)) as [Value, Value, Value];
  const [K, V] = [qc.shape[4] as number, vc.shape[4] as number];
  const runs = runsInChunks(segments, chunks);
  const g = decayInChunks(logDecay, chunks);
  const { within, enter, leave } = decaysOf(g, runs, chunks);
  const scores = L.mul(matmulTransposed(qc, kc), within);
  const inside = L.matmul(round(scores), vc);
  // What each chunk adds to the state, after the state that it starts from.
  const added = transposedMatmul(kc, round(L.mul(vc, perRow(leave))));
  const first = initialState ?? L.full(dtype, [B, H, K, V], 0);
  const items = L.concat([L.reshape(first, [B, H, 1, K * V]), L.reshape(added, [B, H, N, K * V])], 2);
  const totals = L.broadcast(L.reduceSum(g, [3]), [g.shape[0] as number, H, N]);
  const ends = runs && chunkEnds(runs, chunks);
  const itemRuns = ends && L.padAxis(L.reshape(ends.last, [B, 1, N]), 2, 1, 0);
  const states = decayedSums(items, L.padAxis(totals, 2, 1, 0), itemRuns);
  const entering = L.reshape(L.sliceAxis(states, 2, 0, N), [...leading(chunks, B, H, N), K, V]);
  const before = L.mul(L.matmul(qc, round(entering)), perRow(enter));
  const out = L.mul(L.add(inside, before), attrs.scale);
  const state = L.reshape(L.sliceAxis(states, 2, N, N + 1), [B, H, K, V]);
  return [fromChunks(L.convert(out, q.dtype), chunks), state];
}
