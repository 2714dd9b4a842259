/** The table of runs: thousands, of which only those in view are made. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { RunRow } from '../../src/dashboard/api.js';
import { compareValues, readerOf, type Value } from '../lib/filter.js';
import { count, duration, num, when } from '../lib/format.js';
import { printRoute, toView } from '../lib/route.js';
import { useStore, type PlacedRun, type Store } from '../lib/store.js';

const ROW_PX = 34;
const EXTRA_ROWS = 12;

interface Column {
  readonly key: string;
  readonly title: string;
  readonly value: (row: RunRow, at: number) => Value;
  readonly text: (row: RunRow, at: number) => string;
  readonly isNumber: boolean;
}

const column = (key: string, title: string, value: Column['value'], text: Column['text'], isNumber = true): Column => ({
  ...{ key, title, value, text, isNumber },
});

const METRIC_TITLES: Readonly<Record<string, string>> = {
  'train/loss': 'train loss',
  'eval/loss': 'held-out loss',
  'eval/recall/all': 'recall',
  'eval/ar/far/accuracy': 'far recall, top-1',
  'eval/needle/accuracy': 'needles',
};

function columnsOf(store: Store): Column[] {
  const { data } = store;
  const runs = data?.runs ?? [];
  const metrics = Object.keys(METRIC_TITLES).filter((name) => runs.some(({ last }) => name in last));
  const config = data?.config ?? {};
  const asked = store
    .param('cols')
    .split(',')
    .filter((key) => key !== '');
  return [
    column(
      'progress',
      'progress',
      (r) => share(r),
      (r) => `${Math.floor(100 * share(r))} %`,
    ),
    column(
      'eta',
      'left',
      (r) => r.eta,
      (r) => duration(r.eta),
    ),
    ...metrics.map((name) =>
      column(
        name,
        METRIC_TITLES[name] ?? name,
        (r) => r.last[name],
        (r) => num(r.last[name]),
      ),
    ),
    ...asked.flatMap((key) => {
      const reader = readerOf(key, config);
      const print = (value: Value) =>
        value === undefined ? '' : typeof value === 'number' ? num(value) : String(value);
      return reader === null
        ? []
        : [
            column(
              key,
              key,
              reader,
              (r, at) => print(reader(r, at)),
              runs.every((r, at) => typeof reader(r, at) !== 'string'),
            ),
          ];
    }),
    column(
      'seed',
      'seed',
      (r) => r.seed,
      (r) => String(r.seed ?? ''),
    ),
    column(
      'tokens',
      'tokens',
      (r) => r.tokens,
      (r) => count(r.tokens),
    ),
    column(
      'tokPerSec',
      'tokens / s',
      (r) => r.tokPerSec,
      (r) => count(r.tokPerSec),
    ),
    column(
      'parameters',
      'parameters',
      (r) => r.parameters,
      (r) => count(r.parameters),
    ),
    column(
      'startedAt',
      'started',
      (r) => r.startedAt,
      (r) => when(r.startedAt),
    ),
    column(
      'seconds',
      'ran',
      (r) => r.seconds,
      (r) => duration(r.seconds),
    ),
    column(
      'engine',
      'engine',
      (r) => r.engine,
      (r) => r.engine,
      false,
    ),
    column(
      'device',
      'device',
      (r) => r.device,
      (r) => r.device,
      false,
    ),
  ];
}

const share = ({ tokens, budget }: RunRow): number => (budget > 0 ? Math.min(1, tokens / budget) : 0);

const LEADING: readonly Column[] = [
  column(
    'name',
    'run',
    (r) => r.name,
    (r) => r.name,
    false,
  ),
  column(
    'design',
    'design',
    (r) => r.design,
    (r) => r.design,
    false,
  ),
  column(
    'state',
    'state',
    (r) => r.state,
    (r) => r.state,
    false,
  ),
];

type Entry =
  | { readonly kind: 'group'; readonly name: string; readonly runs: readonly PlacedRun[] }
  | { readonly kind: 'run'; readonly run: PlacedRun };

/** The view of all runs. */
export function Runs() {
  const store = useStore();
  const columns = columnsOf(store);
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const { matching } = store;
  const [sort, group] = [store.param('sort'), store.param('group')];
  const config = store.data?.config ?? {};
  const entries = useMemo(() => {
    const key = sort.replace(/^-/, '');
    const value = [...LEADING, ...columns].find((c) => c.key === key)?.value ?? readerOf(key, config);
    const sorted =
      value === null
        ? [...matching]
        : [...matching].sort((a, b) => {
            const [x, y] = [value(a.row, a.at), value(b.row, b.at)];
            const isMissing = x === undefined || x === null || y === undefined || y === null;
            return compareValues(x, y) * (sort.startsWith('-') && !isMissing ? -1 : 1);
          });
    return grouped(sorted, group === '' ? null : readerOf(group, config), folded);
  }, [matching, sort, group, folded, config, store.param('cols')]);
  return (
    <>
      <Tools store={store} />
      <Table
        store={store}
        columns={columns}
        entries={entries}
        folded={folded}
        onFold={(name) => setFolded(toggled(folded, name))}
      />
    </>
  );
}

function toggled(set: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const next = new Set(set);
  if (!next.delete(name)) next.add(name);
  return next;
}

function grouped(
  runs: readonly PlacedRun[],
  reader: ((row: RunRow, at: number) => Value) | null,
  folded: ReadonlySet<string>,
): Entry[] {
  if (reader === null) return runs.map((run) => ({ kind: 'run', run }));
  const groups = new Map<string, PlacedRun[]>();
  for (const run of runs) {
    const name = String(reader(run.row, run.at) ?? '–');
    const own = groups.get(name);
    if (own === undefined) groups.set(name, [run]);
    else own.push(run);
  }
  return [...groups].flatMap(([name, own]): Entry[] => [
    { kind: 'group', name, runs: own },
    ...(folded.has(name) ? [] : own.map((run): Entry => ({ kind: 'run', run }))),
  ]);
}

function Tools({ store }: { readonly store: Store }) {
  const keys = Object.entries(store.data?.config ?? {});
  // Keys in which runs differ are those that one groups by and looks at.
  const differing = keys
    .filter(([, { values, of }]) => values.length > 1 || of.includes(-1))
    .map(([key]) => key)
    .sort();
  const shown = store
    .param('cols')
    .split(',')
    .filter((key) => key !== '');
  const add = (key: string) => store.set({ cols: [...shown, key].join(',') });
  return (
    <div class="tools">
      <label>
        group by{' '}
        <select value={store.param('group')} onChange={(event) => store.set({ group: event.currentTarget.value })}>
          <option value="">nothing</option>
          {['design', 'state', 'seed', 'engine', 'device', ...differing].map((key) => (
            <option key={key} value={key}>
              {key}
            </option>
          ))}
        </select>
      </label>
      <label>
        column{' '}
        <select value="" onChange={(event) => event.currentTarget.value !== '' && add(event.currentTarget.value)}>
          <option value="">add …</option>
          {differing
            .filter((key) => !shown.includes(key))
            .map((key) => (
              <option key={key} value={key}>
                {key}
              </option>
            ))}
        </select>
      </label>
      {shown.map((key) => (
        <button
          key={key}
          type="button"
          class="chip"
          onClick={() => store.set({ cols: shown.filter((k) => k !== key).join(',') })}
          title="remove this column"
        >
          {key} ×
        </button>
      ))}
      <a class="button" href={printRoute(toView(store.route, 'curves'))}>
        Curves of these
      </a>
    </div>
  );
}

interface TableProps {
  readonly store: Store;
  readonly columns: readonly Column[];
  readonly entries: readonly Entry[];
  readonly folded: ReadonlySet<string>;
  readonly onFold: (name: string) => void;
}

function Table({ store, columns, entries, folded, onFold }: TableProps) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 800 });
  useEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const look = () => setView({ top: element.scrollTop, height: element.clientHeight });
    look();
    element.addEventListener('scroll', look, { passive: true });
    const sized = new ResizeObserver(look);
    sized.observe(element);
    return () => {
      element.removeEventListener('scroll', look);
      sized.disconnect();
    };
  }, []);
  const focused = useTableKeys(store, entries, box);
  const first = Math.max(0, Math.floor(view.top / ROW_PX) - EXTRA_ROWS);
  const last = Math.min(entries.length, Math.ceil((view.top + view.height) / ROW_PX) + EXTRA_ROWS);
  const sort = store.param('sort');
  const sortBy = (key: string) => store.set({ sort: sort === key ? `-${key}` : sort === `-${key}` ? '' : key });
  const ids = store.matching.map(({ row }) => row.id);
  const all = store.shown.length === ids.length;
  const heading = ({ key, title, isNumber }: Column) => (
    <th
      key={key}
      scope="col"
      class={isNumber ? 'n' : ''}
      aria-sort={sort === key ? 'ascending' : sort === `-${key}` ? 'descending' : 'none'}
    >
      <button type="button" onClick={() => sortBy(key)}>
        {title}
        {sort === key ? ' ↑' : sort === `-${key}` ? ' ↓' : ''}
      </button>
    </th>
  );
  const width = columns.length + LEADING.length + 1;
  return (
    <div class="table-box" ref={box}>
      <table class="runs" aria-rowcount={entries.length + 1}>
        <thead>
          <tr>
            <th scope="col">
              <input
                type="checkbox"
                aria-label="Draw all runs"
                checked={all}
                onChange={() =>
                  all ? store.set({ hide: ids.join('.'), only: '' }) : store.set({ hide: '', only: '' })
                }
              />
            </th>
            {[...LEADING, ...columns].map(heading)}
          </tr>
        </thead>
        <tbody>
          {first > 0 && <tr style={{ height: `${first * ROW_PX}px` }} aria-hidden="true" />}
          {entries
            .slice(first, last)
            .map((entry, i) =>
              entry.kind === 'group' ? (
                <GroupRow
                  key={`group ${entry.name}`}
                  entry={entry}
                  store={store}
                  width={width}
                  isFolded={folded.has(entry.name)}
                  onFold={onFold}
                  columns={columns}
                />
              ) : (
                <Row
                  key={entry.run.row.id}
                  run={entry.run}
                  store={store}
                  columns={columns}
                  index={first + i}
                  isFocused={entry.run.row.id === focused}
                />
              ),
            )}
          {last < entries.length && (
            <tr style={{ height: `${(entries.length - last) * ROW_PX}px` }} aria-hidden="true" />
          )}
        </tbody>
      </table>
      {entries.length === 0 && <p class="soft pad">No run matches the filter.</p>}
    </div>
  );
}

function Row({
  run: { row, at },
  store,
  columns,
  index,
  isFocused,
}: {
  readonly run: PlacedRun;
  readonly store: Store;
  readonly columns: readonly Column[];
  readonly index: number;
  readonly isFocused: boolean;
}) {
  const isShown = store.isShown(row.id);
  return (
    <tr class={`${isFocused ? 'focused' : ''} ${isShown ? '' : 'off'}`} aria-rowindex={index + 2} data-run={row.id}>
      <td>
        <input
          type="checkbox"
          aria-label={`Draw ${row.name}`}
          checked={isShown}
          onChange={() => store.show([row.id], !isShown)}
        />
      </td>
      <td class="name">
        <span class="swatch" style={{ background: store.style(row.design).color }} />
        <a href={printRoute(toView(store.route, 'run', { id: row.id }))} title={row.folder}>
          {row.name}
        </a>
      </td>
      <td class="design" title={row.layers}>
        {row.design}
      </td>
      <td>
        <StateBadge row={row} />
      </td>
      {columns.map(({ key, text, isNumber }) => (
        <td key={key} class={isNumber ? 'n' : 'wide'} title={isNumber ? undefined : text(row, at)}>
          {key === 'progress' ? <Progress value={share(row)} /> : text(row, at)}
        </td>
      ))}
    </tr>
  );
}

function GroupRow({
  entry,
  store,
  width,
  isFolded,
  onFold,
}: {
  readonly entry: Extract<Entry, { kind: 'group' }>;
  readonly store: Store;
  readonly width: number;
  readonly isFolded: boolean;
  readonly onFold: (name: string) => void;
  readonly columns: readonly Column[];
}) {
  const ids = entry.runs.map(({ row }) => row.id);
  const shown = ids.filter((id) => store.isShown(id)).length;
  const designs = new Set(entry.runs.map(({ row }) => row.design));
  const style = designs.size === 1 ? store.style([...designs][0] ?? '') : null;
  const ends = ['eval/loss', 'eval/ar/far/accuracy', 'eval/recall/all'].flatMap((metric) => {
    const values = entry.runs.flatMap(({ row }) => row.last[metric] ?? []);
    return values.length === 0
      ? []
      : [`${METRIC_TITLES[metric]} ${num(values.reduce((a, b) => a + b, 0) / values.length)}`];
  });
  return (
    <tr class="group">
      <td>
        <input
          type="checkbox"
          aria-label={`Draw the group ${entry.name}`}
          checked={shown === ids.length}
          onChange={() => store.show(ids, shown < ids.length)}
        />
      </td>
      <td colSpan={width - 1}>
        <button type="button" class="fold" aria-expanded={!isFolded} onClick={() => onFold(entry.name)}>
          {isFolded ? '▸' : '▾'} {style !== null && <span class="swatch" style={{ background: style.color }} />}
          <b>{entry.name}</b>{' '}
          <span class="soft">{`${ids.length} ${ids.length === 1 ? 'run' : 'runs'}${ends.length === 0 ? '' : `; mean ${ends.join(', ')}`}`}</span>
        </button>
      </td>
    </tr>
  );
}

function Progress({ value }: { readonly value: number }) {
  return (
    <span class="progress" role="img" aria-label={`${Math.floor(100 * value)} %`}>
      <span style={{ width: `${100 * value}%` }} />
      <em>{Math.floor(100 * value)} %</em>
    </span>
  );
}

/** What a run is doing, in a word; its message is in the tooltip. */
export function StateBadge({ row }: { readonly row: RunRow }) {
  return (
    <span class={`state ${row.state}`} title={row.message ?? undefined}>
      {row.state}
    </span>
  );
}

/** Keys that go from run to run and act on one; gives the id of the run that they act on, null before the first key. */
function useTableKeys(
  store: Store,
  entries: readonly Entry[],
  box: { readonly current: HTMLDivElement | null },
): string | null {
  const [focused, setFocused] = useState<string | null>(null);
  // Keys come faster than the page is painted: each acts on what the one before it left.
  const now = useRef<{ entries: readonly Entry[]; focused: string | null }>({ entries, focused: null });
  now.current.entries = entries;
  // Before the rows are seen, so that no key is lost on a person who saw them.
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { target } = event;
      if (target instanceof HTMLInputElement && target.type !== 'checkbox') return;
      if (target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
      const step =
        event.key === 'j' || event.key === 'ArrowDown' ? 1 : event.key === 'k' || event.key === 'ArrowUp' ? -1 : 0;
      const rows = now.current.entries;
      const focus = rows.findIndex((row) => row.kind === 'run' && row.run.row.id === now.current.focused);
      const entry = rows[focus];
      if (step !== 0) {
        event.preventDefault();
        let next = focus + step;
        while (rows[next]?.kind === 'group') next += step;
        const to = rows[next];
        if (to?.kind !== 'run') return;
        now.current.focused = to.run.row.id;
        setFocused(to.run.row.id);
        const [element, y] = [box.current, next * ROW_PX];
        if (
          element !== null &&
          (y < element.scrollTop + ROW_PX || y > element.scrollTop + element.clientHeight - 3 * ROW_PX)
        )
          element.scrollTop = y - element.clientHeight / 2;
      } else if (entry?.kind !== 'run') return;
      else if (event.key === 'x') store.show([entry.run.row.id], !store.isShown(entry.run.row.id));
      else if (event.key === 'o')
        store.set(store.param('only') === entry.run.row.id ? { only: '' } : { only: entry.run.row.id });
      else if (
        event.key === 'Enter' &&
        !(target instanceof HTMLAnchorElement) &&
        !(target instanceof HTMLButtonElement)
      )
        store.go('run', { id: entry.run.row.id });
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, [store]);
  return focused;
}
