/** Associative recall under limits of reach: what is kept of it, its cells and columns, and its curves over limits. */
import { z } from 'zod';
import { field, textTable, type CsvCell } from '../../core/index.js';
import { show } from '../analysis.js';
import type { LimitCurve, LimitsFigure } from '../figures.js';
import { documentMean } from '../measures/associative-recall.js';
import type { EvalRecord } from '../measures/record.js';

/** Far associative recall under a limit, with 95 % intervals over documents, and recall by distance. */
export interface LimitedAr {
  /** The nearest distance that counts as far, in tokens. */
  readonly from: number;
  /** The farthest distance that counts as far, in tokens. */
  readonly to: number;
  /** Far hits. */
  readonly targets: number;
  /** Top-1 accuracy, a share of 1. */
  readonly accuracy: number | null;
  /** Lower end of the interval of `accuracy`, a share of 1. */
  readonly accuracyLow: number | null;
  /** Upper end of the interval of `accuracy`, a share of 1. */
  readonly accuracyHigh: number | null;
  /** Mean loss, in nats. */
  readonly loss: number | null;
  /** Lower end of the interval of `loss`, in nats. */
  readonly lossLow: number | null;
  /** Upper end of the interval of `loss`, in nats. */
  readonly lossHigh: number | null;
  /** Hits by distance: tokens `from..to`, both included; top-1 accuracy as a share of 1, mean loss in nats. */
  readonly bins: readonly {
    readonly from: number;
    readonly to: number;
    readonly targets: number;
    readonly accuracy: number | null;
    readonly loss: number | null;
  }[];
}

const distances = {
  from: field(z.number(), 'nearest distance', 'tokens'),
  to: field(z.number(), 'farthest distance, included', 'tokens'),
};

/** `LimitedAr` as findings keep it: far hits, and hits by distance. */
export const limitedArFields = z.object({
  ...distances,
  ...documentMean.shape,
  bins: field(
    z.array(z.object({ ...distances, ...documentMean.pick({ targets: true, accuracy: true, loss: true }).shape })),
    'all hits by distance, nearest first',
  ),
});

/** What limits keep of a measurement. */
export function limitedAr({ far, bins }: NonNullable<EvalRecord['ar']>): LimitedAr {
  return {
    ...{ from: far.from, to: far.to },
    ...far.all,
    bins: bins.map(({ from, to, all: { targets, accuracy, loss } }) => ({ from, to, targets, accuracy, loss })),
  };
}

/** Far top-1 accuracy with its interval. */
export function arCell(ar: LimitedAr | undefined): string {
  if (ar?.accuracyLow == null) return show(ar?.accuracy);
  return `${show(ar.accuracy)} (${show(ar.accuracyLow)} to ${show(ar.accuracyHigh)})`;
}

/** Top-1 accuracy by distance as text, a row a limit; null where associative recall was not measured. */
export function distanceText(
  rows: readonly { readonly part: string | null; readonly keys: number | null; readonly ar?: LimitedAr }[],
): string | null {
  const bins = rows[0]?.ar?.bins;
  if (bins === undefined) return null;
  const head = ['limited', 'keys', ...bins.map(({ from, to }) => `${from}-${to}`)];
  const body = rows.map((row) => [
    ...[row.part ?? 'nothing', String(row.keys ?? '')],
    ...(row.ar?.bins ?? []).map((bin) => show(bin.accuracy)),
  ]);
  return `Top-1 accuracy of associative recall by distance:\n${textTable([head, ...body], new Set(head.keys()))}`;
}

/** Names of the columns of a table for programs. */
export function arColumns({ bins }: LimitedAr): string[] {
  const far = ['accuracy', 'loss', 'low', 'high', 'loss_low', 'loss_high', 'targets'].map((what) => `ar_far_${what}`);
  return [...far, ...bins.flatMap(({ from, to }) => [`ar_accuracy_${from}_${to}`, `ar_loss_${from}_${to}`])];
}

/** The cells of those columns. */
export function arCells(ar: LimitedAr): CsvCell[] {
  const { accuracy, loss, accuracyLow, accuracyHigh, lossLow, lossHigh, targets } = ar;
  const far = [accuracy, loss, accuracyLow, accuracyHigh, lossLow, lossHigh, targets];
  return [...far, ...ar.bins.flatMap((bin) => [bin.accuracy, bin.loss])];
}

/** A finding as reports read it. */
interface ReadLimits {
  readonly rows: readonly {
    readonly part: string | null;
    readonly keys: number | null;
    readonly loss: number | null;
    readonly ar?: { readonly from: number; readonly accuracy: number | null; readonly loss: number | null } | undefined;
  }[];
}

type Value = (row: ReadLimits['rows'][number]) => number | null | undefined;

/** Curves of a number over limits; none where associative recall was not measured. */
function curvesOf({ rows }: ReadLimits, value: Value): LimitCurve[] {
  if (rows.every((row) => row.ar === undefined)) return [];
  const whole = rows.flatMap((row) => (row.part === null ? (value(row) ?? []) : []))[0] ?? null;
  const parts = [...new Set(rows.flatMap(({ part }) => part ?? []))];
  return parts.map((part) => ({
    part,
    whole,
    points: rows.flatMap((row) => {
      const own = row.part === part ? value(row) : null;
      return own == null || row.keys === null ? [] : [{ keys: row.keys, value: own }];
    }),
  }));
}

const beyond = ({ rows }: ReadLimits): string => {
  const [ar] = rows.flatMap((row) => row.ar ?? []);
  return ar === undefined ? '' : ` beyond ${ar.from - 1} tokens`;
};

const HOW =
  'when only the full (filled marks), or only the efficient layers (hollow marks) see no more than so many keys, the weights as they are. ' +
  'Dashed: nothing limited. Lines: mean over seeds; marks: each seed. A curve that falls below the dashed line belongs to layers that ' +
  'carry it.';

/** Figures of associative recall, and of the loss beside it, over limits. */
export const AR_FIGURES: readonly LimitsFigure<ReadLimits>[] = [
  {
    form: 'limits',
    title: 'Limits of reach: who carries associative recall',
    axis: 'top-1 accuracy',
    isShare: true,
    curves: (found) => curvesOf(found, (row) => row.ar?.accuracy),
    caption: (first) => `Top-1 accuracy of associative recall${beyond(first)} ${HOW}`,
  },
  {
    form: 'limits',
    title: 'Limits of reach: loss of associative recall',
    axis: 'loss (nats per token)',
    isShare: false,
    curves: (found) => curvesOf(found, (row) => row.ar?.loss),
    caption: (first) => `Mean loss of associative recall${beyond(first)} ${HOW.replace('falls below', 'rises above')}`,
  },
  {
    form: 'limits',
    title: 'Limits of reach: loss of all tokens',
    axis: 'loss (nats per token)',
    isShare: false,
    curves: (found) => curvesOf(found, (row) => row.loss),
    caption: () =>
      `Held-out loss of all tokens ${HOW.replace('falls below', 'rises above').replace('carry it', 'the loss needs')}`,
  },
];
