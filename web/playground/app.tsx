/** The page of the playground. */
import { useEffect, useLayoutEffect, useMemo, useReducer, useState } from 'preact/hooks';
import { MEASURE_EVERY, RECALL_BINS, TOTAL_STEPS, type PlaygroundRun } from '../../src/playground/design.js';
import type { MeasuredPoint } from '../../src/playground/protocol.js';
import { Chart, type ChartProps } from '../lib/chart.js';
import { HeadGrid, HeadScale, RETRIEVAL } from '../lib/head-grid.js';
import { lineOf, type Line } from '../lib/lines.js';
import { ThemeButton } from '../lib/theme.js';
import { DesignCard } from './controls.js';
import { Guide } from './guide.js';
import { parseRuns, printRuns } from './link.js';
import type { Lane } from './lane.js';
import { Race } from './race.js';
import { farOf, headline, REACHED, wordsOf } from './words.js';

/** The least distance that counts as far. */
const FAR_FROM = (RECALL_BINS.at(-2) ?? 0) + 1;
/** How the two designs are drawn, apart in color and in dashes. */
const STYLES = [
  { name: 'A', color: 'var(--c0)', dash: [] },
  { name: 'B', color: 'var(--c1)', dash: [7, 4] },
] as const;
/** The share of the last value that the next one keeps, in the curve of the loss. */
const SMOOTH = 0.8;

type Pair<T> = readonly [T, T];

/** The whole page. */
export function App() {
  const race = useRace();
  const { lanes } = race;
  /** The measurement that is looked at; null for the newest. */
  const [place, setPlace] = useState<number | null>(null);
  const steps = useMemo(
    () => [...new Set(lanes.flatMap(({ measured }) => measured.map(({ step }) => step)))].sort((a, b) => a - b),
    [lanes[0].measured, lanes[1].measured],
  );
  const at = steps[Math.min(place ?? steps.length - 1, steps.length - 1)] ?? 0;
  const restart = (runs: Pair<PlaygroundRun>) => {
    setPlace(null);
    history.replaceState(null, '', printRuns(runs));
    race.restart(runs);
  };
  const change = (index: 0 | 1, run: PlaygroundRun) => restart(index === 0 ? [run, lanes[1].run] : [lanes[0].run, run]);
  useKeys(race);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event)}>
        Skip to the race
      </a>
      <header class="bar">
        <strong class="brand">Longsight playground</strong>
        <span class="spring" />
        <span class="soft status">{runtimeOf(lanes[0])}</span>
        <ThemeButton />
      </header>
      <main id="main" tabIndex={-1} class="playground">
        <h1>What does a larger window do to a language model that learns?</h1>
        <p class="intro">
          Two small language models learn the same task here, in your browser. As the page begins they differ in one
          thing: how many tokens back most of their layers see, which is called the window. Press Race and watch which
          one first learns to find what stands far back.
        </p>
        <div class="columns">
          <Guide lanes={lanes} farFrom={FAR_FROM} />
          <div class="stage">
            <div class="designs">
              {STYLES.map(({ name, color, dash }, i) => (
                <DesignCard
                  key={name}
                  {...{ name, color, dash }}
                  lane={laneOf(lanes, i)}
                  onChange={(run) => change(i === 0 ? 0 : 1, run)}
                />
              ))}
            </div>
            <p class="soft design-note">
              The code beside each name lists the layers in order; swa is sliding-window attention. A change of a model
              or of the seed starts the race over.
            </p>
            <Transport race={race} onRestart={restart} />
            <h2>What they have learned</h2>
            <p class="headline" role="status" aria-live="polite">
              {headline(lanes, FAR_FROM)}
            </p>
            <Scrubber steps={steps} place={place} at={at} onPlace={setPlace} />
            <LineKey lanes={lanes} />
            <Figures lanes={lanes} at={at} isNewest={place === null} />
          </div>
        </div>
      </main>
    </>
  );
}

const laneOf = (lanes: Pair<Lane>, index: number): Lane => (index === 0 ? lanes[0] : lanes[1]);

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

const runtimeOf = ({ library, relaxedSimd, threads }: Lane): string =>
  library === ''
    ? 'loading onnxruntime …'
    : `computed in this browser by ${library}, WebAssembly with${relaxedSimd ? '' : 'out'} relaxed SIMD, 2 × ${threads} ${threads === 1 ? 'thread' : 'threads'}`;

function useRace(): Race {
  const [, change] = useReducer((n: number) => n + 1, 0);
  const [race] = useState(() => new Race(parseRuns(location.hash)));
  useEffect(() => race.listen(() => change(undefined)), [race]);
  return race;
}

/** The space bar races and pauses, `s` takes one step, unless something that takes keys has the focus. */
function useKeys(race: Race): void {
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target instanceof Element ? event.target : null;
      if (
        target?.closest('input, select, button, summary, a') != null ||
        event.ctrlKey ||
        event.metaKey ||
        event.altKey
      )
        return;
      if (event.key === ' ') {
        event.preventDefault();
        if (race.isReady) race.toggle();
      } else if (event.key === 's') race.single();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [race]);
}

function Transport({
  race,
  onRestart,
}: {
  readonly race: Race;
  readonly onRestart: (runs: Pair<PlaygroundRun>) => void;
}) {
  const { lanes, isRunning, isReady, isResting, isOver } = race;
  const [a, b] = lanes;
  const seed = (value: string) => {
    const next = Math.floor(Number(value));
    if (Number.isFinite(next) && next >= 0 && next < 2 ** 31)
      onRestart([
        { ...a.run, seed: next },
        { ...b.run, seed: next },
      ]);
  };
  return (
    <div class="tools transport" role="group" aria-label="Training">
      <button type="button" class="primary" disabled={!isReady || isOver} onClick={() => race.toggle()}>
        {isRunning ? '❚❚ Pause' : a.step === 0 ? '▶ Race' : '▶ Go on'}
      </button>
      <button type="button" disabled={!isResting || isRunning || isOver} onClick={() => race.single()}>
        Step
      </button>
      <button type="button" onClick={() => onRestart([a.run, b.run])}>
        Start over
      </button>
      <label>
        seed{' '}
        <input
          type="number"
          class="short"
          min="0"
          max="999"
          step="1"
          value={a.run.seed}
          onChange={({ currentTarget }) => seed(currentTarget.value)}
        />
      </label>
      <span class="soft">{`step ${Math.min(a.step, b.step)} of ${TOTAL_STEPS}${timeLeft(lanes)}`}</span>
      <span class="soft keys-hint">space: race or pause, s: one step</span>
    </div>
  );
}

/** What the rest of the race takes at the present speed; empty while that is unknown. */
function timeLeft(lanes: Pair<Lane>): string {
  const slowest = Math.max(...lanes.map(({ step, milliseconds }) => (TOTAL_STEPS - step) * (milliseconds ?? NaN)));
  if (Number.isNaN(slowest) || slowest <= 0) return '';
  return `, about ${Math.ceil(slowest / 60_000)} min left`;
}

/** Which line is whose, for all charts. */
function LineKey({ lanes }: { readonly lanes: Pair<Lane> }) {
  return (
    <p class="line-key">
      {STYLES.map(({ name, color, dash }, i) => (
        <span key={name}>
          <svg width="26" height="10" aria-hidden="true">
            <line x1="0" x2="26" y1="5" y2="5" stroke={color} stroke-width="3" stroke-dasharray={dash.join(',')} />
          </svg>
          {`${name}: ${wordsOf(laneOf(lanes, i).run)}`}
        </span>
      ))}
    </p>
  );
}

function Scrubber(props: {
  readonly steps: readonly number[];
  readonly place: number | null;
  readonly at: number;
  readonly onPlace: (place: number | null) => void;
}) {
  const { steps, place, at, onPlace } = props;
  const last = Math.max(0, steps.length - 1);
  return (
    <div class="tools flat">
      <label class="slider grow">
        show step{' '}
        <input
          type="range"
          min="0"
          max={last}
          step="1"
          value={place ?? last}
          aria-label="Step that is looked at"
          aria-valuetext={`step ${at}`}
          onInput={({ currentTarget }) => {
            const next = Number(currentTarget.value);
            onPlace(next >= last ? null : next);
          }}
        />
      </label>
      <output>{`step ${at}`}</output>
      <button type="button" disabled={place === null} onClick={() => onPlace(null)}>
        Newest
      </button>
    </div>
  );
}

const measuredAt = ({ measured }: Lane, step: number): MeasuredPoint | null =>
  measured.filter((point) => point.step <= step).at(-1) ?? null;

function lineFor(index: number, lane: Lane, x: readonly number[], y: readonly (number | null)[], smooth = 0): Line {
  const { name, color, dash } = STYLES[index === 0 ? 0 : 1];
  const values = Float32Array.from(y, (value) => value ?? NaN);
  const curve = {
    run: name,
    metric: '',
    perBucket: 1,
    end: x.at(-1) ?? 0,
    most: values.length,
    sampled: false,
    low: values,
    high: values,
    mean: values,
  };
  const drawn = lineOf({ ...curve, x: Float64Array.from(x) }, 1, smooth);
  return { id: name, label: `${name}: ${wordsOf(lane.run)}`, color, dash, band: null, ...drawn };
}

const QUIET: Pick<ChartProps, 'logX' | 'logY' | 'zoom' | 'onZoom'> = {
  ...{ logX: false, logY: false, zoom: null },
  onZoom: () => undefined,
};

function Figures({
  lanes,
  at,
  isNewest,
}: {
  readonly lanes: Pair<Lane>;
  readonly at: number;
  readonly isNewest: boolean;
}) {
  const { far, loss } = useMemo(
    () => ({
      far: lanes.map((lane, i) =>
        lineFor(
          i,
          lane,
          lane.measured.map(({ step }) => step),
          lane.measured.map(farOf),
        ),
      ),
      loss: lanes.map((lane, i) =>
        lineFor(
          i,
          lane,
          lane.steps.map(({ step }) => step),
          lane.steps.map((point) => point.loss),
          SMOOTH,
        ),
      ),
    }),
    [lanes],
  );
  const byDistance = useMemo(
    () =>
      lanes.map((lane, i) => {
        const recall = measuredAt(lane, at)?.recall ?? [];
        return lineFor(
          i,
          lane,
          recall.map(({ from, to }) => Math.sqrt(from * to)),
          recall.map(({ probability }) => probability),
        );
      }),
    [lanes, at],
  );
  const mark = isNewest ? null : at;
  // From the beginning, and not less than the first measurements.
  const shown: readonly [number, number] = [0, Math.max(2 * MEASURE_EVERY, lanes[0].step, lanes[1].step)];
  const farTitle = `Far recall: numbers from ${FAR_FROM} to ${RECALL_BINS.at(-1)} tokens back`;
  return (
    <div class="charts race">
      <section class="card hero">
        <h3>{farTitle}</h3>
        <Chart
          {...QUIET}
          zoom={shown}
          title={farTitle}
          xLabel="steps"
          lines={far}
          threshold={REACHED}
          domain={[0, 1]}
          mark={mark}
          height={260}
        />
        <p class="soft">
          Recall, the probability of the right number: 0 is never, 1 is certain. The thin gray line is one half; a model
          that is above it counts here as one that knows.
        </p>
      </section>
      <section class="card">
        <h3>{`Recall by distance, at step ${at}`}</h3>
        <Chart
          {...QUIET}
          title={`Recall by distance at step ${at}`}
          xLabel="tokens since the letter was last seen"
          lines={byDistance}
          logX={true}
          threshold={REACHED}
          domain={[0, 1]}
          height={220}
        />
        <p class="soft">
          {`How recall falls with the distance to the letter's earlier place. Distances are taken together in groups (${binWords()} tokens); lines bend at the middle of each. Toward the right distances lie closer together.`}
        </p>
      </section>
      <section class="card">
        <h3>Loss of each step</h3>
        <Chart
          {...QUIET}
          zoom={shown}
          title="Loss"
          xLabel="steps"
          lines={loss}
          threshold={null}
          mark={mark}
          height={220}
        />
        <p class="soft">
          How wrong the guesses are: minus the logarithm of the probability of each right token, on average (in nats,
          the unit of natural logarithms), smoothed. Lower is better. It also falls while only near numbers are learned.
        </p>
      </section>
      <p class="soft hero">
        {`The maps of heads: each square is a head, one row for each layer, the first at the bottom. Layers without attention have none. The retrieval-head score, from 0 to 1, is the share of its attention that a head puts on the right number, in test texts where that stands far back. From ${RETRIEVAL} on a head has an outline and counts as a retrieval head. A head may look at the right place before the model can use what is there: far recall may rise later.`}
      </p>
      {STYLES.map(({ name, color }, i) => {
        const lane = laneOf(lanes, i);
        const scores = measuredAt(lane, at)?.heads ?? [];
        const strongest = Math.max(0, ...scores.flat());
        return (
          <section key={name} class="card">
            <h3>
              <span class="swatch" style={{ background: color }} /> {`Heads of ${name}, at step ${at}`}
            </h3>
            <HeadGrid
              scores={scores}
              labels={lane.labels}
              name={`Heads of model ${name} at step ${at}; the strongest puts ${Math.round(100 * strongest)} % of its attention on the number far back`}
            />
            <p class="soft">
              {scores.length === 0 ? 'Not measured yet.' : `The strongest head has a score of ${strongest.toFixed(2)}.`}{' '}
              <HeadScale />
            </p>
          </section>
        );
      })}
    </div>
  );
}

const binWords = (): string => RECALL_BINS.map((to, i) => `${(RECALL_BINS[i - 1] ?? 0) + 1} to ${to}`).join(', ');
