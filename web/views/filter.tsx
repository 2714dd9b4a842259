/** The line that says which runs are shown. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { filterKeys } from '../lib/filter.js';
import { useStore } from '../lib/store.js';

const WAIT_MS = 80;

/** The filter, the choice of a study, and how many runs there are. */
export function Filter() {
  const store = useStore();
  const { data } = store;
  const [text, setText] = useState(store.param('q'));
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const asked = store.param('q');
  // What was typed comes back as a parameter, later than the letters after it: only another's change replaces the text.
  const sent = useRef(asked);
  useEffect(() => {
    if (asked === sent.current) return;
    sent.current = asked;
    if (timer.current !== null) clearTimeout(timer.current);
    setText(asked);
  }, [asked]);
  if (data === null) return null;
  const take = (value: string) => {
    setText(value);
    if (timer.current !== null) clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      sent.current = value;
      store.set({ q: value });
    }, WAIT_MS);
  };
  const { problem } = store.filter;
  const [matching, shown] = [store.matching.length, store.shown.length];
  const isPlain = store.param('hide') === '' && store.param('only') === '';
  return (
    <div class="filter" role="search">
      <input
        id="filter"
        type="search"
        placeholder="Filter: words, state=running, train.lr>=0.001, seed=1,2 …   ( / )"
        aria-label="Filter runs"
        aria-invalid={problem !== null}
        list="filter-keys"
        value={text}
        onInput={(event) => take(event.currentTarget.value)}
      />
      <datalist id="filter-keys">
        {filterKeys(data.config).map((key) => (
          <option key={key} value={`${key}=`} />
        ))}
      </datalist>
      {data.studies.length > 0 && (
        <select
          aria-label="Study"
          value={store.param('study')}
          onChange={(event) => store.set({ study: event.currentTarget.value })}
        >
          <option value="">all studies and runs</option>
          {data.studies.map(({ id, title }) => (
            <option key={id} value={id}>
              {title}
            </option>
          ))}
        </select>
      )}
      <span class="soft count" role="status">
        {matching === data.runs.length
          ? `${data.runs.length} ${data.runs.length === 1 ? 'run' : 'runs'}`
          : `${matching} of ${data.runs.length} runs`}
        {isPlain ? '' : `, ${shown} drawn`}
      </span>
      {!isPlain && (
        <button type="button" onClick={() => store.set({ hide: '', only: '' })}>
          Draw all
        </button>
      )}
      {problem !== null && <span class="wrong">{problem}</span>}
      {data.problems.map((sentence) => (
        <span key={sentence} class="wrong">
          {sentence}
        </span>
      ))}
    </div>
  );
}
