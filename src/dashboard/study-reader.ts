/** A study folder as the dashboard lists it. */
import { LongsightError, planPath } from '../core/index.js';
import { readPlan } from '../study/index.js';
import type { KeptStudy } from './catalog-cache.js';
import type { Found } from './folders.js';
import { basename } from 'node:path';
import { stampOf } from './stamps.js';

/** Reads the plan of a study. A damaged one has a `problem`. */
export function readStudy({ path, id, shown }: Found): KeptStudy {
  const stamp = stampOf(planPath(path));
  const known = { id, name: basename(path), folder: shown };
  try {
    const { name, title, question, architectures, runs } = readPlan(path);
    const designs = architectures.map(({ label }) => label);
    const row = { ...known, name, title, question, designs, planned: runs.length };
    return { stamp, row, designs: runs.map((run) => [run.name, run.architecture]), problem: null };
  } catch (error) {
    if (!(error instanceof LongsightError)) throw error;
    const row = { ...known, title: known.name, question: null, designs: [], planned: 0 };
    return { stamp, row, designs: [], problem: error.message };
  }
}
