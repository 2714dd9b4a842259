/**
 * The selective scan (Mamba, Gu and Dao 2023) by chunks: a decay per channel and state, so that no matrix product
 * serves several tokens. Inside a chunk, sums over 1, 2, 4, ... tokens are joined in pairs (Hillis and Steele 1986); a
 * scan hands the state from chunk to chunk, and its derivative computes the insides of a chunk anew.
 *
 * Shape letters: B batch, T tokens, I channels, N states of a channel, C tokens in a chunk, M chunks.
 */
import { at, dims, present } from '../../core/index.js';
import { documentStarts } from '../primitives/documents.js';
import * as L from '../primitives/index.js';
import type { Value } from '../ir/types.js';
import { optionalInputs } from './chunks.js';
import { stateDtype, type SelectiveScanAttrs } from './type.js';

/** Chunk length where none is asked for: each doubling costs a pass over the states of a chunk. */
const DEFAULT_CHUNK = 16;

/** `[B,T,...]` in chunks, `[M,B,C,...]`; the tail of the last chunk is zero. */
function toChunks(x: Value, C: number): Value {
  const [B, T, ...rest] = x.shape as [number, number, ...number[]];
  const M = Math.ceil(T / C);
  const padded = T === M * C ? x : L.padAxis(x, 1, 0, M * C - T);
  return L.transpose(L.reshape(padded, [B, M, C, ...rest]), [1, 0, 2, ...rest.map((_, i) => i + 3)]);
}

const asColumns = (x: Value): Value => L.reshape(x, [...x.shape, 1]);

/** `x [B,C,N]` beside channels, `[B,C,1,N]`. */
const besideChannels = (x: Value): Value => {
  const [B, C, N] = dims(x, 3);
  return L.reshape(x, [B, C, 1, N]);
};

/** What a chunk gives: its outputs `[B,C,I]` and the state after its last token `[B,I,N]`. */
interface ChunkResult {
  readonly y: Value;
  readonly state: Value;
}

/**
 * One chunk from the state `[B,I,N]` before it: writes dt u `[B,C,I]`, steps dt, B and C `[B,C,N]`, rates A `[I,N]`.
 */
function chunkOf(state: Value, inputs: ChunkInputs, rates: Value): ChunkResult {
  const { written, step, read, write, starts } = inputs;
  const [B, C, I] = dims(written, 3);
  const N = at(rates.shape, 1);
  const decay = L.exp(L.mul(asColumns(step), rates));
  // The decay and the sum over the last m tokens, of each token; the first m tokens of a chunk have no more.
  let over = starts ? L.select(L.eq(L.reshape(starts, [B, C, 1, 1]), 0), decay, 0) : decay;
  let sums = L.mul(asColumns(written), besideChannels(write));
  for (let m = 1; m < C; m *= 2) {
    const [first, rest] = [(v: Value) => L.sliceAxis(v, 1, 0, m), (v: Value) => L.sliceAxis(v, 1, m, C)];
    const before = (v: Value) => L.sliceAxis(v, 1, 0, C - m);
    sums = L.concat([first(sums), L.add(rest(sums), L.mul(rest(over), before(sums)))], 1);
    over = L.concat([first(over), L.mul(rest(over), before(over))], 1);
  }
  const states = L.add(sums, L.mul(over, L.reshape(state, [B, 1, I, N])));
  const y = L.reduceSum(L.mul(states, besideChannels(read)), [3]);
  return { y, state: L.reshape(L.sliceAxis(states, 1, C - 1, C), [B, I, N]) };
}

interface ChunkInputs {
  readonly written: Value;
  readonly step: Value;
  readonly read: Value;
  readonly write: Value;
  readonly starts: Value | null;
}

/** selectiveScan in primitives: the output `[B,T,I]` and the state after the last token `[B,I,N]`. */
export function decomposeSelectiveScan(inputs: readonly Value[], attrs: SelectiveScanAttrs): readonly Value[] {
  const [u, write, read, step, rates] = inputs as [Value, Value, Value, Value, Value];
  const { segments, initialState } = optionalInputs(inputs, 5, attrs);
  const [B, T, I] = dims(u, 3);
  const dtype = stateDtype(u.dtype);
  const wide = (x: Value): Value => L.convert(x, dtype);
  const given = [L.mul(wide(u), step), step, wide(read), wide(write), ...(segments ? [documentStarts(segments)] : [])];
  const first = initialState ?? L.full(dtype, [B, I, at(rates.shape, 1)], 0);
  const asInputs = ([written, dt, c, b, starts]: readonly (Value | undefined)[]): ChunkInputs => ({
    written: present(written),
    step: present(dt),
    read: present(c),
    write: present(b),
    starts: starts ?? null,
  });
  const C = Math.min(attrs.chunk ?? DEFAULT_CHUNK, T);
  if (C === T) {
    const { y, state } = chunkOf(first, asInputs(given), rates);
    return [L.convert(y, u.dtype), state];
  }
  const { carry, ys } = L.scan(
    { carry: [first], xs: given.map((x) => toChunks(x, C)), consts: [rates] },
    ([state], xs, [a]) => {
      const chunk = chunkOf(present(state), asInputs(xs), present(a));
      return { carry: [chunk.state], ys: [chunk.y] };
    },
  );
  const M = Math.ceil(T / C);
  const tokens = L.reshape(L.transpose(at(ys, 0), [1, 0, 2, 3]), [B, M * C, I]);
  return [L.convert(T === M * C ? tokens : L.sliceAxis(tokens, 1, 0, T), u.dtype), at(carry, 0)];
}
