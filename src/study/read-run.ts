/** Run folders as the study reads them. */
import { evalRecordSchema, FINDINGS, MEASURES, type EvalRecord, type Findings } from '../lab/index.js';
import { readFindings, readRunFolder, type StoredRunFolder } from '../run/index.js';
import type { z } from 'zod';

const HEADS = MEASURES.trace.stored.finding;
const schemas = { ...FINDINGS, [HEADS]: MEASURES.trace.schema };

/** An evaluation at a checkpoint, as it was stored. */
export type RunEval = EvalRecord;

/** Retrieval heads traced at a checkpoint, as they were stored. */
export type RunHeads = z.output<(typeof MEASURES)['trace']['schema']>;

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
  const { findings, ...run } = readRunFolder(dir, evalRecordSchema, schemas);
  const { [HEADS]: heads, ...others } = findings;
  return { ...run, heads, findings: others };
}

/**
 * The traced heads of a run folder, in order of steps, without the rest of the folder.
 *
 * @throws StoreError naming the file that is damaged
 */
export function tracedRunHeads(dir: string): readonly RunHeads[] {
  return readFindings(dir, { [HEADS]: MEASURES.trace.schema })[HEADS];
}
