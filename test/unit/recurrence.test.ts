/** The chunkwise forms against the token-by-token recurrence, in float64: forward and every gradient. */
import { describe, expect, it } from 'vitest';
import { tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { evaluateReference } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import { randomTensor } from '../support/random.js';
import {
  KINDS,
  applyRecurrence,
  recurrenceGraph,
  recurrenceTensors,
  type Kind,
  type Setup,
} from '../support/recurrences.js';

/** The largest difference, relative to the largest number (at least 1). */
function difference(a: HostTensor, b: HostTensor): number {
  const [x, y] = [toNumbers(a), toNumbers(b)];
  expect(x.length).toBe(y.length);
  const scale = y.reduce((m, v) => Math.max(m, Math.abs(v)), 1);
  return x.reduce((m, v, i) => {
    const d = Math.abs(v - (y[i] as number)) / scale;
    return Number.isNaN(d) ? Infinity : Math.max(m, d);
  }, 0);
}

function check(setup: Setup, tolerance = 1e-10): void {
  const tensors = recurrenceTensors(setup, 'f64');
  const graph = recurrenceGraph(setup, tensors);
  const expected = evaluateReference(graph, tensors);
  const actual = evaluateReference(L.simplify(L.expand(graph)), tensors);
  for (const { name } of graph.outputs) {
    expect(difference(actual[name] as HostTensor, expected[name] as HostTensor), name).toBeLessThanOrEqual(tolerance);
  }
}

/** Rows `from .. to` along the token axis. */
function tokens(t: HostTensor, from: number, to: number): HostTensor {
  const v = L.constant(t);
  const graph = L.makeGraph({}, { y: L.sliceAxis(v, 1, from, to) });
  return evaluateReference(graph, {}).y as HostTensor;
}

function run(setup: Setup, tensors: Readonly<Record<string, HostTensor>>): { out: HostTensor; state: HostTensor } {
  const inputs = Object.fromEntries(
    Object.entries(tensors).map(([name, t]) => [name, L.input(name, t.dtype, t.shape)]),
  );
  const { out, state } = applyRecurrence(setup, inputs);
  const graph = L.makeGraph(inputs, { out, state });
  return evaluateReference(L.simplify(L.expand(graph)), tensors) as { out: HostTensor; state: HostTensor };
}

/** The names of the inputs that every token has. */
const perToken = (kind: Kind): string[] => [
  ...['q', 'k', 'v', 'g', 'beta'],
  ...(kind === 'removal' ? ['read', 'erase'] : []),
];

for (const kind of KINDS) {
  describe(`${kind}: chunks against the recurrence`, () => {
    for (const [T, chunk] of [
      [1, 16],
      [7, 16],
      [16, 16],
      [50, 16],
      [50, 32],
      [70, 64],
    ] as const) {
      it(`${T} tokens in chunks of ${chunk}`, () => check({ kind, T, chunk }));
    }
    it('no decay', () => check({ kind, T: 40, chunk: 16, decay: () => 0 }));
    it('a decay of e^-20 at every token', () => check({ kind, T: 40, chunk: 16, decay: () => -20 }));
    it('decays of both kinds', () => check({ kind, T: 40, chunk: 16, decay: (u) => (u < 0.3 ? -20 : -1e-4) }));
    it('packed documents, some of one token', () => {
      check({ kind, T: 40, chunk: 16, documents: [1, 1, 13, 1, 1, 1, 14, 7, 1] });
    });
    if (kind !== 'linear') {
      it('equal keys, write strength 1', () => check({ kind, T: 40, chunk: 32, alike: 1, beta: () => 1 }));
      it('equal keys, write strength 2', () => {
        check({ kind, T: 40, chunk: 32, alike: 1, beta: () => 2, decay: () => -1e-3 });
      });
      it('similar keys, no decay', () => {
        check({ kind, T: 40, chunk: 32, alike: 0.9, beta: () => 1, decay: () => 0 });
      });
    }

    it('a sequence in two parts is the sequence', () => {
      const setup: Setup = { kind, T: 40, chunk: 16 };
      const all = recurrenceTensors(setup, 'f64');
      const whole = run(setup, all);
      const part = (from: number, to: number, state: HostTensor) => {
        const cut = perToken(kind).map((name) => [name, tokens(all[name] as HostTensor, from, to)]);
        return run(setup, { ...(Object.fromEntries(cut) as Record<string, HostTensor>), state });
      };
      for (const at of [1, 16, 23, 39]) {
        const first = part(0, at, all.state as HostTensor);
        const second = part(at, 40, first.state);
        expect(difference(first.out, tokens(whole.out, 0, at))).toBeLessThanOrEqual(1e-12);
        expect(difference(second.out, tokens(whole.out, at, 40))).toBeLessThanOrEqual(1e-12);
        expect(difference(second.state, whole.state)).toBeLessThanOrEqual(1e-12);
      }
    });

    it('packed documents are the separate documents', () => {
      const setup: Setup = { kind, T: 40, chunk: 16, documents: [5, 1, 20, 1, 13] };
      const all = recurrenceTensors(setup, 'f64');
      const packed = run(setup, all);
      let from = 0;
      for (const length of setup.documents as readonly number[]) {
        const names = [...perToken(kind), ...(from === 0 ? ['state'] : [])];
        const cut = names.map((name) => {
          const t = all[name] as HostTensor;
          return [name, name === 'state' ? t : tokens(t, from, from + length)];
        });
        const alone = run(setup, Object.fromEntries(cut) as Record<string, HostTensor>);
        expect(difference(tokens(packed.out, from, from + length), alone.out)).toBeLessThanOrEqual(1e-12);
        from += length;
        if (from === 40) expect(difference(packed.state, alone.state)).toBeLessThanOrEqual(1e-12);
      }
    });
  });
}

describe('causal convolution in primitives', () => {
  // Every way to cut seven tokens into documents, with ids that come back.
  it.each([1, 2, 4])('keeps packed documents apart, %i taps', (width) => {
    const T = 7;
    const ways = Array.from({ length: 2 ** (T - 1) }, (_, way) => {
      const cuts = Array.from({ length: T }, (_, t) => (t > 0 ? (way >> (t - 1)) & 1 : 0));
      return cuts.map((_, t) => cuts.slice(0, t + 1).reduce((a, b) => a + b, 0) % 2);
    });
    const [B, C] = [ways.length, 2];
    const shapes = { x: [B, T, C], weight: [C, width], state: [B, width - 1, C] };
    const floats = Object.entries(shapes).map(([n, shape]): [string, HostTensor] => [n, randomTensor('f64', shape, n)]);
    const tensors = {
      ...Object.fromEntries(floats),
      segments: tensorFrom('i32', [B, T], Float64Array.from(ways.flat())),
    };
    const inputs = Object.fromEntries(Object.entries(tensors).map(([n, t]) => [n, L.input(n, t.dtype, t.shape)]));
    const { x, weight, segments, state: initialState } = inputs as Record<string, L.Value>;
    const { out, state } = L.causalConv(x!, weight!, { segments: segments!, initialState: initialState! });
    const graph = L.makeGraph(inputs, { out, state });
    const [want, got] = [evaluateReference(graph, tensors), evaluateReference(L.expand(graph), tensors)];
    for (const name of ['out', 'state']) expect(difference(got[name]!, want[name]!), name).toBeLessThan(1e-12);
  });
});

describe('keys of removal', () => {
  it('that are the keys, are the delta rule', () => {
    const tensors = recurrenceTensors({ kind: 'channels', T: 23, chunk: 8 }, 'f64');
    const own = { ...tensors, read: tensors.k as HostTensor, erase: tensors.k as HostTensor };
    const [plain, separate] = [
      run({ kind: 'channels', T: 23, chunk: 8 }, tensors),
      run({ kind: 'removal', T: 23, chunk: 8 }, own),
    ];
    expect(difference(separate.out, plain.out)).toBeLessThanOrEqual(1e-12);
    expect(difference(separate.state, plain.state)).toBeLessThanOrEqual(1e-12);
  });
});

describe('type rules of the recurrences', () => {
  const x = (heads: number, width = 4) => L.input('x', 'f32', [2, 8, heads, width]);
  const g = L.input('g', 'f32', [2, 8, 4]);

  it('names heads that do not divide those of the decay', () => {
    expect(() => L.linearRecurrence(x(3), x(4), x(4), g, { scale: 1 })).toThrow(/4 heads of the decay.*3 query heads/);
  });
  it('wants chunks that are a power of two', () => {
    expect(() => L.linearRecurrence(x(4), x(4), x(4), g, { scale: 1, chunk: 48 })).toThrow(/chunk 48.*power of two/);
  });
  it('wants the state in f32 beside bf16', () => {
    const b = L.input('b', 'bf16', [2, 8, 4, 4]);
    const state = L.input('s', 'bf16', [2, 4, 4, 4]);
    expect(() => L.linearRecurrence(b, b, b, g, { scale: 1, initialState: state })).toThrow(/must be f32 beside bf16/);
    expect(L.linearRecurrence(b, b, b, g, { scale: 1 }).state.dtype).toBe('f32');
  });
});
