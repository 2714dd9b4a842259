/** The selective scan token by token, as its definition reads (docs/recurrences.md): independent of the chunks. */
import { at, dims, f64At } from '../../core/index.js';
import type { SelectiveScanAttrs } from '../../graph/index.js';
import { numberArray, type Arrays, type NumberArray } from './array.js';

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
