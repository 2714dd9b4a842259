/** `longsight length`: how a model does in longer contexts than it was trained on. */
import { z } from 'zod';
import {
  scoreNeedles,
  TEMPERATURE_LAWS,
  variantName,
  varyPositions,
  type NeedleScore,
  type PositionVariant,
} from '../../analysis/index.js';
import { ConfigError, DataError, field, list, realNumber, textTable, type CsvCell } from '../../core/index.js';
import { textStatistics, type GramStatistics, type HeldOutDocument, type NeedleSample } from '../../data/index.js';
import {
  arBins,
  ArTally,
  DocumentTally,
  farFrom,
  findAssociativeRecall,
  type ArRecord,
  type DocumentMean,
} from '../../eval/index.js';
import { scoreRows, withConfig, type Scores } from '../../loaded/index.js';
import { rotaryBase, type ModelConfig } from '../../model/index.js';
import { openRunData, runAtStep } from '../../train/index.js';
import { count, file, lengthList, numberList, OPTION_HINTS, wordList } from '../analysis-options.js';
import { defineAnalysis, show, type AnalysisContext, type Printed } from '../analysis.js';
import type { RangeCurve } from '../figures.js';
import { trainingData } from '../imported.js';
import { lengthRows, textDocuments, type LengthRows } from '../length-rows.js';
import { arEvalSchema, arRecord, documentMean } from '../measures/associative-recall.js';
import { readTextFile, tokenizerOf, tokensOf } from '../model-texts.js';
import { needlesOf } from '../needles.js';
import type { OpenedModel } from '../open-model.js';
import { needleScore } from './described.js';

/** Lengths that are measured unless told, in tokens. */
const LENGTHS: readonly number[] = [4096, 8192, 16_384, 32_768, 65_536];

const options = {
  lengths: lengthList()
    .optional()
    .describe('tokens of the rows (default: 4k,8k,16k,32k,64k, as far as the text fills them)'),
  samples: count().default(16).describe('rows of each length at most'),
  texts: file()
    .optional()
    .describe('texts: prompts of a .jsonl, or one whole file (default: held-out text of the run)'),
  needles: count().optional().describe('needle samples of each length (default: none)'),
  ropeTheta: numberList(rotaryBase()).optional().describe('also with these bases of rotary positions'),
  yarn: numberList(realNumber().gt(1)).optional().describe('also with YaRN by these factors'),
  temperature: wordList(TEMPERATURE_LAWS)
    .optional()
    .describe(
      'also with these temperatures in layers without positions: log (as temp=log), grow (from the length trained on)',
    ),
  originalLength: count()
    .optional()
    .describe('tokens that the model was trained on (default: as its run or folder says)'),
  fitting: z
    .boolean()
    .register(OPTION_HINTS, { identity: () => null })
    .default(false)
    .describe('leave out, and say so, what a model has no layers for'),
};

type LengthOptions = z.output<z.ZodObject<typeof options>>;

/** A mean over targets, with its 95 % interval over documents. */
const mean = z.looseObject({
  targets: z.number(),
  loss: z.number().nullable(),
  accuracy: z.number().nullable(),
});
const range = z.looseObject({ from: z.number(), to: z.number(), all: mean });

const fields = z.object({
  trained: field(z.number().nullable(), 'the longest rows of training; null where that is not known', 'tokens'),
  lengths: field(
    z.array(
      z.object({
        length: field(z.number(), 'a row, without its last target', 'tokens'),
        rows: field(
          z.enum(['documents', 'packed']),
          '`documents`: each row is of one; `packed`: rows are cut from several that follow one another, read as one text',
        ),
        documents: field(z.number(), 'documents that rows hold any of', 'documents'),
        sequences: field(z.number(), 'rows that were read', 'rows'),
        variants: field(
          z.array(
            z.object({
              name: field(
                z.string(),
                '`as trained`, or what was changed, such as `base 500000`, `YaRN 4` or `temperature log`',
              ),
              all: field(documentMean, 'every target'),
              positions: field(
                z.array(
                  z.object({
                    from: field(z.number(), 'fewest tokens of the row before a target', 'tokens'),
                    to: field(z.number(), 'most tokens of the row before it, included', 'tokens'),
                    all: field(documentMean, 'targets in this range'),
                  }),
                ),
                'targets by how many tokens of the row stand before them',
              ),
              ar: field(
                arRecord.nullable(),
                'associative recall; `far` is from the length trained on where rows are longer; null without text',
              ),
              needle: field(needleScore.nullable(), 'needles of this length; null where none were asked for'),
            }),
          ),
          'the model as it is, then with each change of its positions',
        ),
      }),
    ),
    'the lengths, ascending',
  ),
});

/** The model as it is, or with other positions, at one length. */
export interface AtLength {
  /** `as trained`, or what was changed. */
  readonly name: string;
  /** Every target. */
  readonly all: DocumentMean;
  /** Targets by how many tokens of the row stand before them, from 1 to the length. */
  readonly positions: readonly { readonly from: number; readonly to: number; readonly all: DocumentMean }[];
  /** Associative recall by distance; `far` is from the length trained on, where rows are longer. Null without text. */
  readonly ar: (ArRecord & Pick<GramStatistics, 'countedIn'> & { readonly order: number }) | null;
  /** Needles of this length; null where none were asked for. */
  readonly needle: NeedleScore | null;
}

/** How a model does at several lengths. */
export interface Lengths {
  /** Tokens of the longest rows of training; null where that is not known. */
  readonly trained: number | null;
  readonly lengths: readonly (Omit<LengthRows, 'sequences'> & {
    /** Tokens of a row, without its last target. */
    readonly length: number;
    /** Rows. */
    readonly sequences: number;
    readonly variants: readonly AtLength[];
  })[];
}

/** Loss by position and associative recall by distance, at lengths within and beyond that of training. */
export const length = defineAnalysis({
  command: 'length',
  summary: 'loss by position and recall by distance beyond the trained length',
  description:
    'Reads held-out text in rows of each length, and measures the loss by position and associative recall by distance, with ' +
    'intervals over documents, and with --needles the needle task. Each row is of one document; where fewer than two are so long, ' +
    'rows are packed from several, read as one text, which is said. --rope-theta, --yarn and --temperature measure the same weights with ' +
    'other positions beside the model as it is: in heads that see farther than the model was trained on; windows keep theirs.',
  question: 'how does it do in longer contexts than it was trained on?',
  needs: 'text',
  reads: ['eval.ar'],
  checkpoints: { command: 'newest', analyze: 'asked' },
  options,
  result: {
    trained: z.number().nullable(),
    lengths: z.array(
      z.looseObject({
        length: z.number(),
        rows: z.enum(['documents', 'packed']),
        documents: z.number(),
        sequences: z.number(),
        variants: z.array(
          z.looseObject({
            name: z.string(),
            positions: z.array(range),
            ar: z.looseObject({ bins: z.array(range) }).nullable(),
          }),
        ),
      }),
    ),
  },
  fields,
  measure: async (model, chosen, { context }): Promise<Lengths> => {
    const trained = chosen.originalLength ?? model.trainedLength();
    const variants = variantsOf(model, chosen, trained, context);
    using text = textOf(model, chosen, context);
    // What cannot be read is told before anything that takes long.
    const all = lengthsOf(chosen)
      .flatMap((tokens) => readRows(text, tokens, chosen, context))
      .map((own) => ({ ...own, needles: drawNeedles(model, own.tokens, chosen) }));
    const isRare = text.grams?.rarity(text.maxCount, (note) => context.note?.(note)) ?? null;
    const lengths: Lengths['lengths'][number][] = [];
    for (const { tokens, read, needles } of all) {
      const { sequences, ...about } = read;
      const tallies = talliesOf(read, tokens, trained, { ...text, isRare });
      const found: AtLength[] = [];
      for (const { name, config } of variants) {
        context.note?.(`${tokens} tokens, ${name}: ${rowsText(read, sequences.length)}`);
        const own = withConfig(model, config);
        const scores = await scoreRows(own, sequences, () => context.signal?.throwIfAborted());
        const needle = needles === null ? null : await scoreNeedles(own, needles);
        found.push({ name, ...tallies(scores), needle });
      }
      lengths.push({ length: tokens, ...about, sequences: sequences.length, variants: found });
    }
    return { trained, lengths };
  },
  record: (result) => result,
  print: tablesOf,
  csv: ({ lengths }, { step }) => ({
    columns: [
      ...['step', 'length', 'rows', 'variant', 'what', 'from', 'to', 'targets'],
      ...['loss', 'loss_low', 'loss_high', 'accuracy', 'accuracy_low', 'accuracy_high'],
    ],
    rows: lengths.flatMap(({ length: tokens, rows, variants }) =>
      variants.flatMap(({ name, positions, ar, needle }) => {
        const line = (what: string, from: number, to: number, m: DocumentMean): CsvCell[] => [
          ...[step, tokens, rows, name, what, from, to, m.targets],
          ...[m.loss, m.lossLow, m.lossHigh, m.accuracy, m.accuracyLow, m.accuracyHigh],
        ];
        return [
          ...positions.map(({ from, to, all }) => line('position', from, to, all)),
          ...(ar?.bins ?? []).map(({ from, to, all }) => line('recall', from, to, all)),
          ...(needle === null
            ? []
            : [
                [
                  ...[step, tokens, rows, name, 'needle', null, null, needle.samples],
                  ...[null, null, null, needle.accuracy, needle.low, needle.high],
                ],
              ]),
        ];
      }),
    ),
  }),
  figure: [
    {
      form: 'ranges',
      title: 'Loss by position beyond the trained length',
      axis: 'loss (nats per token)',
      xLabel: 'tokens before the predicted one',
      isShare: false,
      mark: ({ trained }) => trained,
      curves: (found) => curvesOf(found, ({ positions }) => positions, 'loss'),
      caption: ({ lengths }) =>
        `Held-out loss by how many tokens of the row stand before a token. ${captionOf(lengths)}`,
    },
    {
      form: 'ranges',
      title: 'Associative recall by distance beyond the trained length',
      axis: 'top-1 accuracy',
      xLabel: 'distance (tokens)',
      isShare: true,
      mark: ({ trained }) => trained,
      curves: (found) => curvesOf(found, ({ ar }) => ar?.bins ?? [], 'accuracy'),
      caption: ({ lengths }) =>
        `Share of tokens that are the likeliest, among those that end a rare gram seen before in their document. ${captionOf(lengths)}`,
    },
  ],
});

/** The lengths that are asked for, each once, ascending. */
function lengthsOf({ lengths }: Pick<LengthOptions, 'lengths'>): number[] {
  return [...new Set<number>(lengths ?? LENGTHS)].sort((a, b) => a - b);
}

/**
 * Rows of one length, in a list of one; none where the text has not enough for a length that nobody asked for, which is
 * said. Throws `DataError` where it has not for another, or for any.
 */
function readRows(
  { documents, name }: Pick<LengthText, 'documents' | 'name'>,
  tokens: number,
  { lengths, samples }: Pick<LengthOptions, 'lengths' | 'samples'>,
  { note }: AnalysisContext,
): { readonly tokens: number; readonly read: LengthRows }[] {
  const read = lengthRows(documents, tokens, samples);
  if (read !== null) return [{ tokens, read }];
  const size = documents.reduce((sum, own) => sum + own.length, 0);
  const problem =
    `${name} has ${size} tokens in ${documents.length} document${documents.length === 1 ? '' : 's'}, fewer than a row of ${tokens} ` +
    'with its last target';
  if (lengths !== undefined || tokens === LENGTHS[0]) {
    throw new DataError(`${problem}; name shorter lengths (--lengths), or other text (--texts)`);
  }
  note?.(`${tokens} tokens left out: ${problem}`);
  return [];
}

/** Needles of one length; null where none are asked for. Throws `ConfigError` where a row is too short for them. */
function drawNeedles(
  model: OpenedModel,
  length: number,
  { needles: samples }: Pick<LengthOptions, 'needles'>,
): NeedleSample[] | null {
  return samples === undefined ? null : needlesOf(model, { label: 'length', samples, length, flag: '--lengths' });
}

/** The model as it is, and with each change that is asked for, once. */
function variantsOf(
  model: OpenedModel,
  { ropeTheta = [], yarn = [], temperature = [], fitting }: LengthOptions,
  trained: number | null,
  { note }: AnalysisContext,
): { readonly name: string; readonly config: ModelConfig }[] {
  const asked: PositionVariant[] = [
    ...Array.from(new Set(ropeTheta), (theta) => ({ kind: 'base' as const, theta })),
    ...Array.from(new Set(yarn), (factor) => ({ kind: 'yarn' as const, factor })),
    ...Array.from(new Set(temperature), (law) => ({ kind: 'temperature' as const, law })),
  ];
  const plain = { name: 'as trained', config: model.config };
  if (asked.length === 0) return [plain];
  if (trained === null) {
    throw new ConfigError(
      `${model.source} does not say how many tokens its rows of training had, from which other positions follow; name them (--original-length)`,
    );
  }
  return [
    plain,
    ...asked.flatMap((own) => {
      try {
        return [{ name: variantName(own), config: varyPositions(model.config, own, trained) }];
      } catch (error) {
        if (!fitting || !(error instanceof ConfigError)) throw error;
        note?.(`${variantName(own)} left out: ${error.message}`);
        return [];
      }
    }),
  ];
}

/** The documents that rows are made of, and how rare grams are told. */
interface LengthText extends Disposable {
  /** What messages call the text. */
  readonly name: string;
  readonly documents: readonly HeldOutDocument[];
  readonly grams: GramStatistics | null;
  /** A gram is rare up to this many occurrences. */
  readonly maxCount: number;
}

/** Throws `ConfigError` or `DataError` where there is no text. */
function textOf(model: OpenedModel, { texts }: LengthOptions, { note }: AnalysisContext): LengthText {
  const asked = model.run?.run.eval.ar;
  const { maxCount } = arEvalSchema.parse(typeof asked === 'object' ? asked : {});
  if (texts === undefined) {
    if (model.run === null)
      throw new ConfigError('an imported model has no data of its own; name texts (--texts FILE)');
    const data = openRunData(runAtStep(model.run.run, model.step ?? 0));
    const documents = data.heldOutDocuments();
    const { grams } = data;
    if (documents.length > 0)
      return { name: 'the held-out text', documents, grams, maxCount, [Symbol.dispose]: () => data[Symbol.dispose]() };
    data[Symbol.dispose]();
    tokenizerOf(model); // Throws where no text could be named either.
    throw new ConfigError(`${model.source} holds no text out; name texts (--texts FILE)`);
  }
  const all = readTextFile(texts).map(({ text }) => tokensOf(model, text));
  if (all.length === 0) throw new DataError(`${texts} holds no text; give one at least`);
  const data = trainingData(model, (told) => note?.(told));
  const grams = data?.grams?.within(all) ?? textStatistics(all, model.config.vocabSize);
  const dispose = () => data?.[Symbol.dispose]();
  return { name: texts, documents: textDocuments(all), grams, maxCount, [Symbol.dispose]: dispose };
}

/** Bins up to a length, with an edge at the length trained on. */
function endsOf(tokens: number, trained: number | null): number[] {
  const ends = arBins(tokens);
  return trained === null || trained >= tokens ? ends : [...new Set([...ends, trained])].sort((a, b) => a - b);
}

/** What turns the scores of all rows into means; what depends on the text alone is worked out once. */
function talliesOf(
  { sequences }: LengthRows,
  tokens: number,
  trained: number | null,
  text: Pick<LengthText, 'grams' | 'maxCount'> & { isRare: ((gram: number, document: number) => boolean) | null },
): (scores: readonly Scores[]) => Pick<AtLength, 'all' | 'positions' | 'ar'> {
  const { grams, maxCount, isRare } = text;
  const ends = endsOf(tokens, trained);
  const binOf = Int32Array.from({ length: tokens }, (_, t) => ends.findIndex((end) => t + 1 <= end));
  const byPosition = new DocumentTally(1 + ends.length, 'length');
  const recall = new ArTally(ends, trained !== null && trained < tokens ? trained + 1 : farFrom(tokens), maxCount);
  for (const row of sequences) {
    const { documents, counts } = row;
    byPosition.add(tokens, documents, (t) => (counts(t) ? [0, 1 + (binOf[t] ?? 0)] : []));
    if (grams === null || isRare === null) continue;
    recall.add(
      row,
      findAssociativeRecall(row, grams.keys, (gram, t) => isRare(gram, documents?.[t] ?? 0)),
    );
  }
  return (scores) => {
    const { mean: meanOf } = byPosition.means(scores);
    return {
      all: meanOf(0),
      positions: ends.map((to, i) => ({ from: (ends[i - 1] ?? 0) + 1, to, all: meanOf(1 + i) })),
      ar: grams === null ? null : { ...recall.record(scores), order: grams.keys.order, countedIn: grams.countedIn },
    };
  };
}

/** `16 rows from 12 documents, one document in each`, or how they were packed. */
function rowsText({ rows, documents }: Pick<LengthRows, 'rows' | 'documents'>, sequences: number): string {
  const count = `${sequences} row${sequences === 1 ? '' : 's'}`;
  const of = `${documents} document${documents === 1 ? '' : 's'}`;
  return rows === 'documents'
    ? `${count} from ${of}, one document in each`
    : `fewer than two documents are so long: ${count} packed from ${of}`;
}

/** Two tables a length: the loss by position, and associative recall by distance. */
function tablesOf({ trained, lengths }: Lengths, name: string): Printed {
  const known = trained === null ? '' : `, trained on ${trained}`;
  const title = `${name}: rows of ${list(lengths.map((own) => String(own.length)))} tokens${known}`;
  return { title, remark: lengths.flatMap(tablesAt).join('\n\n') };
}

function tablesAt({ length: tokens, sequences, variants, ...read }: Lengths['lengths'][number]): string[] {
  const names = variants.map((own) => own.name);
  const first = variants[0];
  if (first === undefined) return [];
  const table = (head: string, rows: readonly (readonly string[])[]): string => {
    const all = [[head, 'targets', ...names], ...rows];
    return textTable(all, new Set(Array.from({ length: names.length + 1 }, (_, i) => i + 1)));
  };
  const positions = [
    ...first.positions.map(({ from, to, all }, i) => [
      ...[`${from}-${to}`, String(all.targets)],
      ...variants.map((own) => lossCell(own.positions[i]?.all)),
    ]),
    ['all', String(first.all.targets), ...variants.map(({ all }) => lossCell(all))],
  ];
  const lines = [
    `${tokens} tokens, ${rowsText(read, sequences)}: loss (95 %) by tokens before the predicted one\n${table('position', positions)}`,
  ];
  if (first.ar !== null) {
    const { bins, far, order, maxCount, countedIn } = first.ar;
    const where = countedIn === 'training' ? 'the training data' : 'the other texts';
    const rows = [
      ...bins.map(({ from, to, all }, i) => [
        ...[`${from}-${to}`, String(all.targets)],
        ...variants.map(({ ar }) => shareCell(ar?.bins[i]?.all)),
      ]),
      [...[`beyond ${far.from - 1}`, String(far.all.targets)], ...variants.map(({ ar }) => shareCell(ar?.far.all))],
    ];
    lines.push(
      `${tokens} tokens: top-1 accuracy (95 %) of tokens that end a gram of ${order} that came before in their document and occurs at ` +
        `most ${maxCount} times in ${where}\n${table('distance', rows)}`,
    );
  }
  const needles = variants.flatMap(({ name, needle }) =>
    needle === null ? [] : [`${name} ${cell(needle.accuracy, needle.low, needle.high, 3)}`],
  );
  if (needles.length > 0) lines.push(`${tokens} tokens: needles found (95 %): ${needles.join(', ')}`);
  return lines;
}

const cell = (value: number | null, low: number | null, high: number | null, digits: number): string =>
  show(value, digits) + (low === null || high === null ? '' : ` (${show(low, digits)} to ${show(high, digits)})`);
const lossCell = (m: DocumentMean | undefined): string =>
  m === undefined ? '-' : cell(m.loss, m.lossLow, m.lossHigh, 4);
const shareCell = (m: DocumentMean | undefined): string =>
  m === undefined ? '-' : cell(m.accuracy, m.accuracyLow, m.accuracyHigh, 3);

/** Ranges with fewer targets are not drawn: one token more or less moves them too far. */
const DRAWN_TARGETS = 5;

/** What a figure draws: a curve for each variant, at the longest length. */
function curvesOf<V extends { readonly name: string }>(
  { lengths }: { readonly lengths: readonly { readonly variants: readonly V[] }[] },
  bins: (variant: V) => readonly RangeBin[],
  of: 'loss' | 'accuracy',
): RangeCurve[] {
  return (lengths.at(-1)?.variants ?? []).map((own) => ({
    panel: own.name,
    points: bins(own).flatMap(({ from, to, all }) =>
      all[of] === null || all.targets < DRAWN_TARGETS ? [] : [{ from, to, value: all[of] }],
    ),
  }));
}

interface RangeBin {
  readonly from: number;
  readonly to: number;
  readonly all: { readonly targets: number; readonly loss: number | null; readonly accuracy: number | null };
}

function captionOf(
  lengths: readonly (Pick<LengthRows, 'rows' | 'documents'> & {
    readonly length: number;
    readonly sequences: number;
    readonly variants: readonly unknown[];
  })[],
): string {
  const longest = lengths.at(-1);
  if (longest === undefined) return '';
  const panels =
    longest.variants.length === 1 ? '' : '; a panel for the model as trained and one for each change of its positions';
  return (
    `At ${longest.length} tokens (${rowsText(longest, longest.sequences)}), the weights as they are${panels}. Means over seeds; bands from ` +
    `the lowest to the highest; ranges of fewer than ${DRAWN_TARGETS} tokens are left out. Dotted: the length trained on.`
  );
}
