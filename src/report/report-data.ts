/** Everything that a report says, as one JSON value: the page, `report.json` and `report.csv` are views of it. */
import type { Plain } from '../core/index.js';
import {
  type Arm,
  carrierVerdict,
  type CompareOptions,
  compareDesigns,
  compareSchema,
  type DesignPair,
  type PairComparison,
  relate,
  RULE,
  type RunRecord,
  type RunSummary,
  type StudyPlan,
  summarize,
  type Verdict,
  type VerdictContext,
  verdictsOf,
} from '../study/index.js';
import { COST_CONTEXT, costsOf, withEqualCosts, type GroupCosts } from './costs.js';
import type { LayerPlan } from '../model/index.js';
import {
  arThresholds,
  type DistanceBin,
  distanceBins,
  farBins,
  largestWindow,
  type SummaryView,
} from '../lab/index.js';

/** A run that the report leaves out, and why. */
interface UnfinishedRun {
  readonly name: string;
  /** As stored; `not started`, and `unreadable` for a folder that is damaged. */
  readonly state: string;
  readonly message: string | null;
  /** What it came to so far; null where nothing can be read. */
  readonly soFar: RunSummary | null;
}

/** Runs that are compared with one another: one arm at one point of the grid. */
export interface Group {
  readonly arm: Arm;
  readonly point: Plain;
  /** Title within the report. */
  readonly title: string;
  readonly bins: readonly DistanceBin[];
  readonly far: readonly DistanceBin[];
  /** Whether `far` lies beyond the largest window; otherwise the farthest bin stands in. */
  readonly beyond: boolean;
  /** The largest window of any design of the group, in keys; null if none has a window. */
  readonly largestWindow: number | null;
  /** Recall probability of guessing among the values; null if the data have no such level. */
  readonly chance: number | null;
  /** Finished runs, and runs that are not (left out of every comparison). */
  readonly runs: readonly RunSummary[];
  readonly unfinished: readonly UnfinishedRun[];
  /** Finished runs that ran while others did on the same machine: their speed is not that of their design alone. */
  readonly sideBySide: readonly string[];
  /** What they cost; null for a single run, which is compared with nothing. */
  readonly costs: GroupCosts | null;
  readonly pairs: readonly PairComparison[];
  readonly verdicts: readonly Verdict[];
}

/** The content of `report.json`: everything that the page shows. */
export interface Analysis {
  readonly format: 1;
  readonly kind: 'study' | 'run';
  readonly name: string;
  readonly title: string;
  readonly question: string | null;
  readonly compare: CompareOptions;
  readonly rule: string;
  readonly architectures: readonly { readonly label: string; readonly layers: string }[];
  readonly groups: readonly Group[];
  readonly environment: Plain;
}

/** An analysis with the records that plots are drawn from, by run name. */
export interface Analyzed {
  readonly analysis: Analysis;
  readonly records: ReadonlyMap<string, RunRecord>;
  /** The layers of designs, by label. */
  readonly models: ReadonlyMap<string, DesignModel>;
}

/** What a picture of a design needs. */
export interface DesignModel {
  readonly layers: readonly LayerPlan[];
  /** Tokens of a training sequence. */
  readonly seqLen: number;
}

/** Every run of a group of which something is known, finished ones first. */
export function allRuns({ runs, unfinished }: Pick<Group, 'runs' | 'unfinished'>): RunSummary[] {
  const known = new Set(runs.map((run) => run.name));
  return [...runs, ...unfinished.flatMap(({ soFar }) => (soFar === null || known.has(soFar.name) ? [] : [soFar]))];
}

interface Entry {
  readonly name: string;
  readonly arm: Arm;
  readonly architecture: string;
  readonly point: Plain;
  readonly config: StudyPlan['runs'][number]['config'];
  readonly record: RunRecord | null;
  /** Why the folder cannot be read. */
  readonly problem: string | null;
}

/**
 * Analyses a study.
 *
 * @param records the run folders that exist, by run name
 * @param unreadable why a run folder cannot be read, by run name
 * @param context tokens of the sequence that cache bytes are for
 */
export function analyzeStudy(
  plan: StudyPlan,
  records: ReadonlyMap<string, RunRecord>,
  unreadable: ReadonlyMap<string, string> = new Map(),
  context = COST_CONTEXT,
): Analyzed {
  const entries = plan.runs.map((run) => ({
    ...{ ...run, record: records.get(run.name) ?? null },
    problem: unreadable.get(run.name) ?? null,
  }));
  const keys = [...new Set(entries.map(groupKey))];
  // Of all that is planned, so that no number changes its meaning when another run finishes.
  const window = largestWindow(plan.runs.map((run) => run.config.model));
  const labels = plan.architectures.map((a) => a.label);
  const groups = keys.map((key) => {
    const own = entries.filter((entry) => groupKey(entry) === key);
    return analyzeGroup(own, labels, plan.compare, {
      ...{ title: titleOf(own, keys.length), window, context, everyRecord: [...records.values()] },
    });
  });
  const { name, title, question, compare, architectures } = plan;
  const environment = environmentOf([...records.values()]);
  return {
    analysis: {
      format: 1,
      kind: 'study',
      name,
      title,
      question,
      compare,
      rule: RULE,
      architectures,
      groups,
      environment,
    },
    records,
    models: new Map(
      plan.runs.map(({ architecture, config: { model, train } }) => [
        architecture,
        { layers: model.layers, seqLen: train.seqLen },
      ]),
    ),
  };
}

/** Analyses a single run; its one group has no pairs, and a run that is not finished is shown as far as it got. */
export function analyzeRun(record: RunRecord): Analyzed {
  const compare = compareSchema.parse({});
  const summary = (bins: DistanceBin[], far: DistanceBin[]) =>
    summarize(record, { architecture: record.name, ...viewOf({ bins, far }, compare) });
  const bins = distanceBins([record]);
  const window = largestWindow([record.model]);
  const { bins: far, beyond } = farBins(bins, window);
  const run = summary(bins, far);
  const carrier = carrierVerdict(record.name, [record], { far, chance: chanceOf(record), compare });
  const group: Group = {
    ...{
      arm: 'main',
      point: {},
      title: record.name,
      bins,
      far,
      beyond,
      largestWindow: window,
      pairs: [],
      verdicts: carrier === null ? [] : [carrier],
    },
    chance: chanceOf(record),
    runs: [run],
    unfinished: unfinishedOf([{ name: record.name, record, problem: null }], () => run),
    ...{ sideBySide: [], costs: null },
  };
  return {
    analysis: {
      ...{ format: 1, kind: 'run', name: record.name, title: record.name, question: null, compare, rule: RULE },
      architectures: [{ label: record.name, layers: run.layers }],
      groups: [group],
      environment: environmentOf([record]),
    },
    records: new Map([[record.name, record]]),
    models: new Map([[record.name, { layers: record.model.layers, seqLen: record.train.seqLen }]]),
  };
}

/** What runs of a group are compared by. */
export function viewOf({ bins, far }: Pick<Group, 'bins' | 'far'>, compare: CompareOptions): SummaryView {
  return {
    bins,
    far,
    threshold: compare.threshold,
    arThreshold: compare.arThreshold,
    lossThreshold: compare.lossThreshold,
  };
}

/** What verdicts need to know of a group. */
function contextOf({ bins, far, beyond, runs }: Group, compare: CompareOptions): VerdictContext {
  const least = { recall: compare.minRecallDifference, loss: compare.minLossDifference };
  const { from, to } = runs.find((run) => run.ar !== undefined)?.ar ?? { from: 0, to: 0 };
  const ar = to === 0 ? null : { from, to, thresholds: arThresholds(compare) };
  return { threshold: compare.threshold, near: bins[0] ?? null, far, beyond, ar, least };
}

interface GroupOptions {
  readonly title: string;
  /** The largest window of the whole study. */
  readonly window: number | null;
  /** Tokens of the sequence that cache bytes are for. */
  readonly context: number;
  readonly everyRecord: readonly RunRecord[];
}

function analyzeGroup(
  entries: readonly Entry[],
  labels: readonly string[],
  compare: CompareOptions,
  { title, window, context, everyRecord }: GroupOptions,
): Group {
  const finished = entries.flatMap((entry) => {
    const { record } = entry;
    return record?.status.state === 'done' ? [{ ...entry, record }] : [];
  });
  const bins = distanceBins(entries.flatMap(({ record }) => record ?? []));
  const { bins: far, beyond } = farBins(bins, window);
  const summary = ({ architecture, record }: { readonly architecture: string; readonly record: RunRecord }) =>
    summarize(record, { architecture, ...viewOf({ bins, far }, compare) });
  const runs = finished.map(summary);
  const beside = sideBySide(
    finished.map(({ record }) => record),
    everyRecord,
  );
  const costs = costsOf(finished, { runs, sideBySide: beside, context });
  const pairs = withEqualCosts(pairsOf(finished, runs, labels, compare), finished, {
    ...{ runs, costs, compare, view: viewOf({ bins, far }, compare) },
  });
  const first = entries[0];
  const group: Group = {
    ...{ arm: first?.arm ?? 'main', point: first?.point ?? {}, title, bins, far, beyond, runs, pairs },
    largestWindow: window,
    chance: entries.flatMap(({ record }) => (record === null ? [] : (chanceOf(record) ?? [])))[0] ?? null,
    unfinished: unfinishedOf(entries, summary),
    ...{ sideBySide: beside, costs, verdicts: [] },
  };
  const carriers = labels.flatMap((label) => {
    const own = finished.flatMap(({ architecture, record }) => (architecture === label ? [record] : []));
    return carrierVerdict(label, own, { far, chance: group.chance, compare }) ?? [];
  });
  return { ...group, verdicts: [...verdictsOf(pairs, contextOf(group, compare)), ...carriers] };
}

function pairsOf(
  finished: readonly (Entry & { record: RunRecord })[],
  runs: readonly RunSummary[],
  labels: readonly string[],
  compare: CompareOptions,
): PairComparison[] {
  const modelOf = (label: string) => finished.find((entry) => entry.architecture === label)?.record.model;
  const all = labels.flatMap((a, i) => labels.slice(i + 1).map((b) => [a, b] as const));
  const pairs = (compare.pairs ?? all).flatMap(([a, b]): DesignPair[] => {
    const [x, y] = [modelOf(a), modelOf(b)];
    if (x === undefined || y === undefined) return [];
    const { relation, swap } = relate(x, y);
    // Unasked, designs that differ in several ways at once are not compared: nothing could be said about why.
    if (relation === 'other' && compare.pairs === undefined && labels.length > 2) return [];
    const [first, second] = swap ? [b, a] : [a, b];
    return [{ a: first, b: second, relation }];
  });
  return compareDesigns(runs, pairs, compare);
}

function groupKey({ arm, point }: Entry): string {
  return JSON.stringify([arm, point]);
}

function titleOf(entries: readonly Entry[], groups: number): string {
  const first = entries[0];
  if (first === undefined || groups === 1) return '';
  const point = Object.entries(first.point).map(([path, value]) => `${path} = ${JSON.stringify(value)}`);
  return [first.arm === 'long' ? 'Long arm' : 'Main arm', ...point].join(', ');
}

function unfinishedOf<E extends Pick<Entry, 'name' | 'record' | 'problem'>>(
  entries: readonly E[],
  summary: (entry: E & { readonly record: RunRecord }) => RunSummary,
): UnfinishedRun[] {
  return entries.flatMap((entry): UnfinishedRun[] => {
    const { name, record, problem } = entry;
    if (problem !== null) return [{ name, state: 'unreadable', message: problem, soFar: null }];
    if (record === null) return [{ name, state: 'not started', message: null, soFar: null }];
    const { state, message } = record.status;
    if (state === 'done') return [];
    return [{ name, state, message: message ?? null, soFar: summary({ ...entry, record }) }];
  });
}

/** The runs of `records` whose time overlaps that of another of `all` on the same machine. */
function sideBySide(records: readonly RunRecord[], all: readonly RunRecord[]): string[] {
  const beside = (a: RunRecord) =>
    all.some((b) => {
      if (b === a || a.ran === null || b.ran === null) return false;
      const sameMachine = JSON.stringify(a.hardware) === JSON.stringify(b.hardware);
      return sameMachine && a.ran.from < b.ran.to && b.ran.from < a.ran.to;
    });
  return records.filter(beside).map((record) => record.name);
}

/** One over the number of values of the recall stream, if the run trains on one. */
function chanceOf({ config, metrics }: RunRecord): number | null {
  const sources: unknown[] = [config['data']].flat();
  for (const source of sources) {
    if (typeof source !== 'object' || source === null || !('kind' in source) || source.kind !== 'recall') continue;
    const values = 'numValues' in source ? source.numValues : undefined;
    if (typeof values === 'number' && [...metrics.keys()].some((k) => k.startsWith('eval/recall/'))) return 1 / values;
  }
  return null;
}

/** The engines of runs in words, with why each was taken; every different one once. */
export function engineLine(records: Iterable<RunRecord>): string {
  const engines = [...records].flatMap(({ engine }) => {
    if (engine === null) return [];
    const { name, reason } = engine;
    return [typeof reason === 'string' ? `${String(name)} (${reason})` : String(name)];
  });
  return [...new Set(engines)].sort().join('; ');
}

/** Versions, engine and hardware; where runs differ, every value. */
function environmentOf(records: readonly RunRecord[]): Plain {
  const all = records.map(({ versions, engine, hardware }) => ({ versions, engine: engine ?? {}, hardware }));
  const collect = (values: readonly Readonly<Record<string, unknown>>[]) => {
    const keys = [...new Set(values.flatMap((v) => Object.keys(v)))];
    return Object.fromEntries(
      keys.map((key) => {
        const distinct = [...new Set(values.map((v) => JSON.stringify(v[key] ?? null)))].map(
          (v) => JSON.parse(v) as unknown,
        );
        return [key, distinct.length === 1 ? distinct[0] : distinct];
      }),
    );
  };
  return {
    versions: collect(all.map((e) => e.versions)),
    engine: collect(all.map((e) => e.engine)),
    hardware: collect(all.map((e) => e.hardware)),
  };
}
