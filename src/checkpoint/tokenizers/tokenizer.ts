/** A `tokenizer.json` as functions between texts and token ids, with the results of the Rust library `tokenizers`. */
import { DataError, parseConfig } from '../../core/index.js';
import { byteBpeOf } from './byte-bpe.js';
import { IdBuffer } from '../bpe/words.js';
import { addedTokensOf, type AddedTokens } from './added-tokens.js';
import { decoderOf } from './decoders.js';
import { modelOf, vocabularyOf, type Vocabulary } from './models.js';
import { mayMoveStart, normalizerOf, normalizerSteps, onlyForm, type Normalizer } from './normalizers.js';
import { surroundingsOf, type Surroundings } from './post-processors.js';
import { preTokenizerOf, preTokenizerSteps } from './pre-tokenizers.js';
import { tokenizerFile, withModelType, type TokenizerFile } from './schema.js';
import { wellFormed } from '../bpe/unicode.js';

/** A tokenizer that a `tokenizer.json` describes. */
export interface JsonTokenizer {
  /** The ids of a text without special tokens around it; added tokens that it spells out become their ids. */
  encode(text: string): Int32Array;
  /** The text of token ids. Ids that are no tokens are left out; so are special tokens, if `skipSpecial` is set. */
  decode(ids: Iterable<number>, options?: { readonly skipSpecial?: boolean }): string;
  readonly around: Surroundings;
  readonly vocabSize: number;
  /** Whether text may be cut at `lastCut` without changing ids. */
  readonly cuttable: boolean;
  tokenToId(token: string): number | undefined;
  idToToken(id: number): string | undefined;
}

/**
 * Makes a tokenizer of the content of a `tokenizer.json`.
 *
 * @param json the content of a `tokenizer.json`
 * @param path its name, for errors
 * @throws ConfigError if a field is unknown, missing or of a wrong kind, or a component is not implemented
 * @throws DataError if a component has a setting that is not implemented, or the parts do not fit together
 */
export function jsonTokenizer(json: unknown, path: string): JsonTokenizer {
  const file = parseConfig(tokenizerFile, withModelType(json), path);
  try {
    return build(file);
  } catch (cause) {
    if (!(cause instanceof DataError)) throw cause;
    throw new DataError(`${path}: ${cause.message}`, { details: { ...cause.details, path }, cause });
  }
}

function build(file: TokenizerFile): JsonTokenizer {
  const vocabulary = vocabularyOf(file.model);
  const steps = normalizerSteps(file.normalizer);
  const normalizer = normalizerOf(steps);
  const added = addedTokensOf(file.added_tokens, (token) => vocabulary.idOf.get(token), vocabulary.size, normalizer);
  checkPrepending(file);
  const words = byteBpeOf(file, vocabulary.idOf) ?? { encode: wordsOf(file, vocabulary), cuttable: false };
  const decode = decoderOf(file.decoder);
  const idToToken = (id: number) => added.contentOf.get(id) ?? vocabulary.tokenOf.get(id);
  const tokenToId = (token: string) => vocabulary.idOf.get(token) ?? added.idOf.get(token);
  let vocabSize = 0;
  for (const id of [...vocabulary.tokenOf.keys(), ...added.contentOf.keys()]) vocabSize = Math.max(vocabSize, id + 1);
  return {
    encode: (text) => encode(text, added, normalizer, words.encode),
    decode: (ids, { skipSpecial = false } = {}) => {
      const tokens: string[] = [];
      for (const id of ids) {
        const token = idToToken(id);
        if (token !== undefined && !(skipSpecial && added.special.has(token))) tokens.push(token);
      }
      return decode(tokens);
    },
    around: surroundingsOf(file.post_processor),
    vocabSize,
    cuttable: words.cuttable && !added.contextual && (steps.length === 0 || onlyForm(steps) === 'NFC'),
    tokenToId,
    idToToken,
  };
}

/** Appends the ids of a text without added tokens. `first` says whether the text as given begins with it. */
type Words = (text: string, first: boolean, out: IdBuffer) => void;

function encode(given: string, added: AddedTokens, normalizer: Normalizer | null, words: Words): Int32Array {
  const text = wellFormed(given);
  const out = new IdBuffer(Math.max(16, Math.ceil(text.length / 2)));
  const token = (id: number) => out.push(id);
  const plain = (from: number, to: number): void => {
    const part = text.slice(from, to);
    const normalized = normalizer === null ? part : normalizer(part);
    const word = (a: number, b: number) => words(normalized.slice(a, b), from === 0 && a === 0, out);
    if (normalized === '') return;
    if (added.normalized === null) word(0, normalized.length);
    else added.normalized(normalized, word, token);
  };
  if (text === '') return out.toArray();
  if (added.raw === null) plain(0, text.length);
  else added.raw(text, plain, token);
  return out.toArray();
}

function wordsOf(file: TokenizerFile, vocabulary: Vocabulary): Words {
  const model = modelOf(file.model, vocabulary);
  const cut = preTokenizerOf(preTokenizerSteps(file.pre_tokenizer));
  return (text, first, out) => {
    for (const piece of cut({ text, first })) model.encode(piece.text, out);
  };
}

/** Where a text begins is not followed through every normalizer. */
function checkPrepending(file: TokenizerFile): void {
  const first = preTokenizerSteps(file.pre_tokenizer).some(
    (step) => step.type === 'Metaspace' && step.prepend_scheme === 'first',
  );
  const step = normalizerSteps(file.normalizer).find(mayMoveStart);
  if (first && step !== undefined) {
    throw new DataError(`prepend_scheme "first" of Metaspace after the normalizer ${step.type} is not supported`);
  }
}
