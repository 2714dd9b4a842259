/** Kernels as work that may be sharded, made for the values that they read. */
import { present, last, at, dims } from '../../../core/index.js';
import type { AttentionAttrs, Value } from '../../../graph/index.js';
import type { HeadRows } from '../kernels/heads.js';
import type { Kernel } from '../kernels/triton/ir.js';
import type { KernelWork, Shards } from '../kernels/work.js';
import { WIDEST_ROW, type Rows } from '../kernels/norm.js';
import type { Gated } from '../kernels/swiglu.js';
import type { Channels } from './views.js';
import type { WindowAttention } from '../kernels/window-attention.js';

const rowsFrom = ({ shape }: Value): Rows => ({ shape: shape.slice(0, -1), width: last(shape) });

/** A norm's kernel on rows `[B,T]`, or `[B,T,H]`, where norms are per head. */
export function normWork(x: Value, kernel: (rows: Rows) => Kernel): KernelWork {
  const { shape, width } = rowsFrom(x);
  const [batch = 1, , heads] = shape;
  return {
    ...{ batch, heads: heads === undefined ? [] : [heads] },
    kernel: (shards) => {
      const counts = [shards.batch, 1, shards.heads];
      return kernel({ shape: shape.map((d, axis) => d / (counts[axis] ?? 1)), width });
    },
  };
}

/** Whether a norm over rows of x is one for the norm kernels: bf16, and rows that are not too wide; or why not. */
export function whyNoNorm(x: Value): true | string {
  if (x.dtype !== 'bf16') return `${x.dtype}, not bf16`;
  const { width } = rowsFrom(x);
  return width <= WIDEST_ROW ? true : `rows of ${width} channels, more than ${WIDEST_ROW}`;
}

/** Channels in the rows of one of `heads` shards. */
export const rowsOf = ({ source, offset }: Channels, heads: number): HeadRows => ({
  width: at(source.shape, 2) / heads,
  offset,
});

/** A kernel of SwiGLU `[B,T,c]` on its sequences. */
export function gatedWork(
  { shape: [B, T, width] }: Value,
  [gate, up]: readonly [Channels, Channels],
  kernel: (gated: Gated) => Kernel,
): KernelWork {
  const [batch, tokens, channels] = [present(B), present(T), present(width)];
  return {
    ...{ batch, heads: [] },
    kernel: (shards) =>
      kernel({ shape: [batch / shards.batch, tokens], width: channels, gate: rowsOf(gate, 1), up: rowsOf(up, 1) }),
  };
}

/** A window kernel's attention, of one shard. */
export function attentionOf(
  q: Value,
  k: Value,
  { window, scale, segments = false }: AttentionAttrs,
  places: readonly Channels[],
  { batch, heads }: Shards,
): WindowAttention {
  const [B, T, H, D] = dims(q, 4);
  const [qRows, kRows, vRows] = places.map((p) => rowsOf(p, heads)) as [HeadRows, HeadRows, HeadRows];
  return {
    ...{ batch: B / batch, tokens: T, heads: H / heads, kvHeads: at(k.shape, 2) / heads, headDim: D },
    ...{ window: Math.min(window ?? T, T), scale, q: qRows, k: kRows, v: vRows },
    documents: segments,
  };
}
