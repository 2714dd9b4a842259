/** Recurrent mixers with chosen gates and keys, for tests of their chunkwise forms. */
import { Rng, isFloat, sizeOf, tensorFrom, type DType, type HostTensor, type Shape } from '../../src/core/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, Value } from '../../src/graph/index.js';

/** `linear` has a decay per token, `delta` writes what is missing, `channels` has a decay per key channel as well. */
export type Kind = 'linear' | 'delta' | 'channels';
export const KINDS: readonly Kind[] = ['linear', 'delta', 'channels'];

export interface Setup {
  readonly kind: Kind;
  readonly T: number;
  readonly chunk: number;
  readonly B?: number;
  readonly H?: number;
  readonly K?: number;
  readonly V?: number;
  /** Log decay of a token from a uniform draw; default -log-uniform, from near 0 to -4. */
  readonly decay?: (u: number) => number;
  /** Write strength from a uniform draw; default 0 to 1. */
  readonly beta?: (u: number) => number;
  /** How alike keys are: 0 random, 1 equal. */
  readonly alike?: number;
  /** Lengths of packed documents; they must add up to T. */
  readonly documents?: readonly number[];
}

const WIDTHS = { B: 1, H: 2, K: 8, V: 8 };

/** The tensors of a setup, by name: q, k (unit length), v, g, beta, state, [segments], and weights of the outputs. */
export function recurrenceTensors(setup: Setup, dtype: DType): Record<string, HostTensor> {
  const { kind, T, B, H, K, V } = { ...WIDTHS, ...setup };
  const rng = Rng.of(11, `${kind}/${T}`);
  const make = (shape: Shape, draw: () => number): HostTensor =>
    tensorFrom(dtype, shape, Float64Array.from({ length: sizeOf(shape) }, draw));
  const normal = (...shape: number[]): HostTensor => make(shape, () => rng.normal());
  const decay = setup.decay ?? ((u) => -Math.exp(-9 + 10.4 * u));
  const keys = new Float64Array(B * T * H * K);
  const common = Float64Array.from({ length: K }, () => rng.normal());
  for (let row = 0; row < B * T * H; row++) {
    const a = setup.alike ?? 0;
    const key = common.map((c) => a * c + (1 - a) * rng.normal());
    const norm = Math.hypot(...key);
    key.forEach((x, i) => (keys[row * K + i] = x / norm));
  }
  const tensors: Record<string, HostTensor> = {
    q: normal(B, T, H, K),
    k: tensorFrom(dtype, [B, T, H, K], keys),
    v: normal(B, T, H, V),
    g: make([B, T, H, ...(kind === 'channels' ? [K] : [])], () => decay(rng.uniform())),
    beta: make([B, T, H], () => (setup.beta ?? ((u) => u))(rng.uniform())),
    state: normal(B, H, K, V),
    outWeights: normal(B, T, H, V),
    stateWeights: normal(B, H, K, V),
  };
  if (!setup.documents) return tensors;
  const ids = setup.documents.flatMap((n, i) => Array.from({ length: n }, () => i));
  return { ...tensors, segments: tensorFrom('i32', [B, T], Array.from({ length: B }, () => ids).flat()) };
}

/** Emits the recurrence. */
export function applyRecurrence(
  { kind, chunk, K = WIDTHS.K }: Setup,
  at: Readonly<Record<string, Value>>,
): L.Recurrence {
  const options = { scale: 1 / Math.sqrt(K), chunk, segments: at.segments ?? null, initialState: at.state ?? null };
  const [q, k, v, g, beta] = [at.q, at.k, at.v, at.g, at.beta] as [Value, Value, Value, Value, Value];
  return kind === 'linear' ? L.linearRecurrence(q, k, v, g, options) : L.deltaRule(q, k, v, g, beta, options);
}

/** Outputs and the gradients of `sum(outWeights * out) + sum(stateWeights * state)`: out, state, dq, dk, dv, dg, [dbeta], dstate. */
export function recurrenceGraph(setup: Setup, tensors: Readonly<Record<string, HostTensor>>): Graph {
  const inputs = Object.fromEntries(
    Object.entries(tensors).map(([name, t]) => [name, L.input(name, t.dtype, t.shape)]),
  );
  const { out, state } = applyRecurrence(setup, inputs);
  const loss = L.add(
    L.reduceSum(L.mul(out, inputs.outWeights as Value)),
    L.reduceSum(L.mul(state, inputs.stateWeights as Value)),
  );
  const wrt = Object.entries(inputs).filter(
    ([name, v]) => isFloat(v.dtype) && !name.endsWith('Weights') && !(setup.kind === 'linear' && name === 'beta'),
  );
  const grads = L.grad(
    loss,
    wrt.map(([, v]) => v),
  );
  const named = Object.fromEntries(wrt.map(([name], i) => [`d${name}`, grads[i] as Value]));
  return L.makeGraph(inputs, { out, state, ...named });
}
