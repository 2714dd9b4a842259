/** Rotary embedding of heads inside wider rows as a tile kernel: one pass that reads and writes what it must. */
import { KernelBuilder } from './builder.js';
import { HeadBlocks, type HeadRows } from './heads.js';
import type { Kernel, Tile } from './ir.js';

export interface Rotation {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly headDim: number;
  readonly x: HeadRows;
  readonly inverse: boolean;
}

const BLOCK = 32;
/** Heads that an instance turns by the angles that it has loaded. */
const HEADS = 4;

/** cos, sin `[T,D/2]` f32, x -> `y` `[B,T,heads*D]`, heads turned, half-split. */
export function rotateKernel({ batch, tokens, heads, headDim, x, inverse }: Rotation): Kernel {
  const b = new KernelBuilder({
    ...{ name: 'rotate', grid: [Math.ceil(heads / HEADS), Math.ceil(tokens / BLOCK), batch] },
    ...{ numWarps: 4, numStages: 1 },
  });
  const tables = ['cos', 'sin'].map((t) => b.input(t, 'f32', [tokens, headDim / 2]));
  const source = b.input('x', 'bf16', [batch, tokens, x.width]);
  const target = b.output('y', 'bf16', [batch, tokens, heads * headDim]);
  const blocks = new HeadBlocks(b, tokens, headDim, BLOCK);
  const [first, token, at] = [b.mul(b.programId(0), HEADS), b.mul(b.programId(1), BLOCK), b.programId(2)];
  const angles = blocks.angles(tables, token);
  const turn = (head: Tile): void => {
    const place = { batch: at, head, token };
    const wide = blocks.load(source, x, place, 2).map((part) => b.convert(part, 'f32'));
    blocks.store(target, { width: heads * headDim, offset: 0 }, place, blocks.turn(wide, angles, inverse));
  };
  if (heads % HEADS === 0) {
    for (let i = 0; i < HEADS; i++) turn(b.add(first, i));
  } else {
    b.loop(first, b.min(b.add(first, HEADS), heads), [], (head) => {
      turn(head);
      return [];
    });
  }
  return b.build();
}
