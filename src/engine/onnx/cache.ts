/**
 * Caches of keys and values on onnxruntime: a chunk's queries go block by block, each against the filled part of the
 * cache up to its own end, whose length is known only when the program runs.
 */
import { at, dims } from '../../core/index.js';
import { cacheBlocks, uniformValue, type Node } from '../../graph/index.js';
import type { Name, OnnxBuilder } from './builder.js';
import { ONNX_TYPES } from './proto.js';

const MASKED = -1e30;

/**
 * Whether the filled part is worth cutting out of the cache: for chunks of several tokens whose place is known only
 * when the program runs.
 */
export function meetsFilled({ inputs: [q, , , first], attrs: { chunk } }: Node<'cacheAttention'>): boolean {
  return at(q.shape, 1) > 1 && uniformValue(first) === null && chunk === undefined;
}

/** A scalar as a list of one i64. */
const index = (b: OnnxBuilder, x: Name): Name => b.reshape(b.cast(x, ONNX_TYPES.i64), [1]);

const counted = (n: number, from: number): Float64Array => Float64Array.from({ length: n }, (_, i) => from + i);

/** cacheWrite as TensorScatter, which writes in place where cache and result share their memory. */
export function lowerCacheWrite(b: OnnxBuilder, { inputs: [cache, rows, start], outputs }: Node<'cacheWrite'>): void {
  const places = b.op('Expand', [index(b, b.of(start)), b.ints([at(cache.shape, 0)])]);
  b.bind(at(outputs, 0), b.op('TensorScatter', [b.of(cache), b.of(rows), places], { axis: 2, mode: 'linear' }));
}

/** cacheAttention in float32. */
export function lowerCacheAttention(b: OnnxBuilder, node: Node<'cacheAttention'>): void {
  const [q, keys, values, first, , sinks] = node.inputs;
  const { scale, softcap } = node.attrs;
  const [B, n, H, D] = dims(q, 4);
  const [, G, , E] = dims(values, 4);
  const queries = b.transpose(b.of(q), [0, 2, 1, 3]);
  const outs = cacheBlocks(n).map(({ from, to }) => {
    const rows = to - from;
    const end = b.op('Add', [index(b, b.of(first)), b.ints([to])]);
    const filled = (x: Name): Name => b.op('Slice', [x, b.ints([0]), end, b.ints([2])]);
    const block = rows === n ? queries : b.op('Slice', [queries, b.ints([from]), b.ints([to]), b.ints([2])]);
    const products = b.op(
      'FusedMatMul',
      [b.reshape(block, [B, G, (H / G) * rows, D]), filled(b.of(keys))],
      { transA: 0, transB: 1, alpha: { float: scale } },
      'com.microsoft',
    );
    const capped = softcap === undefined ? products : cappedBy(b, products, softcap);
    const scores = b.op('Add', [b.reshape(capped, [B, H, rows, -1]), maskOf(b, node, { from, rows, end })]);
    const sink = sinks && b.op('Expand', [b.reshape(b.of(sinks), [1, H, 1, 1]), b.ints([B, H, rows, 1])]);
    const joined = sink ? b.op('Concat', [scores, sink], { axis: 3 }) : scores;
    const shares = b.op('Softmax', [joined], { axis: 3 });
    const p = sink ? b.op('Slice', [shares, b.ints([0]), end, b.ints([3])]) : shares;
    const out = b.op('MatMul', [b.reshape(p, [B, G, (H / G) * rows, -1]), filled(b.of(values))]);
    return b.reshape(out, [B, H, rows, E]);
  });
  const whole = outs.length === 1 ? at(outs, 0) : b.op('Concat', outs, { axis: 2 });
  b.bind(at(node.outputs, 0), b.transpose(whole, [0, 2, 1, 3]));
}

const cappedBy = (b: OnnxBuilder, x: Name, cap: number): Name => {
  const c = b.numbers('f32', [], [cap]);
  return b.op('Mul', [b.op('Tanh', [b.op('Div', [x, c])]), c]);
};

/** What is added to the scores of a block of queries, `[B,1,rows,end]`. Layers have it in common. */
function maskOf(
  b: OnnxBuilder,
  { inputs: [, keys, , first, hidden], attrs: { window } }: Node<'cacheAttention'>,
  { from, rows, end }: { readonly from: number; readonly rows: number; readonly end: Name },
): Name {
  const [B, , S] = dims(keys, 3);
  const own = b.op('Add', [b.of(first), b.numbers('i32', [1, 1, rows, 1], counted(rows, from))]);
  const entry = b.op('Slice', [b.numbers('i32', [1, 1, 1, S], counted(S, 0)), b.ints([0]), end, b.ints([3])]);
  const past = b.op('LessOrEqual', [entry, own]);
  const least = window === null ? null : b.op('Sub', [own, b.numbers('i32', [], [window])]);
  const near = least === null ? past : b.op('And', [past, b.op('Greater', [entry, least])]);
  const seen = b.op('And', [near, b.op('GreaterOrEqual', [entry, b.reshape(b.of(hidden), [B, 1, 1, 1])])]);
  return b.op('Where', [seen, b.numbers('f32', [], [0]), b.numbers('f32', [], [MASKED])]);
}
