/** From a data configuration to streams of training and held-out batches. */
import { resolve } from 'node:path';
import { z } from 'zod';
import type { TextTokenizer } from '../checkpoint/index.js';
import { DataError, invariant, maxOf } from '../core/index.js';
import { expandFiles } from './glob.js';
import { TextCorpus, type Split } from './corpus.js';
import { CORPUS_NAMES, openCorpus } from './named.js';
import { RecallOptionsSchema, RecallSource, recallVocabSize, type RecallOptions } from './recall.js';
import { TokenShards } from './shards/dataset.js';
import { hasShards, readManifest } from './shards/manifest.js';
import { ShardsSource } from './shards/source.js';
import { MixtureSource, type DataSource } from './source.js';
import { BYTE_VOCAB_SIZE, TextSource } from './text.js';

const weight = z.number().positive().default(1).describe('share of sequences from this source, relative to the others');

export const RecallConfigSchema = z
  .strictObject({ kind: z.literal('recall'), weight, ...RecallOptionsSchema.shape })
  .superRefine((value, context) => {
    const { kind: _kind, weight: _weight, ...options } = value;
    const result = RecallOptionsSchema.safeParse(options);
    for (const { path, message } of result.error?.issues ?? []) context.addIssue({ code: 'custom', path, message });
  });

export const TextConfigSchema = z
  .strictObject({
    kind: z.literal('text'),
    weight,
    files: z
      .union([z.string().min(1), z.array(z.string().min(1))])
      .transform((files) => (typeof files === 'string' ? [files] : files))
      .default([])
      .describe('files or patterns (*, **, ?, {a,b}): text, or .jsonl with a "text" in each line'),
    corpus: z.enum(CORPUS_NAMES).optional().describe('a public-domain text by name, beside or instead of files'),
    heldOut: z.number().min(0).max(0.5).default(0.05).describe('fraction of the text held out from training'),
  })
  .refine((source) => source.files.length > 0 || source.corpus !== undefined, {
    path: ['files'],
    message: 'name text files (files) or a corpus (corpus)',
  });

export const ShardsConfigSchema = z
  .strictObject({
    kind: z.literal('shards'),
    weight,
    path: z.string().min(1).describe('folder of token shards, made by `longsight data prepare`'),
    minTokens: z
      .int()
      .min(1)
      .default(1)
      .describe('shorter documents are left out; with maxTokens, for long/short mixtures'),
    maxTokens: z.int().min(1).optional().describe('longer documents are left out (default: none)'),
    resets: z
      .boolean()
      .default(true)
      .describe('attention and recurrent state start anew at each document of a row; if not, rows are one text'),
  })
  .refine(({ minTokens, maxTokens = Infinity }) => minTokens <= maxTokens, {
    path: ['maxTokens'],
    message: 'must be at least minTokens',
  });

export const SourceConfigSchema = z.discriminatedUnion('kind', [
  RecallConfigSchema,
  TextConfigSchema,
  ShardsConfigSchema,
]);

/** One source, or a list of sources mixed by weight; a list after parsing. */
export const DataConfigSchema = z
  .union([SourceConfigSchema, z.array(SourceConfigSchema).min(1)])
  .transform((data) => (Array.isArray(data) ? data : [data]));

export type RecallConfig = z.output<typeof RecallConfigSchema>;
export type TextConfig = z.output<typeof TextConfigSchema>;
export type ShardsConfig = z.output<typeof ShardsConfigSchema>;
export type SourceConfig = z.output<typeof SourceConfigSchema>;
export type DataConfig = z.output<typeof DataConfigSchema>;

export interface OpenDataOptions {
  readonly seqLen: number;
  readonly seed: number;
  /** Where relative text files are looked for. */
  readonly baseDir: string;
}

/** Open training data. Dispose it to close the files. */
export interface OpenedData extends Disposable {
  /** The least vocabulary that a model needs for it. */
  readonly vocabSize: number;
  readonly train: DataSource;
  /**
   * A fresh stream of held-out sequences, always the same ones; null if nothing is held out. It does not depend on the
   * run's seed, so that runs of different seeds are judged on the same data.
   */
  heldOut(): DataSource | null;
  /** Sources whose held-out documents cannot be used, and why; one sentence each. */
  readonly notes: readonly string[];
  /** The options of the recall source, if there is one. */
  readonly recall: RecallOptions | null;
  /** The text sources' corpora. */
  readonly corpora: readonly TextCorpus[];
  /** The tokenizer of the first source of token shards; null if there is no such source. */
  readonly tokenizer: TextTokenizer | null;
}

/**
 * The smallest vocabulary that holds every token of the data; 0 where only shards that are not there would tell. Reads
 * manifests, no data.
 */
export function dataVocabSize(config: DataConfig): number {
  return maxOf(config.map(sourceVocabSize));
}

function sourceVocabSize(source: SourceConfig): number {
  switch (source.kind) {
    case 'text':
      return BYTE_VOCAB_SIZE;
    case 'recall':
      return recallVocabSize(source);
    case 'shards':
      return hasShards(source.path) ? readManifest(source.path).tokenizer.vocabSize : 0;
  }
}

const HELD_OUT_SEED = 0;

/**
 * Opens every source. Throws `DataError` for text that is missing, unreadable or too short.
 */
export function openData(config: DataConfig, { seqLen, seed, baseDir }: OpenDataOptions): OpenedData {
  const opened = new OpenedSources(baseDir);
  try {
    for (const [index, source] of config.entries()) opened.open(index, source);
    const mix = (split: Split): DataSource | null => {
      const own = split === 'train' ? seed : HELD_OUT_SEED;
      const chosen = config.flatMap((source, index) => {
        const stream = opened.stream(index, source, split, seqLen, own);
        return stream === null ? [] : [{ stream, weight: source.weight }];
      });
      if (chosen.length <= 1) return chosen[0]?.stream ?? null;
      return new MixtureSource(
        chosen.map((c) => c.stream),
        chosen.map((c) => c.weight),
        own,
      );
    };
    const heldOut = () => mix('heldOut');
    const train = mix('train');
    invariant(train, 'every source has training data');
    heldOut();
    return {
      vocabSize: train.vocabSize,
      train,
      heldOut,
      notes: config.flatMap((source, index) => opened.note(index, source, seqLen)),
      recall: config.find((s) => s.kind === 'recall') ?? null,
      corpora: [...opened.corpora.values()],
      tokenizer: opened.tokenizer,
      [Symbol.dispose]: () => opened[Symbol.dispose](),
    };
  } catch (error) {
    opened[Symbol.dispose]();
    throw error;
  }
}

/** The files behind the sources of a configuration, by their place in it. */
class OpenedSources implements Disposable {
  readonly corpora = new Map<number, TextCorpus>();
  readonly #shards = new Map<number, TokenShards>();
  readonly #baseDir: string;
  readonly #taken = new Set<string>();

  constructor(baseDir: string) {
    this.#baseDir = baseDir;
  }

  open(index: number, source: SourceConfig): void {
    if (source.kind === 'shards') this.#shards.set(index, new TokenShards(resolve(this.#baseDir, source.path)));
    if (source.kind !== 'text') return;
    const named = source.corpus === undefined ? [] : openCorpus(source.corpus, this.#baseDir).files;
    const files = [...expandFiles(source.files, this.#baseDir), ...named];
    const twice = files.find((file) => this.#taken.has(file));
    if (twice !== undefined) {
      throw new DataError(`${twice} is in two text sources, so its held-out part would be trained on; name it in one`);
    }
    for (const file of files) this.#taken.add(file);
    this.corpora.set(index, new TextCorpus(files, source.heldOut));
  }

  /** The sequences of a source; null if it holds nothing out and that is asked for. */
  stream(index: number, source: SourceConfig, split: Split, seqLen: number, seed: number): DataSource | null {
    switch (source.kind) {
      case 'recall':
        return new RecallSource(source, seqLen, seed, `${split === 'heldOut' ? 'held-out' : 'train'} ${index}`);
      case 'text':
        if (split === 'heldOut' && source.heldOut === 0) return null;
        return new TextSource(this.corpora.get(index) as TextCorpus, split, seqLen, seed);
      case 'shards': {
        const shards = this.#shards.get(index) as TokenShards;
        const { minTokens, maxTokens = Infinity, resets } = source;
        const options = { minTokens, maxTokens, resets };
        if (split === 'heldOut' && !ShardsSource.fillsRow(shards, split, options, seqLen)) return null;
        return new ShardsSource(shards, split, options, seqLen, seed);
      }
    }
  }

  /** What a user should know of a source: documents left out, held-out documents that do not count. */
  note(index: number, source: SourceConfig, seqLen: number): string[] {
    const nulls = this.corpora.get(index)?.nullTexts ?? 0;
    if (nulls > 0) return [`${nulls} documents of the text source ${index} whose "text" is null were left out`];
    const held = this.#shards.get(index)?.size('heldOut') ?? 0;
    if (held === 0 || this.stream(index, source, 'heldOut', seqLen, HELD_OUT_SEED) !== null) return [];
    const name = source.kind === 'shards' ? source.path : source.kind;
    return [
      `${name} does not count for the held-out loss: its documents of allowed lengths do not fill a row of ${seqLen} tokens`,
    ];
  }

  get tokenizer(): TextTokenizer | null {
    const [first] = this.#shards.values();
    return first?.tokenizer ?? null;
  }

  [Symbol.dispose](): void {
    for (const corpus of this.corpora.values()) corpus[Symbol.dispose]();
    for (const shards of this.#shards.values()) shards[Symbol.dispose]();
  }
}
