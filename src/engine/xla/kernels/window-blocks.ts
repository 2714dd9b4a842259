/**
 * What the kernels of window attention share: the grid, which blocks of queries and keys meet, and what is hidden where
 * they do. Shape letters as in window-attention.ts.
 */
import { present, at } from '../../../core/index.js';
import { KernelBuilder, type Launch } from './triton/builder.js';
import { HeadBlocks, type HeadRows, type Parts, type Place } from './heads.js';
import type { Pointer, Tile } from './triton/ir.js';

/** An attention, perhaps with a window, as its kernels see it. */
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
  /** Whether rows hold several documents, whose bounds are given: a query sees keys of its own document alone. */
  readonly documents?: boolean;
}

/** How a kernel is cut and launched. */
export interface Tuning extends Pick<Launch, 'numWarps' | 'numStages' | 'maxRegisters'> {
  /** Tokens in the block of an instance, a power of two of at least 16. */
  readonly block: number;
  /** Tokens of the blocks that it meets, at most as many. */
  readonly inner: number;
  /** Forward: begin with the last blocks of sequences, which meet the most keys where windows are wide. */
  readonly lastFirst?: boolean;
}

/** A hidden score: exp2 of it is 0 beside any visible one. */
export const HIDDEN = -1e30;

/** Blocks behind the near ones up to which no loop over those that all rows see is worth it. */
const FEW = 2;

/** What is hidden where two blocks meet: later keys, nothing, or keys beyond the window or before the document. */
type Hidden = 'later' | 'nothing' | 'beyond';

/** Where documents end the reach of an instance's rows, away from it, as distances from its first token. */
interface DocumentReach {
  /** The bound of each row, `[C,1]`: keys from there on, or queries before it. */
  readonly limit: Tile;
  /** The last block of which every row sees all, as far as documents go, and the last of which one sees any. */
  readonly whole: Tile;
  readonly last: Tile;
}

/** The blocks that an instance meets, number u = 0, 1, ... going away from it. */
export interface Sight {
  /** What the instance's rows are. */
  readonly rows: 'queries' | 'keys';
  /** The last u that there is. */
  readonly last: Tile;
  /** The first token of block u. */
  readonly at: (u: Tile) => Tile;
  readonly documents: DocumentReach | null;
}

/**
 * An instance's C rows are queries or keys; it meets blocks of I columns of the others: keys from `token + C - (u+1) I`
 * on, or queries from `token + u I` on. Either way query - key is the same function of the row, the column and u, up to
 * its direction.
 */
export class Windows {
  readonly b: KernelBuilder;
  readonly own: HeadBlocks;
  readonly met: HeadBlocks;
  /** Blocks of an instance in a sequence. */
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
    // Heads fastest: instances that run together read the same rows.
    this.b = new KernelBuilder({ name, grid: [instances, this.count, a.batch], numWarps, numStages, maxRegisters });
    this.own = new HeadBlocks(this.b, a.tokens, a.headDim, block);
    this.met = new HeadBlocks(this.b, a.tokens, a.headDim, inner);
  }

  /** The number of the instance's block. */
  block(): Tile {
    const id = this.b.programId(1);
    return this.tuning.lastFirst === true ? this.b.sub(this.count - 1, id) : id;
  }

  source(name: 'q' | 'k' | 'v'): Pointer {
    return this.b.input(name, 'bf16', [this.a.batch, this.a.tokens, this.a[name].width]);
  }

  /** The operand with a bound of each token's document, i32 `[B,T]`, where rows hold several. */
  bounds(name: 'starts' | 'ends'): Pointer | null {
    return this.a.documents === true ? this.b.input(name, 'i32', [this.a.batch, this.a.tokens]) : null;
  }

  /** Runs `meet` for every block u of which a row sees any. */
  each(
    sight: Sight,
    start: readonly Tile[],
    meet: (u: Tile, hidden: Hidden, carried: readonly Tile[]) => readonly Tile[],
  ): readonly Tile[] {
    const { b, a } = this;
    const { block: C, inner: I } = this.tuning;
    const around = C / I - 1;
    const whole = Math.max(around, Math.floor(a.window / I) - 1);
    const reach = Math.max(around, Math.floor((a.window + C - 2) / I));
    const loop = (from: Tile | number, end: Tile | number, hidden: Hidden, carried: readonly Tile[]) =>
      b.loop(from, end, carried, (u, values) => meet(u, hidden, values));
    const near = around === 0 ? meet(b.constant('i32', [], 0), 'later', start) : loop(0, around + 1, 'later', start);
    const { documents } = sight;
    if (documents && reach - around <= FEW) {
      // Block by block, masked all: loops of at most one iteration become branches.
      const blocks = Array.from({ length: reach - around }, (_, i) => around + 1 + i);
      return blocks.reduce((values, u) => loop(u, b.add(b.min(documents.last, u), 1), 'beyond', values), near);
    }
    if (documents) {
      const clear = b.max(b.min(documents.whole, whole), around);
      const between = loop(around + 1, b.add(clear, 1), 'nothing', near);
      return loop(b.add(clear, 1), b.add(b.min(documents.last, reach), 1), 'beyond', between);
    }
    const phase = (from: number, to: number, hidden: Hidden, carried: readonly Tile[]): readonly Tile[] =>
      from > to ? carried : loop(from, b.add(b.min(sight.last, to), 1), hidden, carried);
    return phase(whole + 1, reach, 'beyond', phase(around + 1, whole, 'nothing', near));
  }

  /** The keys that the queries at `token` meet; `starts` of their documents. */
  keys(batch: Tile, token: Tile, starts: Pointer | null): Sight {
    const { b } = this;
    const { block: C, inner: I } = this.tuning;
    return {
      rows: 'queries',
      last: b.add(b.div(token, I), C / I - 1),
      at: (u) => b.sub(b.add(token, C - I), b.mul(u, I)),
      documents: starts && this.#reach('queries', batch, token, starts),
    };
  }

  /** The queries that the keys at `token` meet; `ends` of their documents. */
  queries(batch: Tile, token: Tile, ends: Pointer | null): Sight {
    const { b } = this;
    const { inner: I } = this.tuning;
    return {
      rows: 'keys',
      last: b.div(b.sub(this.a.tokens - 1, token), I),
      at: (u) => b.add(token, b.mul(u, I)),
      documents: ends && this.#reach('keys', batch, token, ends),
    };
  }

  /** Documents follow one another, so bounds never fall from one row to the next. */
  #reach(rows: Sight['rows'], batch: Tile, token: Tile, bounds: Pointer): DocumentReach {
    const { b, a } = this;
    const { block: C, inner: I } = this.tuning;
    const at = b.advance(bounds, b.mul(batch, a.tokens));
    const place = b.add(this.own.rows, token);
    const own = b.load(at, place, this.own.even ? {} : { mask: b.lt(place, a.tokens) });
    const [first, final] = [b.load(at, token), b.load(at, b.sub(b.min(b.add(token, C), a.tokens), 1))];
    // Distances, counted in blocks, as far as which all rows see, and as far as which one does.
    const [all, any] =
      rows === 'queries'
        ? [b.sub(b.add(token, C), final), b.sub(b.add(token, C), first)]
        : [b.sub(first, token), b.sub(final, token)];
    const window = rows === 'queries' ? b.add(this.own.rows, 1 - a.window) : b.add(this.own.rows, a.window);
    const document = b.sub(own, token);
    return {
      limit: rows === 'queries' ? b.max(document, window) : b.min(document, window),
      whole: b.sub(b.div(all, I), 1),
      last: b.div(b.sub(any, 1), I),
    };
  }

  /** Scores `x yᵀ` of the instance's rows with block u, hidden ones very low. */
  scores(x: Parts, y: Parts, sight: Sight, u: Tile, hidden: Hidden): Tile {
    const s = this.products(x, y);
    if (hidden === 'nothing') return s;
    const shown = sight.documents
      ? this.#inDocument(sight.documents, sight.rows, u, hidden)
      : this.#near(sight, u, hidden);
    return this.b.select(shown, s, HIDDEN);
  }

  #near({ rows }: Sight, u: Tile, hidden: Hidden): Tile {
    const { b } = this;
    const { block: C, inner: I } = this.tuning;
    const [row, column] = [this.own.rows, b.columns(I)];
    const within = rows === 'queries' ? b.sub(row, b.add(column, C - I)) : b.sub(column, row);
    // query - key = within + u I
    const near = b.lt(within, b.sub(this.a.window, b.mul(u, I)));
    if (hidden === 'beyond') return near;
    const past = b.ge(within, b.sub(0, b.mul(u, I)));
    return this.a.window < C ? b.and(past, near) : past;
  }

  #inDocument({ limit }: DocumentReach, rows: Sight['rows'], u: Tile, hidden: Hidden): Tile {
    const { b } = this;
    const { block: C, inner: I } = this.tuning;
    const away = b.mul(u, I);
    // The column's distance from the instance's first token is `column + first`.
    const column = b.columns(I);
    const first = rows === 'queries' ? b.sub(C - I, away) : away;
    const bound = b.sub(limit, first);
    const near = rows === 'queries' ? b.ge(column, bound) : b.lt(column, bound);
    if (hidden === 'beyond') return near;
    const row = b.sub(this.own.rows, first);
    return b.and(near, rows === 'queries' ? b.le(column, row) : b.ge(column, row));
  }

  /** Sum over pieces of `x [M,d] · y [N,d]ᵀ`. */
  products(x: Parts, y: Parts): Tile {
    const { b } = this;
    return present(x.reduce<Tile | undefined>((sum, part, i) => b.dot(part, b.transpose(at(y, i)), sum), undefined));
  }

  /** `sum + p · x` for each piece of x. */
  accumulate(sum: Parts, p: Tile, x: Parts): Parts {
    const narrow = this.b.convert(p, 'bf16');
    return sum.map((s, i) => this.b.dot(narrow, at(x, i), s));
  }

  /** Where a block's entries in statistics `[B,H,T]` are, and which exist. */
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
