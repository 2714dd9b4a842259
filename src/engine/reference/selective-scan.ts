/** The selective scan token by token, as its definition reads (docs/recurrences.md): independent of the chunks. */
import { at, dims, f64At } from '../../core/index.js';
import type { SelectiveScanAttrs } from '../../graph/index.js';
import { numberArray, zerosLike, type Arrays, type NumberArray } from './array.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** The output `[B,T,I]` and the state after the last token `[B,I,N]`. */
export function selectiveScan(inputs: Arrays<'selectiveScan'>, attrs: SelectiveScanAttrs): NumberArray[] {
  const [u, write, read, step, rates, ...rest] = inputs;
  const segments = attrs.segments ? rest[0]?.data : undefined;
  const initial = attrs.initialState ? rest[Number(attrs.segments)]?.data : undefined;
  const [B, T, I] = dims(u, 3);
  const N = at(rates.shape, 1);
  const out = numberArray([B, T, I]);
  const states = numberArray([B, I, N], initial?.slice());
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      const token = b * T + t;
      const starts = segments !== undefined && t > 0 && segments[token] !== segments[token - 1];
      for (let i = 0; i < I; i++) {
        const dt = readF64(step.data, token * I + i);
        let sum = 0;
        for (let n = 0; n < N; n++) {
          const place = (b * I + i) * N + n;
          const kept = starts ? 0 : Math.exp(dt * readF64(rates.data, i * N + n)) * readF64(states.data, place);
          const state = kept + dt * readF64(u.data, token * I + i) * readF64(write.data, token * N + n);
          states.data[place] = state;
          sum += readF64(read.data, token * N + n) * state;
        }
        out.data[token * I + i] = sum;
      }
    }
  }
  return [out, states];
}

/** The gradients of every input but the documents, from the last token to the first; all states are kept. */
export function selectiveScanGrad(inputs: Arrays<'selectiveScanGrad'>, attrs: SelectiveScanAttrs): NumberArray[] {
  const [u, write, read, step, rates, ...rest] = inputs;
  const segments = attrs.segments ? rest[0]?.data : undefined;
  const initial = attrs.initialState ? rest[Number(attrs.segments)]?.data : undefined;
  const [dOut, dState] = [at(rest, rest.length - 2), at(rest, rest.length - 1)];
  const [B, T, I] = dims(u, 3);
  const N = at(rates.shape, 1);
  const [du, dWrite, dRead] = [zerosLike(u), zerosLike(write), zerosLike(read)];
  const [dStep, dRates] = [zerosLike(step), zerosLike(rates)];
  const dInitial = numberArray([B, I, N]);
  const add = ({ data }: NumberArray, i: number, x: number): void => void (data[i] = readF64(data, i) + x);
  // A state of a channel meets no other: each is followed forth and back by itself.
  for (let line = 0; line < B * I * N; line++) {
    const [b, i, n] = [Math.floor(line / (I * N)), Math.floor(line / N) % I, line % N];
    const rate = readF64(rates.data, i * N + n);
    const token = (t: number): number => b * T + t;
    const starts = (t: number): boolean =>
      segments !== undefined && t > 0 && segments[token(t)] !== segments[token(t) - 1];
    const decay = (t: number): number => (starts(t) ? 0 : Math.exp(readF64(step.data, token(t) * I + i) * rate));
    const written = (t: number): number => readF64(step.data, token(t) * I + i) * readF64(u.data, token(t) * I + i);
    const states = [initial ? readF64(initial, line) : 0];
    for (let t = 0; t < T; t++) {
      states.push(decay(t) * at(states, t) + written(t) * readF64(write.data, token(t) * N + n));
    }
    let d = readF64(dState.data, line);
    for (let t = T - 1; t >= 0; t--) {
      const [channel, state] = [token(t) * I + i, token(t) * N + n];
      const dy = readF64(dOut.data, channel);
      d += readF64(read.data, state) * dy;
      add(dRead, state, dy * at(states, t + 1));
      add(dWrite, state, d * written(t));
      const dWritten = d * readF64(write.data, state);
      add(du, channel, dWritten * readF64(step.data, channel));
      const dLog = d * decay(t) * at(states, t);
      add(dStep, channel, dWritten * readF64(u.data, channel) + dLog * rate);
      add(dRates, i * N + n, dLog * readF64(step.data, channel));
      d *= decay(t);
    }
    dInitial.data[line] = d;
  }
  return [du, dWrite, dRead, dStep, dRates, ...(attrs.initialState ? [dInitial] : [])];
}
