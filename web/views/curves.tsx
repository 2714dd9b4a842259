/** Curves of any metrics of the runs that are shown, one chart a metric. */
import { useMemo, useState } from 'preact/hooks';
import { Chart } from '../lib/chart.js';
import { AXES, axisOf, linesOf, storedAxis, useCurves, useDetail, type AxisName } from '../lib/series.js';
import { MOST_DRAWN, useStore, type PlacedRun, type Store } from '../lib/store.js';
import { Legend } from './legend.js';
import { MetricName } from './metric-name.js';

const FIRST_METRICS = [
  'train/loss',
  'eval/loss',
  'eval/recall/all',
  'eval/ar/far/accuracy',
  'train/lr',
  'train/grad_norm',
  'train/tok_per_sec',
];

/** The metrics that the URL asks for, or else those that are looked at first. */
function chosenMetrics(store: Store): string[] {
  const all = store.data?.metrics ?? [];
  const asked = store
    .param('m')
    .split(',')
    .filter((name) => name !== '');
  if (asked.length > 0) return asked.map(decodeURIComponent);
  const first = FIRST_METRICS.filter((name) => all.includes(name)).slice(0, 6);
  return first.length > 0 ? first : all.slice(0, 4);
}

/** The part of the axis that the URL asks for; null for all of it. */
function zoomOf(store: Store): readonly [number, number] | null {
  const [from, to] = [Number(store.param('from')), Number(store.param('to'))];
  return store.param('from') !== '' && from < to ? [from, to] : null;
}

/** The view of curves. */
export function Curves() {
  const store = useStore();
  const metrics = chosenMetrics(store);
  const shown = store.shown.slice(0, MOST_DRAWN);
  const axis = axisOf(store.param('x'));
  const { version, problem, isWhole } = useCurves(store, storedAxis(axis), metrics, shown);
  const zoom = zoomOf(store);
  const detail = useDetail(store, axis, metrics, shown, zoom, version);
  const sampled = shown.filter(({ row }) => isSampled(store, axis, metrics, row.id)).length;
  const choose = (names: readonly string[]) => store.set({ m: names.map(encodeURIComponent).join(',') });
  return (
    <>
      <Settings store={store} metrics={metrics} onChoose={choose} />
      <Legend store={store} runs={store.matching} />
      {problem !== null && <p class="note">{`Curves could not be loaded: ${problem}`}</p>}
      {store.shown.length > shown.length && (
        <p class="note">{`${shown.length} of ${store.shown.length} runs are drawn; filter for fewer.`}</p>
      )}
      {sampled > 0 && (
        <p
          class="note"
          role="status"
        >{`Of ${sampled} ${sampled === 1 ? 'run' : 'runs'} a few points are drawn until the file is read.`}</p>
      )}
      {shown.length === 0 && <p class="soft pad">No run is shown: change the filter, or draw all.</p>}
      <div class="charts">
        {metrics.map((metric) => (
          <MetricChart
            key={metric}
            store={store}
            metric={metric}
            runs={shown}
            axis={axis}
            version={version}
            isWhole={isWhole}
            detail={detail}
            onClose={() => choose(metrics.filter((name) => name !== metric))}
          />
        ))}
      </div>
    </>
  );
}

const isSampled = (store: Store, axis: AxisName, metrics: readonly string[], run: string): boolean =>
  metrics.some((metric) => store.curve(storedAxis(axis), metric, run)?.sampled === true);

function Settings({
  store,
  metrics,
  onChoose,
}: {
  readonly store: Store;
  readonly metrics: readonly string[];
  readonly onChoose: (names: readonly string[]) => void;
}) {
  const [text, setText] = useState('');
  const all = store.data?.metrics ?? [];
  const add = (name: string) => {
    if (!all.includes(name)) return false;
    if (!metrics.includes(name)) onChoose([...metrics, name]);
    return true;
  };
  const flag = (name: string, label: string, isOn = store.param(name) === '1', off = '') => (
    <label>
      <input type="checkbox" checked={isOn} onChange={() => store.set({ [name]: isOn ? off : '1' })} /> {label}
    </label>
  );
  const smooth = Number(store.param('smooth', '0')) || 0;
  return (
    <div class="tools">
      <input
        type="search"
        class="metric"
        list="metrics"
        placeholder="Add a metric …"
        aria-label="Add a metric"
        value={text}
        onInput={(event) => setText(add(event.currentTarget.value) ? '' : event.currentTarget.value)}
      />
      <datalist id="metrics">
        {all
          .filter((name) => !metrics.includes(name))
          .map((name) => (
            <option key={name} value={name} label={store.titleOf(name)} />
          ))}
      </datalist>
      <label>
        over{' '}
        <select
          value={axisOf(store.param('x'))}
          onChange={(event) => store.set({ x: event.currentTarget.value, from: '', to: '' })}
        >
          {Object.entries(AXES).map(([name, title]) => (
            <option key={name} value={name}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {flag('logx', 'log x')}
      {flag('logy', 'log y')}
      {flag('bands', 'seeds as bands')}
      <label class="slider">
        smooth{' '}
        <input
          type="range"
          min="0"
          max="0.98"
          step="0.02"
          value={smooth}
          aria-valuetext={String(smooth)}
          onInput={(event) => store.set({ smooth: event.currentTarget.value === '0' ? '' : event.currentTarget.value })}
        />
      </label>
      <label>
        threshold{' '}
        <input
          type="number"
          step="any"
          class="short"
          value={store.param('y')}
          onInput={(event) => store.set({ y: event.currentTarget.value })}
        />
      </label>
      {store.param('from') !== '' && (
        <button type="button" onClick={() => store.set({ from: '', to: '' })}>
          Show all of x
        </button>
      )}
    </div>
  );
}

function MetricChart({
  store,
  metric,
  runs,
  axis,
  version,
  isWhole,
  detail,
  onClose,
}: {
  readonly store: Store;
  readonly metric: string;
  readonly runs: readonly PlacedRun[];
  readonly axis: AxisName;
  readonly version: number;
  /** Whether there is no more to come. */
  readonly isWhole: boolean;
  readonly detail: number;
  readonly onClose: () => void;
}) {
  const smooth = Math.min(0.99, Math.max(0, Number(store.param('smooth', '0')) || 0));
  const bands = store.param('bands') === '1';
  const zoom = zoomOf(store);
  const ids = runs.map(({ row }) => row.id).join(' ');
  const lines = useMemo(
    () => linesOf(store, metric, runs, { axis, smooth, bands, zoom }),
    [metric, ids, axis, smooth, bands, version, detail, zoom?.[0], zoom?.[1]],
  );
  const threshold = store.param('y') === '' ? null : Number(store.param('y'));
  return (
    <section class="card">
      <h3>
        <MetricName store={store} metric={metric} />
        <button type="button" class="close" aria-label={`Remove ${metric}`} onClick={onClose}>
          ×
        </button>
      </h3>
      {lines.length === 0 ? (
        <p class="soft empty">{isWhole ? 'None of these runs has it.' : 'Loading …'}</p>
      ) : (
        <Chart
          title={store.titleOf(metric)}
          xLabel={AXES[axis]}
          lines={lines}
          logX={store.param('logx') === '1'}
          logY={store.param('logy') === '1'}
          zoom={zoom}
          onZoom={(range) =>
            store.set(
              range === null
                ? { from: '', to: '' }
                : { from: String(Number(range[0].toPrecision(6))), to: String(Number(range[1].toPrecision(6))) },
            )
          }
          threshold={threshold !== null && Number.isFinite(threshold) ? threshold : null}
          height={260}
          onPick={(id) => id.startsWith('design ') || store.go('run', { id })}
        />
      )}
    </section>
  );
}
