/** The delta rule from chunks made ready: states in sequence, outputs side by side, and the cotangents of both. */
import { present } from '../../../../core/index.js';
import type { Kernel, Tile } from '../triton/ir.js';
import { CHUNK, type Place, type RecurrenceShape, type Tuning } from './shared.js';
import { DeltaKernel } from './delta-kernel.js';

/** One warp with 16 columns of the state: nothing of a step waits for another warp. */
const STATES: Tuning = { numWarps: 1, numStages: 3, blockV: 16 };
const STATE_GRADIENTS: Tuning = { numWarps: 4, numStages: 2, blockV: 32 };
const PRODUCTS: Tuning = { numWarps: 4, numStages: 2, blockV: 64 };

function recursion(shape: RecurrenceShape, name: string, tuning: Tuning): DeltaKernel {
  const blocksV = shape.valueWidth / Math.min(tuning.blockV, shape.valueWidth);
  return new DeltaKernel(shape, name, [blocksV, shape.heads, shape.batch], tuning);
}

/**
 * u, w, kl, keep, [c], initial -> states and written values n (transposed, bf16), the last state (f32). What is removed
 * by keys of its own goes to the state as `kl n`, beside what values write, `c`.
 */
export function deltaStatesKernel(shape: RecurrenceShape, tuning = STATES): Kernel {
  const x = recursion(shape, 'delta_states', tuning);
  const { b, blockV } = x;
  const { keyWidth: K } = shape;
  const [u, w, kLeave] = [x.transposed('u', CHUNK), x.headRows('w', K), x.headRows('kl', K)];
  const keep = b.input('keep', 'f32', x.keepShape);
  const values = shape.removal ? x.transposed('c', K) : null;
  const initial = b.input('initial', 'f32', x.oneState);
  const [states, written] = [x.writtenTurned('states', K), x.writtenTurned('n', CHUNK)];
  const last = b.output('last', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const atV = b.mul(id, blockV);
  const stateIndex = x.headState({ batch, head, chunk: id });
  const start = b.transpose(x.loadState(initial, stateIndex, 0, atV, K, blockV));
  const [end] = b.loop(0, x.count, [start], (chunk, [carried]) => {
    const place: Place = { batch, head, chunk };
    const state = present(carried);
    const rounded = x.bf16(state);
    x.storeTransposed(states, place, atV, rounded);
    const wanted = b.convert(x.loadTransposed(u, place, atV), 'f32');
    const n = x.bf16(b.sub(wanted, b.dot(rounded, b.transpose(x.load(w, place)))));
    x.storeTransposed(written, place, atV, n);
    const kept = b.mul(state, x.loadKeep(keep, place));
    const sum = values ? b.add(kept, b.convert(x.loadTransposed(values, place, atV), 'f32')) : kept;
    return [b.dot(n, x.load(kLeave, place), sum)];
  }) as [Tile];
  x.storeState(last, stateIndex, b.transpose(end), 0, atV);
  return b.build();
}

/** p, qe, n, states -> o `[B,T,H,V]`. */
export function deltaOutputsKernel(shape: RecurrenceShape, tuning = PRODUCTS): Kernel {
  const blocksV = shape.valueWidth / Math.min(tuning.blockV, shape.valueWidth);
  const grid = [blocksV * shape.heads, shape.tokens / CHUNK, shape.batch] as const;
  const x = new DeltaKernel(shape, 'delta_outputs', grid, tuning);
  const { b } = x;
  const [scores, queries] = [x.headRows('p', CHUNK), x.headRows('qe', shape.keyWidth)];
  const [written, states] = [x.transposed('n', CHUNK), x.transposed('states', shape.keyWidth)];
  const out = x.writtenRows('o', shape.valueWidth);
  const [id, chunk, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const [head, atV] = [b.div(id, blocksV), b.mul(b.rem(id, blocksV), x.blockV)];
  const place: Place = { batch, head, chunk };
  const before = b.dot(x.load(queries, place), b.transpose(x.loadTransposed(states, place, atV)));
  x.store(out, place, b.dot(x.load(scores, place), b.transpose(x.loadTransposed(written, place, atV)), before), atV);
  return b.build();
}

/**
 * p, qe, do -> what the outputs of a chunk ask of the values written in it, f = `do^T P`, and of its state, r = `do^T
 * qe` (transposed).
 */
export function deltaAskedKernel(shape: RecurrenceShape, tuning = PRODUCTS): Kernel {
  const grid = [shape.heads, shape.tokens / CHUNK, shape.batch] as const;
  const x = new DeltaKernel(shape, 'delta_asked', grid, tuning);
  const { b, blockV } = x;
  const [scores, queries] = [x.headRows('p', CHUNK), x.headRows('qe', shape.keyWidth)];
  const dOut = x.headRows('do', shape.valueWidth);
  const [asked, read] = [x.writtenTurned('f', CHUNK), x.writtenTurned('r', shape.keyWidth)];
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  b.loop(0, shape.valueWidth / blockV, [], (i) => {
    const at = b.mul(i, blockV);
    const transposed = b.transpose(x.load(dOut, place, at, blockV));
    x.storeTransposed(asked, place, at, b.dot(transposed, x.load(scores, place)));
    x.storeTransposed(read, place, at, b.dot(transposed, x.load(queries, place)));
    return [];
  });
  return b.build();
}

/** w, kl, keep, f, r, dstate -> dstates and dn (transposed, bf16), dinitial (f32). */
export function deltaStateGradsKernel(shape: RecurrenceShape, tuning = STATE_GRADIENTS): Kernel {
  const x = recursion(shape, 'delta_state_grads', tuning);
  const { b, blockV } = x;
  const { keyWidth: K } = shape;
  const [w, kLeave] = [x.headRows('w', K), x.headRows('kl', K)];
  const keep = b.input('keep', 'f32', x.keepShape);
  const [asked, read] = [x.transposed('f', CHUNK), x.transposed('r', K)];
  const dState = b.input('dstate', 'f32', x.oneState);
  const [dStates, dWritten] = [x.writtenTurned('dstates', K), x.writtenTurned('dn', CHUNK)];
  const first = b.output('dinitial', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const atV = b.mul(id, blockV);
  const stateIndex = x.headState({ batch, head, chunk: id });
  const start = b.transpose(x.loadState(dState, stateIndex, 0, atV, K, blockV));
  const [end] = b.loop(0, x.count, [start], (i, [carried]) => {
    const place: Place = { batch, head, chunk: b.sub(x.count - 1, i) };
    const leaving = present(carried);
    const rounded = x.bf16(leaving);
    x.storeTransposed(dStates, place, atV, rounded);
    const wanted = b.convert(x.loadTransposed(asked, place, atV), 'f32');
    const dn = b.dot(rounded, b.transpose(x.load(kLeave, place)), wanted);
    x.storeTransposed(dWritten, place, atV, dn);
    const kept = b.mul(leaving, x.loadKeep(keep, place));
    const sum = b.add(kept, b.convert(x.loadTransposed(read, place, atV), 'f32'));
    return [b.dot(x.bf16(b.sub(0, dn)), x.load(w, place), sum)];
  }) as [Tile];
  x.storeState(first, stateIndex, b.transpose(end), 0, atV);
  return b.build();
}
