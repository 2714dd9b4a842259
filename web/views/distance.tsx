/** Recall and associative recall by distance, at one number of tokens: how far back runs reach. */
import { useMemo } from 'preact/hooks';
import { Chart } from '../lib/chart.js';
import { count } from '../lib/format.js';
import { valueAt, type Line } from '../lib/lines.js';
import { useCurves } from '../lib/series.js';
import { useStore, type PlacedRun, type Store } from '../lib/store.js';
import { Legend } from './legend.js';

const MOST_RUNS = 200;

/** What is measured by distance: the beginning of its metrics' names, and a title. */
const KINDS = [
  ['eval/ar/accuracy/', 'Associative recall, top-1 accuracy'],
  ['eval/ar/loss/', 'Associative recall, loss (nats)'],
  ['eval/recall/', 'Recall, probability of the right value'],
] as const;

interface Bin {
  readonly metric: string;
  readonly from: number;
  readonly to: number;
}

function binsOf(metrics: readonly string[], prefix: string): Bin[] {
  const bins = metrics.flatMap((metric) => {
    const match = metric.startsWith(prefix) ? /^(\d+)-(\d+)$/.exec(metric.slice(prefix.length)) : null;
    return match === null ? [] : [{ metric, from: Number(match[1]), to: Number(match[2]) }];
  });
  return bins.sort((a, b) => a.from - b.from);
}

/** The view of recall by distance. */
export function Distance() {
  const store = useStore();
  const runs = store.shown.slice(0, MOST_RUNS);
  const kinds = KINDS.map(([prefix, title]) => ({ title, bins: binsOf(store.data?.metrics ?? [], prefix) })).filter(
    ({ bins }) => bins.length > 0,
  );
  const metrics = kinds.flatMap(({ bins }) => bins.map(({ metric }) => metric));
  const { version, problem, isWhole } = useCurves(store, 'tokens', metrics, runs);
  const ids = runs.map(({ row }) => row.id).join(' ');
  const most = useMemo(() => lastTokens(store, metrics, runs), [ids, version]);
  const share = Math.min(1, Math.max(0, Number(store.param('t', '1')) || 0));
  const tokens = share * most;
  const bands = store.param('bands', '1') === '1';
  return (
    <>
      <div class="tools">
        <label class="slider grow">
          tokens{' '}
          <input
            type="range"
            min="0"
            max="1"
            step="0.005"
            value={share}
            aria-label="Tokens"
            aria-valuetext={`${count(tokens)} tokens`}
            onInput={(event) => store.set({ t: event.currentTarget.value })}
          />
        </label>
        <output>{`${count(tokens)} tokens`}</output>
        <label>
          <input type="checkbox" checked={bands} onChange={() => store.set({ bands: bands ? '0' : '1' })} /> seeds as
          bands
        </label>
      </div>
      <Legend store={store} runs={store.matching} />
      {problem !== null && <p class="note">{problem}</p>}
      {kinds.length > 0 && store.shown.length > runs.length && (
        <p class="note">{`${runs.length} of ${store.shown.length} runs are drawn; filter for others.`}</p>
      )}
      {kinds.length === 0 && (
        <p class="soft pad">
          These runs measure nothing by distance. Runs on synthetic recall do, and runs on text with eval.ar.
        </p>
      )}
      <div class="charts">
        {kinds.map(({ title, bins }) => {
          const lines = linesAt(store, bins, runs, tokens, bands);
          return (
            <section key={title} class="card">
              <h3>{title}</h3>
              {lines.length === 0 ? (
                <p class="soft empty">{isWhole ? 'None of these runs has it.' : 'Loading …'}</p>
              ) : (
                <Chart
                  title={title}
                  xLabel="distance (tokens)"
                  lines={lines}
                  logX={true}
                  logY={false}
                  zoom={null}
                  onZoom={() => undefined}
                  threshold={null}
                  height={300}
                />
              )}
            </section>
          );
        })}
      </div>
      {kinds.length > 0 && (
        <p class="soft pad">
          Recall is the probability that a model gives to the right value when a key comes back; the distance counts the
          tokens since the key was last used. Distances are measured in groups, and lines bend at the middle of each. A
          run that has not come this far yet is drawn at its last evaluation.
        </p>
      )}
    </>
  );
}

function lastTokens(store: Store, metrics: readonly string[], runs: readonly PlacedRun[]): number {
  let most = 0;
  for (const { row } of runs)
    for (const metric of metrics) {
      const x = store.curve('tokens', metric, row.id)?.x;
      most = Math.max(most, x?.[x.length - 1] ?? 0);
    }
  return most;
}

function linesAt(
  store: Store,
  bins: readonly Bin[],
  runs: readonly PlacedRun[],
  tokens: number,
  bands: boolean,
): Line[] {
  const made = runs.flatMap(({ row }) => {
    const points = bins.flatMap(({ metric, from, to }) => {
      const curve = store.curve('tokens', metric, row.id);
      if (curve === undefined || curve === null || curve.x.length === 0) return [];
      const data = { x: curve.x, y: curve.mean };
      const last = curve.x[curve.x.length - 1] ?? 0;
      return [{ x: Math.sqrt(from * to), y: valueAt(data, Math.max(curve.x[0] ?? 0, Math.min(tokens, last))) }];
    });
    return points.length === 0
      ? []
      : [{ row, x: Float64Array.from(points, (p) => p.x), y: Float64Array.from(points, (p) => p.y) }];
  });
  if (!bands)
    return made.map(({ row, x, y }) => ({ id: row.id, label: row.name, ...store.style(row.design), x, y, band: null }));
  const designs = new Map<string, typeof made>();
  for (const one of made) designs.set(one.row.design, [...(designs.get(one.row.design) ?? []), one]);
  return [...designs].map(([design, own]) => {
    const x = own[0]?.x ?? new Float64Array();
    const at = (pick: (values: number[]) => number) =>
      x.map((_, i) => pick(own.map(({ y }) => y[i] ?? NaN).filter((v) => !Number.isNaN(v))));
    const y = at((values) => values.reduce((a, b) => a + b, 0) / values.length);
    const band = own.length === 1 ? null : { low: at((v) => Math.min(...v)), high: at((v) => Math.max(...v)) };
    return {
      id: `design ${design}`,
      label: own.length === 1 ? design : `${design} (${own.length} seeds)`,
      ...store.style(design),
      x,
      y,
      band,
    };
  });
}
