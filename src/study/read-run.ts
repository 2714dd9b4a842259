/** Run folders as the study reads them. */
import { z } from 'zod';
import { readRunFolder, type StoredRunFolder } from '../run/index.js';
import { HEADS } from '../lab/index.js';
import { FINDINGS, type Findings } from './findings.js';

const evalSchema = z.looseObject({
  step: z.number(),
  tokens: z.number(),
  loss: z.number().nullable(),
  perPositionLoss: z.array(z.number().nullable()).nullish(),
  recall: z
    .looseObject({
      bins: z.array(
        z.looseObject({
          from: z.number(),
          to: z.number(),
          probability: z.number().nullable(),
          accuracy: z.number().nullable(),
          count: z.number(),
        }),
      ),
    })
    .nullish(),
  needle: z
    .looseObject({
      lengths: z.array(z.number()),
      depths: z.array(z.number()),
      accuracy: z.array(z.array(z.number().nullable())),
      probability: z.array(z.array(z.number().nullable())),
      samples: z.int().min(1).optional(),
    })
    .nullish(),
});

const headsSchema = z.looseObject({
  step: z.number(),
  tokens: z.number(),
  layers: z.array(
    z.looseObject({
      layer: z.number(),
      label: z.string(),
      heads: z.array(z.looseObject({ head: z.number(), score: z.number() })),
    }),
  ),
});

/** An evaluation record as it is read from a run folder. */
export type RunEval = z.output<typeof evalSchema>;
/** Scores of retrieval heads as they are read from a run folder. */
export type RunHeads = z.output<typeof headsSchema>;

/** What a run folder holds: its configuration, status, measurements, evaluations, traced heads and findings. */
export interface RunRecord extends StoredRunFolder<RunEval, Findings> {
  /** Traced heads, in order of steps. */
  readonly heads: readonly RunHeads[];
}

/**
 * Reads a run folder.
 *
 * @throws StoreError naming the file that is missing or damaged
 */
export function readRun(dir: string): RunRecord {
  const { findings, ...run } = readRunFolder(dir, evalSchema, { ...FINDINGS, [HEADS]: headsSchema });
  const { [HEADS]: heads, ...others } = findings;
  return { ...run, heads, findings: others };
}
