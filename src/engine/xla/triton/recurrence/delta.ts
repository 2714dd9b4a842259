/**
 * The gated delta rule as tile kernels, in the form of src/graph/recurrence/delta.ts: what depends on one chunk alone side by
 * side, the recursion of the state in sequence. Outputs come from `outputsKernel` with the written values as values.
 */
import type { Kernel, Tile } from '../ir.js';
import { CHUNK, RecurrenceKernel, type Place, type RecurrenceShape } from './shared.js';

const HALF = CHUNK / 2;

/** `(I + A)^-1` of a strictly lower triangular tile, row after row: row r is `e_r - sum_s a_rs x_s`. */
function inverse(x: RecurrenceKernel, a: Tile): Tile {
  const { b } = x;
  const n = a.shape[0] as number;
  const square = (t: Tile): Tile => b.broadcast(t, [n, n]);
  const row = square(b.rows(n));
  const one = b.select(b.eq(row, square(b.columns(n))), b.constant('f32', [n, n], 1), 0);
  const [result] = b.loop(1, n, [one], (r, [rows]) => {
    const here = b.eq(row, r);
    const factors = b.sum(b.select(here, a, 0), 0);
    const sum = b.sum(b.mul(b.expandDims(factors, 1), rows as Tile), 0);
    return [b.select(here, b.sub(rows as Tile, b.expandDims(sum, 0)), rows as Tile)];
  }) as [Tile];
  return result;
}

/** k, v, g, beta, [segments] -> `X [B,T,H,C]`, `X (beta v) [B,T,H,V]`, `X (beta kEnter) [B,T,H,K]`. */
export function prepareKernel(shape: RecurrenceShape): Kernel {
  const x = new RecurrenceKernel(shape, {
    name: 'delta_prepare',
    grid: [shape.heads, shape.tokens / CHUNK, shape.batch],
    numWarps: 4,
    numStages: 1,
  });
  const { b } = x;
  const [k, v] = [x.k, x.v];
  const strength = x.scalars('beta');
  const gates = x.gates();
  const inverses = x.writtenRows('x', CHUNK);
  const [values, removing] = [x.writtenRows('u', shape.valueWidth), x.writtenRows('w', shape.keyWidth)];
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  const decays = x.halves(gates, place);
  const beta = [0, 1].map((i) => x.loadScalars(strength, place, i * HALF, HALF)) as [Tile, Tile];
  const keys = [0, 1].map((i) => x.load(k, place, 0, k.width, i * HALF, HALF)) as [Tile, Tile];
  const below = b.gt(b.broadcast(b.rows(HALF), [HALF, HALF]), b.broadcast(b.columns(HALF), [HALF, HALF]));
  const overlap = (r: 0 | 1, s: 0 | 1): Tile => {
    const products = b.mul(b.dot(keys[r], b.transpose(keys[s])), decays.between(r, s));
    return b.mul(products, b.expandDims(beta[r], 1));
  };
  const first = inverse(x, b.select(below, overlap(0, 0), 0));
  const second = inverse(x, b.select(below, overlap(1, 1), 0));
  const corner = b.sub(0, b.dot(second, b.dot(overlap(1, 0), first)));
  x.store(inverses, place, first, 0, 0);
  x.store(inverses, place, b.zeros([HALF, HALF]), HALF, 0);
  x.store(inverses, place, corner, 0, HALF);
  x.store(inverses, place, second, HALF, HALF);
  const [x00, x10, x11] = [first, corner, second].map((t) => x.bf16(t)) as [Tile, Tile, Tile];
  const apply = (to: typeof values, rows: readonly [Tile, Tile], at: Tile | number): void => {
    x.store(to, place, b.dot(x00, rows[0]), at, 0);
    x.store(to, place, b.dot(x11, rows[1], b.dot(x10, rows[0])), at, HALF);
  };
  const enter = decays.enter;
  apply(
    removing,
    [0, 1].map((i) => x.bf16(x.scaleRows(keys[i] as Tile, b.mul(enter[i] as Tile, beta[i] as Tile)))) as [Tile, Tile],
    0,
  );
  const bv = Math.min(shape.valueWidth, 64);
  b.loop(0, shape.valueWidth / bv, [], (i) => {
    const at = b.mul(i, bv);
    const rows = [0, 1].map((h) => x.bf16(x.scaleRows(x.load(v, place, at, bv, h * HALF, HALF), beta[h] as Tile)));
    apply(values, rows as [Tile, Tile], at);
    return [];
  });
  return b.build();
}

/** Columns of the state that one instance of the recursions takes. */
const STATE_PART = 32;

function recursion(shape: RecurrenceShape, name: string) {
  const bv = Math.min(shape.valueWidth, STATE_PART);
  const grid = [shape.valueWidth / bv, shape.heads, shape.batch] as const;
  const x = new RecurrenceKernel(shape, { name, grid, numWarps: 4, numStages: 2 });
  return { x, bv };
}

/** k, u, w, g, [segments], initial -> states (bf16), written values `[B,T,H,V]`, the last state (f32). */
export function deltaStatesKernel(shape: RecurrenceShape): Kernel {
  const { x, bv } = recursion(shape, 'delta_states');
  const { b } = x;
  const K = shape.keyWidth;
  const k = x.k;
  const [u, w] = [x.headRows('u', shape.valueWidth), x.headRows('w', K)];
  const gates = x.gates();
  const initial = b.input('initial', 'f32', x.oneState);
  const states = b.output('states', 'bf16', x.stateShape);
  const written = x.writtenRows('n', shape.valueWidth);
  const last = b.output('last', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const atV = b.mul(id, bv);
  const whole = x.headState({ batch, head, chunk: id });
  const [end] = b.loop(0, x.count, [x.loadState(initial, whole, 0, atV, K, bv)], (chunk, [carried]) => {
    const place: Place = { batch, head, chunk };
    const state = carried as Tile;
    const rounded = x.bf16(state);
    x.storeState(states, x.chunkState(place), state, 0, atV);
    const { leave, keep } = x.decays(gates, place);
    const n = b.sub(b.convert(x.load(u, place, atV, bv), 'f32'), b.dot(x.load(w, place), rounded));
    x.store(written, place, n, atV);
    const kept = x.bf16(x.scaleRows(n, leave));
    return [b.dot(b.transpose(x.load(k, place)), kept, b.mul(state, keep))];
  }) as [Tile];
  x.storeState(last, whole, end, 0, atV);
  return b.build();
}

/** q, k, g, [segments], do -> `P^T do [B,T,H,V]`: what the outputs of a chunk ask of the values written in it. */
export function askedKernel(shape: RecurrenceShape): Kernel {
  const x = new RecurrenceKernel(shape, {
    name: 'delta_asked',
    grid: [shape.heads, shape.tokens / CHUNK, shape.batch],
    numWarps: 4,
    numStages: 1,
  });
  const { b } = x;
  const [q, k, gates] = [x.q, x.k, x.gates()];
  const dOut = x.headRows('do', shape.valueWidth);
  const asked = x.writtenRows('f', shape.valueWidth);
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  const scores = b.mul(b.dot(x.load(q, place), b.transpose(x.load(k, place))), x.decays(gates, place).within());
  const turned = b.transpose(x.bf16(b.mul(scores, shape.scale)));
  const bv = Math.min(shape.valueWidth, 64);
  b.loop(0, shape.valueWidth / bv, [], (i) => {
    const at = b.mul(i, bv);
    x.store(asked, place, b.dot(turned, x.load(dOut, place, at, bv)), at);
    return [];
  });
  return b.build();
}

/** q, k, w, g, [segments], do, f, dstate -> dstates (bf16), dn `[B,T,H,V]`, dinitial (f32). */
export function deltaStateGradsKernel(shape: RecurrenceShape): Kernel {
  const { x, bv } = recursion(shape, 'delta_state_grads');
  const { b } = x;
  const K = shape.keyWidth;
  const [q, k] = [x.q, x.k];
  const w = x.headRows('w', K);
  const gates = x.gates();
  const [dOut, asked] = [x.headRows('do', shape.valueWidth), x.headRows('f', shape.valueWidth)];
  const dState = b.input('dstate', 'f32', x.oneState);
  const dStates = b.output('dstates', 'bf16', x.stateShape);
  const dWritten = x.writtenRows('dn', shape.valueWidth);
  const first = b.output('dinitial', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const atV = b.mul(id, bv);
  const whole = x.headState({ batch, head, chunk: id });
  const [end] = b.loop(0, x.count, [x.loadState(dState, whole, 0, atV, K, bv)], (turn, [carried]) => {
    const place: Place = { batch, head, chunk: b.sub(x.count - 1, turn) };
    const leaving = carried as Tile;
    x.storeState(dStates, x.chunkState(place), leaving, 0, atV);
    const { enter, leave, keep } = x.decays(gates, place);
    const fromState = x.scaleRows(b.dot(x.load(k, place), x.bf16(leaving)), leave);
    const dn = b.add(b.convert(x.load(asked, place, atV, bv), 'f32'), fromState);
    x.store(dWritten, place, dn, atV);
    const d = x.bf16(x.scaleRows(x.load(dOut, place, atV, bv), b.mul(enter, shape.scale)));
    const read = b.dot(b.transpose(x.load(q, place)), d, b.mul(leaving, keep));
    const minus = x.bf16(b.sub(0, dn));
    return [b.dot(b.transpose(x.load(w, place)), minus, read)];
  }) as [Tile];
  x.storeState(first, whole, end, 0, atV);
  return b.build();
}

/** q, k, v, x, n, g, beta, [segments], states, do, dn, dstates -> dq, dk `[B,T,H,K]`, dv `[B,T,H,V]`, dg, dbeta `[B,T,H]`. */
export function deltaGradsKernel(shape: RecurrenceShape): Kernel {
  const x = new RecurrenceKernel(shape, {
    name: 'delta_grads',
    grid: [shape.heads, shape.tokens / CHUNK, shape.batch],
    numWarps: 8,
    numStages: 1,
  });
  const { b } = x;
  const [K, V] = [shape.keyWidth, shape.valueWidth];
  const [q, k, v] = [x.q, x.k, x.v];
  const [inverses, written] = [x.headRows('x', CHUNK), x.headRows('n', V)];
  const strength = x.scalars('beta');
  const gates = x.gates();
  const states = b.input('states', 'bf16', x.stateShape);
  const [dOut, dWritten] = [x.headRows('do', V), x.headRows('dn', V)];
  const dStates = b.input('dstates', 'bf16', x.stateShape);
  const [dq, dk, dv] = [x.writtenRows('dq', K), x.writtenRows('dk', K), x.writtenRows('dv', V)];
  const [dg, dBeta] = [x.writtenScalars('dg'), x.writtenScalars('dbeta')];
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  const { within, enter, leave, keep } = x.decays(gates, place);
  const beta = x.loadScalars(strength, place);
  const solve = b.transpose(x.load(inverses, place));
  const index = x.chunkState(place);
  const bv = Math.min(V, 32);
  const start = [
    ...[0, 1].map(() => b.zeros([CHUNK, CHUNK])),
    ...[0, 1, 2].map(() => b.zeros([CHUNK, K])),
    ...[0, 1].map(() => b.zeros([CHUNK])),
    b.zeros([]),
  ];
  const sums = b.loop(0, V / bv, start, (i, carried) => {
    const [scores, overlaps, read, erased, kept, fresh, used, both] = carried as [
      Tile,
      Tile,
      Tile,
      Tile,
      Tile,
      Tile,
      Tile,
      Tile,
    ];
    const at = b.mul(i, bv);
    const values = x.load(v, place, at, bv);
    const n = x.load(written, place, at, bv);
    const d = x.bf16(b.mul(b.convert(x.load(dOut, place, at, bv), 'f32'), shape.scale));
    const state = x.loadState(states, index, 0, at, K, bv);
    const dState = x.loadState(dStates, index, 0, at, K, bv);
    const dY = b.dot(solve, x.load(dWritten, place, at, bv));
    const dValues = x.scaleRows(dY, beta);
    x.store(dv, place, dValues, at);
    const [turnedN, turnedS] = [b.transpose(n), b.transpose(state)];
    const product = b.mul(b.convert(state, 'f32'), b.convert(dState, 'f32'));
    return [
      b.dot(d, turnedN, scores),
      b.dot(x.bf16(dY), turnedN, overlaps),
      b.dot(x.bf16(x.scaleRows(d, enter)), turnedS, read),
      b.dot(x.bf16(x.scaleRows(dY, enter)), turnedS, erased),
      b.dot(x.bf16(x.scaleRows(n, leave)), b.transpose(dState), kept),
      b.add(fresh, x.rowDots(dY, values)),
      b.add(used, x.rowDots(dValues, values)),
      b.add(both, b.sum(b.sum(product, 1), 0)),
    ];
  });
  const [dScores, dOverlaps, read, erased, kept, fresh, used, both] = sums as [
    Tile,
    Tile,
    Tile,
    Tile,
    Tile,
    Tile,
    Tile,
    Tile,
  ];
  const decay = within();
  const [queries, keys] = [x.load(q, place), x.load(k, place)];
  const turnedKeys = b.transpose(keys);
  const ds = b.mul(dScores, decay);
  const square = (t: Tile): Tile => b.broadcast(t, [CHUNK, CHUNK]);
  const below = b.gt(square(b.rows(CHUNK)), square(b.columns(CHUNK)));
  // The cotangent of `(k_r k_s) decay` is minus this, times beta.
  const da = b.mul(b.select(below, dOverlaps, 0), decay);
  const strong = x.bf16(b.sub(0, x.scaleRows(da, beta)));
  const rounded = x.bf16(ds);
  x.store(dq, place, b.dot(rounded, keys, read));
  const direct = b.sub(kept, x.scaleRows(erased, beta));
  const asReader = b.dot(strong, keys, direct);
  const asWriter = b.dot(b.transpose(strong), keys, b.dot(b.transpose(rounded), queries, asReader));
  x.store(dk, place, asWriter);
  const wrong = b.sub(fresh, x.rowDots(keys, erased));
  x.storeScalars(dBeta, place, b.sub(wrong, b.sum(b.mul(da, b.dot(keys, turnedKeys)), 1)));
  const reads = b.add(b.sum(b.mul(ds, b.dot(queries, turnedKeys)), 1), x.rowDots(queries, read));
  const end = b.add(b.mul(keep, both), b.sum(x.rowDots(keys, kept), 0));
  x.storeScalars(dg, place, b.add(b.cumsum(b.sub(reads, used), 0, true), end));
  return b.build();
}
