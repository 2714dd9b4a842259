/**
 * Causal masking of heads: does needle accuracy fall when chosen heads are switched off, and by more than with random
 * ones? (after Wu et al. 2024, "Retrieval Head Mechanistically Explains Long-Context Factuality", whose code sets
 * queries to zero, so that a "masked" head attends to all its keys alike: `uniform` here.)
 */
import { at, i32At, Rng } from '../core/index.js';
import {
  answerTargets,
  noSettings,
  SequenceScorer,
  type AnswerSample,
  type HeadSettings,
  type LoadedModel,
  type SampleScore,
  type ScoreSample,
} from '../loaded/index.js';
import { headSizes, type ModelConfig } from '../model/index.js';
import { allHeads, checkHeads, type HeadIndex } from './attention-rows.js';
import { needleScore, type NeedleScore } from './needle-accuracy.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;

/**
 * `uniform`: equal attention to every visible key; `zero`: no output; `mean`: the head's mean output over the samples,
 * the same at every position (before the output gate, where there is one).
 */
export const MASK_MODES = ['uniform', 'zero', 'mean'] as const;
/** What replaces the output of a masked head. */
export type MaskMode = (typeof MASK_MODES)[number];

/** One draw of random heads, and the score without them. */
export interface RandomHeads<S = NeedleScore> {
  readonly heads: readonly HeadIndex[];
  readonly score: S;
}

/** Scores with all heads, without the chosen ones, and without random ones; of needles unless another is named. */
export interface MaskingResult<S = NeedleScore> {
  readonly format: 1;
  readonly mode: MaskMode;
  readonly heads: readonly HeadIndex[];
  readonly baseline: S;
  readonly masked: S;
  /** Draws of as many other heads of the model, never one of `heads`. */
  readonly random: readonly RandomHeads<S>[];
  /** Baseline accuracy minus that with `heads` masked. */
  readonly drop: number;
  /** The mean drop with random heads; null where there are not enough others. */
  readonly randomDrop: number | null;
}

/** Which heads are masked, and how. */
export interface MaskingOptions {
  readonly heads: readonly HeadIndex[];
  readonly mode?: MaskMode;
  /** Draws of random heads. */
  readonly draws?: number;
  readonly seed?: number;
  /** Random heads come from these layers only (default: from all). */
  readonly randomLayers?: readonly number[];
  readonly batchTokens?: number;
}

/** The settings that mask `heads`. `means` is needed for `mean`: `[numHeads * width of a value]` per layer. */
export function maskSettings(
  model: ModelConfig,
  heads: readonly HeadIndex[],
  mode: MaskMode,
  means: readonly Float32Array[] | null,
): HeadSettings {
  const settings = noSettings(model);
  for (const { layer, head } of heads) {
    if (mode === 'uniform') {
      at(settings.query, layer)[head] = 0;
      continue;
    }
    at(settings.keep, layer)[head] = 0;
    if (mode === 'zero' || means === null) continue;
    const { valueDim } = headSizes(model, at(model.layers, layer));
    const [from, to] = [head * valueDim, (head + 1) * valueDim];
    settings.fill[layer]?.set(at(means, layer).subarray(from, to), from);
  }
  return settings;
}

/**
 * Measures needle accuracy with heads masked, and with as many random heads masked.
 * @throws ConfigError if a head does not exist, or none is given
 */
export async function maskHeads(
  model: LoadedModel,
  samples: readonly AnswerSample[],
  options: MaskingOptions,
): Promise<MaskingResult> {
  return maskHeadsScored(model, { samples: samples.map(answerTargets), score: needleScore }, options);
}

/** What is scored with heads masked: samples, and what the scores of all of them come to, accuracy among it. */
export interface MaskedTask<S extends { readonly accuracy: number }> {
  /** Each with as many targets. */
  readonly samples: readonly ScoreSample[];
  /** Scores in the order of the samples. */
  readonly score: (scores: readonly SampleScore[]) => S;
}

/**
 * Measures anything that targets of samples are scored by, with heads masked and with as many random heads masked.
 * @throws ConfigError if a head does not exist, or none is given
 */
export async function maskHeadsScored<S extends { readonly accuracy: number }>(
  model: LoadedModel,
  task: MaskedTask<S>,
  { heads, mode = 'zero', draws = 5, seed = 0, randomLayers, batchTokens = 4096 }: MaskingOptions,
): Promise<MaskingResult<S>> {
  const { config, tensors } = model;
  checkHeads(config, heads);
  const scorer = await SequenceScorer.create(model, task.samples, { batchTokens, headSettings: true });
  try {
    const means = mode === 'mean' ? await scorer.meanHeadOutputs(tensors) : null;
    const scoreWith = async (masked: readonly HeadIndex[]) =>
      task.score(await scorer.score(tensors, maskSettings(config, masked, mode, means)));
    const baseline = task.score(await scorer.score(tensors));
    const masked = await scoreWith(heads);
    const random: RandomHeads<S>[] = [];
    for (const drawn of drawOthers(config, heads, draws, seed, randomLayers)) {
      random.push({ heads: drawn, score: await scoreWith(drawn) });
    }
    const dropOf = (score: S) => baseline.accuracy - score.accuracy;
    return {
      format: 1,
      mode,
      heads,
      baseline,
      masked,
      random,
      drop: dropOf(masked),
      randomDrop: random.length === 0 ? null : random.reduce((s, r) => s + dropOf(r.score), 0) / random.length,
    };
  } finally {
    await scorer.dispose();
  }
}

function drawOthers(
  model: ModelConfig,
  heads: readonly HeadIndex[],
  draws: number,
  seed: number,
  layers: readonly number[] | undefined,
): HeadIndex[][] {
  const taken = new Set(heads.map((h) => `${h.layer}:${h.head}`));
  const others = allHeads(model).filter(
    (h) => !taken.has(`${h.layer}:${h.head}`) && (layers === undefined || layers.includes(h.layer)),
  );
  if (others.length < heads.length) return [];
  const rng = Rng.of(seed, 'masking', 'random-heads');
  return Array.from({ length: draws }, () => {
    const order = rng.permutation(others.length);
    return heads.map((_, i) => at(others, readI32(order, i)));
  });
}
