/** Pictures of the task and of what layers see. */
import { NUM_LAYERS, SEQ_LEN, type Design } from '../../src/playground/design.js';

/** A stream of letters with their numbers; the last letter asks for a number from far back. */
const STREAM = ['D', '7', 'K', '12', '·', 'A', '5', 'K', '12', '·', 'B', '9', 'A', '5', '·', 'B', '9', 'D', '?'];
const ASKED = STREAM.length - 2;

/** The task: what the last letter asks for, and where it stood. */
export function TaskPicture() {
  const label =
    'A stream of letters, each followed by its number. The last letter, D, was last seen far back, with a 7.';
  return (
    <div class="stream" role="img" aria-label={label}>
      {STREAM.map((token, i) => (
        <span key={i} class={i < 2 ? 'hit' : i >= ASKED ? 'asks' : token === '·' ? 'filler' : ''}>
          {token}
        </span>
      ))}
    </div>
  );
}

/** How much of the sequence each layer sees: rows are tokens that look, columns are tokens that are seen. */
export function LayersPicture({ design, name }: { readonly design: Design; readonly name: string }) {
  const { cheap, window, cheapCount } = design;
  const layers = Array.from({ length: NUM_LAYERS }, (_, i) =>
    i >= cheapCount ? ('full' as const) : cheap === 'swa' ? ('window' as const) : ('state' as const),
  );
  const share = Math.min(1, window / SEQ_LEN);
  const words = layers.map((kind) =>
    kind === 'window' ? `a window of ${window}` : kind === 'full' ? 'everything' : 'a running state',
  );
  return (
    <div class="layers" role="img" aria-label={`What the layers of ${name} see, from the first: ${words.join(', ')}`}>
      {layers.map((kind, i) => (
        <figure key={i}>
          <svg viewBox="0 0 40 40" width="44" height="44" aria-hidden="true">
            <rect class="mask" width="40" height="40" rx="3" />
            {kind === 'full' && <path class="seen" d="M0 0 L40 40 L0 40 Z" />}
            {kind === 'window' && <path class="seen" d={`M0 0 L40 40 L${40 - 40 * share} 40 L0 ${40 * share} Z`} />}
            {kind === 'state' &&
              [0, 8, 16, 24, 32].map((y) => (
                <path
                  key={y}
                  class="seen"
                  opacity="0.45"
                  d={`M0 ${y + 4} L${y + 4} ${y + 4} L${y + 7} ${y + 7} L0 ${y + 7} Z`}
                />
              ))}
          </svg>
          <figcaption>{kind === 'window' ? `sees ${window}` : kind === 'full' ? 'sees all' : 'state'}</figcaption>
        </figure>
      ))}
    </div>
  );
}
