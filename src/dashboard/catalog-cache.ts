/**
 * What is known of runs and studies between two starts: everything that the table of runs shows, with the sizes and
 * times of change of the files that it was read from. Can be deleted at any time.
 */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fingerprintBytes, makeFolder, packageVersion, writeFileAtomic } from '../core/index.js';
import type { StudyRow } from './api.js';
import type { RunProgress } from './run-progress.js';
import type { RunFacts } from './run-sketch.js';

/** Counts the forms of what is kept. */
const FORMAT = 2;
const SUM_DIGITS = 64;

/** A run as it was last read. */
export interface KeptRun {
  readonly facts: RunFacts;
  readonly factsStamp: string;
  readonly progress: RunProgress;
  readonly progressStamp: string;
}

/** A study as it was last read. */
export interface KeptStudy {
  readonly stamp: string;
  readonly row: StudyRow;
  /** The design of each run, by the run's name. */
  readonly designs: readonly (readonly [string, string])[];
  readonly problem: string | null;
}

/** Runs and studies by path. */
export interface Kept {
  readonly runs: ReadonlyMap<string, KeptRun>;
  readonly studies: ReadonlyMap<string, KeptStudy>;
}

interface Stored {
  readonly format: number;
  /** The version of the program: another one may read the same configuration otherwise. */
  readonly program: string;
  readonly runs: readonly (readonly [string, KeptRun])[];
  readonly studies: readonly (readonly [string, KeptStudy])[];
}

const NOTHING: Kept = { runs: new Map(), studies: new Map() };

/** Reads what was kept; nothing where that is missing, damaged, or of another version. */
export function readKept(file: string): Kept {
  try {
    const bytes = readFileSync(file);
    const body = bytes.subarray(SUM_DIGITS);
    if (fingerprintBytes(body) !== bytes.toString('latin1', 0, SUM_DIGITS)) return NOTHING;
    // What has its checksum was written by `writeKept`, and is of this form if it is of this version.
    const { format, program, runs, studies } = JSON.parse(body.toString('utf8')) as Stored;
    return format === FORMAT && program === packageVersion()
      ? { runs: new Map(runs), studies: new Map(studies) }
      : NOTHING;
  } catch {
    return NOTHING;
  }
}

/** Keeps runs and studies; where the disk does not take them the next start reads everything again, and no harm. */
export function writeKept(file: string, { runs, studies }: Kept): void {
  const stored: Stored = { format: FORMAT, program: packageVersion(), runs: [...runs], studies: [...studies] };
  const body = Buffer.from(JSON.stringify(stored));
  try {
    makeFolder(dirname(file));
    writeFileAtomic(file, fingerprintBytes(body), body);
  } catch {
    // As above.
  }
}
