/**
 * What is known of a graph's values while kernels are placed in it. Channels that a rotary kernel rotated are read
 * before the rotation. Where a kernel writes the gradients of several slices as one tensor, the ops that would rotate,
 * reshape and concatenate those slices are skipped.
 */
import { at, dims } from '../../../core/index.js';
import { emit, reshape, type Node, type RotaryAttrs, type Value } from '../../../graph/index.js';
import type { KernelDevice } from '../kernels/taken.js';
import type { Loss } from './losses.js';
import { sameRotation } from './rotations.js';
import { channelsOf, joined, narrowSource, valueOf, type Channels } from './views.js';

/** Why kernels take no SwiGLU on devices that divide heads. */
export const DIVIDED_CHANNELS = 'channels are divided over devices';

/** Channels that a rotary kernel rotated. */
interface Rotated {
  readonly from: Channels;
  readonly attrs: RotaryAttrs;
}

/** A slice of a gradient that a kernel writes as one tensor, and the rotation that the kernel has undone already. */
export interface GradientPart {
  readonly channels: Channels;
  readonly rotated: RotaryAttrs | null;
}

/** Whether channels are all that their source has. */
export const isWhole = (all: Channels | null): boolean => all?.offset === 0 && all.channels === all.source.shape[2];

/** What is known of a graph's values while kernels are placed in it. */
export class Placing {
  readonly #rotated = new Map<Value, Rotated>();
  readonly #parts = new Map<Value, GradientPart>();
  readonly #dividesHeads: boolean;

  /**
   * Nothing is placed yet.
   *
   * @param losses losses whose gradients can be computed with them
   * @param image what values of the graph have become
   */
  constructor(
    { dividesHeads }: KernelDevice,
    readonly losses: ReadonlyMap<Node, Loss>,
    readonly image: ReadonlyMap<Value, Value>,
  ) {
    this.#dividesHeads = dividesHeads;
  }

  /** Numbers of heads over which a kernel's work divides. */
  headsOf(...heads: readonly number[]): readonly number[] {
    return this.#dividesHeads ? heads : [];
  }

  /**
   * Where a kernel reads heads: as a strided view of the projection's rows, or from a separate tensor, which can be
   * sharded.
   */
  placeOf(x: Value): Channels {
    if (!this.#dividesHeads) return channelsOf(x);
    const [B, T, n, D] = dims(x, 4);
    return { source: reshape(x, [B, T, n * D]), offset: 0, channels: n * D };
  }

  /** The channels of gate and up of SwiGLU; or why the kernel does not take them. */
  gates(gate: Value, up: Value): readonly [Channels, Channels] | string {
    if (gate.dtype !== 'bf16') return `${gate.dtype}, not bf16`;
    if (gate.shape.length !== 3) return `rank ${gate.shape.length}, not 3`;
    return this.#dividesHeads ? DIVIDED_CHANNELS : [channelsOf(gate), channelsOf(up)];
  }

  /** Notes that a kernel rotated channels. */
  rotate(y: Value, rotated: Rotated): void {
    this.#rotated.set(y, rotated);
  }

  /** A value for a slice of a gradient; dead code unless an op that this pass does not look through uses it. */
  part(part: GradientPart, shape: readonly number[]): Value {
    const { channels, rotated } = part;
    const [B, T] = dims(channels.source, 2);
    const D = rotated === null ? 0 : 2 * rotated.inverseFrequencies.length;
    const value =
      rotated === null
        ? valueOf(channels, shape)
        : reshape(emit('rotary', [valueOf(channels, [B, T, channels.channels / D, D])], rotated)[0], shape);
    this.#parts.set(value, part);
    return value;
  }

  /** The channels of q, k and v before they were rotated, if together they are all channels of one value. */
  whole(
    places: readonly Channels[],
  ): { readonly parts: readonly GradientPart[]; readonly rotation: RotaryAttrs | null } | null {
    const parts = places.map((place): GradientPart => {
      const rotated = this.#rotated.get(place.source);
      if (!rotated || rotated.attrs.inverse) return { channels: place, rotated: null };
      const { from, attrs } = rotated;
      return { channels: { ...place, source: from.source, offset: from.offset + place.offset }, rotated: attrs };
    });
    const [q, k, v] = [at(parts, 0), at(parts, 1), at(parts, 2)];
    const alike = q.rotated === null ? k.rotated === null : k.rotated !== null && sameRotation(q.rotated, k.rotated);
    const all = joined(parts.map((p) => p.channels));
    return alike && v.rotated === null && isWhole(all) ? { parts, rotation: q.rotated } : null;
  }

  /** The outputs of a node that only rearranges or rounds what kernels gave; null for another. */
  seenThrough(node: Node, inputs: readonly Value[]): readonly Value[] | null {
    switch (node.op) {
      case 'convert': {
        // Widening and rounding back is nothing.
        const x = at(inputs, 0);
        const source = narrowSource(x);
        return source !== x && node.attrs.dtype === 'bf16' ? [source] : null;
      }
      case 'rotary': {
        const x = at(inputs, 0);
        const given = this.#parts.get(x);
        const back = given?.rotated && node.attrs.inverse && sameRotation(given.rotated, node.attrs);
        return back ? [this.part({ ...given, rotated: null }, x.shape)] : null;
      }
      case 'reshape':
      case 'concat':
        return this.#rearranged(node, inputs);
      default:
        return null;
    }
  }

  /** Reshapes and concatenations of slices of a gradient as larger slices. */
  #rearranged(node: Node<'reshape' | 'concat'>, inputs: readonly Value[]): readonly Value[] | null {
    const parts = inputs.flatMap((x) => this.#parts.get(x) ?? []);
    const [first] = parts;
    if (first === undefined || parts.length < inputs.length) return null;
    const { shape } = node.outputs[0];
    const [B, T] = first.channels.source.shape;
    if (shape[0] !== B || shape[1] !== T || shape.length < 3 || shape.length > 4) return null;
    if (node.op === 'concat' && node.attrs.axis !== 2) return null;
    const alike = parts.every((p) =>
      first.rotated === null ? p.rotated === null : p.rotated !== null && sameRotation(p.rotated, first.rotated),
    );
    const all = alike ? joined(parts.map((p) => p.channels)) : null;
    return all && [this.part({ channels: all, rotated: first.rotated }, shape)];
  }
}
