/**
 * What analyses found in a run, as files that reports read: `analysis/KIND-step-N.json`, one a kind and checkpoint.
 * Commands write them, and `readRun` gathers them; the numbers are those of `src/analysis`, with the settings that made
 * them.
 */
import { z } from 'zod';
import { readFindings as readStored } from '../run/index.js';

const at = { step: z.number(), tokens: z.number() };
const headIndex = { layer: z.number(), head: z.number() };
const score = z.looseObject({ accuracy: z.number(), low: z.number(), high: z.number(), probability: z.number() });

/** Attention entropy of heads over the last positions of texts. */
const entropySchema = z.looseObject({
  ...at,
  entropy: z.number(),
  heads: z.array(
    z.looseObject({
      ...headIndex,
      label: z.string(),
      window: z.number().nullable(),
      entropy: z.number(),
      normalised: z.number(),
      normalisedVisible: z.number(),
    }),
  ),
});

/** Distance of query and key weights from the reference checkpoint. */
const driftSchema = z.looseObject({
  ...at,
  reference: z.union([z.number(), z.string()]),
  qkRel: z.number(),
  scoreRel: z.number(),
  heads: z.array(z.looseObject({ ...headIndex, qkRel: z.number(), scoreRel: z.number() })),
});

/** What is left when some layers see fewer keys; `part` and `keys` null: nothing is limited. */
const limitsSchema = z.looseObject({
  ...at,
  rows: z.array(
    z.looseObject({
      part: z.enum(['full', 'efficient', 'all']).nullable(),
      keys: z.number().nullable(),
      loss: z.number().nullable(),
      longPpl: z.number().nullable().default(null),
      recall: z.array(z.looseObject({ from: z.number(), to: z.number(), probability: z.number().nullable() })),
      needleAccuracy: z.number().nullable(),
    }),
  ),
});

/** Needle accuracy with heads switched off. */
const maskingSchema = z.looseObject({
  ...at,
  mode: z.string(),
  heads: z.array(z.looseObject(headIndex)),
  baseline: score,
  masked: score,
  random: z.array(z.looseObject({ heads: z.array(z.looseObject(headIndex)), score })),
});

const probeScore = z.looseObject({ accuracy: z.number(), low: z.number(), high: z.number() });

/** What the last token's state tells of the needle, layer by layer. */
const probesSchema = z.looseObject({
  ...at,
  probes: z.array(
    z.looseObject({
      kind: z.string(),
      chance: z.number(),
      classes: z.number(),
      embedding: probeScore.nullable(),
      layers: z.array(probeScore.extend({ layer: z.number(), label: z.string() })),
    }),
  ),
});

/** Gradient norms by distance. */
const influenceSchema = z.looseObject({
  ...at,
  target: z.string(),
  mean: z.array(z.number().nullable()),
  floor: z.looseObject({ level: z.number(), distance: z.number().nullable() }).nullable(),
});

/** LongPPL and plain perplexity. */
const longpplSchema = z.looseObject({
  ...at,
  longPpl: z.number().nullable(),
  ppl: z.number(),
  keyTokens: z.number(),
  scoredTokens: z.number(),
});

/** How findings are read, by kind. */
export const FINDINGS = {
  entropy: entropySchema,
  drift: driftSchema,
  limits: limitsSchema,
  masking: maskingSchema,
  probes: probesSchema,
  influence: influenceSchema,
  longppl: longpplSchema,
} as const;

/** The kind of a stored finding. */
export type FindingKind = keyof typeof FINDINGS;
/** The content of a stored finding of one kind. */
export type Finding<K extends FindingKind> = z.output<(typeof FINDINGS)[K]>;
/** By kind, in order of steps. */
export type Findings = { readonly [K in FindingKind]: readonly Finding<K>[] };

/** The kinds of stored findings. */
export const FINDING_KINDS = Object.keys(FINDINGS) as FindingKind[];

/**
 * All findings of a run folder; empty lists where nothing was analyzed.
 *
 * @throws StoreError naming the file that is damaged
 */
export function readFindings(dir: string): Findings {
  return readStored(dir, FINDINGS);
}
