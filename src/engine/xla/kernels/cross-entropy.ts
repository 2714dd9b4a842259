/**
 * Cross-entropy and its gradient in one pass over the logits, as a tile kernel: a row stays in registers between the
 * sum of its exponentials and the gradient that needs it.
 */
import { KernelBuilder } from './triton/builder.js';
import type { Kernel } from './triton/ir.js';

/** Largest vocabulary whose rows a program keeps in registers. */
export const WIDEST_VOCABULARY = 16384;

/**
 * logits bf16 `[N,V]`, targets i32 `[N]`, dloss f32 `[N]` -> `loss` and log-sum-exp `lse` f32 `[N]`, `dlogits` bf16
 * `[N,V]`.
 */
export function crossEntropyKernel(rows: number, vocabulary: number): Kernel {
  const b = new KernelBuilder({ name: 'cross_entropy', grid: [rows, 1, 1], numWarps: 4, numStages: 1 });
  const logits = b.input('logits', 'bf16', [rows, vocabulary]);
  const [targets, dloss] = [b.input('targets', 'i32', [rows]), b.input('dloss', 'f32', [rows])];
  const [loss, lse] = [b.output('loss', 'f32', [rows]), b.output('lse', 'f32', [rows])];
  const dlogits = b.output('dlogits', 'bf16', [rows, vocabulary]);
  const row = b.programId(0);
  const column = b.range(2 ** Math.ceil(Math.log2(vocabulary)));
  const mask = b.lt(column, vocabulary);
  const start = b.mul(b.convert(row, 'i64'), vocabulary);
  const x = b.convert(b.load(b.advance(logits, start), column, { mask, other: -1e30 }), 'f32');
  const top = b.maximum(x, 0);
  const e = b.exp(b.sub(x, top));
  const total = b.sum(e, 0);
  const hit = b.eq(column, b.load(targets, row));
  const norm = b.add(top, b.log(total));
  b.store(loss, row, b.sub(norm, b.sum(b.select(hit, x, 0), 0)));
  b.store(lse, row, norm);
  const weight = b.load(dloss, row);
  const spread = b.mul(e, b.div(weight, total));
  b.store(b.advance(dlogits, start), column, b.select(hit, b.sub(spread, weight), spread), mask);
  return b.build();
}
