/** Attention in windows and in packed documents by tile kernels, with its gradient. */
import { at, dims, got } from '../../../core/index.js';
import { convert, reshape, type AttentionAttrs, type CacheAttentionAttrs, type Value } from '../../../graph/index.js';
import { cacheAttentionKernel } from '../kernels/cache-attention.js';
import { documentBoundsKernel } from '../kernels/document-bounds.js';
import { windowAttentionGradKernel, windowAttentionKernel } from '../kernels/window-attention.js';
import { attentionTuning, cacheTuning } from '../kernels/window-tuning.js';
import { kernelNode, type KernelWork } from '../kernels/work.js';
import {
  CACHE_HEAD_WIDTHS,
  WIDEST_PACKED_HEAD,
  WIDEST_WINDOW,
  deltaOf,
  kernelWidth,
  narrowed,
  optionalInputs,
  sinkGradient,
  whyNoCacheKernel,
  whyNoWindowKernel,
  widened,
  withSinks,
} from './attention-fit.js';
import type { Placing } from './placing.js';
import type { KernelFamily } from './tile-kernel.js';
import { angleTables } from './rotations.js';
import type { Channels } from './views.js';
import { attentionOf, rowsOf } from './works.js';

/** Queries, keys and values in heads as wide as the kernels have them, and the rows that hold them. */
interface Heads {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly places: readonly [q: Channels, k: Channels, v: Channels];
}

function headsOf(placing: Placing, ...given: readonly [q: Value, k: Value, v: Value]): Heads {
  const width = kernelWidth(given[0], given[2]);
  const [q, k, v] = [widened(given[0], width), widened(given[1], width), widened(given[2], width)];
  return { q, k, v, places: [placing.placeOf(q), placing.placeOf(k), placing.placeOf(v)] };
}

const workOf = (placing: Placing, { q, k }: Heads, kernel: KernelWork['kernel']): KernelWork => ({
  batch: at(q.shape, 0),
  heads: placing.headsOf(at(q.shape, 2), at(k.shape, 2)),
  kernel,
});

/** Where the documents of each row begin and end. */
function boundsOf(segments: Value): readonly Value[] {
  const [B, T] = dims(segments, 2);
  const work: KernelWork = { batch: B, heads: [], kernel: ({ batch }) => documentBoundsKernel(B / batch, T) };
  return kernelNode(work, [segments]);
}

/** The output in its own width and the log-sum-exp. */
function forward(
  placing: Placing,
  attrs: AttentionAttrs,
  [q, k, v]: readonly [Value, Value, Value],
  sinks: Value | null,
  bounds: readonly Value[],
): readonly Value[] {
  const heads = headsOf(placing, q, k, v);
  const tuning = attentionTuning(heads.q, attrs).forward;
  const work = workOf(placing, heads, (pieces) =>
    windowAttentionKernel(attentionOf(heads.q, heads.k, attrs, heads.places, pieces), tuning),
  );
  const results = kernelNode(work, [...heads.places.map((p) => p.source), ...bounds.slice(0, 1)]);
  const [o, lse] = [at(results, 0), at(results, 1)];
  const own = narrowed(reshape(o, heads.q.shape), at(v.shape, 3));
  const [out, sum] = sinks ? withSinks(own, lse, sinks) : [own, lse];
  return [out, convert(sum, q.dtype)];
}

/**
 * The gradients of q, k, v and sinks: where q, k and v are slices of one fused projection, as slices of that
 * projection's gradient, which the kernel writes as one tensor.
 */
function backward(
  placing: Placing,
  attrs: AttentionAttrs,
  [given, o, lse, dOut]: readonly [qkv: readonly [Value, Value, Value], o: Value, lse: Value, dOut: Value],
  sinks: Value | null,
  bounds: readonly Value[],
): readonly Value[] {
  const heads = headsOf(placing, ...given);
  const { q, k, v, places } = heads;
  const [B, T, H, D] = dims(q, 4);
  const flat = (x: Value): Value => reshape(x, [B, T, H * D]);
  // The float32 statistics behind their rounding to the graph's dtype.
  const exact = convert(lse.node.op === 'convert' ? lse.node.inputs[0] : lse, 'f32');
  const whole = placing.whole(places);
  const rows = whole?.parts.map((p) => rowsOf(p.channels, 1)) ?? null;
  const { backward: tuning, givenDelta } = attentionTuning(q, attrs);
  const targets = {
    rotateBack: whole?.rotation != null,
    joined: rows && { q: at(rows, 0), k: at(rows, 1), v: at(rows, 2) },
    givenDelta,
  };
  const work = workOf(placing, heads, (pieces) =>
    windowAttentionGradKernel(attentionOf(q, k, attrs, places, pieces), tuning, targets),
  );
  const [wideO, wideDOut] = [widened(o, D), widened(dOut, D)];
  const output = givenDelta ? deltaOf(wideO, wideDOut) : flat(wideO);
  const operands = [...places.map((p) => p.source), ...bounds, output, exact, flat(wideDOut)];
  const results = kernelNode(work, [...(whole?.rotation ? angleTables(T, whole.rotation) : []), ...operands]);
  const sink = sinks ? [sinkGradient(sinks, exact, deltaOf(wideO, wideDOut))] : [];
  if (!whole) {
    const own = [q, k, v].map((x, i) => reshape(at(results, i), x.shape));
    return [...own.map((x, i) => narrowed(x, at(at(given, i).shape, 3))), ...sink];
  }
  const source = at(results, 0);
  const parts = whole.parts.map((p, i) =>
    placing.part({ channels: { ...p.channels, source }, rotated: p.rotated }, at(given, i).shape),
  );
  return [...parts, ...sink];
}

/** A chunk's queries on a cache; `sinks` `[H]` or null. */
function onCache(
  placing: Placing,
  attrs: CacheAttentionAttrs,
  [q, keys, values, first, hidden]: readonly [Value, Value, Value, Value, Value],
  sinks: Value | null,
): Value {
  const [B, n, H, D] = dims(q, 4);
  const [, G, S] = dims(keys, 3);
  const place = placing.placeOf(q);
  const { window, scale, chunk = null, softcap = null } = attrs;
  const tuning = cacheTuning(q, window);
  const work: KernelWork = {
    ...{ batch: B, heads: placing.headsOf(H, G) },
    kernel: ({ batch, heads }) =>
      cacheAttentionKernel(
        {
          ...{ batch: B / batch, queries: n, entries: S, heads: H / heads, kvHeads: G / heads, headDim: D },
          ...{ window, chunk, scale, softcap, sinks: sinks !== null, q: rowsOf(place, heads) },
        },
        tuning,
      ),
  };
  const operands = [place.source, keys, values, reshape(first, [1]), hidden];
  const results = kernelNode(work, [...operands, ...(sinks === null ? [] : [convert(sinks, 'f32')])]);
  return reshape(at(results, 0), q.shape);
}

/** Attention and its gradient. */
export const ATTENTION_KERNELS: KernelFamily = {
  name: 'attention',
  takes: () => ({
    takes:
      `bf16: windows up to ${WIDEST_WINDOW}, heads of 32 or 64 channels; packed documents, heads of up to ${WIDEST_PACKED_HEAD}; ` +
      `chunks of prompts on caches, heads of ${CACHE_HEAD_WIDTHS.join(', ')}`,
    briefly:
      `windows up to ${WIDEST_WINDOW}, attention in packed documents (heads of up to ${WIDEST_PACKED_HEAD} channels), ` +
      `chunks of prompts on caches (heads of ${CACHE_HEAD_WIDTHS.join(', ')})`,
  }),
  rules: (placing) => {
    /** Where documents begin and end, by their numbers. */
    const known = new Map<Value, readonly Value[]>();
    const documents = (segments: Value | null): readonly Value[] => {
      if (segments === null) return [];
      if (!known.has(segments)) known.set(segments, boundsOf(segments));
      return got(known, segments);
    };
    return {
      cacheAttention: {
        fits: ({ inputs: [q, , values], attrs }) => whyNoCacheKernel(q, values, attrs),
        place: ({ attrs }, [q, keys, values, first, hidden, sinks = null]) => [
          onCache(placing, attrs, [q, keys, values, first, hidden], sinks),
        ],
      },
      attention: {
        fits: ({ inputs: [q, , v, ...rest], attrs }) => whyNoWindowKernel(q, v, rest, attrs),
        place: ({ attrs }, [q, k, v, ...rest]) => {
          const { sinks, segments } = optionalInputs(rest, attrs);
          return forward(placing, attrs, [q, k, v], sinks, documents(segments));
        },
      },
      attentionGrad: {
        fits: ({ inputs: [q, , v, , , , ...rest], attrs }) => whyNoWindowKernel(q, v, rest, attrs),
        place: ({ attrs }, [q, k, v, o, lse, dOut, ...rest]) => {
          const { sinks, segments } = optionalInputs(rest, attrs);
          return backward(placing, attrs, [[q, k, v], o, lse, dOut], sinks, documents(segments));
        },
      },
    };
  },
};
