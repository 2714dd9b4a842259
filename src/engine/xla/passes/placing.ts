/**
 * Where the values of a graph lie while kernels are placed in it: channels that a rotary kernel turned, and parts of
 * gradients that a kernel made whole, which the transposed cuts that follow (turning back, joining, reshaping) are seen
 * through until the whole is asked for.
 */
import { at, dims } from '../../../core/index.js';
import { emit, reshape, type Node, type RotaryAttrs, type Value } from '../../../graph/index.js';
import type { KernelDevice } from '../kernels/taken.js';
import type { Loss } from './losses.js';
import { sameTurn } from './turns.js';
import { channelsOf, joined, narrowSource, valueOf, type Channels } from './views.js';

/** Why kernels take no SwiGLU on devices that divide heads. */
export const DIVIDED_CHANNELS = 'channels are divided over devices';

/** Channels that a rotary kernel turned. */
interface Turned {
  readonly from: Channels;
  readonly attrs: RotaryAttrs;
}

/** Part of a gradient that a kernel made whole, as it must be seen by what comes before the turn. */
export interface GradientPart {
  readonly channels: Channels;
  readonly turned: RotaryAttrs | null;
}

/** Whether channels are all that their source has. */
export const isWhole = (all: Channels | null): boolean => all?.offset === 0 && all.channels === all.source.shape[2];

/** What is known of a graph's values while kernels are placed in it. */
export class Placing {
  readonly #turned = new Map<Value, Turned>();
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
   * Where a kernel reads heads: in the row that they are part of, or from a tensor of their own, which can be divided.
   */
  placeOf(x: Value): Channels {
    if (!this.#dividesHeads) return channelsOf(x);
    const [B, T, n, D] = dims(x, 4);
    return { source: reshape(x, [B, T, n * D]), offset: 0, channels: n * D };
  }

  /** Where gate and up of SwiGLU lie; why not, where the kernel does not take them. */
  gates(gate: Value, up: Value): readonly [Channels, Channels] | string {
    if (gate.dtype !== 'bf16') return `${gate.dtype}, not bf16`;
    if (gate.shape.length !== 3) return `rank ${gate.shape.length}, not 3`;
    return this.#dividesHeads ? DIVIDED_CHANNELS : [channelsOf(gate), channelsOf(up)];
  }

  /** Remembers that a kernel turned channels. */
  turn(y: Value, turned: Turned): void {
    this.#turned.set(y, turned);
  }

  /** A value for a part of a gradient; dead unless something uses it that cannot be seen through. */
  part(part: GradientPart, shape: readonly number[]): Value {
    const { channels, turned } = part;
    const [B, T] = dims(channels.source, 2);
    const D = turned === null ? 0 : 2 * turned.inverseFrequencies.length;
    const value =
      turned === null
        ? valueOf(channels, shape)
        : reshape(emit('rotary', [valueOf(channels, [B, T, channels.channels / D, D])], turned)[0], shape);
    this.#parts.set(value, part);
    return value;
  }

  /** Where q, k and v lie before they were turned, if together they are the whole of one value. */
  whole(
    places: readonly Channels[],
  ): { readonly parts: readonly GradientPart[]; readonly turn: RotaryAttrs | null } | null {
    const parts = places.map((place): GradientPart => {
      const turned = this.#turned.get(place.source);
      if (!turned || turned.attrs.inverse) return { channels: place, turned: null };
      const { from, attrs } = turned;
      return { channels: { ...place, source: from.source, offset: from.offset + place.offset }, turned: attrs };
    });
    const [q, k, v] = [at(parts, 0), at(parts, 1), at(parts, 2)];
    const alike = q.turned === null ? k.turned === null : k.turned !== null && sameTurn(q.turned, k.turned);
    const all = joined(parts.map((p) => p.channels));
    return alike && v.turned === null && isWhole(all) ? { parts, turn: q.turned } : null;
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
        const back = given?.turned && node.attrs.inverse && sameTurn(given.turned, node.attrs);
        return back ? [this.part({ ...given, turned: null }, x.shape)] : null;
      }
      case 'reshape':
      case 'concat':
        return this.#rearranged(node, inputs);
      default:
        return null;
    }
  }

  /** Reshapes and joins of parts of a gradient as larger parts. */
  #rearranged(node: Node<'reshape' | 'concat'>, inputs: readonly Value[]): readonly Value[] | null {
    const parts = inputs.flatMap((x) => this.#parts.get(x) ?? []);
    const [first] = parts;
    if (first === undefined || parts.length < inputs.length) return null;
    const { shape } = node.outputs[0];
    const [B, T] = first.channels.source.shape;
    if (shape[0] !== B || shape[1] !== T || shape.length < 3 || shape.length > 4) return null;
    if (node.op === 'concat' && node.attrs.axis !== 2) return null;
    const alike = parts.every((p) =>
      first.turned === null ? p.turned === null : p.turned !== null && sameTurn(p.turned, first.turned),
    );
    const all = alike ? joined(parts.map((p) => p.channels)) : null;
    return all && [this.part({ channels: all, turned: first.turned }, shape)];
  }
}
