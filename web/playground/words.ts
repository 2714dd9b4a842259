/** What has happened so far, in words. No DOM. */
import {
  CHEAP_LAYERS,
  MEASURE_EVERY,
  NUM_LAYERS,
  RECALL_BINS,
  TOTAL_STEPS,
  type Design,
} from '../../src/playground/design.js';
import type { MeasuredPoint } from '../../src/playground/protocol.js';
import type { Lane } from './lane.js';

/** Recall from which on a design counts as able to look that far. */
export const REACHED = 0.5;

/** What is measured of recall. */
type Measured = Pick<Lane, 'measured' | 'step'>;

/** Recall at the farthest distances; null without targets. */
export const farOf = ({ recall }: MeasuredPoint): number | null => recall.at(-1)?.probability ?? null;
/** Recall at the nearest distances; null without targets. */
export const nearOf = ({ recall }: MeasuredPoint): number | null => recall[0]?.probability ?? null;

/** The first measured step at which far recall reached `REACHED`; null while there is none. */
export const reachedAt = ({ measured }: Measured): number | null =>
  measured.find((point) => (farOf(point) ?? 0) >= REACHED)?.step ?? null;

/** A design in a few words, such as `window of 8`. */
export function wordsOf({ cheap, window, cheapCount, nope }: Design): string {
  const positions = nope ? ', no positions in the full layers' : '';
  if (cheapCount === 0) return `full layers only${positions === '' ? '' : ', no positions'}`;
  const kind = cheap === 'swa' ? `window of ${window}` : CHEAP_LAYERS[cheap];
  const count = cheapCount === 2 ? '' : `, ${cheapCount} cheap of ${NUM_LAYERS}`;
  return `${kind}${count}${positions}`;
}

const percent = (share: number | null | undefined): string => (share == null ? '–' : `${Math.round(100 * share)} %`);

/** Whether the second of two designs differs from the first by a larger window alone. */
const isLarger = (a: Design, b: Design): boolean =>
  a.cheap === 'swa' &&
  b.cheap === 'swa' &&
  a.cheapCount === b.cheapCount &&
  a.cheapCount > 0 &&
  a.nope === b.nope &&
  b.window > a.window;

/** What a race says of windows, where the designs differ in nothing else; empty else. */
function windowWords(first: Design, second: Design): string {
  if (isLarger(first, second)) return ' So here the larger window learned later to look far back.';
  return isLarger(second, first) ? ' So here the larger window learned sooner to look far back.' : '';
}

/** Where two designs stand, in one or two sentences; `farFrom` is the least distance that counts as far. */
export function headline(lanes: readonly [Lane, Lane], farFrom: number): string {
  const [lastA, lastB] = [lanes[0].measured.at(-1), lanes[1].measured.at(-1)];
  if (lastA === undefined || lastB === undefined) return 'Getting ready …';
  const step = Math.min(lastA.step, lastB.step);
  if (step === 0)
    return lanes.some((lane) => lane.step > 0 || lane.state === 'training')
      ? `Both train. What they have learned shows every ${MEASURE_EVERY} steps.`
      : 'Neither model has learned anything yet. Press Race.';
  const found = lanes.map((lane, i) => ({
    ...{ name: i === 0 ? 'A' : 'B', run: lane.run },
    ...{ words: wordsOf(lane.run), at: reachedAt(lane) },
  }));
  const [first, second] = found.sort((x, y) => (x.at ?? Infinity) - (y.at ?? Infinity));
  if (first === undefined || second === undefined) return '';
  if (first.at === null)
    return (
      `After ${step} steps neither model knows numbers from ${farFrom} or more tokens back. ` +
      `Recall from nearby (1 to ${RECALL_BINS[0]}): A ${percent(nearOf(lastA))}, B ${percent(nearOf(lastB))}.`
    );
  const begin = `${first.name} (${first.words}) has known numbers from far back since step ${first.at}.`;
  const other = `${second.name} (${second.words})`;
  if (second.at !== null) {
    const times = second.at / first.at;
    return second.at === first.at
      ? `${begin} So does ${other}.`
      : `${begin} ${other} took ${second.at} steps: ${times.toPrecision(2)} times as many.${windowWords(first.run, second.run)}`;
  }
  return step >= TOTAL_STEPS
    ? `${begin} ${other} does not after all ${TOTAL_STEPS} steps.${windowWords(first.run, second.run)}`
    : `${begin} ${other} does not yet, after ${step}.`;
}
