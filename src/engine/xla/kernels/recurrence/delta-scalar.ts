/** Gated DeltaNet: one decay for each head and token. */
import type { Kernel } from '../triton/ir.js';
import { CHUNK, type Place, type RecurrenceShape, type Tuning } from './shared.js';
import { cotangentOperands, cotangents, gradientBuffers } from './delta-cotangents.js';
import { DeltaKernel, applyInverse, preparedBuffers, unitLowerInverse } from './delta-kernel.js';

const PREPARE: Tuning = { numWarps: 4, numStages: 1, blockV: 128 };
/**
 * Four warps are faster as long as they hardly spill: 222 against 257 us on keys of 64, 727 against 342 on keys of 128.
 */
const gradients = ({ keyWidth }: RecurrenceShape): Tuning =>
  keyWidth > 64 ? { numWarps: 8, numStages: 1, blockV: 64 } : { numWarps: 4, numStages: 1, blockV: 32 };

/** q, k, v, beta, g, [segments] -> a chunk made ready. */
export function prepareScalarKernel(shape: RecurrenceShape, tuning = PREPARE): Kernel {
  const x = new DeltaKernel(shape, 'delta_prepare', [shape.heads, shape.tokens / CHUNK, shape.batch], tuning);
  const { b } = x;
  const [q, k, v] = [x.q, x.k, x.v];
  const betas = x.scalars('beta');
  const gates = x.gates();
  const to = preparedBuffers(x);
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  const { within, enter, leave, keep } = x.decays(gates, place);
  const decay = within();
  const beta = x.loadScalars(betas, place);
  const [queries, keys] = [x.load(q, place), x.load(k, place)];
  const transposed = b.transpose(keys);
  x.store(to.p, place, b.mul(b.mul(b.dot(queries, transposed), decay), shape.scale));
  x.store(to.qe, place, x.scaleRows(queries, b.mul(enter, shape.scale)));
  x.store(to.kl, place, x.scaleRows(keys, leave));
  x.storeKeep(to.keep, place, b.expandDims(b.expandDims(keep, 0), 0));
  const overlaps = x.scaleRows(b.mul(b.dot(keys, transposed), decay), beta);
  const inverse = unitLowerInverse(b, overlaps);
  applyInverse(x, place, v, to, { inverse, kEnter: x.scaleRows(keys, enter), beta });
  return b.build();
}

/**
 * q, k, g, [segments], v, x, n, beta, states, do, dn, dstates -> dq, dk `[B,T,H,K]`, dv `[B,T,H,V]`, dg, dbeta
 * `[B,T,H]`. The gradient of a cumulative decay is what its token reads (queries, and keys as they read) less what it
 * writes.
 */
export function scalarGradsKernel(shape: RecurrenceShape, tuning = gradients(shape)): Kernel {
  const x = new DeltaKernel(shape, 'delta_grads', [shape.heads, shape.tokens / CHUNK, shape.batch], tuning);
  const { b } = x;
  const [q, k, gates] = [x.q, x.k, x.gates()];
  const given = cotangentOperands(x);
  const to = gradientBuffers(x);
  const [dg, dBeta] = [x.writtenScalars('dg'), x.writtenScalars('dbeta')];
  const place: Place = { head: b.programId(0), chunk: b.programId(1), batch: b.programId(2) };
  const by = cotangents(x, place, given, to.dv);
  const { within, enter, leave, keep } = x.decays(gates, place);
  const decay = within();
  const [queries, keys] = [x.load(q, place), x.load(k, place)];
  const dScores = x.bf16(b.mul(by.scores, decay));
  const dOverlaps = x.bf16(x.below(b.mul(by.overlaps, decay)));
  const dq = b.dot(dScores, keys, x.scaleRows(by.read, enter));
  const reading = b.dot(dOverlaps, keys, x.scaleRows(by.reread, enter));
  const readers = x.scaleRows(reading, by.beta);
  const kept = x.scaleRows(by.kept, leave);
  const fromScores = b.dot(b.transpose(dScores), queries, kept);
  const writers = b.dot(b.transpose(dOverlaps), x.bf16(x.scaleRows(keys, by.beta)), fromScores);
  x.store(to.dq, place, dq);
  x.store(to.dk, place, b.add(readers, writers));
  x.storeScalars(dBeta, place, b.add(by.overBeta, x.rowDots(keys, reading)));
  const reads = b.add(x.rowDots(queries, dq), x.rowDots(keys, b.sub(readers, writers)));
  const end = b.add(b.mul(keep, b.sum(by.both, 0)), b.sum(x.rowDots(keys, kept), 0));
  x.storeScalars(dg, place, b.add(b.cumsum(reads, 0, true), end));
  return b.build();
}
