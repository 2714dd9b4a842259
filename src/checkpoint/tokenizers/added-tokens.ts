/**
 * Added tokens, which are cut out of a text before its words are: first those that are not normalized, from the text as
 * given, then the others, from the normalized text in between.
 */
import { got, DataError, showValue } from '../../core/index.js';
import { spaceStart, type Normalizer } from './normalizers.js';
import { escapeRegExp } from './pattern.js';
import type { AddedToken } from './schema.js';
import { isWordCharacterAt } from '../bpe/unicode.js';

/** Tells the text between added tokens, and their ids, in order. */
type Cutter = (text: string, plain: (from: number, to: number) => void, token: (id: number) => void) => void;

/** The added tokens of a tokenizer, and what cuts them out of a text. */
export interface AddedTokens {
  /** Cuts out tokens of the text as given; null if there are none. */
  readonly raw: Cutter | null;
  /** Cuts out tokens of the normalized text; null if there are none. */
  readonly normalized: Cutter | null;
  readonly idOf: ReadonlyMap<string, number>;
  readonly contentOf: ReadonlyMap<number, string>;
  readonly special: ReadonlySet<string>;
  /** Whether a token's place depends on what is around it, or holds white space. */
  readonly contextual: boolean;
}

/**
 * Collects the added tokens of a tokenizer, with what cuts them out of a text.
 *
 * @param idInModel the model's id of a token
 * @param modelSize how many tokens the model has
 * @throws DataError if a token's id is not the one that the Rust library gives it, which ignores the one in the file
 */
export function addedTokensOf(
  tokens: readonly AddedToken[],
  idInModel: (token: string) => number | undefined,
  modelSize: number,
  normalizer: Normalizer | null,
): AddedTokens {
  const idOf = new Map<string, number>();
  let largest = -1;
  for (const { content, id } of tokens) {
    const own = idOf.get(content) ?? idInModel(content) ?? Math.max(largest + 1, modelSize);
    if (own !== id) {
      throw new DataError(
        `added_tokens: ${showValue(content)} has id ${id}, but the Rust library gives it ${own} ` +
          '(the id in the vocabulary, or the next free one); write that id',
      );
    }
    if (idOf.has(content)) throw new DataError(`added_tokens: ${showValue(content)} is there twice`);
    idOf.set(content, id);
    largest = Math.max(largest, id);
  }
  const ordered = [...tokens.filter((t) => t.special), ...tokens.filter((t) => !t.special)];
  const raw = ordered.filter((t) => !t.normalized);
  const normalized = ordered.filter((t) => t.normalized);
  return {
    raw: cutterOf(raw, (content) => content),
    normalized: cutterOf(normalized, normalizer ?? ((content) => content)),
    idOf,
    contentOf: new Map([...idOf].map(([content, id]) => [id, content])),
    special: new Set(tokens.filter((t) => t.special).map((t) => t.content)),
    contextual: tokens.some((t) => t.single_word || t.lstrip || t.rstrip || /\s/u.test(t.content)),
  };
}

const AFTER_SPACE = /^\p{White_Space}*/u;

function cutterOf(tokens: readonly AddedToken[], normalize: Normalizer): Cutter | null {
  if (tokens.length === 0) return null;
  const byText = new Map<string, AddedToken>();
  for (const token of tokens) {
    const text = normalize(token.content);
    if (text === '') throw new DataError(`added_tokens: the normalizer leaves nothing of ${showValue(token.content)}`);
    if (!byText.has(text)) byText.set(text, token);
  }
  const pattern = anyOf([...byText.keys()]);
  return (text, plain, emit) => {
    let done = 0;
    for (const { index, 0: found } of text.matchAll(pattern)) {
      const token = got(byText, found);
      let [start, stop] = [index, index + found.length];
      if (token.single_word && !standsAlone(text, start, stop)) continue;
      if (token.lstrip) start = Math.max(done, spaceStart(text.slice(0, start)));
      if (token.rstrip) stop += AFTER_SPACE.exec(text.slice(stop))?.[0].length ?? 0;
      if (done < start) plain(done, start);
      emit(token.id);
      done = stop;
    }
    if (done !== text.length) plain(done, text.length);
  };
}

function standsAlone(text: string, start: number, stop: number): boolean {
  if (stop < text.length && isWordCharacterAt(text, stop)) return false;
  if (start === 0) return true;
  const isLow = /[\udc00-\udfff]/.test(text.charAt(start - 1));
  return !isWordCharacterAt(text, start - (isLow && start > 1 ? 2 : 1));
}

/** The leftmost, and of several there the longest, as the Rust library takes. */
function anyOf(contents: readonly string[]): RegExp {
  const longestFirst = [...contents].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map(escapeRegExp).join('|'), 'gu');
}
