/**
 * What analyses found in a run, as files that reports read: `analysis/KIND-step-N.json`, one a kind and checkpoint. Commands
 * write them, and `readRun` gathers them; the numbers are those of `src/analysis`, with the settings that made them.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readJson, StoreError, writeJsonAtomic } from '../core/index.js';

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

const SCHEMAS = {
  entropy: entropySchema,
  drift: driftSchema,
  limits: limitsSchema,
  masking: maskingSchema,
  probes: probesSchema,
  influence: influenceSchema,
  longppl: longpplSchema,
} as const;

export type FindingKind = keyof typeof SCHEMAS;
export type Finding<K extends FindingKind> = z.output<(typeof SCHEMAS)[K]>;
/** By kind, in order of steps. */
export type Findings = { readonly [K in FindingKind]: readonly Finding<K>[] };

export const FINDING_KINDS = Object.keys(SCHEMAS) as FindingKind[];

export function findingPath(dir: string, kind: FindingKind, step: number): string {
  return join(dir, 'analysis', `${kind}-step-${String(step).padStart(6, '0')}.json`);
}

/**
 * What the run folder `dir` holds of a finding: one made from the contents whose fingerprint is `of` (`same`), from others or
 * from what is not known (`other`), or none.
 */
export function hasFinding(dir: string, kind: FindingKind, step: number, of: string): 'same' | 'other' | 'none' {
  const path = findingPath(dir, kind, step);
  if (!existsSync(path)) return 'none';
  const found = readJson(path);
  return typeof found === 'object' && found !== null && 'of' in found && found.of === of ? 'same' : 'other';
}

/** Writes a finding of `value.step` into the run folder `dir`; returns the file's path. Throws `StoreError`. */
export function writeFinding(dir: string, kind: FindingKind, value: { readonly step: number }): string {
  const path = findingPath(dir, kind, value.step);
  writeJsonAtomic(path, value);
  return path;
}

/**
 * All findings of a run folder; empty lists where nothing was analysed.
 *
 * @throws StoreError naming the file that is damaged
 */
export function readFindings(dir: string): Findings {
  const folder = join(dir, 'analysis');
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const read = <K extends FindingKind>(kind: K): Finding<K>[] => {
    const files = names.filter((name) => name.startsWith(`${kind}-step-`) && name.endsWith('.json'));
    const all = files.map((name) => parseFinding(kind, join(folder, name)));
    return all.sort((a, b) => a.step - b.step);
  };
  return Object.fromEntries(FINDING_KINDS.map((kind) => [kind, read(kind)])) as unknown as Findings;
}

function parseFinding<K extends FindingKind>(kind: K, path: string): Finding<K> {
  const result = SCHEMAS[kind].safeParse(readJson(path));
  if (result.success) {
    const { of: _of, ...finding } = result.data;
    return finding as unknown as Finding<K>;
  }
  const where = result.error.issues[0]?.path.join('.') ?? '';
  throw new StoreError(
    `${path} does not hold what it should: ${where} is wrong or missing; delete it and analyse again`,
    {
      details: { path },
      cause: result.error,
    },
  );
}
