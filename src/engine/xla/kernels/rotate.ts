/** Rotary embedding of heads inside wider rows as a tile kernel: one pass that reads and writes what it must. */
import { KernelBuilder } from './triton/builder.js';
import { HeadBlocks, type HeadRows } from './heads.js';
import type { Kernel } from './triton/ir.js';

/** The rotation of heads by their positions, as a kernel does it. */
export interface Rotation {
  /** Sequences. */
  readonly batch: number;
  readonly tokens: number;
  /** Heads that are rotated. */
  readonly heads: number;
  readonly headDim: number;
  readonly x: HeadRows;
  readonly inverse: boolean;
}

const BLOCK = 32;
/** cos, sin `[T,D/2]` f32, x -> `y` `[B,T,heads*D]`, heads rotated, half-split. */
export function rotateKernel({ batch, tokens, heads, headDim, x, inverse }: Rotation): Kernel {
  const b = new KernelBuilder({
    ...{ name: 'rotate', grid: [heads, Math.ceil(tokens / BLOCK), batch] },
    ...{ numWarps: 4, numStages: 1 },
  });
  const tables = ['cos', 'sin'].map((t) => b.input(t, 'f32', [tokens, headDim / 2]));
  const source = b.input('x', 'bf16', [batch, tokens, x.width]);
  const target = b.output('y', 'bf16', [batch, tokens, heads * headDim]);
  const blocks = new HeadBlocks(b, tokens, headDim, BLOCK);
  const token = b.mul(b.programId(1), BLOCK);
  const place = { batch: b.programId(2), head: b.programId(0), token };
  const wide = blocks.load(source, x, place, 2).map((half) => b.convert(half, 'f32'));
  const rotated = blocks.rotate(wide, blocks.angles(tables, token), inverse);
  blocks.store(target, { width: heads * headDim, offset: 0 }, place, rotated);
  return b.build();
}
