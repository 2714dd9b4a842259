/** Figures that the server draws with the modules of the report: needles, mechanism, fits. */
import { useAsked } from '../lib/ask.js';
import { useStore, type Store } from '../lib/store.js';

/** The choice of what study views are about: a study, or a run of its own. */
export function Subject({ store }: { readonly store: Store }) {
  const { data } = store;
  const own = data?.runs.filter(({ study }) => study === null) ?? [];
  return (
    <label>
      of{' '}
      <select value={subjectId(store)} onChange={(event) => store.set({ of: event.currentTarget.value })}>
        {data?.studies.map(({ id, title }) => (
          <option key={id} value={id}>
            {title}
          </option>
        ))}
        {own.map(({ id, name }) => (
          <option key={id} value={id}>
            {`run ${name}`}
          </option>
        ))}
      </select>
    </label>
  );
}

/** The id of the study or run that a view is about; empty where there is none. */
export function subjectId(store: Store): string {
  const { data } = store;
  const asked = store.param('of');
  if (asked !== '') return asked;
  return store.study?.id ?? data?.runs.find(({ study }) => study === null)?.id ?? '';
}

function Section({
  name,
  none,
  lead,
  without = [],
}: {
  readonly name: string;
  readonly none: string;
  readonly lead: string;
  readonly without?: readonly string[];
}) {
  const store = useStore();
  const id = subjectId(store);
  const key = `${id} ${without.join(' ')}`;
  const { value, problem } = useAsked(key, store.recordsVersion, () => store.source.figures(id, without));
  const html = value?.sections[name] ?? '';
  const wrong = problem ?? value?.problem ?? null;
  return (
    <>
      <div class="tools">
        <Subject store={store} />
        {value !== null && <span class="soft">{value.overview}</span>}
      </div>
      <div class="pad report">
        <p class="soft">{lead}</p>
        {wrong !== null && <p class="note">{wrong}</p>}
        {value === null && wrong === null && <p class="soft">Drawing …</p>}
        {value !== null && html === '' && <p class="note">{none}</p>}
        {/* Made by the report's modules, which escape every text. */}
        <div dangerouslySetInnerHTML={{ __html: html }} />
      </div>
    </>
  );
}

/** Needle grids over checkpoints. */
export function Needles() {
  return (
    <Section
      name="needles"
      lead="How exactly a value is found again, by length of the context and depth of the needle in it."
      none="No needles were measured in these runs. Runs on data with needles measure them with eval.needle."
    />
  );
}

/** What analyses found. */
export function Mechanism() {
  return (
    <Section
      name="mechanism"
      lead="What analyses found about how the runs carry information far."
      none="No analyses are stored in these runs. longsight analyze FOLDER makes them."
    />
  );
}

/** Scaling laws, of all finished runs or without some. */
export function Fits() {
  const store = useStore();
  const id = subjectId(store);
  const without = leftOut(store);
  const key = `${id} ${without.join(' ')}`;
  const { value } = useAsked(key, store.recordsVersion, () => store.source.figures(id, without));
  const choose = (names: readonly string[]) => store.set({ without: names.map(encodeURIComponent).join(',') });
  return (
    <>
      <Section
        name="fits"
        lead="Scaling laws over runs of several sizes and budgets, with their intervals."
        none="No law can be fitted: that takes five finished runs of a design which differ in size and in tokens."
        without={without}
      />
      {store.source.isLive && value !== null && value.fitted.length > 0 && (
        <details class="pad points" open={without.length > 0}>
          <summary>{`Points: ${value.fitted.length - without.length} of ${value.fitted.length} finished runs`}</summary>
          {without.length > 0 && (
            <button type="button" onClick={() => choose([])}>
              Take all
            </button>
          )}
          <ul>
            {value.fitted.map((name) => (
              <li key={name}>
                <label>
                  <input
                    type="checkbox"
                    checked={!without.includes(name)}
                    onChange={() =>
                      choose(without.includes(name) ? without.filter((n) => n !== name) : [...without, name])
                    }
                  />{' '}
                  {name}
                </label>
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

/** The runs that the address leaves out of fits. */
const leftOut = (store: Store): string[] =>
  store
    .param('without')
    .split(',')
    .filter((name) => name !== '')
    .map(decodeURIComponent);
