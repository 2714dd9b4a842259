/** The delta rule from chunks made ready: states in sequence, outputs side by side, and the cotangents of both. */
import type { Kernel, Tile } from '../../ir.js';
import { CHUNK, type Place, type RecurrenceShape, type Tuning } from '../shared.js';
import { DeltaKernel } from './kernel.js';

/** One warp for 16 columns of the state: nothing of a step waits for another warp. */
const RECURSION: Tuning = { numWarps: 1, numStages: 3, part: 16 };
const PRODUCTS: Tuning = { numWarps: 4, numStages: 2, part: 64 };

function recursion(shape: RecurrenceShape, name: string, tuning: Tuning): DeltaKernel {
  const parts = shape.valueWidth / Math.min(tuning.part, shape.valueWidth);
  return new DeltaKernel(shape, name, [parts, shape.heads, shape.batch], tuning);
}

/** u, w, kl, keep, initial -> states (turned, bf16), written values `[B,T,H,V]`, the last state (f32). */
export function deltaStatesKernel(shape: RecurrenceShape, tuning = RECURSION): Kernel {
  const x = recursion(shape, 'delta_states', tuning);
  const { b, part } = x;
  const { keyWidth: K, valueWidth: V } = shape;
  const [u, w, kLeave] = [x.headRows('u', V), x.headRows('w', K), x.headRows('kl', K)];
  const keep = b.input('keep', 'f32', x.keepShape);
  const initial = b.input('initial', 'f32', x.oneState);
  const states = b.output('states', 'bf16', x.turnedShape);
  const written = x.writtenRows('n', V);
  const last = b.output('last', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const atV = b.mul(id, part);
  const whole = x.headState({ batch, head, chunk: id });
  const start = b.transpose(x.loadState(initial, whole, 0, atV, K, part));
  const [end] = b.loop(0, x.count, [start], (chunk, [carried]) => {
    const place: Place = { batch, head, chunk };
    const state = carried as Tile;
    const rounded = x.bf16(state);
    x.storeTurned(states, place, atV, rounded);
    const values = b.convert(b.transpose(x.load(u, place, atV, part)), 'f32');
    const n = x.bf16(b.sub(values, b.dot(rounded, b.transpose(x.load(w, place)))));
    x.store(written, place, b.transpose(n), atV);
    return [b.dot(n, x.load(kLeave, place), b.mul(state, x.loadKeep(keep, place)))];
  }) as [Tile];
  x.storeState(last, whole, b.transpose(end), 0, atV);
  return b.build();
}

/** p, qe, n, states -> o `[B,T,H,V]`. */
export function deltaOutputsKernel(shape: RecurrenceShape, tuning = PRODUCTS): Kernel {
  const parts = shape.valueWidth / Math.min(tuning.part, shape.valueWidth);
  const grid = [parts * shape.heads, shape.tokens / CHUNK, shape.batch] as const;
  const x = new DeltaKernel(shape, 'delta_outputs', grid, tuning);
  const { b, part } = x;
  const [scores, queries] = [x.headRows('p', CHUNK), x.headRows('qe', shape.keyWidth)];
  const written = x.headRows('n', shape.valueWidth);
  const states = b.input('states', 'bf16', x.turnedShape);
  const out = x.writtenRows('o', shape.valueWidth);
  const [id, chunk, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const [head, atV] = [b.div(id, parts), b.mul(b.rem(id, parts), part)];
  const place: Place = { batch, head, chunk };
  const before = b.dot(x.load(queries, place), b.transpose(x.loadTurned(states, place, atV)));
  x.store(out, place, b.dot(x.load(scores, place), x.load(written, place, atV, part), before), atV);
  return b.build();
}

/** p, do -> `P^T do [B,T,H,V]`: what the outputs of a chunk ask of the values written in it. */
export function deltaAskedKernel(shape: RecurrenceShape, tuning = PRODUCTS): Kernel {
  const grid = [shape.heads, shape.tokens / CHUNK, shape.batch] as const;
  const x = new DeltaKernel(shape, 'delta_asked', grid, tuning);
  const { b, part } = x;
  const [scores, dOut] = [x.headRows('p', CHUNK), x.headRows('do', shape.valueWidth)];
  const asked = x.writtenRows('f', shape.valueWidth);
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  const turned = b.transpose(x.load(scores, place));
  b.loop(0, shape.valueWidth / part, [], (i) => {
    const at = b.mul(i, part);
    x.store(asked, place, b.dot(turned, x.load(dOut, place, at, part)), at);
    return [];
  });
  return b.build();
}

/** qe, w, kl, keep, do, f, dstate -> dstates (turned, bf16), dn `[B,T,H,V]`, dinitial (f32). */
export function deltaStateGradsKernel(shape: RecurrenceShape, tuning = RECURSION): Kernel {
  const x = recursion(shape, 'delta_state_grads', tuning);
  const { b, part } = x;
  const { keyWidth: K, valueWidth: V } = shape;
  const [queries, w, kLeave] = [x.headRows('qe', K), x.headRows('w', K), x.headRows('kl', K)];
  const keep = b.input('keep', 'f32', x.keepShape);
  const [dOut, asked] = [x.headRows('do', V), x.headRows('f', V)];
  const dState = b.input('dstate', 'f32', x.oneState);
  const dStates = b.output('dstates', 'bf16', x.turnedShape);
  const dWritten = x.writtenRows('dn', V);
  const first = b.output('dinitial', 'f32', x.oneState);
  const [id, head, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const atV = b.mul(id, part);
  const whole = x.headState({ batch, head, chunk: id });
  const start = b.transpose(x.loadState(dState, whole, 0, atV, K, part));
  const [end] = b.loop(0, x.count, [start], (turn, [carried]) => {
    const place: Place = { batch, head, chunk: b.sub(x.count - 1, turn) };
    const leaving = carried as Tile;
    const rounded = x.bf16(leaving);
    x.storeTurned(dStates, place, atV, rounded);
    const wanted = b.convert(b.transpose(x.load(asked, place, atV, part)), 'f32');
    const dn = b.dot(rounded, b.transpose(x.load(kLeave, place)), wanted);
    x.store(dWritten, place, b.transpose(dn), atV);
    const d = b.transpose(x.load(dOut, place, atV, part));
    const read = b.dot(d, x.load(queries, place), b.mul(leaving, x.loadKeep(keep, place)));
    return [b.dot(x.bf16(b.sub(0, dn)), x.load(w, place), read)];
  }) as [Tile];
  x.storeState(first, whole, b.transpose(end), 0, atV);
  return b.build();
}
