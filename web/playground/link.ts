/** The designs of a race as the part of the URL behind `#`, so that a race can be linked to. No DOM. */
import {
  CHEAP_COUNTS,
  CHEAP_LAYERS,
  WINDOWS,
  type CheapLayer,
  type Design,
  type PlaygroundRun,
} from '../../src/playground/design.js';

const STANDARD: Design = { cheap: 'swa', window: 8, cheapCount: 2, nope: false };

const print = ({ cheap, window, cheapCount, nope }: Design): string =>
  [cheap, window, cheapCount, nope ? 'nope' : 'rope'].join('-');

/** Reads `swa-8-2-rope`; null for anything else. */
function parse(text: string | null): Design | null {
  const [cheap = '', window, count, positions] = (text ?? '').split('-');
  const design = {
    cheap: (Object.keys(CHEAP_LAYERS) as CheapLayer[]).find((kind) => kind === cheap),
    window: WINDOWS.find((one) => String(one) === window),
    cheapCount: CHEAP_COUNTS.find((one) => String(one) === count),
  };
  if (design.cheap === undefined || design.window === undefined || design.cheapCount === undefined) return null;
  return { cheap: design.cheap, window: design.window, cheapCount: design.cheapCount, nope: positions === 'nope' };
}

/** The text behind the address, such as `#a=swa-8-2-rope&b=swa-32-2-rope&seed=1`. */
export const printRuns = ([a, b]: readonly [PlaygroundRun, PlaygroundRun]): string =>
  `#a=${print(a)}&b=${print(b)}&seed=${a.seed}`;

/** The designs that an address names; a small window against a large one where it names none. */
export function parseRuns(hash: string): readonly [PlaygroundRun, PlaygroundRun] {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  const number = given.get('seed') ?? '';
  const seed = /^\d{1,9}$/.test(number) ? Number(number) : 1;
  return [
    { ...(parse(given.get('a')) ?? STANDARD), seed },
    { ...(parse(given.get('b')) ?? { ...STANDARD, window: 32 }), seed },
  ];
}
