/**
 * What analyses kept in run folders: `analysis/KIND-step-N.json`, one a kind and checkpoint, read by the schemas of
 * the table.
 */
import type { z } from 'zod';
import { readFindings as readStored, type StoredFindings } from '../../run/index.js';
import { ANALYSES } from './index.js';

type Table = typeof ANALYSES;
/** The name of an analysis in the table, and of its files. */
export type FindingKind = keyof Table;
type Schemas = { readonly [K in FindingKind]: Table[K]['finding'] };
/** One result of an analysis as a run folder holds it. */
export type Finding<K extends FindingKind> = z.output<Schemas[K]>;
/** All findings of a run by kind, each list in order of steps. */
export type Findings = StoredFindings<Schemas>;

const kinds = Object.entries(ANALYSES).map(([kind, { finding }]) => [kind, finding]);

/** How findings are read, by kind, in the order of the table. */
export const FINDINGS = Object.fromEntries(kinds) as Schemas;

/** Every kind of finding, in the order of the table. */
export const FINDING_KINDS = Object.keys(FINDINGS) as readonly FindingKind[];

/**
 * All findings of a run folder; empty lists where nothing was analyzed.
 *
 * @throws StoreError naming the file that is damaged
 */
export function readFindings(dir: string): Findings {
  return readStored(dir, FINDINGS);
}
