/** The frame of the page: views, filter, theme, keys, and whether the server is there. */
import type { ComponentType } from 'preact';
import { useEffect, useLayoutEffect, useState } from 'preact/hooks';
import { VIEWS, printRoute, toView, type View } from '../lib/route.js';
import { useStore, type Store } from '../lib/store.js';
import { ThemeButton } from '../lib/theme.js';
import { Compare } from './compare.js';
import { Curves } from './curves.js';
import { Distance } from './distance.js';
import { Fits, Mechanism, Needles } from './figures.js';
import { Filter } from './filter.js';
import { Heads } from './heads.js';
import { RunPage } from './run.js';
import { Runs } from './runs.js';

interface ViewEntry {
  readonly title: string;
  readonly component: ComponentType;
  /** Whether the filter says which runs it shows. */
  readonly filtered: boolean;
}

const TABLE: Readonly<Record<View, ViewEntry>> = {
  runs: { title: 'Runs', component: Runs, filtered: true },
  curves: { title: 'Curves', component: Curves, filtered: true },
  heads: { title: 'Heads', component: Heads, filtered: true },
  distance: { title: 'Distance', component: Distance, filtered: true },
  needles: { title: 'Needles', component: Needles, filtered: false },
  mechanism: { title: 'Mechanism', component: Mechanism, filtered: false },
  fits: { title: 'Fits', component: Fits, filtered: false },
  compare: { title: 'Compare', component: Compare, filtered: false },
  run: { title: 'Run', component: RunPage, filtered: false },
};

/** The whole page. */
export function App() {
  const store = useStore();
  const [help, setHelp] = useState(false);
  useKeys(store, () => setHelp((is) => !is));
  const { view } = store.route;
  const { component: Shown, filtered, title } = TABLE[view];
  useEffect(() => {
    document.querySelector('nav a[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
    document.title = `${title} · Longsight`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event)}>
        Skip to content
      </a>
      <header class="bar">
        <strong class="brand">Longsight</strong>
        <nav aria-label="Views">
          {VIEWS.filter((name) => name !== 'run' || view === 'run').map((name) => (
            <a
              key={name}
              href={printRoute(toView(store.route, name, name === 'run' ? { id: store.param('id') } : {}))}
              aria-current={name === view ? 'page' : undefined}
            >
              {TABLE[name].title}
            </a>
          ))}
        </nav>
        <span class="spring" />
        <Status store={store} />
        <button
          type="button"
          class="quiet"
          onClick={() => setHelp(true)}
          aria-label="Keys and filters"
          title="Keys and filters (?)"
        >
          ?
        </button>
        <ThemeButton />
      </header>
      {filtered && store.data !== null && <Filter />}
      <main id="main" tabIndex={-1}>
        {store.data === null ? (
          <Loading store={store} />
        ) : store.data.runs.length === 0 && store.data.read.done < store.data.read.all ? (
          <p class="soft pad">{`Reading ${store.data.read.all} folders …`}</p>
        ) : store.data.runs.length === 0 ? (
          <Empty store={store} />
        ) : (
          <Shown />
        )}
      </main>
      {help && <Help onClose={() => setHelp(false)} />}
    </>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Loading({ store }: { readonly store: Store }) {
  return store.problem === null ? (
    <p class="soft pad">Loading …</p>
  ) : (
    <p class="note">{`The server does not answer: ${store.problem}`}</p>
  );
}

function Empty({ store }: { readonly store: Store }) {
  return (
    <div class="pad">
      <h2>No runs yet</h2>
      <p>
        {`There are no run folders below ${store.data?.roots.join(', ') ?? ''}. Runs appear here as soon as they begin; this page keeps looking.`}
      </p>
      <p>
        <code>longsight quickstart</code> makes twelve in a few minutes.
      </p>
    </div>
  );
}

function Status({ store }: { readonly store: Store }) {
  const { data } = store;
  if (!store.source.isLive) return <span class="soft status">static page</span>;
  if (!store.connected)
    return (
      <span class="status lost" role="status">
        <i class="dot" /> server gone; trying again
      </span>
    );
  const of = ({ done, all }: { readonly done: number; readonly all: number }) => `${done} of ${all}`;
  const reading =
    data === null
      ? 'live'
      : data.read.done < data.read.all
        ? `reading folders: ${of(data.read)}`
        : data.indexed.done < data.indexed.all
          ? `reading metrics: ${of(data.indexed)}`
          : 'live';
  return (
    <span class="status live" role="status">
      <i class="dot" /> {reading}
    </span>
  );
}

function useKeys(store: Store, help: () => void): void {
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { target } = event;
      const isTyping =
        target instanceof HTMLInputElement ||
        target instanceof HTMLSelectElement ||
        target instanceof HTMLTextAreaElement;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === 'Escape' && isTyping) target.blur();
      if (isTyping) return;
      const view = VIEWS[Number(event.key) - 1];
      if (view !== undefined && (view !== 'run' || store.param('id') !== '')) store.go(view);
      else if (event.key === '/') {
        event.preventDefault();
        document.getElementById('filter')?.focus();
      } else if (event.key === '?') help();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
}

function Help({ onClose }: { readonly onClose: () => void }) {
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape') onClose();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
  return (
    <div class="veil" onClick={onClose}>
      <div
        class="dialog"
        role="dialog"
        aria-modal="true"
        aria-label="Keys and filters"
        onClick={(event) => event.stopPropagation()}
      >
        <h2>Keys</h2>
        <dl class="keys">
          <dt>1 … 8</dt>
          <dd>views, from left to right</dd>
          <dt>/</dt>
          <dd>filter</dd>
          <dt>↑ ↓ or j k</dt>
          <dd>from run to run in the table</dd>
          <dt>x</dt>
          <dd>draw the run, or not</dd>
          <dt>o</dt>
          <dd>draw this run alone; again: all</dd>
          <dt>Enter</dt>
          <dd>the page of the run</dd>
          <dt>arrows, Enter</dt>
          <dd>in a map of heads: from head to head, and the score of a head over the training</dd>
        </dl>
        <h2>Filter</h2>
        <p>
          Words are looked for in names, designs and folders. Conditions are about columns and configuration keys; all
          have to hold:
        </p>
        <p>
          <code>state=running train.lr&gt;=0.001 seed=1,2 design~swa eval/loss&lt;2 -nope</code>
        </p>
        <h2>Curves</h2>
        <p>
          Drag along a chart to zoom; a double click shows everything again. A click on a line opens its run. The
          address holds everything that is shown.
        </p>
        <button type="button" onClick={onClose} ref={(button) => button?.focus()}>
          Close
        </button>
      </div>
    </div>
  );
}
