/** Maps of layers and heads side by side, at one number of tokens; a click on a head shows its score over tokens. */
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { RunHeadsAnswer, TracedCheckpoint } from '../../src/dashboard/api.js';
import { Chart } from '../lib/chart.js';
import { count, num } from '../lib/format.js';
import { HeadGrid, HeadScale, RETRIEVAL } from '../lib/head-grid.js';
import type { Line } from '../lib/lines.js';
import { useStore, type PlacedRun, type Store } from '../lib/store.js';

/** Runs whose maps are shown at once. */
const MOST_MAPS = 24;

/** The view of heads. */
export function Heads() {
  const store = useStore();
  const shown = store.shown.slice(0, MOST_MAPS);
  const { heads, isLoading } = useHeads(store, shown);
  const traced = shown.flatMap((run) => {
    const own = heads.get(run.row.id);
    return own !== undefined && own.checkpoints.length > 0 ? [{ run, own }] : [];
  });
  const places = useMemo(
    () => [...new Set(traced.flatMap(({ own }) => own.checkpoints.map((c) => c.tokens)))].sort((a, b) => a - b),
    [traced.length, heads],
  );
  const asked = Number(store.param('t', String(places.length - 1)));
  const place = Math.min(places.length - 1, Math.max(0, Number.isFinite(asked) ? Math.round(asked) : 0));
  const tokens = places[place] ?? 0;
  const [playing, setPlaying] = useState(false);
  usePlaying(playing, () => store.set({ t: String((place + 1) % Math.max(1, places.length)) }), place);
  const pick = store.param('head');
  const problems = [...heads.values()].flatMap(({ problem }) => problem ?? []);
  return (
    <>
      <div class="tools">
        <button
          type="button"
          onClick={() => setPlaying(!playing)}
          disabled={places.length < 2}
          aria-label={playing ? 'Pause' : 'Play'}
        >
          {playing ? '❚❚' : '▶'}
        </button>
        <label class="slider grow">
          tokens{' '}
          <input
            type="range"
            min="0"
            max={Math.max(0, places.length - 1)}
            value={place}
            aria-label="Checkpoint"
            aria-valuetext={`${count(tokens)} tokens`}
            onInput={(event) => store.set({ t: event.currentTarget.value })}
          />
        </label>
        <output>{`${count(tokens)} tokens`}</output>
        <HeadScale />
      </div>
      {problems.slice(0, 3).map((problem) => (
        <p key={problem} class="note">
          {problem}
        </p>
      ))}
      {store.shown.length > MOST_MAPS && (
        <p class="note">{`Of ${store.shown.length} runs the first ${MOST_MAPS} are looked at; filter for others.`}</p>
      )}
      {traced.length === 0 && (
        <p class="soft pad">
          {isLoading
            ? 'Loading …'
            : 'No heads are traced in these runs. Runs on data with needles trace them at checkpoints; longsight trace does it afterwards.'}
        </p>
      )}
      {pick !== '' && traced.length > 0 && <HeadCurves store={store} traced={traced} pick={pick} />}
      <div class="maps-grid">
        {traced.map(({ run, own }) => (
          <HeadMap key={run.row.id} store={store} run={run} own={own} tokens={tokens} pick={pick} />
        ))}
      </div>
      {traced.length > 0 && (
        <p class="soft pad">
          {`Each square is an attention head: one row for each layer, the first at the bottom. The retrieval-head score is the share of its attention that a head puts on the fact that a question asks for (the needle), from 0 to 1. From ${RETRIEVAL} on a head has an outline and counts as a retrieval head. A click on a square, or Enter, shows its score over the training.`}
        </p>
      )}
    </>
  );
}

function useHeads(
  store: Store,
  runs: readonly PlacedRun[],
): { readonly heads: ReadonlyMap<string, RunHeadsAnswer>; readonly isLoading: boolean } {
  const [heads, setHeads] = useState<ReadonlyMap<string, RunHeadsAnswer>>(new Map());
  const [isLoading, setLoading] = useState(true);
  const key = runs.map(({ row }) => row.id).join(' ');
  useEffect(() => {
    const current = { asked: true };
    void Promise.all(
      runs.map(async ({ row }): Promise<RunHeadsAnswer> => {
        try {
          return await store.source.heads(row.id);
        } catch (error) {
          return {
            run: row.id,
            labels: [],
            checkpoints: [],
            problem: `${row.name}: ${error instanceof Error ? error.message : String(error)}`,
          };
        }
      }),
    ).then((all) => {
      if (!current.asked) return;
      setHeads(new Map(all.map((one) => [one.run, one])));
      setLoading(false);
    });
    return () => {
      current.asked = false;
    };
  }, [key, store.recordsVersion]);
  return { heads, isLoading };
}

function usePlaying(playing: boolean, step: () => void, place: number): void {
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setTimeout(step, 700);
    return () => clearTimeout(timer);
  }, [playing, place]);
}

/** The last checkpoint up to so many tokens; null where the run had none then. */
function checkpointAt(own: RunHeadsAnswer, tokens: number): TracedCheckpoint | null {
  return own.checkpoints.filter((c) => c.tokens <= tokens).at(-1) ?? null;
}

function HeadMap({
  store,
  run,
  own,
  tokens,
  pick,
}: {
  readonly store: Store;
  readonly run: PlacedRun;
  readonly own: RunHeadsAnswer;
  readonly tokens: number;
  readonly pick: string;
}) {
  const checkpoint = checkpointAt(own, tokens);
  const rows = checkpoint?.scores ?? [];
  const strongest = Math.max(0, ...rows.flat());
  return (
    <figure class="card map">
      <h3>
        <span class="swatch" style={{ background: store.style(run.row.design).color }} /> {run.row.name}
      </h3>
      <HeadGrid
        scores={rows}
        labels={own.labels}
        picked={pick}
        onPick={(head) => store.set({ head: pick === head ? '' : head })}
        name={`Heads of ${run.row.name} after ${count(checkpoint?.tokens ?? 0)} tokens; the strongest scores ${num(strongest)}`}
      />
      <figcaption>
        {checkpoint === null
          ? 'not traced yet at these tokens'
          : `${count(checkpoint.tokens)} tokens; strongest ${num(strongest)}`}
      </figcaption>
    </figure>
  );
}

function HeadCurves({
  store,
  traced,
  pick,
}: {
  readonly store: Store;
  readonly traced: readonly { readonly run: PlacedRun; readonly own: RunHeadsAnswer }[];
  readonly pick: string;
}) {
  const [layer = 0, head = 0] = pick.split(':').map(Number);
  const lines = useMemo(
    () =>
      traced.flatMap(({ run, own }): Line[] => {
        const points = own.checkpoints.flatMap((c) => {
          const score = c.scores[layer]?.[head];
          return score === undefined ? [] : [{ x: c.tokens, y: score }];
        });
        if (points.length === 0) return [];
        return [
          {
            id: run.row.id,
            label: run.row.name,
            ...store.style(run.row.design),
            x: Float64Array.from(points, (p) => p.x),
            y: Float64Array.from(points, (p) => p.y),
            band: null,
          },
        ];
      }),
    [traced, pick],
  );
  return (
    <section
      class="card wide-card"
      aria-live="polite"
      aria-label={`Score of layer ${layer}, head ${head}, over tokens`}
    >
      <h3>
        {`Layer ${layer}, head ${head}, over tokens`}
        <button type="button" class="close" aria-label="Close" onClick={() => store.set({ head: '' })}>
          ×
        </button>
      </h3>
      {lines.length === 0 ? (
        <p class="soft empty">None of these runs has this head.</p>
      ) : (
        <Chart
          title={`Score of layer ${layer}, head ${head}`}
          xLabel="tokens"
          lines={lines}
          logX={false}
          logY={false}
          zoom={null}
          onZoom={() => undefined}
          threshold={RETRIEVAL}
          height={200}
        />
      )}
    </section>
  );
}
