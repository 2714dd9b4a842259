/** What figures of reports show of findings, as data; reports draw each form for every design of a study. */
/** Distances in tokens from `from` to `to`, both ends included. */
export interface DistanceRange {
  /** The nearest distance, in tokens. */
  readonly from: number;
  /** The farthest distance, in tokens. */
  readonly to: number;
}

interface Titled<F> {
  readonly title: string;
  /** What is seen, in a sentence or two. */
  caption(first: F): string;
}

/** Values of heads over training tokens: those that end as the strongest retrieval heads, and all others. */
export interface HeadsFigure<F> extends Titled<F> {
  readonly form: 'heads';
  readonly axis: string;
  readonly domain?: readonly [number, number];
  heads(found: F): readonly { readonly layer: number; readonly head: number; readonly value: number }[];
}

/** One value over training tokens; null where a checkpoint has none. */
export interface TokensFigure<F> extends Titled<F> {
  readonly form: 'tokens';
  readonly label: string;
  readonly axis: string;
  value(found: F): number | null;
}

/** A value that bars show, and what it is a measure of. */
export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly what: string;
}

/** Bars of the last finding, one panel a design. All bars are of what the first is of. */
export interface BarsFigure<F> extends Omit<Titled<F>, 'caption'> {
  readonly form: 'bars';
  /** The name of each measure that is not a share of 1, which is drawn from 0 up. */
  readonly open: readonly string[];
  /**
   * The bars of a finding.
   *
   * @param far the distances that count as far, beyond every window of the study
   */
  bars(found: F, far: readonly DistanceRange[]): readonly Bar[];
  caption(what: string, far: string): string;
}

/** Shares of 1 of the last finding: a panel a group, a row a design, a mark a value. */
export interface DotsFigure<F> extends Titled<F> {
  readonly form: 'dots';
  readonly axis: string;
  /** Whether values are drawn from 0 up to the largest, not as shares of 1. */
  readonly open?: boolean;
  /** Panels by key, from left to right. */
  readonly panels: readonly (readonly [key: string, title: string])[];
  dots(found: F): readonly { readonly panel: string; readonly value: number; readonly about: string }[];
}

/** Shares of 1 by layer of the last finding, with intervals. */
export interface LayersFigure<F> extends Titled<F> {
  readonly form: 'layers';
  readonly axis: string;
  readonly panels: readonly (readonly [key: string, title: string])[];
  lines(found: F): readonly {
    readonly panel: string;
    /** What guessing gives. */
    readonly chance: number;
    readonly layers: readonly LayerValue[];
  }[];
}

/** A share of one layer with its 95 % interval. */
export interface LayerValue {
  readonly layer: number;
  readonly label: string;
  /** Share of 1. */
  readonly accuracy: number;
  /** Lower end of the 95 % interval. */
  readonly low: number;
  /** Upper end of the 95 % interval. */
  readonly high: number;
}

/** A curve over distances of the last finding, on two logarithmic axes. */
export interface DistanceFigure<F> extends Titled<F> {
  readonly form: 'distance';
  readonly label: string;
  readonly axis: string;
  /** By distance 0, 1, 2, ... */
  curve(found: F): readonly (number | null)[];
  /** A place to mark on the curve; null for none. */
  mark(found: F): { readonly distance: number; readonly level: number } | null;
}

/** A number over limits of reach where one part of a model is limited. */
export interface LimitCurve {
  /** The part that is limited. */
  readonly part: string;
  /** The number where nothing is limited; null where it is not known. */
  readonly whole: number | null;
  readonly points: readonly {
    /** Visible keys of the part. */
    readonly keys: number;
    readonly value: number;
  }[];
}

/** Curves of the last finding over limits in visible keys, on a logarithmic axis, one panel a design. */
export interface LimitsFigure<F> extends Titled<F> {
  readonly form: 'limits';
  readonly axis: string;
  /** Whether values are shares of 1, which are drawn from 0 up. */
  readonly isShare: boolean;
  curves(found: F): readonly LimitCurve[];
}

/** A number over ranges of tokens. */
export interface RangeCurve {
  /** The panel that it is drawn in. */
  readonly panel: string;
  /** In order of tokens. */
  readonly points: readonly (DistanceRange & { readonly value: number })[];
}

/** Curves of the last finding over ranges of tokens, on a logarithmic axis: a panel a variant, a line a design. */
export interface RangesFigure<F> extends Titled<F> {
  readonly form: 'ranges';
  readonly axis: string;
  readonly xLabel: string;
  /** Whether values are shares of 1, which are drawn from 0 up. */
  readonly isShare: boolean;
  /** A number of tokens to mark; null for none. */
  mark(found: F): number | null;
  curves(found: F): readonly RangeCurve[];
}

/** The figure of an analysis whose findings are `F`. */
export type Figure<F> =
  | HeadsFigure<F>
  | TokensFigure<F>
  | BarsFigure<F>
  | LimitsFigure<F>
  | DotsFigure<F>
  | LayersFigure<F>
  | DistanceFigure<F>
  | RangesFigure<F>;
