/**
 * Attention in primitives, never T×T where the window is smaller than T: queries go in blocks that meet only the keys
 * which they may see. Two shapes of that idea: banded.ts (window < T) and causal.ts (no window). The backward pass
 * recomputes the probabilities (docs/recurrences.md, "Attention"; Dao et al. 2022) unless an engine asks for those of
 * the forward pass where they are few. Shape letters as in tile.ts.
 */
import { LongsightError, last, at, type DType } from '../../core/index.js';
import { build } from '../ir/emit.js';
import type { Decomposition, DerivativeRule } from '../ir/rules.js';
import { throughDecomposition } from '../primitives/differentiate.js';
import { documentRuns } from '../primitives/documents.js';
import * as L from '../primitives/index.js';
import type { NodeOf, Value } from '../ir/types.js';
import { bandOf, bandTile, bandedBlock, bandedGrads, unblockQueries, type Band } from './banded.js';
import {
  afterwards,
  causalBlock,
  causalBlocks,
  causalGrads,
  causalMasks,
  causalTile,
  splitRows,
  type Span,
} from './causal.js';
import { attendTile, dimsOf, heads, sinkColumn, unheads, type Dims, type Incoming, type TileGrads } from './tile.js';
import { ATTENTION, type AttentionAttrs } from './op.js';

/** The blocks in which attention is computed, and what is kept of them; results do not depend on it. */
export interface AttentionBlocks {
  /** Queries in a block of the banded form; null chooses by window. */
  readonly banded: number | null;
  /** Queries in a block of the causal form; null chooses by length. */
  readonly causal: number | null;
  /**
   * The most keys that a block meets, on average and for each of the D channels of a head, for which the backward pass
   * takes the probabilities of the forward pass; 0 for never.
   */
  readonly keptKeys: number;
  /**
   * Whether the backward pass of the causal form takes sequences and groups of heads as one axis, so that its scores
   * have another shape than those of the forward pass. Not where rows hold several documents.
   */
  readonly flatGradients: boolean;
}

/** The sizes of blocks where an engine asks for none: chosen by window and length. Probabilities are not kept. */
const DEFAULT_BLOCKS: AttentionBlocks = { banded: null, causal: null, keptKeys: 0, flatGradients: false };

/** The sinks and the documents (i32 `[B,T]`, numbered) that follow the `fixed` inputs of an attention. */
function optionalInputs(
  inputs: readonly Value[],
  fixed: number,
  attrs: AttentionAttrs,
): { readonly sinks: Value | null; readonly documents: Value | null } {
  const segments = attrs.segments === true ? 1 : 0;
  const sinks = inputs.slice(fixed, inputs.length - segments)[0] ?? null;
  return { sinks, documents: segments === 1 ? documentRuns(last(inputs)) : null };
}

/** Which of the two forms, in which blocks. */
type Plan = { readonly band: Band } | { readonly band: null; readonly blocks: readonly Span[]; readonly C: number };

function planOf(dims: Dims, attrs: AttentionAttrs, blocks: AttentionBlocks, dtype: DType): Plan {
  if (attrs.window !== null) {
    const C = blocks.banded ?? bandedBlock(attrs.window);
    if (attrs.window + C < dims.T) return { band: bandOf(dims, attrs.window, C, dtype) };
  }
  const C = blocks.causal ?? causalBlock(dims.T);
  return { band: null, blocks: causalBlocks(dims.T, C), C };
}

/**
 * Whether the backward pass has the probabilities of the forward pass: if nothing keeps the engine from merging the two
 * computations. Not with sinks or a softcap, which need more than the probabilities.
 */
function keepsProbabilities(
  plan: Plan,
  { T, D }: Dims,
  { keptKeys }: AttentionBlocks,
  { softcap }: AttentionAttrs,
  sinks: Value | null,
): boolean {
  if (sinks || softcap !== undefined) return false;
  const met = plan.band
    ? (plan.band.before + 1) * plan.band.C
    : plan.blocks.reduce((sum, { start, end }) => sum + (end - start) * end, 0) / T;
  return met <= keptKeys * D;
}

/** attention in primitives: q `[B,T,H,D]`, k, v, [sinks] -> o `[B,T,H,E]`, log-sum-exp `[B,H,T]`. */
export function decomposeAttention(
  inputs: NodeOf<'attention'>['inputs'],
  attrs: AttentionAttrs,
  blocks: AttentionBlocks = DEFAULT_BLOCKS,
): readonly Value[] {
  const [q, k, v] = inputs as [Value, Value, Value];
  const { sinks, documents } = optionalInputs(inputs, 3, attrs);
  const dims = dimsOf(q, k, v);
  const { B, T, H, G, R, E } = dims;
  const [qh, kh, vh] = [heads(q, G), heads(k, G), heads(v, G)];
  const plan = planOf(dims, attrs, blocks, q.dtype);
  if (plan.band) {
    const { band } = plan;
    const sink = sinks ? sinkColumn(sinks, dims, band.C, true) : null;
    const { out, lse } = attendTile(bandTile(qh, kh, vh, band, documents, attrs), R, sink);
    const o = unblockQueries(out, band, dims);
    return [unheads(o), L.reshape(unblockQueries(lse, band, dims), [B, H, T])];
  }
  const qs = splitRows(qh, plan.blocks);
  const maskOf = causalMasks(q, T, plan.C, attrs.window, documents);
  const keeps = keepsProbabilities(plan, dims, blocks, attrs, sinks);
  const parts: { out: Value; lse: Value }[] = [];
  for (let i = plan.blocks.length - 1; i >= 0; i--) {
    const span = at(plan.blocks, i);
    const rows = span.end - span.start;
    const sink = sinks ? sinkColumn(sinks, dims, rows, false) : null;
    const [own] = afterwards([at(qs, i)], parts[0] && !keeps ? [parts[0].out] : []) as [Value];
    const { out, lse } = attendTile(causalTile(own, kh, vh, maskOf(span), attrs, span.end, plan.C), R, sink);
    parts.unshift({ out: L.reshape(out, [B, G, R, rows, E]), lse: L.reshape(lse, [B, H, rows]) });
  }
  const outs = parts.map((p) => p.out);
  const lses = parts.map((p) => p.lse);
  return [unheads(L.concat(outs, 3)), L.concat(lses, 2)];
}

/**
 * attentionGrad in primitives: q, k, v, o, lse, do, [sinks], [segments] -> dq, dk, dv, [dsinks]. A barrier ties q to
 * `do`, so that the probabilities are computed anew; without it they are those of the forward pass.
 */
export function decomposeAttentionGrad(
  inputs: NodeOf<'attentionGrad'>['inputs'],
  attrs: AttentionAttrs,
  blocks: AttentionBlocks = DEFAULT_BLOCKS,
): readonly Value[] {
  const [q, k, v, o, lse, dOut] = inputs as [Value, Value, Value, Value, Value, Value];
  const { sinks, documents } = optionalInputs(inputs, 6, attrs);
  const dims = dimsOf(q, k, v);
  const { B, T, H, G, R } = dims;
  const plan = planOf(dims, attrs, blocks, q.dtype);
  const keeps = keepsProbabilities(plan, dims, blocks, attrs, sinks);
  const qh = keeps ? heads(q, G) : L.barrier([heads(q, G), dOut])[0];
  const [kh, vh] = [heads(k, G), heads(v, G)];
  const incoming: Incoming = {
    dOut: heads(dOut, G),
    delta: L.reshape(L.transpose(L.reduceSum(L.mul(dOut, o), [3]), [0, 2, 1]), [B, G, R, T, 1]),
    lse: sinks ? L.reshape(lse, [B, G, R, T, 1]) : null,
  };
  const grads = plan.band
    ? bandedGrads(bandTile(qh, kh, vh, plan.band, documents, attrs), incoming, dims, plan.band)
    : blocks.flatGradients && !keeps && !documents
      ? flatCausalGrads(qh, kh, vh, incoming, dims, attrs, plan)
      : causalGrads(qh, kh, vh, incoming, dims, attrs, { ...plan, documents, keeps });
  const result = [unheads(grads.dq), unheads(grads.dk), unheads(grads.dv)];
  if (!sinks) return result;
  // The sink takes probability exp(z - lse) and carries no value: dz = -sum p * delta (docs/recurrences.md,
  // "Attention").
  const p = L.exp(L.sub(L.reshape(sinks, [1, H, 1]), lse));
  return [...result, L.neg(L.reduceSum(L.mul(p, L.reshape(incoming.delta, [B, H, T])), [0, 2]))];
}

/** `causalGrads` on one axis for sequences and groups of heads, of rows of one document each. */
function flatCausalGrads(
  q: Value,
  k: Value,
  v: Value,
  { dOut, delta, lse }: Incoming,
  dims: Dims,
  attrs: AttentionAttrs,
  { blocks, C }: { readonly blocks: readonly Span[]; readonly C: number },
): TileGrads {
  const { B, G } = dims;
  const flat = (x: Value): Value => L.reshape(x, [1, B * G, ...x.shape.slice(2)]);
  const apart = (x: Value): Value => L.reshape(x, [B, G, ...x.shape.slice(2)]);
  const grads = causalGrads(
    ...([flat(q), flat(k), flat(v)] as const),
    { dOut: flat(dOut), delta: flat(delta), lse: lse && flat(lse) },
    { ...dims, B: 1, H: B * dims.H, G: B * G },
    attrs,
    { blocks, C, documents: null, keeps: false },
  );
  return { dq: apart(grads.dq), dk: apart(grads.dk), dv: apart(grads.dv) };
}

/** Decompositions of attention and its gradient. */
export const ATTENTION_DECOMPOSITIONS: { readonly [K in keyof typeof ATTENTION]: Decomposition<K> } = {
  attention: (inputs, attrs) => decomposeAttention(inputs, attrs),
  attentionGrad: (inputs, attrs) => decomposeAttentionGrad(inputs, attrs),
};

/** The derivative rules of attention and its gradient. */
export const ATTENTION_DERIVATIVES: { readonly [K in keyof typeof ATTENTION]: DerivativeRule<K> } = {
  attention: ({ inputs, outputs: [out, lse], attrs }, [dOut, dLse]) => {
    if (dLse || !dOut) {
      throw new LongsightError("attention's log-sum-exp is a statistic without a derivative; wrap it in stopGradient");
    }
    const [q, k, v, ...optional] = inputs;
    const [dq, dk, dv, dsinks] = build(ATTENTION.attentionGrad, [q, k, v, out, lse, dOut, ...optional], attrs);
    const grads = dsinks ? [dq, dk, dv, dsinks] : [dq, dk, dv];
    return attrs.segments === true ? [...grads, null] : grads;
  },
  attentionGrad: throughDecomposition(ATTENTION_DECOMPOSITIONS.attentionGrad),
};
