/**
 * Sliding-window attention as tile kernels, forward and backward, after FlashAttention-2 (Dao 2023): softmax in blocks, scores
 * recomputed in the backward pass from the log-sum-exp. What is special here:
 * - queries, keys and values are read where the projection left them, as channels of wider rows, and gradients are written
 *   likewise, so that nothing is split, transposed or joined around the kernels;
 * - rotary embedding happens on load, and gradients are turned back before they are stored. Scores depend on distances only, so
 *   all positions count from the block of the instance: the tables of cosines and sines are as long as the window, not the
 *   sequence, and small angles lose nothing in bf16;
 * - one backward launch: an instance makes dk and dv of its block from the queries that see it, then dq of the same block.
 *
 * Shape letters: B batch, T tokens, H query heads, G key heads, R = H/G, D head width, C tokens in a block, N blocks, W window.
 */
import { KernelBuilder } from './builder.js';
import type { Kernel, Pointer, Tile } from './ir.js';

/** Heads inside the rows of a tensor `[B,T,width]`: head h is channels `offset + h D` to `offset + (h+1) D`. */
export interface HeadRows {
  readonly width: number;
  readonly offset: number;
}

export interface WindowAttention {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Keys that a query sees, its own included; less than T. */
  readonly window: number;
  readonly scale: number;
  readonly q: HeadRows;
  readonly k: HeadRows;
  readonly v: HeadRows;
  /** Turn queries and keys, half-split; the tables come from `rotaryTable`. */
  readonly rotary: boolean;
}

/** How a kernel is cut and launched. */
export interface Tuning {
  /** Tokens in a block, a power of two of at least 16. */
  readonly block: number;
  readonly numWarps: number;
  readonly numStages: number;
}

const LOG2E = Math.LOG2E;
/** A hidden score: exp2 of it is 0 beside any visible one. */
const HIDDEN = -1e30;

/** Blocks before its own into which a query's window reaches. */
const blocksBefore = (window: number, block: number): number => Math.ceil((window - 1) / block);

/** Rows of the rotary tables: positions `-before * C` to `(before + 1) * C`. */
export function rotaryRows({ window }: WindowAttention, { block }: Tuning): { first: number; count: number } {
  const before = blocksBefore(window, block);
  return { first: -before * block, count: (2 * before + 1) * block };
}

/** cos and sin of `position * frequency`, `[rows, D/2]`, for the positions of `rotaryRows`. */
export function rotaryTable(
  attention: WindowAttention,
  tuning: Tuning,
  inverseFrequencies: readonly number[],
): { readonly cos: Float64Array; readonly sin: Float64Array } {
  const { first, count } = rotaryRows(attention, tuning);
  const half = inverseFrequencies.length;
  const angle = (i: number): number => (first + Math.floor(i / half)) * (inverseFrequencies[i % half] as number);
  const table = (f: (x: number) => number): Float64Array =>
    Float64Array.from({ length: count * half }, (_, i) => f(angle(i)));
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/** A block's rows of some head, in one piece, or with rotary in the two halves that turn together. */
type Parts = readonly Tile[];

/** What both kernels share: shapes, where things lie, and how blocks are loaded. */
class Blocks {
  readonly b: KernelBuilder;
  readonly before: number;
  readonly count: number;
  readonly group: number;
  readonly #tables: readonly Pointer[];
  readonly #rows: Tile;

  constructor(
    name: string,
    readonly a: WindowAttention,
    readonly tuning: Tuning,
    instances: number,
  ) {
    const { batch, tokens, rotary, headDim } = a;
    const { block, numWarps, numStages } = tuning;
    this.before = blocksBefore(a.window, block);
    this.count = Math.ceil(tokens / block);
    this.group = a.heads / a.kvHeads;
    this.b = new KernelBuilder({ name, grid: [instances, this.count, batch], numWarps, numStages });
    const shape = [rotaryRows(a, tuning).count, headDim / 2];
    this.#tables = rotary ? ['cos', 'sin'].map((t) => this.b.input(t, 'f32', shape)) : [];
    this.#rows = this.b.rows(block);
  }

  source(name: 'q' | 'k' | 'v'): Pointer {
    return this.b.input(name, 'bf16', [this.a.batch, this.a.tokens, this.a[name].width]);
  }

  /** The grid is heads, blocks, batch: instances that run together read the same rows. */
  get ids(): { head: Tile; block: Tile; batch: Tile } {
    return { head: this.b.programId(0), block: this.b.programId(1), batch: this.b.programId(2) };
  }

  /** The start of a head's rows in the block of tokens that starts at `token`. */
  #start(pointer: Pointer, { width, offset }: HeadRows, batch: Tile, head: Tile, token: Tile): Pointer {
    const { b, a } = this;
    const row = b.convert(b.add(b.mul(batch, a.tokens), token), 'i64');
    const channel = b.convert(b.add(b.mul(head, a.headDim), offset), 'i64');
    return b.advance(pointer, b.add(b.mul(row, width), channel));
  }

  /** Which rows of the block at `token` exist, `[C,1]`, or undefined where all do. */
  exist(token: Tile): Tile | undefined {
    const { b, a } = this;
    return a.tokens % this.tuning.block === 0 ? undefined : b.lt(b.add(this.#rows, token), a.tokens);
  }

  /** Rows of a head as float32 or bf16 pieces of `width / pieces` channels. */
  load(pointer: Pointer, place: HeadRows, batch: Tile, head: Tile, token: Tile, pieces = 1): Parts {
    const { b, a } = this;
    const start = this.#start(pointer, place, batch, head, token);
    const width = a.headDim / pieces;
    const offsets = b.add(b.mul(this.#rows, place.width), b.columns(width));
    const mask = this.exist(token);
    return Array.from({ length: pieces }, (_, i) =>
      b.load(start, i === 0 ? offsets : b.add(offsets, i * width), mask === undefined ? {} : { mask }),
    );
  }

  store(pointer: Pointer, place: HeadRows, batch: Tile, head: Tile, token: Tile, parts: Parts): void {
    const { b, a } = this;
    const start = this.#start(pointer, place, batch, head, token);
    const width = a.headDim / parts.length;
    const offsets = b.add(b.mul(this.#rows, place.width), b.columns(width));
    const mask = this.exist(token);
    parts.forEach((part, i) => b.store(start, i === 0 ? offsets : b.add(offsets, i * width), part, mask));
  }

  /** The rotary tables for the block that lies `distance` blocks after the instance's own. */
  #turns(distance: Tile): readonly [cos: Tile, sin: Tile] {
    const { b } = this;
    const half = this.a.headDim / 2;
    const by = b.mul(b.add(distance, this.before), this.tuning.block * half);
    const offsets = b.add(b.mul(this.#rows, half), b.columns(half));
    return this.#tables.map((t) => b.load(b.advance(t, by), offsets)) as [Tile, Tile];
  }

  /** Queries or keys of a block, turned and scaled, in bf16. */
  turned(pointer: Pointer, place: HeadRows, batch: Tile, head: Tile, token: Tile, distance: Tile, scale = 1): Parts {
    const { b } = this;
    const pieces = this.load(pointer, place, batch, head, token, this.a.rotary ? 2 : 1);
    if (!this.a.rotary && scale === 1) return pieces;
    const wide = pieces.map((x) => b.convert(x, 'f32'));
    const result = this.a.rotary ? this.#turn(wide, this.#turns(distance)) : wide;
    return result.map((x) => b.convert(scale === 1 ? x : b.mul(x, scale), 'bf16'));
  }

  #turn([x, y]: Parts, [cos, sin]: readonly [Tile, Tile]): Parts {
    const { b } = this;
    const [p, q] = [x, y] as [Tile, Tile];
    return [b.sub(b.mul(p, cos), b.mul(q, sin)), b.add(b.mul(q, cos), b.mul(p, sin))];
  }

  /** Gradients of turned rows as gradients of the rows themselves. */
  turnedBack(parts: Parts, distance: Tile): Parts {
    const { b } = this;
    if (!this.a.rotary) return parts;
    const [cos, sin] = this.#turns(distance);
    return this.#turn(parts, [cos, b.sub(0, sin)]);
  }

  /** Sum over the pieces of `x [M,d] · y [N,d]ᵀ`. */
  scores(x: Parts, y: Parts): Tile {
    return x.reduce<Tile | undefined>(
      (sum, part, i) => this.b.dot(part, this.b.transpose(y[i] as Tile), sum),
      undefined,
    ) as Tile;
  }

  /** `sum + p · x` for each piece of x. */
  accumulate(sum: Parts, p: Tile, x: Parts): Parts {
    return sum.map((s, i) => this.b.dot(p, x[i] as Tile, s));
  }

  zeros(pieces: number): Parts {
    return Array.from({ length: pieces }, () => this.b.zeros([this.tuning.block, this.a.headDim / pieces]));
  }

  /** Distances of queries (rows) from keys (columns) `blocks` before them, or of keys (rows) from later queries (columns). */
  visible(blocks: Tile, rows: 'queries' | 'keys'): Tile {
    const { b } = this;
    const C = this.tuning.block;
    const [row, column] = [this.#rows, b.columns(C)];
    const within = rows === 'queries' ? b.sub(row, column) : b.sub(column, row);
    const distance = b.add(within, b.mul(blocks, C));
    return b.and(b.ge(distance, 0), b.lt(distance, this.a.window));
  }

  /** Offsets of a block's entries in statistics `[B,H,T]`, from a pointer to the block, and which exist. */
  statistics(pointer: Pointer, batch: Tile, head: Tile, token: Tile): { at: Pointer; offsets: Tile; mask?: Tile } {
    const { b, a } = this;
    const row = b.add(b.mul(batch, a.heads), head);
    const at = b.advance(pointer, b.add(b.mul(row, a.tokens), token));
    const offsets = b.range(this.tuning.block);
    const ragged = a.tokens % this.tuning.block !== 0;
    return ragged ? { at, offsets, mask: b.lt(b.add(offsets, token), a.tokens) } : { at, offsets };
  }
}

/** q, k, v, [cos, sin] -> o `[B,T,H*D]`, log-sum-exp `[B,H,T]`. Operands: [cos, sin], q, k, v. */
export function windowAttentionKernel(a: WindowAttention, tuning: Tuning): Kernel {
  const blocks = new Blocks('window_attention', a, tuning, a.heads);
  const { b, before, group } = blocks;
  const C = tuning.block;
  const [q, k, v] = [blocks.source('q'), blocks.source('k'), blocks.source('v')];
  const out = b.output('o', 'bf16', [a.batch, a.tokens, a.heads * a.headDim]);
  const lse = b.output('lse', 'f32', [a.batch, a.heads, a.tokens]);
  const { head, block, batch } = blocks.ids;
  const token = b.mul(block, C);
  const kvHead = group === 1 ? head : b.div(head, group);
  const query = blocks.turned(q, a.q, batch, head, token, b.constant('i32', [], 0), a.scale * LOG2E);
  const start = [...blocks.zeros(1), b.constant('f32', [C], HIDDEN), b.zeros([C])];
  const turns = b.add(b.min(block, before), 1);
  // From the block's own keys, of which every query sees one, back through the window.
  const [sum, top, total] = b.loop(0, turns, start, (t, carried) => {
    const [acc, m, l] = carried as [Tile, Tile, Tile];
    const from = b.sub(token, b.mul(t, C));
    const keys = blocks.turned(k, a.k, batch, kvHead, from, b.sub(0, t));
    const values = blocks.load(v, a.v, batch, kvHead, from);
    const s = b.select(blocks.visible(t, 'queries'), blocks.scores(query, keys), HIDDEN);
    const next = b.max(m, b.maximum(s, 1));
    const p = b.exp2(b.sub(s, b.expandDims(next, 1)));
    const shrink = b.exp2(b.sub(m, next));
    const scaled = b.mul(acc, b.expandDims(shrink, 1));
    const [added] = blocks.accumulate([scaled], b.convert(p, 'bf16'), values);
    return [added as Tile, next, b.add(b.mul(l, shrink), b.sum(p, 1))];
  }) as [Tile, Tile, Tile];
  const rows = { width: a.heads * a.headDim, offset: 0 };
  blocks.store(out, rows, batch, head, token, [b.div(sum, b.expandDims(total, 1))]);
  const place = blocks.statistics(lse, batch, head, token);
  b.store(place.at, place.offsets, b.mul(b.add(top, b.log2(total)), 1 / LOG2E), place.mask);
  return b.build();
}

/** Queries of a block and what the backward pass needs about them. */
interface Incoming {
  readonly query: Parts;
  readonly dOut: Tile;
  /** Log-sum-exp in base 2, and `sum(do * o)`, `[C]`. */
  readonly lse: Tile;
  readonly delta: Tile;
}

/**
 * q, k, v, o, log-sum-exp, do, [cos, sin] -> dq, dk, dv. Operands: [cos, sin], q, k, v, o, lse, do. Results: `dqkv` `[B,T,width]`
 * with all three where q, k and v lie in it, if `joined`, else `dq` `[B,T,H*D]`, `dk` and `dv` `[B,T,G*D]`.
 */
export function windowAttentionGradKernel(a: WindowAttention, tuning: Tuning, joined: boolean): Kernel {
  const blocks = new Blocks('window_attention_grad', a, tuning, a.kvHeads);
  const { b, before, group, count } = blocks;
  const C = tuning.block;
  const pieces = a.rotary ? 2 : 1;
  const [q, k, v] = [blocks.source('q'), blocks.source('k'), blocks.source('v')];
  const rows = { width: a.heads * a.headDim, offset: 0 };
  const o = b.input('o', 'bf16', [a.batch, a.tokens, rows.width]);
  const lse = b.input('lse', 'f32', [a.batch, a.heads, a.tokens]);
  const dOut = b.input('do', 'bf16', [a.batch, a.tokens, rows.width]);
  const targets = gradientTargets(b, a, joined);
  const { head: kvHead, block, batch } = blocks.ids;
  const token = b.mul(block, C);
  const own = b.constant('i32', [], 0);

  const incoming = (head: Tile, at: Tile, distance: Tile): Incoming => {
    const query = blocks.turned(q, a.q, batch, head, at, distance, a.scale * LOG2E);
    const [d] = blocks.load(dOut, rows, batch, head, at) as [Tile];
    const [out] = blocks.load(o, rows, batch, head, at) as [Tile];
    const delta = b.sum(b.mul(b.convert(d, 'f32'), b.convert(out, 'f32')), 1);
    const place = blocks.statistics(lse, batch, head, at);
    const stats = b.load(place.at, place.offsets, place.mask === undefined ? {} : { mask: place.mask });
    return { query, dOut: d, lse: b.mul(stats, LOG2E), delta };
  };

  const keys = blocks.turned(k, a.k, batch, kvHead, token, own);
  const values = blocks.load(v, a.v, batch, kvHead, token);
  const later = b.add(b.min(b.sub(count - 1, block), before), 1);
  const earlier = b.add(b.min(block, before), 1);
  const start = [...blocks.zeros(pieces), ...blocks.zeros(1)];
  const sums = b.loop(0, group, start, (r, carried) => {
    const head = b.add(b.mul(kvHead, group), r);
    // Keys are rows here: p and ds come out as the transposed products need them.
    const received = b.loop(0, later, carried, (t, sum) => {
      const at = b.add(token, b.mul(t, C));
      const { query, dOut: d, lse: stats, delta } = incoming(head, at, t);
      const s = b.select(blocks.visible(t, 'keys'), blocks.scores(keys, query), HIDDEN);
      const p = b.exp2(b.sub(s, b.expandDims(stats, 0)));
      const dp = blocks.scores(values, [d]);
      const ds = b.mul(p, b.sub(dp, b.expandDims(delta, 0)));
      return [
        ...blocks.accumulate(sum.slice(0, pieces), b.convert(ds, 'bf16'), query),
        ...blocks.accumulate(sum.slice(pieces), b.convert(p, 'bf16'), [d]),
      ];
    });
    const { query, dOut: d, lse: stats, delta } = incoming(head, token, own);
    const dq = b.loop(0, earlier, blocks.zeros(pieces), (t, sum) => {
      const from = b.sub(token, b.mul(t, C));
      const key = blocks.turned(k, a.k, batch, kvHead, from, b.sub(0, t));
      const value = blocks.load(v, a.v, batch, kvHead, from);
      const s = b.select(blocks.visible(t, 'queries'), blocks.scores(query, key), HIDDEN);
      const p = b.exp2(b.sub(s, b.expandDims(stats, 1)));
      const dp = blocks.scores([d], value);
      const ds = b.mul(p, b.sub(dp, b.expandDims(delta, 1)));
      return blocks.accumulate(sum, b.convert(ds, 'bf16'), key);
    });
    const scaled = blocks.turnedBack(dq, own).map((x) => b.mul(x, a.scale));
    blocks.store(targets.q.pointer, targets.q.rows, batch, head, token, scaled);
    return received;
  });
  // The queries of the products carried `scale * log2(e)`.
  const dk = blocks.turnedBack(sums.slice(0, pieces), own).map((x) => b.mul(x, 1 / LOG2E));
  blocks.store(targets.k.pointer, targets.k.rows, batch, kvHead, token, dk);
  blocks.store(targets.v.pointer, targets.v.rows, batch, kvHead, token, sums.slice(pieces));
  return b.build();
}

interface Target {
  readonly pointer: Pointer;
  readonly rows: HeadRows;
}

function gradientTargets(b: KernelBuilder, a: WindowAttention, joined: boolean): Record<'q' | 'k' | 'v', Target> {
  const { batch, tokens, heads, kvHeads, headDim } = a;
  if (joined) {
    const pointer = b.output('dqkv', 'bf16', [batch, tokens, a.q.width]);
    return { q: { pointer, rows: a.q }, k: { pointer, rows: a.k }, v: { pointer, rows: a.v } };
  }
  const target = (name: string, n: number): Target => ({
    pointer: b.output(name, 'bf16', [batch, tokens, n * headDim]),
    rows: { width: n * headDim, offset: 0 },
  });
  return { q: target('dq', heads), k: target('dk', kvHeads), v: target('dv', kvHeads) };
}
