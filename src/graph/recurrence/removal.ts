/**
 * The delta rule whose removal has keys of its own (RWKV-7, Peng et al. 2025), by chunks in the form of
 * docs/recurrences.md: with `u_r = read_r S'` a chunk solves `(I + A) u = decayed read S + B (beta v)`, A and B
 * strictly lower, and then writes `k^T (beta v) - (beta erase)^T u`. Everything but the recursion of the state over
 * chunks is products over all chunks at once.
 */
import { present, at, last } from '../../core/index.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import { channelDecayGradient, channelDecays, channelGradients, channelQuarters } from './channels.js';
import {
  DEFAULT_CHUNK,
  chunksOf,
  fromChunks,
  narrowTo,
  optionalInputs,
  perRow,
  roundingTo,
  runsInChunks,
  sumHeads,
  toChunks,
} from './chunks.js';
import { fromQuarters, unitLowerInverse } from './inverse.js';
import { deltaInputs, stateDtype, type DeltaRuleAttrs } from './type.js';

/** What forward and backward pass have in common, everything in chunks `[..,C,*]`; values and `erase` times beta. */
function formOf(inputs: readonly Value[], attrs: DeltaRuleAttrs) {
  // One list of definitions, each a line of docs/recurrences.md, "Keys of removal".
  const [q0, logDecay] = [at(inputs, 0), at(inputs, 3)];
  const { segments, initialState } = optionalInputs(inputs, deltaInputs(attrs), attrs);
  const dtype = stateDtype(q0.dtype);
  const [round, narrow] = [roundingTo(q0.dtype), narrowTo(q0.dtype)];
  const widen = (x: Value | undefined): Value => L.convert(present(x), dtype);
  const chunks = chunksOf(q0, at(logDecay.shape, 2), attrs.chunk ?? DEFAULT_CHUNK, 'NBH');
  const chunked = (i: number): Value => widen(toChunks(at(inputs, i), chunks));
  const [q, k, own] = [chunked(0), chunked(1), chunked(2)];
  const [beta, read, erasing] = [chunked(4), chunked(5), chunked(6)];
  const [v, erase] = [L.mul(own, perRow(beta)), L.mul(erasing, perRow(beta))];
  const decays = channelDecays(toChunks(logDecay, chunks), runsInChunks(segments, chunks), chunks);
  const { enter, leave } = decays;
  const keep = perRow(decays.keep);
  const scores = (keys: Value): Value =>
    round(fromQuarters(L.reduceSum(L.mul(q, keys), [4]), channelQuarters(q, keys, decays, round)));
  const none = L.full(dtype, beta.shape, 0);
  const recalls = round(fromQuarters(none, channelQuarters(read, k, decays, round)));
  const one = L.full(dtype, [...beta.shape, 1, 1], 1);
  const inverse = round(
    unitLowerInverse(
      channelQuarters(read, erase, decays, (x) => x),
      one,
    ),
  );
  const values = round(v);
  const [kLeave, eLeave] = [round(L.mul(k, leave)), round(L.mul(erase, leave))];
  const recalled = L.matmul(inverse, round(L.matmul(recalls, values)));
  const reading = round(L.matmul(inverse, round(L.mul(read, enter))));
  const first = initialState ?? L.full(dtype, [chunks.B, chunks.H, at(k.shape, 4), at(v.shape, 4)], 0);
  const { carry, ys } = L.scan(
    { carry: [first], xs: [recalled, narrow(reading), L.transposedMatmul(kLeave, values), narrow(eLeave), keep] },
    ([state], [r, w, written, el, kept]) => {
      const s = present(state);
      const u = L.add(present(r), L.matmul(widen(w), round(s)));
      const after = L.sub(present(written), L.transposedMatmul(widen(el), round(u)));
      return { carry: [L.add(L.mul(s, present(kept)), after)], ys: [u, s] };
    },
  );
  const [removed, states] = [at(ys, 0), at(ys, 1)];
  return {
    ...{ chunks, round, narrow, widen, q, k, own, v, read, erasing, erase, beta, decays, keep },
    ...{ written: scores(k), erased: scores(erase), recalls, inverse, reading, kLeave, eLeave },
    ...{ values, removed, states, last: at(carry, 0) },
  };
}

/** deltaRule with keys of removal in primitives: the output `[B,T,H,V]` and the last state `[B,H,K,V]`. */
export function decomposeRemoval(inputs: readonly Value[], attrs: DeltaRuleAttrs): readonly Value[] {
  const { chunks, round, q, decays, written, erased, values, removed, states, last } = formOf(inputs, attrs);
  const before = L.matmul(round(L.mul(q, decays.enter)), round(states));
  const inside = L.sub(L.matmul(written, values), L.matmul(erased, round(removed)));
  const out = L.mul(L.add(before, inside), attrs.scale);
  return [fromChunks(L.convert(out, at(inputs, 0).dtype), chunks), last];
}

/**
 * deltaRuleGrad with keys of removal in primitives: the forward pass anew up to the states, then the recursion of their
 * cotangents backwards.
 */
export function decomposeRemovalGrad(inputs: readonly Value[], attrs: DeltaRuleAttrs): readonly Value[] {
  // The cotangents of what `formOf` names, one after the other in reverse.
  const [dOut, dState] = [at(inputs, inputs.length - 2), last(inputs)];
  const given = inputs.slice(0, -3);
  const form = formOf(L.barrier([...given, dOut]).slice(0, -1), attrs);
  const { chunks, round, narrow, widen, q, k, own, read, erasing, erase, beta, decays, keep, values, states } = form;
  const { enter, leave } = decays;
  const d = round(L.mul(widen(toChunks(dOut, chunks)), attrs.scale));
  const fromScores = L.neg(L.transposedMatmul(form.erased, d));
  const asking = L.transposedMatmul(round(L.mul(q, enter)), d);
  const back = L.scan(
    { carry: [dState], xs: [fromScores, asking, narrow(form.reading), narrow(form.eLeave), keep], reverse: true },
    ([leaving], [f, a, w, el, kept]) => {
      const ds = present(leaving);
      const du = L.sub(present(f), L.matmul(widen(el), round(ds)));
      const entering = L.add(L.mul(ds, present(kept)), present(a));
      return { carry: [L.add(entering, L.transposedMatmul(widen(w), round(du)))], ys: [du, ds] };
    },
  );
  const [du, dLeaving] = [at(back.ys, 0), at(back.ys, 1)];
  const [s, u, leaving] = [round(states), round(form.removed), round(dLeaving)];
  const dz = round(L.transposedMatmul(form.inverse, round(du)));
  const dValues = L.add(
    L.add(L.transposedMatmul(form.written, d), L.transposedMatmul(form.recalls, dz)),
    L.matmul(form.kLeave, leaving),
  );
  // The four products of a chunk: of queries and of what reads, with keys and with what is erased.
  const pair = (ct: Value, x: Value, y: Value) => channelGradients(ct, x, y, decays, round);
  const [dWritten, dErased] = [L.matmulTransposed(d, values), L.neg(L.matmulTransposed(d, u))];
  const [qk, qe] = [pair(dWritten, q, k), pair(dErased, q, erase)];
  const rk = pair(L.matmulTransposed(dz, values), read, k);
  const re = pair(L.neg(L.matmulTransposed(dz, u)), read, erase);
  const diagonal = L.eq(L.iota('i32', [chunks.C, 1], 0), L.iota('i32', [1, chunks.C], 1));
  const onDiagonal = (x: Value): Value => L.reduceSum(L.select(diagonal, x, 0), [4], true);
  const [ownK, ownE] = [onDiagonal(dWritten), onDiagonal(dErased)];
  // What each token reads of the state that enters and writes to the one that leaves.
  const asked = L.mul(L.matmulTransposed(d, s), enter);
  const recalled = L.mul(L.matmulTransposed(dz, s), enter);
  const wrote = L.mul(L.matmulTransposed(values, leaving), leave);
  const cleared = L.neg(L.mul(L.matmulTransposed(u, leaving), leave));
  const sum = (first: Value, ...rest: readonly Value[]): Value => rest.reduce((a, b) => L.add(a, b), first);
  const dq = sum(qk.dx, qe.dx, L.mul(ownK, k), L.mul(ownE, erase), asked);
  const dRead = sum(rk.dx, re.dx, recalled);
  const dk = sum(qk.dy, rk.dy, L.mul(ownK, q), wrote);
  const dErase = sum(qe.dy, re.dy, L.mul(ownE, q), cleared);
  const dBeta = L.add(L.reduceSum(L.mul(dValues, own), [4]), L.reduceSum(L.mul(dErase, erasing), [4]));
  const passing = L.mul(L.reduceSum(L.mul(states, dLeaving), [4]), decays.keep);
  const terms = {
    enter: L.add(L.mul(q, asked), L.mul(read, recalled)),
    leave: L.add(L.mul(k, wrote), L.mul(erase, cleared)),
    keep: passing,
  };
  const dg = channelDecayGradient([...qk.through, ...qe.through, ...rk.through, ...re.through], terms, chunks);
  const grads = [
    sumHeads(fromChunks(dq, chunks), at(given, 0)),
    sumHeads(fromChunks(dk, chunks), at(given, 1)),
    sumHeads(fromChunks(L.mul(dValues, perRow(beta)), chunks), at(given, 2)),
    fromChunks(dg, chunks),
    L.reshape(fromChunks(perRow(dBeta), chunks), [chunks.B, chunks.T, chunks.H]),
    fromChunks(dRead, chunks),
    fromChunks(L.mul(dErase, perRow(beta)), chunks),
  ];
  return attrs.initialState ? [...grads, at(back.carry, 0)] : grads;
}
