/** Texts for a model: from files, from what a run held out, in the model's own tokens. */
import { byteTokenizer, endTokens, type TextTokenizer } from '../checkpoint/index.js';
import { checkTokenIds, ConfigError, DataError, readUtf8 } from '../core/index.js';
import { BYTE_VOCAB_SIZE, hasShards, kindOf, nextBatch, packingOf, readManifest, textRows } from '../data/index.js';
import { openRunData } from '../train/index.js';
import { shardsOf, type OpenedModel } from './open-model.js';

/**
 * Where the token shards of a run were, if none of them is there any more: its tokenizer and end of text are not
 * known then.
 */
export function missingShards({ run }: OpenedModel): string | null {
  const all = run?.run.data.flatMap((s) => (s.kind === 'shards' ? [s.path] : [])) ?? [];
  return all.every((path) => !hasShards(path)) ? (all[0] ?? null) : null;
}

/**
 * The tokens that end a text: as the folder of a saved model says, or as they end the documents of a run's shards; of
 * a run on bytes 0, which no text holds. Empty if none is known.
 */
export function stopTokensOf(model: OpenedModel): number[] {
  const { run, source: path } = model;
  if (run === null) return endTokens(path);
  const ends = shardsOf(run).map((shards) => readManifest(shards.path).tokenizer.endOfText);
  if (ends.length > 0) return [...new Set(ends)];
  const end = readsText(model) ? byteTokenizer().endOfText : null;
  return end === null ? [] : [end];
}

/** A text and what messages call it. */
export interface NamedText {
  readonly name: string;
  readonly text: string;
}

/**
 * Texts of a file: the prompts of JSON lines, or the whole of a text file.
 *
 * @throws DataError for files of other kinds (tables, markup, Parquet, compressed), and for bytes that are no UTF-8
 */
export function readTextFile(path: string): NamedText[] {
  if (packingOf(path) !== null) throw new DataError(`${path} is compressed; unpack it first`);
  const kind = kindOf(path);
  if (kind === 'parquet')
    throw new DataError(`${path} is a Parquet file; write its texts as JSON lines (.jsonl) or .txt`);
  if (kind === 'text') return [{ name: path, text: readUtf8(path, 'keep') }];
  return textRows(readUtf8(path, 'drop'), path);
}

/** Whether a run trained on text in bytes. */
export const readsText = ({ run, config }: OpenedModel): boolean =>
  (run?.run.data.some((s) => s.kind === 'text') ?? false) && config.vocabSize >= BYTE_VOCAB_SIZE;

/** Whether a run has text of its own that it did not train on. */
export function holdsTextOut(model: OpenedModel): boolean {
  if (model.run === null || !readsText(model)) return false;
  using data = openRunData(model.run.run);
  return data.heldOut() !== null;
}

/** What makes tokens of a model's texts: its tokenizer, or bytes. Throws `DataError` if the model reads neither. */
export function tokenizerOf(model: OpenedModel): TextTokenizer {
  const { tokenizer, run, source: path } = model;
  if (tokenizer !== null) return tokenizer;
  if (readsText(model)) return byteTokenizer();
  const moved = missingShards(model);
  if (moved !== null) {
    throw new DataError(
      `${path} was trained on token shards that are not at ${moved} any more; put them back to read texts`,
    );
  }
  const why = run === null ? 'has no tokenizer.json' : 'was not trained on text';
  throw new DataError(`${path} ${why}, so it cannot read texts; name another model`);
}

/**
 * A text in a model's tokens, as every command reads it: what the tokenizer puts in front of texts first, nothing
 * behind.
 */
export function tokensOf(model: OpenedModel, text: string): Int32Array {
  return tokenizerOf(model).encode(text, { special: true });
}

/** The text of tokens; of models without a tokenizer, whose tokens are not bytes either, the ids with spaces. */
export function textOf(model: OpenedModel, tokens: ArrayLike<number>): string {
  if (model.tokenizer !== null || readsText(model)) return tokenizerOf(model).decode(tokens);
  return Array.from(tokens, (id) => ` ${id}`).join('');
}

/** Which sequences are read. */
export interface SequenceOptions {
  readonly texts?: string | undefined;
  readonly samples: number;
  readonly maxTokens?: number | undefined;
  /** Tokens that the model sees at once, where sequences are read in windows. */
  readonly window?: number | undefined;
}

/**
 * Token sequences to analyze: of `--texts`, cut on the right at `maxTokens`, or held-out sequences of the run's own
 * data.
 *
 * @throws ConfigError where neither is there
 */
export function sequencesOf(model: OpenedModel, options: SequenceOptions): Int32Array[] {
  const found = readSequences(model, options);
  const longest = found.reduce((most, tokens) => Math.max(most, tokens.length), 0);
  model.noteLength(Math.min(longest, options.window ?? Infinity));
  return found;
}

function readSequences(model: OpenedModel, { texts, samples, maxTokens = Infinity }: SequenceOptions): Int32Array[] {
  if (texts !== undefined) {
    const chosen = readTextFile(texts).slice(0, samples);
    return chosen.map(({ text }) => tokensOf(model, text).subarray(0, maxTokens));
  }
  if (model.run === null) throw new ConfigError('an imported model has no data of its own; name texts (--texts FILE)');
  using data = openRunData(model.run.run);
  const heldOut = data.heldOut();
  if (heldOut === null) throw new ConfigError(`${model.source} holds no data out; name texts (--texts FILE)`);
  const { tokens, seqLen } = nextBatch(heldOut, samples);
  checkTokenIds(tokens, model.config.vocabSize, 'the held-out data give');
  return Array.from({ length: samples }, (_, i) => tokens.slice(i * seqLen, (i + 1) * seqLen).subarray(0, maxTokens));
}
