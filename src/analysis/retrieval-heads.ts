/**
 * Retrieval heads by attention mass: how much of its attention each head puts on the needle, seen from the token that has to
 * answer (the score of "Rethinking the Role of Efficient Attention in Hybrid Architectures", arXiv 2606.15378,
 * thunlp/rethinking-hybrid-attention `src/tracing/find_retrieval_heads.py`).
 *
 * One row of attention per sample is computed, T scores a head, never T x T. Differences from the published script: the query
 * is the last token of the question, not the one before (`queryFromEnd: 2` gives theirs); the needle is the answer's known
 * place, not every occurrence of its spelling; samples are never cut; mass per token and top-1 hits are given beside the mass.
 */
import { ConfigError, invariant, tensorFrom, toNumbers, maxOf } from '../core/index.js';
import type { NeedleSample } from '../data/index.js';
import type { DeviceTensor, Engine, Executable, TensorMap } from '../engine/index.js';
import { dot, input, makeGraph, mul, nodesOf, reshape, take, type Graph, type Value } from '../graph/index.js';
import {
  forward,
  parameterInputs,
  printLayer,
  type HeadGroup,
  type ModelConfig,
  type QueriesAndKeys,
} from '../model/index.js';
import { headGroupsOf, scoreFactors } from './attention-rows.js';
import { compileForward } from './segments.js';

export interface HeadScore {
  /** Query head. */
  readonly head: number;
  /** Visible keys, the query's own included; null for full attention. */
  readonly window: number | null;
  readonly rope: HeadGroup['rope'];
  /** Mean over samples of the attention on the needle's tokens, 0 to 1. Learned sinks take part in the denominator. */
  readonly score: number;
  /** Mean over samples of that mass divided by the needle's tokens: comparable across needle lengths. */
  readonly massPerToken: number;
  /** Share of samples whose most attended token (the first of equals) belongs to the needle. */
  readonly top1: number;
  /** Mean share of the needle's tokens that the head can see at all; below 1 the score of a window head is bounded by it. */
  readonly visible: number;
}

export interface LayerHeadScores {
  readonly layer: number;
  /** The layer in the short form of patterns. */
  readonly label: string;
  /** Empty for layers without attention. */
  readonly heads: readonly HeadScore[];
}

export interface HeadScores {
  readonly format: 1;
  readonly step: number;
  /** Training tokens seen. */
  readonly tokens: number;
  readonly definition: 'attention-mass';
  /** Row of the attention: 1 = the last token of the question. */
  readonly queryFromEnd: number;
  readonly samples: number;
  readonly layers: readonly LayerHeadScores[];
}

/** What tracing needs of a needle sample. */
export type TraceSample = Pick<NeedleSample, 'tokens' | 'needleSpan' | 'queryPosition'>;

export interface HeadTracerOptions {
  readonly engine: Engine;
  readonly model: ModelConfig;
  readonly samples: readonly TraceSample[];
  /** 1 = the last token of the question (the default), 2 = the one before (the published script). */
  readonly queryFromEnd?: number;
  /** At most this many tokens in one pass (one sample at least); 4,096 unless told. */
  readonly batchTokens?: number;
}

interface TraceBatch {
  readonly tokens: DeviceTensor;
  /** Flat position of each sample's query, i32 `[batchSize]`. */
  readonly rows: DeviceTensor;
  /** As many as the batch truly holds; the rest of its rows repeat the last. */
  readonly samples: readonly TraceSample[];
}

/** Inputs of the trace graph that are not parameters. */
const DATA_INPUTS: ReadonlySet<string> = new Set(['tokens', 'rows']);

/** Head scores that are measured again and again, on the same samples. */
export class HeadTracer {
  readonly #options: HeadTracerOptions;
  readonly #queryFromEnd: number;
  readonly #length: number;
  readonly #executable: Executable;
  readonly #batches: readonly TraceBatch[];

  private constructor(
    options: HeadTracerOptions,
    parts: { queryFromEnd: number; length: number; executable: Executable; batches: readonly TraceBatch[] },
  ) {
    this.#options = options;
    this.#queryFromEnd = parts.queryFromEnd;
    this.#length = parts.length;
    this.#executable = parts.executable;
    this.#batches = parts.batches;
  }

  /**
   * Compiles the graph and places the samples on the engine; shorter samples are padded at the end, which no query sees.
   *
   * @throws ConfigError if there is no sample, or `queryFromEnd` reaches back into the needle of one
   */
  static async create(options: HeadTracerOptions): Promise<HeadTracer> {
    const { engine, model, samples, queryFromEnd = 1, batchTokens = 4096 } = options;
    checkSamples(samples, queryFromEnd);
    // Nothing after a query matters to its row.
    const length = maxOf(samples.map((s) => s.queryPosition)) + 1;
    const batchSize = Math.max(1, Math.min(samples.length, Math.floor(batchTokens / length)));
    const executable = await compileForward(engine, traceGraph(model, batchSize, length), { batchSize, length });
    const batches = Array.from({ length: Math.ceil(samples.length / batchSize) }, (_, b) => {
      const own = samples.slice(b * batchSize, (b + 1) * batchSize);
      const filled = Array.from({ length: batchSize }, (_, i) => own[Math.min(i, own.length - 1)] as TraceSample);
      const tokens = new Int32Array(batchSize * length);
      filled.forEach((s, i) => tokens.set(s.tokens.subarray(0, s.queryPosition + 1), i * length));
      const rows = filled.map((s, i) => i * length + queryOf(s, queryFromEnd));
      return {
        tokens: engine.upload(tensorFrom('i32', [batchSize, length], tokens)),
        rows: engine.upload(tensorFrom('i32', [batchSize], rows)),
        samples: own,
      };
    });
    return new HeadTracer(options, { queryFromEnd, length, executable, batches });
  }

  /** Scores every head of a model whose parameters are among `tensors`. */
  async trace(tensors: TensorMap, at: { readonly step: number; readonly tokens: number }): Promise<HeadScores> {
    const { engine, model, samples } = this.#options;
    const names = this.#executable.graph.inputs.map((port) => port.name).filter((name) => !DATA_INPUTS.has(name));
    const params = names.map((name) => [name, tensors[name]] as const);
    const missing = params.find(([, tensor]) => tensor === undefined);
    invariant(!missing, `tracing got no parameter ${missing?.[0]}`);
    const tallies = model.layers.map((plan) => headGroupsOf(plan).map(() => new HeadTally()));
    const sinks = await Promise.all(model.layers.map(async (_, layer) => this.#sinks(tensors, layer)));
    for (const batch of this.#batches) {
      const { tokens, rows } = batch;
      const inputs = { ...(Object.fromEntries(params) as TensorMap), tokens, rows };
      const outputs = await this.#executable.run(inputs);
      for (const [layer, plan] of model.layers.entries()) {
        const scores = outputs[`scores.${layer}`];
        if (!scores) continue;
        const values = toNumbers(await engine.download(scores));
        headGroupsOf(plan).forEach((group, head) => {
          batch.samples.forEach((sample, i) => {
            const from = (i * model.numHeads + head) * this.#length;
            const row = values.subarray(from, from + queryOf(sample, this.#queryFromEnd) + 1);
            tallies[layer]?.[head]?.add(row, group.window, sinks[layer]?.[head] ?? null, sample.needleSpan);
          });
        });
      }
    }
    return {
      format: 1,
      ...{ step: at.step, tokens: at.tokens },
      definition: 'attention-mass',
      queryFromEnd: this.#queryFromEnd,
      samples: samples.length,
      layers: model.layers.map((plan, layer) => ({
        layer,
        label: printLayer(plan),
        heads: headGroupsOf(plan).map(({ window, rope }, head) => ({
          head,
          window,
          rope,
          ...(tallies[layer]?.[head] as HeadTally).means(),
        })),
      })),
    };
  }

  async #sinks(tensors: TensorMap, layer: number): Promise<Float64Array | null> {
    const tensor = this.#options.model.sinks ? tensors[`layers.${layer}.attn.sinks`] : undefined;
    return tensor ? toNumbers(await this.#options.engine.download(tensor)) : null;
  }

  async dispose(): Promise<void> {
    await this.#executable.dispose();
  }
}

function queryOf(sample: TraceSample, queryFromEnd: number): number {
  return sample.queryPosition + 1 - queryFromEnd;
}

function checkSamples(samples: readonly TraceSample[], queryFromEnd: number): void {
  if (samples.length === 0) throw new ConfigError('tracing retrieval heads needs at least one needle sample');
  const early = samples.find((s) => queryOf(s, queryFromEnd) < s.needleSpan[1]);
  if (early === undefined) return;
  throw new ConfigError(
    `queryFromEnd ${queryFromEnd} reaches back into the needle, which ends at token ${early.needleSpan[1]} of ` +
      `${early.queryPosition + 1}; use a smaller number`,
    { details: { queryFromEnd } },
  );
}

/** Tokens i32 `[B,T]` and flat query rows i32 `[B]` to `scores.N` `[B,H,T]` per layer, scaled, before mask and softmax. */
function traceGraph(model: ModelConfig, batchSize: number, length: number): Graph {
  const params = parameterInputs(model);
  const tokens = input('tokens', 'i32', [batchSize, length]);
  const rows = input('rows', 'i32', [batchSize]);
  const { queriesAndKeys } = forward(model, params, tokens);
  const outputs = queriesAndKeys.flatMap((qk, layer) =>
    qk === null ? [] : [[`scores.${layer}`, rowScores(qk, rows, model, layer)] as const],
  );
  const needed = new Set(nodesOf(outputs.map(([, value]) => value)));
  const used = [...params].filter(([, value]) => needed.has(value.node));
  return makeGraph({ ...Object.fromEntries(used), tokens, rows }, Object.fromEntries(outputs));
}

function rowScores({ q, k }: QueriesAndKeys, rows: Value, model: ModelConfig, layer: number): Value {
  const { numHeads: H, numKvHeads: G, headDim: D } = model;
  const [B, T] = q.shape as [number, number, number, number];
  const row = reshape(take(reshape(q, [B * T, H * D]), rows), [B, G, H / G, D]);
  // [B,G,R,D] against [B,T,G,D] over D: [B,G,R,T], query heads in order.
  const scores = dot(row, k, { lhsBatch: [0, 1], rhsBatch: [0, 2], lhsContract: [3], rhsContract: [3] });
  return reshape(mul(scores, reshape(scoreFactors(model, layer, q), [G, H / G, 1])), [B, H, T]);
}

/** Sums over samples for one head. */
class HeadTally {
  #mass = 0;
  #massPerToken = 0;
  #top1 = 0;
  #visible = 0;
  #count = 0;

  /**
   * @param row scores of keys 0 to the query
   * @param sink the head's sink logit, null for none
   * @param span [start, end) of the needle's tokens
   */
  add(row: Float64Array, window: number | null, sink: number | null, span: readonly [number, number]): void {
    const first = window === null ? 0 : Math.max(0, row.length - window);
    let best = first;
    for (let j = first + 1; j < row.length; j++) if ((row[j] as number) > (row[best] as number)) best = j;
    const top = Math.max(row[best] as number, sink ?? -Infinity);
    let total = sink === null ? 0 : Math.exp(sink - top);
    let onNeedle = 0;
    let visible = 0;
    for (let j = first; j < row.length; j++) {
      const p = Math.exp((row[j] as number) - top);
      total += p;
      if (j < span[0] || j >= span[1]) continue;
      onNeedle += p;
      visible += 1;
    }
    const size = span[1] - span[0];
    this.#mass += onNeedle / total;
    this.#massPerToken += onNeedle / total / size;
    this.#top1 += best >= span[0] && best < span[1] ? 1 : 0;
    this.#visible += visible / size;
    this.#count += 1;
  }

  means(): Pick<HeadScore, 'score' | 'massPerToken' | 'top1' | 'visible'> {
    const n = this.#count;
    return {
      score: this.#mass / n,
      massPerToken: this.#massPerToken / n,
      top1: this.#top1 / n,
      visible: this.#visible / n,
    };
  }
}

/** A score at or above this makes a head a retrieval head in counts and maps; our cut, as the literature has none. */
export const RETRIEVAL_HEAD_SCORE = 0.1;

/** How few heads retrieve. */
export interface HeadSparsity {
  readonly heads: number;
  /** Heads with a score of at least `RETRIEVAL_HEAD_SCORE`. */
  readonly retrievalHeads: number;
  /** Share of the sum of all scores that the `top` strongest heads hold, 0 to 1. */
  readonly topShare: number;
  readonly top: number;
}

/** How the scores are spread over heads. */
export function headSparsity(
  layers: readonly { readonly heads: readonly { readonly score: number }[] }[],
  top = 4,
): HeadSparsity {
  const scores = layers.flatMap((layer) => layer.heads.map((h) => h.score)).sort((a, b) => b - a);
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const total = sum(scores);
  return {
    heads: scores.length,
    retrievalHeads: scores.filter((s) => s >= RETRIEVAL_HEAD_SCORE).length,
    topShare: total > 0 ? sum(scores.slice(0, top)) / total : 0,
    top,
  };
}
