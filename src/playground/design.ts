/** The designs of the playground: what a visitor chooses, and the layer pattern that it is. Imports nothing. */

/** What the cheap layers of a hybrid are made of, with the name that the page shows. */
export const CHEAP_LAYERS = {
  swa: 'sliding window',
  gdn: 'Gated DeltaNet',
  lightning: 'Lightning Attention',
  mamba2: 'Mamba-2',
} as const;

/** One of `CHEAP_LAYERS`, as layer patterns call it. */
export type CheapLayer = keyof typeof CHEAP_LAYERS;

/** The windows to choose from, in tokens; a query sees that many keys, its own included. */
export const WINDOWS = [4, 8, 16, 32, 64] as const;

/** Layers of every model of the playground. */
export const NUM_LAYERS = 3;

/** How many of the layers may be cheap; they come first, and the others are full. */
export const CHEAP_COUNTS = [0, 1, 2] as const;

/** What a visitor chooses. */
export interface Design {
  readonly cheap: CheapLayer;
  /** Keys that a query of a sliding window sees, its own included; of no effect on other cheap layers. */
  readonly window: (typeof WINDOWS)[number];
  /** How many of the layers are cheap. */
  readonly cheapCount: (typeof CHEAP_COUNTS)[number];
  /** Whether the full layers have no positions (NoPE). */
  readonly nope: boolean;
}

/** A design with the seed of its first weights and of its training data: all that decides the numbers of a run. */
export interface PlaygroundRun extends Design {
  /** A whole number from 0 on. */
  readonly seed: number;
}

/** Some layers of a kind in the short form of patterns, such as `2*swa:8`. */
const several = (count: number, kind: string): string => (count === 1 ? kind : `${count}*${kind}`);

/** The layer pattern of a design, such as `2*swa:8 full` or `2*gdn full:nope`. */
export function patternOf({ cheap, window, cheapCount, nope }: Design): string {
  const full = several(NUM_LAYERS - cheapCount, nope ? 'full:nope' : 'full');
  if (cheapCount === 0) return full;
  return `${several(cheapCount, cheap === 'swa' ? `swa:${window}` : cheap)} ${full}`;
}

/** Steps of a whole run. */
export const TOTAL_STEPS = 600;
/** Steps between two measurements. */
export const MEASURE_EVERY = 10;
/** Upper ends of the distances at which recall is measured, in tokens. */
export const RECALL_BINS = [8, 16, 32, 64] as const;

/** Tokens of a sequence. */
export const SEQ_LEN = 64;
/** Sequences of a step. */
export const BATCH_SIZE = 32;
/** Batches of held-out sequences that recall is measured on. */
export const EVAL_BATCHES = 2;
/** Needle samples by which heads are scored. */
export const NEEDLES = 16;
/** Depths of their needles, from 0, the far end; near needles need no retrieval. */
export const NEEDLE_DEPTHS = [0, 0.1, 0.2, 0.3, 0.4] as const;

/**
 * The quickstart's data, optimizer and model with one layer more, on sequences of half its length, at a learning rate
 * that stays.
 */
export function runInput(run: PlaygroundRun) {
  return {
    seed: run.seed,
    model: {
      ...{ vocabSize: 64, hiddenSize: 64, numLayers: NUM_LAYERS, numHeads: 4, headDim: 16, intermediateSize: 192 },
      layers: patternOf(run),
    },
    data: { kind: 'recall' as const },
    train: {
      ...{ seqLen: SEQ_LEN, batchSize: BATCH_SIZE, steps: TOTAL_STEPS },
      ...{ lr: 4e-3, warmupSteps: 20, schedule: 'constant' as const, beta2: 0.98, weightDecay: 0.05 },
      ...{ logEvery: 1, evalEvery: MEASURE_EVERY },
    },
    eval: {
      batches: EVAL_BATCHES,
      recall: { batches: EVAL_BATCHES, bins: [...RECALL_BINS] },
      trace: { samples: NEEDLES, depths: [...NEEDLE_DEPTHS] },
    },
  };
}
