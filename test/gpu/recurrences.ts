/**
 * Checks the kernels of the recurrences on a device: output, last state and every gradient in bf16 against the
 * recurrence token by token in float64 on the same numbers, by the norm of the error over the norm of the result.
 */
import { isFloat, tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { evaluateReference, type XlaEngine } from '../../src/engine/index.js';
import { LEAST_LOG_DECAY } from '../../src/engine/xla/kernels/recurrence/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, Value } from '../../src/graph/index.js';
import { applyRecurrence, recurrenceTensors, type Setup } from '../support/recurrences.js';
import { AT_ONCE, runOn, together } from './run.js';

interface RecurrenceCase extends Omit<Setup, 'T' | 'chunk'> {
  readonly name: string;
  /** Heads of queries and keys, where several heads share them. */
  readonly shared?: number;
  /** One decay for each head, not for each token. */
  readonly constant?: boolean;
}

const T = 256;
/** Decays of e^-20 and of 1 side by side. */
const steep = (u: number): number => (u < 0.3 ? -20 : 0);
const DOCUMENTS = [1, 1, 62, 100, 1, 30, 60, 1];
/** Decays within the bound that kernels of keys of removal need. */
const BOUNDED = { kind: 'removal', K: 64, V: 64, decay: (u: number) => -0.7 * u, leastDecay: -0.7 } as const;
const DELTA = [
  ['delta', 'delta rule'],
  ['channels', 'delta rule, a decay per channel'],
] as const;

const CASES: readonly RecurrenceCase[] = [
  { name: 'linear, a decay per head', kind: 'linear', K: 64, V: 64, constant: true },
  { name: 'linear, a decay per token', kind: 'linear', K: 64, V: 64 },
  { name: 'linear, steep decays', kind: 'linear', K: 64, V: 64, decay: steep },
  { name: 'linear, documents', kind: 'linear', K: 64, V: 64, documents: DOCUMENTS },
  { name: 'linear, keys shared by heads', kind: 'linear', K: 128, V: 64, shared: 1 },
  ...DELTA.flatMap(([kind, name]): readonly RecurrenceCase[] => [
    { name, kind, K: 64, V: 128 },
    { name: `${name}, heads of 128`, kind, K: 128, V: 128 },
    { name: `${name}, heads of 24 and 40`, kind, K: 24, V: 40 },
    { name: `${name}, steep decays`, kind, K: 64, V: 64, decay: steep },
    { name: `${name}, documents`, kind, K: 64, V: 64, documents: DOCUMENTS },
    { name: `${name}, keys alike`, kind, K: 64, V: 64, alike: 0.7 },
  ]),
  { name: 'keys of removal', ...BOUNDED },
  { name: 'keys of removal, heads of 24 and 40', ...BOUNDED, K: 24, V: 40 },
  {
    name: 'keys of removal, the steepest decays',
    ...{ ...BOUNDED, decay: (u) => (u < 0.3 ? LEAST_LOG_DECAY : 0), leastDecay: LEAST_LOG_DECAY },
  },
  { name: 'keys of removal, documents', ...BOUNDED, documents: DOCUMENTS },
  { name: 'keys of removal, keys alike', ...BOUNDED, alike: 0.7 },
];

/**
 * Largest error that passes, relative to the result: roundings to bf16, of 2^-9 each; decays' gradients are differences
 * of sums.
 */
const TOLERANCE = 1e-2;
const DECAY_TOLERANCE = 3e-2;

/** The tensors of a case, q, k, v and the output's cotangent rounded to bf16. */
function tensorsOf(one: RecurrenceCase): Record<string, HostTensor> {
  const all = recurrenceTensors({ B: 2, H: 2, chunk: 64, T, ...one }, 'f32');
  const changed = Object.entries(all).map(([name, x]): [string, HostTensor] => {
    const numbers = toNumbers(x);
    const [, , , width] = x.shape as [number, number, number, number];
    if (one.shared !== undefined && (name === 'q' || name === 'k')) {
      const part = { shape: [2, T, one.shared, width], size: 2 * T * one.shared * width };
      return [name, tensorFrom('bf16', part.shape, numbers.slice(0, part.size))];
    }
    if (one.constant && name === 'g') return [name, tensorFrom('f32', [2], [-0.02, -0.3])];
    return [name, ['q', 'k', 'v', 'outWeights'].includes(name) ? tensorFrom('bf16', x.shape, numbers) : x];
  });
  return Object.fromEntries(changed);
}

/** out, state, and gradients by the names of the inputs. */
function graphOf(one: RecurrenceCase, tensors: Readonly<Record<string, HostTensor>>): Graph {
  const inputs = Object.fromEntries(
    Object.entries(tensors).map(([name, t]) => [name, L.input(name, t.dtype, t.shape)]),
  );
  const { out, state } = applyRecurrence({ chunk: 64, T, ...one }, inputs);
  const wrt = Object.entries(inputs).filter(
    ([name, x]) => isFloat(x.dtype) && !name.endsWith('Weights') && !(one.kind === 'linear' && name === 'beta'),
  );
  const grads = L.vjp(
    [out, state],
    [inputs.outWeights as Value, inputs.stateWeights as Value],
    wrt.map(([, x]) => x),
  );
  return L.makeGraph(inputs, { out, state, ...Object.fromEntries(wrt.map(([n], i) => [`d${n}`, grads[i] as Value])) });
}

function relativeError(actual: HostTensor, expected: HostTensor): number {
  const [x, y] = [toNumbers(actual), toNumbers(expected)];
  const norm = (v: Float64Array): number => Math.sqrt(v.reduce((sum, e) => sum + e * e, 0));
  return norm(y.map((e, i) => e - (x[i] as number))) / norm(y);
}

export interface RecurrenceFinding {
  readonly check: string;
  readonly ok: boolean;
  readonly errors: Readonly<Record<string, number>>;
  readonly kernels: number;
}

/** Every kernel of the recurrences; a case that none was used for fails. */
export async function checkRecurrences(
  engine: XlaEngine,
  wanted: (name: string) => boolean,
  report: (finding: RecurrenceFinding) => void,
): Promise<void> {
  const all = CASES.filter(({ name }) => wanted(name));
  await together(all, AT_ONCE, async (one) => {
    const tensors = tensorsOf(one);
    const graph = graphOf(one, tensors);
    const kernels = engine.lower(graph).split('__gpu$xla.gpu.triton').length - 1;
    const actual = await runOn(engine, graph, tensors);
    const expected = evaluateReference(graph, tensors);
    const errors = Object.fromEntries(
      Object.entries(expected).map(([name, want]) => [name, relativeError(actual[name] as HostTensor, want)]),
    );
    const close = Object.entries(errors).every(([name, e]) => e <= (name === 'dg' ? DECAY_TOLERANCE : TOLERANCE));
    report({ check: `recurrence: ${one.name}`, ok: close && kernels > 0, errors, kernels });
  });
}
