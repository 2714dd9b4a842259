/** The page of one run: how far it is, its curves, configuration, environment, log, and what can be done about it. */
import { useMemo, useState } from 'preact/hooks';
import type { RunAnswer, RunRow, SampleAnswer } from '../../src/dashboard/api.js';
import { useAsked } from '../lib/ask.js';
import { Chart } from '../lib/chart.js';
import { count, duration, num, when } from '../lib/format.js';
import { linesOf, useCurves } from '../lib/series.js';
import { useStore, type Store } from '../lib/store.js';
import { StateBadge } from './runs.js';
import { MetricName } from './metric-name.js';

const METRICS = ['train/loss', 'eval/loss', 'eval/recall/all', 'eval/ar/far/accuracy', 'train/lr', 'train/grad_norm'];

/** The view of one run. */
export function RunPage() {
  const store = useStore();
  const id = store.param('id');
  const row = store.data?.runs.find((one) => one.id === id);
  const version = store.recordsVersion + (row === undefined ? 0 : row.step) + (row?.state === 'running' ? 0 : 1);
  const { value, problem } = useAsked(id, version, () => store.source.run(id));
  if (row === undefined)
    return (
      <p class="note">This run is not there: its folder was removed or renamed, or the link is of another dashboard.</p>
    );
  return (
    <div class="pad">
      <h1>
        <span class="swatch" style={{ background: store.style(row.design).color }} /> {row.name}{' '}
        <StateBadge row={row} />
      </h1>
      <p class="soft path">{value?.path ?? row.folder}</p>
      {(problem ?? value?.problem ?? null) !== null && <p class="note">{problem ?? value?.problem}</p>}
      {row.message !== null && row.message !== value?.problem && <p class="note">{row.message}</p>}
      <Facts row={row} />
      {value !== null && <Controls store={store} answer={value} />}
      <RunCurves store={store} row={row} />
      {value?.canSample === true && <Sample key={id} store={store} id={id} />}
      {value !== null && <Details answer={value} />}
    </div>
  );
}

function Facts({ row }: { readonly row: RunRow }) {
  const facts: [string, string][] = [
    ['design', row.design],
    ['layers', row.layers],
    ['seed', String(row.seed ?? '–')],
    ['steps', `${count(row.step)} of ${count(row.steps)}`],
    ['tokens', `${count(row.tokens)} of ${count(row.budget)}`],
    ['left', duration(row.eta)],
    ['ran', duration(row.seconds)],
    ['tokens / s', count(row.tokPerSec)],
    ['parameters', count(row.parameters)],
    ['engine', row.engine],
    ['device', row.device],
    ['started', when(row.startedAt)],
    ...Object.entries(row.last).map(([name, value]): [string, string] => [name, num(value)]),
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Controls({ store, answer }: { readonly store: Store; readonly answer: RunAnswer }) {
  const [asked, setAsked] = useState<'stop' | 'continue' | null>(null);
  const [said, setSaid] = useState<string | null>(null);
  const act = async (what: 'stop' | 'continue') => {
    setAsked(null);
    try {
      const problem = await store.source.control(answer.row.id, what);
      setSaid(
        problem ?? (what === 'stop' ? 'The signal is sent. The run ends after its step.' : 'The run is being started.'),
      );
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
  };
  const { stop, resume, resumeCommand, holder } = answer;
  const words = asked === 'stop' ? stop : resume;
  return (
    <section class="controls">
      {holder !== null && <p class="soft">{`Process ${holder.pid} on ${holder.host} works in this folder.`}</p>}
      <div class="tools flat">
        {stop !== null && (
          <button type="button" onClick={() => setAsked('stop')}>
            Stop …
          </button>
        )}
        {resume !== null && (
          <button type="button" onClick={() => setAsked('continue')}>
            Continue …
          </button>
        )}
        {answer.row.state !== 'done' && answer.row.state !== 'running' && resumeCommand !== '' && (
          <span class="soft">
            go on in a terminal: <code>{resumeCommand}</code>
          </span>
        )}
      </div>
      {asked !== null && words !== null && (
        <div class="note" role="alertdialog" aria-label={asked === 'stop' ? 'Stop the run?' : 'Continue the run?'}>
          <p>{words}</p>
          <button type="button" class="primary" ref={(button) => button?.focus()} onClick={() => void act(asked)}>
            {asked === 'stop' ? 'Stop the run' : 'Continue the run'}
          </button>{' '}
          <button type="button" onClick={() => setAsked(null)}>
            Leave it
          </button>
        </div>
      )}
      {said !== null && (
        <p class="note" role="status">
          {said}
        </p>
      )}
    </section>
  );
}

/** Continues a prompt with the run's newest checkpoint. */
function Sample({ store, id }: { readonly store: Store; readonly id: string }) {
  const [prompt, setPrompt] = useState('');
  const [isIds, setIsIds] = useState(false);
  const [isWaiting, setWaiting] = useState(false);
  const [said, setSaid] = useState<SampleAnswer | null>(null);
  const ask = async (event: Event) => {
    event.preventDefault();
    setWaiting(true);
    try {
      setSaid(await store.source.sample(id, prompt, isIds));
    } catch (error) {
      setSaid({ text: null, problem: error instanceof Error ? error.message : String(error) });
    }
    setWaiting(false);
  };
  return (
    <details class="sample">
      <summary>Samples of generation</summary>
      <form class="tools flat" onSubmit={(event) => void ask(event)}>
        <input
          type="text"
          class="metric"
          aria-label="Prompt"
          placeholder={isIds ? 'token ids with commas' : 'a text to continue'}
          value={prompt}
          onInput={(event) => setPrompt(event.currentTarget.value)}
        />
        <label>
          <input type="checkbox" checked={isIds} onChange={() => setIsIds(!isIds)} /> token ids
        </label>
        <button type="submit" disabled={isWaiting || prompt === ''}>
          {isWaiting ? 'Generating …' : 'Generate'}
        </button>
        <span class="soft">64 tokens of the newest checkpoint, the likeliest at each step</span>
      </form>
      {said !== null && said.problem !== null && <p class="note">{said.problem}</p>}
      {said !== null && said.text !== null && <pre tabIndex={0}>{said.text}</pre>}
    </details>
  );
}

function RunCurves({ store, row }: { readonly store: Store; readonly row: RunRow }) {
  const metrics = METRICS.filter((name) => store.data?.metrics.includes(name));
  const runs = useMemo(() => [{ row, at: 0 }], [row.id]);
  const { version } = useCurves(store, 'tokens', metrics, runs);
  return (
    <div class="charts small">
      {metrics.map((metric) => {
        const lines = linesOf(store, metric, runs, { axis: 'tokens', smooth: 0, bands: false });
        return lines.length === 0 ? null : (
          <SmallChart key={`${metric} ${version === 0}`} metric={metric} store={store} row={row} version={version} />
        );
      })}
    </div>
  );
}

function SmallChart({
  metric,
  store,
  row,
  version,
}: {
  readonly metric: string;
  readonly store: Store;
  readonly row: RunRow;
  readonly version: number;
}) {
  const [zoom, setZoom] = useState<readonly [number, number] | null>(null);
  const lines = useMemo(
    () => linesOf(store, metric, [{ row, at: 0 }], { axis: 'tokens', smooth: 0, bands: false }),
    [metric, row.id, version],
  );
  return (
    <section class="card">
      <h3>
        <MetricName store={store} metric={metric} />
      </h3>
      <Chart
        title={store.titleOf(metric)}
        xLabel="tokens"
        lines={lines}
        logX={false}
        logY={false}
        zoom={zoom}
        onZoom={setZoom}
        threshold={null}
        height={190}
      />
    </section>
  );
}

function Details({ answer }: { readonly answer: RunAnswer }) {
  const { timing } = answer;
  return (
    <>
      {answer.log !== null && (
        <details open={answer.row.state !== 'done'}>
          <summary>Log, its end</summary>
          <pre tabIndex={0}>{answer.log === '' ? '(empty)' : answer.log}</pre>
        </details>
      )}
      <details>
        <summary>Configuration</summary>
        <pre tabIndex={0}>{answer.config}</pre>
      </details>
      <details>
        <summary>Environment</summary>
        <table>
          <tbody>
            {answer.environment.map(([name, value]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="wrap">{value}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
      {timing !== null && (
        <details>
          <summary>Where the time went</summary>
          <table>
            <tbody>
              {Object.entries(timing).map(([name, seconds]) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td class="n">{duration(seconds)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      )}
      <details>
        <summary>{`Stored: ${answer.evals.length} evaluations, ${answer.findings.length} findings`}</summary>
        <p class="soft">
          {[...answer.evals.map((step) => `evaluation of step ${step}`), ...answer.findings].join(', ')}
        </p>
      </details>
    </>
  );
}
