/** What a visitor chooses of a design. */
import {
  CHEAP_COUNTS,
  CHEAP_LAYERS,
  NUM_LAYERS,
  patternOf,
  runInput,
  WINDOWS,
  type CheapLayer,
  type PlaygroundRun,
} from '../../src/playground/design.js';
import { LayersPicture } from './pictures.js';
import type { Lane } from './lane.js';

const COUNT_WORDS = { 0: 'all full', 1: '1 cheap, 2 full', 2: '2 cheap, 1 full' } as const;

function Choice<T extends string | number>(props: {
  readonly label: string;
  readonly value: T;
  readonly options: readonly (readonly [T, string])[];
  readonly disabled?: boolean;
  readonly onChange: (value: T) => void;
}) {
  const { label, value, options, disabled = false, onChange } = props;
  return (
    <label class="choice">
      <span class="soft">{label}</span>
      <select
        value={String(value)}
        disabled={disabled}
        onChange={({ currentTarget }) => {
          const chosen = options[currentTarget.selectedIndex];
          if (chosen !== undefined) onChange(chosen[0]);
        }}
      >
        {options.map(([own, text]) => (
          <option key={own} value={String(own)}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** The card of a design: its choices, a picture of its layers, how fast it trains. */
export function DesignCard(props: {
  readonly name: string;
  readonly color: string;
  readonly dash: readonly number[];
  readonly lane: Lane;
  readonly onChange: (run: PlaygroundRun) => void;
}) {
  const { name, color, dash, lane, onChange } = props;
  const { run } = lane;
  const change = (part: Partial<PlaygroundRun>) => onChange({ ...run, ...part });
  const cheapKinds = Object.entries(CHEAP_LAYERS) as [CheapLayer, string][];
  return (
    <section class="card design" aria-label={`Model ${name}`}>
      <h2>
        <svg width="26" height="10" aria-hidden="true">
          <line x1="0" x2="26" y1="5" y2="5" stroke={color} stroke-width="3" stroke-dasharray={dash.join(',')} />
        </svg>
        Model {name} <code class="soft">{patternOf(run)}</code>
      </h2>
      <div class="choices">
        <Choice
          label="cheap layers"
          value={run.cheap}
          options={cheapKinds}
          disabled={run.cheapCount === 0}
          onChange={(cheap) => change({ cheap })}
        />
        <Choice
          label="window"
          value={run.window}
          options={WINDOWS.map((window) => [window, `${window} tokens`] as const)}
          disabled={run.cheapCount === 0 || run.cheap !== 'swa'}
          onChange={(window) => change({ window })}
        />
        <Choice
          label={`ratio of ${NUM_LAYERS} layers`}
          value={run.cheapCount}
          options={CHEAP_COUNTS.map((count) => [count, COUNT_WORDS[count]] as const)}
          onChange={(cheapCount) => change({ cheapCount })}
        />
        <Choice
          label="positions in full layers"
          value={run.nope ? 1 : 0}
          options={[
            [0, 'rotary (RoPE)'],
            [1, 'none (NoPE)'],
          ]}
          onChange={(nope) => change({ nope: nope === 1 })}
        />
      </div>
      <LayersPicture design={run} name={name} />
      <p class="soft layers-note">{layersNote(run)}</p>
      <p class="soft facts-line" data-step={lane.step}>
        {factsOf(lane)}
      </p>
      {lane.problem !== null && <p class="note">{`Model ${name} cannot go on: ${lane.problem}`}</p>}
      <details>
        <summary>The same in a terminal</summary>
        <p class="soft">
          Save this as <code>{`model-${name.toLowerCase()}.yaml`}</code>, then{' '}
          <code>{`longsight train model-${name.toLowerCase()}.yaml`}</code>. Its numbers are those of this page.
        </p>
        <pre>{JSON.stringify(runInput(run), null, 2)}</pre>
      </details>
    </section>
  );
}

function factsOf({ state, step, milliseconds, parameters }: Lane): string {
  if (state === 'loading') return 'loading …';
  if (state === 'beginning') return 'compiling …';
  const speed = milliseconds === null ? '' : `, ${(1000 / milliseconds).toFixed(1)} steps/s`;
  return `${Math.round(parameters / 1000)} thousand weights, step ${step}${speed}`;
}

/** How to read the picture of the layers, and the cheap layers that are no window. */
function layersNote({ cheap, cheapCount }: PlaygroundRun): string {
  const picture = 'One square for each layer, the first at the left: each row is a token, colored where it can look.';
  if (cheap === 'swa' || cheapCount === 0) return picture;
  return `${picture} ${CHEAP_LAYERS[cheap]} has no window: it keeps a summary of all tokens so far, its state, of a size that stays.`;
}
