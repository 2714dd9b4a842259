/**
 * What the kernels of window attention share: the grid, the range of the inner loop over blocks, and the masks of the
 * blocks. Shape letters as in window-attention.ts.
 */
import { present, at } from '../../../core/index.js';
import { KernelBuilder, type Launch } from './triton/builder.js';
import { HeadBlocks, type HeadRows, type Tiles, type Place } from './heads.js';
import type { Pointer, Tile } from './triton/ir.js';

/** The shapes and attributes of an attention, perhaps with a window. */
export interface WindowAttention {
  /** Sequences. */
  readonly batch: number;
  readonly tokens: number;
  /** Query heads. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Keys that a query sees, its own included; at most T. */
  readonly window: number;
  /** The factor on the scores `q k`. */
  readonly scale: number;
  readonly q: HeadRows;
  readonly k: HeadRows;
  readonly v: HeadRows;
  /** Packed rows, with operands for the bounds of documents: a query sees only keys of its own document. */
  readonly documents?: boolean;
}

/** Block sizes and launch parameters of a kernel. */
export interface Tuning extends Pick<Launch, 'numWarps' | 'numStages' | 'maxRegisters'> {
  /** Tokens in the block of a program, a power of two of at least 16. */
  readonly block: number;
  /** Tokens in a block of the inner loop, at most as many. */
  readonly inner: number;
  /** Forward: launch the last blocks of sequences first, whose inner loops are longest where windows are wide. */
  readonly lastFirst?: boolean;
}

/** A masked score: exp2 of it is 0 beside any visible one. */
export const MASKED = -1e30;

/** Off-diagonal blocks up to which a loop without masks, over those inside every row's window, is not worth it. */
const FEW = 2;

/** Which mask a block needs: causal (diagonal blocks), none, or that of the window and of documents. */
type Masking = 'causal' | 'none' | 'window';

/** How far documents let the rows of a program see, as distances from its first token. */
interface DocumentLimits {
  /** The bound of each row, `[C,1]`: keys from there on, or queries before it. */
  readonly limit: Tile;
  /** The last block that documents leave unmasked for every row, and the last that they do not mask for all. */
  readonly unmasked: Tile;
  readonly last: Tile;
}

/** The blocks of a program's inner loop, u = 0, 1, ... counted from the diagonal. */
export interface InnerBlocks {
  /** Whether the outer block's rows are queries or keys. */
  readonly rows: 'queries' | 'keys';
  /** The last u inside the sequence. */
  readonly last: Tile;
  /** The first token of block u. */
  readonly at: (u: Tile) => Tile;
  readonly documents: DocumentLimits | null;
}

/**
 * The grid and the masks. The C rows of a program's outer block are queries or keys; its inner loop goes over blocks
 * of I columns of the other: keys from `token + C - (u+1) I` on, or queries from `token + u I` on. Either way query -
 * key is the same function of the row, the column and u, up to its direction.
 */
export class Windows {
  readonly b: KernelBuilder;
  /** Loads and stores of the outer block. */
  readonly outer: HeadBlocks;
  /** Loads of the blocks of the inner loop. */
  readonly inner: HeadBlocks;
  /** Outer blocks of a sequence. */
  readonly count: number;
  readonly group: number;

  constructor(
    name: string,
    readonly a: WindowAttention,
    readonly tuning: Tuning,
    instances: number,
  ) {
    const { block, inner, numWarps, numStages, maxRegisters = null } = tuning;
    this.count = Math.ceil(a.tokens / block);
    this.group = a.heads / a.kvHeads;
    // Heads vary fastest: programs that run together read the same rows.
    this.b = new KernelBuilder({ name, grid: [instances, this.count, a.batch], numWarps, numStages, maxRegisters });
    this.outer = new HeadBlocks(this.b, a.tokens, a.headDim, block);
    this.inner = new HeadBlocks(this.b, a.tokens, a.headDim, inner);
  }

  /** The index of the program's outer block. */
  block(): Tile {
    const id = this.b.programId(1);
    return this.tuning.lastFirst === true ? this.b.sub(this.count - 1, id) : id;
  }

  source(name: 'q' | 'k' | 'v'): Pointer {
    return this.b.input(name, 'bf16', [this.a.batch, this.a.tokens, this.a[name].width]);
  }

  /** The operand with a bound of each token's document, i32 `[B,T]`; null where rows are not packed. */
  bounds(name: 'starts' | 'ends'): Pointer | null {
    return this.a.documents === true ? this.b.input(name, 'i32', [this.a.batch, this.a.tokens]) : null;
  }

  /** The inner loop: `body` for every block u that is not fully masked, in phases by mask. */
  each(
    blocks: InnerBlocks,
    start: readonly Tile[],
    body: (u: Tile, masking: Masking, carried: readonly Tile[]) => readonly Tile[],
  ): readonly Tile[] {
    const { b, a } = this;
    const { block: C, inner: I } = this.tuning;
    const around = C / I - 1;
    const unmasked = Math.max(around, Math.floor(a.window / I) - 1);
    const end = Math.max(around, Math.floor((a.window + C - 2) / I));
    const loop = (from: Tile | number, to: Tile | number, masking: Masking, carried: readonly Tile[]) =>
      b.loop(from, to, carried, (u, values) => body(u, masking, values));
    const near = around === 0 ? body(b.constant('i32', [], 0), 'causal', start) : loop(0, around + 1, 'causal', start);
    const { documents } = blocks;
    if (documents && end - around <= FEW) {
      // One loop of at most one iteration for each block, all masked: they compile to branches.
      const blocks = Array.from({ length: end - around }, (_, i) => around + 1 + i);
      return blocks.reduce((values, u) => loop(u, b.add(b.min(documents.last, u), 1), 'window', values), near);
    }
    if (documents) {
      const clear = b.max(b.min(documents.unmasked, unmasked), around);
      const between = loop(around + 1, b.add(clear, 1), 'none', near);
      return loop(b.add(clear, 1), b.add(b.min(documents.last, end), 1), 'window', between);
    }
    const phase = (from: number, to: number, masking: Masking, carried: readonly Tile[]): readonly Tile[] =>
      from > to ? carried : loop(from, b.add(b.min(blocks.last, to), 1), masking, carried);
    return phase(unmasked + 1, end, 'window', phase(around + 1, unmasked, 'none', near));
  }

  /** The inner blocks of keys of the queries at `token`; `starts` of their documents. */
  keys(batch: Tile, token: Tile, starts: Pointer | null): InnerBlocks {
    const { b } = this;
    const { block: C, inner: I } = this.tuning;
    return {
      rows: 'queries',
      last: b.add(b.div(token, I), C / I - 1),
      at: (u) => b.sub(b.add(token, C - I), b.mul(u, I)),
      documents: starts && this.#documentLimits('queries', batch, token, starts),
    };
  }

  /** The inner blocks of queries of the keys at `token`; `ends` of their documents. */
  queries(batch: Tile, token: Tile, ends: Pointer | null): InnerBlocks {
    const { b } = this;
    const { inner: I } = this.tuning;
    return {
      rows: 'keys',
      last: b.div(b.sub(this.a.tokens - 1, token), I),
      at: (u) => b.add(token, b.mul(u, I)),
      documents: ends && this.#documentLimits('keys', batch, token, ends),
    };
  }

  /** Documents follow one another, so bounds never fall from one row to the next. */
  #documentLimits(rows: InnerBlocks['rows'], batch: Tile, token: Tile, bounds: Pointer): DocumentLimits {
    const { b, a } = this;
    const { block: C, inner: I } = this.tuning;
    const at = b.advance(bounds, b.mul(batch, a.tokens));
    const place = b.add(this.outer.rows, token);
    const bound = b.load(at, place, this.outer.even ? {} : { mask: b.lt(place, a.tokens) });
    const [first, final] = [b.load(at, token), b.load(at, b.sub(b.min(b.add(token, C), a.tokens), 1))];
    // The distances within which documents let all rows see, and at least one.
    const [all, any] =
      rows === 'queries'
        ? [b.sub(b.add(token, C), final), b.sub(b.add(token, C), first)]
        : [b.sub(first, token), b.sub(final, token)];
    const window = rows === 'queries' ? b.add(this.outer.rows, 1 - a.window) : b.add(this.outer.rows, a.window);
    const document = b.sub(bound, token);
    return {
      limit: rows === 'queries' ? b.max(document, window) : b.min(document, window),
      unmasked: b.sub(b.div(all, I), 1),
      last: b.div(b.sub(any, 1), I),
    };
  }

  /** Masked scores `x yᵀ` of the outer block with inner block u. */
  scores(x: Tiles, y: Tiles, blocks: InnerBlocks, u: Tile, masking: Masking): Tile {
    const s = this.products(x, y);
    if (masking === 'none') return s;
    const shown = blocks.documents
      ? this.#inDocument(blocks.documents, blocks.rows, u, masking)
      : this.#near(blocks, u, masking);
    return this.b.select(shown, s, MASKED);
  }

  #near({ rows }: InnerBlocks, u: Tile, masking: Masking): Tile {
    const { b } = this;
    const { block: C, inner: I } = this.tuning;
    const [row, column] = [this.outer.rows, b.columns(I)];
    const within = rows === 'queries' ? b.sub(row, b.add(column, C - I)) : b.sub(column, row);
    // query - key = within + u I
    const near = b.lt(within, b.sub(this.a.window, b.mul(u, I)));
    if (masking === 'window') return near;
    const past = b.ge(within, b.sub(0, b.mul(u, I)));
    return this.a.window < C ? b.and(past, near) : past;
  }

  #inDocument({ limit }: DocumentLimits, rows: InnerBlocks['rows'], u: Tile, masking: Masking): Tile {
    const { b } = this;
    const { block: C, inner: I } = this.tuning;
    const away = b.mul(u, I);
    // The column's distance from the program's first token is `column + first`.
    const column = b.columns(I);
    const first = rows === 'queries' ? b.sub(C - I, away) : away;
    const bound = b.sub(limit, first);
    const near = rows === 'queries' ? b.ge(column, bound) : b.lt(column, bound);
    if (masking === 'window') return near;
    const row = b.sub(this.outer.rows, first);
    return b.and(near, rows === 'queries' ? b.le(column, row) : b.ge(column, row));
  }

  /** `x [M,D] · y [N,D]ᵀ`, summed over their tiles `[.,d]`. */
  products(x: Tiles, y: Tiles): Tile {
    const { b } = this;
    return present(x.reduce<Tile | undefined>((sum, tile, i) => b.dot(tile, b.transpose(at(y, i)), sum), undefined));
  }

  /** `sum + p · x`, tile by tile of x. */
  accumulate(sum: Tiles, p: Tile, x: Tiles): Tiles {
    const narrow = this.b.convert(p, 'bf16');
    return sum.map((s, i) => this.b.dot(narrow, at(x, i), s));
  }

  /** The address, offsets and mask of a block's entries in statistics `[B,H,T]`. */
  statistics(
    { block, even }: HeadBlocks,
    pointer: Pointer,
    { batch, head, token }: Place,
  ): { at: Pointer; offsets: Tile; mask?: Tile } {
    const { b, a } = this;
    const row = b.add(b.mul(batch, a.heads), head);
    const at = b.advance(pointer, b.add(b.mul(row, a.tokens), token));
    const offsets = b.range(block);
    return even ? { at, offsets } : { at, offsets, mask: b.lt(b.add(offsets, token), a.tokens) };
  }
}
