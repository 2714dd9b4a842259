/** What the designs of a group cost: FLOPs and time of training, what decoding keeps; and which are on the front. */
import {
  ConfigError,
  formatCount,
  formatFactor,
  list,
  maxOf,
  MaxT,
  meanOf,
  minOf,
  plural,
  type Interval,
} from '../core/index.js';
import { CACHE_BYTES, checkContext, modelCost, type CacheDtype, type ModelConfig } from '../model/index.js';
import {
  compareAtEqualCost,
  flopsSpent,
  type CompareOptions,
  type PairComparison,
  type PlannedRun,
  type RunRecord,
  type RunSummary,
  type SpendingRun,
} from '../study/index.js';
import type { SummaryView } from '../lab/index.js';
import { outcomeOf } from './measured.js';

/** Tokens of a sequence that cache bytes are for, unless a reader asks for others. */
export const COST_CONTEXT = 65_536;

/** What a finished run cost. */
export interface RunCost {
  readonly name: string;
  /** FLOPs of the matrix products of its training. */
  readonly flops: number;
  /** Seconds of its training steps, at its median speed; null where that is no cost of its design. */
  readonly seconds: number | null;
  /** Bytes that decoding keeps of one sequence; null for a model that cannot decode so long a one. */
  readonly cacheBytes: number | null;
}

/** What the finished runs of a group cost. */
export interface GroupCosts {
  /** Tokens of the sequence that cache bytes are for. */
  readonly context: number;
  readonly cacheDtype: CacheDtype;
  readonly runs: readonly RunCost[];
  /** What trained all runs whose seconds are told; null where none is. */
  readonly device: string | null;
  /** What is left out, and why: one sentence each. */
  readonly notes: readonly string[];
}

/** A finished run with the configuration that it was planned with. */
export interface CostedRun {
  readonly record: RunRecord;
  readonly architecture: string;
  readonly config: PlannedRun['config'];
}

/** What trained a run, as far as its speed depends on it: accelerators by kind, else the processor; and the engine. */
function deviceOf({ engine, places, hardware }: RunRecord): string {
  const kinds = [...new Set(places.map((place) => place.replace(/:[\d,:]+$/, '')))];
  const { cpu, cores } = hardware;
  const processor = typeof cpu === 'string' ? cpu : 'an unknown processor';
  const threads = typeof engine?.['threads'] === 'number' ? `, ${plural(engine['threads'], 'thread')}` : '';
  const host = `${processor}${typeof cores === 'number' ? `, ${plural(cores, 'core')}` : ''}`;
  const name = typeof engine?.['name'] === 'string' ? engine['name'] : 'an unknown engine';
  const where = kinds.some((kind) => kind !== 'host' && kind !== 'cpu') ? `${kinds.join(', ')} of ${host}` : host;
  return `${where}; ${name}${threads}`;
}

/** Seconds of training by run; runs that ran beside others, and any of several devices, are left out with a note. */
function secondsOf(
  finished: readonly CostedRun[],
  runs: readonly RunSummary[],
  sideBySide: readonly string[],
): { readonly seconds: ReadonlyMap<string, number>; readonly device: string | null; readonly notes: string[] } {
  const beside = new Set(sideBySide);
  const alone = finished.filter(({ record }) => !beside.has(record.name));
  const left = finished.length - alone.length;
  const notes =
    left === 0
      ? []
      : [
          `${left === 1 ? 'One run trained' : `${left} of ${plural(finished.length, 'run')} trained`} beside others on the same machine; ` +
            'the time of such runs is not that of their design, and is left out.',
        ];
  const devices = [...new Set(alone.map(({ record }) => deviceOf(record)))];
  if (devices.length > 1) {
    const note = `The runs trained on several devices (${list(devices)}), whose times are no equal measure; time is left out.`;
    return { seconds: new Map(), device: null, notes: [...notes, note] };
  }
  const seconds = alone.flatMap(({ record: { name } }) => {
    const run = runs.find((own) => own.name === name);
    return run?.tokPerSec == null ? [] : [[name, run.tokens / run.tokPerSec] as const];
  });
  const spread = spreadOf(alone, new Map(seconds));
  if (spread > STEADY)
    notes.push(
      `Seeds of one design differ in time by up to ${formatFactor(spread)}: something else ran on the machine too, and times say little.`,
    );
  return { seconds: new Map(seconds), device: seconds.length === 0 ? null : (devices[0] ?? null), notes };
}

/** Seeds of one design that differ by more than this factor had a machine that was not theirs alone. */
const STEADY = 1.15;

/** The largest factor between the times of two seeds of one design; 1 where none has two. */
function spreadOf(alone: readonly CostedRun[], seconds: ReadonlyMap<string, number>): number {
  const designs = [...new Set(alone.map(({ architecture }) => architecture))];
  const factors = designs.map((label) => {
    const own = alone.flatMap(({ architecture, record }) =>
      architecture === label ? (seconds.get(record.name) ?? []) : [],
    );
    return own.length === 0 ? 1 : maxOf(own) / minOf(own);
  });
  return factors.length === 0 ? 1 : maxOf(factors);
}

/** FLOPs of a run: its plan holds the model as it was written, which may be by a version that knew fewer fields. */
const spentBy = ({ model }: RunRecord, config: PlannedRun['config']) => flopsSpent({ ...config, model });

/** What the finished runs of a group cost. */
export function costsOf(
  finished: readonly CostedRun[],
  {
    runs,
    sideBySide,
    context,
  }: { readonly runs: readonly RunSummary[]; readonly sideBySide: readonly string[]; readonly context: number },
): GroupCosts {
  const cacheDtype = 'bf16';
  const { seconds, device, notes } = secondsOf(finished, runs, sideBySide);
  // The same for all seeds of a design.
  const designs = new Map<string, { readonly cacheBytes: number | null; readonly note: string | null }>();
  const costs = finished.map(({ record, architecture, config }): RunCost => {
    const known = designs.get(architecture) ?? cacheOf(record.model, context, cacheDtype);
    designs.set(architecture, known);
    return {
      name: record.name,
      flops: spentBy(record, config).at(-1)?.cost ?? 0,
      seconds: seconds.get(record.name) ?? null,
      cacheBytes: known.cacheBytes,
    };
  });
  const caches = [...designs].flatMap(([label, { note }]) => (note === null ? [] : [`${label}: ${note}.`]));
  return { context, cacheDtype, runs: costs, device, notes: [...notes, ...caches] };
}

function cacheOf(
  model: ModelConfig,
  context: number,
  dtype: CacheDtype,
): { readonly cacheBytes: number | null; readonly note: string | null } {
  try {
    checkContext(model, context);
    const { cacheBytes } = modelCost(model, context, { cacheElementBytes: CACHE_BYTES[dtype] });
    return { cacheBytes, note: null };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { cacheBytes: null, note: `it cannot decode ${formatCount(context)} tokens: ${error.message}` };
  }
}

/** The pairs of a group with what they came to for the same FLOPs, and in the same time. */
export function withEqualCosts(
  pairs: readonly PairComparison[],
  finished: readonly CostedRun[],
  {
    runs,
    costs,
    view,
    compare,
  }: {
    readonly runs: readonly RunSummary[];
    readonly costs: GroupCosts;
    readonly view: SummaryView;
    readonly compare: CompareOptions;
  },
): PairComparison[] {
  // The measure of long range is chosen for the whole group: its pairs are one family.
  const outcome = outcomeOf(runs);
  const spending = finished.map(({ record, architecture, config }) => {
    const run: Omit<SpendingRun, 'spent'> = {
      ...{ design: architecture, seed: record.seed },
      far: outcome?.series(record, view) ?? [],
      loss: record.metrics.get('eval/loss') ?? [],
    };
    const seconds = costs.runs.find(({ name }) => name === record.name)?.seconds ?? null;
    return { run, flops: spentBy(record, config), seconds, tokens: record.status.tokens };
  });
  const axes = {
    flops: spending.map(({ run, flops }) => ({ ...run, spent: flops })),
    seconds: spending.flatMap(({ run, seconds, tokens }) =>
      seconds === null
        ? []
        : [
            {
              ...run,
              spent: [
                { tokens: 0, cost: 0 },
                { tokens, cost: seconds },
              ],
            },
          ],
    ),
  };
  const compared = (['flops', 'seconds'] as const).map((of) =>
    compareAtEqualCost(of, outcome?.short ?? 'far recall', axes[of], pairs, compare),
  );
  return pairs.map((pair, i) => {
    const own = compared.flatMap((all) => all[i] ?? []);
    return own.length === 0 ? pair : { ...pair, atEqualCost: own };
  });
}

/** A design at one point of the grid, by what it costs and what it came to. */
export interface Costed {
  /** What it costs; smaller is better. */
  readonly cost: number;
  /** What it came to. */
  readonly value: number;
}

/**
 * Which of some designs are on the Pareto front: no other costs at most as much and comes to at least as much, with a
 * difference in one of the two. Designs that are equal in both are on it together.
 *
 * @param isHighBest whether larger values are better
 */
export function paretoFront(designs: readonly Costed[], isHighBest: boolean): boolean[] {
  const sign = isHighBest ? 1 : -1;
  const sorted = designs
    .map(({ cost, value }, i) => ({ i, cost, value: sign * value }))
    .sort((a, b) => a.cost - b.cost || b.value - a.value);
  const front = designs.map(() => false);
  let best = { cost: NaN, value: -Infinity };
  for (const { i, cost, value } of sorted) {
    if (value < best.value || (value === best.value && cost !== best.cost)) continue;
    front[i] = true;
    best = { cost, value };
  }
  return front;
}

let student: MaxT | null = null;

/** Fewer degrees of freedom than this make an interval that says next to nothing. */
const LEAST_DF = 2;

/**
 * The mean of each design with its 95 % interval over seeds (Student's t). How much seeds scatter is estimated from all
 * designs together, and from its own seeds where a design scatters more; the interval is null for one seed, and where
 * all designs together have fewer than two degrees of freedom.
 *
 * @param designs the values of each design, at least one each
 */
export function meansOver(
  designs: readonly (readonly number[])[],
): { readonly mean: number; readonly interval: Interval | null }[] {
  const squares = designs.map((values) => values.reduce((sum, v) => sum + (v - meanOf(values)) ** 2, 0));
  const df = designs.reduce((sum, values) => sum + values.length - 1, 0);
  const pooled = df === 0 ? 0 : squares.reduce((a, b) => a + b, 0) / df;
  return designs.map((values, i) => {
    const mean = meanOf(values);
    if (values.length < 2 || df < LEAST_DF) return { mean, interval: null };
    student ??= new MaxT([[[0, 1]]], 1);
    const variance = Math.max(pooled, (squares[i] ?? 0) / (values.length - 1));
    const half = student.critical(df, 0.95) * Math.sqrt(variance / values.length);
    return { mean, interval: { low: mean - half, high: mean + half } };
  });
}
