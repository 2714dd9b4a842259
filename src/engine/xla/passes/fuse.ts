/**
 * Puts tile kernels into a graph where they are faster than what XLA has: rotary embedding, and attention in windows
 * with its gradient. A pass over the whole graph, after differentiation, while those are still single nodes.
 *
 * The backward kernel gives the gradient of the projection that q, k and v were cut from. Its parts are recorded, and
 * the transposed cuts that follow (turning back, joining, reshaping) are seen through until the whole is asked for.
 */
import { at, dims, got, invariant, sameShape } from '../../../core/index.js';
import {
  emit,
  makeGraph,
  nodesOf,
  rebuild,
  reshape,
  convert,
  type Graph,
  type Node,
  type RotaryAttrs,
  type Value,
} from '../../../graph/index.js';
import {
  attentionInputs,
  deltaOf,
  fitsWindowKernel,
  kernelWidth,
  narrowed,
  sinkGradient,
  widened,
  withSinks,
} from './attention-fit.js';
import { sameTurn, tables } from './turns.js';
import { crossEntropyKernel } from '../kernels/cross-entropy.js';
import { documentBoundsKernel } from '../kernels/document-bounds.js';
import type { HeadRows } from '../kernels/heads.js';
import { kernelNode, type KernelWork } from '../kernels/work.js';
import { rmsNormGradKernel, rmsNormKernel } from '../kernels/norm.js';
import { rotateKernel } from '../kernels/rotate.js';
import { swigluGradKernel, swigluKernel } from '../kernels/swiglu.js';
import { lossesOf, type Loss } from './losses.js';
import { channelsOf, joined, narrowSource, valueOf, type Channels } from './views.js';
import { attentionOf, fitsNorm, gatedWork, normWork, rowsOf } from './works.js';
import { windowAttentionGradKernel, windowAttentionKernel } from '../kernels/window-attention.js';
import { attentionTuning } from '../kernels/window-tuning.js';

/** Heads that `rotate` takes. */
const ROTATED_WIDTHS: ReadonlySet<number> = new Set([32, 64]);

const fitsRotate = ({ inputs: [x] }: Node): boolean => {
  const { dtype, shape } = x;
  return dtype === 'bf16' && ROTATED_WIDTHS.has(at(shape, 3));
};

/** Channels that a rotary kernel turned. */
interface Turned {
  readonly from: Channels;
  readonly attrs: RotaryAttrs;
}

/** Part of a gradient that a kernel made whole, as it must be seen by what comes before the turn. */
interface GradientPart {
  readonly channels: Channels;
  readonly turned: RotaryAttrs | null;
}

/** A norm's gradient, before something is added to it. */
interface NormGradient {
  /** The norm's result. */
  readonly y: Value;
  readonly rstd: Value;
  readonly dy: Value;
}

/** Whether channels are all that their source has. */
const isWhole = (all: Channels | null): boolean => all?.offset === 0 && all.channels === all.source.shape[2];

class Fuser {
  /** Gradients of losses that were computed with them. */
  readonly #dlogits = new Map<Node, Value>();
  /** Results of norms, by their statistics. */
  readonly #normed = new Map<Value, Value>();
  readonly #normGradients = new Map<Value, NormGradient>();
  readonly #turned = new Map<Value, Turned>();
  readonly #parts = new Map<Value, GradientPart>();
  /** Where documents begin and end, by their numbers. */
  readonly #bounds = new Map<Value, readonly [starts: Value, ends: Value]>();

  /** `map` holds what is rebuilt. */
  constructor(
    private readonly losses: ReadonlyMap<Node, Loss>,
    private readonly map: ReadonlyMap<Value, Value>,
    private readonly dividesHeads: boolean,
  ) {}

  visit = (node: Node, inputs: readonly Value[]): readonly Value[] | null => {
    const values = this.#replace(node, inputs);
    values?.forEach((v, i) => {
      const { dtype, shape } = at(node.outputs, i);
      invariant(v.dtype === dtype && sameShape(v.shape, shape), `a tile kernel gives another type for ${node.op}`);
    });
    return values;
  };

  #replace(node: Node, inputs: readonly Value[]): readonly Value[] | null {
    switch (node.op) {
      case 'rotary':
        return this.#rotary(node, inputs);
      case 'attention':
        return fitsWindowKernel(node) ? this.#attention(node, inputs) : null;
      case 'attentionGrad':
        return fitsWindowKernel(node) ? this.#attentionGrad(node, inputs) : null;
      case 'add':
        return this.#add(inputs);
      case 'rmsNorm':
        return this.#rmsNorm(node, inputs);
      case 'rmsNormGrad':
        return this.#rmsNormGrad(inputs);
      case 'swiglu':
        return this.#swiglu(inputs);
      case 'swigluGrad':
        return this.#swigluGrad(inputs);
      case 'crossEntropy':
        return this.#crossEntropy(node, inputs);
      case 'crossEntropyGrad': {
        const done = this.#dlogits.get(node);
        return done ? [convert(done, 'f32')] : null;
      }
      case 'convert':
        return this.#convert(node, inputs);
      case 'reshape':
      case 'concat':
        return this.#through(node, inputs);
      default:
        return null;
    }
  }

  /** A sum after a norm's gradient is computed with it. */
  #add(inputs: readonly Value[]): readonly Value[] | null {
    const [a, b] = inputs as [Value, Value];
    // Of two such gradients the later: the earlier is the sum so far, which others use too.
    const later = [...this.#normGradients.keys()].reverse().find((v) => v === a || v === b);
    const [from, added] = later === a ? [a, b] : [b, a];
    const gradient = this.#normGradients.get(from);
    if (!gradient || !sameShape(from.shape, added.shape)) return null;
    const { y, rstd, dy } = gradient;
    const work = normWork(y, (rows) => rmsNormGradKernel(rows, true));
    return kernelNode(work, [y, rstd, dy, added]);
  }

  /** Norms in float32 of what is bf16, as the model has them. */
  #rmsNorm(node: Node<'rmsNorm'>, inputs: readonly Value[]): readonly Value[] | null {
    const x = narrowSource(at(inputs, 0));
    if (inputs.length !== 1 || node.outputs[0]?.dtype !== 'f32' || !fitsNorm(x)) return null;
    const work = normWork(x, (rows) => rmsNormKernel(rows, node.attrs.epsilon));
    const [y, rstd] = kernelNode(work, [x]) as [Value, Value];
    this.#normed.set(rstd, y);
    return [convert(y, 'f32'), rstd];
  }

  /** From the norm's result, which products need too, so that what came in may be overwritten. */
  #rmsNormGrad(inputs: readonly Value[]): readonly Value[] | null {
    const [, rstd, ct] = inputs as [Value, Value, Value];
    const [y, dy] = [this.#normed.get(rstd), narrowSource(ct)];
    if (inputs.length !== 3 || !y || dy.dtype !== 'bf16') return null;
    const work = normWork(y, (rows) => rmsNormGradKernel(rows, false));
    const [dx] = kernelNode(work, [y, rstd, dy]) as [Value];
    this.#normGradients.set(dx, { y, rstd, dy });
    return [convert(dx, 'f32')];
  }

  #swiglu([gate, up]: readonly Value[]): readonly Value[] | null {
    const places = this.#gates(gate as Value, up as Value);
    if (places === null) return null;
    const operands = places.map((p) => p.source);
    return kernelNode(gatedWork(gate as Value, places, swigluKernel), operands);
  }

  #swigluGrad([gate, up, dh]: readonly Value[]): readonly Value[] | null {
    const places = this.#gates(gate as Value, up as Value);
    if (places === null) return null;
    const whole = isWhole(joined(places));
    const operands = [...places.map((p) => p.source), dh as Value];
    const work = gatedWork(gate as Value, places, (gated) => swigluGradKernel(gated, whole));
    const results = kernelNode(work, operands);
    if (!whole) return results;
    const source = at(results, 0);
    return places.map((p) => this.#part({ channels: { ...p, source }, turned: null }, (gate as Value).shape));
  }

  /** Where gate and up lie; null where the kernel does not take them. */
  #gates(gate: Value, up: Value): readonly [Channels, Channels] | null {
    const fits = gate.dtype === 'bf16' && gate.shape.length === 3 && !this.dividesHeads;
    return fits ? [channelsOf(gate), channelsOf(up)] : null;
  }

  #crossEntropy(node: Node, [logits, targets]: readonly Value[]): readonly Value[] | null {
    const loss = this.losses.get(node);
    if (!loss) return null;
    const [rows, vocabulary] = dims(logits as Value, 2);
    const operands = [narrowSource(logits as Value), targets as Value, got(this.map, loss.dloss)];
    const work: KernelWork = {
      ...{ batch: rows, heads: [] },
      kernel: ({ batch }) => crossEntropyKernel(rows / batch, vocabulary),
    };
    const [each, lse, dlogits] = kernelNode(work, operands) as [Value, Value, Value];
    this.#dlogits.set(loss.gradient, dlogits);
    return [each, lse];
  }

  /** Widening and rounding back is nothing. */
  #convert({ attrs }: Node<'convert'>, [x]: readonly Value[]): readonly Value[] | null {
    const source = narrowSource(x as Value);
    return source !== x && attrs.dtype === 'bf16' ? [source] : null;
  }

  /** A value for a part of a gradient; dead unless something uses it that cannot be seen through. */
  #part(part: GradientPart, shape: readonly number[]): Value {
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

  #rotary(node: Node<'rotary'>, [x]: readonly Value[]): readonly Value[] | null {
    const { attrs } = node;
    const given = this.#parts.get(x as Value);
    if (given?.turned && attrs.inverse && sameTurn(given.turned, attrs)) {
      return [this.#part({ ...given, turned: null }, (x as Value).shape)];
    }
    if (!fitsRotate(node)) return null;
    const from = this.#placeOf(x as Value);
    const [B, T, n, D] = dims(x as Value, 4);
    const work: KernelWork = {
      ...{ batch: B, heads: this.#headsOf(n) },
      kernel: ({ batch, heads }) =>
        rotateKernel({
          ...{ batch: B / batch, tokens: T, heads: n / heads, headDim: D, inverse: attrs.inverse },
          x: rowsOf(from, heads),
        }),
    };
    const [y] = kernelNode(work, [...tables(T, attrs), from.source]) as [Value];
    this.#turned.set(y, { from, attrs });
    return [reshape(y, [B, T, n, D])];
  }

  /**
   * Where a kernel reads heads: in the row that they are part of, or from a tensor of their own, which can be divided.
   */
  #placeOf(x: Value): Channels {
    if (!this.dividesHeads) return channelsOf(x);
    const [B, T, n, D] = dims(x, 4);
    return { source: reshape(x, [B, T, n * D]), offset: 0, channels: n * D };
  }

  #headsOf(...heads: readonly number[]): readonly number[] {
    return this.dividesHeads ? heads : [];
  }

  #attentionWork(q: Value, k: Value, kernel: KernelWork['kernel']): KernelWork {
    const [B, , H] = dims(q, 3);
    return { batch: B, heads: this.#headsOf(H, at(k.shape, 2)), kernel };
  }

  /** Where the documents of each row begin and end, if rows hold several. */
  #documents(segments: Value | null): readonly [starts: Value, ends: Value] | null {
    if (segments === null) return null;
    const known = this.#bounds.get(segments);
    if (known) return known;
    const [B, T] = dims(segments, 2);
    const work: KernelWork = { batch: B, heads: [], kernel: ({ batch }) => documentBoundsKernel(B / batch, T) };
    const bounds = kernelNode(work, [segments]) as [Value, Value];
    this.#bounds.set(segments, bounds);
    return bounds;
  }

  /** Queries, keys and values in heads as wide as the kernels have them, and where they lie. */
  #heads([q, k, v]: readonly [Value, Value, Value]): {
    readonly heads: readonly [q: Value, k: Value, v: Value];
    readonly places: readonly [Channels, Channels, Channels];
  } {
    const width = kernelWidth(q, v);
    const heads = [q, k, v].map((x) => widened(x, width)) as [Value, Value, Value];
    return { heads, places: heads.map((x) => this.#placeOf(x)) as [Channels, Channels, Channels] };
  }

  #attention(node: Node<'attention'>, inputs: readonly Value[]): readonly Value[] {
    const { attrs } = node;
    const { fixed, sinks, segments } = attentionInputs(node, inputs);
    const [given, , values] = fixed as [Value, Value, Value];
    const { heads, places } = this.#heads(fixed as [Value, Value, Value]);
    const [q, k] = heads;
    const bounds = this.#documents(segments);
    const tuning = attentionTuning(q, attrs).forward;
    const work = this.#attentionWork(q, k, (pieces) =>
      windowAttentionKernel(attentionOf(q, k, attrs, places, pieces), tuning),
    );
    const operands = [...places.map((p) => p.source), ...(bounds ? [bounds[0]] : [])];
    const [o, lse] = kernelNode(work, operands) as [Value, Value];
    const own = narrowed(reshape(o, q.shape), at(values.shape, 3));
    const [out, sum] = sinks ? withSinks(own, lse, sinks) : [own, lse];
    return [out, convert(sum, given.dtype)];
  }

  #attentionGrad(node: Node<'attentionGrad'>, inputs: readonly Value[]): readonly Value[] {
    const { attrs } = node;
    const { fixed, sinks, segments } = attentionInputs(node, inputs);
    const [, , , o, lse] = fixed as [Value, Value, Value, Value, Value];
    const { heads, places } = this.#heads(fixed.slice(0, 3) as [Value, Value, Value]);
    const [q, k] = heads;
    const [B, T, H, D] = dims(q, 4);
    const flat = (x: Value): Value => reshape(x, [B, T, H * D]);
    // The float32 statistics behind their rounding to the graph's dtype.
    const exact = convert(lse.node.op === 'convert' ? lse.node.inputs[0] : lse, 'f32');
    const whole = this.#whole(places);
    const joinedRows = whole && (whole.parts.map((p) => rowsOf(p.channels, 1)) as [HeadRows, HeadRows, HeadRows]);
    const bounds = this.#documents(segments);
    const { backward: tuning, givenDelta } = attentionTuning(q, attrs);
    const targets = {
      turnBack: whole?.turn != null,
      joined: joinedRows && { q: joinedRows[0], k: joinedRows[1], v: joinedRows[2] },
      givenDelta,
    };
    const work = this.#attentionWork(q, k, (pieces) =>
      windowAttentionGradKernel(attentionOf(q, k, attrs, places, pieces), tuning, targets),
    );
    const [wideO, dOut] = [o, at(fixed, 5)].map((x) => widened(x, D)) as [Value, Value];
    const output = givenDelta ? deltaOf(wideO, dOut) : flat(wideO);
    const operands = [...places.map((p) => p.source), ...(bounds ?? []), output, exact, flat(dOut)];
    const results = kernelNode(work, [...(whole?.turn ? tables(T, whole.turn) : []), ...operands]);
    const sink = sinks ? [sinkGradient(sinks, exact, deltaOf(wideO, dOut))] : [];
    const given = fixed.slice(0, 3).map((x) => x.shape);
    if (!whole) {
      const own = results.map((x, i) => reshape(x, at(heads, i).shape));
      return [...own.map((x, i) => narrowed(x, at(at(given, i), 3))), ...sink];
    }
    const source = at(results, 0);
    const parts = whole.parts.map((p, i) =>
      this.#part({ channels: { ...p.channels, source }, turned: p.turned }, at(given, i)),
    );
    return [...parts, ...sink];
  }

  /** Where q, k and v lie before they were turned, if together they are the whole of one value. */
  #whole(
    places: readonly Channels[],
  ): { readonly parts: readonly GradientPart[]; readonly turn: RotaryAttrs | null } | null {
    const parts = places.map((place): GradientPart => {
      const turned = this.#turned.get(place.source);
      if (!turned || turned.attrs.inverse) return { channels: place, turned: null };
      const { from, attrs } = turned;
      return { channels: { ...place, source: from.source, offset: from.offset + place.offset }, turned: attrs };
    });
    const [q, k, v] = parts as [GradientPart, GradientPart, GradientPart];
    const alike = q.turned === null ? k.turned === null : k.turned !== null && sameTurn(q.turned, k.turned);
    const all = joined(parts.map((p) => p.channels));
    return alike && v.turned === null && isWhole(all) ? { parts, turn: q.turned } : null;
  }

  /** Reshapes and joins of parts of a gradient as larger parts. */
  #through(node: Node, inputs: readonly Value[]): readonly Value[] | null {
    const parts = inputs.map((x) => this.#parts.get(x));
    if (parts.length === 0 || parts.some((p) => p === undefined)) return null;
    const [first] = parts as [GradientPart, ...GradientPart[]];
    const { shape } = node.outputs[0];
    const [B, T] = first.channels.source.shape;
    if (shape[0] !== B || shape[1] !== T || shape.length < 3 || shape.length > 4) return null;
    if (node.op === 'concat' && node.attrs.axis !== 2) return null;
    const alike = parts.every((p) =>
      first.turned === null ? p?.turned === null : p?.turned != null && sameTurn(p.turned, first.turned),
    );
    const all = alike ? joined(parts.map((p) => (p as GradientPart).channels)) : null;
    return all && [this.#part({ channels: all, turned: first.turned }, shape)];
  }
}

/** How a program with tile kernels is divided. */
export interface FuseOptions {
  /**
   * Heads, and the logits' classes, divide over devices: kernels take heads as tensors of their own, and losses none.
   */
  readonly dividesHeads?: boolean;
}

/** The graph with tile kernels in it. Composites must not be expanded yet, and remat must be. */
export function fuseTileKernels(graph: Graph, { dividesHeads = false }: FuseOptions = {}): Graph {
  const map = new Map<Value, Value>(graph.inputs.map(({ value }) => [value, value]));
  const outputs = graph.outputs.map((p) => p.value);
  const losses = dividesHeads ? new Map<Node, Loss>() : lossesOf(graph);
  // What the gradients of losses need comes first.
  const nodes = [...nodesOf([...losses.values()].map(({ dloss }) => dloss)), ...graph.nodes];
  const results = rebuild(nodes, outputs, map, new Fuser(losses, map, dividesHeads).visit);
  return makeGraph(
    Object.fromEntries(graph.inputs.map((p) => [p.name, p.value])),
    Object.fromEntries(graph.outputs.map((p, i) => [p.name, at(results, i)])),
  );
}
