/** Needles in a haystack: RULER's eight, their variants, and the pass key (Mohtashami and Jaggi 2023). */
import { present, at, type Rng } from '../../core/index.js';
import { choose, number, pick, shuffled, uuid } from './draw.js';
import type { Draft, RulerGenerator, RulerSources, RulerTask } from './types.js';

/** RULER's noise: 19 words, 89 characters. */
export const NOISE = 'The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.';

/** The 40 depths in percent at which needles may stand in an essay: `round(linspace(0, 100, 40))`. */
export const ESSAY_DEPTHS: readonly number[] = Array.from({ length: 40 }, (_, i) => Math.round((100 * i) / 39));

/** What needles are hidden in: repeated noise, an essay, or other needles. */
type Haystack = 'noise' | 'essay' | 'needle';
/** What keys and values of needles are made of. */
type NeedleType = 'words' | 'numbers' | 'uuids';

/** A needle task of RULER: its haystack, the type of keys and values, and how many of each there are. */
export interface NeedleSpec {
  readonly haystack: Haystack;
  readonly keyType: NeedleType;
  readonly valueType: NeedleType;
  /** Distinct keys in the context. */
  readonly keys: number;
  /** Values of each key. */
  readonly values: number;
  /** Keys that the question asks for. */
  readonly queries: number;
}

/** A needle's key or value. */
function part(rng: Rng, type: NeedleType, { words }: RulerSources): string {
  switch (type) {
    case 'words':
      return `${pick(rng, words.adjectives)}-${pick(rng, words.nouns)}`;
    case 'numbers':
      return number(rng, 7);
    case 'uuids':
      return uuid(rng);
  }
}

const needleText = (type: NeedleType, key: string, value: string): string =>
  `One of the special magic ${type} for ${key} is: ${value}.`;

/** `a`, `a, and b`, `a, b, and c`, as RULER joins queries. */
function enumerate(items: readonly string[]): string {
  const last = items.at(-1) ?? '';
  return items.length < 2 ? last : `${items.slice(0, -1).join(', ')}, and ${last}`;
}

/** Lines with needles put between them: before line `at[i]`, in the order of the places. */
function withInserted(lines: readonly string[], at: readonly number[], needles: readonly string[]): string[] {
  const byPlace = at.map((place, i) => ({ place, needle: present(needles[i]) }));
  const order = [...byPlace].sort((a, b) => a.place - b.place);
  const out: string[] = [];
  let next = 0;
  for (let i = 0; i <= lines.length; i++) {
    for (; order[next]?.place === i; next++) out.push(present(order[next]).needle);
    if (i < lines.length) out.push(present(lines[i]));
  }
  return out;
}

/**
 * A window of about `size` words of the essay, in whole sentences, from a random sentence on; it goes round at the end.
 */
export function essayWindow(rng: Rng, { essay }: RulerSources, size: number): string[] {
  const { sentences, counts } = essay;
  const out: string[] = [];
  let words = 0;
  for (let i = rng.int(sentences.length); words < size; i = (i + 1) % sentences.length) {
    const [sentence, count] = [at(sentences, i), at(counts, i)];
    const cut = words + count > size ? sentence.split(' ').slice(0, size - words) : null;
    out.push(cut === null ? sentence : cut.join(' '));
    words += cut === null ? count : cut.length;
  }
  return out;
}

/** The haystack of `size` units with the needles in it. */
function haystackText(
  rng: Rng,
  haystack: Haystack,
  size: number,
  needles: readonly string[],
  sources: RulerSources,
  distractor: () => string,
): string {
  if (haystack === 'essay') {
    const sentences = essayWindow(rng, sources, size);
    const depths = choose(rng, ESSAY_DEPTHS.length, needles.length).map((i) => at(ESSAY_DEPTHS, i));
    const places = depths.map((depth) => Math.floor((sentences.length * depth) / 100));
    return withInserted(sentences, places, needles).join(' ');
  }
  const lines = Array.from({ length: size }, () => (haystack === 'noise' ? NOISE : distractor()));
  return withInserted(lines, choose(rng, size, needles.length), needles).join('\n');
}

/** RULER's words for many answers or one. */
function niahPrompt(type: NeedleType, context: string, query: string, single: boolean): [string, string] {
  const one = type.slice(0, -1);
  const head = single ? `A special magic ${one} is` : `Some special magic ${type} are`;
  const about = single ? one : type;
  const input =
    `${head} hidden within the following text. Make sure to memorize it. ` +
    `I will quiz you about the ${about} afterwards.\n${context}\n` +
    (single
      ? `What is the special magic ${one} for ${query} mentioned in the provided text?`
      : `What are all the special magic ${type} for ${query} mentioned in the provided text?`);
  const prefix = single
    ? ` The special magic ${one} for ${query} mentioned in the provided text is`
    : ` The special magic ${type} for ${query} mentioned in the provided text are`;
  return [input, prefix];
}

function drawNeedles(rng: Rng, spec: NeedleSpec, size: number, sources: RulerSources): Draft {
  const { haystack, keyType, valueType, values, queries } = spec;
  const keys = new Set<string>();
  while (keys.size < Math.max(spec.keys, queries)) keys.add(part(rng, keyType, sources));
  const pairs = [...keys].map((key) => ({
    key,
    values: Array.from({ length: values }, () => part(rng, valueType, sources)),
  }));
  const needles = pairs.flatMap(({ key, values: own }) => own.map((value) => needleText(valueType, key, value)));
  const distractor = (): string => {
    let key = part(rng, keyType, sources);
    while (keys.has(key)) key = part(rng, keyType, sources);
    return needleText(valueType, key, part(rng, valueType, sources));
  };
  const asked = choose(rng, pairs.length, queries).map((i) => at(pairs, i));
  const context = haystackText(rng, haystack, size, shuffled(rng, needles), sources, distractor);
  const query = enumerate(asked.map((p) => p.key));
  const [input, answerPrefix] = niahPrompt(valueType, context, query, queries * values === 1);
  const first = at(asked, 0);
  const answerAt = input.indexOf(needleText(valueType, first.key, at(first.values, 0)));
  return { input, answerPrefix, outputs: asked.flatMap((p) => p.values), answerAt };
}

/** The needle-in-a-haystack task that a specification describes. */
export function niahTask(spec: NeedleSpec): RulerTask {
  const needles = Math.max(spec.keys, spec.queries) * spec.values;
  return {
    answerTokens: 128,
    scoring: 'all',
    generator: (_budget, sources): RulerGenerator => ({
      minSize: spec.haystack === 'essay' ? 10 * needles : needles,
      maxSize: Infinity,
      draw: (rng, size) => drawNeedles(rng, spec, size, sources),
    }),
  };
}

/** The pass key task (Mohtashami and Jaggi 2023): a number of five digits, stated twice in RULER's noise. */
export const passkeyTask: RulerTask = {
  answerTokens: 16,
  scoring: 'all',
  generator: () => ({
    minSize: 1,
    maxSize: Infinity,
    draw: (rng, size) => {
      const key = number(rng, 5);
      const needle = `The pass key is ${key}. Remember it. ${key} is the pass key.`;
      const lines = withInserted(new Array<string>(size).fill(NOISE), [rng.int(size + 1)], [needle]);
      const input =
        'There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. ' +
        `I will quiz you about the important information there.\n${lines.join('\n')}\nWhat is the pass key?`;
      return { input, answerPrefix: ' The pass key is', outputs: [key], answerAt: input.indexOf(needle) };
    },
  }),
};
