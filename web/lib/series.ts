/** Loading curves for a view, and making lines of them. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { CurveAxis } from '../../src/dashboard/api.js';
import { bandOf, lineOf, type Line } from './lines.js';
import type { PlacedRun, Store } from './store.js';

/** What curves can be drawn over. */
export const AXES = { tokens: 'tokens', step: 'steps', flops: 'training FLOPs', time: 'seconds' } as const;

/** An axis by its name in the URL. */
export type AxisName = keyof typeof AXES;

/** The axis that a setting names; tokens for any other text. */
export const axisOf = (text: string): AxisName => (Object.hasOwn(AXES, text) ? (text as AxisName) : 'tokens');

/** Where an axis is stored: FLOPs are tokens times those of one. */
export const storedAxis = (axis: AxisName): CurveAxis => (axis === 'flops' ? 'tokens' : axis);

const AGAIN_MS = 300;

interface Loaded {
  /** Counts what has come. */
  readonly version: number;
  readonly problem: string | null;
}

/** Sees to it that curves are there; the component that calls it is drawn again when they have come. */
export function useCurves(
  store: Store,
  axis: CurveAxis,
  metrics: readonly string[],
  runs: readonly PlacedRun[],
): Loaded & { readonly isWhole: boolean } {
  const [state, setState] = useState<Loaded>({ version: 0, problem: null });
  /** The curves that have all come. */
  const [whole, setWhole] = useState('');
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const ids = runs.map(({ row }) => row.id);
  const wanted = `${axis} ${metrics.join(' ')} ${ids.join(' ')}`;
  const key = `${wanted} ${store.pointsVersion}`;
  // At once, not after the picture without them.
  useLayoutEffect(() => {
    const asked = { current: true };
    const ask = async (): Promise<void> => {
      try {
        const { isWhole, hasNew, hasMore } = await store.load(axis, metrics, ids);
        if (!asked.current) return;
        if (hasNew) setState(({ version }) => ({ version: version + 1, problem: null }));
        if (isWhole) setWhole(wanted);
        else timer.current = setTimeout(() => void ask(), hasMore ? 0 : AGAIN_MS);
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error);
        if (asked.current) setState(({ version }) => ({ version, problem }));
      }
    };
    if (metrics.length > 0 && ids.length > 0) void ask();
    return () => {
      asked.current = false;
      if (timer.current !== null) clearTimeout(timer.current);
    };
  }, [key]);
  return { ...state, isWhole: ids.length === 0 || whole === wanted };
}

/** Sees to it that a part of the axis is there point by point; what comes back grows when it has come. */
export function useDetail(
  store: Store,
  axis: AxisName,
  metrics: readonly string[],
  runs: readonly PlacedRun[],
  zoom: readonly [number, number] | null,
  version: number,
): number {
  const [detail, setDetail] = useState(0);
  const ids = runs.map(({ row }) => row.id);
  const key = zoom === null ? '' : `${axis} ${metrics.join(' ')} ${ids.join(' ')} ${zoom.join(' ')} ${version}`;
  useEffect(() => {
    // FLOPs of a token differ between runs, and so does what a part of that axis is in tokens.
    if (zoom === null || axis === 'flops') return;
    store.loadDetail(storedAxis(axis), metrics, ids, zoom).then(
      () => setDetail((n) => n + 1),
      () => undefined, // the stretches are still there
    );
  }, [key]);
  return detail;
}

/** How lines are made. */
export interface LineOptions {
  readonly axis: AxisName;
  readonly smooth: number;
  /** Whether runs of one design become one line with a band. */
  readonly bands: boolean;
  /** The part of the axis that is shown; null for all of it. */
  readonly zoom?: readonly [number, number] | null;
}

/** The lines of a metric. */
export function linesOf(
  store: Store,
  metric: string,
  runs: readonly PlacedRun[],
  { axis, smooth, bands, zoom = null }: LineOptions,
): Line[] {
  const made = runs.flatMap(({ row }) => {
    const curve = store.curveIn(storedAxis(axis), metric, row.id, zoom);
    if (curve === undefined || curve === null || curve.x.length === 0) return [];
    const scale = axis === 'flops' ? (row.flopsPerToken ?? NaN) : 1;
    return Number.isNaN(scale) ? [] : [{ row, data: lineOf(curve, scale, bands ? Math.max(smooth, 1e-9) : smooth) }];
  });
  const single = ({ row, data }: (typeof made)[number]): Line => ({
    id: row.id,
    label: row.name,
    ...store.style(row.design),
    ...data,
    band: null,
  });
  if (!bands) return made.map(single);
  const designs = new Map<string, (typeof made)[number][]>();
  for (const one of made) designs.set(one.row.design, [...(designs.get(one.row.design) ?? []), one]);
  return [...designs].map(([design, own]) => {
    const first = own[0];
    if (first !== undefined && own.length === 1) return { ...single(first), label: design };
    return {
      id: `design ${design}`,
      label: `${design} (${own.length} seeds)`,
      ...store.style(design),
      ...bandOf(own.map(({ data }) => data)),
    };
  });
}
