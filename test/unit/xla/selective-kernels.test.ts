/** The kernels of the selective scan, interpreted, against the scan token by token in float64. */
import { expect, it } from 'vitest';
import { present, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { runKernel } from '../../../src/engine/xla/kernels/triton/index.js';
import {
  SELECTIVE_TUNING,
  selectiveBackward,
  selectiveForward,
  type Run,
  type SelectiveShape,
} from '../../../src/engine/xla/kernels/recurrence/index.js';
import * as L from '../../../src/graph/index.js';
import { randomTensor } from '../../support/random.js';

type Numbers = Float64Array;
type Sizes = readonly [batch: number, tokens: number, channels: number, states: number];

/** Chunks of 8 tokens, of which 4 are loaded at once. */
const SMALL = { ...SELECTIVE_TUNING, chunk: 8, together: 4 };

const running =
  (exact: boolean): Run<Numbers> =>
  (kernel, operands) => {
    const read = kernel.buffers.filter((b) => !b.written).map((b) => [b.name, present(operands[b.name])] as const);
    return runKernel(kernel, Object.fromEntries(read), { exact });
  };

interface Setup {
  readonly exact?: boolean;
  /** The length of each document, in every row. */
  readonly documents?: readonly number[];
  readonly tuning?: typeof SELECTIVE_TUNING;
  /** What a state forgets in nats per unit of time, from a number of -1 to 1; default up to 2. */
  readonly rate?: (x: number) => number;
}

function tensorsOf([B, T, I, N]: Sizes, { documents, rate = (x) => -1 - x }: Setup): Record<string, HostTensor> {
  const draw = (name: string, shape: readonly number[], map?: (x: number) => number): HostTensor =>
    randomTensor('f64', shape, `selective ${name}`, map);
  const ids = documents?.flatMap((n, i) => Array.from({ length: n }, () => i));
  return {
    ...{ u: draw('u', [B, T, I]), write: draw('B', [B, T, N]), read: draw('C', [B, T, N]) },
    ...{ step: draw('dt', [B, T, I], Math.abs), rates: draw('A', [I, N], rate) },
    ...(ids ? { segments: tensorFrom('i32', [B, T], Array.from({ length: B }, () => ids).flat()) } : {}),
    ...{ initial: draw('state', [B, I, N]), dout: draw('dout', [B, T, I]), dstate: draw('dstate', [B, I, N]) },
  };
}

/** The scan and its gradients as the reference engine has them, token by token. */
function expectedOf(tensors: Readonly<Record<string, HostTensor>>): Record<string, Numbers> {
  const at = Object.fromEntries(Object.entries(tensors).map(([n, t]) => [n, L.input(n, t.dtype, t.shape)]));
  const of = (name: string): L.Value => present(at[name]);
  const inputs = { u: of('u'), write: of('write'), read: of('read'), step: of('step'), rates: of('rates') };
  const options = { segments: at.segments ?? null, initialState: of('initial'), ownGradient: true };
  const { out, state } = L.selectiveScan(inputs, options);
  const wrt = { ...inputs, initial: of('initial') };
  const grads = L.vjp([out, state], [of('dout'), of('dstate')], Object.values(wrt));
  const named = Object.fromEntries(Object.keys(wrt).map((n, i) => [`d${n}`, present(grads[i])]));
  const results = evaluateReference(L.makeGraph(at, { y: out, last: state, ...named }), tensors);
  return Object.fromEntries(Object.entries(results).map(([n, t]) => [n, toNumbers(t)]));
}

/** `[batch,rows,columns]` with the two exchanged. */
function exchanged(x: Numbers, rows: number, columns: number): Numbers {
  return x.map((_, i) => {
    const [row, column] = [Math.floor((i % (rows * columns)) / rows), i % rows];
    return present(x[i - (i % (rows * columns)) + column * columns + row]);
  });
}

/** The sums over the first axis of `[n,...]` with `size` elements behind it. */
function overFirst(x: Numbers, size: number): Numbers {
  return Float64Array.from({ length: size }, (_, i) => {
    let sum = 0;
    for (let j = i; j < x.length; j += size) sum += present(x[j]);
    return sum;
  });
}

/** The largest difference of each result, relative to its largest number. */
function errorsOf(sizes: Sizes, setup: Setup): Record<string, number> {
  const [batch, tokens, channels, states] = sizes;
  const tensors = tensorsOf(sizes, setup);
  const expected = expectedOf(tensors);
  const numbers = (name: string): Numbers => toNumbers(present(tensors[name]));
  const last = (x: Numbers): Numbers => exchanged(x, channels, states);
  const exact = setup.exact ?? true;
  const shape: SelectiveShape = {
    ...{ batch, tokens, channels, states, dtype: exact ? 'f32' : 'bf16' },
    segments: setup.documents !== undefined,
  };
  const names = ['u', 'write', 'read', 'step', 'dout', ...(setup.documents ? ['segments'] : [])];
  const given = {
    ...Object.fromEntries(names.map((name) => [name, numbers(name)])),
    ...{ rates: last(numbers('rates')), initial: last(numbers('initial')), dstate: last(numbers('dstate')) },
  };
  const run = running(exact);
  const { tuning = SMALL } = setup;
  const forward = selectiveForward(run, shape, given, tuning);
  const backward = selectiveBackward(run, shape, given, tuning);
  const first = (x: Numbers): Numbers => exchanged(x, states, channels);
  const actual: Record<string, Numbers> = {
    ...{ y: present(forward.y), last: first(present(forward.last)) },
    ...{ du: present(backward.du), dstep: present(backward.dstep) },
    dwrite: overFirst(present(backward.dwrite), batch * tokens * states),
    dread: overFirst(present(backward.dread), batch * tokens * states),
    drates: first(overFirst(present(backward.drates), states * channels)),
    dinitial: first(present(backward.dinitial)),
  };
  return Object.fromEntries(
    Object.entries(expected).map(([name, y]) => {
      const x = present(actual[name]);
      expect(x.length, name).toBe(y.length);
      const largest = y.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-30);
      return [name, y.reduce((m, v, i) => Math.max(m, Math.abs(v - present(x[i]))), 0) / largest];
    }),
  );
}

function check(sizes: Sizes, setup: Setup = {}, tolerance = 1e-11): void {
  for (const [name, e] of Object.entries(errorsOf(sizes, setup))) expect(e, name).toBeLessThanOrEqual(tolerance);
}

it.each([1, 7, 8, 9, 15, 16, 17])('rows of %i tokens in chunks of 8 are the recurrence, in exact arithmetic', (T) => {
  check([1, T, 32, 4]);
});

it('several rows, blocks of channels and groups of states are, too', () => check([2, 24, 64, 16]));

it('documents start from nothing, at the edges of chunks and inside', () => {
  check([2, 26, 32, 4], { documents: [1, 6, 1, 1, 7, 8, 2] });
});

it('decays of e^-200 and of 1 lose nothing', () => check([1, 16, 32, 4], { rate: (x) => (x < 0 ? -200 : 0) }));

it('blocks of more lanes and channels a lane give the same', () => {
  check([1, 12, 128, 4], { tuning: { ...SMALL, block: 64, numWarps: 1 } });
});

it('are within bf16 of the recurrence', () => check([1, 24, 32, 8], { exact: false }, 2e-2));
