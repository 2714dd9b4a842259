/**
 * Forward passes over very long sequences with memory that grows with their length alone. An engine may keep the scores
 * of a whole full attention; here the graph is cut at those attentions, the pieces run one after another, and each
 * attention goes query block by query block through a small program of its own. Slower to start, same results.
 *
 * Window attentions stay inside the pieces: they are banded on every engine.
 */
import {
  got,
  at,
  entry,
  dims,
  hostTensor,
  invariant,
  tensorFrom,
  type HostTensor,
  type Shape,
  maxOf,
} from '../core/index.js';
import type { DeviceTensor, Engine, Executable, TensorMap } from '../engine/index.js';
import {
  add,
  concat,
  dot,
  ge,
  input,
  iota,
  makeGraph,
  mul,
  rebuild,
  reshape,
  scalar,
  select,
  sliceAxis,
  softcapped,
  softmax,
  sub,
  transpose,
  broadcast,
  type Graph,
  type Node,
  type Value,
} from '../graph/index.js';

/** Sequences of at least this many tokens are worth it. */
export const LONG_SEQUENCE = 8192;
/** Bytes of scores that exist at once, about. */
const SCORE_BYTES = 32 * 2 ** 20;
/** Lengths of keys that programs are made for: parts of the whole. */
const KEY_PARTS = 4;
const MASKED = -1e30;

/**
 * Compiles a graph whole, or in segments where one sequence is that long and the engine may keep scores: in bf16
 * accelerators have kernels for full attention that keep none.
 */
export async function compileForward(
  engine: Engine,
  graph: Graph,
  { batchSize, length }: { readonly batchSize: number; readonly length: number },
): Promise<Executable> {
  const { accelerator = false, activations } = engine.hints;
  const short = batchSize > 1 || length < LONG_SEQUENCE;
  const whole = short || (accelerator && activations === 'bf16' && graph.nodes.filter(isCut).every(hasKernel));
  return whole ? await engine.compile(graph) : compileSegmented(engine, graph);
}

/** Whether kernels of accelerators take a full attention: those of cuDNN (docs/xla.md has their limits). */
function hasKernel({ inputs, attrs }: Node<'attention'>): boolean {
  const [{ shape }, , { shape: values }] = inputs;
  const [tokens, width] = [at(shape, 1), at(shape, 3)];
  const plain = inputs.length === 3 && attrs.softcap === undefined && width === values[3];
  return plain && tokens % 2 === 0 && width % 8 === 0 && width <= 128;
}

const isCut = (node: Node): node is Node<'attention'> => node.op === 'attention' && node.attrs.window === null;

interface Segment {
  readonly piece: Graph;
  /** Values that enter from earlier segments and attentions, by input name. */
  readonly enters: ReadonlyMap<string, Value>;
  /** Values that leave, by output name. */
  readonly leaves: ReadonlyMap<string, Value>;
  /** Attentions that run after it. */
  readonly attentions: readonly Node<'attention'>[];
}

/**
 * A graph cut at its full attentions. It must be of one sequence, without gradients through attention. Pieces are
 * compiled when their turn comes and disposed of after it: engines keep the memory of every program that they hold.
 */
export function compileSegmented(engine: Engine, graph: Graph): Executable {
  const levels = levelsOf(graph);
  const last = Math.max(0, maxOf(levels.values()));
  const names = new Map<Value, string>();
  const nameOf = (v: Value): string => {
    const name = names.get(v) ?? `cut${names.size}`;
    names.set(v, name);
    return name;
  };
  const segments: Segment[] = [];
  for (let level = 0; level <= last; level++) {
    const plan = planSegment(graph, levels, level);
    const { piece, enters, leaves } = buildSegment(graph, plan.outputs, levels, level, nameOf);
    segments.push({ piece, enters, leaves, attentions: plan.attentions });
  }
  return new SegmentedExecutable(engine, graph, segments);
}

/** How many cut attentions lie one after another before each node that depends on tokens; others are in no level. */
function levelsOf(graph: Graph): Map<Node, number> {
  const levels = new Map<Node, number>();
  for (const node of graph.nodes) {
    if (node.op === 'input' && node.outputs[0]?.dtype === 'i32') levels.set(node, 0);
    const before = node.inputs.flatMap(({ node: from }) => {
      const level = levels.get(from);
      return level === undefined ? [] : [level + (isCut(from) ? 1 : 0)];
    });
    if (before.length > 0) levels.set(node, maxOf(before));
  }
  return levels;
}

/** What a segment must give: values that later ones, its attentions or the graph's outputs need. */
function planSegment(graph: Graph, levels: ReadonlyMap<Node, number>, level: number) {
  const own = (v: Value) => levels.get(v.node) === level && !isCut(v.node) && v.node.op !== 'input';
  const attentions = graph.nodes.filter(isCut).filter((n) => levels.get(n) === level);
  // Sinks of a part of the heads are cut from weights, which belong to no level.
  const fromWeights = (v: Value) => !levels.has(v.node) && v.node.op !== 'input';
  const outputs = new Set<Value>(attentions.flatMap((n) => n.inputs).filter((v) => own(v) || fromWeights(v)));
  for (const node of graph.nodes) {
    if ((levels.get(node) ?? -1) > level) node.inputs.filter(own).forEach((v) => outputs.add(v));
  }
  for (const { value } of graph.outputs) if (own(value)) outputs.add(value);
  return { attentions, outputs: [...outputs] };
}

/** The graph of a segment. Weights, and what depends on them alone, are computed anew wherever they are needed. */
function buildSegment(
  graph: Graph,
  outputs: readonly Value[],
  levels: ReadonlyMap<Node, number>,
  level: number,
  nameOf: (v: Value) => string,
) {
  const map = new Map<Value, Value>();
  const enters = new Map<string, Value>();
  const needed = new Set<Node>();
  const visit = (v: Value): void => {
    const { node } = v;
    if (map.has(v)) return;
    const from = levels.get(node);
    if (node.op === 'input') {
      map.set(v, v);
    } else if (from !== undefined && (from < level || isCut(node))) {
      map.set(v, input(nameOf(v), v.dtype, v.shape));
      enters.set(nameOf(v), v);
    } else if (!needed.has(node)) {
      needed.add(node);
      node.inputs.forEach(visit);
    }
  };
  outputs.forEach(visit);
  const nodes = graph.nodes.filter((n) => needed.has(n));
  const images = rebuild(nodes, outputs, map);
  const used = graph.inputs.filter(({ value }) => map.has(value));
  const leaves = new Map(outputs.map((v) => [nameOf(v), v]));
  const piece = makeGraph(
    {
      ...Object.fromEntries(used.map(({ name, value }) => [name, value])),
      ...Object.fromEntries([...enters].map(([name, v]) => [name, got(map, v)])),
    },
    Object.fromEntries([...leaves.keys()].map((name, i) => [name, at(images, i)])),
  );
  return { piece, enters, leaves };
}

class SegmentedExecutable implements Executable {
  /** The attention program in hand. */
  #program: { readonly key: string; readonly executable: Executable } | null = null;

  constructor(
    private readonly engine: Engine,
    readonly graph: Graph,
    private readonly segments: readonly Segment[],
  ) {}

  async run(inputs: TensorMap): Promise<TensorMap> {
    const held = new Map<Value, DeviceTensor>(this.graph.inputs.map(({ name, value }) => [value, entry(inputs, name)]));
    const lastUse = this.#lastUses();
    for (const [index, { piece, enters, leaves, attentions }] of this.segments.entries()) {
      const own = Object.fromEntries(
        piece.inputs.map(({ name }) => {
          const value = enters.get(name);
          return [name, value === undefined ? entry(inputs, name) : got(held, value)];
        }),
      );
      const results = await runOnce(this.engine, piece, own);
      for (const [name, value] of leaves) held.set(value, entry(results, name));
      for (const node of attentions) held.set(node.outputs[0], await this.#attend(node, held));
      for (const [value, last] of lastUse) if (last === index) held.delete(value);
    }
    return Object.fromEntries(
      this.graph.outputs.map(({ name, value }) => {
        const tensor = held.get(value);
        invariant(tensor, `output ${name} of a graph in segments was not computed`);
        return [name, tensor];
      }),
    );
  }

  /** The segment after which a value that crosses segments is needed no more. */
  #lastUses(): Map<Value, number> {
    const kept = new Set(this.graph.outputs.map((p) => p.value));
    const uses = new Map<Value, number>();
    this.segments.forEach(({ enters, leaves, attentions }, i) => {
      for (const v of leaves.values()) uses.set(v, i);
      for (const v of enters.values()) uses.set(v, i);
      for (const v of attentions.flatMap((n) => n.inputs)) uses.set(v, i);
    });
    return new Map([...uses].filter(([v]) => !kept.has(v) && v.node.op !== 'input'));
  }

  async #attend(node: Node<'attention'>, held: ReadonlyMap<Value, DeviceTensor>): Promise<DeviceTensor> {
    const [q, k, v, sinks] = await Promise.all(
      node.inputs.map(async (value) => {
        const tensor = held.get(value);
        invariant(tensor, 'an attention in segments misses an input');
        return this.engine.download(tensor);
      }),
    );
    invariant(q && k && v && q.shape[0] === 1, 'attention in segments is of one sequence');
    const [, T, H, D] = dims(q, 4);
    const E = at(v.shape, 3);
    const rows = Math.max(16, Math.min(512, 2 ** Math.floor(Math.log2(SCORE_BYTES / (4 * H * T)))));
    const step = Math.ceil(T / KEY_PARTS);
    const sinkTensor = sinks ? { sinks: this.engine.upload(sinks) } : {};
    const out = new Float32Array(T * H * E);
    let keys = null as { length: number; k: DeviceTensor; v: DeviceTensor } | null;
    for (let start = 0; start < T; start += rows) {
      // The last block moves back to be whole: rows that two blocks share come out the same.
      const from = Math.max(0, Math.min(start, T - rows));
      const count = Math.min(rows, T);
      const length = Math.min(T, Math.ceil((from + count) / step) * step);
      if (keys?.length !== length) {
        keys = { length, k: this.#upload(cut(k, 0, length)), v: this.#upload(cut(v, 0, length)) };
      }
      const kind = [
        node.attrs.scale,
        node.attrs.softcap ?? null,
        cutShape(q.shape, count),
        cutShape(k.shape, length),
        E,
        sinks !== undefined,
      ] as const;
      const program = await this.#programFor(kind);
      const results = await program.run({
        ...{ q: this.#upload(cut(q, from, from + count)), k: keys.k, v: keys.v, ...sinkTensor },
        start: this.engine.upload(tensorFrom('i32', [], [from])),
      });
      const block = await this.engine.download(entry(results, 'out'));
      out.set(block.data, from * H * E);
    }
    invariant(D === k.shape[3], 'queries and keys differ in width');
    return this.#upload(hostTensor('f32', [1, T, H, E], out));
  }

  #upload(tensor: HostTensor): DeviceTensor {
    return this.engine.upload(tensor);
  }

  /** The program of one shape; the one before it goes. */
  async #programFor(kind: Parameters<typeof blockGraph>[0]): Promise<Executable> {
    const key = JSON.stringify(kind);
    if (this.#program?.key === key) return this.#program.executable;
    await this.dispose();
    const executable = await this.engine.compile(blockGraph(kind));
    this.#program = { key, executable };
    return executable;
  }

  async dispose(): Promise<void> {
    await this.#program?.executable.dispose();
    this.#program = null;
  }
}

async function runOnce(engine: Engine, graph: Graph, inputs: TensorMap): Promise<TensorMap> {
  const executable = await engine.compile(graph);
  try {
    return await executable.run(inputs);
  } finally {
    await executable.dispose();
  }
}

/** Rows `from .. to` of axis 1 of `[1,T,...]`. */
function cut({ shape, data, dtype }: HostTensor, from: number, to: number): HostTensor {
  const width = data.length / at(shape, 1);
  invariant(dtype === 'f32', 'attention in segments is float32');
  return hostTensor('f32', cutShape(shape, to - from), (data as Float32Array).slice(from * width, to * width));
}

const cutShape = (shape: Shape, length: number): number[] => [at(shape, 0), length, ...shape.slice(2)];

/** Attention of a block of queries, `start` being the position of the first, over keys from the beginning. */
function blockGraph([scale, softcap, qShape, kShape, E, withSinks]: readonly [
  number,
  number | null,
  Shape,
  Shape,
  number,
  boolean,
]): Graph {
  const [, C, H, D] = qShape as [number, number, number, number];
  const [, L, G] = kShape as [number, number, number];
  const R = H / G;
  const [q, k] = [input('q', 'f32', qShape), input('k', 'f32', kShape)];
  const v = input('v', 'f32', [1, L, G, E]);
  const start = input('start', 'i32', []);
  const sinks = withSinks ? input('sinks', 'f32', [H]) : null;
  const heads = reshape(mul(q, scale), [1, C, G, R, D]);
  // [1,G,C,R,L]
  const products = dot(heads, k, { lhsBatch: [0, 2], rhsBatch: [0, 2], lhsContract: [4], rhsContract: [3] });
  const scores = softcapped(products, softcap);
  const row = add(iota('i32', [C, 1, 1], 0), start);
  const seen = ge(sub(row, iota('i32', [1, 1, L], 2)), 0);
  const masked = add(scores, select(seen, scalar(0, 'f32'), scalar(MASKED, 'f32')));
  let p: Value;
  if (sinks) {
    const column = broadcast(reshape(sinks, [1, G, 1, R, 1]), [1, G, C, R, 1]);
    p = sliceAxis(softmax(concat([masked, column], 4)), 4, 0, L);
  } else {
    p = softmax(masked);
  }
  const out = dot(p, v, { lhsBatch: [0, 1], rhsBatch: [0, 2], lhsContract: [4], rhsContract: [1] });
  return makeGraph(
    { q, k, v, start, ...(sinks ? { sinks } : {}) },
    { out: reshape(transpose(out, [0, 2, 1, 3, 4]), [1, C, H, E]) },
  );
}
