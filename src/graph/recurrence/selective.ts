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

/** `[M,B,C,...]` as the first T of `[B,M*C,...]`. */
function fromChunks(x: Value, T: number): Value {
  const [M, B, C] = dims(x, 3);
  const rest = x.shape.slice(3);
  const tokens = L.reshape(L.transpose(x, [1, 0, 2, ...rest.map((_, i) => i + 3)]), [B, M * C, ...rest]);
  return T === M * C ? tokens : L.sliceAxis(tokens, 1, 0, T);
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

/** The decay that each token of a chunk applies, `[B,C,I,N]`; 0 where a document starts. */
function decayOf({ step, starts }: ChunkInputs, rates: Value): Value {
  const [B, C] = dims(step, 2);
  const decay = L.exp(L.mul(asColumns(step), rates));
  return starts ? L.select(L.eq(L.reshape(starts, [B, C, 1, 1]), 0), decay, 0) : decay;
}

/** The states after each token of a chunk, `[B,C,I,N]`, from the state before it, the decays and what is written. */
function statesOf(state: Value, decay: Value, written: Value): Value {
  const [B, C, I, N] = dims(decay, 4);
  // The decay and the sum over the last m tokens, of each token; the first m tokens of a chunk have no more.
  let [over, sums] = [decay, written];
  for (let m = 1; m < C; m *= 2) {
    const [first, rest] = [(v: Value) => L.sliceAxis(v, 1, 0, m), (v: Value) => L.sliceAxis(v, 1, m, C)];
    const before = (v: Value) => L.sliceAxis(v, 1, 0, C - m);
    sums = L.concat([first(sums), L.add(rest(sums), L.mul(rest(over), before(sums)))], 1);
    over = L.concat([first(over), L.mul(rest(over), before(over))], 1);
  }
  return L.add(sums, L.mul(over, L.reshape(state, [B, 1, I, N])));
}

/** The same from the last token to the first: each state is what its token adds and the decayed one of the next. */
function statesBack(state: Value, decay: Value, added: Value): Value {
  const [B, C, I, N] = dims(decay, 4);
  let [over, sums] = [decay, added];
  for (let m = 1; m < C; m *= 2) {
    const [rest, last] = [(v: Value) => L.sliceAxis(v, 1, 0, C - m), (v: Value) => L.sliceAxis(v, 1, C - m, C)];
    const after = (v: Value) => L.sliceAxis(v, 1, m, C);
    sums = L.concat([L.add(rest(sums), L.mul(rest(over), after(sums))), last(sums)], 1);
    over = L.concat([L.mul(rest(over), after(over)), last(over)], 1);
  }
  return L.add(sums, L.mul(over, L.reshape(state, [B, 1, I, N])));
}

/**
 * One chunk from the state `[B,I,N]` before it: writes dt u `[B,C,I]`, steps dt, B and C `[B,C,N]`, rates A `[I,N]`.
 */
function chunkOf(state: Value, inputs: ChunkInputs, rates: Value): ChunkResult {
  const { written, read, write } = inputs;
  const [B, C, I] = dims(written, 3);
  const N = at(rates.shape, 1);
  const states = statesOf(state, decayOf(inputs, rates), L.mul(asColumns(written), besideChannels(write)));
  const y = L.reduceSum(L.mul(states, besideChannels(read)), [3]);
  return { y, state: L.reshape(L.sliceAxis(states, 1, C - 1, C), [B, I, N]) };
}

/** What a chunk's tokens read and write; documents start where `starts` is not 0. */
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
  return [L.convert(fromChunks(at(ys, 0), T), u.dtype), at(carry, 0)];
}

/** The gradients of a chunk, with the cotangent of the state before it and the sum over tokens of that of the rates. */
interface ChunkGrads {
  readonly byToken: readonly [du: Value, dWrite: Value, dRead: Value, dStep: Value];
  readonly dState: Value;
  readonly dRates: Value;
}

/** A chunk's gradients from the state before it, the cotangents of outputs `[B,C,I]` and of the state after it. */
function chunkGrads(start: Value, u: Value, inputs: ChunkInputs, dOut: Value, dState: Value, rates: Value): ChunkGrads {
  const { written, step, read, write } = inputs;
  const [B, C, I] = dims(written, 3);
  const N = at(rates.shape, 1);
  const decay = decayOf(inputs, rates);
  const states = statesOf(start, decay, L.mul(asColumns(written), besideChannels(write)));
  // What reaches a token's state comes from its own reading and from the state of the next token, which decayed it.
  const undecayed = L.full(decay.dtype, [B, 1, I, N], 1);
  const next = C === 1 ? undecayed : L.concat([L.sliceAxis(decay, 1, 1, C), undecayed], 1);
  const dStates = statesBack(dState, next, L.mul(asColumns(dOut), besideChannels(read)));
  const before = L.reshape(start, [B, 1, I, N]);
  const prior = C === 1 ? before : L.concat([before, L.sliceAxis(states, 1, 0, C - 1)], 1);
  const dLog = L.mul(dStates, L.mul(decay, prior));
  const dWritten = L.reduceSum(L.mul(dStates, besideChannels(write)), [3]);
  const dStep = L.add(L.reduceSum(L.mul(dLog, rates), [3]), L.mul(dWritten, u));
  const first = (x: Value): Value => L.reshape(L.sliceAxis(x, 1, 0, 1), [B, I, N]);
  return {
    byToken: [
      L.mul(dWritten, step),
      L.reduceSum(L.mul(dStates, asColumns(written)), [2]),
      L.reduceSum(L.mul(states, asColumns(dOut)), [2]),
      dStep,
    ],
    dState: L.mul(first(decay), first(dStates)),
    dRates: L.reduceSum(L.mul(dLog, asColumns(step)), [0, 1]),
  };
}

/**
 * selectiveScanGrad in primitives: a scan keeps the state before each chunk, and a second one from the last chunk to
 * the first computes its insides anew.
 */
export function decomposeSelectiveScanGrad(inputs: readonly Value[], attrs: SelectiveScanAttrs): readonly Value[] {
  const [u, write, read] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)];
  const [step, rates] = [at(inputs, 3), at(inputs, 4)];
  const { segments, initialState } = optionalInputs(inputs, 5, attrs);
  const [dOut, dState] = [at(inputs, inputs.length - 2), at(inputs, inputs.length - 1)];
  const [B, T, I] = dims(u, 3);
  const N = at(rates.shape, 1);
  const dtype = stateDtype(u.dtype);
  const wide = (x: Value): Value => L.convert(x, dtype);
  const C = Math.min(attrs.chunk ?? DEFAULT_CHUNK, T);
  const starts = segments ? [documentStarts(segments)] : [];
  const given = [wide(u), step, wide(read), wide(write), wide(dOut), ...starts].map((x) => toChunks(x, C));
  const chunkInputs = ([u, dt, c, b, , documents]: readonly (Value | undefined)[]): ChunkInputs => ({
    written: L.mul(present(u), present(dt)),
    step: present(dt),
    read: present(c),
    write: present(b),
    starts: documents ?? null,
  });
  const first = initialState ?? L.full(dtype, [B, I, N], 0);
  const before = L.scan({ carry: [first], xs: given, consts: [rates] }, ([state], xs, [a]) => {
    const { state: after } = chunkOf(present(state), chunkInputs(xs), present(a));
    return { carry: [after], ys: [present(state)] };
  });
  const { carry, ys } = L.scan(
    {
      ...{ carry: [dState, L.full(dtype, [I, N], 0)], xs: [at(before.ys, 0), ...given], consts: [rates] },
      reverse: true,
    },
    ([d, sum], [start, ...xs], [a]) => {
      const of = chunkGrads(present(start), present(xs[0]), chunkInputs(xs), present(xs[4]), present(d), present(a));
      return { carry: [of.dState, L.add(present(sum), of.dRates)], ys: [...of.byToken] };
    },
  );
  // u, B and C are as narrow as they came; time steps and rates stay in the dtype of states.
  const byToken = ys.map((x, i) => L.convert(fromChunks(x, T), i < 3 ? u.dtype : dtype));
  const grads = [...byToken, at(carry, 1)];
  return initialState ? [...grads, at(carry, 0)] : grads;
}
