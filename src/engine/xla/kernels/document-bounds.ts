/**
 * Where the document of each token begins and ends, in packed rows: what the attention kernels mask keys by.
 * A new document begins wherever the id differs from that of the token before; ids themselves may return later.
 */
import { present } from '../../../core/index.js';
import { KernelBuilder } from './triton/builder.js';
import type { Kernel, Tile } from './triton/ir.js';

/** Tokens of a program, compared pairwise. */
const BLOCK = 64;
/** Tokens in a tile of the search for a document boundary before and after the program's block. */
const FAR = 1024;

/**
 * segments i32 `[B,T]` -> starts, the first token of each token's document, and ends, the first token behind it; i32
 * `[B,T]`.
 */
export function documentBoundsKernel(batch: number, tokens: number): Kernel {
  const b = new KernelBuilder({
    ...{ name: 'document_bounds', grid: [Math.ceil(tokens / BLOCK), batch, 1] },
    ...{ numWarps: 4, numStages: 1 },
  });
  const segments = b.input('segments', 'i32', [batch, tokens]);
  const [starts, ends] = [b.output('starts', 'i32', [batch, tokens]), b.output('ends', 'i32', [batch, tokens])];
  const [block, row] = [b.programId(0), b.programId(1)];
  const at = b.mul(row, tokens);
  const ids = b.advance(segments, at);
  /** Whether a document begins at each of some tokens; the row's first token and its end count as such. */
  const begins = (token: Tile): Tile => {
    const here = b.load(ids, token, { mask: b.lt(token, tokens) });
    const inside = b.and(b.gt(token, 0), b.lt(token, tokens));
    const before = b.load(ids, b.sub(token, 1), { mask: inside });
    return b.or(b.ne(here, before), b.or(b.eq(token, 0), b.eq(token, tokens)));
  };
  const first = b.mul(block, BLOCK);
  const last = b.add(first, BLOCK);
  const [earlier] = b.loop(0, b.div(b.add(first, FAR - 1), FAR), [b.constant('i32', [], 0)], (i, [most]) => {
    const token = b.add(b.range(FAR), b.mul(i, FAR));
    const counts = b.and(begins(token), b.lt(token, first));
    return [b.max(present(most), b.maximum(b.select(counts, token, 0), 0))];
  }) as [Tile];
  const iterations = b.div(b.add(b.max(b.sub(tokens + 1, last), 0), FAR - 1), FAR);
  const [later] = b.loop(0, iterations, [b.constant('i32', [], tokens)], (i, [least]) => {
    const token = b.add(b.range(FAR), b.add(last, b.mul(i, FAR)));
    const counts = b.and(begins(token), b.le(token, tokens));
    return [b.min(present(least), b.minimum(b.select(counts, token, tokens), 0))];
  }) as [Tile];
  const offsets = b.range(BLOCK);
  const token = b.add(offsets, first);
  const begin = b.expandDims(begins(token), 0);
  const other = b.expandDims(token, 0);
  const mine = b.expandDims(token, 1);
  const start = b.maximum(b.select(b.and(begin, b.le(other, mine)), other, earlier), 1);
  const end = b.minimum(b.select(b.and(begin, b.gt(other, mine)), other, later), 1);
  const inRow = b.lt(token, tokens);
  b.store(b.advance(starts, at), token, start, inRow);
  b.store(b.advance(ends, at), token, end, inRow);
  return b.build();
}
