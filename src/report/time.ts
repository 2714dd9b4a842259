/** Where each run of a report ran, and where its wall time went. */
import { significant } from '../core/index.js';
import type { RunRecord } from '../study/index.js';
import { PHASES, shareBeside } from '../train/index.js';
import { table } from './html.js';

/** Seconds by phase and places of one run; null where its folder does not keep them. */
export interface RunTime {
  /** Where it was put at its start and at each resume. */
  readonly places: readonly string[];
  readonly timing: Readonly<Record<string, number>>;
  /** Share of the wall time that was no training step, from 0 to 1. */
  readonly beside: number | null;
}

/** What is known of the time of a run. */
export function timeOf({ places, status }: Pick<RunRecord, 'places' | 'status'>): RunTime | null {
  const { timing } = status;
  return timing === undefined ? null : { places, timing, beside: shareBeside(timing) };
}

const SECONDS = [...PHASES, 'other'] as const;

/** A table of the runs that keep their times: one line a run, one column a phase, in seconds; empty without any. */
export function timeTable(records: ReadonlyMap<string, RunRecord>): string {
  const rows = [...records].flatMap(([name, record]) => {
    const time = timeOf(record);
    if (time === null) return [];
    const { places, timing, beside } = time;
    const seconds = (phase: string) => significant(timing[phase] ?? 0);
    const share = beside === null ? '' : `${(100 * beside).toFixed(1)} %`;
    return [[name, places.join(', '), seconds('total'), share, ...SECONDS.map(seconds)]];
  });
  if (rows.length === 0) return '';
  const head = ['run', 'where', 'all', 'beside training', ...SECONDS.map((phase) => WORDS[phase])];
  return table(head, rows, new Set(head.map((_, i) => i).slice(2)));
}

const WORDS: Readonly<Record<(typeof SECONDS)[number], string>> = {
  start: 'start',
  data: 'data',
  compile: 'compiling',
  firstStep: 'first step',
  steps: 'other steps',
  evaluations: 'evaluations',
  traces: 'traces',
  checkpoints: 'checkpoints',
  waiting: 'waiting',
  other: 'other',
};
