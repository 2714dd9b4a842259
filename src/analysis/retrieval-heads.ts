/**
 * Retrieval heads by attention mass: how much of its attention each head puts on the needle, seen from the token that
 * has to answer (the score of "Rethinking the Role of Efficient Attention in Hybrid Architectures", arXiv 2606.15378,
 * thunlp/rethinking-hybrid-attention `src/tracing/find_retrieval_heads.py`).
 *
 * One row of attention per sample is computed, T scores a head, never T x T. Differences from the published script: the
 * query is the last token of the question, not the one before (`queryFromEnd: 2` gives theirs); the needle is the
 * answer's known place, not every occurrence of its spelling; samples are never cut; mass per token and top-1 hits are
 * given beside the mass.
 */
import { at, ConfigError, pending, settled, type Pending } from '../core/index.js';
import type { NeedleSample } from '../data/index.js';
import type { TensorMap } from '../engine/index.js';
import type { ModelOnEngine } from '../loaded/index.js';
import { printLayer, type HeadGroup } from '../model/index.js';
import { AttentionRows, firstLargest, headGroupsOf, type AttentionRow } from './attention-rows.js';

/** How strongly one head attends to needles. */
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
  /**
   * Mean share of the needle's tokens that the head can see at all; below 1 the score of a window head is bounded by
   * it.
   */
  readonly visible: number;
}

/** The heads of one layer. */
export interface LayerHeadScores {
  readonly layer: number;
  /** The layer in the short form of patterns. */
  readonly label: string;
  /** Empty for layers without attention. */
  readonly heads: readonly HeadScore[];
}

/** The retrieval scores of all heads at a checkpoint. */
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

/** Where in training heads are traced. */
interface TracePoint {
  readonly step: number;
  /** Training tokens seen. */
  readonly tokens: number;
}

/** What tracing needs of a needle sample. */
export type TraceSample = Pick<NeedleSample, 'tokens' | 'needleSpan' | 'queryPosition'>;

/** Which query is traced, in batches of which size. */
export interface HeadTracerOptions {
  /** 1 = the last token of the question (the default), 2 = the one before (the published script). */
  readonly queryFromEnd?: number;
  /** At most this many tokens in one pass, one sample at least (default: 4,096). */
  readonly batchTokens?: number | undefined;
}

/** Rows up to this size are left on an accelerator until they are asked for; others come to the host layer by layer. */
const HELD_BYTES = 2 ** 28;

/** Head scores that are measured again and again, on the same samples. */
export class HeadTracer {
  private constructor(
    private readonly on: ModelOnEngine,
    private readonly samples: readonly TraceSample[],
    private readonly queryFromEnd: number,
    private readonly rows: AttentionRows,
  ) {}

  /**
   * Compiles the graph and places the samples on the engine; shorter samples are padded at the end, which no query
   * sees.
   *
   * @throws ConfigError if there is no sample, or `queryFromEnd` reaches back into the needle of one
   */
  static async create(
    on: ModelOnEngine,
    samples: readonly TraceSample[],
    { queryFromEnd = 1, batchTokens }: HeadTracerOptions = {},
  ): Promise<HeadTracer> {
    checkSamples(samples, queryFromEnd);
    const watched = samples.map((sample) => ({
      tokens: sample.tokens,
      positions: [queryOf(sample, queryFromEnd)],
      end: sample.queryPosition + 1,
    }));
    return new HeadTracer(on, samples, queryFromEnd, await AttentionRows.create(on, watched, { batchTokens }));
  }

  /** Scores every head of a model whose parameters are among `tensors`. */
  async trace(tensors: TensorMap, point: TracePoint): Promise<HeadScores> {
    return settled(await this.start(tensors, point));
  }

  /** Starts to score every head of a model whose parameters are among `tensors`. */
  async start(tensors: TensorMap, point: TracePoint): Promise<Pending<HeadScores>> {
    const { layers } = this.on.config;
    const tallies = layers.map((plan) => headGroupsOf(plan).map(() => new HeadTally()));
    const add = (row: AttentionRow): void =>
      at(at(tallies, row.layer), row.head).add(row, at(this.samples, row.sample).needleSpan);
    if (this.on.engine.hints.accelerator !== true || this.rows.bytes > HELD_BYTES) {
      await this.rows.read(tensors, add);
      return pending(
        () => Promise.resolve(),
        () => this.#scoresOf(tallies, point),
      );
    }
    const rows = await this.rows.start(tensors);
    return pending(rows.numbers, () => {
      rows.result()(add);
      return this.#scoresOf(tallies, point);
    });
  }

  #scoresOf(tallies: readonly (readonly HeadTally[])[], point: TracePoint): HeadScores {
    const { layers } = this.on.config;
    return {
      format: 1,
      ...{ step: point.step, tokens: point.tokens },
      definition: 'attention-mass',
      queryFromEnd: this.queryFromEnd,
      samples: this.samples.length,
      layers: layers.map((plan, layer) => ({
        layer,
        label: printLayer(plan),
        heads: headGroupsOf(plan).map(({ window, rope }, head) => ({
          head,
          window,
          rope,
          ...at(at(tallies, layer), head).means(),
        })),
      })),
    };
  }

  async dispose(): Promise<void> {
    await this.rows.dispose();
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

/** Sums over samples for one head. */
class HeadTally {
  #mass = 0;
  #massPerToken = 0;
  #top1 = 0;
  #visible = 0;
  #count = 0;

  /**
   * Adds one row of a head.
   *
   * @param span [start, end) of the needle's tokens
   */
  add({ scores, first, sink }: AttentionRow, span: readonly [number, number]): void {
    const best = firstLargest(scores);
    const top = Math.max(at(scores, best), sink ?? -Infinity);
    let total = sink === null ? 0 : Math.exp(sink - top);
    let onNeedle = 0;
    let visible = 0;
    scores.forEach((score, j) => {
      const p = Math.exp(score - top);
      total += p;
      if (first + j < span[0] || first + j >= span[1]) return;
      onNeedle += p;
      visible += 1;
    });
    const size = span[1] - span[0];
    this.#mass += onNeedle / total;
    this.#massPerToken += onNeedle / total / size;
    this.#top1 += first + best >= span[0] && first + best < span[1] ? 1 : 0;
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

/** How few heads retrieve: the number of `heads`, and the share of the scores that the `top` ones have. */
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
