/**
 * The gated delta rule by chunks (Gated DeltaNet, Yang et al. 2025; Kimi Delta Attention with a decay per channel), in the form
 * of mixers.md section 6: what a chunk writes is `n = X (beta (v - decayed k S))` with `X = (I + A)^-1`, `A` strictly lower.
 * Everything but the recursion of the state over chunks is products over all chunks at once.
 */
import * as L from '../lib.js';
import { scan } from '../graph.js';
import type { RecurrenceAttrs, Value } from '../types.js';
import { channelDecays, channelQuarters, fromQuarters } from './channels.js';
import {
  chunksOf,
  decaysOf,
  fromChunks,
  matmulTransposed,
  perRow,
  roundingTo,
  runsInChunks,
  toChunks,
  transposedMatmul,
  type Chunks,
  type Rounding,
} from './chunks.js';
import { optionalInputs } from './inputs.js';
import { lowerQuarters, unitLowerInverse } from './inverse.js';
import { stateDtype } from './types.js';

/** Chunk length where none is asked for. */
const DEFAULT_CHUNK = 64;

/** What the recursion over chunks needs of the decays. */
interface Pieces {
  /** `(q_r k_s) decay(s to r)` for s <= r, `[..,C,C]`. */
  readonly scores: Value;
  /** `(I + beta A)^-1`, `[..,C,C]`. */
  readonly inverse: Value;
  /** Queries and keys decayed from the start of the chunk, keys decayed to its end, `[..,C,K]`. */
  readonly qEnter: Value;
  readonly kEnter: Value;
  readonly kLeave: Value;
  /** Decay of the state over a chunk, `[..,K|1,1]`. */
  readonly keep: Value;
}

/** 1 for every token, as blocks of one row. */
const ones = (like: Value): Value => L.full(like.dtype, [...like.shape.slice(0, 4), 1, 1], 1);

function scalarPieces(q: Value, k: Value, g: Value, beta: Value, runs: Value | null, chunks: Chunks): Pieces {
  const { within, enter, leave, keep } = decaysOf(g, runs, chunks);
  const overlaps = L.mul(L.mul(matmulTransposed(k, k), within), perRow(beta));
  return {
    scores: L.mul(matmulTransposed(q, k), within),
    inverse: unitLowerInverse(lowerQuarters(overlaps), ones(beta)),
    qEnter: L.mul(q, perRow(enter)),
    kEnter: L.mul(k, perRow(enter)),
    kLeave: L.mul(k, perRow(leave)),
    keep: perRow(keep),
  };
}

function channelPieces(
  q: Value,
  k: Value,
  g: Value,
  beta: Value,
  runs: Value | null,
  chunks: Chunks,
  round: Rounding,
): Pieces {
  const decays = channelDecays(g, runs, chunks);
  const exact: Rounding = (x) => x;
  const overlaps = channelQuarters(L.mul(k, perRow(beta)), k, decays, exact);
  return {
    scores: fromQuarters(L.reduceSum(L.mul(q, k), [4]), channelQuarters(q, k, decays, round)),
    inverse: unitLowerInverse(overlaps, ones(beta)),
    qEnter: L.mul(q, decays.enter),
    kEnter: L.mul(k, decays.enter),
    kLeave: L.mul(k, decays.leave),
    keep: perRow(decays.keep),
  };
}

/** deltaRule in primitives: the output `[B,T,H,V]` and the state after the last token `[B,H,K,V]`. */
export function decomposeDeltaRule(inputs: readonly Value[], attrs: RecurrenceAttrs): readonly Value[] {
  const [q, k, v, logDecay, strength] = inputs as [Value, Value, Value, Value, Value];
  const { segments, initialState } = optionalInputs(inputs, 5, attrs);
  const dtype = stateDtype(q.dtype);
  const round = roundingTo(q.dtype);
  const H = logDecay.shape[2] as number;
  const chunks = chunksOf(q, H, attrs.chunk ?? DEFAULT_CHUNK, 'NBH');
  const [qc, kc, vc] = [q, k, v].map((x) => L.convert(toChunks(x, chunks), dtype)) as [Value, Value, Value];
  const [g, beta] = [toChunks(logDecay, chunks), toChunks(strength, chunks)];
  const runs = runsInChunks(segments, chunks);
  const pieces =
    logDecay.shape.length === 3
      ? scalarPieces(qc, kc, g, beta, runs, chunks)
      : channelPieces(qc, kc, g, beta, runs, chunks, round);
  const inverse = round(pieces.inverse);
  const values = L.matmul(inverse, round(L.mul(vc, perRow(beta))));
  const removed = L.matmul(inverse, round(L.mul(pieces.kEnter, perRow(beta))));
  const first = initialState ?? L.full(dtype, [chunks.B, H, qc.shape[4] as number, vc.shape[4] as number], 0);
  const { carry, ys } = scan(
    { carry: [first], xs: [values, round(removed), round(pieces.kLeave), pieces.keep] },
    ([state], [u, w, kl, keep]) => {
      const s = state as Value;
      const written = L.sub(u as Value, L.matmul(w as Value, round(s)));
      const next = L.add(L.mul(s, keep as Value), transposedMatmul(kl as Value, round(written)));
      return { carry: [next], ys: [written, s] };
    },
  );
  const [written, states] = ys as [Value, Value];
  const before = L.matmul(round(pieces.qEnter), round(states));
  const inside = L.matmul(round(pieces.scores), round(written));
  const out = L.mul(L.add(before, inside), attrs.scale);
  return [fromChunks(L.convert(out, q.dtype), chunks), carry[0] as Value];
}
