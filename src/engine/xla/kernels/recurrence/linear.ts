/**
 * Linear attention with decay as tile kernels: states of all chunks in sequence (forwards, and cotangents backwards),
 * then outputs or gradients of all chunks side by side, as flash-linear-attention does it (Yang and Zhang 2024).
 */
import { present } from '../../../../core/index.js';
import type { Kernel, Tile } from '../triton/ir.js';
import { CHUNK, RecurrenceKernel, type Place, type RecurrenceShape, type Tuning } from './shared.js';

/** Registers spill at wide keys, and eight warps that do not spill are slower. */
const GRADIENTS: Tuning = { numWarps: 4, numStages: 1, blockV: 64 };

/** The block size along keys or values: at most `most` columns of a state tile. */
const blockOf = (width: number, most: number): number => Math.min(width, most);

/** k, v, g, [segments], initial -> the state that enters each chunk (bf16), the last state (f32). */
export function statesKernel(shape: RecurrenceShape): Kernel {
  const [bk, bv] = [blockOf(shape.keyWidth, 64), blockOf(shape.valueWidth, 32)];
  const blocksV = shape.valueWidth / bv;
  const x = new RecurrenceKernel(shape, {
    name: 'recurrence_states',
    grid: [(shape.keyWidth / bk) * blocksV, shape.heads, shape.batch],
    numWarps: 4,
    numStages: 3,
  });
  const { b } = x;
  const [k, v, gates] = [x.k, x.v, x.gates()];
  const initial = b.input('initial', 'f32', x.oneState);
  const states = b.output('states', 'bf16', x.stateShape);
  const last = b.output('last', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const [atK, atV] = [b.mul(b.div(id, blocksV), bk), b.mul(b.rem(id, blocksV), bv)];
  const stateIndex = x.headState({ batch, head, chunk: id });
  const [end] = b.loop(0, x.count, [x.loadState(initial, stateIndex, atK, atV, bk, bv)], (chunk, [carried]) => {
    const place: Place = { batch, head, chunk };
    const state = present(carried);
    x.storeState(states, x.chunkState(place), state, atK, atV);
    const { leave, keep } = x.decays(gates, place);
    const values = x.bf16(x.scaleRows(x.load(v, place, atV, bv), leave));
    return [b.dot(b.transpose(x.load(k, place, atK, bk)), values, b.mul(state, keep))];
  }) as [Tile];
  x.storeState(last, stateIndex, end, atK, atV);
  return b.build();
}

/** q, k, values (a row for each of `heads`), g, [segments], states -> o `[B,T,H,V]`. */
export function outputsKernel(shape: RecurrenceShape): Kernel {
  const bv = blockOf(shape.valueWidth, 64);
  const blocksV = shape.valueWidth / bv;
  const x = new RecurrenceKernel(shape, {
    name: 'recurrence_outputs',
    grid: [blocksV * shape.heads, shape.tokens / CHUNK, shape.batch],
    numWarps: 4,
    numStages: 2,
  });
  const { b } = x;
  const [q, k, v, gates] = [x.q, x.k, x.v, x.gates()];
  const states = b.input('states', 'bf16', x.stateShape);
  const out = x.writtenRows('o', shape.valueWidth);
  const [id, chunk, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const [head, atV] = [b.div(id, blocksV), b.mul(b.rem(id, blocksV), bv)];
  const place: Place = { batch, head, chunk };
  const { within, enter } = x.decays(gates, place);
  const queries = x.load(q, place);
  const scores = b.mul(b.dot(queries, b.transpose(x.load(k, place))), within());
  const state = x.loadState(states, x.chunkState(place), 0, atV, shape.keyWidth, bv);
  const before = x.scaleRows(b.dot(queries, state), enter);
  const sum = b.dot(x.bf16(scores), x.load(v, place, atV, bv), before);
  x.store(out, place, b.mul(sum, shape.scale), atV);
  return b.build();
}

/**
 * q, g, [segments], do, dstate -> the cotangent of the state that leaves each chunk (bf16), and of the initial state
 * (f32).
 */
export function stateGradsKernel(shape: RecurrenceShape): Kernel {
  const [bk, bv] = [blockOf(shape.keyWidth, 64), blockOf(shape.valueWidth, 32)];
  const blocksV = shape.valueWidth / bv;
  const x = new RecurrenceKernel(shape, {
    name: 'recurrence_state_grads',
    grid: [(shape.keyWidth / bk) * blocksV, shape.heads, shape.batch],
    numWarps: 4,
    numStages: 3,
  });
  const { b } = x;
  const [q, gates] = [x.q, x.gates()];
  const dOut = x.headRows('do', shape.valueWidth);
  const dState = b.input('dstate', 'f32', x.oneState);
  const states = b.output('dstates', 'bf16', x.stateShape);
  const first = b.output('dinitial', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const [atK, atV] = [b.mul(b.div(id, blocksV), bk), b.mul(b.rem(id, blocksV), bv)];
  const stateIndex = x.headState({ batch, head, chunk: id });
  const [end] = b.loop(0, x.count, [x.loadState(dState, stateIndex, atK, atV, bk, bv)], (i, [carried]) => {
    const place: Place = { batch, head, chunk: b.sub(x.count - 1, i) };
    const leaving = present(carried);
    x.storeState(states, x.chunkState(place), leaving, atK, atV);
    const { enter, keep } = x.decays(gates, place);
    const d = x.bf16(x.scaleRows(x.load(dOut, place, atV, bv), b.mul(enter, shape.scale)));
    return [b.dot(b.transpose(x.load(q, place, atK, bk)), d, b.mul(leaving, keep))];
  }) as [Tile];
  x.storeState(first, stateIndex, end, atK, atV);
  return b.build();
}

/**
 * q, k, v, g, [segments], states, do, dstates -> dq, dk `[B,T,H,K]`, dv `[B,T,H,V]`, dg `[B,T,H]`. The gradient of a
 * cumulative decay is what its token reads less what it writes, all of it at hand in f32.
 */
export function linearGradsKernel(shape: RecurrenceShape, tuning = GRADIENTS): Kernel {
  const bv = blockOf(shape.valueWidth, tuning.blockV);
  const x = new RecurrenceKernel(shape, {
    name: 'linear_recurrence_grads',
    grid: [shape.heads, shape.tokens / CHUNK, shape.batch],
    numWarps: tuning.numWarps,
    numStages: tuning.numStages,
  });
  const { b } = x;
  const K = shape.keyWidth;
  const [q, k, v, gates] = [x.q, x.k, x.v, x.gates()];
  const states = b.input('states', 'bf16', x.stateShape);
  const dOut = x.headRows('do', shape.valueWidth);
  const dStates = b.input('dstates', 'bf16', x.stateShape);
  const [dq, dk] = [x.writtenRows('dq', K), x.writtenRows('dk', K)];
  const [dv, dg] = [x.writtenRows('dv', shape.valueWidth), x.writtenScalars('dg')];
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  const { within, enter, leave, keep } = x.decays(gates, place);
  const decay = within();
  const [queries, keys] = [x.load(q, place), x.load(k, place)];
  const scores = b.mul(b.dot(queries, b.transpose(keys)), decay);
  const transposed = b.transpose(x.bf16(scores));
  // Values are tiled by `bv` columns, which bounds the state tile that a program keeps in registers.
  const start = [b.zeros([CHUNK, CHUNK]), b.zeros([CHUNK, K]), b.zeros([CHUNK, K]), b.zeros([])];
  const index = x.chunkState(place);
  const [dScores, read, written, overlap] = b.loop(0, shape.valueWidth / bv, start, (i, carried) => {
    const [sum, r, w, o] = carried as [Tile, Tile, Tile, Tile];
    const atV = b.mul(i, bv);
    const values = x.load(v, place, atV, bv);
    const d = x.bf16(b.mul(b.convert(x.load(dOut, place, atV, bv), 'f32'), shape.scale));
    const state = x.loadState(states, index, 0, atV, K, bv);
    const dState = x.loadState(dStates, index, 0, atV, K, bv);
    const interChunk = x.scaleRows(b.dot(keys, dState), leave);
    x.store(dv, place, b.dot(transposed, d, interChunk), atV);
    const both = b.mul(b.convert(state, 'f32'), b.convert(dState, 'f32'));
    return [
      b.dot(d, b.transpose(values), sum),
      b.dot(x.bf16(x.scaleRows(d, enter)), b.transpose(state), r),
      b.dot(x.bf16(x.scaleRows(values, leave)), b.transpose(dState), w),
      b.add(o, b.sum(b.sum(both, 1), 0)),
    ];
  }) as [Tile, Tile, Tile, Tile];
  const weighted = x.bf16(b.mul(dScores, decay));
  x.store(dq, place, b.dot(weighted, keys, read));
  x.store(dk, place, b.dot(b.transpose(weighted), queries, written));
  // A token's decay is part of the cumulative decay of every later token: dg is the reversed running sum of its
  // gradient.
  const product = b.mul(dScores, scores);
  const reads = b.add(b.sum(product, 1), x.rowDots(queries, read));
  const toEnd = x.rowDots(keys, written);
  const writes = b.add(b.sum(product, 0), toEnd);
  const end = b.add(b.mul(keep, overlap), b.sum(toEnd, 0));
  x.storeScalars(dg, place, b.add(b.cumsum(b.sub(reads, writes), 0, true), end));
  return b.build();
}
