/**
 * The recurrences as tile kernels on NVIDIA GPUs: bf16 queries, keys and values, whole chunks. Heads that share
 * queries, keys or values read the same rows; gradients come out per head and are summed here.
 */
import { present, entry, at, dims } from '../../../core/index.js';
import type { DeltaRuleAttrs, Node, RecurrenceAttrs, TensorType } from '../../../graph/index.js';
import { callKernel } from './call.js';
import {
  CHUNK,
  LEAST_LOG_DECAY,
  deltaBackward,
  deltaForward,
  linearBackward,
  linearForward,
  type Arrays,
  type RecurrenceShape,
  type Run,
} from '../kernels/recurrence/index.js';
import type { KeptFor } from './composites.js';
import type { NamedKernel } from '../kernels/taken.js';
import { manualComputation, shardType, splitOf, type ShardedType, type Split } from '../mesh/manual.js';
import type { Scope } from './scope.js';
import { partsOf, type MeshAxis, type Sharding } from '../mesh/sharding.js';
import { listText, typeText, type TextBuilder, type Operand } from '../mlir/text.js';

type RecurrenceOp = KeptFor<'recurrence'>;

/** Widest head that the kernels hold in registers, and that those of keys of removal do, which hold more tiles. */
const MAX_WIDTH = 128;
const MAX_REMOVAL_WIDTH = 64;

const LIMITS = `multiples of ${CHUNK} tokens, heads of up to ${MAX_WIDTH} channels, ${MAX_REMOVAL_WIDTH} with keys of removal`;

/** The kernels as engines and `doctor` name them. */
export const RECURRENCE_KERNELS: NamedKernel = {
  name: 'recurrences',
  takes: () => ({ takes: `bf16: ${LIMITS}`, briefly: `recurrences (${LIMITS})` }),
};

/** Heads of any width are filled up with zeros, which change nothing, to a power of two. */
const tileWidth = (n: number): number => Math.max(16, 2 ** Math.ceil(Math.log2(n)));

/** Whether the kernels can do this recurrence; or why not. */
export function fitsRecurrenceKernels({ inputs: [q, , v], attrs }: Node<RecurrenceOp>): true | string {
  const removal = removalOf(attrs);
  const tokens = at(q.shape, 1);
  const width = Math.max(at(q.shape, 3), at(v.shape, 3));
  if (q.dtype !== 'bf16') return `${q.dtype}, not bf16`;
  if (tokens % CHUNK !== 0) return `${tokens} tokens, not a multiple of ${CHUNK}`;
  const most = removal ? MAX_REMOVAL_WIDTH : MAX_WIDTH;
  if (width > most) return `heads of ${width} channels, more than ${most}${removal ? ' beside keys of removal' : ''}`;
  if (!removal) return true;
  const { leastDecay } = removal;
  if (leastDecay === undefined) return 'keys of removal, and decays of which no bound is promised';
  if (leastDecay >= LEAST_LOG_DECAY) return true;
  return `keys of removal, and log decays down to ${leastDecay}, less than ${LEAST_LOG_DECAY}`;
}

/** The attributes of a delta rule that has keys of removal, else null. */
const removalOf = (attrs: RecurrenceAttrs | DeltaRuleAttrs): DeltaRuleAttrs | null =>
  'removal' in attrs ? attrs : null;

type Types = readonly TensorType[];

function shapeOf({ attrs }: Node<RecurrenceOp>, types: Types): RecurrenceShape {
  const [q, k, v, g] = types as [TensorType, TensorType, TensorType, TensorType];
  const [batch, tokens, qHeads] = dims(q, 3);
  const [keyWidth, valueWidth] = [q, v].map((x) => tileWidth(at(x.shape, 3))) as [number, number];
  const heads = present(g.shape.length === 1 ? g.shape[0] : g.shape[2]);
  const [kHeads, vHeads] = [at(k.shape, 2), at(v.shape, 2)];
  const { scale, segments } = attrs;
  const [channels, removal] = [g.shape.length === 4, removalOf(attrs) !== null];
  return { batch, tokens, heads, qHeads, kHeads, vHeads, keyWidth, valueWidth, scale, segments, channels, removal };
}

const stateType = ({ batch, heads, keyWidth, valueWidth }: RecurrenceShape): TensorType => ({
  dtype: 'f32',
  shape: [batch, heads, keyWidth, valueWidth],
});

/** `x` with zeros behind its axes up to `shape`. */
function filled(builder: TextBuilder, x: string, from: TensorType, shape: readonly number[]): string {
  if (from.shape.every((n, i) => n === shape[i])) return x;
  const none = listText(shape.map(() => 0));
  const high = listText(shape.map((n, i) => n - at(from.shape, i)));
  const scalar = typeText({ dtype: from.dtype, shape: [] });
  const to = typeText({ dtype: from.dtype, shape });
  const zero = builder.scalar(0, from.dtype);
  return builder.define(
    `stablehlo.pad ${x}, ${zero}, low = ${none}, high = ${high}, interior = ${none} : (${typeText(from)}, ${scalar}) -> ${to}`,
  );
}

/** The first entries of every axis of `x`, up to `shape`. */
function cut(builder: TextBuilder, x: string, from: TensorType, shape: readonly number[]): string {
  if (from.shape.every((n, i) => n === shape[i])) return x;
  const ranges = listText(shape.map((n) => `0:${n}`));
  const to = typeText({ dtype: from.dtype, shape });
  return builder.define(`stablehlo.slice ${x} ${ranges} : (${typeText(from)}) -> ${to}`);
}

/** Place of the log decays among the inputs, and of their gradient among those of the inputs. */
const DECAY = 3;

/** The places of the keys of removal, likewise. */
const REMOVAL: readonly number[] = [5, 6];

/** Whether input or result `i` is a state `[B,H,K,V]`; else what has four axes is `[B,T,heads,width]`. */
const isState = ({ dtype, shape }: TensorType, i: number, removal: boolean): boolean =>
  shape.length === 4 && dtype === 'f32' && i !== DECAY && !(removal && REMOVAL.includes(i));

/** A tensor of a recurrence with heads as wide as the kernels take them. */
function widened(builder: TextBuilder, x: string, type: TensorType, i: number, shape: RecurrenceShape): string {
  if (type.shape.length !== 4) return x;
  const [a, b, h, width] = dims(type, 4);
  return filled(
    builder,
    x,
    type,
    isState(type, i, shape.removal) ? stateType(shape).shape : [a, b, h, tileWidth(width)],
  );
}

/** The inputs of a node by the names that kernels have for them. */
function operandsOf(
  { op, attrs }: Node<RecurrenceOp>,
  given: readonly Operand[],
  shape: RecurrenceShape,
  builder: TextBuilder,
): Arrays<string> {
  const { segments, initialState } = attrs;
  const names = given.map(({ name, type }, i) => widened(builder, name, type, i, shape));
  const [q, k, v, decay, ...rest] = names as [string, string, string, string, ...string[]];
  const beta = op === 'deltaRule' || op === 'deltaRuleGrad' ? { beta: present(rest.shift()) } : {};
  const keys = shape.removal ? { read: present(rest.shift()), erase: present(rest.shift()) } : {};
  const documents = segments ? { segments: present(rest.shift()) } : {};
  const zero = (): string =>
    builder.broadcast(builder.scalar(0, 'f32'), { dtype: 'f32', shape: [] }, stateType(shape).shape);
  const initial = initialState ? present(rest.shift()) : zero();
  const perHead = [shape.batch, shape.tokens, shape.heads];
  const g = shape.channels ? decay : builder.broadcast(decay, at(given, DECAY).type, perHead);
  const backward = rest.length > 0 ? { do: at(rest, 1), dstate: at(rest, 2) } : {};
  return { q, k, v, g, initial, ...beta, ...keys, ...documents, ...backward };
}

/** Runs kernels as calls in the text, with results by name. */
export const runIn =
  (builder: TextBuilder): Run<string> =>
  (kernel, operands) => {
    const read = kernel.buffers.filter((b) => !b.written).map((b) => entry(operands, b.name));
    const results = callKernel(builder, kernel, read);
    const written = kernel.buffers.filter((b) => b.written);
    return Object.fromEntries(written.map((b, i) => [b.name, at(results, i)]));
  };

/**
 * Gradients of every head as those of the `like.shape[2]` heads that they share, summed in f32, as wide as they are.
 */
function shared(builder: TextBuilder, x: string, heads: number, like: TensorType): string {
  const [B, T, h, D] = dims(like, 4);
  const own = { dtype: 'bf16', shape: [B, T, heads, tileWidth(D)] } as const;
  const x0 = cut(builder, x, own, [B, T, heads, D]);
  if (h === heads) return x0;
  const grouped = { dtype: 'f32', shape: [B, T, h, heads / h, D] } as const;
  const flat = { dtype: 'f32', shape: [B, T, heads, D] } as const;
  const wide = builder.convert(x0, { dtype: 'bf16', shape: flat.shape }, 'f32');
  const sum = builder.reduce(builder.reshape(wide, flat, grouped.shape), grouped, [3], 'add', 0);
  return builder.convert(sum, { dtype: 'f32', shape: like.shape }, 'bf16');
}

/** A recurrence, or its gradient, on its operands or their shards. */
function runKernels(node: Node<RecurrenceOp>, operands: readonly Operand[], builder: TextBuilder): readonly string[] {
  const types = operands.map((o) => o.type);
  const shape = shapeOf(node, types);
  const given = operandsOf(node, operands, shape, builder);
  const run = runIn(builder);
  const [q, k, v, decay] = types as [TensorType, TensorType, TensorType, TensorType];
  const { batch, tokens, heads, keyWidth, valueWidth } = shape;
  const stateShape = [batch, heads, at(q.shape, 3), at(v.shape, 3)];
  const state = (x: string): string => cut(builder, x, stateType(shape), stateShape);
  if (!node.op.endsWith('Grad')) {
    const { o, last } = (node.op === 'deltaRule' ? deltaForward : linearForward)(run, shape, given);
    const rows = { dtype: 'bf16', shape: [batch, tokens, heads, valueWidth] } as const;
    return [cut(builder, present(o), rows, [batch, tokens, heads, at(v.shape, 3)]), state(present(last))];
  }
  const delta = node.op === 'deltaRuleGrad';
  const grads = (delta ? deltaBackward : linearBackward)(run, shape, given);
  const perToken = { dtype: 'f32', shape: [batch, tokens, heads] } as const;
  const dg = present(grads.dg);
  const perChannel = (x: string): string =>
    cut(builder, x, { dtype: 'f32', shape: [...perToken.shape, keyWidth] }, [...perToken.shape, at(q.shape, 3)]);
  const decayGradient = (): string => {
    if (shape.channels) return perChannel(dg);
    if (decay.shape.length === 3) return dg;
    return builder.reduce(dg, perToken, [0, 1], 'add', 0);
  };
  return [
    shared(builder, present(grads.dq), heads, q),
    shared(builder, present(grads.dk), heads, k),
    shared(builder, present(grads.dv), heads, v),
    decayGradient(),
    ...(delta ? [present(grads.dbeta)] : []),
    ...(shape.removal ? [perChannel(present(grads.dread)), perChannel(present(grads.derase))] : []),
    ...(node.attrs.initialState ? [state(present(grads.dinitial))] : []),
  ];
}

/** How input or result `i` divides: `[heads]`, documents `[B,T]`, states `[B,H,K,V]`, else `[B,T,heads,...]`. */
function shardingOf(type: TensorType, i: number, removal: boolean, { batch, heads }: Split): Sharding {
  if (type.shape.length === 1) return [heads];
  if (type.shape.length === 2) return [batch, []];
  if (isState(type, i, removal)) return [batch, heads];
  return [batch, [], i < DECAY && type.shape[2] === 1 ? [] : heads];
}

/**
 * The mesh axes along which devices have partial sums: of a decay per head over their sequences, of shared rows over
 * their heads.
 */
function summedOver(type: TensorType, i: number, { batch, heads }: Split): readonly MeshAxis[] {
  if (type.shape.length === 1) return batch;
  return i < DECAY && !isState(type, i, false) && type.shape[2] === 1 ? heads : [];
}

/**
 * Any of the recurrences and their gradients, as kernels; on a mesh each device runs its shard of sequences and heads.
 */
export function lowerRecurrence(node: Node<RecurrenceOp>, inputs: readonly string[], scope: Scope): readonly string[] {
  const { builder, mesh } = scope;
  const { batch, heads, qHeads, kHeads, vHeads, removal } = shapeOf(node, node.inputs);
  // Rows of a single head are replicated.
  const dividing = [heads, qHeads, kHeads, vHeads].filter((n) => n > 1);
  const split = splitOf(mesh, batch, dividing);
  const operands = node.inputs.map((type, i) => ({
    ...{ name: at(inputs, i), type },
    sharding: shardingOf(type, i, removal, split),
  }));
  // Partial sums come out as rows, one a device, which are then reduced.
  const partial = node.outputs.map((type, i) => {
    const axes = summedOver(type, i, split);
    return mesh === null || axes.length === 0 ? null : { axes, rows: at(partsOf(mesh, [axes], 1), 0) };
  });
  const results = node.outputs.map((type, i): ShardedType => {
    const sharding = shardingOf(type, i, removal, split);
    const sum = partial[i];
    if (!sum) return { type, sharding };
    return { type: { dtype: type.dtype, shape: [sum.rows, ...type.shape] }, sharding: [sum.axes, ...sharding] };
  });
  const names = manualComputation(scope, operands, results, (shards) =>
    runKernels(node, shards, builder).map((name, i) => {
      if (!partial[i] || mesh === null) return name;
      const { dtype, shape } = shardType(mesh, at(results, i));
      return builder.reshape(name, { dtype, shape: shape.slice(1) }, shape);
    }),
  );
  return names.map((name, i) => {
    if (!partial[i]) return name;
    const { dtype, shape } = at(results, i).type;
    const wide = builder.convert(name, { dtype, shape }, 'f32');
    const sum = builder.reduce(wide, { dtype: 'f32', shape }, [0], 'add', 0);
    return builder.convert(sum, { dtype: 'f32', shape: shape.slice(1) }, dtype);
  });
}
