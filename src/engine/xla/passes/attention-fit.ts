/**
 * Which attention the tile kernels take, and what is done around them for what they do not know: heads of other widths
 * get zero channels, and sinks, which only add to the sum of the softmax, scale the output afterwards.
 */
import { present, last, at, dims } from '../../../core/index.js';
import {
  add,
  convert,
  exp,
  mul,
  neg,
  padAxis,
  reduceSum,
  reshape,
  sliceAxis,
  softplus,
  sub,
  transpose,
  type AttentionAttrs,
  type CacheAttentionAttrs,
  type Value,
} from '../../../graph/index.js';

/**
 * Widest window that the kernels take where rows are one document: beyond it cuDNN is faster (docs/xla.md has the
 * measurements).
 */
export const WIDEST_WINDOW = 256;

const HEAD_WIDTHS: ReadonlySet<number> = new Set([32, 64]);
/** cuDNN takes no packed documents, so the kernels take wider heads of those, and fill up others. */
const PACKED_HEAD_WIDTHS = [32, 64, 128];
/** Widest head, in channels, whose packed documents the kernels take. */
export const WIDEST_PACKED_HEAD = 128;

/** What may follow the fixed inputs of an attention, or of its gradient. */
interface OptionalInputs {
  /** `[H]`. */
  readonly sinks: Value | null;
  /** The document of each token, i32 `[B,T]`. */
  readonly segments: Value | null;
}

/** Sinks and documents among `rest`, the inputs behind the fixed ones. */
export function optionalInputs(rest: readonly Value[], { segments = false }: AttentionAttrs): OptionalInputs {
  return {
    sinks: (segments ? rest.slice(0, -1) : rest)[0] ?? null,
    segments: segments ? last(rest) : null,
  };
}

/**
 * Whether the window kernels take this attention: bf16, heads 32 or 64 wide, a window of at most 256 and no sinks, or
 * packed documents, any window or none, heads of at most 128 channels, sinks or none; no soft-capped scores.
 *
 * @returns true, or why not
 */
export function whyNoWindowKernel(q: Value, v: Value, rest: readonly Value[], attrs: AttentionAttrs): true | string {
  const { window, softcap } = attrs;
  const { sinks, segments } = optionalInputs(rest, attrs);
  const [width, valueWidth] = [at(q.shape, 3), at(v.shape, 3)];
  if (q.dtype !== 'bf16') return `${q.dtype}, not bf16`;
  if (softcap !== undefined) return 'soft-capped scores';
  if (segments) {
    const widest = Math.max(width, valueWidth);
    return widest <= WIDEST_PACKED_HEAD ? true : `heads of ${widest} channels, more than ${WIDEST_PACKED_HEAD}`;
  }
  if (window === null) return 'no window';
  if (window > WIDEST_WINDOW) return `a window of ${window}, more than ${WIDEST_WINDOW}`;
  if (sinks !== null) return 'sinks, and rows of one document';
  if (width !== valueWidth) return `keys of ${width} channels and values of ${valueWidth}`;
  return HEAD_WIDTHS.has(width) ? true : `heads of ${width} channels, not 32 or 64`;
}

/** Widths of heads that the kernel of attention on caches takes. */
export const CACHE_HEAD_WIDTHS: readonly number[] = [32, 64, 128, 256];
/** Fewer queries would leave most of a block empty. */
const LEAST_CACHE_QUERIES = 16;

/**
 * Whether the kernel of attention on caches takes this attention: bf16, queries, keys and values of one width, chunks
 * of 16 tokens or more.
 *
 * @returns true, or why not
 */
export function whyNoCacheKernel(q: Value, values: Value, { scale }: CacheAttentionAttrs): true | string {
  const [tokens, width, valueWidth] = [at(q.shape, 1), at(q.shape, 3), at(values.shape, 3)];
  if (q.dtype !== 'bf16') return `${q.dtype}, not bf16`;
  if (tokens < LEAST_CACHE_QUERIES) return `${tokens} queries, fewer than ${LEAST_CACHE_QUERIES}`;
  if (width !== valueWidth) return `keys of ${width} channels and values of ${valueWidth}`;
  if (!(scale > 0)) return `a scale of ${scale}`;
  return CACHE_HEAD_WIDTHS.includes(width) ? true : `heads of ${width} channels, not ${CACHE_HEAD_WIDTHS.join(', ')}`;
}

/** Channels that the kernels have for heads `[B,T,H,D]` and `[B,T,G,E]`. */
export function kernelWidth(q: Value, v: Value): number {
  const width = Math.max(at(q.shape, 3), at(v.shape, 3));
  return present(PACKED_HEAD_WIDTHS.find((n) => n >= width));
}

/** Heads `[B,T,n,D]` with zeros behind their channels. */
export const widened = (x: Value, width: number): Value =>
  x.shape[3] === width ? x : padAxis(x, 3, 0, width - at(x.shape, 3));

/** The first channels of heads `[B,T,n,D]`. */
export const narrowed = (x: Value, width: number): Value => (x.shape[3] === width ? x : sliceAxis(x, 3, 0, width));

/** `sum(do * o)` over heads' channels, `[B,H,T]` in float32. */
export function deltaOf(o: Value, dOut: Value): Value {
  return transpose(reduceSum(mul(convert(o, 'f32'), convert(dOut, 'f32')), [3]), [0, 2, 1]);
}

const perHead = (sinks: Value): Value => reshape(convert(sinks, 'f32'), [1, at(sinks.shape, 0), 1]);

/**
 * Output `[B,T,H,D]` and log-sum-exp `[B,H,T]` (float32) with a sink in each head's sum: `exp(z)` more of what gives no
 * value.
 */
export function withSinks(out: Value, lse: Value, sinks: Value): readonly [out: Value, lse: Value] {
  const all = add(lse, softplus(sub(perHead(sinks), lse)));
  const [B, H, T] = dims(lse, 3);
  const share = reshape(transpose(exp(sub(lse, all)), [0, 2, 1]), [B, T, H, 1]);
  return [convert(mul(convert(out, 'f32'), share), out.dtype), all];
}

/**
 * The gradient of sinks: each takes the probability `exp(z - lse)` and carries no value (docs/recurrences.md,
 * "Attention").
 */
export function sinkGradient(sinks: Value, lse: Value, delta: Value): Value {
  const p = exp(sub(perHead(sinks), lse));
  return convert(neg(reduceSum(mul(p, delta), [0, 2])), sinks.dtype);
}
