/**
 * What a kind of data source is: one definition in a file of this folder, listed in `table.ts`; everything else
 * derives.
 */
import type { z } from 'zod';
import { realNumber } from '../../core/index.js';
import type { TextTokenizer, TokenizerOrigin } from '../../checkpoint/index.js';
import type { Split, TextCorpus } from '../corpus.js';
import type { RecallOptions } from '../recall.js';
import type { DataSource } from '../source.js';
import type { GramSource } from '../grams/training.js';

/** What needle samples can be made of: held-out text in bytes, text in a tokenizer's tokens, or the recall stream. */
export type NeedleMaterial =
  | { readonly kind: 'text'; readonly corpus: TextCorpus }
  | { readonly kind: 'tokens'; readonly tokenizer: TextTokenizer }
  | { readonly kind: 'recall'; readonly options: RecallOptions };

/** A document that is held out. */
export interface HeldOutDocument {
  /** Its number, which no other document of the data has. */
  readonly document: number;
  /** Its tokens, that which ends it among them. */
  readonly length: number;
  /** Fills `into` with its tokens from `from` on; they must lie in it. */
  read(this: void, from: number, into: Int32Array): void;
}

/** A data source with its files open. Disposing it closes them. */
export interface OpenedSource extends Disposable {
  /**
   * A fresh stream of sequences of one split; null if nothing is held out and `heldOut` is asked for.
   *
   * @throws DataError if the split is shorter than one sequence
   */
  stream(split: Split, seqLen: number, seed: number): DataSource | null;
  /**
   * What a user should know of the source, in sentences: documents that were left out, held-out text that does not
   * count.
   */
  notes(seqLen: number): string[];
  /** What needle samples for a model of this data are made of; null if the source has nothing that can hold one. */
  readonly needles: NeedleMaterial | null;
  /** The options of the recall stream if recall by distance can be measured on this source, else null. */
  readonly recall: RecallOptions | null;
  /**
   * The documents of a source of text that holds some out, by which associative recall is measured; left out elsewhere.
   */
  readonly grams?: GramSource | null;
  /** The documents that are held out and that the source takes, in their order; left out where data are no text. */
  heldOutDocuments?(): readonly HeldOutDocument[];
}

/** Where a source is opened. */
export interface SourceContext {
  /** The source's place in the data configuration, from 0; it names random streams. */
  readonly index: number;
  /** The folder in which relative paths start. */
  readonly baseDir: string;
  /**
   * Marks files as read by this source.
   *
   * @throws DataError if another source reads one of them already
   */
  readonly claim: (files: readonly string[]) => void;
}

/** The definition of a kind of data source: its options, and what opens it. */
export interface SourceKind<S extends z.ZodType> {
  /**
   * The options under `data` in a run file, `kind` and `weight` among them; docs/config.md is made from their
   * descriptions.
   */
  readonly schema: S;
  /** The options that hold a path or a list of paths; relative ones start at the folder of the run file. */
  readonly paths: readonly (keyof z.output<S> & string)[];
  /** The smallest vocabulary that holds every token of the source; 0 if it is not known before the source is opened. */
  vocabSize(config: z.output<S>): number;
  /** The tokenizer of the source's text, for exported models; null if the source is not text. */
  tokenizer(config: z.output<S>): TokenizerOrigin;
  /** Opens the files. Throws `DataError` for files that are missing, unreadable or hold too little. */
  open(config: z.output<S>, context: SourceContext): OpenedSource;
}

/** Defines a kind of data source; `table.ts` lists the definitions. */
export function defineSource<S extends z.ZodType>(source: SourceKind<S>): SourceKind<S> {
  return source;
}

/** The option `weight`, which every kind of source has. */
export const weight = realNumber()
  .positive()
  .default(1)
  .describe('share of sequences from this source, relative to the others');
