/** Losses of tokens of sequences, from a model as it is or with some heads switched off. */
import {
  allPending,
  at,
  dims,
  f64At,
  invariant,
  maxOf,
  pending,
  settled,
  tensorFrom,
  toNumbers,
  type Pending,
} from '../core/index.js';
import type { DeviceTensor, Engine, TensorMap } from '../engine/index.js';
import { add, concat, input, mul, reduceSum, reshape, sliceAxis, sub, type Value } from '../graph/index.js';
import { headSizes, type LayerPlan, type ModelConfig, type Tap } from '../model/index.js';
import { batchSequences } from './batches.js';
import type { ModelOnEngine } from './loaded-model.js';
import { Scorer, startedOn, uploadForScores, type ScorerBatch, type ScorerControls, type Scores } from './scorer.js';
import { compileForward } from './segments.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** A sequence, and the tokens of it that are to be predicted. */
export interface ScoreSample {
  readonly tokens: Int32Array;
  /** Positions that predict, as many in every sample: the target of position `p` is `targets[i]`. */
  readonly positions: readonly number[];
  /** The token id that each position is to predict. */
  readonly targets: readonly number[];
  /** Tokens that go through the model (default: up to the last position). */
  readonly end?: number;
}

/** A sample that asks for an answer: what stands before it, and where. */
export interface AnswerSample {
  readonly tokens: Int32Array;
  /** Position that predicts the answer's first token. */
  readonly queryPosition: number;
  /** The token ids of the answer. */
  readonly answer: ArrayLike<number>;
}

/** What the answer of a sample asks of a scorer. */
export function answerTargets({ tokens, queryPosition, answer }: AnswerSample): ScoreSample {
  const targets = Array.from(answer);
  return { tokens, positions: targets.map((_, i) => queryPosition + i), targets };
}

/** Scores of one sample's targets. */
export type SampleScore = Scores;

/**
 * What is done to each head, `[numHeads]` per layer: `keep * out + (1 - keep) * fill`, on queries multiplied by
 * `query`.
 */
export interface HeadSettings {
  readonly keep: readonly Float32Array[];
  readonly query: readonly Float32Array[];
  /** `[numHeads * width of a value]` per layer; weighted by `1 - keep`. */
  readonly fill: readonly Float32Array[];
}

/** How sequences are scored. */
export interface SequenceScorerOptions {
  /** Tokens in one pass at most, but one sample at least; 4,096 unless given. */
  readonly batchTokens?: number;
  /**
   * Saves memory (the default): one very long sequence goes in segments, and logits are made by blocks of rows. Else
   * the engine gets the pass as one program.
   */
  readonly saveMemory?: boolean;
  /** Takes `HeadSettings` at each call, and can give mean head outputs. */
  readonly headSettings?: boolean;
}

/** Rows of logits that exist at once where memory is saved. */
export const LOGIT_ROWS = 1024;

/** A batch on the engine: its inputs, and how many of its rows are samples; the others repeat the last of them. */
interface PlacedBatch {
  readonly inputs: ScorerBatch;
  readonly count: number;
}

/** Scores the same samples again and again, with other parameters or other heads switched off. */
export class SequenceScorer {
  private constructor(
    private readonly on: ModelOnEngine,
    private readonly headSettings: boolean,
    private readonly scorer: Scorer,
    private readonly batches: readonly PlacedBatch[],
    private readonly size: { readonly length: number; readonly perSample: number },
  ) {}

  /**
   * Compiles the pass that scores, and puts the samples on the engine.
   *
   * @throws ConfigError without samples
   * @throws DataError if a sample holds a token that the model does not know
   */
  static async create(
    on: ModelOnEngine,
    wanted: readonly ScoreSample[],
    { batchTokens = 4096, saveMemory = true, headSettings = false }: SequenceScorerOptions = {},
  ): Promise<SequenceScorer> {
    const { engine } = on;
    const samples = wanted.map((s) => ({ ...s, end: s.end ?? maxOf(s.positions) + 1 }));
    const { batchSize, length, batches } = batchSequences(on, samples, batchTokens, uploadForScores);
    const perSample = samples[0]?.positions.length ?? 0;
    invariant(
      samples.every((s) => s.positions.length === perSample && s.targets.length === perSample),
      'samples to score differ in their number of targets',
    );
    const numPositions = batchSize * perSample;
    const scorer = await Scorer.create(on, {
      ...{ batchSize, seqLen: length, numPositions, controls: headSettings ? headControls(on.config) : null },
      ...(saveMemory && {
        rowsAtOnce: LOGIT_ROWS,
        compile: (graph) => compileForward(engine, graph, { batchSize, length }),
      }),
    });
    const upload = (values: readonly number[]) => uploadForScores(engine, [numPositions], values);
    const placed = batches.map(({ tokens, samples: own, rows }): PlacedBatch => {
      const positions = upload(rows.flatMap((s, row) => s.positions.map((p) => row * length + p)));
      const targets = upload(rows.flatMap((s) => [...s.targets]));
      return { inputs: { tokens, positions, targets }, count: own.length };
    });
    return new SequenceScorer(on, headSettings, scorer, placed, { length, perSample });
  }

  /** Scores in the order of the samples. */
  async score(tensors: TensorMap, settings?: HeadSettings): Promise<SampleScore[]> {
    return settled(await this.start(tensors, settings));
  }

  /** Starts to score a model whose parameters are among `tensors`; scores come in the order of the samples. */
  async start(tensors: TensorMap, settings?: HeadSettings): Promise<Pending<SampleScore[]>> {
    const { engine } = this.on;
    const { perSample } = this.size;
    const controls = this.#controls(settings);
    const started: Pending<Scores>[] = [];
    for (const { inputs } of this.batches)
      started.push(await startedOn(engine, this.scorer.start(tensors, inputs, controls)));
    const all = allPending(started);
    return pending(all.numbers, () =>
      all.result().flatMap(({ loss, hit }, b) =>
        Array.from({ length: at(this.batches, b).count }, (_, i) => {
          const [from, to] = [i * perSample, (i + 1) * perSample];
          return { loss: loss.slice(from, to), hit: hit.slice(from, to) };
        }),
      ),
    );
  }

  /**
   * Mean output of every head over all positions of all samples (of shorter ones the padding too), `[numHeads *
   * width of a value]` per layer; needs `headSettings`.
   */
  async meanHeadOutputs(tensors: TensorMap): Promise<Float32Array[]> {
    const { engine, config: model } = this.on;
    const sums = model.layers.map((plan) => new Float64Array(headsWidth(model, plan)));
    let positions = 0;
    const controls = this.#controls();
    for (const { inputs, count } of this.batches) {
      const outputs = await this.scorer.run(tensors, inputs, controls);
      for (const [layer, sum] of sums.entries()) {
        // [B, H * D]: rows that only fill the batch up are left out.
        const heads = outputs[`heads.${layer}`];
        if (heads === undefined) continue;
        const values = toNumbers(await engine.download(heads));
        const width = sum.length;
        for (let i = 0; i < count * width; i++) sum[i % width] = readF64(sum, i % width) + readF64(values, i);
      }
      positions += count * this.size.length;
    }
    return sums.map((sum) => Float32Array.from(sum, (v) => v / positions));
  }

  #controls(settings: HeadSettings = noSettings(this.on.config)): TensorMap {
    return this.headSettings ? uploadSettings(this.on.engine, settings) : {};
  }

  async dispose(): Promise<void> {
    await this.scorer.dispose();
  }
}

/** Channels of the outputs of all heads of a layer. */
const headsWidth = (model: ModelConfig, plan: LayerPlan): number => {
  const { numHeads, valueDim } = headSizes(model, plan);
  return numHeads * valueDim;
};

/** Settings that change nothing. */
export function noSettings(model: ModelConfig): HeadSettings {
  const { layers } = model;
  const ones = (plan: LayerPlan) => new Float32Array(headSizes(model, plan).numHeads).fill(1);
  return {
    keep: layers.map(ones),
    query: layers.map(ones),
    fill: layers.map((plan) => new Float32Array(headsWidth(model, plan))),
  };
}

function uploadSettings(engine: Engine, settings: HeadSettings): Record<string, DeviceTensor> {
  const entries = (['keep', 'query', 'fill'] as const).flatMap((kind) =>
    settings[kind].map(
      (values, layer) => [`${kind}.${layer}`, engine.upload(tensorFrom('f32', [values.length], values))] as const,
    ),
  );
  return Object.fromEntries(entries);
}

/** Controls of the heads of every layer: inputs of the graph, a tap that applies them, and sums of what heads give. */
function headControls(model: ModelConfig): ScorerControls {
  const { layers } = model;
  const controls = layers.map((plan, layer) => {
    const { numHeads: H } = headSizes(model, plan);
    return {
      keep: input(`keep.${layer}`, 'f32', [H]),
      query: input(`query.${layer}`, 'f32', [H]),
      fill: input(`fill.${layer}`, 'f32', [headsWidth(model, plan)]),
    };
  });
  const sums: Value[][] = layers.map(() => []);
  const tap: Tap = (site, value) => {
    if (site.kind !== 'queries' && site.kind !== 'heads') return value;
    const { layer, firstHead: first, heads } = site;
    const { keep, query, fill } = at(controls, layer);
    const perHead = (x: Value) => reshape(sliceAxis(x, 0, first, first + heads), [1, 1, heads, 1]);
    if (site.kind === 'queries') return mul(value, perHead(query));
    const [B, , , D] = dims(value, 4);
    at(sums, layer).push(reshape(reduceSum(value, [1]), [B, heads * D]));
    const own = reshape(sliceAxis(fill, 0, first * D, (first + heads) * D), [1, 1, heads, D]);
    const scale = perHead(keep);
    return add(mul(value, scale), mul(own, sub(1, scale)));
  };
  const inputs = Object.fromEntries(
    controls.flatMap((c, layer) => (['keep', 'query', 'fill'] as const).map((kind) => [`${kind}.${layer}`, c[kind]])),
  );
  // Layers without attention have no heads to give.
  const outputs = () =>
    Object.fromEntries(
      sums.flatMap((parts, layer) => (parts.length === 0 ? [] : [[`heads.${layer}`, concat(parts, 1)] as const])),
    );
  return { tap, inputs, outputs };
}
