import { describe, expect, it } from 'vitest';
import {
  DTypeError,
  LongsightError,
  ShapeError,
  tensorFrom,
  toNumbers,
  type HostTensor,
} from '../../src/core/index.js';
import * as g from '../../src/graph/index.js';
import type { Graph, Node, OpName, Value } from '../../src/graph/index.js';

const f = (name: string, ...shape: number[]): Value => g.input(name, 'f32', shape);
const ops = (graph: Graph): OpName[] => graph.nodes.map((n) => n.op);
const count = (graph: Graph, op: OpName): number => ops(graph).filter((o) => o === op).length;

describe('building', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['add', () => g.add(f('a', 2, 3), f('b', 4)), /add\(f32\[2,3\], f32\[4\]\).*axis 1.*3 and 4/],
    [
      'dot',
      () => g.linear(f('a', 2, 3), f('b', 4, 5)),
      /dot\(f32\[2,3\], f32\[4,5\]\).*1 of lhs \(3\) and 0 of rhs \(4\)/,
    ],
    ['reshape', () => g.reshape(f('a', 2, 3), [7]), /reshape\(f32\[2,3\]\).*\[7\].*6 elements are not 7/],
    ['concat', () => g.concat([f('a', 2, 3), f('b', 3, 3)], 1), /concat.*only along axis 1/],
    ['slice', () => g.sliceAxis(f('a', 4), 0, 2, 6), /slice.*2:6:1 does not lie in 0\.\.4/],
    ['transpose', () => g.transpose(f('a', 2, 3), [0, 0]), /transpose.*\[0,0\] is not an order/],
    ['heads', () => attention(3, 2, 4), /attention.*3 query heads are not a multiple of 2/],
    ['window 0', () => attention(2, 2, 0), /attention.*window 0 must be a whole number of keys >= 1/],
    ['window -3', () => attention(2, 2, -3), /attention.*window -3/],
    ['window 2.5', () => attention(2, 2, 2.5), /attention.*window 2\.5/],
    ['grad', () => g.grad(f('a', 2), []), /grad needs a scalar, got shape \[2\]/],
  ])('names the op and its shapes: %s', (_, build, message) => {
    expect(build).toThrow(ShapeError);
    expect(build).toThrow(message);
  });

  it('never mixes dtypes in silence', () => {
    expect(() => g.add(f('a', 2), g.input('b', 'i32', [2]))).toThrow(DTypeError);
    expect(() => g.add(f('a', 2), g.input('b', 'i32', [2]))).toThrow(/add\(f32\[2\], i32\[2\]\).*convert/);
    expect(() => g.take(f('a', 2), f('i', 1))).toThrow(/indices must be i32/);
    expect(() => g.exp(g.input('n', 'i32', [1]))).toThrow(/floating-point/);
  });

  it('refuses an output that needs an input which is not listed', () => {
    const [a, b] = [f('a', 1), f('b', 1)];
    expect(() => g.makeGraph({ a }, { y: g.add(a, b) })).toThrow(/needs input "b"/);
  });

  it('refuses a scan body that reaches outside itself', () => {
    const outside = f('outside', 2);
    const build = (): unknown =>
      g.scan({ carry: [f('c', 2)], length: 3 }, ([c]) => ({ carry: [g.add(c as Value, outside)] }));
    expect(build).toThrow(/needs input "outside"/);
  });
});

function attention(heads: number, kvHeads: number, window: number): Value {
  const [q, k] = [f('q', 1, 5, heads, 2), f('k', 1, 5, kvHeads, 2)];
  return g.attention(q, k, k, { window, scale: 1 }).out;
}

describe('printing', () => {
  it('shows one node a line, inputs by name, types and attributes', () => {
    const x = f('x', 2, 3);
    const graph = g.makeGraph({ x }, { y: g.reduceSum(g.mul(g.exp(x), 2), [1]) });
    expect(g.printGraph(graph)).toMatchInlineSnapshot(`
      "%0 = input() {name: x} : f32[2,3]
      %1 = exp(%0) : f32[2,3]
      %2 = constant() {tensor: 2} : f32[]
      %3 = mul(%1, %2) : f32[2,3]
      %4 = reduceSum(%3) {axes: [1], keepDims: false} : f32[2]
      return y=%4"
    `);
  });

  it('shows the bodies of scans', () => {
    const [c, xs] = [f('c', 2), f('xs', 3, 2)];
    const { carry } = g.scan({ carry: [c], xs: [xs] }, ([s], [x]) => ({ carry: [g.add(s as Value, x as Value)] }));
    const text = g.printGraph(g.simplify(g.makeGraph({ c, xs }, { last: carry[0] as Value })));
    expect(text).toContain(
      'scan(%0, %1) {length: 3, numCarry: 1, numXs: 1, reverse: false, savesCarry: false} : f32[2]',
    );
    expect(text).toContain('  %2 = add(%0, %1) : f32[2]');
  });
});

describe('verifying', () => {
  it('accepts what the builder makes', () => {
    const x = f('x', 2);
    expect(() => g.verify(g.makeGraph({ x }, { y: g.exp(x) }))).not.toThrow();
  });

  it('finds a node out of order', () => {
    const x = f('x', 2);
    const graph = g.makeGraph({ x }, { y: g.exp(g.neg(x)) });
    expect(() => g.verify({ ...graph, nodes: [...graph.nodes].reverse() })).toThrow(
      /uses a value of .* that comes later/,
    );
  });

  it('finds a type that the rule does not give', () => {
    const x = f('x', 2);
    const y = g.exp(x);
    const outputs: Value[] = [];
    const node = { ...y.node, outputs } as unknown as Node;
    outputs.push({ dtype: 'f32', shape: [3], node, index: 0 });
    const graph: Graph = {
      inputs: [{ name: 'x', value: x }],
      outputs: [{ name: 'y', value: outputs[0] as Value }],
      nodes: [x.node, node],
    };
    expect(() => g.verify(graph)).toThrow(LongsightError);
    expect(() => g.verify(graph)).toThrow(/node 1 \(exp\) does not have the dtype and shape/);
  });
});

describe('simplifying', () => {
  it('merges equal nodes and keeps different ones', () => {
    const x = f('x', 3);
    const graph = g.simplify(g.makeGraph({ x }, { y: g.add(g.exp(x), g.mul(g.exp(x), g.exp(g.neg(x)))) }));
    expect(count(graph, 'exp')).toBe(2);
  });

  it('merges what reads equal reshapes of reshapes', () => {
    const x = f('x', 2, 3);
    const again = (): Value => g.exp(g.reshape(g.reshape(x, [6]), [3, 2]));
    const graph = g.simplify(g.makeGraph({ x }, { y: g.add(again(), g.neg(again())) }));
    expect(ops(graph)).toEqual(['input', 'reshape', 'exp', 'neg', 'add']);
  });

  it('does not merge across a barrier', () => {
    const x = f('x', 3);
    const [tied] = g.barrier([x, g.neg(x)]);
    const graph = g.simplify(g.makeGraph({ x }, { y: g.add(g.exp(x), g.exp(tied)) }));
    expect(count(graph, 'exp')).toBe(2);
  });

  it('drops identities and lets elementwise ops broadcast by themselves', () => {
    const x = f('x', 2, 3);
    const y = g.transpose(g.transpose(g.add(g.mul(x, 1), 0), [1, 0]), [1, 0]);
    const z = g.sub(g.reshape(g.reshape(y, [6]), [2, 3]), g.broadcast(g.reduceSum(x, [0]), [2, 3]));
    const graph = g.simplify(g.makeGraph({ x }, { z }));
    expect(ops(graph)).toEqual(['input', 'reduceSum', 'sub']);
  });

  it('makes a reshape of a transpose that moves axes of one alone', () => {
    const x = f('x', 2, 1, 3);
    const graph = g.simplify(g.makeGraph({ x }, { y: g.transpose(x, [1, 0, 2]), z: g.transpose(x, [2, 1, 0]) }));
    expect(ops(graph)).toEqual(['input', 'reshape', 'transpose']);
    expect(graph.outputs.map((o) => o.value.shape)).toEqual([
      [1, 2, 3],
      [3, 1, 2],
    ]);
  });

  it('folds constants with the evaluator it is given', () => {
    const x = f('x', 2);
    const two = g.add(g.scalar(1, 'f32'), g.scalar(1, 'f32'));
    const evaluate: g.Evaluate = (node, inputs): HostTensor[] => {
      expect(node.op).toBe('add');
      const [a, b] = inputs.map((t) => toNumbers(t)[0] as number) as [number, number];
      return [tensorFrom('f32', [], [a + b])];
    };
    const graph = g.simplify(g.makeGraph({ x }, { y: g.mul(x, two) }), { evaluate });
    expect(ops(graph)).toEqual(['input', 'constant', 'mul']);
  });

  it('drops what a scan saves for a derivative that nobody asked for', () => {
    const [c, xs] = [f('c', 2), f('xs', 3, 2)];
    const run = (): readonly Value[] => {
      const body = ([s]: Value[], [x]: Value[]): { carry: Value[]; ys: Value[] } => {
        const next = g.tanh(g.add(s as Value, x as Value));
        return { carry: [next], ys: [g.exp(next)] };
      };
      return g.scan({ carry: [c], xs: [xs] }, body).carry;
    };
    const forward = g.simplify(g.makeGraph({ c, xs }, { y: run()[0] as Value }));
    const scanNode = forward.nodes.find((n) => n.op === 'scan') as Node<'scan'>;
    expect(scanNode.outputs).toHaveLength(1);
    expect(ops(scanNode.attrs.body)).not.toContain('exp');
  });
});

describe('rematerialization', () => {
  it('computes the body again in the backward pass, behind a barrier', () => {
    const [x, w] = [f('x', 2, 3), f('w', 3, 3)];
    const layer = (a: Value, b: Value): Value => g.tanh(g.linear(a, b));
    const loss = (h: Value): Value => g.reduceSum(g.mul(h, h));
    const [kept] = g.grad(loss(layer(x, w)), [w]) as [Value];
    const [again] = g.grad(loss(g.remat([x, w], ([a, b]) => [layer(a as Value, b as Value)])[0] as Value), [w]) as [
      Value,
    ];
    const graphOf = (v: Value): Graph => g.simplify(g.expand(g.makeGraph({ x, w }, { dw: v })));
    expect(count(graphOf(kept), 'tanh')).toBe(1);
    expect(count(graphOf(again), 'tanh')).toBe(2);
    expect(count(graphOf(again), 'barrier')).toBe(1);
  });

  it('holds for attention too: scores are computed anew, not kept', () => {
    const q = f('q', 1, 40, 1, 2);
    const [dq] = g.grad(g.reduceSum(g.attention(q, q, q, { window: 4, scale: 1 }).out), [q]) as [Value];
    const graph = g.simplify(g.expand(g.makeGraph({ q }, { dq }), { keep: (n) => n.op === 'softmax' }));
    expect(count(graph, 'softmax')).toBe(2);
  });
});

describe('windowed attention', () => {
  const elements = (window: number | null, T: number): number => {
    const q = f('q', 1, T, 1, 4);
    const graph = g.simplify(g.expand(g.makeGraph({ q }, { o: g.attention(q, q, q, { window, scale: 1 }).out })));
    return Math.max(...graph.nodes.flatMap((n) => n.outputs.map((v) => v.shape.reduce((a, b) => a * b, 1))));
  };

  it('costs T times w, never T times T', () => {
    expect(elements(64, 4096)).toBe(4096 * 128);
    expect(elements(64, 8192)).toBe(2 * elements(64, 4096));
  });

  it('holds no T x T tensor without a window either', () => {
    expect(elements(null, 8192)).toBeLessThanOrEqual(8192 * 256);
  });
});
