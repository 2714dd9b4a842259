/** Recurrent mixers with chosen gates and keys, for tests of their chunkwise forms. */
import { Rng, isFloat, sizeOf, tensorFrom, type DType, type HostTensor, type Shape } from '../../src/core/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, Value } from '../../src/graph/index.js';

/**
 * `linear` has a decay per token, `delta` writes what is missing, `channels` has a decay per key channel as well, and
 * `removal` also keys of its own for what is removed.
 */
export type Kind = 'linear' | 'delta' | 'channels' | 'removal';
export const KINDS: readonly Kind[] = ['linear', 'delta', 'channels', 'removal'];

const hasChannels = (kind: Kind): boolean => kind === 'channels' || kind === 'removal';

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
  /** The least log decay, which is promised to the recurrence; default nothing is. */
  readonly leastDecay?: number;
  /** Write strength from a uniform draw; default 0 to 1. */
  readonly beta?: (u: number) => number;
  /** How alike keys are: 0 random, 1 equal. */
  readonly alike?: number;
  /** Lengths of packed documents; they must add up to T. */
  readonly documents?: readonly number[];
}

const WIDTHS = { B: 1, H: 2, K: 8, V: 8 };

/** Keys of unit length, more or less alike, `[B,T,H,K]` of `rows` rows. */
function unitKeys(rng: Rng, rows: number, K: number, alike: number): Float64Array {
  const keys = new Float64Array(rows * K);
  const common = Float64Array.from({ length: K }, () => rng.normal());
  for (let row = 0; row < rows; row++) {
    const key = common.map((c) => alike * c + (1 - alike) * rng.normal());
    const norm = Math.hypot(...key);
    key.forEach((x, i) => (keys[row * K + i] = x / norm));
  }
  return keys;
}

/**
 * The tensors of a setup, by name: q, k (unit length), v, g, beta, [read (unit length), erase], state, [segments], and
 * weights of the outputs.
 */
export function recurrenceTensors(setup: Setup, dtype: DType): Record<string, HostTensor> {
  const { kind, T, B, H, K, V } = { ...WIDTHS, ...setup };
  const rng = Rng.of(11, `${kind}/${T}`);
  const make = (shape: Shape, draw: () => number): HostTensor =>
    tensorFrom(dtype, shape, Float64Array.from({ length: sizeOf(shape) }, draw));
  const normal = (...shape: number[]): HostTensor => make(shape, () => rng.normal());
  const decay = setup.decay ?? ((u) => -Math.exp(-9 + 10.4 * u));
  const keys = unitKeys(rng, B * T * H, K, setup.alike ?? 0);
  const tensors: Record<string, HostTensor> = {
    q: normal(B, T, H, K),
    k: tensorFrom(dtype, [B, T, H, K], keys),
    v: normal(B, T, H, V),
    g: make([B, T, H, ...(hasChannels(kind) ? [K] : [])], () => decay(rng.uniform())),
    beta: make([B, T, H], () => (setup.beta ?? ((u) => u))(rng.uniform())),
    state: normal(B, H, K, V),
    outWeights: normal(B, T, H, V),
    stateWeights: normal(B, H, K, V),
    ...(kind === 'removal' ? removalKeys([B, T, H, K], setup, dtype) : {}),
  };
  if (!setup.documents) return tensors;
  const ids = setup.documents.flatMap((n, i) => Array.from({ length: n }, () => i));
  return { ...tensors, segments: tensorFrom('i32', [B, T], Array.from({ length: B }, () => ids).flat()) };
}

/** Keys that read what is removed, and the same with a rate of removal in 0 to 1 for every channel. */
function removalKeys(
  shape: readonly [B: number, T: number, H: number, K: number],
  { T, alike = 0 }: Setup,
  dtype: DType,
): Record<string, HostTensor> {
  const rng = Rng.of(11, `removal keys/${T}`);
  const read = unitKeys(rng, sizeOf(shape) / shape[3], shape[3], alike);
  return {
    read: tensorFrom(dtype, shape, read),
    erase: tensorFrom(
      dtype,
      shape,
      read.map((x) => x * rng.uniform()),
    ),
  };
}

/** Emits the recurrence. */
export function applyRecurrence(
  { kind, chunk, K = WIDTHS.K, leastDecay }: Setup,
  at: Readonly<Record<string, Value>>,
): L.Recurrence {
  const options = { scale: 1 / Math.sqrt(K), chunk, segments: at.segments ?? null, initialState: at.state ?? null };
  const [q, k, v, g, beta] = [at.q, at.k, at.v, at.g, at.beta] as [Value, Value, Value, Value, Value];
  if (kind === 'linear') return L.linearRecurrence(q, k, v, g, options);
  const removal = at.read && at.erase ? { read: at.read, erase: at.erase } : null;
  return L.deltaRule(q, k, v, g, beta, { ...options, removal, leastDecay: leastDecay ?? null });
}

/** Outputs and the gradients of `sum(outWeights * out) + sum(stateWeights * state)`: out, state, dq, dk, dv, dg, [dbeta, dread, derase], dstate. */
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
