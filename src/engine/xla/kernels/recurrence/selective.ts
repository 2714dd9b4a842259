/**
 * The selective scan (src/graph/recurrence/selective.ts) as tile kernels, token by token. A program is one warp: a lane
 * holds all states of one channel, so that reading them is a sum inside the lane. Rows are cut into chunks, so that one
 * long row has programs enough: what a chunk adds to the state and how much of the state before it is left, then a scan
 * over chunks, then each chunk from its own start. The backward pass does the same from the last token to the first; it
 * keeps the state before every few tokens and computes those between anew.
 *
 * Shape letters: B batch, T tokens, I channels, N states of a channel, M chunks. States are `[N,I]`, channels last.
 */
import { at, present } from '../../../../core/index.js';
import { KernelBuilder } from '../triton/builder.js';
import type { BufferDType, Kernel, Pointer, Tile } from '../triton/ir.js';
import type { Arrays, Run } from './pipeline.js';

/** The sizes of a selective scan as its kernels see them. */
export interface SelectiveShape {
  /** Sequences in the batch. */
  readonly batch: number;
  readonly tokens: number;
  /** A multiple of the channels of a program. */
  readonly channels: number;
  /** States of a channel, a power of two from 4. */
  readonly states: number;
  /** The dtype of u, B, C and the output; time steps, rates and states are f32. */
  readonly dtype: 'bf16' | 'f32';
  /** Whether there is an operand with the document of each token. */
  readonly segments: boolean;
}

/** How the kernels of a selective scan cut it. */
export interface SelectiveTuning {
  /** Tokens of a chunk, a multiple of `together`. */
  readonly chunk: number;
  /** Tokens that are loaded at once, and in the backward pass those between two states that are kept. */
  readonly together: number;
  /** Channels of a program, a multiple of the 32 lanes of its warps. */
  readonly block: number;
  readonly numWarps: number;
}

/** The cut that is used. */
export const SELECTIVE_TUNING: SelectiveTuning = { chunk: 128, together: 8, block: 32, numWarps: 1 };

/** Rows of states in a program of the scan over chunks, and the most chunks that it loads at once. */
const [STATE_ROWS, CHUNKS_AT_ONCE] = [4, 8];

/** A kernel with a program for each block of channels and each chunk. */
class ScanKernel {
  readonly b: KernelBuilder;
  /** How many chunks a sequence has, and how many groups of tokens that are loaded at once. */
  readonly chunks: number;
  readonly groups: number;

  constructor(
    name: string,
    readonly shape: SelectiveShape,
    readonly tuning: SelectiveTuning,
  ) {
    const { batch, tokens, channels } = shape;
    const { chunk, together, block, numWarps } = tuning;
    this.chunks = Math.ceil(tokens / chunk);
    this.groups = Math.ceil(tokens / together);
    this.b = new KernelBuilder({ name, grid: [channels / block, this.chunks, batch], numWarps, numStages: 1 });
  }

  get rowsShape(): readonly number[] {
    const { batch, tokens, channels } = this.shape;
    return [batch, tokens, channels];
  }

  rows(name: string, dtype: BufferDType = this.shape.dtype): Pointer {
    return this.b.input(name, dtype, this.rowsShape);
  }

  /** B or C. */
  shared(name: string): Pointer {
    const { batch, tokens, states, dtype } = this.shape;
    return this.b.input(name, dtype, [batch, tokens, states]);
  }

  get rates(): Pointer {
    return this.b.input('rates', 'f32', [this.shape.states, this.shape.channels]);
  }

  get segments(): Pointer | null {
    const { batch, tokens, segments } = this.shape;
    return segments ? this.b.input('segments', 'i32', [batch, tokens]) : null;
  }

  /** The shape of a buffer with `parts` states a sequence. */
  states(parts: number): readonly number[] {
    return [this.shape.batch, parts, this.shape.states, this.shape.channels];
  }

  /** The shape of sums over the channels of a program, which are summed up afterwards. */
  get partial(): readonly number[] {
    const { batch, tokens, states, channels } = this.shape;
    return [channels / this.tuning.block, batch, tokens, states];
  }

  /** Where a program is; call it once all buffers are declared. */
  place(rates: Pointer, segments: Pointer | null): Place {
    return new Place(this, rates, segments);
  }
}

/** A program's chunk and channels, and what it loads and stores there. Tokens are places in the chunk, scalars. */
class Place {
  readonly b: KernelBuilder;
  /** A, times log2 e: GPUs have powers of two. */
  readonly rates: Tile;
  /** Groups of tokens in the chunk that hold any of the row. */
  readonly groups: Tile | number;
  readonly #block: Tile;
  readonly #chunk: Tile;
  readonly #batch: Tile;
  /** The token of the row that the chunk starts with. */
  readonly #first: Tile;
  readonly #segments: Pointer | null;

  constructor(
    readonly kernel: ScanKernel,
    rates: Pointer,
    segments: Pointer | null,
  ) {
    const { b, shape, tuning } = kernel;
    this.b = b;
    [this.#block, this.#chunk, this.#batch] = [b.programId(0), b.programId(1), b.programId(2)];
    this.#first = b.mul(this.#chunk, tuning.chunk);
    this.#segments = segments && b.advance(segments, b.mul(this.#batch, shape.tokens));
    const { chunk, together } = tuning;
    const left = (): Tile => b.min(b.sub(shape.tokens, this.#first), chunk);
    this.groups = shape.tokens % chunk === 0 ? chunk / together : b.div(b.add(left(), together - 1), together);
    const own = b.load(b.advance(rates, b.mul(this.#block, tuning.block)), this.#stateOffsets());
    this.rates = b.mul(own, Math.LOG2E);
  }

  #stateOffsets(): Tile {
    const { b, kernel } = this;
    return b.add(b.mul(b.rows(kernel.shape.states), kernel.shape.channels), b.columns(kernel.tuning.block));
  }

  /** The states of part `part` of the sequence, of `parts`. */
  #statesAt(pointer: Pointer, parts: number, part: Tile): Pointer {
    const { b, kernel } = this;
    const { states, channels } = kernel.shape;
    const index = b.convert(b.add(b.mul(this.#batch, parts), part), 'i64');
    const block = b.convert(b.mul(this.#block, kernel.tuning.block), 'i64');
    return b.advance(pointer, b.add(b.mul(index, states * channels), block));
  }

  /** The states `[N,block]` of the chunk, in a buffer with those of every chunk. */
  load(pointer: Pointer): Tile {
    return this.b.load(this.#statesAt(pointer, this.kernel.chunks, this.#chunk), this.#stateOffsets());
  }

  store(pointer: Pointer, value: Tile): void {
    this.b.store(this.#statesAt(pointer, this.kernel.chunks, this.#chunk), this.#stateOffsets(), value);
  }

  /** The states before a group of the chunk's tokens, in a buffer with those before every group. */
  #groupAt(pointer: Pointer, group: Tile): Pointer {
    const { chunk, together } = this.kernel.tuning;
    const place = this.b.add(this.b.mul(this.#chunk, chunk / together), group);
    return this.#statesAt(pointer, this.kernel.groups, place);
  }

  loadGroup(pointer: Pointer, group: Tile): Tile {
    return this.b.load(this.#groupAt(pointer, group), this.#stateOffsets());
  }

  storeGroup(pointer: Pointer, group: Tile, value: Tile): void {
    this.b.store(this.#groupAt(pointer, group), this.#stateOffsets(), value);
  }

  /** The places of a group's tokens. */
  tokens(group: Tile): readonly Tile[] {
    const { b } = this;
    const { together } = this.kernel.tuning;
    const first = b.mul(group, together);
    return Array.from({ length: together }, (_, i) => b.add(first, i));
  }

  /** Whether a token is one of the row; undefined where all are. */
  #exists(token: Tile): Tile | undefined {
    const { tokens } = this.kernel.shape;
    if (tokens % this.kernel.tuning.together === 0) return undefined;
    return this.b.lt(this.b.add(this.#first, token), tokens);
  }

  /** The start of the chunk in a tensor `[B,T,width]`, `skipped` elements further. */
  #chunkAt(pointer: Pointer, width: number, skipped: Tile | number): Pointer {
    const { b } = this;
    const token = b.convert(b.add(b.mul(this.#batch, this.kernel.shape.tokens), this.#first), 'i64');
    const moved = b.mul(token, width);
    return b.advance(pointer, typeof skipped === 'number' ? moved : b.add(moved, b.convert(skipped, 'i64')));
  }

  #rowOf(pointer: Pointer, token: Tile): { at: Pointer; offsets: Tile } {
    const { b, kernel } = this;
    const { channels } = kernel.shape;
    return {
      at: this.#chunkAt(pointer, channels, b.mul(this.#block, kernel.tuning.block)),
      offsets: b.add(b.columns(kernel.tuning.block), b.mul(token, channels)),
    };
  }

  #masked(pointer: Pointer, offsets: Tile, token: Tile): Tile {
    const mask = this.#exists(token);
    return this.b.convert(this.b.load(pointer, offsets, mask ? { mask } : {}), 'f32');
  }

  /** A token's channels in f32, `[1,block]`; zeros behind the row. */
  row(pointer: Pointer, token: Tile): Tile {
    const { at, offsets } = this.#rowOf(pointer, token);
    return this.#masked(at, offsets, token);
  }

  /** `value [1,block]`. */
  storeRow(pointer: Pointer, token: Tile, value: Tile): void {
    const { at, offsets } = this.#rowOf(pointer, token);
    this.#storeMasked(at, offsets, value, token);
  }

  /** A token's B or C in f32, `[N,1]`; zeros behind the row. */
  shared(pointer: Pointer, token: Tile): Tile {
    const { b } = this;
    const { states } = this.kernel.shape;
    return this.#masked(this.#chunkAt(pointer, states, 0), b.add(b.rows(states), b.mul(token, states)), token);
  }

  /** Stores the sum over the program's channels `[N]`, beside those of other blocks. */
  storePartial(pointer: Pointer, token: Tile, value: Tile): void {
    const { b } = this;
    const { batch, tokens, states } = this.kernel.shape;
    const own = b.advance(pointer, b.mul(b.convert(this.#block, 'i64'), batch * tokens * states));
    const offsets = b.add(b.range(states), b.mul(token, states));
    this.#storeMasked(this.#chunkAt(own, states, 0), offsets, value, token);
  }

  #storeMasked(pointer: Pointer, offsets: Tile, value: Tile, token: Tile): void {
    const exists = this.#exists(token);
    this.b.store(pointer, offsets, value, exists && this.b.broadcast(exists, offsets.shape));
  }

  /** Whether a document starts with a token, which the first of a row does not count as; null without documents. */
  starts(token: Tile): Tile | null {
    const { b } = this;
    const segments = this.#segments;
    if (!segments) return null;
    const last = this.kernel.shape.tokens - 1;
    const own = b.add(this.#first, token);
    const before = b.max(b.sub(own, 1), 0);
    return b.ne(b.load(segments, b.min(own, last)), b.load(segments, b.min(before, last)));
  }

  /** What is left `[N,block]` of the state before a token, or before several of `step` in sum. */
  decay(step: Tile, starts: Tile | null): Tile {
    const { b } = this;
    const decay = b.exp2(b.mul(this.rates, step));
    return starts ? b.select(starts, 0, decay) : decay;
  }

  /** The sum over states, `[1,block]`. */
  overStates(x: Tile): Tile {
    return this.b.expandDims(this.b.sum(x, 0), 0);
  }

  zeros(): Tile {
    return this.b.zeros([this.kernel.shape.states, this.kernel.tuning.block]);
  }
}

/** u, step, write, rates, [segments] -> what a chunk adds to the state, and what it leaves of it, `[B,M,N,I]`. */
function selectiveEndsKernel(shape: SelectiveShape, tuning = SELECTIVE_TUNING): Kernel {
  const x = new ScanKernel('selective_ends', shape, tuning);
  const { b } = x;
  const [u, step, write] = [x.rows('u'), x.rows('step', 'f32'), x.shared('write')];
  const [rates, segments] = [x.rates, x.segments];
  const [end, keep] = [b.output('end', 'f32', x.states(x.chunks)), b.output('keep', 'f32', x.states(x.chunks))];
  const here = x.place(rates, segments);
  const start = [here.zeros(), b.zeros([1, tuning.block]), b.zeros([], 'i32')];
  const [state, total, documents] = b.loop(0, here.groups, start, (group, carried) => {
    const tokens = here.tokens(group).map((t) => {
      return { u: here.row(u, t), step: here.row(step, t), write: here.shared(write, t), starts: here.starts(t) };
    });
    return tokens.reduce<readonly Tile[]>(([s, sum, n], t) => {
      const decayed = b.mul(here.decay(t.step, t.starts), present(s));
      return [
        b.add(decayed, b.mul(b.mul(t.step, t.u), t.write)),
        b.add(present(sum), t.step),
        t.starts ? b.add(present(n), b.convert(t.starts, 'i32')) : present(n),
      ];
    }, carried);
  });
  here.store(end, present(state));
  here.store(keep, here.decay(present(total), segments && b.gt(present(documents), 0)));
  return b.build();
}

/**
 * A scan over chunks, `[B,M,N,I]` each: the state before each chunk and the last one `[B,N,I]`, or backward the
 * cotangent of the state after each chunk and that of the first state.
 */
function chunksKernel(
  shape: SelectiveShape,
  { chunk, block, numWarps }: SelectiveTuning,
  names: Readonly<Record<'name' | 'end' | 'initial' | 'states' | 'last', string>>,
  backward: boolean,
): Kernel {
  const { batch, tokens, channels, states: N } = shape;
  const M = Math.ceil(tokens / chunk);
  const grid = [channels / block, N / STATE_ROWS, batch] as const;
  const b = new KernelBuilder({ name: names.name, grid, numWarps, numStages: 1 });
  const input = (name: string, sizes: readonly number[]): Pointer =>
    b.input(name, 'f32', [batch, ...sizes, N, channels]);
  const [end, keep, initial] = [input(names.end, [M]), input('keep', [M]), input(names.initial, [])];
  const states = b.output(names.states, 'f32', [batch, M, N, channels]);
  const last = b.output(names.last, 'f32', [batch, N, channels]);
  const [column, row] = [b.mul(b.programId(0), block), b.mul(b.programId(1), STATE_ROWS * channels)];
  const own = b.convert(b.add(column, row), 'i64');
  const sequence = b.convert(b.programId(2), 'i64');
  const offsets = b.add(b.mul(b.rows(STATE_ROWS), channels), b.columns(block));
  const whole = (p: Pointer): Pointer => b.advance(p, b.add(b.mul(sequence, N * channels), own));
  const ofChunk = (p: Pointer, m: Tile): Pointer => {
    const index = b.add(b.mul(sequence, M), b.convert(m, 'i64'));
    return b.advance(p, b.add(b.mul(index, N * channels), own));
  };
  // Loads do not wait for the state: those of several chunks are under way at once.
  let together = CHUNKS_AT_ONCE;
  while (M % together !== 0) together /= 2;
  const [after] = b.loop(0, M / together, [b.load(whole(initial), offsets)], (i, [carried]) => {
    const first = b.mul(i, together);
    const places = Array.from({ length: together }, (_, j) => b.add(first, j)).map((m) => {
      return backward ? b.sub(M - 1, m) : m;
    });
    const loaded = places.map((m) => ({
      end: b.load(ofChunk(end, m), offsets),
      keep: b.load(ofChunk(keep, m), offsets),
    }));
    let state = present(carried);
    places.forEach((m, j) => {
      const chunk = at(loaded, j);
      b.store(ofChunk(states, m), offsets, state);
      state = b.add(b.mul(chunk.keep, state), chunk.end);
    });
    return [state];
  });
  b.store(whole(last), offsets, present(after));
  return b.build();
}

/** end, keep, initial -> states `[B,M,N,I]`, last `[B,N,I]`. */
function selectiveStatesKernel(shape: SelectiveShape, tuning = SELECTIVE_TUNING): Kernel {
  const names = { name: 'selective_states', end: 'end', initial: 'initial', states: 'states', last: 'last' };
  return chunksKernel(shape, tuning, names, false);
}

/** dend, keep, dstate -> dstates `[B,M,N,I]`, dinitial `[B,N,I]`. */
function selectiveStateGradsKernel(shape: SelectiveShape, tuning = SELECTIVE_TUNING): Kernel {
  const names = { name: 'selective_state_grads', end: 'dend', initial: 'dstate', states: 'dstates', last: 'dinitial' };
  return chunksKernel(shape, tuning, names, true);
}

/** u, step, write, read, rates, [segments], states -> y `[B,T,I]`. */
function selectiveOutputsKernel(shape: SelectiveShape, tuning = SELECTIVE_TUNING): Kernel {
  const x = new ScanKernel('selective_outputs', shape, tuning);
  const { b } = x;
  const [u, step, write, read] = [x.rows('u'), x.rows('step', 'f32'), x.shared('write'), x.shared('read')];
  const [rates, segments] = [x.rates, x.segments];
  const states = b.input('states', 'f32', x.states(x.chunks));
  const y = b.output('y', shape.dtype, x.rowsShape);
  const here = x.place(rates, segments);
  b.loop(0, here.groups, [here.load(states)], (group, [carried]) => {
    const tokens = here.tokens(group).map((place) => ({
      ...{ place, u: here.row(u, place), step: here.row(step, place), starts: here.starts(place) },
      ...{ write: here.shared(write, place), read: here.shared(read, place) },
    }));
    let state = present(carried);
    for (const t of tokens) {
      const decayed = b.mul(here.decay(t.step, t.starts), state);
      state = b.add(decayed, b.mul(b.mul(t.step, t.u), t.write));
      here.storeRow(y, t.place, here.overStates(b.mul(state, t.read)));
    }
    return [state];
  });
  return b.build();
}

/** u, step, write, rates, [segments], states -> inner `[B,groups,N,I]`, the states before every few tokens. */
function selectiveInnerKernel(shape: SelectiveShape, tuning = SELECTIVE_TUNING): Kernel {
  const x = new ScanKernel('selective_inner', shape, tuning);
  const { b } = x;
  const [u, step, write] = [x.rows('u'), x.rows('step', 'f32'), x.shared('write')];
  const [rates, segments] = [x.rates, x.segments];
  const states = b.input('states', 'f32', x.states(x.chunks));
  const inner = b.output('inner', 'f32', x.states(x.groups));
  const here = x.place(rates, segments);
  b.loop(0, here.groups, [here.load(states)], (group, [carried]) => {
    const tokens = here.tokens(group).map((t) => {
      return { u: here.row(u, t), step: here.row(step, t), write: here.shared(write, t), starts: here.starts(t) };
    });
    here.storeGroup(inner, group, present(carried));
    return [
      tokens.reduce((s, t) => {
        return b.add(b.mul(here.decay(t.step, t.starts), s), b.mul(b.mul(t.step, t.u), t.write));
      }, present(carried)),
    ];
  });
  return b.build();
}

/** step, read, dout, rates, [segments] -> dend `[B,M,N,I]`, what a chunk adds to the cotangent of the state before. */
function selectiveAskedKernel(shape: SelectiveShape, tuning = SELECTIVE_TUNING): Kernel {
  const x = new ScanKernel('selective_asked', shape, tuning);
  const { b } = x;
  const [step, read, dOut] = [x.rows('step', 'f32'), x.shared('read'), x.rows('dout')];
  const [rates, segments] = [x.rates, x.segments];
  const dEnd = b.output('dend', 'f32', x.states(x.chunks));
  const here = x.place(rates, segments);
  const [asked] = b.loop(0, here.groups, [here.zeros()], (i, [carried]) => {
    const tokens = here.tokens(b.sub(b.sub(here.groups, i), 1)).map((t) => {
      return { step: here.row(step, t), read: here.shared(read, t), dOut: here.row(dOut, t), starts: here.starts(t) };
    });
    return [
      tokens.reduceRight((d, t) => {
        return b.mul(here.decay(t.step, t.starts), b.add(d, b.mul(t.read, t.dOut)));
      }, present(carried)),
    ];
  });
  here.store(dEnd, present(asked));
  return b.build();
}

/**
 * u, step, write, read, dout, rates, [segments], inner, dstates -> du, dstep `[B,T,I]`; dwrite, dread `[I/block,B,T,N]`
 * and drates `[B,M,N,I]`, which are to be summed. One loop from the last tokens to the first: a group's states anew,
 * then its cotangents, so the body holds all that tokens share.
 */
function selectiveGradsKernel(shape: SelectiveShape, tuning = SELECTIVE_TUNING): Kernel {
  const x = new ScanKernel('selective_grads', shape, tuning);
  const { b } = x;
  const [u, step, write, read] = [x.rows('u'), x.rows('step', 'f32'), x.shared('write'), x.shared('read')];
  const [dOut, rates, segments] = [x.rows('dout'), x.rates, x.segments];
  const inner = b.input('inner', 'f32', x.states(x.groups));
  const dStates = b.input('dstates', 'f32', x.states(x.chunks));
  const [du, dStep] = [b.output('du', shape.dtype, x.rowsShape), b.output('dstep', 'f32', x.rowsShape)];
  const [dWrite, dRead] = [b.output('dwrite', 'f32', x.partial), b.output('dread', 'f32', x.partial)];
  const dRates = b.output('drates', 'f32', x.states(x.chunks));
  const here = x.place(rates, segments);
  const start = [here.load(dStates), here.zeros()];
  const [, sum] = b.loop(0, here.groups, start, (i, carried) => {
    const group = b.sub(b.sub(here.groups, i), 1);
    const tokens = here.tokens(group).map((place) => {
      const [own, time] = [here.row(u, place), here.row(step, place)];
      return { place, u: own, step: time, written: b.mul(own, time), starts: here.starts(place) };
    });
    // The state before each token.
    let state = here.loadGroup(inner, group);
    const prior = tokens.map((t, j) => {
      const before = state;
      if (j + 1 === tokens.length) return before;
      const added = b.mul(t.written, here.shared(write, t.place));
      state = b.add(b.mul(here.decay(t.step, t.starts), state), added);
      return before;
    });
    return tokens.reduceRight<readonly Tile[]>(([next, byRate], t, j) => {
      const [writes, reads, d] = [here.shared(write, t.place), here.shared(read, t.place), here.row(dOut, t.place)];
      const decay = here.decay(t.step, t.starts);
      const kept = b.mul(decay, at(prior, j));
      const dState = b.add(present(next), b.mul(reads, d));
      here.storePartial(dRead, t.place, b.sum(b.mul(b.add(kept, b.mul(t.written, writes)), d), 1));
      here.storePartial(dWrite, t.place, b.sum(b.mul(dState, t.written), 1));
      const dWritten = here.overStates(b.mul(dState, writes));
      const dLog = b.mul(dState, kept);
      const byStep = b.mul(here.overStates(b.mul(dLog, here.rates)), Math.LN2);
      here.storeRow(du, t.place, b.mul(dWritten, t.step));
      here.storeRow(dStep, t.place, b.add(byStep, b.mul(dWritten, t.u)));
      return [b.mul(decay, dState), b.add(present(byRate), b.mul(dLog, t.step))];
    }, carried);
  });
  here.store(dRates, present(sum));
  return b.build();
}

/** u, step, write, read, rates `[N,I]`, [segments], initial `[B,N,I]` -> y, last `[B,N,I]`. */
export function selectiveForward<X>(
  run: Run<X>,
  shape: SelectiveShape,
  operands: Arrays<X>,
  tuning = SELECTIVE_TUNING,
): Arrays<X> {
  const ends = { ...operands, ...run(selectiveEndsKernel(shape, tuning), operands) };
  const states = { ...ends, ...run(selectiveStatesKernel(shape, tuning), ends) };
  return { ...states, ...run(selectiveOutputsKernel(shape, tuning), states) };
}

/** The inputs of the forward pass, dout, dstate `[B,N,I]` -> du, dstep, dwrite, dread, drates, dinitial `[B,N,I]`. */
export function selectiveBackward<X>(
  run: Run<X>,
  shape: SelectiveShape,
  operands: Arrays<X>,
  tuning = SELECTIVE_TUNING,
): Arrays<X> {
  const kernels = [
    selectiveEndsKernel,
    selectiveStatesKernel,
    selectiveInnerKernel,
    selectiveAskedKernel,
    selectiveStateGradsKernel,
    selectiveGradsKernel,
  ];
  return kernels.reduce((given, of) => ({ ...given, ...run(of(shape, tuning), given) }), operands);
}
