/** The kernels of the recurrences, interpreted, against the recurrence token by token in float64. */
import { describe, expect, it } from 'vitest';
import { toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { runKernel } from '../../../src/engine/xla/kernels/triton/index.js';
import {
  deltaBackward,
  deltaForward,
  linearBackward,
  linearForward,
  LEAST_LOG_DECAY,
  type RecurrenceShape,
  type Run,
} from '../../../src/engine/xla/kernels/recurrence/index.js';
import { KINDS, recurrenceGraph, recurrenceTensors, type Setup } from '../../support/recurrences.js';

type Numbers = Float64Array;

const running =
  (exact: boolean): Run<Numbers> =>
  (kernel, operands) => {
    const read = kernel.buffers.filter((b) => !b.written).map((b) => [b.name, operands[b.name]] as const);
    return runKernel(kernel, Object.fromEntries(read) as Record<string, Numbers>, { exact });
  };

/** Results of graph and kernels by the graph's names, and the largest difference relative to the largest number. */
function compare(setup: Setup, exact: boolean): Record<string, number> {
  const tensors = recurrenceTensors(setup, exact ? 'f64' : 'f32');
  const expected = evaluateReference(recurrenceGraph(setup, tensors), tensors);
  const at = (name: string): Numbers => toNumbers(tensors[name] as HostTensor);
  const [batch, tokens, heads, keyWidth] = (tensors.q as HostTensor).shape as [number, number, number, number];
  const valueWidth = (tensors.v as HostTensor).shape[3] as number;
  const shape: RecurrenceShape = {
    ...{ batch, tokens, heads, qHeads: heads, kHeads: heads, vHeads: heads, keyWidth, valueWidth },
    ...{ scale: 1 / Math.sqrt(keyWidth), segments: setup.documents !== undefined },
    channels: setup.kind === 'channels' || setup.kind === 'removal',
    removal: setup.kind === 'removal',
  };
  const given = {
    ...{ q: at('q'), k: at('k'), v: at('v'), g: at('g'), beta: at('beta'), initial: at('state') },
    ...{ do: at('outWeights'), dstate: at('stateWeights') },
    ...(setup.documents ? { segments: at('segments') } : {}),
    ...(setup.kind === 'removal' ? { read: at('read'), erase: at('erase') } : {}),
  };
  const run = running(exact);
  const [forward, backward] =
    setup.kind === 'linear'
      ? [linearForward(run, shape, given), linearBackward(run, shape, given)]
      : [deltaForward(run, shape, given), deltaBackward(run, shape, given)];
  const results: Record<string, Numbers | undefined> = {
    ...{ out: forward.o, state: forward.last, dq: backward.dq, dk: backward.dk, dv: backward.dv, dg: backward.dg },
    ...{ dstate: backward.dinitial, ...(setup.kind === 'linear' ? {} : { dbeta: backward.dbeta }) },
    ...(setup.kind === 'removal' ? { dread: backward.dread, derase: backward.derase } : {}),
  };
  return Object.fromEntries(
    Object.entries(results).map(([name, x]) => {
      const y = toNumbers(expected[name] as HostTensor);
      const largest = y.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-30);
      expect(x?.length, name).toBe(y.length);
      return [name, y.reduce((m, v, i) => Math.max(m, Math.abs(v - ((x as Numbers)[i] as number))), 0) / largest];
    }),
  );
}

const WIDE = { H: 2, K: 16, V: 64 };

for (const kind of KINDS) {
  // Those of keys of removal take decays down to a bound.
  const removal = kind === 'removal';
  const bounded: Pick<Setup, 'decay'> = removal ? { decay: (u) => -0.7 * u } : {};
  describe(`${kind} kernels`, () => {
    const check = (setup: Omit<Setup, 'kind' | 'chunk'>, exact: boolean, tolerance: number): void => {
      const errors = compare({ kind, chunk: 64, ...bounded, ...setup }, exact);
      for (const [name, e] of Object.entries(errors)) expect(e, name).toBeLessThanOrEqual(tolerance);
    };
    it('are the recurrence, in exact arithmetic', () => check({ T: 192, ...WIDE }, true, 1e-10));
    it('are the recurrence on packed documents', () => {
      check({ T: 128, H: 1, K: 16, V: 32, documents: [1, 1, 40, 22, 1, 30, 1, 31, 1] }, true, 1e-10);
    });
    it('are within bf16 of the recurrence', () => check({ T: 128, ...WIDE }, false, 2e-2));
    it('hold equal keys written with strengths up to 2', () => {
      check({ T: 64, H: 1, K: 16, V: 16, alike: 1, beta: (u) => 2 * u }, true, 1e-10);
    });
    const steepest = removal ? LEAST_LOG_DECAY : -20;
    it(`hold a decay of e^${steepest} and one of 1`, () => {
      check({ T: 128, H: 1, K: 16, V: 32, decay: (u) => (u < 0.3 ? steepest : 0) }, true, 1e-10);
    });
  });
}

it('grouped heads: keys shared by all heads, as Mamba-2 has them', () => {
  const shape: RecurrenceShape = {
    ...{ batch: 1, tokens: 64, heads: 2, qHeads: 1, kHeads: 1, vHeads: 2, keyWidth: 16, valueWidth: 16 },
    ...{ scale: 1, segments: false, channels: false, removal: false },
  };
  const numbers = (n: number, f: (i: number) => number): Numbers => Float64Array.from({ length: n }, (_, i) => f(i));
  const one = { q: numbers(64 * 16, Math.sin), k: numbers(64 * 16, Math.cos) };
  const twice = (x: Numbers): Numbers => numbers(64 * 32, (i) => x[Math.floor(i / 32) * 16 + (i % 16)] as number);
  const rest = {
    v: numbers(64 * 32, (i) => Math.sin(3 * i)),
    g: numbers(128, (i) => -0.01 * (i % 7)),
    initial: numbers(512, () => 0),
  };
  const shared = linearForward(running(true), shape, { ...one, ...rest });
  const repeated = linearForward(
    running(true),
    { ...shape, qHeads: 2, kHeads: 2 },
    {
      ...{ q: twice(one.q), k: twice(one.k) },
      ...rest,
    },
  );
  expect(shared.o).toEqual(repeated.o);
  expect(shared.last).toEqual(repeated.last);
});
