/**
 * The table of analyses: a line makes the command, its place in `analyze`, the file, the figure and the line in the
 * docs.
 */
import type { z } from 'zod';
import { described, type Analysis } from '../analysis.js';
import { attentionDistance } from './attention-distance.js';
import { drift } from './drift.js';
import { entropy } from './entropy.js';
import { heads } from './heads.js';
import { influence } from './influence.js';
import { length } from './length.js';
import { limits } from './limits.js';
import { longppl } from './longppl.js';
import { masking } from './masking.js';
import { placement } from './placement.js';
import { probes } from './probes.js';

/** Analyses whose results are kept in run folders, by the kind that their files are named for. */
export const ANALYSES = described({
  entropy,
  drift,
  limits,
  masking,
  probes,
  influence,
  longppl,
  length,
  placement,
  'attention-distance': attentionDistance,
});

/** Analyses that only print what they find. */
export const PRINTED_ANALYSES = described({ heads });

/** The name of an analysis in either table. */
export type AnalysisKind = keyof typeof ANALYSES | keyof typeof PRINTED_ANALYSES;

/** Whether results of a kind are kept in run folders. */
export const isKept = (kind: AnalysisKind): kind is keyof typeof ANALYSES => kind in ANALYSES;

/** The analysis of that name. */
export function analysisOf(kind: AnalysisKind): Analysis<object, z.ZodType> {
  const all: Readonly<Record<AnalysisKind, Analysis<object, z.ZodType>>> = { ...ANALYSES, ...PRINTED_ANALYSES };
  return all[kind];
}
