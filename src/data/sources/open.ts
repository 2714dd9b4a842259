/** From a data configuration to streams of training and held-out batches. */
import { z } from 'zod';
import type { TokenizerOrigin } from '../../checkpoint/index.js';
import { DataError, invariant, maxOf } from '../../core/index.js';
import type { Split } from '../corpus.js';
import type { RecallOptions } from '../recall.js';
import { MixtureSource, type DataSource } from '../source.js';
import { gramStatistics, type GramStatistics } from '../grams/training.js';
import type { HeldOutDocument, NeedleMaterial, OpenedSource, SourceContext } from './define.js';
import { SOURCE_KINDS } from './table.js';

type SourceSchema = (typeof SOURCE_KINDS)[keyof typeof SOURCE_KINDS]['schema'];

/** The schema of one source of a data configuration: one of the kinds of `SOURCE_KINDS`, told by `kind`. */
export const SourceConfigSchema = z.discriminatedUnion(
  'kind',
  Object.values(SOURCE_KINDS).map(({ schema }) => schema) as [SourceSchema, ...SourceSchema[]],
);

/** The schema of a data configuration: one source, or a list of sources mixed by weight; a list after parsing. */
export const DataConfigSchema = z
  .union([SourceConfigSchema, z.array(SourceConfigSchema).min(1)])
  .transform((data) => (Array.isArray(data) ? data : [data]));

/** One source of a data configuration, defaults filled in. */
export type SourceConfig = z.output<typeof SourceConfigSchema>;
/** The sources that a run's data comes from, defaults filled in. */
export type DataConfig = z.output<typeof DataConfigSchema>;

/** How data is opened. */
export interface OpenDataOptions {
  /** Tokens of each sequence. */
  readonly seqLen: number;
  /** The run's seed: training data of other seeds comes in another order. */
  readonly seed: number;
  /** The folder in which relative paths start. */
  readonly baseDir: string;
}

/** Open training data. Disposing it closes the files. */
export interface OpenedData extends Disposable {
  /** The smallest vocabulary that holds every token of the data. */
  readonly vocabSize: number;
  /** The stream of training sequences. */
  readonly train: DataSource;
  /**
   * A fresh stream of held-out sequences, always the same ones; null if nothing is held out. It does not depend on the
   * run's seed, so that runs of different seeds are judged on the same data.
   */
  heldOut(): DataSource | null;
  /** The documents of text that are held out, of all sources, in their order; none where the data are no text. */
  heldOutDocuments(): readonly HeldOutDocument[];
  /** What a user should know of the sources, in sentences, such as held-out documents that cannot be used, and why. */
  readonly notes: readonly string[];
  /** The options of the first source that recall by distance can be measured on; null if there is none. */
  readonly recall: RecallOptions | null;
  /**
   * What needle samples are made of: real text before tokens, tokens before the recall stream; null if there is
   * nothing.
   */
  readonly needles: NeedleMaterial | null;
  /**
   * How often what repeats in held-out documents occurs in the training data, over the sources that are text; null if
   * none of them holds documents out.
   */
  readonly grams: GramStatistics | null;
}

/** What needles are made of where a mixture has several materials: the first of these that is there. */
const NEEDLE_ORDER: readonly NeedleMaterial['kind'][] = ['text', 'tokens', 'recall'];

const HELD_OUT_SEED = 0;

/** What `openSources` needs of a source: its weight in the mixture, and what opens it. */
interface Openable {
  readonly weight: number;
  readonly open: (context: SourceContext) => OpenedSource;
}

/**
 * The smallest vocabulary that holds every token of the data; 0 where only shards that are not there would tell. Reads
 * manifests, no data.
 */
export function dataVocabSize(config: DataConfig): number {
  return maxOf(config.map((source) => kindOf(source).vocabSize(source)));
}

/** The tokenizer of the first source of text, for exported models; null if no source is text. */
export function dataTokenizer(config: DataConfig): TokenizerOrigin {
  for (const source of config) {
    const tokenizer = kindOf(source).tokenizer(source);
    if (tokenizer !== null) return tokenizer;
  }
  return null;
}

/** A kind of source as a function of any source: `kind` has chosen the one whose options these are. */
interface AnyKind {
  vocabSize(config: SourceConfig): number;
  tokenizer(config: SourceConfig): TokenizerOrigin;
  open(config: SourceConfig, context: SourceContext): OpenedSource;
}

const kindOf = ({ kind }: SourceConfig): AnyKind => SOURCE_KINDS[kind];

/**
 * Opens every source of a configuration.
 *
 * @throws DataError for text that is missing, unreadable or too short, or a file that two sources name
 */
export function openData(config: DataConfig, options: OpenDataOptions): OpenedData {
  const sources = config.map((source) => ({
    weight: source.weight,
    open: (context: SourceContext) => kindOf(source).open(source, context),
  }));
  return openSources(sources, options);
}

/** Opens sources of any kinds as one mixture; `openData` gives it those of the table. */
export function openSources(sources: readonly Openable[], { seqLen, seed, baseDir }: OpenDataOptions): OpenedData {
  const opened: OpenedSource[] = [];
  const close = (): void => opened.forEach((source) => source[Symbol.dispose]());
  const mix = (split: Split, seed: number): DataSource | null => {
    const chosen = opened.flatMap((source, index) => {
      const stream = source.stream(split, seqLen, seed);
      return stream === null ? [] : [{ stream, weight: sources[index]?.weight ?? 1 }];
    });
    if (chosen.length <= 1) return chosen[0]?.stream ?? null;
    const streams = chosen.map(({ stream }) => stream);
    const weights = chosen.map(({ weight }) => weight);
    return new MixtureSource(streams, weights, seed);
  };
  try {
    const claim = claims();
    for (const [index, source] of sources.entries()) opened.push(source.open({ index, baseDir, claim }));
    const heldOut = () => mix('heldOut', HELD_OUT_SEED);
    const train = mix('train', seed);
    invariant(train, 'every source has training data');
    // Held-out data that is too short is refused now, not at the first evaluation.
    heldOut();
    const materials = opened.flatMap(({ needles }) => needles ?? []);
    return {
      vocabSize: train.vocabSize,
      train,
      heldOut,
      heldOutDocuments: () =>
        opened.flatMap((source, index) =>
          (source.heldOutDocuments?.() ?? []).map((own) => ({
            ...own,
            // Documents of different sources are different ones.
            document: own.document * opened.length + index,
          })),
        ),
      notes: opened.flatMap((source) => source.notes(seqLen)),
      recall: opened.find(({ recall }) => recall !== null)?.recall ?? null,
      needles: NEEDLE_ORDER.flatMap((kind) => materials.find((material) => material.kind === kind) ?? [])[0] ?? null,
      grams: gramStatistics(opened.flatMap((source) => source.grams ?? [])),
      [Symbol.dispose]: close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** What refuses a file that a source before has claimed. */
function claims(): (files: readonly string[]) => void {
  const taken = new Set<string>();
  return (files) => {
    const twice = files.find((file) => taken.has(file));
    if (twice !== undefined) {
      throw new DataError(`${twice} is in two text sources, so its held-out part would be trained on; name it in one`);
    }
    for (const file of files) taken.add(file);
  };
}
