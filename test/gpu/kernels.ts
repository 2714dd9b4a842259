/**
 * Checks the tile kernels on a device: what a model computes with them in bf16, forward and backward, against the
 * reference engine's ops on the same numbers in float32, by the norm of the error over the norm of the result.
 */
import { sizeOf, tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { evaluateReference, type XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { DType } from '../../src/core/index.js';
import type { Value } from '../../src/graph/index.js';
import { randomTensor } from '../support/random.js';
import { AT_ONCE, gradients, runOn, together } from './run.js';

/** Part of a tensor's last axis with a name of its own. */
interface Part {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

interface KernelCase {
  readonly name: string;
  /** Of `x`. */
  readonly shape: readonly number[];
  readonly build: (x: Value) => Value;
  /** Of the gradient of `x`; all of it if left out. */
  readonly parts?: readonly Part[];
}

/** Largest error that passes, relative to the result: some roundings to bf16, of 2^-9 each. */
const TOLERANCE = 1e-2;
/**
 * A root mean square below which errors count as if the result had it: results that are zero have errors of their own.
 */
const SMALL = 1e-2;

interface AttentionCase {
  readonly tokens: number;
  readonly window: number | null;
  readonly turned: boolean;
  readonly width?: number;
  /** Lengths of the documents that the row holds. */
  readonly documents?: readonly number[];
  readonly sinks?: boolean;
}

/** The document of each token. */
function segmentsOf(lengths: readonly number[]): Value {
  const ids = lengths.flatMap((n, i) => Array.from({ length: n }, () => i));
  return L.constant(tensorFrom('i32', [1, ids.length], Float64Array.from(ids)));
}

/** Attention as a layer computes it from its projection: four heads of queries, two of keys. */
function attentionCase({ tokens, window, turned, width: D = 64, documents, sinks = false }: AttentionCase): KernelCase {
  const [H, G] = [4, 2];
  const [B, T] = [1, tokens];
  const frequencies = Array.from({ length: D / 2 }, (_, i) => 10000 ** ((-2 * i) / D));
  const heads = (x: Value, n: number): Value => L.reshape(x, [B, T, n, D]);
  const ends = [0, H * D, (H + G) * D, (H + 2 * G) * D];
  const parts = ['dq', 'dk', 'dv'].map((name, i) => ({ name, from: ends[i] as number, to: ends[i + 1] as number }));
  return {
    name:
      `attention window ${window ?? 'none'}, ${T} tokens${turned ? ', rotary' : ''}` +
      (documents ? `, heads of ${D}${sinks ? ' with sinks' : ''}, documents ${documents.join(' ')}` : ''),
    shape: [B, T, (H + 2 * G) * D],
    parts,
    build: (x) => {
      const [qk, v] = L.split(x, 2, [(H + G) * D, G * D]) as [Value, Value];
      const both = turned ? L.rotary(heads(qk, H + G), frequencies) : heads(qk, H + G);
      const [q, k] = L.split(both, 2, [H, G]) as [Value, Value];
      const segments = documents ? segmentsOf(documents) : null;
      const z = sinks ? L.convert(L.constant(randomTensor('f32', [H], 'sinks')), x.dtype) : null;
      return L.attention(q, k, heads(v, G), { window, scale: 1 / Math.sqrt(D), segments, sinks: z }).out;
    },
  };
}

const LENGTHS: readonly (readonly [tokens: number, windows: readonly (number | null)[]])[] = [
  [512, [1, 2, 127, 128, 129, 256, null]],
  [520, [1, 128, 129]],
];

/**
 * Documents that end where blocks of 64 and 128 do, one token before and behind, of one token, and one that is the row.
 */
const DOCUMENTS = [1, 63, 65, 63, 1, 127, 130, 62];
const PACKED: readonly KernelCase[] = [
  ...[1, 64, 127, 128, 129, 300, null].map((window) =>
    attentionCase({ tokens: 512, window, turned: true, documents: DOCUMENTS }),
  ),
  ...[128, null].flatMap((window) => [
    attentionCase({ tokens: 512, window, turned: false, documents: DOCUMENTS }),
    attentionCase({ tokens: 520, window, turned: true, documents: [300, 220] }),
    attentionCase({ tokens: 512, window, turned: true, documents: [512] }),
    attentionCase({ tokens: 512, window, turned: true, width: 32, documents: DOCUMENTS }),
    attentionCase({ tokens: 512, window, turned: true, width: 128, documents: DOCUMENTS }),
    attentionCase({ tokens: 512, window, turned: true, width: 80, documents: DOCUMENTS, sinks: true }),
  ]),
];

function targets(rows: number, classes: number): Value {
  const ids = Float64Array.from({ length: rows }, (_, i) => (i * 37 + 11) % classes);
  return L.constant(tensorFrom('i32', [rows], ids));
}

const CASES: readonly KernelCase[] = [
  ...LENGTHS.flatMap(([tokens, windows]) =>
    windows.flatMap((window) =>
      (window === null ? [false] : [false, true]).map((turned) => attentionCase({ tokens, window, turned })),
    ),
  ),
  ...PACKED,
  ...[64, 768, 1000, 4096].map((width): KernelCase => ({
    name: `norm before a sum, ${width} channels`,
    shape: [3, 70, width],
    build: (x) => L.add(x, L.rmsNorm(x, null, 1e-6)),
  })),
  ...[12, 3].map((n): KernelCase => ({
    name: `rotary, ${n} heads`,
    shape: [2, 130, n, 64],
    build: (x) =>
      L.rotary(
        x,
        Array.from({ length: 32 }, (_, i) => 500 ** (-i / 32)),
      ),
  })),
  ...[2048, 688, 24].map((width): KernelCase => ({
    name: `SwiGLU, ${width} channels`,
    shape: [3, 70, 2 * width],
    build: (x) => L.swiglu(...(L.split(x, 2, [width, width]) as [Value, Value])),
  })),
  ...[256, 8192, 11000].map((classes): KernelCase => ({
    name: `cross-entropy, ${classes} classes`,
    shape: [150, classes],
    build: (x) => L.crossEntropy(x, targets(150, classes)).loss,
  })),
];

/** Output and gradient, of `x` in one dtype; in bf16 by the rules of mixed precision. */
function graphOf({ name, shape, build }: KernelCase, dtype: DType): L.Graph {
  const x = L.input('x', dtype, shape);
  const exact = build(x);
  const out = dtype === 'bf16' ? (L.mixedPrecision([exact])[0] as Value) : exact;
  const [dx] = gradients([out], [x], name) as [Value];
  return L.makeGraph({ x }, { out, dx });
}

/** Norms of the error and of what is wanted, over some channels. */
function relativeError(actual: HostTensor, want: HostTensor, { from, to }: Omit<Part, 'name'>): number {
  const [a, b] = [toNumbers(actual), toNumbers(want)];
  const width = want.shape.at(-1) as number;
  let [error, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (i % width < from || i % width >= to) continue;
    error += ((a[i] as number) - (b[i] as number)) ** 2;
    size += (b[i] as number) ** 2;
  }
  const count = (sizeOf(want.shape) / width) * (to - from);
  return Math.sqrt(error / Math.max(size, count * SMALL ** 2));
}

export interface KernelFinding {
  readonly check: string;
  readonly ok: boolean;
  /** Relative error of the output and of each gradient. */
  readonly errors: Readonly<Record<string, number>>;
  /** What it was computed with. */
  readonly kernels: readonly string[];
}

/** Every tile kernel at the edges of its sizes. */
export async function checkTileKernels(
  engine: XlaEngine,
  wanted: (name: string) => boolean,
  report: (finding: KernelFinding) => void,
): Promise<void> {
  const all = CASES.filter(({ name }) => wanted(name));
  await together(all, AT_ONCE, async (one) => {
    const x = randomTensor('f32', one.shape, `kernels/${one.name}`);
    const narrow = tensorFrom('bf16', one.shape, toNumbers(x));
    const graph = graphOf(one, 'bf16');
    const text = engine.lower(graph);
    const got = await runOn(engine, graph, { x: narrow });
    const want = evaluateReference(graphOf(one, 'f32'), { x: tensorFrom('f32', one.shape, toNumbers(narrow)) });
    const of = (name: string, part: Omit<Part, 'name'>): number =>
      relativeError(got[name] as HostTensor, want[name] as HostTensor, part);
    const all = { from: 0, to: Infinity };
    const outWidth = (want['out'] as HostTensor).shape.at(-1) as number;
    const parts = one.parts ?? [{ name: 'dx', from: 0, to: one.shape.at(-1) as number }];
    const errors = Object.fromEntries([
      ['out', of('out', { ...all, to: outWidth })],
      ...parts.map((part): [string, number] => [part.name, of('dx', part)]),
    ]);
    const named = [...text.matchAll(/ name = "(\w+)"|@(__cudnn\$\w+)/g)].map((m) => m[1] ?? (m[2] as string));
    const ok = Object.values(errors).every((e) => e <= TOLERANCE);
    report({ check: one.name, ok, errors, kernels: [...new Set(named)] });
  });
}
