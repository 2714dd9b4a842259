/** From a data configuration to streams of training and held-out batches. */
import { z } from 'zod';
import { DataError } from '../core/index.js';
import { expandFiles } from './glob.js';
import { TextCorpus } from './corpus.js';
import { CORPUS_NAMES, openCorpus } from './named.js';
import { RecallOptionsSchema, RecallSource, recallVocabSize, type RecallOptions } from './recall.js';
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

export const SourceConfigSchema = z.discriminatedUnion('kind', [RecallConfigSchema, TextConfigSchema]);

/** One source, or a list of sources mixed by weight; a list after parsing. */
export const DataConfigSchema = z
  .union([SourceConfigSchema, z.array(SourceConfigSchema).min(1)])
  .transform((data) => (Array.isArray(data) ? data : [data]));

export type RecallConfig = z.output<typeof RecallConfigSchema>;
export type TextConfig = z.output<typeof TextConfigSchema>;
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
  /** The options of the recall source, if there is one. */
  readonly recall: RecallOptions | null;
  /** The text sources' corpora. */
  readonly corpora: readonly TextCorpus[];
}

/** The smallest vocabulary that holds every token of the data. Opens no file. */
export function dataVocabSize(config: DataConfig): number {
  return Math.max(...config.map((s) => (s.kind === 'text' ? BYTE_VOCAB_SIZE : recallVocabSize(s))));
}

/** Whether a configuration has a source that holds something out. Opens no file. */
export function hasHeldOut(config: DataConfig): boolean {
  return config.some((s) => s.kind === 'recall' || s.heldOut > 0);
}

const HELD_OUT_SEED = 0;

/**
 * Opens every source. Throws `DataError` for text that is missing, unreadable or too short.
 */
export function openData(config: DataConfig, { seqLen, seed, baseDir }: OpenDataOptions): OpenedData {
  const corpora = new Map<number, TextCorpus>();
  const dispose = () => {
    for (const corpus of corpora.values()) corpus[Symbol.dispose]();
  };
  const build = (source: SourceConfig, index: number, heldOut: boolean): DataSource => {
    const own = heldOut ? HELD_OUT_SEED : seed;
    if (source.kind === 'recall')
      return new RecallSource(source, seqLen, own, `${heldOut ? 'held-out' : 'train'} ${index}`);
    return new TextSource(corpora.get(index) as TextCorpus, heldOut ? 'heldOut' : 'train', seqLen, own);
  };
  const mix = (chosen: readonly { source: SourceConfig; index: number }[], heldOut: boolean): DataSource => {
    const sources = chosen.map(({ source, index }) => build(source, index, heldOut));
    if (sources.length === 1) return sources[0] as DataSource;
    return new MixtureSource(
      sources,
      chosen.map(({ source }) => source.weight),
      heldOut ? HELD_OUT_SEED : seed,
    );
  };
  const all = config.map((source, index) => ({ source, index }));
  const held = all.filter(({ source }) => source.kind === 'recall' || source.heldOut > 0);
  const heldOut = () => (held.length === 0 ? null : mix(held, true));
  try {
    const taken = new Set<string>();
    for (const { source, index } of all) {
      if (source.kind !== 'text') continue;
      const named = source.corpus === undefined ? [] : openCorpus(source.corpus, baseDir).files;
      const files = [...expandFiles(source.files, baseDir), ...named];
      const twice = files.find((file) => taken.has(file));
      if (twice !== undefined) {
        throw new DataError(
          `${twice} is in two text sources, so its held-out part would be trained on; name it in one`,
        );
      }
      for (const file of files) taken.add(file);
      corpora.set(index, new TextCorpus(files, source.heldOut));
    }
    const train = mix(all, false);
    heldOut();
    return {
      vocabSize: dataVocabSize(config),
      train,
      heldOut,
      recall: config.find((s) => s.kind === 'recall') ?? null,
      corpora: [...corpora.values()],
      [Symbol.dispose]: dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}
