/**
 * Rows of attention: what each head attends to from chosen query positions. One row of T scores per query and head
 * leaves the engine, never T x T, so memory grows with T alone.
 */
import { dims, at, ConfigError, everyOne, pending, tensorFrom, toNumbers, maxOf, type Pending } from '../core/index.js';
import type { Executable, TensorMap } from '../engine/index.js';
import {
  constantFrom,
  dot,
  input,
  makeGraph,
  mul,
  nodesOf,
  reshape,
  take,
  type Graph,
  type Value,
  softcapped,
} from '../graph/index.js';
import {
  batchSequences,
  compileForward,
  parametersFor,
  type ModelOnEngine,
  type SequenceBatches,
} from '../loaded/index.js';
import {
  forward,
  firstVisible,
  headGroups,
  headLogits,
  hasSinks,
  headSizes,
  printLayer,
  parameterInputs,
  scoreScales,
  sinksName,
  type HeadGroup,
  type LayerPlan,
  type ModelConfig,
  type QueriesAndKeys,
  TapReader,
} from '../model/index.js';

/** A head of a model. */
export interface HeadIndex {
  readonly layer: number;
  readonly head: number;
}

/** A sequence and the positions from which heads are watched. */
export interface RowSample {
  readonly tokens: Int32Array;
  /** The positions whose rows are read, as many in every sample. Tokens behind the last do not matter. */
  readonly positions: readonly number[];
  /** Tokens that are read, up to the last position unless given. */
  readonly end?: number;
}

/** One head's attention from one position. */
export interface AttentionRow extends HeadIndex {
  /** Index of the sample. */
  readonly sample: number;
  readonly position: number;
  /** First visible key; `scores[i]` is that of key `first + i`, the last being the query's own. */
  readonly first: number;
  /** Scaled scores of visible keys, before the softmax. Reused: copy what you keep. */
  readonly scores: Float64Array;
  /** The head's learned sink logit, which takes part in the softmax; null for none. */
  readonly sink: number | null;
}

/** How rows of attention weights are read. */
export interface AttentionRowsOptions {
  /** At most this many tokens in one pass, one sample at least (default: what suits the engine). */
  readonly batchTokens?: number | undefined;
  /** Also gives the logits at the positions. */
  readonly logits?: boolean;
}

type Prepared = RowSample & { readonly end: number };

const OWN_INPUTS: ReadonlySet<string> = new Set(['tokens', 'rows']);

/** The group of each query head of a layer. */
export function headGroupsOf(plan: LayerPlan): HeadGroup[] {
  return headGroups(plan).flatMap((group) => Array.from({ length: group.heads }, () => group));
}

/** The attention heads of every layer of a model, in order. */
export function allHeads(model: ModelConfig): HeadIndex[] {
  return model.layers.flatMap((plan, layer) => headGroupsOf(plan).map((_, head) => ({ layer, head })));
}

/**
 * Throws `ConfigError` naming a head that the model does not have, or that no attention layer holds, and where there is
 * no head at all.
 */
export function checkHeads(model: ModelConfig, heads: readonly HeadIndex[]): void {
  if (heads.length === 0) {
    const none = allHeads(model).length === 0;
    throw new ConfigError(none ? 'the model has no attention, so it has no head to measure' : 'name at least one head');
  }
  for (const { layer, head } of heads) {
    const plan = model.layers[layer];
    const count = plan === undefined ? 0 : headGroupsOf(plan).length;
    if (Number.isInteger(head) && head >= 0 && head < count) continue;
    const why =
      plan === undefined
        ? `the model has layers 0 to ${model.numLayers - 1}`
        : count === 0
          ? `layer ${layer} (${printLayer(plan)}) has no attention`
          : `layer ${layer} has heads 0 to ${count - 1}`;
    throw new ConfigError(`there is no head ${layer}:${head}; ${why}`, { details: { layer, head } });
  }
}

/** Attention rows that are read again and again, on the same samples. */
export class AttentionRows {
  private constructor(
    private readonly on: ModelOnEngine,
    private readonly executable: Executable,
    private readonly placed: SequenceBatches<Prepared>,
    private readonly perSample: number,
  ) {}

  /**
   * Compiles the pass that reads rows, and puts the samples on the engine.
   *
   * @throws ConfigError without samples, or if they differ in how many positions they have
   */
  static async create(
    on: ModelOnEngine,
    watched: readonly RowSample[],
    { batchTokens, logits = false }: AttentionRowsOptions = {},
  ): Promise<AttentionRows> {
    const perSample = watched[0]?.positions.length ?? 0;
    if (perSample === 0 || watched.some((s) => s.positions.length !== perSample)) {
      throw new ConfigError('watching attention needs samples with the same number of positions each, at least one');
    }
    const samples = watched.map((s) => ({ ...s, end: s.end ?? maxOf(s.positions) + 1 }));
    const placed = batchSequences(on, samples, batchTokens);
    const graph = rowsGraph(on.config, placed.batchSize, placed.length, perSample, logits);
    return new AttentionRows(on, await compileForward(on.engine, graph, placed), placed, perSample);
  }

  /**
   * Reads every row of every head (or of `heads`), sample by sample in order, layer by layer.
   *
   * @param tensors the model's parameters, perhaps among others
   * @param onLogits logits `[vocabSize]` at each position, if asked for at creation
   */
  async read(
    tensors: TensorMap,
    onRow: (row: AttentionRow) => void,
    {
      heads,
      onLogits,
    }: { heads?: readonly HeadIndex[]; onLogits?: (sample: number, logits: Float64Array) => void } = {},
  ): Promise<void> {
    const { engine, config: model } = this.on;
    if (heads) checkHeads(model, heads);
    const wanted = heads && new Set(heads.map((h) => `${h.layer}:${h.head}`));
    const sinks = await this.#sinks(tensors);
    let done = 0;
    for (const [index, batch] of this.placed.batches.entries()) {
      const outputs = await this.#run(tensors, index);
      // One layer's scores are on the host at a time; together they would be as large as the attention maps of all
      // heads.
      for (const layer of model.layers.keys()) {
        const scores = outputs[`scores.${layer}`];
        if (!scores) continue;
        const values = toNumbers(await engine.download(scores));
        this.#eachRow({ index, done, layer, sinks }, values, (row) => {
          if (!wanted || wanted.has(`${layer}:${row.head}`)) onRow(row);
        });
      }
      if (onLogits && outputs['logits']) {
        const values = toNumbers(await engine.download(outputs['logits']));
        const size = model.vocabSize * this.perSample;
        batch.samples.forEach((_, i) => onLogits(done + i, values.subarray(i * size, (i + 1) * size)));
      }
      done += batch.samples.length;
    }
  }

  /** Bytes of the scores of all samples. */
  get bytes(): number {
    const { batchSize, length, batches } = this.placed;
    return 4 * allHeads(this.on.config).length * this.perSample * batchSize * batches.length * length;
  }

  /**
   * Starts to read every row: once the promise settles, the engine has been given all of it. The result calls back
   * with each row in the order of `read`; all scores are then on the host at once, `bytes` of them.
   */
  async start(tensors: TensorMap): Promise<Pending<(onRow: (row: AttentionRow) => void) => void>> {
    const { engine, config: model } = this.on;
    const layers = [...model.layers.keys()];
    const started: TensorMap[] = [];
    const sinks = await this.#sinks(tensors);
    for (const index of this.placed.batches.keys()) started.push(await this.#run(tensors, index));
    const read = (outputs: TensorMap) =>
      everyOne(layers.map((layer) => outputs[`scores.${layer}`]).map((t) => (t ? engine.download(t) : null)));
    return pending(
      () => everyOne(started.map(read)),
      (batches) => (onRow) => {
        let done = 0;
        for (const [index, scores] of batches.entries()) {
          for (const [layer, own] of scores.entries()) {
            if (own) this.#eachRow({ index, done, layer, sinks }, toNumbers(own), onRow);
          }
          done += at(this.placed.batches, index).samples.length;
        }
      },
    );
  }

  #run(tensors: TensorMap, index: number): Promise<TensorMap> {
    const { batchSize, length, batches } = this.placed;
    const batch = at(batches, index);
    const flat = batch.rows.flatMap((s, i) => s.positions.map((p) => i * length + p));
    const rows = this.on.engine.upload(tensorFrom('i32', [batchSize * this.perSample], flat));
    const parameters = parametersFor(this.executable.graph.inputs, OWN_INPUTS, tensors);
    return this.executable.run({ ...parameters, tokens: batch.tokens, rows });
  }

  /** The rows of one layer in a batch; `done` samples came before it. */
  #eachRow(
    {
      index,
      done,
      layer,
      sinks,
    }: { index: number; done: number; layer: number; sinks: readonly (Float64Array | null)[] },
    values: Float64Array,
    onRow: (row: AttentionRow) => void,
  ): void {
    headGroupsOf(at(this.on.config.layers, layer)).forEach((group, head) => {
      at(this.placed.batches, index).samples.forEach((sample, i) =>
        sample.positions.forEach((position, r) => {
          const first = firstVisible(group, position);
          const scores = this.#rowOf(values, layer, [i, r, head], position).subarray(first);
          onRow({ layer, head, sample: done + i, position, first, scores, sink: sinks[layer]?.[head] ?? null });
        }),
      );
    });
  }

  /** Scores of keys 0 to the query: of `[B,G,Q,R,T]`. */
  #rowOf(
    values: Float64Array,
    layer: number,
    [sample, query, head]: readonly [sample: number, query: number, head: number],
    position: number,
  ): Float64Array {
    const { config } = this.on;
    const { numHeads, numKvHeads } = headSizes(config, at(config.layers, layer));
    const perKv = numHeads / numKvHeads;
    const [g, r] = [Math.floor(head / perKv), head % perKv];
    const first = (((sample * numKvHeads + g) * this.perSample + query) * perKv + r) * this.placed.length;
    return values.subarray(first, first + position + 1);
  }

  async #sinks(tensors: TensorMap): Promise<(Float64Array | null)[]> {
    const { engine, config: model } = this.on;
    return Promise.all(
      model.layers.map(async (plan, layer) => {
        const tensor = hasSinks(model, plan) ? tensors[sinksName(plan, layer)] : undefined;
        return tensor ? toNumbers(await engine.download(tensor)) : null;
      }),
    );
  }

  async dispose(): Promise<void> {
    await this.executable.dispose();
  }
}

/** Softmax over the visible keys of a row, 0 to 1 each; with a learned sink they add up to less than 1. */
export function probabilitiesOf({ scores, sink }: Pick<AttentionRow, 'scores' | 'sink'>): Float64Array {
  let top = sink ?? -Infinity;
  for (const s of scores) if (s > top) top = s;
  let total = sink === null ? 0 : Math.exp(sink - top);
  const weights = scores.map((s) => {
    const p = Math.exp(s - top);
    total += p;
    return p;
  });
  return weights.map((p) => p / total);
}

/**
 * Tokens `[B,T]` and flat rows `[B*Q]` to `scores.N` `[B,G,Q,R,T]` per layer (before mask and softmax), and logits
 * `[B*Q,V]`.
 */
function rowsGraph(model: ModelConfig, B: number, T: number, Q: number, logits: boolean): Graph {
  const params = parameterInputs(model);
  const tokens = input('tokens', 'i32', [B, T]);
  const rows = input('rows', 'i32', [B * Q]);
  const reader = new TapReader();
  const { stream } = forward(model, params, tokens, { tap: reader.tap });
  const outputs = model.layers.flatMap((_, layer): [string, Value][] => {
    const qk = reader.queriesAndKeys(layer);
    return qk === null ? [] : [[`scores.${layer}`, rowScores(qk, rows, model, layer, Q)]];
  });
  // A model without attention has no rows to read; a program gives something all the same.
  if (logits || outputs.length === 0) {
    const flat = reshape(stream, [B * T, model.hiddenSize]);
    outputs.push(['logits', headLogits(model, params, take(flat, rows))]);
  }
  const needed = new Set(nodesOf(outputs.map(([, value]) => value)));
  const used = [...params].filter(([, value]) => needed.has(value.node));
  return makeGraph({ ...Object.fromEntries(used), tokens, rows }, Object.fromEntries(outputs));
}

function rowScores({ q, k }: QueriesAndKeys, rows: Value, model: ModelConfig, layer: number, Q: number): Value {
  const { numHeads: H, numKvHeads: G } = headSizes(model, at(model.layers, layer));
  const [B, T, , D] = dims(q, 4);
  const row = reshape(take(reshape(q, [B * T, H * D]), rows), [B, Q, G, H / G, D]);
  // [B,Q,G,R,D] against [B,T,G,D] over D, by batch and key head: [B,G,Q,R,T].
  const scores = dot(row, k, { lhsBatch: [0, 2], rhsBatch: [0, 2], lhsContract: [4], rhsContract: [3] });
  const scaled = mul(scores, reshape(scoreFactors(model, layer, q), [1, G, 1, H / G, 1]));
  return softcapped(scaled, model.attentionSoftcap);
}

/** The factor on the scores of every query head `[H]` of a layer, for queries `[B,T,H,D]`. */
export function scoreFactors(model: ModelConfig, layer: number, q: Value): Value {
  const scales = scoreScales(model, at(model.layers, layer), at(q.shape, 1));
  return constantFrom(q.dtype, [scales.length], scales);
}

/** The index of the largest value, the first of equals. */
export function firstLargest(values: Float64Array): number {
  let [best, most] = [0, -Infinity];
  values.forEach((value, i) => {
    if (value > most) [best, most] = [i, value];
  });
  return best;
}
