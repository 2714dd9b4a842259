/**
 * Sliding-window attention as tile kernels, forward and backward, after FlashAttention-2 (Dao 2023): softmax in blocks,
 * scores recomputed in the backward pass from the log-sum-exp. What is special here:
 * - queries, keys and values are read where other ops left them, as channels of wider rows, and gradients can be
 *   written likewise, so that nothing is split, transposed or joined around the kernels;
 * - blocks that a window covers wholly are not masked;
 * - one backward launch: an instance makes dk and dv of its block from the queries that see it, then dq of the same
 *   block, and turns dq and dk back by rotary angles before it stores them.
 *
 * Shape letters: B batch, T tokens, H query heads, G key heads, D head width, C tokens in an instance's block, I in a
 * block that it meets.
 */
import { KernelBuilder, type Launch } from './triton/builder.js';
import { HeadBlocks, type HeadRows, type Parts, type Place } from './heads.js';
import type { Kernel, Pointer, Tile } from './triton/ir.js';

/** An attention with a window, as its kernels see it. */
export interface WindowAttention {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Keys that a query sees, its own included; at most T. */
  readonly window: number;
  readonly scale: number;
  readonly q: HeadRows;
  readonly k: HeadRows;
  readonly v: HeadRows;
}

/** How a kernel is cut and launched. */
export interface Tuning extends Pick<Launch, 'numWarps' | 'numStages' | 'maxRegisters'> {
  /** Tokens in the block of an instance, a power of two of at least 16. */
  readonly block: number;
  /** Tokens of the blocks that it meets, at most as many. */
  readonly inner: number;
}

/** Where the backward kernel puts its results. */
export interface GradientTargets {
  /** Turn dq and dk back by rotary angles. */
  readonly turnBack: boolean;
  /** Rows that hold all three gradients and nothing else; null gives each a tensor of its own. */
  readonly joined: { readonly q: HeadRows; readonly k: HeadRows; readonly v: HeadRows } | null;
}

const LOG2E = Math.LOG2E;
/** A hidden score: exp2 of it is 0 beside any visible one. */
const HIDDEN = -1e30;

/** What is hidden where two blocks meet: later keys, nothing, or keys beyond the window. */
type Hidden = 'later' | 'nothing' | 'beyond';

/**
 * What both kernels share: the grid, and which blocks meet. An instance's C rows are queries or keys; it meets blocks
 * of I columns of the others, number u = 0, 1, ... going away from it: keys from `token + C - (u+1) I` on, or queries
 * from `token + u I` on. Either way query - key is the same function of the row, the column and u, up to its direction.
 */
class Windows {
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

  source(name: 'q' | 'k' | 'v'): Pointer {
    return this.b.input(name, 'bf16', [this.a.batch, this.a.tokens, this.a[name].width]);
  }

  /** Runs `meet` for every block u that has anything to see, of which the last that exists is `last`. */
  each(
    last: Tile,
    start: readonly Tile[],
    meet: (u: Tile, hidden: Hidden, carried: readonly Tile[]) => readonly Tile[],
  ): readonly Tile[] {
    const { b, a } = this;
    const { block: C, inner: I } = this.tuning;
    const around = C / I - 1;
    const whole = Math.max(around, Math.floor(a.window / I) - 1);
    const reach = Math.max(around, Math.floor((a.window + C - 2) / I));
    const phase = (from: number, to: number, hidden: Hidden, carried: readonly Tile[]): readonly Tile[] => {
      if (from > to) return carried;
      if (hidden === 'later' && from === to) return meet(b.constant('i32', [], from), hidden, carried);
      const end = hidden === 'later' ? to + 1 : b.add(b.min(last, to), 1);
      return b.loop(from, end, carried, (u, values) => meet(u, hidden, values));
    };
    const near = phase(0, around, 'later', start);
    return phase(whole + 1, reach, 'beyond', phase(around + 1, whole, 'nothing', near));
  }

  /** The first key of block u, for the instance of queries at `token`, and the last u that there is. */
  keys(token: Tile): { last: Tile; at: (u: Tile) => Tile } {
    const { b } = this;
    const { block: C, inner: I } = this.tuning;
    return {
      last: b.add(b.div(token, I), C / I - 1),
      at: (u) => b.sub(b.add(token, C - I), b.mul(u, I)),
    };
  }

  /** The first query of block u, for the instance of keys at `token`. */
  queries(token: Tile): { last: Tile; at: (u: Tile) => Tile } {
    const { b } = this;
    const { inner: I } = this.tuning;
    return {
      last: b.div(b.sub(this.a.tokens - 1, token), I),
      at: (u) => b.add(token, b.mul(u, I)),
    };
  }

  /** Scores `x yᵀ` of the instance's rows with block u, hidden ones very low. */
  scores(x: Parts, y: Parts, rows: 'queries' | 'keys', u: Tile, hidden: Hidden): Tile {
    const { b } = this;
    const s = this.products(x, y);
    if (hidden === 'nothing') return s;
    const { block: C, inner: I } = this.tuning;
    const [row, column] = [this.own.rows, b.columns(I)];
    const within = rows === 'queries' ? b.sub(row, b.add(column, C - I)) : b.sub(column, row);
    // query - key = within + u I
    const near = b.lt(within, b.sub(this.a.window, b.mul(u, I)));
    if (hidden === 'beyond') return b.select(near, s, HIDDEN);
    const past = b.ge(within, b.sub(0, b.mul(u, I)));
    return b.select(this.a.window < C ? b.and(past, near) : past, s, HIDDEN);
  }

  /** Sum over pieces of `x [M,d] · y [N,d]ᵀ`. */
  products(x: Parts, y: Parts): Tile {
    const { b } = this;
    return x.reduce<Tile | undefined>((sum, part, i) => b.dot(part, b.transpose(y[i] as Tile), sum), undefined) as Tile;
  }

  /** `sum + p · x` for each piece of x. */
  accumulate(sum: Parts, p: Tile, x: Parts): Parts {
    const narrow = this.b.convert(p, 'bf16');
    return sum.map((s, i) => this.b.dot(narrow, x[i] as Tile, s));
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

/** Operands q, k, v; results `o` `[B,T,H*D]`, log-sum-exp `lse` `[B,H,T]`. */
export function windowAttentionKernel(a: WindowAttention, tuning: Tuning): Kernel {
  const windows = new Windows('window_attention', a, tuning, a.heads);
  const { b, own, met, group } = windows;
  const C = tuning.block;
  const [q, k, v] = [windows.source('q'), windows.source('k'), windows.source('v')];
  const out = b.output('o', 'bf16', [a.batch, a.tokens, a.heads * a.headDim]);
  const lse = b.output('lse', 'f32', [a.batch, a.heads, a.tokens]);
  const [head, block, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const token = b.mul(block, C);
  const kvHead = group === 1 ? head : b.div(head, group);
  const query = own.load(q, a.q, { batch, head, token });
  const unit = a.scale * LOG2E;
  const start = [...own.zeros(1), b.constant('f32', [C], HIDDEN), b.zeros([C])];
  const { last, at } = windows.keys(token);
  const [sum, top, total] = windows.each(last, start, (u, hidden, carried) => {
    const [acc, m, l] = carried as [Tile, Tile, Tile];
    const place = { batch, head: kvHead, token: at(u) };
    const keys = met.load(k, a.k, place);
    const values = met.load(v, a.v, place);
    const s = windows.scores(query, keys, 'queries', u, hidden);
    // A row that has seen nothing yet has a very low maximum, and what it summed is multiplied by 0 once it sees a key.
    const next = b.max(m, b.maximum(s, 1));
    const p = b.exp2(b.sub(b.mul(s, unit), b.expandDims(b.mul(next, unit), 1)));
    const shrink = b.exp2(b.mul(b.sub(m, next), unit));
    const scaled = b.mul(acc, b.expandDims(shrink, 1));
    return [...windows.accumulate([scaled], p, values), next, b.add(b.mul(l, shrink), b.sum(p, 1))];
  }) as [Tile, Tile, Tile];
  const rows = { width: a.heads * a.headDim, offset: 0 };
  const place = { batch, head, token };
  own.store(out, rows, place, [b.div(sum, b.expandDims(total, 1))]);
  const entries = windows.statistics(own, lse, place);
  b.store(entries.at, entries.offsets, b.mul(b.add(b.mul(top, unit), b.log2(total)), 1 / LOG2E), entries.mask);
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
 * Operands [cos, sin `[T,D/2]`], q, k, v, o, lse, do; results `dqkv` with all three gradients, or `dq` `[B,T,H*D]`,
 * `dk` and `dv` `[B,T,G*D]`.
 */
export function windowAttentionGradKernel(a: WindowAttention, tuning: Tuning, targets: GradientTargets): Kernel {
  const windows = new Windows('window_attention_grad', a, tuning, a.kvHeads);
  const { b, own, met, group } = windows;
  const tables = targets.turnBack ? ['cos', 'sin'].map((t) => b.input(t, 'f32', [a.tokens, a.headDim / 2])) : [];
  const [q, k, v] = [windows.source('q'), windows.source('k'), windows.source('v')];
  const rows = { width: a.heads * a.headDim, offset: 0 };
  const o = b.input('o', 'bf16', [a.batch, a.tokens, rows.width]);
  const lse = b.input('lse', 'f32', [a.batch, a.heads, a.tokens]);
  const dOut = b.input('do', 'bf16', [a.batch, a.tokens, rows.width]);
  const results = gradientResults(b, a, targets);
  const [kvHead, block, batch] = [b.programId(0), b.programId(1), b.programId(2)];
  const token = b.mul(block, tuning.block);
  const unit = a.scale * LOG2E;

  const incoming = (blocks: HeadBlocks, place: Place): Incoming => {
    const query = blocks.load(q, a.q, place);
    const [d, out] = [blocks.load(dOut, rows, place)[0] as Tile, blocks.load(o, rows, place)[0] as Tile];
    const delta = b.sum(b.mul(b.convert(d, 'f32'), b.convert(out, 'f32')), 1);
    const { at, offsets, mask } = windows.statistics(blocks, lse, place);
    const stats = b.load(at, offsets, mask === undefined ? {} : { mask });
    return { query, dOut: d, lse: b.mul(stats, LOG2E), delta };
  };
  /** Probabilities and the gradient of scores, where `axis` of the tiles are the queries. */
  const gradients = (s: Tile, dp: Tile, { lse: stats, delta }: Incoming, axis: 0 | 1): { p: Tile; ds: Tile } => {
    const p = b.exp2(b.sub(b.mul(s, unit), b.expandDims(stats, 1 - axis)));
    return { p, ds: b.mul(p, b.sub(dp, b.expandDims(delta, 1 - axis))) };
  };
  /** Stores dq or dk, which lack the scale and may have to turn back. */
  const finish = ({ pointer, rows: where }: Target, place: Place, parts: Parts): void => {
    const turned = targets.turnBack
      ? own.turn(b.halves(parts[0] as Tile), own.angles(tables, place.token), true)
      : parts;
    const scaled = turned.map((x) => b.mul(x, a.scale));
    own.store(pointer, where, place, scaled);
  };
  /** Runs `body` for each query head of the group. */
  const perHead = (start: Parts, body: (head: Tile, carried: Parts) => Parts): Parts =>
    group === 1
      ? body(kvHead, start)
      : b.loop(0, group, start, (r, carried) => body(b.add(b.mul(kvHead, group), r), carried));

  // dk and dv. Keys are rows here: p and ds come out as the transposed products need them.
  const place = { batch, head: kvHead, token };
  const keys = own.load(k, a.k, place);
  const values = own.load(v, a.v, place);
  const later = windows.queries(token);
  const sums = perHead([...own.zeros(1), ...own.zeros(1)], (head, carried) =>
    windows.each(later.last, carried, (u, hidden, sum) => {
      const seen = incoming(met, { batch, head, token: later.at(u) });
      const s = windows.scores(keys, seen.query, 'keys', u, hidden);
      const { p, ds } = gradients(s, windows.products(values, [seen.dOut]), seen, 1);
      return [
        ...windows.accumulate(sum.slice(0, 1), ds, seen.query),
        ...windows.accumulate(sum.slice(1), p, [seen.dOut]),
      ];
    }),
  );

  // dq of the same block.
  const earlier = windows.keys(token);
  perHead([], (head) => {
    const seen = incoming(own, { batch, head, token });
    const dq = windows.each(earlier.last, own.zeros(1), (u, hidden, sum) => {
      const from = { batch, head: kvHead, token: earlier.at(u) };
      const [key, value] = [met.load(k, a.k, from), met.load(v, a.v, from)];
      const s = windows.scores(seen.query, key, 'queries', u, hidden);
      return windows.accumulate(sum, gradients(s, windows.products([seen.dOut], value), seen, 0).ds, key);
    });
    finish(results.q, { batch, head, token }, dq);
    return [];
  });
  finish(results.k, place, sums.slice(0, 1));
  own.store(results.v.pointer, results.v.rows, place, sums.slice(1));
  return b.build();
}

interface Target {
  readonly pointer: Pointer;
  readonly rows: HeadRows;
}

function gradientResults(
  b: KernelBuilder,
  { batch, tokens, heads, kvHeads, headDim }: WindowAttention,
  { joined }: GradientTargets,
): Record<'q' | 'k' | 'v', Target> {
  if (joined) {
    const pointer = b.output('dqkv', 'bf16', [batch, tokens, joined.q.width]);
    return {
      q: { pointer, rows: joined.q },
      k: { pointer, rows: joined.k },
      v: { pointer, rows: joined.v },
    };
  }
  const target = (name: string, n: number): Target => ({
    pointer: b.output(name, 'bf16', [batch, tokens, n * headDim]),
    rows: { width: n * headDim, offset: 0 },
  });
  return { q: target('dq', heads), k: target('dk', kvHeads), v: target('dv', kvHeads) };
}
