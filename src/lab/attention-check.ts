/** Attention on an engine against the reference, forward and backward, with windows one shorter and one longer. */
import { entry, f64At, Rng, sizeOf, tensorFrom, toNumbers, type DType, type HostTensor } from '../core/index.js';
import { evaluateReference, xlaPlatforms, type Engine, type EngineName } from '../engine/index.js';
import { attention, convert, grad, input, makeGraph, mul, reduceSum, type Graph, type Value } from '../graph/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** Largest absolute differences over all windows, of the `forward` and the `backward` pass. */
export interface AttentionErrors {
  readonly forward: number;
  readonly backward: number;
}

/** The window, in keys, the query's own included, at whose edges attention is compared. */
const WINDOW = 8;
/** Windows in keys, the query's own included; null sees all. */
const WINDOWS: readonly (number | null)[] = [1, WINDOW - 1, WINDOW, WINDOW + 1, null];
/** The windows that are told of, in keys. */
export const WINDOW_EDGES: readonly [number, number, number] = [WINDOW - 1, WINDOW, WINDOW + 1];
/** Sequences, tokens, heads, key heads, width: what fused kernels take too. */
const [B, T, H, G, D] = [2, 32, 4, 2, 16];
const SHAPES = { q: [B, T, H, D], k: [B, T, G, D], v: [B, T, G, D] } as const;

function attentionGraph(dtype: DType): Graph {
  const inputs = Object.fromEntries(Object.entries(SHAPES).map(([name, shape]) => [name, input(name, dtype, shape)]));
  const qkv = [inputs['q'], inputs['k'], inputs['v']] as [Value, Value, Value];
  const outputs: Record<string, Value> = {};
  WINDOWS.forEach((window, i) => {
    const { out } = attention(...qkv, { window, scale: 1 / Math.sqrt(D) });
    const wide = convert(out, 'f32');
    outputs[`forward ${i}`] = out;
    grad(reduceSum(mul(wide, wide)), qkv).forEach((g, k) => (outputs[`backward ${i} ${k}`] = g));
  });
  return makeGraph(inputs, outputs);
}

/**
 * Largest absolute difference of attention; gradients here reach 20, and a window that is off by one differs by more
 * than 1.
 */
const ATTENTION_TOLERANCE = { f32: 1e-4, bf16: 0.2 } as const;

/** The engines that come with the package, and xla on every platform that this host has a plugin and a device for. */
export function enginesHere(): readonly EngineName[] {
  return ['onnx', 'reference', ...xlaPlatforms().map((platform) => `xla:${platform}` as const)];
}

/** How far attention is from the reference in one dtype, and whether that passes. */
export interface AttentionCheck {
  readonly dtype: 'f32' | 'bf16';
  readonly errors: AttentionErrors;
  readonly ok: boolean;
}

/**
 * Holds an engine's attention, forward and backward, against the float64 reference at the edges of windows: in f32, and
 * on xla in bf16 after it. Throws what the engine throws.
 */
export async function checkAttention(engine: Engine): Promise<AttentionCheck[]> {
  const dtypes = engine.info.name === 'xla' ? (['f32', 'bf16'] as const) : (['f32'] as const);
  const checks: AttentionCheck[] = [];
  for (const dtype of dtypes) {
    const errors = await attentionErrors(engine, dtype);
    checks.push({ dtype, errors, ok: Math.max(errors.forward, errors.backward) <= ATTENTION_TOLERANCE[dtype] });
  }
  return checks;
}

async function attentionErrors(engine: Engine, dtype: 'f32' | 'bf16'): Promise<AttentionErrors> {
  const graph = attentionGraph(dtype);
  const rng = Rng.of(1, 'doctor', 'attention');
  const tensors: Record<string, HostTensor> = Object.fromEntries(
    Object.entries(SHAPES).map(([name, shape]) => [
      name,
      tensorFrom(
        dtype,
        shape,
        Float64Array.from({ length: sizeOf(shape) }, () => rng.normal()),
      ),
    ]),
  );
  const expected = evaluateReference(graph, tensors);
  const program = await engine.compile(graph);
  try {
    const found = await program.run(
      Object.fromEntries(
        Object.entries(tensors).map(([name, t]) => [name, engine.upload({ ...t, data: t.data.slice() })]),
      ),
    );
    const errors = { forward: 0, backward: 0 };
    for (const [name, tensor] of Object.entries(found)) {
      const kind = name.startsWith('forward') ? 'forward' : 'backward';
      const want = toNumbers(entry(expected, name));
      toNumbers(await engine.download(tensor)).forEach((x, i) => {
        const off = Math.abs(x - readF64(want, i));
        errors[kind] = Math.max(errors[kind], Number.isNaN(off) ? Infinity : off);
      });
    }
    return errors;
  } finally {
    await program.dispose();
  }
}
