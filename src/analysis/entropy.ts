/**
 * Attention entropy of chosen heads over the last positions of texts (`src/tracing/compute_attention_metrics.py` of
 * thunlp/rethinking-hybrid-attention): `-sum p ln p` in nats, p divided by its sum (which hides the mass on learned
 * sinks; it is given beside) and clamped below at 1e-12.
 */
import { at, got, ConfigError } from '../core/index.js';
import type { LoadedModel } from '../loaded/index.js';
import { printLayer } from '../model/index.js';
import {
  allHeads,
  AttentionRows,
  checkHeads,
  headGroupsOf,
  probabilitiesOf,
  type HeadIndex,
} from './attention-rows.js';

/** The attention entropy of one head. */
export interface HeadEntropy extends HeadIndex {
  readonly label: string;
  /** Keys that a query sees, its own included; null for full attention. */
  readonly window: number | null;
  /** Nats, mean over samples and positions. */
  readonly entropy: number;
  /**
   * Divided by `ln(t + 1)`, the published normalizer: the causal length, even for window heads. 0 at the first
   * position.
   */
  readonly normalized: number;
  /** Divided by `ln(visible keys)`: 1 for a uniform window head too. 0 where one key is visible. */
  readonly normalizedVisible: number;
  /** Mean share of attention on keys; the rest is on the head's sink. */
  readonly mass: number;
}

/**
 * The attention entropy of all heads, with means over heads: `entropy` in nats, `normalized` by the log of all keys,
 * `normalizedVisible` by that of the visible ones.
 */
export interface EntropyResult {
  readonly format: 1;
  readonly samples: number;
  /** Positions at the end of each text that were measured. */
  readonly tailQueries: number;
  /** Means over heads. */
  readonly entropy: number;
  readonly normalized: number;
  readonly normalizedVisible: number;
  readonly heads: readonly HeadEntropy[];
}

/** Which heads and positions are measured. */
export interface EntropyOptions {
  /** All heads of attention layers unless given. */
  readonly heads?: readonly HeadIndex[];
  /** Positions at the end of each text. */
  readonly tailQueries?: number;
  readonly batchTokens?: number | undefined;
}

const FLOOR = 1e-12;

/** `-sum p ln p` in nats of values that are first divided by their sum. */
export function entropyOf(probabilities: ArrayLike<number>): { entropy: number; mass: number } {
  let mass = 0;
  for (let i = 0; i < probabilities.length; i++) mass += at(probabilities, i);
  let entropy = 0;
  for (let i = 0; i < probabilities.length; i++) {
    const p = Math.max(at(probabilities, i) / (mass + FLOOR), FLOOR);
    entropy -= p * Math.log(p);
  }
  return { entropy, mass };
}

/**
 * Measures the attention entropy of heads at the last positions of texts.
 * @throws ConfigError if a head does not exist, or a text is shorter than the tail
 */
export async function attentionEntropy(
  model: LoadedModel,
  texts: readonly Int32Array[],
  { heads = allHeads(model.config), tailQueries = 4, batchTokens }: EntropyOptions = {},
): Promise<EntropyResult> {
  const { config } = model;
  checkHeads(config, heads);
  const short = texts.findIndex((t) => t.length < tailQueries);
  if (short >= 0) {
    throw new ConfigError(
      `text ${short} has ${texts[short]?.length} tokens, fewer than the ${tailQueries} positions asked for; leave it out`,
    );
  }
  const samples = texts.map((tokens) => ({
    tokens,
    positions: Array.from({ length: tailQueries }, (_, i) => tokens.length - tailQueries + i),
  }));
  const tallies = new Map(heads.map((h) => [`${h.layer}:${h.head}`, { entropy: 0, causal: 0, visible: 0, mass: 0 }]));
  const rows = await AttentionRows.create(model, samples, { batchTokens });
  const over = (value: number, keys: number) => (keys > 1 ? value / Math.log(keys) : 0);
  try {
    await rows.read(
      model.tensors,
      (row) => {
        const { layer, head, position, first } = row;
        const tally = tallies.get(`${layer}:${head}`);
        if (!tally) return;
        const probabilities = probabilitiesOf(row);
        const { entropy, mass } = entropyOf(probabilities);
        // Keys outside a window count as the floor in the published sum.
        const hidden = -first * FLOOR * Math.log(FLOOR);
        tally.entropy += entropy + hidden;
        tally.causal += over(entropy + hidden, position + 1);
        tally.visible += over(entropy, probabilities.length);
        tally.mass += mass;
      },
      { heads },
    );
  } finally {
    await rows.dispose();
  }
  const count = texts.length * tailQueries;
  const results = heads.map(({ layer, head }): HeadEntropy => {
    const tally = got(tallies, `${layer}:${head}`);
    const plan = at(config.layers, layer);
    return {
      ...{ layer, head, label: printLayer(plan), window: headGroupsOf(plan)[head]?.window ?? null },
      entropy: tally.entropy / count,
      normalized: tally.causal / count,
      normalizedVisible: tally.visible / count,
      mass: tally.mass / count,
    };
  });
  const mean = (of: (h: HeadEntropy) => number) => results.reduce((s, h) => s + of(h), 0) / results.length;
  return {
    format: 1,
    samples: texts.length,
    tailQueries,
    entropy: mean((h) => h.entropy),
    normalized: mean((h) => h.normalized),
    normalizedVisible: mean((h) => h.normalizedVisible),
    heads: results,
  };
}
