/**
 * Gradient influence: how strongly the model's outputs at the end of a text depend on each earlier input
 * (`src/gradient/run_gradient_influence.py` of thunlp/rethinking-hybrid-attention). `n_i = ||d target / d E_i||_2` with
 * E_i the embedding of token i, averaged over texts by distance `T - 1 - i`.
 *
 * `logit_sum` is the published target. It follows the direction that adds the same to every logit, to which
 * probabilities are blind; `argmax_logit` and `loss` are not.
 */
import { present, f64At, at, ConfigError, tensorFrom, toNumbers } from '../core/index.js';
import { inFloat32 } from '../engine/index.js';
import {
  crossEntropy,
  grad,
  input,
  makeGraph,
  mul,
  reduceMax,
  reduceMean,
  reduceSum,
  reshape,
  sqrt,
  take,
  type Graph,
  type Value,
} from '../graph/index.js';
import { batchSequences, parametersFor, type LoadedModel } from '../loaded/index.js';
import { forward, headLogits, parameterInputs, type ModelConfig, TapReader } from '../model/index.js';
import { REMAT_TOKENS } from './recompute.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/**
 * `logit_sum`: sum over the vocabulary of the mean of the last logits; `argmax_logit`: the largest entry of that mean;
 * `loss`: mean loss of the last tokens.
 */
export const INFLUENCE_TARGETS = ['logit_sum', 'argmax_logit', 'loss'] as const;
/** The quantity whose gradient is taken. */
export type InfluenceTarget = (typeof INFLUENCE_TARGETS)[number];

/** Gradient norms by distance. */
export interface InfluenceCurve {
  readonly format: 1;
  readonly target: InfluenceTarget;
  readonly lastTokens: number;
  readonly samples: number;
  /** The mean gradient norm at distance 0, 1, 2, ... from the last token; null where no text is so long. */
  readonly mean: readonly (number | null)[];
  /** The number of gradients behind each mean. */
  readonly counts: readonly number[];
  /**
   * Level of the far end and the distance from which the curve stays near it; null if the curve is too short to tell.
   */
  readonly floor: InfluenceFloor | null;
}

/** The level that gradient norms settle at, and from which distance. */
export interface InfluenceFloor {
  /** Median over the farthest quarter of distances. */
  readonly level: number;
  /**
   * The distance from which on means over bins of doubling width stay within `FLOOR_FACTOR` of the level; null if they
   * never do.
   */
  readonly distance: number | null;
}

/** Which gradient is taken, on what. */
export interface InfluenceOptions {
  readonly target?: InfluenceTarget;
  /** Positions at the end over which the target is averaged. */
  readonly lastTokens?: number;
  readonly batchTokens?: number;
}

/** The factor within which means over bins stay of the level, where a floor is found. */
export const FLOOR_FACTOR = 1.5;
const MIN_FLOOR_LENGTH = 64;
const OWN_INPUTS: ReadonlySet<string> = new Set(['tokens', 'rows', 'targets']);

/**
 * Measures how much inputs at each distance still influence the last positions of texts, by gradient norms.
 * @throws ConfigError without texts, or if one is too short for the target
 */
export async function gradientInfluence(
  model: LoadedModel,
  texts: readonly Int32Array[],
  { target = 'logit_sum', lastTokens = 20, batchTokens = REMAT_TOKENS - 1 }: InfluenceOptions = {},
): Promise<InfluenceCurve> {
  const { config, tensors } = model;
  // A graph with gradients is computed as it is.
  const engine = inFloat32(model.engine);
  // The loss of the last tokens is read one position earlier.
  const shift = target === 'loss' ? 1 : 0;
  const short = texts.findIndex((t) => t.length < lastTokens + shift);
  if (short >= 0) {
    throw new ConfigError(
      `text ${short} has ${texts[short]?.length} tokens, but the target averages over ${lastTokens}; leave it out`,
    );
  }
  const samples = texts.map((tokens) => ({ tokens, end: tokens.length }));
  const { batchSize, length, batches } = batchSequences(model, samples, batchTokens);
  const executable = await engine.compile(influenceGraph(config, batchSize, length, target, lastTokens));
  const [sums, counts] = [new Float64Array(length), new Array<number>(length).fill(0)];
  try {
    const parameters = parametersFor(executable.graph.inputs, OWN_INPUTS, tensors);
    for (const batch of batches) {
      const tail = batch.rows.flatMap(({ end }, i) =>
        Array.from({ length: lastTokens }, (_, k) => ({ row: i, at: end - lastTokens + k })),
      );
      const rows = tail.map(({ row, at }) => row * length + at - shift);
      const wanted = tail.map(({ row, at }) => present(batch.rows[row]?.tokens[at]));
      const upload = (values: readonly number[]) => engine.upload(tensorFrom('i32', [values.length], values));
      const { norms } = await executable.run({
        ...parameters,
        tokens: batch.tokens,
        rows: upload(rows),
        ...(target === 'loss' ? { targets: upload(wanted) } : {}),
      });
      const values = toNumbers(await engine.download(present(norms)));
      batch.samples.forEach(({ end }, i) => {
        for (let t = 0; t < end; t++) {
          const distance = end - 1 - t;
          sums[distance] = readF64(sums, distance) + readF64(values, i * length + t);
          counts[distance] = at(counts, distance) + 1;
        }
      });
    }
  } finally {
    await executable.dispose();
  }
  const mean = Array.from(sums, (sum, d) => (counts[d] === 0 ? null : sum / at(counts, d)));
  return { format: 1, target, lastTokens, samples: texts.length, mean, counts, floor: influenceFloor(mean) };
}

/** Gradient norms `[B,T]` of a target that is the sum over sequences, which do not meet. */
function influenceGraph(model: ModelConfig, B: number, T: number, target: InfluenceTarget, last: number): Graph {
  const params = parameterInputs(model);
  const tokens = input('tokens', 'i32', [B, T]);
  const rows = input('rows', 'i32', [B * last]);
  const { tap, stream: streams } = new TapReader();
  const { stream } = forward(model, params, tokens, { remat: B * T >= REMAT_TOKENS, tap });
  const logits = headLogits(model, params, take(reshape(stream, [B * T, model.hiddenSize]), rows));
  const inputs = { ...Object.fromEntries(params), tokens, rows };
  let scalar: Value;
  let all: Record<string, Value> = inputs;
  if (target === 'loss') {
    const targets = input('targets', 'i32', [B * last]);
    scalar = mul(reduceSum(crossEntropy(logits, targets).loss), 1 / last);
    all = { ...inputs, targets };
  } else {
    const mean = reduceMean(reshape(logits, [B, last, model.vocabSize]), [1]);
    scalar = target === 'logit_sum' ? reduceSum(mean) : reduceSum(reduceMax(mean, [1]));
  }
  const gradient = at(grad(scalar, [at(streams, 0)]), 0);
  return makeGraph(all, { norms: sqrt(reduceSum(mul(gradient, gradient), [2])) });
}

/** Where a curve over distances meets its far level. */
export function influenceFloor(mean: readonly (number | null)[]): InfluenceFloor | null {
  const known = mean.flatMap((v, d) => (v === null ? [] : [{ d, v }]));
  if (known.length < MIN_FLOOR_LENGTH) return null;
  const far = known
    .slice(Math.floor(known.length * 0.75))
    .map((p) => p.v)
    .sort((a, b) => a - b);
  const level = at(far, Math.floor(far.length / 2));
  const near = (v: number) => v <= level * FLOOR_FACTOR;
  let distance: number | null = null;
  for (let from = 0, width = 1; from < known.length; from += width, width = Math.max(1, from)) {
    const bin = known.slice(from, from + width);
    const value = bin.reduce((s, p) => s + p.v, 0) / bin.length;
    if (!near(value)) distance = null;
    else distance ??= bin[0]?.d ?? null;
  }
  return { level, distance };
}
