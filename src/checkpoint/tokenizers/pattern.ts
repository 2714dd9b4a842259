/**
 * Patterns of `tokenizer.json`, which the Rust library gives to Oniguruma, as regular expressions with the same
 * matches; and what the five behaviors make of matches and what lies between them.
 */
import { toRegExpDetails } from 'oniguruma-to-es';
import { parse, type Node } from 'oniguruma-parser/parser';
import { messageOf, DataError, showValue } from '../../core/index.js';
import { asOfUnicode16 } from '../bpe/unicode.js';

/**
 * Tells `span` all of `text` in order: matches, and what lies between them. Ranges of UTF-16 units; empty matches are
 * told too.
 */
export type Finder = (text: string, span: (from: number, to: number, isMatch: boolean) => void) => void;

/** What may become of a pattern's matches: removed, words of their own, or joined to a neighbor. */
export const BEHAVIORS = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const;
/** One of `BEHAVIORS`. */
export type Behavior = (typeof BEHAVIORS)[number];

/** Tells `word` the pieces of `text` in order. */
export type Splitter = (text: string, word: (from: number, to: number) => void) => void;

/** A pattern of `tokenizer.json`: a regular expression or a plain text. */
export type Pattern = { readonly Regex: string } | { readonly String: string };

/**
 * Finds the matches of a pattern of `tokenizer.json` in a text.
 * @throws DataError if the pattern has a construct whose matches are not known to be those of Oniguruma
 */
export function finderOf(pattern: Pattern): Finder {
  return 'String' in pattern ? finderOfText(pattern.String) : finderOfRegExp(compilePattern(pattern.Regex));
}

/** Finds a text as it is. */
export function finderOfText(text: string): Finder {
  return finderOfRegExp(new RegExp(escapeRegExp(text), 'u'));
}

/** A text as a regular expression that matches exactly it. */
export const escapeRegExp = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

/** Matches of a regular expression, as Oniguruma's Rust binding walks them: no empty match directly after a match. */
export function finderOfRegExp({ source, flags }: RegExp): Finder {
  const plain = flags.replace(/[gy]/g, '');
  const [sticky, search] = [new RegExp(source, `${plain}y`), new RegExp(source, `${plain}g`)];
  return (given, span) => {
    const text = asOfUnicode16(given);
    const size = text.length;
    let [previous, lastMatch] = [0, -1];
    for (let at = 0; at <= size;) {
      sticky.lastIndex = at;
      // Mostly a match begins where the last one ended, which is tried first, without an object made of it.
      const here = sticky.test(text);
      search.lastIndex = at;
      const found = here ? null : search.exec(text);
      if (!here && found === null) break;
      const start = found?.index ?? at;
      const end = found === null ? sticky.lastIndex : start + found[0].length;
      if (start === end && end === lastMatch) {
        at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
        continue;
      }
      if (previous !== start) span(previous, start, false);
      span(start, end, true);
      previous = at = lastMatch = end;
    }
    if (previous !== size) span(previous, size, false);
  };
}

/**
 * Pieces of text around and at what is found; empty ones are left out. `invert` takes matches for what lies between,
 * and back.
 */
export function splitterOf(find: Finder, behavior: Behavior, invert: boolean): Splitter {
  if (behavior === 'Isolated') {
    return (text, word) =>
      find(text, (from, to) => {
        if (to > from) word(from, to);
      });
  }
  if (behavior === 'Removed') {
    return (text, word) =>
      find(text, (from, to, isMatch) => {
        if (to > from && isMatch === invert) word(from, to);
      });
  }
  return (text, word) => {
    const spans: Span[] = [];
    find(text, (from, to, isMatch) => spans.push({ from, to, isMatch: isMatch !== invert }));
    for (const { from, to } of MERGES[behavior](spans)) if (to > from) word(from, to);
  };
}

interface Span {
  from: number;
  to: number;
  readonly isMatch: boolean;
}

const MERGES: Readonly<Record<'Contiguous' | 'MergedWithPrevious' | 'MergedWithNext', (spans: Span[]) => Span[]>> = {
  Contiguous: (spans) => joinBackwards(spans, (isMatch, before) => isMatch === before),
  MergedWithPrevious: (spans) => joinBackwards(spans, (isMatch, before) => isMatch && !before),
  MergedWithNext: (spans) => {
    const joined: Span[] = [];
    let before = false;
    for (const span of spans.reverse()) {
      const last = joined.at(-1);
      if (span.isMatch && !before && last !== undefined) last.from = span.from;
      else joined.push({ ...span });
      before = span.isMatch;
    }
    return joined.reverse();
  },
};

function joinBackwards(spans: readonly Span[], joins: (isMatch: boolean, before: boolean) => boolean): Span[] {
  const joined: Span[] = [];
  let before = false;
  for (const span of spans) {
    const last = joined.at(-1);
    if (joins(span.isMatch, before) && last !== undefined) last.to = span.to;
    else joined.push({ ...span });
    before = span.isMatch;
  }
  return joined;
}

const WORD_IN_CLASS = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}';
/** Outside of brackets Oniguruma's `\w` also has superscript digits and fractions of Latin-1. */
const WORD = `${WORD_IN_CLASS}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}`;

/**
 * An alternative that never matches. With it the translation spells out the letters of `(?i:...)`; else it may ignore
 * case in the whole expression, where JavaScript then takes U+0345, a mark that folds to a letter, for `\p{L}`.
 */
const MATTERING_CASE = '|(?!)a';

function compilePattern(source: string): RegExp {
  const refuse = (what: string) => new DataError(`${what} in the pattern ${showValue(source)} is not supported`);
  let details: ReturnType<typeof toRegExpDetails>;
  try {
    check(parse(source), { ignoreCase: false, source }, refuse);
    details = toRegExpDetails(`${spellOutWords(source, refuse)}${MATTERING_CASE}`, { target: 'ES2024' });
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(`the pattern ${showValue(source)} cannot be read: ${messageOf(cause)}`, { cause });
  }
  if (details.options?.strategy !== undefined) throw refuse('a search that depends on the last match');
  return new RegExp(details.pattern, details.flags);
}

/** `\w`, `\W`, `\b` and `\B` spelled out, which the translation would take for slightly others. */
function spellOutWords(source: string, refuse: (what: string) => DataError): string {
  let depth = 0;
  return source.replace(/\\[\s\S]|\[:\^?\w+:\]|[[\]]/g, (part) => {
    if (part === '[') depth++;
    else if (part === ']') depth = Math.max(0, depth - 1);
    else if (part === '\\b' && depth === 0) return `(?:(?<=[${WORD}])(?![${WORD}])|(?<![${WORD}])(?=[${WORD}]))`;
    else if (part === '\\B' && depth === 0) return `(?:(?<=[${WORD}])(?=[${WORD}])|(?<![${WORD}])(?![${WORD}]))`;
    else if (part === '\\w') return depth > 0 ? WORD_IN_CLASS : `[${WORD}]`;
    else if (part === '\\W') {
      if (depth > 0) throw refuse('\\W between brackets');
      return `[^${WORD}]`;
    }
    return part;
  });
}

interface Scope {
  readonly ignoreCase: boolean;
  readonly source: string;
}

/** Letters that as a pair are the same as one character (ß, ﬁ, ﬆ) where case is ignored. */
const FOLDED_PAIRS = /ss|ff|fi|fl|st|[^\0-\x7f]/i;
const ASSERTIONS: readonly string[] = ['line_end', 'line_start', 'string_end', 'string_end_newline', 'string_start'];
const SETS: readonly string[] = ['any', 'digit', 'dot', 'hex', 'newline', 'non_newline', 'property', 'space', 'word'];
const POSIX: readonly string[] = ['alnum', 'alpha', 'digit', 'punct', 'space', 'xdigit'];

/** Refuses what is not known to match the same. */
function check(node: Node, scope: Scope, refuse: (what: string) => DataError): void {
  const inside = (nodes: readonly Node[], next = scope) => nodes.forEach((child) => check(child, next, refuse));
  switch (node.type) {
    case 'Regex':
    case 'Alternative':
    case 'CapturingGroup':
    case 'LookaroundAssertion':
      return inside(node.body);
    case 'CharacterClass':
      if (node.negate && scope.ignoreCase) throw refuse('a negated class with case ignored');
      return inside(node.body);
    case 'Quantifier':
      return check(node.body, scope, refuse);
    case 'Group':
      return inside(node.body, { ...scope, ignoreCase: ignoresCase(node.flags, scope, refuse) });
    case 'Assertion':
      if (node.kind === 'word_boundary' && !scope.ignoreCase) return;
      if (!ASSERTIONS.includes(node.kind)) throw refuse(`the assertion "${node.kind.replaceAll('_', ' ')}"`);
      return;
    case 'CharacterSet':
      if (scope.ignoreCase) throw refuse('a set of characters with case ignored');
      if (node.kind === 'posix' ? !POSIX.includes(node.value) : !SETS.includes(node.kind)) {
        throw refuse(node.kind === 'posix' ? `[:${node.value}:]` : `the set "${node.kind.replaceAll('_', ' ')}"`);
      }
      if (node.kind === 'property' && !isKnownProperty(node.value)) throw refuse(`\\p{${node.value}}`);
      return;
    case 'CharacterClassRange':
      if (scope.ignoreCase) throw refuse('a range of characters with case ignored');
      return;
    case 'Character':
      return;
    default:
      throw refuse(NAMES[node.type] ?? node.type);
  }
}

const NAMES: Readonly<Record<string, string>> = {
  AbsenceFunction: 'an absence function',
  Backreference: 'a back-reference',
  Directive: 'an inline flag without its own group',
  NamedCallout: 'a callout',
  Subroutine: 'a subroutine call',
};

interface GroupFlags {
  readonly ignoreCase?: boolean | undefined;
  readonly dotAll?: boolean | undefined;
  readonly extended?: boolean | undefined;
}

function ignoresCase(
  flags: { readonly enable?: GroupFlags; readonly disable?: GroupFlags } | undefined,
  { ignoreCase, source }: Scope,
  refuse: (what: string) => DataError,
): boolean {
  if (flags?.enable?.extended === true || flags?.disable?.extended === true) throw refuse('the flag x');
  if (flags?.disable?.ignoreCase === true) return false;
  if (flags?.enable?.ignoreCase !== true) return ignoreCase;
  if (FOLDED_PAIRS.test(source)) throw refuse('ignored case beside letters that fold into others');
  return true;
}

const GENERAL: readonly string[] = ['Alphabetic', 'White_Space'];

/** General categories and scripts. */
function isKnownProperty(name: string): boolean {
  if (GENERAL.includes(name)) return true;
  return ['gc', 'sc'].some((kind) => {
    try {
      return new RegExp(`\\p{${kind}=${name}}`, 'u').unicode;
    } catch {
      return false;
    }
  });
}
