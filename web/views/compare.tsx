/** Two designs: what the study's rule says of them, seed by seed, and in which keys their runs differ. */
import type { ComparedPair } from '../../src/dashboard/api.js';
import { useAsked } from '../lib/ask.js';
import { useStore, type Store } from '../lib/store.js';
import { Subject, subjectId } from './figures.js';

/** The view that compares two designs. */
export function Compare() {
  const store = useStore();
  const id = subjectId(store);
  const { value, problem } = useAsked(id, store.recordsVersion, () => store.source.figures(id));
  const own = store.data?.runs.filter(({ study }) => study === id) ?? [];
  const designs = [...new Set(own.map(({ design }) => design))].sort((a, b) => order(store, a) - order(store, b));
  const first = value?.pairs[0];
  const [a, b] = [store.param('a', first?.a ?? designs[0] ?? ''), store.param('b', first?.b ?? designs[1] ?? '')];
  const pairs = value?.pairs.filter((pair) => (pair.a === a && pair.b === b) || (pair.a === b && pair.b === a)) ?? [];
  const choice = (name: string, chosen: string) => (
    <label>
      {name}{' '}
      <select value={chosen} onChange={(event) => store.set({ [name]: event.currentTarget.value })}>
        {designs.map((design) => (
          <option key={design}>{design}</option>
        ))}
      </select>
    </label>
  );
  return (
    <>
      <div class="tools">
        <Subject store={store} />
        {designs.length > 1 && choice('a', a)}
        {designs.length > 1 && choice('b', b)}
        {value !== null && <span class="soft">{value.overview}</span>}
      </div>
      <div class="pad report">
        {value?.question != null && <p class="lead">{value.question}</p>}
        {(problem ?? value?.problem ?? null) !== null && <p class="note">{problem ?? value?.problem}</p>}
        {value === null && problem === null && <p class="soft">Comparing …</p>}
        {pairs.map((pair) => (
          <Pair key={`${pair.group} ${pair.a} ${pair.b}`} store={store} pair={pair} />
        ))}
        {value !== null && value.problem === null && designs.length > 1 && pairs.length === 0 && (
          <p class="note">{`The study does not compare ${a} with ${b}: its rule judges the pairs that it names, of finished runs.`}</p>
        )}
        {own.length === 0 && value !== null && (
          <p class="note">Designs are compared within a study; this is a run of its own.</p>
        )}
        {designs.length > 1 && <ConfigDifference store={store} a={a} b={b} study={id} />}
        {/* Made by the report's modules, which escape every text. */}
        <div dangerouslySetInnerHTML={{ __html: value?.sections['answers'] ?? '' }} />
        {value !== null && (value.sections['costs'] ?? '') !== '' && <h2>What designs cost</h2>}
        <div dangerouslySetInnerHTML={{ __html: value?.sections['costs'] ?? '' }} />
        {value !== null && value.sections['numbers'] !== '' && <h2>Numbers of all runs</h2>}
        <div dangerouslySetInnerHTML={{ __html: value?.sections['numbers'] ?? '' }} />
      </div>
    </>
  );
}

const order = (store: Store, design: string): number => store.data?.designs.indexOf(design) ?? 0;

function Pair({ store, pair }: { readonly store: Store; readonly pair: ComparedPair }) {
  const name = (design: string) => (
    <>
      <span class="swatch" style={{ background: store.style(design).color }} /> {design}
    </>
  );
  const seeds = [...new Set(pair.measures.flatMap((m) => m.seeds.map(({ seed }) => seed)))].sort((x, y) => x - y);
  return (
    <section>
      <h2>
        {name(pair.a)} and {name(pair.b)}
        {pair.group === '' ? '' : `, ${pair.group}`}
      </h2>
      <div class="scroll">
        <table class="pairs">
          <thead>
            <tr>
              <th scope="col">measure</th>
              <th scope="col">verdict</th>
              <th scope="col">difference (95 %, all pairs at once)</th>
              {seeds.map((seed) => (
                <th key={seed} scope="col">{`seed ${seed}: ${pair.a} | ${pair.b}`}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {pair.measures.map(({ measure, verdict, isShown, difference, seeds: cells }) => (
              <tr key={measure}>
                <th scope="row">{measure}</th>
                <td>
                  <span class={`badge ${isShown ? 'shown' : 'none'}`}>{verdict}</span>
                </td>
                <td>{difference}</td>
                {seeds.map((seed) => {
                  const cell = cells.find((one) => one.seed === seed);
                  return <td key={seed}>{cell === undefined ? '' : `${cell.a} | ${cell.b}`}</td>;
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function ConfigDifference({
  store,
  a,
  b,
  study,
}: {
  readonly store: Store;
  readonly a: string;
  readonly b: string;
  readonly study: string;
}) {
  const { data } = store;
  if (data === null) return null;
  const places = (design: string) =>
    data.runs.flatMap((row, at) => (row.study === study && row.design === design ? [at] : []));
  const [inA, inB] = [places(a), places(b)];
  const rows = Object.entries(data.config).flatMap(([key, { values, of }]) => {
    if (key === 'name' || key === 'seed') return [];
    const text = (at: readonly number[]) =>
      [...new Set(at.map((i) => ((of[i] ?? -1) < 0 ? '–' : String(values[of[i] ?? 0]))))].sort().join(', ');
    const [x, y] = [text(inA), text(inB)];
    return x === y ? [] : [[key, x, y] as const];
  });
  return (
    <section>
      <h2>What differs in the configuration</h2>
      {rows.length === 0 ? (
        <p class="soft">Nothing but seeds and names.</p>
      ) : (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">key</th>
                <th scope="col">{a}</th>
                <th scope="col">{b}</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(([key, x, y]) => (
                <tr key={key}>
                  <th scope="row">{key}</th>
                  <td>{x}</td>
                  <td>{y}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
