/** Where tokens lie in a text: found by laying each token's own text over the text, byte by byte. */
import { CHARACTER_BYTES } from './bpe/bytes.js';

/** Code points `[start, end)` of a text. */
export type Span = readonly [number, number];

/** What is read of a `tokenizer.json`. */
interface TokenizerJson {
  readonly added_tokens?: readonly AddedToken[];
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
  readonly post_processor?: unknown;
}
interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
}

/** A text that a token may stand for. */
interface Form {
  readonly bytes: Uint8Array;
  /** Whether `▁` stands for a space too. */
  readonly metaspace: boolean;
  /** The added token that it spells; null for ordinary tokens. */
  readonly added: AddedToken | null;
}

/** Bytes of a text as the tokenizer reads it, and for each the code point that it comes from. */
interface Places {
  readonly bytes: Uint8Array;
  readonly points: Int32Array;
  /** Code points of the text. */
  readonly length: number;
}

const METASPACE = [0xe2, 0x96, 0x81] as const;
const SPACE = 0x20;
const SPACES = /^\p{White_Space}+/u;

/** The byte behind the white space that begins at byte `at`. */
function spaceEnd(bytes: Uint8Array, at: number): number {
  // White space has at most three bytes; more than a few are read in pieces of 64.
  for (let from = at; ;) {
    const text = Buffer.from(bytes.subarray(from, from + 64)).toString();
    const spaces = Buffer.byteLength(SPACES.exec(text)?.[0] ?? '');
    from += spaces;
    if (spaces < 62) return from;
  }
}
/** A character and what may be composed with it: marks, and vowels and finals of Hangul. */
const COMPOSED = /[^\p{M}][\p{M}\u1160-\u11ff]*|\p{M}+/gsu;
const NORMALIZERS: Readonly<Record<string, (text: string) => string>> = {
  NFC: (text) => text.normalize('NFC'),
  NFD: (text) => text.normalize('NFD'),
  NFKC: (text) => text.normalize('NFKC'),
  NFKD: (text) => text.normalize('NFKD'),
  Lowercase: (text) => text.toLowerCase(),
};

/**
 * Finds the places of a tokenizer's tokens: byte-level tokens, `▁` for spaces, `<0x4F>` for bytes, and added tokens.
 */
export class TokenPlaces {
  readonly #byteLevel: boolean;
  readonly #added: ReadonlyMap<number, AddedToken>;
  readonly #normalizers: readonly ((text: string) => string)[];
  readonly #trim: { readonly prefix: boolean } | null;
  readonly #tokenOf: (id: number) => string | undefined;
  readonly #forms = new Map<number, readonly Form[]>();

  constructor(json: object, tokenOf: (id: number) => string | undefined) {
    const { added_tokens: added = [], normalizer, pre_tokenizer: split, post_processor: after } = json as TokenizerJson;
    this.#byteLevel = typesOf(split).includes('ByteLevel') || typesOf(normalizer).includes('ByteLevel');
    this.#added = new Map(added.map((token) => [token.id, token]));
    this.#normalizers = typesOf(normalizer).flatMap((type) => NORMALIZERS[type] ?? []);
    this.#trim = trimOf(after);
    this.#tokenOf = tokenOf;
  }

  /**
   * The code points `[start, end)` that each token holds any byte of; of a token that holds none, such as a space put
   * before a text, the one behind it. These are the offsets of the Rust library, before any spaces are trimmed.
   *
   * @returns the id of the first token that cannot be placed, where the tokens do not spell the text
   */
  find(text: string, ids: Int32Array): readonly Span[] | { readonly unplaced: number } {
    const places = this.#placesOf(text);
    const ends = this.#align(places, ids);
    if (typeof ends === 'number') return { unplaced: ends };
    const { points, length } = places;
    return Array.from(ids, (_, i) => {
      const [from, to] = [i === 0 ? 0 : (ends[i - 1] as number), ends[i] as number];
      const start = points[from] ?? length;
      return [start, Math.min(length, 1 + (points[Math.max(from, to - 1)] ?? length))] as const;
    });
  }

  /**
   * The spans without the spaces at the ends of tokens, where the tokenizer leaves those out of its offsets (Llama 3).
   */
  trimmed(spans: readonly Span[], ids: Int32Array): readonly Span[] {
    const trim = this.#trim;
    if (trim === null) return spans;
    return spans.map(([start, end], i) => {
      const token = this.#tokenOf(ids[i] as number) ?? '';
      const spaces = (pattern: RegExp) => [...(pattern.exec(token)?.[0] ?? '')].length;
      const [front, back] = [spaces(/^[\s\u0120]*/u), spaces(/[\s\u0120]*$/u)];
      // A single space before the first token counts as put there by the tokenizer.
      const kept = trim.prefix && front === 1 && (i === 0 || start === 0);
      const from = Math.min(start + (kept ? 0 : front), end);
      return [from, Math.max(end - back, from)] as const;
    });
  }

  /** The byte behind each token, or the token at which no way of reading the ids goes on. */
  #align({ bytes }: Places, ids: Int32Array): Int32Array | number {
    const ends = new Int32Array(ids.length);
    const open: { i: number; end: number; fresh: boolean }[] = [];
    const tried = new Set<string>();
    let [i, at, fresh, furthest] = [0, 0, true, 0];
    for (;;) {
      if (i === ids.length && at === bytes.length) return ends;
      const plain = i < ids.length && !fresh ? this.#plainEnd(bytes, at, ids[i] as number) : null;
      if (plain !== null) {
        ends[i] = at = plain;
        furthest = Math.max(furthest, (i += 1));
        continue;
      }
      const ways = i < ids.length ? this.#ways(bytes, at, ids[i] as number, fresh) : [];
      for (const way of ways.slice(1).reverse()) open.push({ i, ...way });
      let next = ways[0] === undefined ? undefined : { i, ...ways[0] };
      while (next === undefined) {
        const other = open.pop();
        if (other === undefined) return ids[Math.min(furthest, ids.length - 1)] ?? 0;
        const key = `${other.i} ${other.end} ${other.fresh}`;
        if (!tried.has(key)) next = other;
        tried.add(key);
      }
      ends[next.i] = next.end;
      [i, at, fresh] = [next.i + 1, next.end, next.fresh];
      furthest = Math.max(furthest, i);
    }
  }

  /** Where a token ends that can be read in one way only, as most can; null of any other. */
  #plainEnd(bytes: Uint8Array, at: number, id: number): number | null {
    const forms = this.#formsOf(id);
    const [form] = forms;
    return form === undefined || forms.length > 1 || form.added !== null ? null : matched(bytes, at, form, 0);
  }

  /**
   * Where a token that begins at byte `at` may end, likeliest first. `fresh`: at the start of the text or behind an
   * added token.
   */
  #ways(bytes: Uint8Array, at: number, id: number, fresh: boolean): { end: number; fresh: boolean }[] {
    return this.#formsOf(id).flatMap((form) => {
      const { added } = form;
      let from = at;
      if (added?.lstrip === true) from = spaceEnd(bytes, from);
      const ends = [matched(bytes, from, form, 0)];
      // A space that the tokenizer puts before a text is not in it.
      const prefix = form.metaspace ? METASPACE.length : 1;
      if (fresh && startsWithSpace(form)) ends.push(matched(bytes, from, form, prefix));
      return ends.flatMap((end) => {
        if (end === null) return [];
        let to = end;
        if (added?.rstrip === true) to = spaceEnd(bytes, to);
        return [{ end: to, fresh: added !== null }];
      });
    });
  }

  #formsOf(id: number): readonly Form[] {
    const known = this.#forms.get(id);
    if (known !== undefined) return known;
    const added = this.#added.get(id) ?? null;
    const token = this.#tokenOf(id) ?? '';
    const own = this.#byteLevel ? byteLevelForm(token) : fallbackForm(token);
    const spelled = added === null ? [] : [{ bytes: Buffer.from(added.content), metaspace: false, added }];
    const forms = [...spelled, ...(own === null ? [] : [own])];
    this.#forms.set(id, forms);
    return forms;
  }

  #placesOf(text: string): Places {
    const parts: { readonly text: string; readonly place: number }[] = [];
    let at = 0;
    const normal = (part: string) => this.#normalizers.reduce((t, normalize) => normalize(t), part);
    if (isAscii(text) && normal(text) === text) {
      const points = new Int32Array(text.length);
      for (let i = 0; i < points.length; i++) points[i] = i;
      return { bytes: Buffer.from(text, 'latin1'), points, length: text.length };
    }
    const units = normal(text) === text ? text : [...text.matchAll(COMPOSED)].map(([unit]) => unit);
    for (const unit of units) {
      const [count, changed] = [[...unit].length, units === text ? unit : normal(unit)];
      // Of a sequence that is composed or taken apart, characters stand for those at the same place, as in the Rust
      // library.
      [...changed].forEach((char, i) => parts.push({ text: char, place: at + Math.min(i, count - 1) }));
      at += count;
    }
    const bytes = Buffer.from(parts.map((p) => p.text).join(''));
    const points = new Int32Array(bytes.length);
    let byte = 0;
    for (const part of parts) {
      const width = Buffer.byteLength(part.text);
      points.fill(part.place, byte, byte + width);
      byte += width;
    }
    return { bytes, points, length: at };
  }
}

/** Whether every character of a text is one byte. */
function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

/** How a post-processor trims offsets; null if it does not. */
function trimOf(step: unknown): { readonly prefix: boolean } | null {
  if (typeof step !== 'object' || step === null) return null;
  const { type, processors, trim_offsets: trims, add_prefix_space: prefix } = step as Readonly<Record<string, unknown>>;
  if (type === 'ByteLevel' || type === 'RobertaProcessing')
    return trims === false ? null : { prefix: prefix !== false };
  return Array.isArray(processors) ? (processors.map(trimOf).find((found) => found !== null) ?? null) : null;
}

/** The types of a normalizer or pre-tokenizer and of those that it is a sequence of. */
function typesOf(step: unknown): string[] {
  if (typeof step !== 'object' || step === null) return [];
  const { type, normalizers, pretokenizers } = step as Readonly<Record<string, unknown>>;
  const inner = [normalizers, pretokenizers].flatMap((list) => (Array.isArray(list) ? list.flatMap(typesOf) : []));
  return [...(typeof type === 'string' ? [type] : []), ...inner];
}

function byteLevelForm(token: string): Form | null {
  const bytes = Array.from(token, (char) => CHARACTER_BYTES.get(char));
  if (!bytes.every((byte): byte is number => byte !== undefined)) return null;
  return { bytes: Uint8Array.from(bytes), metaspace: false, added: null };
}

function fallbackForm(token: string): Form {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
  const bytes = byte === undefined ? Buffer.from(token) : Uint8Array.of(parseInt(byte, 16));
  return { bytes, metaspace: byte === undefined, added: null };
}

const metaspaceAt = (bytes: Uint8Array, i: number): boolean => METASPACE.every((byte, k) => bytes[i + k] === byte);

const startsWithSpace = ({ bytes, metaspace, added }: Form): boolean =>
  added === null && (metaspace ? metaspaceAt(bytes, 0) : bytes[0] === SPACE);

/** The byte of the text behind a form from its byte `skip` on that begins at `at`; null if the text reads otherwise. */
function matched(text: Uint8Array, at: number, { bytes, metaspace }: Form, skip: number): number | null {
  let to = at;
  for (let i = skip; i < bytes.length;) {
    if (metaspace && text[to] === SPACE && metaspaceAt(bytes, i)) {
      i += METASPACE.length;
      to += 1;
    } else if (text[to] === bytes[i]) {
      i += 1;
      to += 1;
    } else return null;
  }
  return to;
}
