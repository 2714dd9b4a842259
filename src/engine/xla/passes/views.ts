/**
 * Values that are views of others: heads `[B,T,n,D]` and channels `[B,T,c]` that are ranges of the last axis of a wider
 * `[B,T,W]`, seen through reshapes, splits and slices. Kernels read and write them in place.
 */
import { at } from '../../../core/index.js';
import type { Value } from '../../../graph/index.js';
import * as L from '../../../graph/index.js';

/** `channels` channels of `source` `[B,T,W]` from `offset` on. */
export interface Channels {
  readonly source: Value;
  readonly offset: number;
  readonly channels: number;
}

/**
 * The first index along axis 2 that a split or slice takes from its input, or null if it does not cut that axis alone.
 */
function cutStart(v: Value): number | null {
  const { node } = v;
  if (node.op === 'split') {
    const { axis, sizes } = node.attrs;
    return axis === 2 ? sizes.slice(0, v.index).reduce((a, b) => a + b, 0) : null;
  }
  if (node.op !== 'slice') return null;
  const { starts, strides } = node.attrs;
  const from = node.inputs[0].shape;
  const whole = from.every((d, axis) => axis === 2 || d === v.shape[axis]);
  return whole && strides.every((s) => s === 1) ? at(starts, 2) : null;
}

/** The channels that `x`, `[B,T,n,D]` or `[B,T,c]`, is a view of; at worst its own. */
export function channelsOf(x: Value): Channels {
  const [B, T, n, D = 1] = x.shape as [number, number, number, number | undefined];
  const channels = n * D;
  const from = x.node.inputs[0];
  const start = cutStart(x);
  if (from && start !== null) {
    const outer = channelsOf(from);
    return { source: outer.source, offset: outer.offset + start * D, channels };
  }
  if (from && x.node.op === 'reshape' && (from.shape.length === 3 || from.shape.length === 4)) {
    const [b, t, m, d = 1] = from.shape as [number, number, number, number | undefined];
    if (b === B && t === T && m * d === channels) return channelsOf(from);
  }
  return { source: x.shape.length === 3 ? x : L.reshape(x, [B, T, channels]), offset: 0, channels };
}

/** The value of some channels as `[B,T,n,D]` or `[B,T,c]`. */
export function valueOf({ source, offset, channels }: Channels, shape: readonly number[]): Value {
  const whole = offset === 0 && channels === source.shape[2];
  return L.reshape(whole ? source : L.sliceAxis(source, 2, offset, offset + channels), shape);
}

/** Neighbors joined, or null if they are no neighbors in that order. */
export function joined(parts: readonly Channels[]): Channels | null {
  const first = at(parts, 0);
  let channels = 0;
  for (const part of parts) {
    if (part.source !== first.source || part.offset !== first.offset + channels) return null;
    channels += part.channels;
  }
  return { ...first, channels };
}

/** A value in bf16 behind its widening to f32, or itself. */
export const narrowSource = (v: Value): Value =>
  v.node.op === 'convert' && v.dtype === 'f32' && v.node.inputs[0]?.dtype === 'bf16' ? v.node.inputs[0] : v;
