/** Decayed sums over the chunks of a sequence as products with a matrix of decays, in groups where there are many. */
import { dims, at } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import { chunkEnds, decayMatrix, decaysOf, padWithLast, perRow, runningSum, type Chunks } from './chunks.js';

/** Sums of up to this many items are one product; longer ones go in groups. */
const GROUP = 32;

/** Items of a sum in groups `[B,H,n/GROUP,GROUP,...]` and the decays within and across groups. */
function grouped(x: Value, g: Value, runs: Value | null) {
  const [B, H, n, F] = dims(x, 4);
  const groups = Math.ceil(n / GROUP);
  const rest = groups * GROUP - n;
  const chunks: Chunks = { B, T: n, H, N: groups, C: GROUP, order: 'BHN' };
  const items = L.reshape(L.padAxis(x, 2, 0, rest), [B, H, groups, GROUP, F]);
  const own = L.reshape(L.padAxis(g, 2, 0, rest), [at(g.shape, 0), H, groups, GROUP]);
  const ownRuns = runs && L.reshape(padWithLast(runs, 2, rest), [B, 1, groups, GROUP]);
  const decays = decaysOf(own, ownRuns, chunks);
  return {
    groups,
    items,
    within: L.broadcast(decays.within, [B, H, groups, GROUP, GROUP]),
    enter: perRow(decays.enter),
    leave: perRow(decays.leave),
    totals: L.reduceSum(own, [3]),
    lastRuns: ownRuns && L.reshape(chunkEnds(ownRuns, chunks).last, [B, 1, groups]),
    whole: (y: Value): Value => L.sliceAxis(L.reshape(y, [B, H, groups * GROUP, F]), 2, 0, n),
  };
}

function wholeMatrix(x: Value, g: Value, runs: Value | null): Value {
  const [B, H, n] = dims(x, 3);
  return L.broadcast(decayMatrix(runningSum(g), runs), [B, H, n, n]);
}

/**
 * `y_i = sum_{j <= i} exp(g_{j+1} + ... + g_i) x_j` over items of one document: x `[B,H,n,F]`, g `[b,H,n]`, runs
 * `[B,1,n]`. Groups of items first, then the sums that enter each group, by the same rule.
 */
export function decayedSums(x: Value, g: Value, runs: Value | null): Value {
  const [B, H, n, F] = dims(x, 4);
  if (n <= GROUP) return L.matmul(wholeMatrix(x, g, runs), x);
  const { groups, items, within, enter, totals, lastRuns, whole } = grouped(x, g, runs);
  const inside = L.matmul(within, items);
  const ends = L.reshape(L.sliceAxis(inside, 3, GROUP - 1, GROUP), [B, H, groups, F]);
  const sums = decayedSums(ends, totals, lastRuns);
  const entering = L.padAxis(L.sliceAxis(sums, 2, 0, groups - 1), 2, 1, 0);
  return whole(L.add(inside, L.mul(enter, L.reshape(entering, [B, H, groups, 1, F]))));
}

/** The transpose of `decayedSums`: `x_j = sum_{i >= j} exp(g_{j+1} + ... + g_i) y_i`. */
export function decayedSumsTransposed(y: Value, g: Value, runs: Value | null): Value {
  const [B, H, n, F] = dims(y, 4);
  if (n <= GROUP) return L.transposedMatmul(wholeMatrix(y, g, runs), y);
  const { groups, items, within, enter, leave, totals, lastRuns, whole } = grouped(y, g, runs);
  const entered = L.reduceSum(L.mul(enter, items), [3]);
  const sums = L.padAxis(L.sliceAxis(entered, 2, 1, groups), 2, 0, 1);
  const ends = decayedSumsTransposed(sums, totals, lastRuns);
  const inside = L.transposedMatmul(within, items);
  return whole(L.add(inside, L.mul(leave, L.reshape(ends, [B, H, groups, 1, F]))));
}
