/** Losses of tokens of sequences, from a model as it is or with some heads switched off. */
import { entry, f64At, at, dims, invariant, tensorFrom, toNumbers, maxOf } from '../core/index.js';
import type { DeviceTensor, Engine, TensorMap } from '../engine/index.js';
import { add, concat, input, mul, reduceSum, reshape, sliceAxis, sub, type Value } from '../graph/index.js';
import { Scorer, type ModelOnEngine, type ScorerControls, type Scores } from '../loaded/index.js';
import type { ModelConfig, Tap } from '../model/index.js';
import { batchSequences, type SequenceBatches } from './batches.js';
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
  /** `[numHeads * headDim]` per layer; weighted by `1 - keep`. */
  readonly fill: readonly Float32Array[];
}

/** How sequences are scored. */
export interface SequenceScorerOptions {
  readonly batchTokens?: number;
  /** Takes `HeadSettings` at each call, and can give mean head outputs. */
  readonly headSettings?: boolean;
}

type Prepared = ScoreSample & { readonly end: number };

/** Rows of logits that exist at once. */
const LOGIT_ROWS = 1024;

/** Scores the same samples again and again, with other parameters or other heads switched off. */
export class SequenceScorer {
  private constructor(
    private readonly on: ModelOnEngine,
    private readonly headSettings: boolean,
    private readonly scorer: Scorer,
    private readonly placed: SequenceBatches<Prepared>,
    private readonly perSample: number,
  ) {}

  /**
   * Compiles the pass that scores, and puts the samples on the engine.
   *
   * @throws ConfigError without samples
   */
  static async create(
    on: ModelOnEngine,
    wanted: readonly ScoreSample[],
    { batchTokens = 4096, headSettings = false }: SequenceScorerOptions = {},
  ): Promise<SequenceScorer> {
    const samples = wanted.map((s) => ({ ...s, end: maxOf(s.positions) + 1 }));
    const placed = batchSequences(on, samples, batchTokens);
    const perSample = samples[0]?.positions.length ?? 0;
    invariant(
      samples.every((s) => s.positions.length === perSample && s.targets.length === perSample),
      'samples to score differ in their number of targets',
    );
    const scorer = await Scorer.create(on, {
      ...{ batchSize: placed.batchSize, seqLen: placed.length, numPositions: placed.batchSize * perSample },
      ...{ rowsAtOnce: LOGIT_ROWS, controls: headSettings ? headControls(on.config) : null },
      compile: (graph) => compileForward(on.engine, graph, placed),
    });
    return new SequenceScorer(on, headSettings, scorer, placed, perSample);
  }

  /** Scores in the order of the samples. */
  async score(tensors: TensorMap, settings?: HeadSettings): Promise<SampleScore[]> {
    const { engine } = this.on;
    const scores: SampleScore[] = [];
    await this.#run(tensors, settings, async (outputs, count) => {
      const [loss, hit] = [
        toNumbers(await engine.download(entry(outputs, 'loss'))),
        toNumbers(await engine.download(entry(outputs, 'hit'))),
      ];
      for (let i = 0; i < count; i++) {
        const [from, to] = [i * this.perSample, (i + 1) * this.perSample];
        scores.push({ loss: loss.slice(from, to), hit: hit.slice(from, to) });
      }
    });
    return scores;
  }

  /**
   * Mean output of every head over all positions of all samples (of shorter ones the padding too), `[numHeads *
   * headDim]` per layer; needs `headSettings`.
   */
  async meanHeadOutputs(tensors: TensorMap): Promise<Float32Array[]> {
    const { engine, config: model } = this.on;
    const width = model.numHeads * model.headDim;
    const sums = model.layers.map(() => new Float64Array(width));
    let positions = 0;
    await this.#run(tensors, undefined, async (outputs, count) => {
      for (const [layer, sum] of sums.entries()) {
        // [B, H * D]: rows that only fill the batch up are left out.
        const heads = outputs[`heads.${layer}`];
        if (heads === undefined) continue;
        const values = toNumbers(await engine.download(heads));
        for (let i = 0; i < count * width; i++) sum[i % width] = readF64(sum, i % width) + readF64(values, i);
      }
      positions += count * this.placed.length;
    });
    return sums.map((sum) => Float32Array.from(sum, (v) => v / positions));
  }

  async #run(
    tensors: TensorMap,
    settings: HeadSettings | undefined,
    read: (outputs: TensorMap, count: number) => Promise<void>,
  ): Promise<void> {
    const { engine, config: model } = this.on;
    const { batchSize, length, batches } = this.placed;
    const controls = this.headSettings ? uploadSettings(engine, settings ?? noSettings(model)) : {};
    const upload = (values: readonly number[]) =>
      engine.upload(tensorFrom('i32', [batchSize * this.perSample], values));
    for (const batch of batches) {
      const positions = upload(batch.rows.flatMap((s, i) => s.positions.map((p) => i * length + p)));
      const targets = upload(batch.rows.flatMap((s) => [...s.targets]));
      const outputs = await this.scorer.run(tensors, { tokens: batch.tokens, positions, targets }, controls);
      await read(outputs, batch.samples.length);
    }
  }

  async dispose(): Promise<void> {
    await this.scorer.dispose();
  }
}

/** Settings that change nothing. */
export function noSettings({ layers, numHeads, headDim }: ModelConfig): HeadSettings {
  return {
    keep: layers.map(() => new Float32Array(numHeads).fill(1)),
    query: layers.map(() => new Float32Array(numHeads).fill(1)),
    fill: layers.map(() => new Float32Array(numHeads * headDim)),
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
function headControls({ numHeads: H, headDim: D, layers }: ModelConfig): ScorerControls {
  const controls = layers.map((_, layer) => ({
    keep: input(`keep.${layer}`, 'f32', [H]),
    query: input(`query.${layer}`, 'f32', [H]),
    fill: input(`fill.${layer}`, 'f32', [H * D]),
  }));
  const sums: Value[][] = layers.map(() => []);
  const tap: Tap = (site, value) => {
    if (site.kind !== 'queries' && site.kind !== 'heads') return value;
    const { layer, firstHead: first, heads } = site;
    const { keep, query, fill } = at(controls, layer);
    const perHead = (x: Value) => reshape(sliceAxis(x, 0, first, first + heads), [1, 1, heads, 1]);
    if (site.kind === 'queries') return mul(value, perHead(query));
    const [B] = dims(value, 1);
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
